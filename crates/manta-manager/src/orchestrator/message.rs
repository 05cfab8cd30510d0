//! What is asked of the service loop, and what it answers.
use std::collections::BTreeMap;
use std::sync::Arc;

use manta_engine::{Engine, Held, Input, Now, Refusal};
use manta_store::NewSwarm;
use manta_types::{NodeId, NodeName, SwarmId, SwarmSpec};
use tokio::sync::oneshot;

use super::nodes::{ConnectRefusal, KnownNode, NodeProfile};
use super::publish::{Session, SessionId};

/// Runs once the changes of its turn are durable.
pub(crate) type Release = Box<dyn FnOnce() + Send>;

/// A question about the present state; what it found is released with its turn.
pub(crate) type Question = Box<dyn FnOnce(&View<'_>) -> Release + Send>;

/// What a question may look at.
pub(crate) struct View<'a> {
    /// All that is decided.
    pub(crate) engine: &'a Engine,
    /// All nodes that ever joined.
    pub(crate) nodes: &'a BTreeMap<NodeName, KnownNode>,
    /// The time of the turn.
    pub(crate) now: Now,
}

/// One thing for the service loop to do.
pub(crate) enum Message {
    /// A checked swarm is to run.
    Submit { new: NewSwarm, spec: Arc<SwarmSpec>, reply: oneshot::Sender<SubmitOutcome> },
    /// A node opened a session.
    Connect(Box<Connect>),
    /// A session ended; whatever replaced it stays.
    Disconnect { node: NodeName, session: SessionId },
    /// A node said goodbye.
    Leave { node: NodeName, session: SessionId, reason: String },
    /// Something happened; `done` is told once it is durable.
    Step { input: Input, done: oneshot::Sender<()> },
    /// Somebody wants to know.
    Ask(Question),
}

/// A node that opens a session.
pub(crate) struct Connect {
    /// Its name.
    pub(crate) name: NodeName,
    /// The id it kept; absent the first time.
    pub(crate) id: Option<NodeId>,
    /// What it says of itself.
    pub(crate) profile: NodeProfile,
    /// Attempts it still has.
    pub(crate) held: Vec<Held>,
    /// Where commands for it go.
    pub(crate) session: Session,
    /// Told its id once it is durable, or why it is refused.
    pub(crate) reply: oneshot::Sender<Result<NodeId, ConnectRefusal>>,
}

/// What became of a submission.
pub(crate) type SubmitOutcome = Result<SwarmId, Refused>;

/// Why a submission was not taken.
#[derive(Debug)]
pub(crate) enum Refused {
    /// No known node could run a task.
    Placement(Vec<Refusal>),
    /// Its idempotency key made a swarm before.
    KeyUsed {
        /// The swarm.
        swarm: SwarmId,
        /// Whether the request was the same.
        same_request: bool,
    },
}
