//! What the public API answers.
use std::collections::BTreeMap;

use manta_types::{AttemptId, Blob, Cause, Event, Subject, SwarmId};
use serde::{Deserialize, Serialize};

/// A swarm, as shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SwarmView {
    /// `sw_…`.
    #[schema(value_type = String)]
    pub id: SwarmId,
    /// Its name.
    pub name: String,
    /// `pending`, `running`, `succeeded`, …
    pub state: String,
    /// Why it is in that state, in one sentence.
    pub reason: String,
    /// The current or last iteration, from 0; absent before the first.
    pub iteration: Option<u32>,
    /// Iterations to loop to, where bounded.
    pub max_iteration: Option<u32>,
    /// Before swarms of lower priority wherever both wait, in [-100, 100].
    #[serde(default)]
    pub priority: i32,
    /// Attempts of it that may be live at once, where that is bounded.
    #[serde(default)]
    pub attempts_max: Option<u32>,
    /// Position of the last event that this view shows, from 1.
    #[serde(default)]
    pub seq: u64,
    /// Wall clock, ms since 1970.
    pub created_ms: u64,
    /// Wall clock, ms since 1970, once it is over.
    pub finished_ms: Option<u64>,
    /// Task aliases, in the order of the graph.
    pub tasks: Vec<String>,
    /// What waits now, and why; empty for a swarm as it was at an earlier event.
    pub waiting: Vec<WaitingView>,
    /// The task runs of the current iteration.
    pub task_runs: Vec<TaskRunView>,
    /// How far nodes are with what its tasks need; absent for a swarm that was deployed before the manager started, or as it
    /// was at an earlier event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distribution: Option<DistributionView>,
}

/// How far the nodes that may run a swarm's tasks are with what these need: modules fetched, images found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DistributionView {
    /// Nodes that were told when the swarm was deployed.
    pub nodes: u32,
    /// Nodes that have all of it.
    pub ready: u32,
    /// Nodes that could not fetch something, each with the cause, 20 at most; attempts there try again.
    pub failed: Vec<WaitingNode>,
}

/// A task run, as shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TaskRunView {
    /// The task's alias.
    pub task: String,
    /// From 0.
    pub iteration: u32,
    /// `waiting`, `ready`, `running`, …
    pub state: String,
    /// Nodes chosen.
    pub nodes: u32,
    /// Nodes whose attempt was accepted.
    pub accepted: u32,
    /// How many of its nodes run which version of the module.
    #[serde(default)]
    pub versions: BTreeMap<String, u32>,
    /// How many of its attempts that ended were started in which way: `standby`, `fork`, `cold`.
    #[serde(default)]
    pub starts: BTreeMap<String, u32>,
    /// The most memory that one of its attempts that ended used, in bytes; absent where none was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes_peak: Option<u64>,
    /// Why it is in that state.
    pub reason: String,
}

/// Something that waits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct WaitingView {
    /// The task's alias.
    pub task: String,
    /// From 0.
    pub iteration: u32,
    /// What it waits for, in one sentence.
    pub reason: String,
    /// Each node that cannot be used, with its cause.
    pub nodes: Vec<WaitingNode>,
    /// What would change it, each as a clause.
    #[serde(default)]
    pub would_change: Vec<String>,
}

/// A node that something waits for, or cannot use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct WaitingNode {
    /// The node's name.
    pub node: String,
    /// Why.
    pub cause: String,
    /// What would change it, as a clause; absent where it changes by itself or never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<String>,
}

/// An iteration that has ended, as shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct IterationView {
    /// From 0.
    pub iteration: u32,
    /// Milliseconds from its start to its end.
    pub elapsed_ms: u64,
}

/// An event, as shown and streamed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventView {
    /// Position in the swarm's history, from 1.
    pub seq: u64,
    /// Wall clock, ms since 1970.
    pub time_ms: u64,
    /// The task's alias, where it concerns one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_name: Option<String>,
    /// The node's name, where it concerns one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// One sentence.
    pub message: String,
    /// Whom it concerns: iteration, task by its position in the graph, node, attempt.
    #[serde(default)]
    pub subject: Subject,
    /// What it follows from.
    #[serde(default)]
    pub cause: Cause,
    /// The event itself: `{"kind": …}` and its fields.
    pub event: serde_json::Value,
}

impl EventView {
    /// The event's kind.
    pub fn kind(&self) -> &str {
        self.event.get("kind").and_then(serde_json::Value::as_str).unwrap_or("unknown")
    }

    /// The event as the engine wrote it, where this build knows its kind.
    pub fn parsed(&self, swarm: SwarmId) -> Option<Event> {
        let what = serde_json::from_value(self.event.clone()).ok()?;
        let (subject, cause) = (self.subject.clone(), self.cause.clone());
        Some(Event { swarm, seq: self.seq, time_ms: self.time_ms, subject, cause, what })
    }
}

/// A line of a task's log, a metric or a progress report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LogLine {
    /// Position in the swarm's log, rising.
    pub seq: u64,
    /// Wall clock of the node, ms since 1970.
    pub time_ms: u64,
    /// Which attempt.
    #[schema(value_type = String)]
    pub attempt: AttemptId,
    /// The task's alias.
    pub task: String,
    /// The node's name.
    pub node: String,
    /// From 0.
    pub iteration: u32,
    /// `debug`, `info`, `warning`, `error`.
    pub level: String,
    /// `log`, `stdout`, `stderr`, `metrics`, `progress`, `platform`.
    pub source: String,
    /// The text.
    pub text: String,
    /// For metrics `{"values": {…}, "step": n}`, for progress `{"done": x, "total": y}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object)]
    pub data: Option<serde_json::Value>,
}

/// A published value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ResultView {
    /// From 0.
    pub iteration: u32,
    /// The task's alias.
    pub task: String,
    /// The node's name.
    pub node: String,
    /// The result's name.
    pub name: String,
    /// Which attempt.
    #[schema(value_type = String)]
    pub attempt: AttemptId,
    /// Whether it counts; results of failed attempts are kept for people only.
    pub accepted: bool,
    /// The module's version that published it.
    #[serde(default)]
    pub version: String,
    /// The encoded value.
    #[schema(value_type = Object)]
    pub blob: Blob,
}

/// A global's current value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct GlobalView {
    /// The name.
    pub name: String,
    /// The swarm-wide revision at which it became visible; 0 for values of the submission.
    pub revision: u64,
    /// The node that wrote it.
    pub writer: Option<String>,
    /// The encoded value.
    #[schema(value_type = Object)]
    pub blob: Blob,
}

/// How the note begins that says why a node's identity is doubted.
pub const NOT_BELIEVED: &str = "not to be believed";

/// What a refusal says of a node that was revoked, after its name.
pub const REVOKED: &str = "was revoked, and stays so";

/// How the note begins that says why a node's release is not served.
pub const TURNED_AWAY: &str = "turned away";

/// The note that says of a node that it has a certificate and was never heard of again.
pub const NEVER_CONNECTED: &str = "it joined and has never connected";

/// A node, as shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NodeView {
    /// `nd_…`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `online`, `unreachable`, …
    pub state: String,
    /// `active`, `draining`, `drained`, `revoked`.
    #[serde(default)]
    pub duty: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Names of the datasets it offers.
    pub datasets: Vec<String>,
    /// Attempts it runs at once.
    pub slots: u32,
    /// Attempts offered to it and not over.
    pub attempts: u32,
    /// GPUs that tasks may be given.
    #[serde(default)]
    pub gpus: Vec<GpuView>,
    /// `full`, `rootless`, `reduced`.
    pub tier: String,
    /// What runs its tasks: `builtin`, `docker`, `podman`; empty if the node did not tell.
    #[serde(default)]
    pub engine: String,
    /// The agent's release; empty if the node did not tell.
    #[serde(default)]
    pub agent_version: String,
    /// What its host cannot enforce.
    pub notes: Vec<String>,
    /// Seconds since it was heard; absent if not since the manager started.
    pub heard_s: Option<f64>,
    /// In the answer to its revocation alone: attempts that it had and that count no more, where there were any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts_revoked: Option<u32>,
}

/// A GPU of a node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub struct GpuView {
    /// For people.
    pub name: String,
    /// Its memory; 0 where the node does not tell.
    pub memory_bytes: u64,
}

/// What an attempt may read: pinned when its task run started.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct AttemptInputs {
    /// Globals at the pinned revision.
    pub globals: Vec<GlobalView>,
    /// Accepted results in scope, ordered by distance, then node name, then task.
    pub results: Vec<InputResult>,
    /// Nodes that left nothing, with the reason, per task.
    pub missing: Vec<MissingInput>,
    /// Every task alias of the swarm.
    pub tasks: Vec<String>,
    /// Every node name of the cluster.
    pub nodes: Vec<String>,
    /// Nodes that ran the task in the iteration before; each may keep state of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ran_before: Vec<String>,
}

/// A result in an attempt's scope.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InputResult {
    /// The task that published it.
    pub task: String,
    /// From 0.
    pub iteration: u32,
    /// The node's name.
    pub node: String,
    /// The node's labels.
    pub labels: BTreeMap<String, String>,
    /// The result's name.
    pub name: String,
    /// The encoded value.
    pub blob: Blob,
    /// Steps back in the graph; `select` takes the nearest task that published the name.
    pub distance: u32,
}

/// A node that left nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingInput {
    /// The task.
    pub task: String,
    /// The node's name.
    pub node: String,
    /// Why.
    pub reason: String,
}
