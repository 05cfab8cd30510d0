//! The parts of one cluster of a running manager that its routes and sessions share.
use std::ops::Deref;
use std::sync::Arc;

use manta_store::{BlobStore, StateStore};
use manta_types::ClusterId;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::distribution::Distributions;
use crate::http::Partials;
use crate::identity::Identities;
use crate::links::Links;
use crate::logs::Logs;
use crate::metrics::Metrics;
use crate::oidc::Issuer;
use crate::orchestrator::Handle;
use crate::people::People;
use crate::quotas::Quotas;
use crate::ready::Readiness;
use crate::refusals::Refusals;
use crate::replays::Replays;
use crate::space::Space;
use crate::supervisor::Supervisor;
use crate::threads::Owned;

/// The parts. What is behind an `Arc` here and not of the cluster alone is one for the whole manager: people, stores, space.
pub(crate) struct Parts {
    pub(crate) cluster: ClusterId,
    /// Whether the manager began with it: it never goes.
    pub(crate) is_first: bool,
    /// When the cluster was made; wall clock, ms since 1970; 0 for the first.
    pub(crate) created_ms: u64,
    /// Which life of the manager's state this is.
    pub(crate) generation: u64,
    pub(crate) people: Arc<People>,
    pub(crate) quotas: Quotas,
    /// Who may join and who joined; nobody can over a Unix socket.
    pub(crate) identities: Option<Arc<Identities>>,
    /// Where people sign in, where they can.
    pub(crate) issuer: Option<Arc<Issuer>>,
    pub(crate) handle: Handle,
    pub(crate) store: Owned<Box<dyn StateStore>>,
    pub(crate) blobs: Arc<dyn BlobStore>,
    pub(crate) links: Links,
    pub(crate) refusals: Refusals,
    pub(crate) readiness: Readiness,
    pub(crate) logs: Logs,
    pub(crate) replays: Arc<Replays>,
    pub(crate) distributions: Distributions,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) supervisor: Supervisor,
    /// Cancelled when the manager stops, or the cluster goes.
    pub(crate) stop: CancellationToken,
    pub(crate) uploads: Arc<Semaphore>,
    pub(crate) partials: Partials,
    pub(crate) space: Arc<Space>,
    pub(crate) metrics: Arc<Metrics>,
}

/// A clonable handle on the parts.
#[derive(Clone)]
pub(crate) struct App(Arc<Parts>);

impl App {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}
