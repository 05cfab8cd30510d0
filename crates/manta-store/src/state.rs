//! The state of a cluster: nodes, swarms, their histories, and the fence that keeps stale attempts out.
use std::io;

use manta_types::{AttemptId, Blob, ClusterId, Event, NodeId, NodeName, SwarmId};

/// A swarm as it was submitted.
#[derive(Debug, Clone, PartialEq)]
pub struct NewSwarm {
    /// Its id.
    pub id: SwarmId,
    /// Its name, for listings.
    pub name: String,
    /// The submission, as JSON; opaque to the store.
    pub submission: String,
    /// The client's idempotency key and a digest of the request, where it sent one.
    pub idempotency: Option<(String, String)>,
    /// Wall clock, ms since 1970.
    pub created_ms: u64,
}

/// A swarm as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct SwarmRecord {
    /// Its id.
    pub id: SwarmId,
    /// Its name.
    pub name: String,
    /// The submission, as JSON.
    pub submission: String,
    /// Wall clock, ms since 1970.
    pub created_ms: u64,
    /// Whether its last event is final.
    pub finished: bool,
}

/// A node as stored: what it was when it last connected.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeRecord {
    /// Its id.
    pub id: NodeId,
    /// Its name, unique in the cluster and immutable.
    pub name: NodeName,
    /// What it said of itself, as JSON; opaque to the store.
    pub description: String,
    /// When it first joined; wall clock, ms since 1970. A node that describes itself anew keeps it.
    pub joined_ms: u64,
}

/// A value that an attempt published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultRecord {
    /// From 0.
    pub iteration: u32,
    /// The task's position in the graph.
    pub task: usize,
    /// The node that ran the attempt.
    pub node: NodeName,
    /// The result's name.
    pub name: String,
    /// The encoded value.
    pub blob: Blob,
    /// The attempt.
    pub attempt: AttemptId,
    /// Whether it counts; results of failed attempts are kept for people only.
    pub accepted: bool,
}

/// The current value of a global that a task wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlobalRecord {
    /// The name.
    pub name: String,
    /// The swarm-wide revision at which it became visible.
    pub revision: u64,
    /// The node whose write won.
    pub writer: NodeName,
    /// The encoded value.
    pub blob: Blob,
}

/// Changes that become durable together, or not at all; applied in the order swarms, nodes, events.
///
/// The store derives its fence rows from the events themselves: `AttemptOffered` makes `(swarm, iteration, task, slot)`
/// belong to that attempt and epoch (which must be higher than before, and the slot not accepted); `AttemptAccepted`
/// needs the slot to still belong to it and not to be accepted already.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Transaction {
    /// Swarms that begin to exist; their events may follow in the same transaction.
    pub swarms: Vec<NewSwarm>,
    /// Events, in order; per swarm the sequence goes on without a gap.
    pub events: Vec<Event>,
    /// Nodes that joined or described themselves anew.
    pub nodes: Vec<NodeRecord>,
}

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
    /// The idempotency key was used before; with the same request this names the swarm it made.
    #[error("the idempotency key was used before")]
    KeyUsed {
        /// The swarm that the key made.
        swarm: SwarmId,
        /// Whether the request was the same.
        same_request: bool,
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
    /// The database was written by another version.
    #[error("`{path}` has format {found}, this manager reads format {wanted}")]
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

/// Where the state of clusters lives. All calls block; a commit returns when it is durable.
pub trait StateStore: Send {
    /// Writes a transaction durably.
    ///
    /// # Errors
    /// See [`CommitError`]; after [`CommitError::Store`] nothing may be acknowledged any more.
    fn commit(&mut self, cluster: &ClusterId, transaction: &Transaction) -> Result<(), CommitError>;

    /// All swarms, in the order in which they were committed.
    ///
    /// # Errors
    /// When the storage fails.
    fn swarms(&mut self, cluster: &ClusterId) -> Result<Vec<SwarmRecord>, StoreError>;

    /// The events of a swarm after a sequence, in order, at most `limit`.
    ///
    /// # Errors
    /// When the storage fails or an event cannot be read.
    fn events(
        &mut self,
        cluster: &ClusterId,
        swarm: SwarmId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Event>, StoreError>;

    /// The swarm that an idempotency key made, with the digest of that request.
    ///
    /// # Errors
    /// When the storage fails.
    fn idempotency(&mut self, cluster: &ClusterId, key: &str) -> Result<Option<(SwarmId, String)>, StoreError>;

    /// All nodes that ever joined, by name.
    ///
    /// # Errors
    /// When the storage fails.
    fn nodes(&mut self, cluster: &ClusterId) -> Result<Vec<NodeRecord>, StoreError>;

    /// What a swarm's attempts published, ordered by iteration, task, node, attempt and order of publication.
    ///
    /// # Errors
    /// When the storage fails.
    fn results(&mut self, cluster: &ClusterId, swarm: SwarmId) -> Result<Vec<ResultRecord>, StoreError>;

    /// The current globals that a swarm's tasks wrote, by name; values of the submission itself are not among them.
    ///
    /// # Errors
    /// When the storage fails.
    fn globals(&mut self, cluster: &ClusterId, swarm: SwarmId) -> Result<Vec<GlobalRecord>, StoreError>;
}
