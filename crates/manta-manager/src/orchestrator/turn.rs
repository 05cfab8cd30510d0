//! One turn of the service loop: what it changes, and what follows once that is durable.
use std::collections::BTreeMap;

use manta_engine::{Command, Now, Refusal, RolloutRefusal};
use manta_store::{AttemptRecord, KeyRecord, Transaction};
use manta_types::{AttemptId, NodeId, NodeName, SwarmId};

use super::nodes::ConnectRefusal;
use super::registry::RegistryRefusal;

/// Tells one session of a node from those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// How a caller knows again whom an answer is for; the core keeps these and never looks inside.
pub trait Askers {
    /// Who submitted a swarm.
    type Submit;
    /// Who asked for a change.
    type Change;
    /// Which node wants to join.
    type Connect;
    /// Who waits until something is durable.
    type Step;
    /// What else was found out in this turn, and may be told only when the turn is durable.
    type Ask;
}

/// What became of a submission.
pub type SubmitOutcome = Result<SwarmId, Refused>;

/// What became of a change that a user asked for: it is made, now or before, or refused.
pub type ChangeOutcome = Result<(), Refused>;

/// Why a submission or a change was not taken.
#[derive(Debug, Clone, PartialEq)]
pub enum Refused {
    /// No known node could run a task.
    Placement(Vec<Refusal>),
    /// Its idempotency key was used before.
    KeyUsed {
        /// For what.
        earlier: Box<KeyRecord>,
        /// Whether the request was the same.
        same_request: bool,
    },
    /// The swarm that it should continue has not failed, or failed before its first iteration.
    NotFailed,
    /// The swarm or the node is not there, or what it is now is final.
    Stays,
    /// The node gives itself a label of that name.
    OwnLabel(String),
    /// The rollout stays as it is.
    Rollout(Box<RolloutRefusal>),
    /// The registry of modules stays as it is.
    Registry(RegistryRefusal),
}

/// Something to let be known once a turn is durable.
pub enum Effect<A: Askers> {
    /// A swarm's history is durable up to here.
    News {
        /// The swarm.
        swarm: SwarmId,
        /// Its last durable sequence.
        seq: u64,
    },
    /// Answers a submission.
    Submitted {
        /// Who asked.
        asker: A::Submit,
        /// What became of it.
        outcome: SubmitOutcome,
    },
    /// Answers whoever asked for a change.
    Changed {
        /// Who asked.
        asker: A::Change,
        /// What became of it.
        outcome: ChangeOutcome,
    },
    /// Answers a node that wants to join; where it may, its session is open from now on.
    Connected {
        /// Who asked.
        asker: A::Connect,
        /// Its id, or why it may not.
        outcome: Result<NodeId, ConnectRefusal>,
    },
    /// What was said is durable.
    Done(A::Step),
    /// Something found out may be told.
    Told(A::Ask),
    /// Sends a command to a node.
    Send {
        /// Over which session; one that has ended meanwhile loses it, and the node is told again when it connects.
        session: SessionId,
        /// The command.
        command: Command,
    },
    /// Answers a report with what the store has of the attempt.
    Recall(Recall),
    /// Ends a session, with these words to the node.
    End {
        /// Which.
        session: SessionId,
        /// Why.
        why: &'static str,
    },
}

/// A report of an attempt that the engine has forgotten, so that only the store knows how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recall {
    /// Over which session the answer goes.
    pub session: SessionId,
    /// Who reports.
    pub node: NodeName,
    /// Which attempt.
    pub attempt: AttemptId,
    /// Under which epoch.
    pub epoch: u32,
}

impl Recall {
    /// The answer, however late: the same as the first.
    pub fn answer(self, stored: Option<&AttemptRecord>) -> Command {
        let Self { node, attempt, epoch, .. } = self;
        let (accepted, reason) = match stored {
            None => (false, "nobody waits for it"),
            Some(stored) if stored.node != node || stored.epoch != epoch => (false, "it is another node's"),
            Some(stored) if stored.accepted => (true, "accepted before"),
            Some(_) => (false, "it was not accepted"),
        };
        Command::Verdict { node, attempt, epoch, accepted, reason: reason.to_owned() }
    }
}

/// A turn that is being made.
pub struct Turn<A: Askers> {
    pub(super) now: Now,
    pub(super) transaction: Transaction,
    pub(super) effects: Vec<Effect<A>>,
}

impl<A: Askers> Turn<A> {
    pub(super) fn new(now: Now) -> Self {
        Self { now, transaction: Transaction::default(), effects: Vec::new() }
    }

    /// The time of the turn.
    pub const fn now(&self) -> Now {
        self.now
    }

    /// Keeps something that was found out in this turn until it may be told.
    pub fn tell(&mut self, asker: A::Ask) {
        self.effects.push(Effect::Told(asker));
    }

    pub(super) fn seal(mut self) -> Sealed<A> {
        let events = self.transaction.events.iter();
        let news: BTreeMap<SwarmId, u64> = events.map(|event| (event.swarm, event.seq)).collect();
        let mut effects: Vec<_> = news.into_iter().map(|(swarm, seq)| Effect::News { swarm, seq }).collect();
        effects.append(&mut self.effects);
        latest_of_each_node(&mut self.transaction);
        let is_empty = self.transaction.is_empty();
        Sealed { transaction: (!is_empty).then_some(self.transaction), effects }
    }
}

/// A finished turn: first the transaction, then the effects, in order. What cannot be made durable has no effects.
#[must_use]
pub struct Sealed<A: Askers> {
    /// What changes, all of it together; nothing where nothing changes.
    pub transaction: Option<Transaction>,
    /// What follows, in the order of its causes.
    pub effects: Vec<Effect<A>>,
}

/// A node that connected twice in one turn is stored as it was last.
fn latest_of_each_node(transaction: &mut Transaction) {
    let latest: BTreeMap<_, _> = transaction.nodes.drain(..).map(|node| (node.name.clone(), node)).collect();
    transaction.nodes.extend(latest.into_values());
}
