//! What a swarm would do, told before anything runs.
use std::collections::BTreeMap;

use manta_types::Digest;
use serde::{Deserialize, Serialize};

use crate::{SwarmSubmission, WaitingNode};

/// What `POST /v1/clusters/{cluster}/swarms/plan` takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanRequest {
    /// The swarm, as it would be submitted.
    pub submission: SwarmSubmission,
    /// Canonical manifests of bundles that may not be stored at the manager yet; each is known by its digest.
    #[serde(default)]
    pub manifests: Vec<String>,
}

/// What a swarm would do on the nodes as they are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PlanView {
    /// The version of this document's form.
    pub schema_version: u32,
    /// The swarm's name.
    pub name: String,
    /// Whether it would be taken: nothing is refused.
    pub possible: bool,
    /// Iterations to loop to; absent: once, and again only on request.
    pub max_iteration: Option<u32>,
    /// The names of all nodes that were considered.
    pub nodes: Vec<String>,
    /// The graph, predecessors before successors.
    pub tasks: Vec<TaskPlanView>,
    /// What would be refused, and why.
    pub refused: Vec<RefusedView>,
    /// What would have to be sent to the manager first.
    pub upload: UploadPlanView,
}

/// What one task would do, were it to start now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TaskPlanView {
    /// The task's alias.
    pub task: String,
    /// The aliases of the tasks before it.
    pub after: Vec<String>,
    /// The module's name.
    pub module: String,
    /// The module's version.
    pub version: String,
    /// Digest of the bundle's manifest.
    #[schema(value_type = String)]
    pub bundle: Digest,
    /// The image that it asks for.
    pub image: String,
    /// What is to be said of it: that it is not the same on all eligible nodes.
    #[serde(default)]
    pub image_warning: Option<String>,
    /// Datasets that a node must offer.
    pub datasets: Vec<String>,
    /// Labels that a node must carry.
    #[schema(value_type = Object)]
    pub labels: BTreeMap<String, String>,
    /// Which nodes it would use, in words.
    pub placement: String,
    /// How many nodes it would use, where that can be told.
    pub count: Option<u32>,
    /// Which nodes it would use, where that can be told.
    pub nodes: Vec<String>,
    /// The nodes among which it would choose.
    pub eligible: Vec<String>,
    /// Every other node, with the cause.
    pub ineligible: Vec<WaitingNode>,
    /// Why it would have to wait, where no node can take it now though some could.
    pub waits: Option<String>,
    /// What an attempt may use.
    pub limits: LimitsView,
    /// Further attempts after one that ran user code failed.
    pub retries: u32,
    /// Milliseconds of one attempt's user code, where bounded.
    pub timeout_ms: Option<u64>,
    /// Milliseconds after which it closes with what it has, where bounded.
    pub deadline_ms: Option<u64>,
    /// How many successes close it, in words.
    pub quorum: String,
    /// Bytes of its bundle, which each node that does not have it yet fetches; absent where the bundle is not known.
    pub bundle_bytes: Option<u64>,
}

/// What an attempt may use.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LimitsView {
    /// Processor cores.
    pub cpu: f64,
    /// Bytes; where it asks for none, the smallest share that an eligible node gives.
    pub memory_bytes: u64,
    /// Bytes of scratch.
    pub tmp_bytes: u64,
    /// Processes and threads.
    pub pids: u32,
    /// GPUs.
    pub gpu_count: u32,
    /// Bytes on each of them that it may use, beside others; absent: it has them alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_memory_bytes: Option<u64>,
}

/// Something that would be refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RefusedView {
    /// The task's alias.
    pub task: String,
    /// `MANTA-0201`.
    pub code: String,
    /// One sentence.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

/// What would have to be sent to the manager before the swarm could be submitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct UploadPlanView {
    /// Blobs that are not stored there.
    pub blobs: u32,
    /// Their bytes.
    pub bytes: u64,
    /// Whether there are bundles of which neither manifest nor size is known, so that more may have to be sent.
    pub is_partial: bool,
    /// What they are, the first of them.
    pub what: Vec<String>,
}
