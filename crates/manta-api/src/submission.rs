//! A swarm as the client submits it: the rules of its admission, and its reading as a [`SwarmSpec`](manta_types::SwarmSpec).
mod read;
mod rules;

use std::collections::BTreeMap;

use manta_types::{Blob, Digest, Runtime};
use serde::{Deserialize, Serialize};

pub use read::InvalidSubmission;

/// What `POST /v1/clusters/{cluster}/swarms` takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SwarmSubmission {
    /// The swarm's name.
    pub name: String,
    /// Iterations to loop to; absent: once, and again only on request.
    #[serde(default)]
    pub max_iteration: Option<u32>,
    /// Before swarms of lower priority wherever both wait, in [-100, 100].
    #[serde(default)]
    pub priority: i32,
    /// Attempts of it that may be live at once over all nodes; absent: as many as there is room for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts_max: Option<u32>,
    /// Values that exist before the first iteration: name → blob.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub globals: BTreeMap<String, Blob>,
    /// The span of whoever submits it, as W3C Trace Context's `traceparent`; its own are put under it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// The modules that tasks point at.
    pub modules: Vec<ModuleRef>,
    /// The graph, predecessors before successors.
    pub tasks: Vec<TaskSubmission>,
}

/// A module of a submission; its bundle's manifest and files are stored blobs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ModuleRef {
    /// Digest of the bundle's manifest.
    #[schema(value_type = String)]
    pub bundle: Digest,
    /// As in the manifest.
    pub name: String,
    /// As in the manifest.
    pub version: String,
    /// As in the manifest.
    pub image: String,
    /// As in the manifest.
    #[serde(default)]
    pub datasets: Vec<String>,
    /// As in the manifest.
    #[serde(default)]
    pub resources: ResourcesWire,
    /// What its dependencies are locked for, in the manifest's order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub runtimes: Vec<Runtime>,
    /// As in the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requires_python: Option<String>,
    /// As in the manifest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub architectures: Vec<String>,
}

/// Limits and needs of a module; what is absent takes the node's default.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResourcesWire {
    /// Processor cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tmp_bytes: Option<u64>,
    /// Processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
    /// Whole GPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<u32>,
    /// Bytes per GPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_memory_bytes: Option<u64>,
}

/// How many: of nodes for `maximum`, of successes for `quorum`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Amount {
    /// No limit.
    #[default]
    Unlimited,
    /// A number, at least 1.
    Count {
        /// The number.
        count: u32,
    },
    /// A share in (0, 1].
    Share {
        /// The share.
        share: f64,
    },
}

/// One task of a submission.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskSubmission {
    /// Unique in the swarm.
    pub alias: String,
    /// Position in `modules`.
    pub module: usize,
    /// Positions of the predecessors in `tasks`; each smaller than this task's own.
    #[serde(default)]
    pub after: Vec<usize>,
    /// `all`, `any`, `random`, `best_resources` or `tag-<result name>`.
    pub method: String,
    /// How many nodes.
    #[serde(default)]
    pub maximum: Amount,
    /// Whether it needs a GPU.
    #[serde(default)]
    pub gpu: bool,
    /// Whether the choice of iteration 0 stays.
    #[serde(default)]
    pub fixed: bool,
    /// Nodes left out.
    #[serde(default)]
    pub excepted: Vec<String>,
    /// If given, only these nodes.
    #[serde(default)]
    pub specified: Option<Vec<String>>,
    /// Labels that a node must carry.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Further attempts after one that ran user code failed.
    #[serde(default = "one")]
    pub retries: u32,
    /// Seconds of one attempt's user code.
    #[serde(default)]
    pub timeout_s: Option<f64>,
    /// Successes that are enough; absent: all but the excused.
    #[serde(default)]
    pub quorum: Option<Amount>,
    /// Seconds after which it closes with what it has.
    #[serde(default)]
    pub deadline_s: Option<f64>,
    /// `fail` or `continue`.
    #[serde(default = "fail")]
    pub on_failure: String,
    /// `keep`, or `stop:<seconds>`.
    #[serde(default = "keep")]
    pub on_disconnect: String,
}

fn one() -> u32 {
    1
}
fn fail() -> String {
    "fail".to_owned()
}
fn keep() -> String {
    "keep".to_owned()
}
