//! Rollouts of modules, as the public API takes and shows them.
use manta_types::{Digest, Figure, Gate, RolloutPlan, SwarmId};
use serde::{Deserialize, Serialize};

use crate::WaitingNode;

/// What `POST …/swarms/{id}/rollouts` takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RolloutRequest {
    /// The task's alias.
    pub task: String,
    /// A version, a range or a tag of the task's module; it is chosen once, and pinned by its digest.
    pub version: String,
    /// Shares of the task's nodes, in (0, 1], rising.
    #[serde(default = "all")]
    pub steps: Vec<f64>,
    /// What each step must keep to: `failures<=1%`, `metric:NAME>=-0.01`.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub gates: Vec<Gate>,
    /// Iterations that a step lasts at least.
    #[serde(default = "one")]
    pub every: u32,
    /// Whether somebody has to let each step go on.
    #[serde(default)]
    pub hold_each: bool,
    /// Milliseconds within which a step must be done with; absent: it may take as long as it likes.
    #[serde(default)]
    pub deadline_ms: Option<u64>,
    /// Only say what it would do.
    #[serde(default)]
    pub dry_run: bool,
}

impl RolloutRequest {
    /// How the rollout is to go on.
    pub fn plan(&self) -> RolloutPlan {
        let Self { steps, gates, every, hold_each, deadline_ms, .. } = self.clone();
        RolloutPlan { steps, gates, every, hold_each, deadline_ms }
    }
}

fn all() -> Vec<f64> {
    vec![1.0]
}

fn one() -> u32 {
    1
}

/// What `POST …/swarms/{id}/rollback` takes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// The task's alias; absent: the one that a rollout changed last.
    #[serde(default)]
    pub task: Option<String>,
    /// Only say what it would do.
    #[serde(default)]
    pub dry_run: bool,
}

/// A rollout, as shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RolloutView {
    /// `sw_…`.
    #[schema(value_type = String)]
    pub swarm: SwarmId,
    /// The swarm's name.
    pub swarm_name: String,
    /// The task's alias.
    pub task: String,
    /// Counted from 1 within the swarm.
    pub number: u32,
    /// The module's name.
    pub module: String,
    /// The version of before.
    pub from: String,
    /// Digest of its bundle's manifest.
    #[schema(value_type = String)]
    pub from_bundle: Digest,
    /// The version that it brings.
    pub to: String,
    /// Digest of its bundle's manifest.
    #[schema(value_type = String)]
    pub to_bundle: Digest,
    /// `running`, `held`, `completed`, `reverted`, `abandoned`; `planned` where it was only asked what it would do.
    pub state: String,
    /// Why it is in that state.
    pub reason: String,
    /// `user`, `plan` or `gate`, while it is held.
    #[serde(default)]
    pub holder: Option<String>,
    /// Whether it is the way back from one that completed.
    pub back: bool,
    /// The step at which it is, from 0; absent before the first.
    #[serde(default)]
    pub step: Option<u32>,
    /// The share of the task's nodes that runs the new version, in [0, 1].
    pub share: f64,
    /// The shares of its steps.
    pub steps: Vec<f64>,
    /// What each step must keep to.
    #[schema(value_type = Vec<String>)]
    pub gates: Vec<Gate>,
    /// How the gates were judged last.
    #[schema(value_type = Vec<Object>)]
    pub figures: Vec<Figure>,
    /// Iterations that a step lasts at least.
    pub every: u32,
    /// Iterations of this step that have ended.
    pub iterations: u32,
    /// Whether somebody has to let each step go on.
    pub hold_each: bool,
    /// Milliseconds until its step is reverted, where a deadline was given and it goes on.
    #[serde(default)]
    pub deadline_left_ms: Option<u64>,
    /// The nodes that run the new version in the current or last iteration.
    pub nodes: Vec<String>,
    /// Nodes that run the task and cannot run the new version.
    pub unfit: Vec<WaitingNode>,
    /// Wall clock, ms since 1970.
    pub started_ms: u64,
    /// Wall clock, ms since 1970, once it is over.
    #[serde(default)]
    pub ended_ms: Option<u64>,
}
