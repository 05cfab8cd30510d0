//! Why state could not be stored or read.
use std::io;

use manta_types::{AttemptId, NodeId, NodeName, SwarmId};

use crate::KeyRecord;

/// Why a commit did not happen; nothing of the transaction was written.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// An offered or accepted attempt is not the newest of its slot, the slot has an accepted one already, or an attempt
    /// ends that was never offered.
    #[error("attempt `{attempt}` is fenced: its slot belongs to a newer epoch or is already accepted")]
    Fenced {
        /// The stale attempt.
        attempt: AttemptId,
    },
    /// An event's sequence does not follow the stored history: another writer was here.
    #[error("the history of swarm `{swarm}` stands at {stored}, so event {given} cannot follow")]
    OutOfOrder {
        /// The swarm.
        swarm: SwarmId,
        /// The last stored sequence.
        stored: u64,
        /// The sequence that was to be written.
        given: u64,
    },
    /// An event belongs to a swarm that is not stored.
    #[error("swarm `{swarm}` is not stored, so its events cannot be")]
    UnknownSwarm {
        /// The swarm.
        swarm: SwarmId,
    },
    /// A swarm of this id is stored already.
    #[error("swarm `{swarm}` is stored already")]
    SwarmKnown {
        /// The swarm.
        swarm: SwarmId,
    },
    /// The name belongs to a node of another id.
    #[error("the node name `{name}` belongs to another node of this cluster")]
    NameTaken {
        /// The name.
        name: NodeName,
    },
    /// A known node came under another name; names are for life.
    #[error("node `{id}` is known as `{name}` and cannot become `{wanted}`")]
    Renamed {
        /// The node.
        id: NodeId,
        /// The name it has.
        name: NodeName,
        /// The name it came with.
        wanted: NodeName,
    },
    /// A version of a module is published already, as another bundle.
    #[error("version {version} of module `{name}` is published already, and stays what it is")]
    Published {
        /// The module.
        name: String,
        /// The version.
        version: String,
    },
    /// The idempotency key was used before.
    #[error("the idempotency key was used before")]
    KeyUsed {
        /// What it was used for.
        earlier: Box<KeyRecord>,
        /// Whether the request was the same.
        same_request: bool,
    },
    /// A swarm that has not ended cannot be purged.
    #[error("swarm `{swarm}` has not ended, so it cannot be purged")]
    NotEnded {
        /// The swarm.
        swarm: SwarmId,
    },
    /// The storage itself failed; the caller must stop acknowledging.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A failure of the storage.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database failed.
    #[error("the database failed: {0}")]
    Database(String),
    /// A file cannot be used at all.
    #[error("cannot use `{path}`")]
    Io {
        /// The file or directory.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A living manager uses the data directory.
    #[error("`{path}` is held by a running manager{}", holder(*.pid))]
    Locked {
        /// The lock file.
        path: String,
        /// The manager's process id, where it could be read.
        pid: Option<u32>,
    },
    /// What is stored cannot be read.
    #[error("{what} cannot be read: {problem}")]
    Corrupt {
        /// Which file or record.
        what: String,
        /// Why.
        problem: String,
    },
    /// The file was written by a newer version.
    #[error(
        "`{path}` has format {found}, this manager (manta {}) reads formats up to {wanted}",
        manta_api::version::PRODUCT
    )]
    Version {
        /// The file.
        path: String,
        /// Its format.
        found: i64,
        /// Ours.
        wanted: i64,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}
