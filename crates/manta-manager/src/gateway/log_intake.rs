//! Log lines from a node: kept only for attempts that it holds, cut to their limits, and numbered by the store.
use std::collections::BTreeMap;

use manta_api::LogLine;
use manta_api::node as wire;
use manta_types::{AttemptId, NodeName, SwarmId, limits};

use super::convert::{attempt, clip};
use crate::ManagerError;
use crate::logs::Logs;
use crate::orchestrator::Handle;

/// Attempts that a session remembers; beyond that it forgets all and asks again.
const REMEMBERED_MAX: usize = 4096;

/// Where an attempt's lines belong, and how much came so far.
#[derive(Debug, Clone)]
struct Place {
    swarm: SwarmId,
    task: String,
    iteration: u32,
    bytes: u64,
}

/// Takes the log lines of one session.
pub(super) struct LogIntake {
    node: NodeName,
    handle: Handle,
    logs: Logs,
    places: BTreeMap<AttemptId, Option<Place>>,
}

impl LogIntake {
    pub(super) fn new(node: NodeName, handle: Handle, logs: Logs) -> Self {
        Self { node, handle, logs, places: BTreeMap::new() }
    }

    /// Stores a batch and returns once it is there, so that a report sent after it comes after it.
    pub(super) async fn take(&mut self, batch: wire::LogBatch) -> Result<(), ManagerError> {
        let mut by_swarm: BTreeMap<SwarmId, Vec<LogLine>> = BTreeMap::new();
        for line in batch.lines {
            if let Some((swarm, line)) = self.accept(line).await? {
                by_swarm.entry(swarm).or_default().push(line);
            }
        }
        for (swarm, lines) in by_swarm {
            if let Err(error) = self.logs.append(swarm, lines).await {
                tracing::warn!(%swarm, node = %self.node, %error, "log lines are lost");
            }
        }
        Ok(())
    }

    async fn accept(&mut self, line: wire::LogLine) -> Result<Option<(SwarmId, LogLine)>, ManagerError> {
        let Ok(id) = attempt(&line.attempt) else { return Ok(None) };
        self.locate(id).await?;
        let Some(Some(place)) = self.places.get_mut(&id) else { return Ok(None) };
        place.bytes += (line.text.len() + line.data.len() + limits::LOG_LINE_BYTES_COUNTED) as u64;
        if place.bytes > limits::LOG_BYTES_PER_ATTEMPT_MAX {
            return Ok(None);
        }
        Ok(Some((place.swarm, read_line(line, id, &self.node, &place.task, place.iteration))))
    }

    /// Finds out which task run an attempt belongs to, if it is this node's.
    async fn locate(&mut self, id: AttemptId) -> Result<(), ManagerError> {
        if self.places.contains_key(&id) {
            return Ok(());
        }
        if self.places.len() >= REMEMBERED_MAX {
            self.places.clear();
        }
        let node = self.node.clone();
        let found = self.handle.ask(move |view| {
            let swarm = view.engine.swarm_of(id)?;
            let (run, found) = swarm.attempt(id)?;
            let task = swarm.spec().tasks[run.task].alias.clone();
            (found.node == node).then(|| Place { swarm: swarm.id(), task, iteration: run.iteration, bytes: 0 })
        });
        let found = found.await?;
        if found.is_none() {
            tracing::debug!(attempt = %id, node = %self.node, "log lines of an attempt that is not the node's are dropped");
        }
        self.places.insert(id, found);
        Ok(())
    }
}

/// A line as it is kept, cut to its limits.
pub(super) fn read_line(
    line: wire::LogLine,
    attempt: AttemptId,
    node: &NodeName,
    task: &str,
    iteration: u32,
) -> LogLine {
    let data = (!line.data.is_empty() && line.data.len() <= limits::LOG_DATA_BYTES_MAX)
        .then(|| serde_json::from_str(&line.data).ok());
    LogLine {
        seq: 0,
        time_ms: line.time_ms,
        attempt,
        task: task.to_owned(),
        node: node.to_string(),
        iteration,
        level: known(line.level, &["debug", "info", "warning", "error"], "info"),
        source: known(line.source, &["log", "stdout", "stderr", "metrics", "progress", "platform"], "log"),
        text: clip(line.text, limits::LOG_LINE_BYTES_MAX),
        data: data.flatten(),
    }
}

fn known(text: String, words: &[&str], otherwise: &str) -> String {
    if words.contains(&text.as_str()) { text } else { otherwise.to_owned() }
}
