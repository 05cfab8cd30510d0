//! Why something is as it is, and what would change it, as the public API answers.
use manta_types::event::Failure;
use manta_types::{AttemptId, SwarmId, Usage};
use serde::{Deserialize, Serialize};

use crate::{WaitingNode, WaitingView};

/// Why a swarm, a task of it or an attempt is as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct WhyView {
    /// The version of this document's form.
    pub schema_version: u32,
    /// `sw_…`.
    #[schema(value_type = String)]
    pub swarm: SwarmId,
    /// The swarm's name.
    pub name: String,
    /// The task's alias, where it is about one.
    #[serde(default)]
    pub task: Option<String>,
    /// The iteration, from 0; absent before the first.
    #[serde(default)]
    pub iteration: Option<u32>,
    /// The node's name, where it is about an attempt.
    #[serde(default)]
    pub node: Option<String>,
    /// `at_…`, where it is about an attempt.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub attempt: Option<AttemptId>,
    /// Its state.
    pub state: String,
    /// Why it is in that state, in one sentence.
    pub reason: String,
    /// Each node that matters, with its cause.
    pub nodes: Vec<WaitingNode>,
    /// Tasks that wait, where they matter.
    pub waiting: Vec<WaitingView>,
    /// Task runs that go on, or closed, without some of their nodes, where it is about a swarm: the latest, oldest first.
    #[serde(default)]
    pub short_runs: Vec<ShortRunView>,
    /// How many more of them there were before.
    #[serde(default)]
    pub short_runs_earlier: u32,
    /// The attempts made, oldest first.
    pub attempts: Vec<TryView>,
    /// The failure that decided it: class, message, traceback, location, last log lines, the limit that was reached and all limits.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub failure: Option<Failure>,
    /// What it used, where it is about an attempt that ran: processor time in ms, most memory in bytes, most processes, bytes
    /// published.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub usage: Option<Usage>,
    /// The events that led here, latest first.
    pub chain: Vec<LinkView>,
    /// What the platform itself said in the logs of the task or the attempt that it is about: `node-2: StateLeftBehind(node-1): …`.
    #[serde(default)]
    pub notes: Vec<String>,
    /// What would change it, each as a clause; empty where nothing will.
    pub would_change: Vec<String>,
    /// All of it as people read it.
    pub text: String,
}

/// A task run that goes on, or closed, without some of its nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ShortRunView {
    /// The task's alias.
    pub task: String,
    /// From 0.
    pub iteration: u32,
    /// How many of its nodes left nothing.
    pub missing: u32,
    /// The first of them, each with its cause: `lost 20 s ago`, `revoked`, `drained`.
    pub nodes: Vec<WaitingNode>,
}

/// One attempt among those that were made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TryView {
    /// `at_…`.
    #[schema(value_type = String)]
    pub attempt: AttemptId,
    /// The node's name.
    pub node: String,
    /// Its lease epoch, from 1.
    pub epoch: u32,
    /// `running`, `failed`, `lost`, …
    pub state: String,
    /// How it failed, where it did: class, message, traceback, location, last log lines.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub failure: Option<Failure>,
    /// The module's version that it ran.
    #[serde(default)]
    pub version: String,
}

/// An event in a chain of causes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LinkView {
    /// Position in the swarm's history, from 1.
    pub seq: u64,
    /// Wall clock, ms since 1970.
    pub time_ms: u64,
    /// The event in words.
    pub message: String,
    /// What it follows from: `event 41`, `node-3: report`, `stop by a user`, `time`.
    pub cause: String,
}
