//! The clusters of a manager: one that it starts with, and those that its administrator adds. Each has an engine, sessions, logs
//! and blobs of its own; they share the listener, the stores' files, and the people's door.
mod change;
mod clear;
mod found;
mod start;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use manta_api::{ErrorCode, JoinToken, Problem};
use manta_store::{BlobStore, ClusterRecord, LogStore, StateStore};
use manta_types::name::{nearest, printable};
use manta_types::{ClusterId, NodeName};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub(crate) use self::start::folder_of;
use crate::ManagerError;
use crate::app::App;
use crate::clock::Clock;
use crate::identity::{NodeCertificate, Registrar};
use crate::oidc::Issuer;
use crate::people::People;
use crate::settings::{Collector, Listen};
use crate::space::Space;
use crate::supervisor::Supervisor;
use crate::threads::Owned;

/// Uploads that are written at the same time, of all clusters; further ones wait their turn.
const UPLOADS_MAX: usize = 64;

/// What all clusters of a manager share.
pub(crate) struct Shared {
    pub(crate) data_dir: PathBuf,
    pub(crate) address: Listen,
    /// The names by which it is called, beside those of loopback.
    pub(crate) public_names: Vec<String>,
    pub(crate) swarms_running_max: usize,
    pub(crate) collector: Option<Collector>,
    /// Which life of the manager's state this is.
    pub(crate) generation: u64,
    pub(crate) people: Arc<People>,
    /// What proves who the manager and its nodes are; nothing over a Unix socket, where no other machine can join.
    pub(crate) registrar: Option<Arc<Registrar>>,
    /// Whom people sign in at, where the manager knows one.
    pub(crate) issuer: Option<Arc<Issuer>>,
    pub(crate) store: Owned<Box<dyn StateStore>>,
    pub(crate) logs: Owned<LogStore>,
    /// Those of the first cluster; every other one has a folder of its own.
    pub(crate) blobs: Arc<dyn BlobStore>,
    pub(crate) space: Arc<Space>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) supervisor: Supervisor,
    pub(crate) uploads: Arc<Semaphore>,
}

impl Shared {
    /// The permits for uploads.
    pub(crate) fn upload_permits() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(UPLOADS_MAX))
    }
}

/// A cluster beyond the first.
#[derive(Clone)]
enum Place {
    /// It is served.
    Open(App),
    /// It is not, and this is why: what is stored of it cannot be followed, or it leaves and is not gone yet.
    Closed { record: ClusterRecord, why: String },
}

/// A clonable handle on all clusters.
#[derive(Clone)]
pub(crate) struct Clusters(Arc<Inner>);

struct Inner {
    shared: Shared,
    first: App,
    others: RwLock<BTreeMap<ClusterId, Place>>,
    /// Held while a cluster is made or goes.
    changing: tokio::sync::Mutex<()>,
}

impl Clusters {
    /// What all of them share.
    pub(crate) fn shared(&self) -> &Shared {
        &self.0.shared
    }

    /// The cluster that the manager was started with.
    pub(crate) fn first(&self) -> &App {
        &self.0.first
    }

    /// The cluster of that name, where it is there and served.
    pub(crate) fn get(&self, name: &str) -> Option<App> {
        if name == self.first().cluster.as_str() {
            return Some(self.first().clone());
        }
        match self.place(name)? {
            Place::Open(app) => Some(app),
            Place::Closed { .. } => None,
        }
    }

    /// All clusters that are served, the first one first.
    pub(crate) fn all(&self) -> Vec<App> {
        let others = self.0.others.read().unwrap_or_else(PoisonError::into_inner);
        let open = others.values().filter_map(|place| match place {
            Place::Open(app) => Some(app.clone()),
            Place::Closed { .. } => None,
        });
        std::iter::once(self.first().clone()).chain(open).collect()
    }

    /// How many clusters there are that cannot be recovered.
    pub(crate) fn damaged(&self) -> usize {
        let others = self.0.others.read().unwrap_or_else(PoisonError::into_inner);
        others.values().filter(|place| matches!(place, Place::Closed { record, .. } if !record.is_removing)).count()
    }

    /// Cancelled when the node that a certificate names is revoked; nothing where its cluster is not served.
    pub(crate) fn live(&self, certificate: &NodeCertificate) -> Option<CancellationToken> {
        let node: &NodeName = &certificate.node;
        Some(self.get(&certificate.cluster)?.identities.as_ref()?.members.live(node))
    }

    /// The cluster that a token lets nodes into; the first where there is no such token, for it says so.
    ///
    /// # Errors
    /// When what is stored cannot be read.
    pub(crate) async fn of_token(&self, token: &str) -> Result<App, ManagerError> {
        let token = token.parse::<JoinToken>().ok();
        let name = match self.shared().registrar.as_ref().zip(token) {
            Some((registrar, token)) => registrar.cluster_of(&token).await?,
            None => None,
        };
        Ok(name.and_then(|name| self.get(name.as_str())).unwrap_or_else(|| self.first().clone()))
    }

    /// Why a cluster is not served, for somebody who may know which there are.
    pub(crate) fn unserved(&self, name: &str) -> Problem {
        if let Some(Place::Closed { record, why }) = self.place(name) {
            return found::closed(&record, &why);
        }
        let problem = no_cluster(name);
        let others = self.0.others.read().unwrap_or_else(PoisonError::into_inner);
        let known = others.keys().chain([&self.first().cluster]).map(ClusterId::as_str);
        match nearest(name, known) {
            Some(near) => problem.hint(format!("did you mean `{near}`?")),
            None => problem.hint("`manta cluster ls` lists them"),
        }
    }

    /// Why a user's own cluster is not served.
    pub(crate) fn own_unserved(&self, name: &str) -> Problem {
        match self.place(name) {
            Some(Place::Closed { record, why }) if !record.is_removing => found::closed(&record, &why),
            _ => no_cluster(name),
        }
    }

    fn place(&self, name: &str) -> Option<Place> {
        let name = ClusterId::new(name).ok()?;
        self.0.others.read().unwrap_or_else(PoisonError::into_inner).get(&name).cloned()
    }
}

/// There is no such cluster, or none that whoever asks may know of.
pub(crate) fn no_cluster(name: &str) -> Problem {
    Problem::new(ErrorCode::NotFound, format!("there is no cluster `{}` here", printable(name, 80)))
}

/// The same for a user of another one: what there is beside their own is not told.
pub(crate) fn not_yours(name: &str, own: &ClusterId) -> Problem {
    no_cluster(name).hint(format!("your token is for the cluster `{own}`: name it with `--cluster` or MANTA_CLUSTER"))
}
