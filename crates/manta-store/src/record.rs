//! The records that a [`StateStore`](crate::StateStore) takes and gives.
use manta_types::{AttemptId, Blob, ClusterId, NodeDuty, NodeId, NodeName, SwarmId};

/// A cluster beyond the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterRecord {
    /// Its name.
    pub name: ClusterId,
    /// Wall clock, ms since 1970.
    pub created_ms: u64,
    /// Whether it is going: nothing of it is served any more, and what is left of it is removed.
    pub is_removing: bool,
}

/// A change of which clusters there are beyond the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterChange {
    /// A cluster is new, or is going from now on.
    Put(ClusterRecord),
    /// A cluster goes with every row of it that is left. Its swarms were purged before.
    Gone(ClusterId),
}

/// A swarm as it was submitted.
#[derive(Debug, Clone, PartialEq)]
pub struct NewSwarm {
    /// Its id.
    pub id: SwarmId,
    /// Its name, for listings.
    pub name: String,
    /// The submission, as JSON; opaque to the store.
    pub submission: String,
    /// The client's idempotency key and a digest of the request, where it sent one; stored as a [`KeyRecord`] of this
    /// swarm, without an answer.
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
    /// The sequence of its last event; 0 before the first.
    pub seq: u64,
    /// When it ended, by its first final event; wall clock, ms since 1970.
    pub ended_ms: Option<u64>,
}

/// A mutating call that was answered: a client that never heard of it asks again under the same key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// The client's idempotency key.
    pub key: String,
    /// A digest of the request that used it.
    pub request: String,
    /// The swarm that it made or changed; the record goes with it.
    pub swarm: Option<SwarmId>,
    /// What was done, in words; empty where the swarm was made.
    pub answer: String,
    /// Wall clock, ms since 1970.
    pub used_ms: u64,
}

impl KeyRecord {
    /// The record of the key that a swarm was submitted with, where it had one.
    pub fn of(new: &NewSwarm) -> Option<Self> {
        let (key, request) = new.idempotency.clone()?;
        Some(Self { key, request, swarm: Some(new.id), answer: String::new(), used_ms: new.created_ms })
    }
}

/// An attempt that was offered, however long ago.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRecord {
    /// Its swarm.
    pub swarm: SwarmId,
    /// From 0.
    pub iteration: u32,
    /// The task's position in the graph.
    pub task: usize,
    /// The position in the task run.
    pub slot: usize,
    /// The node that it was offered to.
    pub node: NodeName,
    /// The lease epoch under which it was offered.
    pub epoch: u32,
    /// Whether it was accepted.
    pub accepted: bool,
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
    /// What it is used for.
    pub duty: NodeDuty,
    /// How long its attempts may still run while it drains, in milliseconds from when this was stored; absent without a
    /// deadline.
    pub drain_left_ms: Option<u64>,
}

/// A version of a module as stored: what it is, for ever, and what is said of it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleRecord {
    /// The module's name.
    pub name: String,
    /// SemVer.
    pub version: String,
    /// The manifest of its bundle.
    pub bundle: Blob,
    /// What listings show of it, as JSON; opaque to the store.
    pub about: String,
    /// Who published it, as its client said.
    pub publisher: String,
    /// Wall clock, ms since 1970.
    pub published_ms: u64,
    /// Why it is chosen by no range any more, where it was yanked.
    pub yanked: Option<String>,
    /// What to do in its place, where it is deprecated.
    pub deprecated: Option<String>,
    /// Its names that move from version to version, sorted; none holds a space.
    pub tags: Vec<String>,
    /// Signatures of its bundle, as text; opaque to the store. None holds a line end.
    pub signatures: Vec<String>,
}

impl ModuleRecord {
    /// Whether another record says the same of all that never changes.
    pub fn is_same_version(&self, other: &Self) -> bool {
        let fixed = |record: &Self| Self {
            yanked: None,
            deprecated: None,
            tags: Vec::new(),
            signatures: Vec::new(),
            ..record.clone()
        };
        fixed(self) == fixed(other)
    }
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
