//! Whether a manager can take work.
use serde::{Deserialize, Serialize};

/// Whether a manager can take work and keep it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ReadyView {
    /// The form of this document.
    pub schema_version: u32,
    /// Whether nothing stands in the way.
    pub ready: bool,
    /// What stands in the way.
    pub obstacles: Vec<Obstacle>,
}

/// A part of the manager that does not do what it should.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Obstacle {
    /// Which part: `engine`, `store`, `logs`, `cluster`, `disk`.
    pub what: String,
    /// What is the matter with it.
    pub message: String,
}
