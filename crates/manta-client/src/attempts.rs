//! Attempts of the past, and their replays.
use http::{HeaderValue, Method};
use manta_api::{AttemptInputs, AttemptView, ReplayEvent, ReplayView};
use manta_types::{AttemptId, NodeName, ReplayId};
use serde_json::json;

use crate::client::{empty, request};
use crate::follow::Sequenced;
use crate::swarms::encode;
use crate::{Client, ClientError, Follow};

impl Sequenced for ReplayEvent {
    fn seq(&self) -> u64 {
        self.seq
    }

    fn is_last(&self) -> bool {
        self.what.is_last()
    }
}

/// Each of these fails when the manager refuses, cannot be reached, or answers what this client cannot read.
impl Client {
    /// One attempt, however long it is over, by its id or the beginning of one.
    ///
    /// # Errors
    /// As for every call.
    pub async fn attempt(&self, wanted: &str) -> Result<AttemptView, ClientError> {
        self.get_json(&format!("/attempts/{}", encode(wanted))).await
    }

    /// What an attempt may read; for the node that runs it.
    ///
    /// # Errors
    /// As for every call.
    pub async fn attempt_inputs(&self, id: AttemptId, node: &NodeName) -> Result<AttemptInputs, ClientError> {
        self.inputs(&format!("/attempts/{id}/inputs"), node).await
    }

    /// What an attempt that is replayed could read; for the node that runs it again.
    ///
    /// # Errors
    /// As for every call.
    pub async fn replay_inputs(&self, id: ReplayId, node: &NodeName) -> Result<AttemptInputs, ClientError> {
        self.inputs(&format!("/replays/{id}/inputs"), node).await
    }

    /// Has a past attempt run again by its node; the same key gives the same replay.
    ///
    /// # Errors
    /// As for every call; an attempt that is not over and a node that is not there are conflicts.
    pub async fn replay(&self, id: AttemptId, idempotency_key: &str) -> Result<ReplayView, ClientError> {
        self.change_json(&format!("/attempts/{id}/replay"), &json!({}), idempotency_key).await
    }

    /// Ends a replay; one that is over stays as it is.
    ///
    /// # Errors
    /// As for every call.
    pub async fn stop_replay(&self, id: ReplayId, idempotency_key: &str) -> Result<ReplayView, ClientError> {
        self.change_json(&format!("/replays/{id}/stop"), &json!({}), idempotency_key).await
    }

    /// What a replay tells, as it does, until it is over.
    pub fn replay_stream(&self, id: ReplayId) -> Follow<ReplayEvent> {
        Follow::new(self.clone(), format!("/replays/{id}/events"), String::new(), 0)
    }

    async fn inputs(&self, path: &str, node: &NodeName) -> Result<AttemptInputs, ClientError> {
        let mut request = request(Method::GET, &self.uri(path), empty());
        let name = HeaderValue::from_str(node.as_str()).expect("node names are plain ASCII");
        request.headers_mut().insert("x-manta-node", name);
        let answer = self.send(request).await?;
        self.read_json(answer).await
    }
}
