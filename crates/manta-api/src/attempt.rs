//! What the public API answers about one attempt of the past, and about its replay.
use manta_types::event::{Failure, NextIteration, Published, Timings};
use manta_types::{AttemptId, Digest, ReplayId, SwarmId};
use serde::{Deserialize, Serialize};

use crate::view::{AttemptInputs, LogLine};

/// An attempt, rebuilt from its swarm's history: all that it takes to run it again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AttemptView {
    /// `at_…`.
    #[schema(value_type = String)]
    pub id: AttemptId,
    /// `sw_…`.
    #[schema(value_type = String)]
    pub swarm: SwarmId,
    /// The swarm's name.
    pub swarm_name: String,
    /// The task's alias.
    pub task: String,
    /// The node's name.
    pub node: String,
    /// From 0.
    pub iteration: u32,
    /// Its lease epoch.
    pub epoch: u32,
    /// Attempts at the same assignment that ran user code before it.
    pub number: u32,
    /// 63 bits, equal in all attempts at the same assignment.
    pub seed: u64,
    /// Why it was made: `first`, `again after user_error`.
    pub reason: String,
    /// The module's name.
    pub module: String,
    /// The module's version.
    pub version: String,
    /// Digest of the bundle's manifest, a blob like any other.
    #[schema(value_type = String)]
    pub bundle: Digest,
    /// The environment that the module asks for.
    pub image: String,
    /// Datasets that the module may open.
    pub datasets: Vec<String>,
    /// What it asked for.
    pub limits: AttemptLimits,
    /// Milliseconds that user code may take; absent where nothing bounds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Wall clock of its offer, ms since 1970.
    pub offered_ms: u64,
    /// Wall clock of its end, ms since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<u64>,
    /// `live`, `accepted`, `failed`, `lost`, `cancelled`.
    pub state: String,
    /// Why it was lost or cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_because: Option<String>,
    /// What it left, where it was accepted or failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<AttemptOutcome>,
    /// Attempts at its task on its node that were accepted since its offer, itself among them: each may have changed
    /// the state that the node keeps for the task.
    pub accepted_since: u32,
    /// What it could read. The labels and names of nodes are those of today.
    #[schema(value_type = Object)]
    pub inputs: AttemptInputs,
}

/// What an attempt may use; what is absent takes the node's default.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AttemptLimits {
    /// Processor cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
    /// Bytes of memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Bytes of private scratch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tmp_bytes: Option<u64>,
    /// Processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
    /// GPUs.
    #[serde(default)]
    pub gpu_count: u32,
    /// Bytes on each of them that it may use, beside others; absent: it has them alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_memory_bytes: Option<u64>,
}

/// What one run of a task left, whether or not it counts.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AttemptOutcome {
    /// Results, in the order they were first published.
    #[schema(value_type = Vec<Object>)]
    pub results: Vec<Published>,
    /// Globals written; of a failed attempt they are not known.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    pub globals: Vec<Published>,
    /// Requests for another iteration.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    pub next_iterations: Vec<NextIteration>,
    /// Whether it asked that the swarm end.
    #[serde(default)]
    pub stop_swarm: bool,
    /// How it failed, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object)]
    pub failure: Option<Failure>,
    /// How long its phases took, in milliseconds.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub timings: Timings,
}

/// A replay, as shown: a past attempt that its node runs once more, and of which nothing counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ReplayView {
    /// `rp_…`.
    #[schema(value_type = String)]
    pub id: ReplayId,
    /// The attempt that is run again.
    #[schema(value_type = String)]
    pub attempt: AttemptId,
    /// Where it runs.
    pub node: String,
    /// `ordered`, `preparing`, `running`, `uploading`, `finished`, `lost`, `stopped`.
    pub state: String,
}

/// Something that a replay told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplayEvent {
    /// Position among what this replay told, from 1.
    pub seq: u64,
    /// What it is.
    #[serde(flatten)]
    pub what: ReplayNews,
}

/// What a replay can tell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ReplayNews {
    /// It went on to another phase: `preparing`, `running`, `uploading`.
    Phase {
        /// Which.
        phase: String,
    },
    /// The task logged or printed a line. Its attempt is the one that is run again.
    Log {
        /// The line; its `seq` is the event's.
        line: LogLine,
    },
    /// It ended, well or not; nothing follows.
    Finished {
        /// What it left. Values are stored for as long as anything stored but referenced by nothing is.
        outcome: AttemptOutcome,
        /// Names of the node's state that it read as the node keeps it now.
        state_read: Vec<String>,
    },
    /// It will not end: its node's session ended, or it was stopped; nothing follows.
    Lost {
        /// Why.
        reason: String,
    },
}

impl ReplayNews {
    /// The kind, as in JSON.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Phase { .. } => "phase",
            Self::Log { .. } => "log",
            Self::Finished { .. } => "finished",
            Self::Lost { .. } => "lost",
        }
    }

    /// Whether nothing can follow.
    pub const fn is_last(&self) -> bool {
        matches!(self, Self::Finished { .. } | Self::Lost { .. })
    }
}
