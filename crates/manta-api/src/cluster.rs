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
    /// `open`, or `damaged` where what is stored of it cannot be followed.
    pub state: String,
    /// Why it is damaged.
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
}
