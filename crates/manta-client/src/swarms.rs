//! Swarms, their histories, logs and values, and the cluster's nodes.
use std::time::Duration;

use manta_api::{
    EventView, GlobalView, LabelRequest, LogLine, NodeDetailView, NodeRemovedView, NodeView, PlanRequest, PlanView,
    ResultView, SwarmSubmission, SwarmView, WhyView,
};
use manta_types::{AttemptId, SwarmId};

use crate::follow::Sequenced;
use crate::{Client, ClientError, Follow};

/// Items that a manager puts into one answer; a shorter answer is the last.
const PAGE_ITEMS: usize = 10_000;

/// Which log lines are wanted; all of them by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogFilter {
    /// Only lines after this position.
    pub after: u64,
    /// Only this task's.
    pub task: Option<String>,
    /// Only this node's.
    pub node: Option<String>,
    /// Only this iteration's.
    pub iteration: Option<u32>,
    /// Only this level and those above it.
    pub level: Option<String>,
    /// Only this attempt's.
    pub attempt: Option<AttemptId>,
    /// Only from here: `log`, `stdout`, `stderr`, `metrics`, `progress`, `platform`.
    pub source: Option<String>,
}

impl LogFilter {
    /// The filter as a query, without `after`.
    pub(crate) fn query(&self) -> String {
        let mut query = String::new();
        let mut add = |key: &str, value: Option<&str>| {
            if let Some(value) = value {
                query.push_str(&format!("&{key}={}", encode(value)));
            }
        };
        add("task", self.task.as_deref());
        add("node", self.node.as_deref());
        add("iteration", self.iteration.map(|iteration| iteration.to_string()).as_deref());
        add("level", self.level.as_deref());
        add("attempt", self.attempt.map(|attempt| attempt.to_string()).as_deref());
        add("source", self.source.as_deref());
        query
    }
}

/// Percent-encodes everything but unreserved characters (RFC 3986, section 2.3).
pub(crate) fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// Each of these fails when the manager refuses, cannot be reached, or answers what this client cannot read.
impl Client {
    /// Submits a swarm; the same key with the same content gives the same swarm.
    ///
    /// # Errors
    /// As for every call; a swarm that could never run is refused with the reason.
    pub async fn submit(&self, submission: &SwarmSubmission, idempotency_key: &str) -> Result<SwarmView, ClientError> {
        self.change_json("/swarms", submission, idempotency_key).await
    }

    /// What a swarm would do on the nodes as they are; nothing is stored and nothing runs.
    ///
    /// # Errors
    /// As for every call; a submission that breaks a rule is refused as when it is submitted.
    pub async fn plan(&self, request: &PlanRequest) -> Result<PlanView, ClientError> {
        self.ask_json("/swarms/plan", request).await
    }

    /// All swarms, as the manager orders them.
    ///
    /// # Errors
    /// As for every call.
    pub async fn swarms(&self) -> Result<Vec<SwarmView>, ClientError> {
        self.get_json("/swarms").await
    }

    /// One swarm.
    ///
    /// # Errors
    /// As for every call.
    pub async fn swarm(&self, id: SwarmId) -> Result<SwarmView, ClientError> {
        self.get_json(&format!("/swarms/{id}")).await
    }

    /// Ends a swarm; one that was stopped stays so.
    ///
    /// # Errors
    /// As for every call; a swarm that ended otherwise is a conflict.
    pub async fn stop(&self, id: SwarmId, idempotency_key: &str) -> Result<SwarmView, ClientError> {
        self.change_swarm(id, "stop", idempotency_key).await
    }

    /// Holds a swarm: what runs may end, nothing new starts; one that is held stays so.
    ///
    /// # Errors
    /// As for every call; a swarm that is over is a conflict.
    pub async fn pause(&self, id: SwarmId, idempotency_key: &str) -> Result<SwarmView, ClientError> {
        self.change_swarm(id, "pause", idempotency_key).await
    }

    /// Lets a paused swarm go on; one that runs stays so.
    ///
    /// # Errors
    /// As for every call; a swarm that is over is a conflict.
    pub async fn resume(&self, id: SwarmId, idempotency_key: &str) -> Result<SwarmView, ClientError> {
        self.change_swarm(id, "resume", idempotency_key).await
    }

    /// Lets a new swarm go on where one that failed stopped; the new swarm is given.
    ///
    /// # Errors
    /// As for every call; a swarm that has not failed is a conflict.
    pub async fn retry(&self, id: SwarmId, idempotency_key: &str) -> Result<SwarmView, ClientError> {
        self.change_swarm(id, "retry", idempotency_key).await
    }

    /// Takes a node out of use: it gets nothing new, and what runs may end, within the deadline where one is given.
    ///
    /// # Errors
    /// As for every call.
    pub async fn drain_node(
        &self,
        name: &str,
        deadline: Option<Duration>,
        idempotency_key: &str,
    ) -> Result<NodeView, ClientError> {
        let query = deadline.map(|limit| format!("?deadline_ms={}", limit.as_millis())).unwrap_or_default();
        self.change_node(name, &format!("drain{query}"), idempotency_key).await
    }

    /// Takes a node into use again.
    ///
    /// # Errors
    /// As for every call; a revoked node is a conflict.
    pub async fn resume_node(&self, name: &str, idempotency_key: &str) -> Result<NodeView, ClientError> {
        self.change_node(name, "resume", idempotency_key).await
    }

    /// Takes a node's identity away, for good: what runs there counts no more, and its name stays taken.
    ///
    /// # Errors
    /// As for every call.
    pub async fn revoke_node(&self, name: &str, idempotency_key: &str) -> Result<NodeView, ClientError> {
        self.change_node(name, "revoke", idempotency_key).await
    }

    /// Gives a node labels, and takes others from it.
    ///
    /// # Errors
    /// As for every call; a label that the node gives itself is a conflict.
    pub async fn label_node(
        &self,
        name: &str,
        asked: &LabelRequest,
        idempotency_key: &str,
    ) -> Result<NodeView, ClientError> {
        self.change_json(&format!("/nodes/{}/labels", encode(name)), asked, idempotency_key).await
    }

    /// Lets go of a node that is gone or revoked.
    ///
    /// # Errors
    /// As for every call; any other node is a conflict.
    pub async fn remove_node(&self, name: &str, idempotency_key: &str) -> Result<NodeRemovedView, ClientError> {
        let path = format!("/nodes/{}/remove", encode(name));
        self.change_json(&path, &serde_json::json!({}), idempotency_key).await
    }

    /// One node, and all that is known of it.
    ///
    /// # Errors
    /// As for every call.
    pub async fn node(&self, name: &str) -> Result<NodeDetailView, ClientError> {
        self.get_json(&format!("/nodes/{}", encode(name))).await
    }

    async fn change_node(&self, name: &str, verb: &str, key: &str) -> Result<NodeView, ClientError> {
        self.change_json(&format!("/nodes/{}/{verb}", encode(name)), &serde_json::json!({}), key).await
    }

    async fn change_swarm(&self, id: SwarmId, verb: &str, key: &str) -> Result<SwarmView, ClientError> {
        self.change_json(&format!("/swarms/{id}/{verb}"), &serde_json::json!({}), key).await
    }

    /// Why a swarm is as it is, and what would change it.
    ///
    /// # Errors
    /// As for every call.
    pub async fn why_swarm(&self, id: SwarmId) -> Result<WhyView, ClientError> {
        self.get_json(&format!("/swarms/{id}/why")).await
    }

    /// Why a task is as it is in an iteration, the current one by default.
    ///
    /// # Errors
    /// As for every call.
    pub async fn why_task(&self, id: SwarmId, task: &str, iteration: Option<u32>) -> Result<WhyView, ClientError> {
        let iteration = iteration.map(|iteration| format!("&iteration={iteration}")).unwrap_or_default();
        self.get_json(&format!("/swarms/{id}/why?task={}{iteration}", encode(task))).await
    }

    /// Why an attempt is as it is; by its id or the beginning of it.
    ///
    /// # Errors
    /// As for every call.
    pub async fn why_attempt(&self, attempt: &str) -> Result<WhyView, ClientError> {
        self.get_json(&format!("/attempts/{}/why", encode(attempt))).await
    }

    /// One swarm as it was when an event of its history had happened.
    ///
    /// # Errors
    /// As for every call.
    pub async fn swarm_at(&self, id: SwarmId, seq: u64) -> Result<SwarmView, ClientError> {
        self.get_json(&format!("/swarms/{id}?at={seq}")).await
    }

    /// A swarm's history so far, after a position.
    ///
    /// # Errors
    /// As for every call.
    pub async fn events(&self, id: SwarmId, after: u64) -> Result<Vec<EventView>, ClientError> {
        self.pages(after, |after| format!("/swarms/{id}/events?after={after}")).await
    }

    /// A swarm's history as it happens, after a position, until the swarm is over.
    pub fn events_stream(&self, id: SwarmId, after: u64) -> Follow<EventView> {
        Follow::new(self.clone(), format!("/swarms/{id}/events"), String::new(), after)
    }

    /// Log lines so far.
    ///
    /// # Errors
    /// As for every call.
    pub async fn logs(&self, id: SwarmId, filter: &LogFilter) -> Result<Vec<LogLine>, ClientError> {
        let query = filter.query();
        self.pages(filter.after, |after| format!("/swarms/{id}/logs?after={after}{query}")).await
    }

    /// Log lines as they come, until the swarm is over.
    pub fn logs_stream(&self, id: SwarmId, filter: LogFilter) -> Follow<LogLine> {
        Follow::new(self.clone(), format!("/swarms/{id}/logs"), filter.query(), filter.after)
    }

    /// What was published.
    ///
    /// # Errors
    /// As for every call.
    pub async fn results(&self, id: SwarmId) -> Result<Vec<ResultView>, ClientError> {
        self.get_json(&format!("/swarms/{id}/results")).await
    }

    /// The globals' current values.
    ///
    /// # Errors
    /// As for every call.
    pub async fn globals(&self, id: SwarmId) -> Result<Vec<GlobalView>, ClientError> {
        self.get_json(&format!("/swarms/{id}/globals")).await
    }

    /// The cluster's nodes.
    ///
    /// # Errors
    /// As for every call.
    pub async fn nodes(&self) -> Result<Vec<NodeView>, ClientError> {
        self.get_json("/nodes").await
    }

    /// Asks on until an answer brings nothing new.
    async fn pages<T: Sequenced>(&self, after: u64, path: impl Fn(u64) -> String) -> Result<Vec<T>, ClientError> {
        let (mut all, mut after) = (Vec::new(), after);
        loop {
            let page: Vec<T> = self.get_json(&path(after)).await?;
            let Some(last) = page.last() else { return Ok(all) };
            let whole = page.len() < PAGE_ITEMS;
            after = last.seq().max(after);
            all.extend(page);
            if whole {
                return Ok(all);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_become_encoded_queries() {
        let filter = LogFilter { task: Some("a b&c".into()), iteration: Some(3), ..LogFilter::default() };
        assert_eq!(filter.query(), "&task=a%20b%26c&iteration=3");
        assert_eq!(LogFilter::default().query(), "");
    }
}
