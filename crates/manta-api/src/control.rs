//! What somebody on a node's own machine asks of its agent, over the Unix socket in the agent's data directory: a question as
//! one line of JSON, and its answer as another. No manager can ask.
use serde::{Deserialize, Serialize};

use crate::DatasetView;

/// Bytes of a question or an answer.
pub const CONTROL_LINE_BYTES_MAX: usize = 4 << 20;

/// A question to an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub enum ControlRequest {
    /// Which datasets are offered.
    Datasets,
    /// Offer a dataset, also after a restart.
    AddDataset {
        /// What modules call it.
        name: String,
        /// An absolute path on this machine.
        path: String,
    },
    /// Offer a dataset no more.
    RemoveDataset {
        /// What modules call it.
        name: String,
    },
    /// How the agent is.
    Status,
    /// Put another program in the agent's place; what runs goes on.
    Upgrade {
        /// The absolute path of its file; absent: that of the agent's own, as it is now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        program: Option<String>,
    },
}

/// An agent's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum ControlAnswer {
    /// The datasets that are offered now.
    Datasets {
        /// By name.
        datasets: Vec<HeldDataset>,
        /// What else is worth knowing, a sentence each.
        notes: Vec<String>,
    },
    /// How the agent is.
    Status(AgentStatus),
    /// All that runs stands still, and another program takes the agent's place.
    Upgrading {
        /// The release that goes.
        from: String,
        /// The release that comes.
        to: String,
        /// Attempts that have a slot.
        running: u32,
    },
    /// It was not done.
    Refused {
        /// The code of the error, as `M1001`.
        code: String,
        /// Why, in one sentence.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
}

/// A dataset as its own machine sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldDataset {
    /// What the manager is told of it.
    #[serde(flatten)]
    pub view: DatasetView,
    /// Where it is.
    pub path: String,
    /// Attempts that have it open.
    pub attempts: u32,
    /// Whether the agent was started with it, rather than told later.
    pub from_start: bool,
}

/// What a program says of itself that is to take an agent's place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// Its release.
    pub agent_version: String,
    /// The node protocol that it speaks.
    pub protocol: u32,
    /// The form of what it can take over; see [`crate::version::HANDOVER`].
    pub handover: u32,
}

/// How an agent is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentStatus {
    /// The node's name.
    pub node: String,
    /// The agent's release.
    pub agent_version: String,
    /// The node protocol that it speaks.
    pub protocol: u32,
    /// Tells it from those before it; empty from older releases.
    #[serde(default)]
    pub process: String,
    /// Its manager's address.
    pub manager: String,
    /// Whether it has a session with its manager.
    pub is_connected: bool,
    /// How good the connection is, in [0, 1].
    pub link_quality: f64,
    /// Why it has no session, where that is known.
    #[serde(default)]
    pub problem: Option<String>,
    /// Attempts that run, and that wait here.
    pub running: u32,
    /// See `running`.
    pub queued: u32,
    /// What a person should know, a sentence each.
    pub notes: Vec<String>,
}
