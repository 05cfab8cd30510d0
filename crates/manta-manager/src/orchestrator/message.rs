//! What is asked of the service loop.
use std::collections::BTreeSet;
use std::sync::Arc;

use manta_engine::{Input, SwarmRun};
use manta_store::NewSwarm;
use manta_types::{NodeId, NodeName, SwarmId, SwarmSpec};
use tokio::sync::oneshot;

use super::change::Change;
use super::core::{InUse, Joining, View};
use super::nodes::ConnectRefusal;
use super::profile::Offering;
use super::publish::Session;
use super::turn::{Askers, ChangeOutcome, SessionId, SubmitOutcome};

/// Runs once the changes of its turn are durable.
pub(crate) type Release = Box<dyn FnOnce() + Send>;

/// A question about the present state; what it found is released with its turn.
pub(crate) type Question = Box<dyn FnOnce(&View<'_>) -> Release + Send>;

/// One thing for the service loop to do.
pub(crate) enum Message {
    /// A checked swarm is to run.
    Submit { new: NewSwarm, spec: Arc<SwarmSpec>, reply: oneshot::Sender<SubmitOutcome> },
    /// A new swarm is to go on where one that failed stopped.
    Retry { new: NewSwarm, failed: SwarmId, reply: oneshot::Sender<SubmitOutcome> },
    /// A user asks for a change, under a key and a digest of the request where they sent one.
    Change { change: Change, idempotency: Option<(String, String)>, reply: oneshot::Sender<ChangeOutcome> },
    /// A node opened a session.
    Connect(Box<Connect>),
    /// A session ended; whatever replaced it stays.
    Disconnect { node: NodeName, session: SessionId },
    /// A node said goodbye.
    Leave { node: NodeName, session: SessionId, reason: String },
    /// What a node has to say of itself is this now.
    Note { node: NodeName, notes: Vec<String> },
    /// Something happened to a node that people should know.
    Tell { node: NodeName, words: String },
    /// What a node offers, and what its site allows there, is this now.
    Offer { node: NodeName, offering: Box<Offering> },
    /// Something happened; `done` is told once it is durable.
    Step { input: Box<Input>, done: oneshot::Sender<()> },
    /// Swarms that have ended go; `done` is told once they are gone.
    Purge { swarms: BTreeSet<SwarmId>, done: oneshot::Sender<()> },
    /// Keys of no swarm that were used before this moment go; `done` is told once they are gone.
    ForgetKeys { before_ms: u64, done: oneshot::Sender<()> },
    /// Swarms that ended before the start are known again; `done` is told once they can be asked about.
    Remember { ended: Vec<SwarmRun>, done: oneshot::Sender<()> },
    /// The cluster is to go: from now on nothing is taken any more, unless it is in use; `reply` is told by what.
    Close { reply: oneshot::Sender<Option<InUse>> },
    /// Somebody wants to know.
    Ask(Question),
}

/// A node that opens a session, and where commands for it go.
pub(crate) struct Connect {
    pub(crate) joining: Joining,
    pub(crate) session: Session,
    /// Told its id once it is durable, or why it is refused.
    pub(crate) reply: oneshot::Sender<Result<NodeId, ConnectRefusal>>,
}

/// Whom the service loop answers: tasks that wait at the other end of a channel.
#[derive(Debug)]
pub(super) struct Tasks;

impl Askers for Tasks {
    type Submit = oneshot::Sender<SubmitOutcome>;
    type Change = oneshot::Sender<ChangeOutcome>;
    type Connect = (NodeName, Session, oneshot::Sender<Result<NodeId, ConnectRefusal>>);
    type Step = oneshot::Sender<()>;
    type Ask = Release;
}
