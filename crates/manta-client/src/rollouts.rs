//! Rollouts of modules.
use manta_api::{RollbackRequest, RolloutRequest, RolloutView};
use manta_types::SwarmId;

use crate::swarms::encode;
use crate::{Client, ClientError};

/// Each of these fails when the manager refuses, cannot be reached, or answers what this client cannot read.
impl Client {
    /// Rolls out another version of a task's module, or says what that would do.
    ///
    /// # Errors
    /// As for every call; a task that has a rollout, and a swarm that is over, are conflicts.
    pub async fn roll_out(
        &self,
        id: SwarmId,
        request: &RolloutRequest,
        idempotency_key: &str,
    ) -> Result<RolloutView, ClientError> {
        self.change_json(&format!("/swarms/{id}/rollouts"), request, idempotency_key).await
    }

    /// Runs the version again that a task ran before its last rollout that completed, or says which that is.
    ///
    /// # Errors
    /// As for every call; where there is no such rollout, that is a conflict.
    pub async fn roll_back(
        &self,
        id: SwarmId,
        request: &RollbackRequest,
        idempotency_key: &str,
    ) -> Result<RolloutView, ClientError> {
        self.change_json(&format!("/swarms/{id}/rollback"), request, idempotency_key).await
    }

    /// A swarm's rollouts, oldest first.
    ///
    /// # Errors
    /// As for every call.
    pub async fn rollouts(&self, id: SwarmId) -> Result<Vec<RolloutView>, ClientError> {
        self.get_json(&format!("/swarms/{id}/rollouts")).await
    }

    /// All rollouts of all swarms.
    ///
    /// # Errors
    /// As for every call.
    pub async fn all_rollouts(&self) -> Result<Vec<RolloutView>, ClientError> {
        self.get_json("/rollouts").await
    }

    /// Does something with the rollout of a task that goes on: `hold`, `resume`, `promote`, `promote?full=true`, `revert`.
    ///
    /// # Errors
    /// As for every call; where none goes on, that is a conflict.
    pub async fn change_rollout(
        &self,
        id: SwarmId,
        task: &str,
        verb: &str,
        idempotency_key: &str,
    ) -> Result<RolloutView, ClientError> {
        let path = format!("/swarms/{id}/rollouts/{}/{verb}", encode(task));
        self.change_json(&path, &serde_json::json!({}), idempotency_key).await
    }
}
