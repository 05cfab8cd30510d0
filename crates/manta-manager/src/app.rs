//! The parts of a running manager that its routes and sessions share.
use std::ops::Deref;
use std::sync::Arc;

use manta_store::{BlobStore, StateStore};
use manta_types::ClusterId;
use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::distribution::Distributions;
use crate::http::Partials;
use crate::identity::Identities;
use crate::links::Links;
use crate::logs::Logs;
use crate::metrics::Metrics;
use crate::orchestrator::Handle;
use crate::people::People;
use crate::quotas::Quotas;
use crate::replays::Replays;
use crate::settings::Listen;
use crate::space::Space;
use crate::supervisor::Supervisor;
use crate::threads::Owned;

/// Uploads that are written at the same time; further ones wait their turn.
const UPLOADS_MAX: usize = 64;

/// The shared parts.
pub(crate) struct Parts {
    pub(crate) cluster: ClusterId,
    /// Which life of the cluster this is.
    pub(crate) generation: u64,
    pub(crate) address: Listen,
    pub(crate) people: People,
    pub(crate) quotas: Quotas,
    /// The names by which it is called, beside those of loopback.
    pub(crate) public_names: Vec<String>,
    /// Who may join and who joined; nobody can over a Unix socket.
    pub(crate) identities: Option<Arc<Identities>>,
    pub(crate) handle: Handle,
    pub(crate) store: Owned<Box<dyn StateStore>>,
    pub(crate) blobs: Arc<dyn BlobStore>,
    pub(crate) links: Links,
    pub(crate) logs: Logs,
    pub(crate) replays: Arc<Replays>,
    pub(crate) distributions: Distributions,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) supervisor: Supervisor,
    pub(crate) uploads: Semaphore,
    pub(crate) partials: Partials,
    pub(crate) space: Arc<Space>,
    pub(crate) metrics: Arc<Metrics>,
}

/// A clonable handle on the shared parts.
#[derive(Clone)]
pub(crate) struct App(Arc<Parts>);

impl App {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// The permits for uploads.
    pub(crate) fn upload_permits() -> Semaphore {
        Semaphore::new(UPLOADS_MAX)
    }
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}
