//! What can happen in the simulated world, and what its parts say to each other.
use std::collections::BTreeSet;
use std::sync::Arc;

use manta_engine::{Command, Input, Inputs};
use manta_manager::orchestrator::{Askers, Change, Joining, SessionId};
use manta_node::desk::{self, Journal, Phase};
use manta_store::NewSwarm;
use manta_types::{AttemptId, Digest, NodeId, NodeName, SwarmId, SwarmSpec};

/// A connection between a node and the manager; its number is its session's id.
pub(crate) type LinkId = u64;

/// Something that happens at an instant.
#[derive(Debug)]
pub(crate) enum Happening {
    /// A trouble comes up, and again later.
    Trouble(Trouble),
    /// All troubles end.
    Heal,
    /// At the manager, if it is still in this run of its process.
    Manager(u64, AtManager),
    /// At a node, if it is still in this life of its agent.
    Node(usize, u64, AtNode),
    /// At the user who looks after a swarm.
    User(usize),
    /// Somebody asks for a change again, under the same key.
    Again(Change, String),
    /// Somebody looks whether all goes on after the troubles.
    Nudge,
}

/// A trouble that comes up by itself; others come up where something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    Goodbye,
    Cut,
    Partition,
    ManagerStall,
    NodeStall,
    Clock,
    FullDisk,
    People,
    LowWater,
    Restore,
    Purge,
    Revoke,
    Rollout,
}

/// At the manager.
#[derive(Debug)]
pub(crate) enum AtManager {
    /// Its process starts.
    Start,
    /// Its service loop wakes, unless it was woken otherwise since this timer was set.
    Wake(u64),
    /// The disk has ended a commit.
    Committed,
    /// A node said something.
    Said(LinkId, Said),
    /// A node's report was compared with the stored values.
    Judged(Box<Input>),
    /// A connection is found to have ended.
    Noticed(LinkId),
    /// A request over HTTP.
    Asked(Asked),
    /// A checked submission has passed the look for its key.
    Checked(Submitter, Box<NewSwarm>, Arc<SwarmSpec>),
    /// A change has passed the look for its key.
    NotMade(Change, String),
    /// An attempt's values are on the disk, unless it refuses them.
    Stored(Requester, Vec<Digest>),
}

/// What a node says in its session.
#[derive(Debug, Clone)]
pub(crate) enum Said {
    Hello { id: Option<NodeId>, held: Vec<desk::Held> },
    Beat,
    Progress { attempt: AttemptId, epoch: u32, phase: Phase },
    Finished(Arc<Journal>),
    Refused { attempt: AttemptId, epoch: u32, reason: String },
    Goodbye,
}

/// What is asked over HTTP.
#[derive(Debug)]
pub(crate) enum Asked {
    /// What an attempt may read.
    Inputs(Requester),
    /// To store an attempt's values.
    Upload(Requester, Vec<Digest>),
    /// By a user: to run their swarm, or to let one go on that failed.
    Submit(Submitter),
    /// By a user, under a key.
    Change(Change, String),
    /// By whoever operates the cluster.
    Revoke(NodeName),
    /// By a user: what a swarm looks like now.
    Look { swarm: SwarmId },
}

/// An attempt at work that asks over HTTP, in one life of its node: the answer is for it alone, and not for one that has
/// the same id after a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Requester {
    pub(crate) node: usize,
    pub(crate) life: u64,
    pub(crate) attempt: AttemptId,
    pub(crate) generation: Option<u64>,
}

/// Who wants a swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Submitter {
    pub(crate) user: usize,
    /// The swarm that failed and is to go on in the new one.
    pub(crate) continues: Option<SwarmId>,
}

/// At a node.
#[derive(Debug)]
pub(crate) enum AtNode {
    /// Its agent starts.
    Start,
    /// It dials the manager.
    Dial,
    /// Its greeting was not answered in time.
    GreetingOver(LinkId),
    /// It says that it lives, and looks whether the manager does.
    Beat(LinkId),
    /// The manager said something.
    Told(LinkId, Told),
    /// A connection is found to have ended.
    Closed(LinkId),
    /// An attempt's work goes on, unless it went on otherwise since.
    Work(AttemptId, u64),
    /// An attempt that may run only so long without the manager has done so since this cut.
    StopAfter(AttemptId, u64),
    /// A killed attempt, of this generation, is gone.
    Killed(AttemptId, Option<u64>),
    /// An attempt that was cancelled must be gone by this instant.
    MustBeGone(AttemptId, Option<u64>, u64),
    /// The disk has ended an order, unless it was given another one since.
    Disk(AttemptId, u64),
    /// The disk is asked again.
    TryDisk,
    /// The manager answered a request.
    Answered(Requester, Answer),
}

/// What the manager says in a node's session.
#[derive(Debug)]
pub(crate) enum Told {
    Welcome { id: NodeId, generation: u64 },
    TurnedAway,
    Beat,
    Command(Command),
}

/// The answer to a node's request.
#[derive(Debug)]
pub(crate) enum Answer {
    Inputs(Option<Box<Inputs>>),
    Stored,
}

/// A message in the manager's inbox.
#[derive(Debug)]
pub(crate) enum Message {
    Submit(Submitter, Box<NewSwarm>, Arc<SwarmSpec>),
    Change(Change, String),
    Purge(BTreeSet<SwarmId>),
    Connect(LinkId, Box<Joining>),
    Disconnect(NodeName, SessionId),
    Leave(NodeName, SessionId),
    Step(Box<Input>),
    Inputs(Requester),
    Look(SwarmId),
}

/// What was found out in a turn.
#[derive(Debug)]
pub(crate) enum Found {
    Inputs(Requester, Option<Box<Inputs>>),
    Seen { swarm: SwarmId, seq: u64 },
}

/// Whom the simulated manager answers.
#[derive(Debug)]
pub(crate) struct Asking;

impl Askers for Asking {
    type Submit = Submitter;
    type Change = (Change, String);
    type Connect = (NodeName, LinkId);
    type Step = ();
    type Ask = Found;
}
