//! Clusters of a manager, as its administrator adds, sees and removes them.
use serde::{Deserialize, Serialize};

/// A cluster that is to be added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClusterRequest {
    /// 1 to 63 lower-case letters, digits, `.`, `_` and `-`; unique in the manager.
    pub name: String,
}

/// A cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ClusterView {
    /// Unique in the manager.
    pub name: String,
    /// `open`, `damaged` where what is stored of it cannot be followed, or `removing` where its removal is not finished.
    pub state: String,
    /// Why it is damaged, or why its removal is not finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether the manager was started with it: it never goes.
    pub is_first: bool,
    /// When it was added; wall clock, ms since 1970. Absent for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_ms: Option<u64>,
    /// Swarms that are not over; absent where it is damaged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swarms_live: Option<u64>,
    /// Nodes that connected and are neither revoked nor removed; absent where it is damaged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<u64>,
}

/// A cluster that is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ClusterRemovedView {
    /// What it was called; another may be called so now.
    pub name: String,
    /// What went with it that nobody could use any more, where it was damaged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<ClusterLostView>,
}

/// What is stored of a cluster that cannot be recovered, as far as it can be counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ClusterLostView {
    /// Swarms, over or not, with their histories, results and logs.
    pub swarms: u64,
    /// Those among them that were not over.
    pub swarms_live: u64,
    /// Nodes that ever connected, revoked ones among them.
    pub nodes: u64,
    /// Users, with their tokens.
    pub users: u64,
}
