//! The history of a swarm: what the engine decided, complete enough to rebuild the swarm's state from nothing else.
//!
//! The JSON form of these types is both what the store keeps and what the API shows (see ADR 0003), so a variant or a
//! field is only ever added, and unknown kinds are kept and shown.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::checkpoint::Checkpoint;
use crate::state::AttemptChange;
use crate::{
    Allowance, AttemptFailure, AttemptId, AttemptState, Blob, Figure, Holder, LimitReached, NodeName, OutcomeClass,
    Pin, RolloutPlan, RolloutState, SwarmId, TaskIndex, TaskRunState, Usage,
};

/// One entry of a swarm's history.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Whose history.
    pub swarm: SwarmId,
    /// Position in it, from 1 without gaps.
    pub seq: u64,
    /// Wall clock in ms since 1970, for people only.
    pub time_ms: u64,
    /// Whom it concerns.
    pub subject: Subject,
    /// What it follows from.
    pub cause: Cause,
    /// What happened.
    pub what: SwarmEvent,
}

/// Whom an event concerns, as far down as it goes: an event of an attempt names all four.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Subject {
    /// The iteration, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iteration: Option<u32>,
    /// The task's position in the graph.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskIndex>,
    /// The node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
    /// The attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<AttemptId>,
}

/// What an event follows from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Cause {
    /// A history from before causes were written.
    #[default]
    Unknown,
    /// A person or program asked for it: `submit`, `stop`, `pause`, `resume`, `retry`, `drain`.
    User {
        /// The verb.
        action: String,
    },
    /// A node said or did something: `connected`, `left`, `heard`, `progress`, `report`.
    Node {
        /// Which node.
        node: NodeName,
        /// What it did.
        action: String,
    },
    /// A deadline, a lease or a wait ran out.
    Time,
    /// It follows from an earlier event of the same swarm.
    Event {
        /// That event's sequence.
        seq: u64,
    },
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown => f.write_str("unknown"),
            Self::User { action } => write!(f, "{action} by a user"),
            Self::Node { node, action } => write!(f, "{node}: {action}"),
            Self::Time => f.write_str("time"),
            Self::Event { seq } => write!(f, "event {seq}"),
        }
    }
}

/// A value that an attempt published under a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// The name.
    pub name: String,
    /// The encoded value.
    pub blob: Blob,
}

/// A global's new value and who gave it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GlobalWrite {
    /// The global's name.
    pub name: String,
    /// The encoded value.
    pub blob: Blob,
    /// The swarm-wide revision at which it became visible.
    pub revision: u64,
    /// The node whose write won.
    pub writer: NodeName,
}

/// A request for one more iteration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextIteration {
    /// The task whose nodes are named, by alias.
    pub task: Option<String>,
    /// The nodes it shall run on, in place of its method and maximum.
    pub nodes: Option<Vec<NodeName>>,
}

/// What a node measured of an attempt: how long its phases took, in milliseconds by the node's clock, how it was started, and what
/// it used.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Timings {
    /// Waiting for a free slot.
    pub queue_ms: u64,
    /// Fetching code and inputs.
    pub prepare_ms: u64,
    /// From the sandbox's start to the first line of `run()`.
    pub start_ms: u64,
    /// Inside `run()`.
    pub run_ms: u64,
    /// Sending what was published.
    pub upload_ms: u64,
    /// How its sandbox was started; none where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_way: Option<StartWay>,
    /// Why it was started no quicker, in words; empty where nothing quicker was permitted or there is nothing quicker.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub start_instead: String,
    /// What it used; absent where it was not started, or its node does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

/// The ways in which a node starts a sandbox, quickest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartWay {
    /// It waited, locked up, for a task.
    Standby,
    /// It was forked when it was asked for.
    Fork,
    /// Its program was started anew.
    Cold,
}

impl StartWay {
    /// Every way.
    pub const ALL: [Self; 3] = [Self::Standby, Self::Fork, Self::Cold];

    /// The way's name, as on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Standby => "standby",
            Self::Fork => "fork",
            Self::Cold => "cold",
        }
    }
}

/// What an accepted attempt leaves behind, all of it at once.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Outputs {
    /// Results, in the order they were first published.
    pub results: Vec<Published>,
    /// Globals written.
    pub globals: Vec<Published>,
    /// Requests for another iteration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub next_iterations: Vec<NextIteration>,
    /// Whether it asked that the swarm end after this iteration.
    #[serde(default)]
    pub stop_swarm: bool,
    /// The newest finite value of each metric that it logged.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, f64>,
}

/// What can happen in a swarm's life.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[expect(
    missing_docs,
    reason = "fields named after glossary terms: `task` is a position in the graph, `slot` one in the task run"
)]
pub enum SwarmEvent {
    /// It passed validation and will run.
    SwarmAdmitted,
    /// It goes on where a swarm that failed left off; complete in itself, so that the other's history is not needed.
    SwarmContinued { checkpoint: Box<Checkpoint> },
    /// A pass through the graph began.
    IterationStarted {
        /// Counted from 0.
        iteration: u32,
        /// Nodes named for tasks by requests of the iteration before.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        requests: Vec<NextIteration>,
    },
    /// All predecessors of a task have closed.
    TaskRunReady { iteration: u32, task: usize },
    /// A task will not run in this iteration.
    TaskRunSkipped { iteration: u32, task: usize, reason: String },
    /// A task's nodes were chosen, and what it reads was pinned.
    TaskRunStarted {
        iteration: u32,
        task: usize,
        /// One slot each, in this order.
        nodes: Vec<NodeName>,
        /// Whether a slot may move to another node.
        movable: bool,
        /// The revision of the globals that its attempts read.
        globals_revision: u64,
        /// Those of the nodes that run the version which is being rolled out.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        renewed: Vec<NodeName>,
    },
    /// A node was told to try; the lease epoch of a slot rises with every offer.
    AttemptOffered {
        attempt: AttemptId,
        iteration: u32,
        task: usize,
        slot: usize,
        node: NodeName,
        epoch: u32,
        /// Why this attempt exists: `first`, `retry after user_error`, `node-3 lost`.
        reason: String,
        /// The module's version that it runs, where a rollout brought it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<String>,
    },
    /// An attempt went on to another phase.
    AttemptProgressed { attempt: AttemptId, state: AttemptStateName },
    /// What it published counts.
    AttemptAccepted { attempt: AttemptId, outputs: Outputs, timings: Timings },
    /// It ended badly; what it published is kept for people only.
    AttemptFailed {
        attempt: AttemptId,
        failure: Failure,
        results: Vec<Published>,
        timings: Timings,
        /// Milliseconds to wait before the next attempt, where there will be one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
    },
    /// It will never count: its node went, or a newer epoch took its place.
    AttemptLost { attempt: AttemptId, reason: String },
    /// It was no longer wanted.
    AttemptCancelled { attempt: AttemptId, reason: String },
    /// A task goes on without a node that must run it.
    NodeExcused { iteration: u32, task: usize, slot: usize, node: NodeName, reason: String },
    /// A task run closed; its accepted global writes became visible.
    TaskRunClosed {
        iteration: u32,
        task: usize,
        /// `succeeded` or `failed`.
        succeeded: bool,
        /// The rule that fired, in words.
        reason: String,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        globals: Vec<GlobalWrite>,
        /// Names to which nodes wrote different values, with the writers.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        conflicts: Vec<String>,
    },
    /// All tasks of an iteration have closed.
    IterationFinished { iteration: u32, elapsed_ms: u64 },
    /// The swarm ended well.
    SwarmSucceeded { reason: String },
    /// The swarm could not go on.
    SwarmFailed { reason: String, attempt: Option<AttemptId> },
    /// A person ended it.
    SwarmStopped { reason: String },
    /// A person holds it: what runs may end, nothing new starts.
    SwarmPaused { reason: String },
    /// A person lets it go on; deadlines and waits stood still meanwhile.
    SwarmResumed {
        reason: String,
        /// How long it was held, in milliseconds.
        paused_ms: u64,
    },
    /// Another version of a task's module is to run, on more and more of its nodes. Rollouts of a swarm count from 1.
    RolloutStarted {
        rollout: u32,
        task: usize,
        /// The version that the task runs everywhere so far.
        from: String,
        to: Box<Pin>,
        plan: Box<RolloutPlan>,
        /// Whether it is the way back from a rollout that completed.
        #[serde(default)]
        back: bool,
        reason: String,
    },
    /// From the next iteration on, this share of the task's nodes runs the new version.
    RolloutStepped {
        rollout: u32,
        task: usize,
        /// From 0.
        step: u32,
        /// In (0, 1].
        share: f64,
        /// Nodes that run the task and cannot run the new version, with the cause.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        unfit: Vec<UnfitNode>,
        /// How the gates of the step before were judged.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        figures: Vec<Figure>,
        reason: String,
    },
    /// It stays at its step until somebody or something lets it go on.
    RolloutHeld {
        rollout: u32,
        task: usize,
        holder: Holder,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        figures: Vec<Figure>,
        reason: String,
    },
    /// A person lets it go on as its gates say.
    RolloutResumed { rollout: u32, task: usize, reason: String },
    /// A person wants its next step, or its last, at the next boundary of iterations, whatever its gates say.
    RolloutPromoted {
        rollout: u32,
        task: usize,
        #[serde(default)]
        full: bool,
        reason: String,
    },
    /// It is over. Where it was reverted, every attempt that begins from now on runs the version of before.
    RolloutEnded {
        rollout: u32,
        task: usize,
        /// `completed`, `reverted` or `abandoned`.
        outcome: RolloutState,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        figures: Vec<Figure>,
        reason: String,
    },
}

/// A node that a version cannot run on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnfitNode {
    /// The node.
    pub node: NodeName,
    /// Why.
    pub cause: String,
}

/// A live phase of an attempt, as written in events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptStateName {
    /// The node has it.
    Preparing,
    /// User code runs.
    Running,
    /// The node's lease lapsed.
    Silent,
    /// User code ended well; values are on their way.
    Uploading,
}

impl AttemptStateName {
    /// The change that leads to this phase.
    pub const fn change(self) -> AttemptChange {
        match self {
            Self::Preparing => AttemptChange::Prepare,
            Self::Running => AttemptChange::Start,
            Self::Silent => AttemptChange::FallSilent,
            Self::Uploading => AttemptChange::Upload,
        }
    }

    /// The state of that name.
    pub const fn state(self) -> AttemptState {
        match self {
            Self::Preparing => AttemptState::Preparing,
            Self::Running => AttemptState::Running,
            Self::Silent => AttemptState::Silent,
            Self::Uploading => AttemptState::Uploading,
        }
    }
}

/// [`AttemptFailure`] as written in events.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Failure {
    /// The class's stable name.
    pub class: String,
    /// One sentence.
    pub message: String,
    /// The Python traceback, user frames first.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub traceback: String,
    /// The user's file and line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// The last log lines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log_tail: Vec<String>,
    /// The limit that it ran into, with its value, the most that was used, and their unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reached: Option<Box<LimitReached>>,
    /// What it could use, where it was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Box<Allowance>>,
}

impl From<AttemptFailure> for Failure {
    fn from(failure: AttemptFailure) -> Self {
        let AttemptFailure { class, message, traceback, location, log_tail, reached, limits } = failure;
        Self { class: class.name().to_owned(), message, traceback, location, log_tail, reached, limits }
    }
}

impl From<Failure> for AttemptFailure {
    fn from(failure: Failure) -> Self {
        let Failure { class, message, traceback, location, log_tail, reached, limits } = failure;
        let class = OutcomeClass::from_name(&class).unwrap_or(OutcomeClass::Platform);
        Self { class, message, traceback, location, log_tail, reached, limits }
    }
}

impl SwarmEvent {
    /// The stable name of the kind of event.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::SwarmAdmitted => "swarm_admitted",
            Self::SwarmContinued { .. } => "swarm_continued",
            Self::IterationStarted { .. } => "iteration_started",
            Self::TaskRunReady { .. } => "task_run_ready",
            Self::TaskRunSkipped { .. } => "task_run_skipped",
            Self::TaskRunStarted { .. } => "task_run_started",
            Self::AttemptOffered { .. } => "attempt_offered",
            Self::AttemptProgressed { .. } => "attempt_progressed",
            Self::AttemptAccepted { .. } => "attempt_accepted",
            Self::AttemptFailed { .. } => "attempt_failed",
            Self::AttemptLost { .. } => "attempt_lost",
            Self::AttemptCancelled { .. } => "attempt_cancelled",
            Self::NodeExcused { .. } => "node_excused",
            Self::TaskRunClosed { .. } => "task_run_closed",
            Self::IterationFinished { .. } => "iteration_finished",
            Self::SwarmSucceeded { .. } => "swarm_succeeded",
            Self::SwarmFailed { .. } => "swarm_failed",
            Self::SwarmStopped { .. } => "swarm_stopped",
            Self::SwarmPaused { .. } => "swarm_paused",
            Self::SwarmResumed { .. } => "swarm_resumed",
            Self::RolloutStarted { .. } => "rollout_started",
            Self::RolloutStepped { .. } => "rollout_stepped",
            Self::RolloutHeld { .. } => "rollout_held",
            Self::RolloutResumed { .. } => "rollout_resumed",
            Self::RolloutPromoted { .. } => "rollout_promoted",
            Self::RolloutEnded { .. } => "rollout_ended",
        }
    }

    /// Whether nothing can follow it.
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::SwarmSucceeded { .. } | Self::SwarmFailed { .. } | Self::SwarmStopped { .. })
    }

    /// The state that closes a task run, where this event does so.
    pub const fn closed_as(&self) -> Option<TaskRunState> {
        match self {
            Self::TaskRunClosed { succeeded: true, .. } => Some(TaskRunState::Succeeded),
            Self::TaskRunClosed { succeeded: false, .. } => Some(TaskRunState::Failed),
            Self::TaskRunSkipped { .. } => Some(TaskRunState::Skipped),
            _ => None,
        }
    }
}
