//! What goes into a step and what comes out.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use manta_types::event::{Outputs, Published, Timings};
use manta_types::{
    AttemptFailure, AttemptId, Cause, Checkpoint, Digest, Event, NodeDuty, NodeName, Policy, Runtime, SignedBy,
    SwarmId, SwarmSpec, TaskIndex, Timestamp,
};

use crate::RolloutOrder;

/// The time of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// What decisions use.
    pub monotonic: Timestamp,
    /// Wall clock in ms since 1970; only written into events and ids.
    pub wall_ms: u64,
}

/// What a node says of itself when it connects.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeDescription {
    /// Its name.
    pub name: NodeName,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Names of the datasets it offers.
    pub datasets: Vec<String>,
    /// Images it can make; see `placement::image_matches`.
    pub images: Vec<String>,
    /// What interpreter and machine an image is, for those of which it is known.
    pub runtimes: BTreeMap<String, Runtime>,
    /// The version of an image's Python, for those of which it is known: `3.11.9`, or `3.11`.
    pub pythons: BTreeMap<String, String>,
    /// Its processor's architecture; empty where it is not told.
    pub architecture: String,
    /// Attempts it runs at once; more are queued there.
    pub slots: u32,
    /// Processor cores.
    pub cpu: f64,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// The most that a task's scratch can hold, in bytes.
    pub tmp_bytes: u64,
    /// GPUs: the memory of each in bytes, 0 where it is not told.
    pub gpus: Vec<u64>,
    /// What its site allows there; the node itself has the last word.
    pub policy: Policy,
}

/// An attempt that a node still has when it connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The attempt.
    pub attempt: AttemptId,
    /// Under which epoch.
    pub epoch: u32,
}

/// A swarm to run; already checked by `validate`.
#[derive(Debug, Clone)]
pub struct Submit {
    /// Its new id.
    pub id: SwarmId,
    /// What was asked for.
    pub spec: Arc<SwarmSpec>,
    /// Where it goes on, if it continues a swarm that failed; see `SwarmRun::checkpoint`.
    pub continues: Option<Box<Checkpoint>>,
}

/// Something that happened outside.
#[derive(Debug, Clone)]
pub enum Input {
    /// A swarm is to run.
    Submit(Submit),
    /// A person ends a swarm.
    Stop {
        /// Which.
        swarm: SwarmId,
        /// In whose words.
        reason: String,
    },
    /// A person holds a swarm.
    Pause {
        /// Which.
        swarm: SwarmId,
        /// In whose words.
        reason: String,
    },
    /// A person lets a swarm go on.
    Resume {
        /// Which.
        swarm: SwarmId,
        /// In whose words.
        reason: String,
    },
    /// A person starts or changes a rollout of a task.
    Rollout {
        /// Whose task.
        swarm: SwarmId,
        /// Which task.
        task: TaskIndex,
        /// What is asked.
        order: RolloutOrder,
    },
    /// A person takes a node out of use: it gets no new work, and what runs may end.
    Drain {
        /// Which.
        node: NodeName,
        /// How long what runs may go on; without it, until it ends.
        deadline: Option<Duration>,
        /// In whose words.
        reason: String,
    },
    /// A person takes a node into use again.
    ResumeNode {
        /// Which.
        node: NodeName,
        /// In whose words.
        reason: String,
    },
    /// A person takes a node's identity away: it loses its attempts now and may not connect any more.
    Revoke {
        /// Which.
        node: NodeName,
        /// In whose words.
        reason: String,
    },
    /// A node connected, or connected again.
    NodeConnected {
        /// What it is.
        node: NodeDescription,
        /// What it still has.
        held: Vec<Held>,
    },
    /// A node that joined offers something else now, or a person labelled it.
    NodeDescribed {
        /// What it is.
        node: NodeDescription,
    },
    /// A person lets go of a node that is gone or revoked, and for which nothing waits.
    NodeRemoved {
        /// Which.
        node: NodeName,
    },
    /// A node's connection ended; its lease goes on.
    NodeDisconnected {
        /// Which.
        node: NodeName,
    },
    /// A node shut down in order: its lease ends now.
    NodeLeft {
        /// Which.
        node: NodeName,
        /// In its words.
        reason: String,
    },
    /// A node was heard.
    NodeHeard {
        /// Which.
        node: NodeName,
    },
    /// An attempt went on to another phase.
    Progressed {
        /// Who says so.
        node: NodeName,
        /// Which.
        attempt: AttemptId,
        /// Under which epoch.
        epoch: u32,
        /// `Preparing`, `Running` or `Uploading`.
        phase: manta_types::event::AttemptStateName,
    },
    /// An attempt ended well and all its blobs are stored.
    Succeeded {
        /// Who says so.
        node: NodeName,
        /// Which.
        attempt: AttemptId,
        /// Under which epoch.
        epoch: u32,
        /// What it leaves.
        outputs: Outputs,
        /// How long it took.
        timings: Timings,
    },
    /// An attempt ended badly, or the node could not take it.
    Failed {
        /// Who says so.
        node: NodeName,
        /// Which.
        attempt: AttemptId,
        /// Under which epoch.
        epoch: u32,
        /// How.
        failure: AttemptFailure,
        /// What it had published, kept for people.
        results: Vec<Published>,
        /// How long it took.
        timings: Timings,
    },
    /// A bundle has these signatures now, all of them sound; policies are judged by them from now on.
    Signed {
        /// The bundle.
        bundle: Digest,
        /// By whom.
        signatures: Vec<SignedBy>,
    },
    /// Time went on.
    Tick,
}

impl Input {
    /// What events that answer it name as their cause.
    pub(crate) fn cause(&self) -> Cause {
        let user = |action: &str| Cause::User { action: action.to_owned() };
        let node = |node: &NodeName, action: &str| Cause::Node { node: node.clone(), action: action.to_owned() };
        match self {
            Self::Submit(Submit { continues: Some(_), .. }) => user("retry"),
            Self::Submit(_) => user("submit"),
            Self::Stop { .. } => user("stop"),
            Self::Pause { .. } => user("pause"),
            Self::Resume { .. } => user("resume"),
            Self::Rollout { order, .. } => order.cause(),
            Self::Drain { .. } => user("drain"),
            Self::ResumeNode { .. } => user("resume"),
            Self::Revoke { .. } => user("revoke"),
            Self::NodeConnected { node: NodeDescription { name, .. }, .. } => node(name, "connected"),
            Self::NodeDescribed { node: NodeDescription { name, .. } } => node(name, "described"),
            Self::NodeRemoved { .. } => user("remove"),
            Self::NodeDisconnected { node: name } => node(name, "disconnected"),
            Self::NodeLeft { node: name, .. } => node(name, "left"),
            Self::NodeHeard { node: name } => node(name, "heard"),
            Self::Progressed { node: name, .. } => node(name, "progress"),
            Self::Succeeded { node: name, .. } | Self::Failed { node: name, .. } => node(name, "report"),
            Self::Signed { .. } => user("sign"),
            Self::Tick => Cause::Time,
        }
    }
}

/// All that a node needs to begin an attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct Offer {
    /// To whom.
    pub node: NodeName,
    /// The attempt.
    pub attempt: AttemptId,
    /// Its lease epoch.
    pub epoch: u32,
    /// Whose.
    pub swarm: SwarmId,
    /// Under which swarm's id the node keeps task state: the first of the line that this one continues, or itself.
    pub state_of: SwarmId,
    /// The task's position in the spec.
    pub task: usize,
    /// From 0.
    pub iteration: u32,
    /// Attempts that ran user code in this slot before.
    pub number: u32,
    /// A hash of (swarm, iteration, alias, node), 63 bits.
    pub seed: u64,
    /// What was asked for, with the versions of modules that this attempt runs.
    pub spec: Arc<SwarmSpec>,
}

/// Something to do, once the step's events are durable.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Tell a node to begin; sent again when the node connects again before it has answered.
    Offer(Box<Offer>),
    /// Tell a node to drop an attempt.
    Cancel {
        /// Whom.
        node: NodeName,
        /// What.
        attempt: AttemptId,
        /// Under which epoch.
        epoch: u32,
        /// In words.
        reason: String,
    },
    /// Answer a node's end-of-attempt report: it may forget the attempt.
    Verdict {
        /// Whom.
        node: NodeName,
        /// What.
        attempt: AttemptId,
        /// Under which epoch.
        epoch: u32,
        /// Whether its outputs count.
        accepted: bool,
        /// In words.
        reason: String,
    },
}

impl Command {
    /// The node that is told.
    pub fn node(&self) -> &NodeName {
        match self {
            Self::Offer(offer) => &offer.node,
            Self::Cancel { node, .. } | Self::Verdict { node, .. } => node,
        }
    }
}

/// What a step decided.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Step {
    /// What happened, to be made durable before anything else.
    pub events: Vec<Event>,
    /// What nodes are used for now, to be made durable in the same transaction.
    pub duties: Vec<DutyChanged>,
    /// What to do then.
    pub commands: Vec<Command>,
}

/// What a node is used for changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DutyChanged {
    /// Which node.
    pub node: NodeName,
    /// What it is used for now.
    pub duty: NodeDuty,
    /// While it drains: how long what runs may still go on, where that is limited.
    pub drain_left: Option<Duration>,
    /// In whose words, or what was seen.
    pub reason: String,
}
