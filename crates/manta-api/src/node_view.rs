//! What the public API answers of one node: all that its manager knows of it.
use std::collections::BTreeMap;

use manta_types::{AttemptId, SwarmId};
use serde::{Deserialize, Serialize};

use crate::NodeView;

/// A node, and all that its manager knows of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NodeDetailView {
    /// As in the list of nodes.
    pub node: NodeView,
    /// Labels that the node gives itself; they count before those that people gave it here.
    pub own_labels: BTreeMap<String, String>,
    /// When it first joined; wall clock, ms since 1970.
    pub joined_ms: u64,
    /// The agent's release.
    pub agent_version: String,
    /// The node protocol that its session speaks; absent where it has none.
    pub protocol: Option<u32>,
    /// The host's Python.
    pub python_version: String,
    /// The host's processor and C library; empty where the node does not tell.
    pub platform: String,
    /// Processor cores.
    pub cpu_count: f64,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// The datasets that it offers.
    pub datasets: Vec<DatasetView>,
    /// Images that tasks may run in there, each with what it is: a digest, or `host:` and a fingerprint.
    pub images: BTreeMap<String, String>,
    /// How good its connection is, in [0, 1]; absent where it did not tell.
    pub link_quality: Option<f64>,
    /// A digest of what its site allows; absent where it allows everything.
    pub policy: Option<String>,
    /// What was offered to it and is not over.
    pub running: Vec<RunningView>,
    /// What happened to it since the manager started, oldest first, the last 50.
    pub events: Vec<NodeEventView>,
}

/// A dataset that a node offers: what it is, and never what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DatasetView {
    /// What modules call it.
    pub name: String,
    /// `file` or `directory`.
    pub form: String,
    /// Bytes.
    pub size: u64,
    /// What its values look like; absent where that cannot be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<DatasetSchema>,
}

/// What the values of a dataset look like.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DatasetSchema {
    /// `csv`, `npy`, `npz`, `safetensors`, …
    pub format: String,
    /// Rows, or the length of the first axis of an array; absent where counting them would take too long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Files, of a directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
    /// Columns of a table, arrays of a file of arrays, in their order.
    #[serde(default)]
    pub columns: Vec<ColumnView>,
}

/// A column, or an array.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ColumnView {
    /// Its name; empty for the only array of a file.
    pub name: String,
    /// `int`, `float`, `bool`, `text`, or an array's own word, as `float32`.
    pub dtype: String,
    /// An array's shape; empty for a column.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shape: Vec<u64>,
}

/// What runs on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RunningView {
    /// `at_…`.
    #[schema(value_type = String)]
    pub attempt: AttemptId,
    /// `sw_…`.
    #[schema(value_type = String)]
    pub swarm: SwarmId,
    /// The swarm's name.
    pub swarm_name: String,
    /// The task's alias.
    pub task: String,
    /// From 0.
    pub iteration: u32,
    /// `offered`, `preparing`, `running`, `uploading`, …
    pub state: String,
}

/// Something that happened to a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NodeEventView {
    /// Wall clock, ms since 1970.
    pub time_ms: u64,
    /// One sentence.
    pub message: String,
}

/// Labels that people give to a node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LabelRequest {
    /// Labels that it gets, or gets anew.
    #[serde(default)]
    pub set: BTreeMap<String, String>,
    /// Labels that are taken from it.
    #[serde(default)]
    pub unset: Vec<String>,
}

/// A node that was let go of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NodeRemovedView {
    /// Its name.
    pub name: String,
}
