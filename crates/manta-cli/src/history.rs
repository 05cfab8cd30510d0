//! What happened in a swarm, folded from its events and metrics into what people want to see.
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use manta_api::{EventView, LogLine};
use manta_types::event::{Failure as AttemptFailure, Timings};
use manta_types::{AttemptId, SwarmEvent, SwarmId, Usage};
use serde::Serialize;

/// One iteration that ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct IterationRow {
    /// From 0.
    pub(crate) iteration: u32,
    /// From its start to its end.
    pub(crate) seconds: f64,
    /// Nodes of which at least one attempt counted.
    pub(crate) nodes: usize,
    /// The node whose attempts took longest.
    pub(crate) slowest_node: Option<String>,
    /// What the platform added to the longest attempt of each task.
    pub(crate) overhead_ms: u64,
    /// From an attempt's arrival at its node to the first line of `run()`, the median of those that counted.
    pub(crate) start_ms: u64,
    /// Of those, how many were started in which way: `standby`, `fork`, `cold`.
    pub(crate) starts: BTreeMap<String, usize>,
    /// Means over the attempts that counted, by the metric's name.
    pub(crate) metrics: BTreeMap<String, f64>,
    #[serde(skip)]
    pub(crate) elapsed_ms: u64,
}

/// An attempt that failed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct FailedAttempt {
    /// Which.
    #[serde(skip)]
    pub(crate) id: AttemptId,
    /// The task's alias.
    pub(crate) task: String,
    /// The node's name.
    pub(crate) node: String,
    /// From 0.
    pub(crate) iteration: u32,
    /// From 0, counted per node and task run.
    pub(crate) attempt: u32,
    /// What went wrong: class, message, traceback, location, log tail, the limit that was reached, and all limits.
    #[serde(flatten)]
    pub(crate) failure: AttemptFailure,
    /// What it used, where it ran.
    pub(crate) usage: Option<Usage>,
    /// Milliseconds until it is tried again.
    pub(crate) retry_after_ms: Option<u64>,
}

/// How a swarm ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ending {
    /// `succeeded`, `failed` or `stopped`.
    pub(crate) status: &'static str,
    /// Why.
    pub(crate) reason: String,
    /// The attempt whose failure ended it.
    pub(crate) attempt: Option<AttemptId>,
}

/// Something to show at once.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Notice {
    /// An iteration began.
    IterationStarted(u32),
    /// An iteration ended; its row comes from [`History::row`].
    IterationFinished(u32),
    /// Attempts of the running iteration went on: task, how many counted, how many nodes were chosen.
    Progress(String, usize, usize),
    /// An attempt failed; the position in [`History::failures`].
    Failed(usize),
    /// Something that needs a look, in one sentence.
    Attention(String),
    /// The swarm is over.
    Ended(Ending),
}

#[derive(Debug, Default)]
struct Attempt {
    task: String,
    node: String,
    iteration: u32,
    number: u32,
    counted: bool,
    timings: Timings,
    metrics: BTreeMap<String, (u64, f64)>,
}

/// The events seen so far, folded.
#[derive(Debug)]
pub(crate) struct History {
    swarm: SwarmId,
    attempts: BTreeMap<AttemptId, Attempt>,
    ended_iterations: BTreeMap<u32, u64>,
    // Of the running iteration: nodes chosen and attempts that counted, by task; attempts offered, by task and node.
    chosen: BTreeMap<String, usize>,
    counted: BTreeMap<String, usize>,
    offered: BTreeMap<(String, String), u32>,
    /// Failed attempts, in order.
    pub(crate) failures: Vec<FailedAttempt>,
    /// How it ended, once it did.
    pub(crate) ending: Option<Ending>,
    /// Every event, as it came.
    pub(crate) events: Vec<EventView>,
    /// The highest position of a log line.
    pub(crate) last_line: u64,
    /// When the end of the first iteration was heard of.
    pub(crate) first_iteration: Option<Instant>,
}

impl History {
    /// The history of a swarm of which nothing is known.
    pub(crate) fn new(swarm: SwarmId) -> Self {
        Self {
            swarm,
            attempts: BTreeMap::new(),
            ended_iterations: BTreeMap::new(),
            chosen: BTreeMap::new(),
            counted: BTreeMap::new(),
            offered: BTreeMap::new(),
            failures: Vec::new(),
            ending: None,
            events: Vec::new(),
            last_line: 0,
            first_iteration: None,
        }
    }

    /// Takes the next event and says what of it to show.
    pub(crate) fn event(&mut self, view: EventView) -> Vec<Notice> {
        let parsed = view.parsed(self.swarm);
        let (task, node) = (view.task_name.clone().unwrap_or_default(), view.node_name.clone().unwrap_or_default());
        let message = view.message.clone();
        self.events.push(view);
        let Some(event) = parsed else { return Vec::new() };
        match event.what {
            SwarmEvent::IterationStarted { iteration, .. } => {
                self.chosen.clear();
                self.counted.clear();
                self.offered.clear();
                vec![Notice::IterationStarted(iteration)]
            }
            SwarmEvent::TaskRunStarted { nodes, .. } => {
                self.chosen.insert(task.clone(), nodes.len());
                self.counted.insert(task.clone(), 0);
                vec![self.progress(&task)]
            }
            SwarmEvent::AttemptOffered { attempt, iteration, .. } => {
                self.offered(attempt, task, node, iteration);
                Vec::new()
            }
            SwarmEvent::AttemptAccepted { attempt, timings, .. } => self.accepted(attempt, timings),
            SwarmEvent::AttemptFailed { attempt, failure, timings, retry_after_ms, .. } => {
                self.failed(attempt, (task, node), (failure, timings.usage), retry_after_ms)
            }
            SwarmEvent::TaskRunClosed { succeeded, conflicts, .. } => {
                let attention = !succeeded || !conflicts.is_empty();
                attention.then_some(Notice::Attention(message)).into_iter().collect()
            }
            SwarmEvent::AttemptLost { .. } | SwarmEvent::NodeExcused { .. } | SwarmEvent::TaskRunSkipped { .. } => {
                vec![Notice::Attention(message)]
            }
            SwarmEvent::IterationFinished { iteration, elapsed_ms } => {
                self.ended_iterations.insert(iteration, elapsed_ms);
                self.first_iteration.get_or_insert_with(Instant::now);
                vec![Notice::IterationFinished(iteration)]
            }
            SwarmEvent::SwarmSucceeded { reason } => self.end("succeeded", reason, None),
            SwarmEvent::SwarmFailed { reason, attempt } => self.end("failed", reason, attempt),
            SwarmEvent::SwarmStopped { reason } => self.end("stopped", reason, None),
            SwarmEvent::SwarmContinued { .. }
            | SwarmEvent::SwarmPaused { .. }
            | SwarmEvent::SwarmResumed { .. }
            | SwarmEvent::RolloutStarted { .. }
            | SwarmEvent::RolloutStepped { .. }
            | SwarmEvent::RolloutHeld { .. }
            | SwarmEvent::RolloutResumed { .. }
            | SwarmEvent::RolloutPromoted { .. }
            | SwarmEvent::RolloutEnded { .. } => vec![Notice::Attention(message)],
            SwarmEvent::SwarmAdmitted
            | SwarmEvent::TaskRunReady { .. }
            | SwarmEvent::AttemptProgressed { .. }
            | SwarmEvent::AttemptCancelled { .. } => Vec::new(),
        }
    }

    fn offered(&mut self, attempt: AttemptId, task: String, node: String, iteration: u32) {
        let next = self.offered.entry((task.clone(), node.clone())).or_default();
        let new = Attempt { task, node, iteration, number: *next, ..Attempt::default() };
        *next += 1;
        // Metrics may have come before the event that names their attempt.
        let known = self.attempts.remove(&attempt).map(|early| early.metrics).unwrap_or_default();
        self.attempts.insert(attempt, Attempt { metrics: known, ..new });
    }

    fn accepted(&mut self, attempt: AttemptId, timings: Timings) -> Vec<Notice> {
        let Some(known) = self.attempts.get_mut(&attempt) else { return Vec::new() };
        (known.counted, known.timings) = (true, timings);
        let task = known.task.clone();
        *self.counted.entry(task.clone()).or_default() += 1;
        vec![self.progress(&task)]
    }

    fn failed(
        &mut self,
        attempt: AttemptId,
        (task, node): (String, String),
        (failure, usage): (AttemptFailure, Option<Usage>),
        retry_after_ms: Option<u64>,
    ) -> Vec<Notice> {
        let (iteration, number) = self.attempts.get(&attempt).map_or((0, 0), |known| (known.iteration, known.number));
        let (id, attempt) = (attempt, number);
        self.failures.push(FailedAttempt { id, task, node, iteration, attempt, failure, usage, retry_after_ms });
        vec![Notice::Failed(self.failures.len() - 1)]
    }

    fn end(&mut self, status: &'static str, reason: String, attempt: Option<AttemptId>) -> Vec<Notice> {
        let ending = Ending { status, reason, attempt };
        self.ending = Some(ending.clone());
        vec![Notice::Ended(ending)]
    }

    fn progress(&self, task: &str) -> Notice {
        let of = |counts: &BTreeMap<String, usize>| counts.get(task).copied().unwrap_or(0);
        Notice::Progress(task.to_owned(), of(&self.counted), of(&self.chosen))
    }

    /// Takes a log line; only metrics matter here. The same line may come twice.
    pub(crate) fn line(&mut self, line: &LogLine) {
        if line.source != "metrics" {
            return;
        }
        let values = line.data.as_ref().and_then(|data| data.get("values")).and_then(serde_json::Value::as_object);
        let Some(values) = values else { return };
        let attempt = self.attempts.entry(line.attempt).or_default();
        for (name, value) in values {
            let Some(value) = value.as_f64() else { continue };
            let newest = attempt.metrics.entry(name.clone()).or_insert((line.seq, value));
            if newest.0 <= line.seq {
                *newest = (line.seq, value);
            }
        }
    }

    /// Iterations that ended, in order.
    pub(crate) fn rows(&self) -> Vec<IterationRow> {
        self.ended_iterations.keys().filter_map(|iteration| self.row(*iteration)).collect()
    }

    /// The row of an iteration that ended.
    pub(crate) fn row(&self, iteration: u32) -> Option<IterationRow> {
        let elapsed_ms = *self.ended_iterations.get(&iteration)?;
        let counted = || self.attempts.values().filter(move |one| one.counted && one.iteration == iteration);
        let nodes: BTreeSet<&str> = counted().map(|attempt| attempt.node.as_str()).collect();
        let (mut longest_run, mut busy) = (BTreeMap::<&str, u64>::new(), BTreeMap::<&str, u64>::new());
        let mut metrics = BTreeMap::<&String, Vec<f64>>::new();
        let mut starts: Vec<u64> =
            counted().map(|one| &one.timings).map(|t| t.queue_ms + t.prepare_ms + t.start_ms).collect();
        starts.sort_unstable();
        let mut ways = BTreeMap::<String, usize>::new();
        for way in counted().filter_map(|one| one.timings.start_way) {
            *ways.entry(way.name().to_owned()).or_default() += 1;
        }
        for attempt in counted() {
            let longest = longest_run.entry(&attempt.task).or_default();
            *longest = (*longest).max(attempt.timings.run_ms);
            *busy.entry(&attempt.node).or_default() += attempt.timings.run_ms;
            for (name, (_, value)) in &attempt.metrics {
                metrics.entry(name).or_default().push(*value);
            }
        }
        let slowest = busy.iter().max_by_key(|(_, ms)| **ms).map(|(node, _)| (*node).to_owned());
        Some(IterationRow {
            iteration,
            seconds: ms_as_seconds(elapsed_ms),
            nodes: nodes.len(),
            slowest_node: slowest,
            start_ms: starts.get(starts.len() / 2).copied().unwrap_or(0),
            starts: ways,
            overhead_ms: elapsed_ms.saturating_sub(longest_run.values().sum()),
            metrics: metrics.into_iter().map(|(name, values)| (name.clone(), mean(&values))).collect(),
            elapsed_ms,
        })
    }

    /// The failure that ended the swarm, else the last one there was.
    pub(crate) fn decisive_failure(&self) -> Option<&FailedAttempt> {
        self.ending.as_ref()?;
        self.failure(|_| true)
    }

    /// Of the failures that are wanted the one that ended the swarm, else the last one there was.
    pub(crate) fn failure(&self, is_wanted: impl Fn(&FailedAttempt) -> bool) -> Option<&FailedAttempt> {
        let ended_by = self.ending.as_ref().and_then(|ending| ending.attempt);
        let wanted: Vec<&FailedAttempt> = self.failures.iter().filter(|failed| is_wanted(failed)).collect();
        let decisive = wanted.iter().find(|failed| Some(failed.id) == ended_by);
        decisive.or(wanted.last()).copied()
    }
}

/// Milliseconds as seconds.
#[expect(clippy::cast_precision_loss, reason = "a swarm lasts far less than 2^52 ms")]
pub(crate) fn ms_as_seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "there are far fewer than 2^52 attempts")]
fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn attempt(number: u128) -> AttemptId {
        AttemptId::from_uuid(uuid::Uuid::from_u128(number))
    }

    fn history() -> History {
        History::new(SwarmId::from_uuid(uuid::Uuid::from_u128(1)))
    }

    fn feed(history: &mut History, task: &str, node: &str, event: serde_json::Value) -> Vec<Notice> {
        let (task_name, node_name) = (Some(task.to_owned()), Some(node.to_owned()));
        let seq = history.events.len() as u64 + 1;
        let (subject, cause) = Default::default();
        history.event(EventView { seq, time_ms: 0, task_name, node_name, message: "m".into(), subject, cause, event })
    }

    fn run(history: &mut History, number: u128, task: &str, node: &str, run_ms: u64) {
        let offered = json!({"kind": "attempt_offered", "attempt": attempt(number), "iteration": 0, "task": 0, "slot": 0,
            "node": node, "epoch": 1, "reason": "first"});
        feed(history, task, node, offered);
        let accepted = json!({"kind": "attempt_accepted", "attempt": attempt(number),
            "outputs": {"results": [], "globals": []},
            "timings": {"queue_ms": 1, "prepare_ms": 2, "start_ms": 3, "run_ms": run_ms, "upload_ms": 4}});
        feed(history, task, node, accepted);
    }

    fn metric(number: u128, seq: u64, value: f64) -> LogLine {
        LogLine {
            seq,
            time_ms: 0,
            attempt: attempt(number),
            task: "worker".into(),
            node: "node-1".into(),
            iteration: 0,
            level: "info".into(),
            source: "metrics".into(),
            text: String::new(),
            data: Some(json!({"values": {"loss": value}})),
        }
    }

    #[test]
    fn a_row_tells_the_slowest_node_the_overhead_and_the_mean_of_metrics() {
        let mut history = history();
        history.line(&metric(1, 1, 9.0));
        run(&mut history, 1, "worker", "node-1", 100);
        run(&mut history, 2, "worker", "node-2", 300);
        run(&mut history, 3, "aggregator", "node-1", 50);
        for line in [metric(1, 3, 1.0), metric(1, 2, 5.0), metric(2, 4, 2.0), metric(2, 4, 2.0)] {
            history.line(&line);
        }
        feed(&mut history, "", "", json!({"kind": "iteration_finished", "iteration": 0, "elapsed_ms": 400}));
        let row = history.row(0).unwrap();
        assert_eq!((row.nodes, row.slowest_node.as_deref(), row.overhead_ms), (2, Some("node-2"), 50));
        assert_eq!(row.start_ms, 1 + 2 + 3);
        assert_eq!(row.metrics, BTreeMap::from([("loss".to_owned(), 1.5)]));
    }

    #[test]
    fn failures_name_their_attempt_and_unknown_kinds_are_kept() {
        let mut history = history();
        assert!(feed(&mut history, "", "", json!({"kind": "from_the_future", "x": 1})).is_empty());
        run(&mut history, 1, "worker", "node-1", 100);
        let offered = json!({"kind": "attempt_offered", "attempt": attempt(2), "iteration": 0, "task": 0, "slot": 0,
            "node": "node-1", "epoch": 2, "reason": "retry"});
        feed(&mut history, "worker", "node-1", offered);
        let failed = json!({"kind": "attempt_failed", "attempt": attempt(2), "results": [], "timings": Timings::default(),
            "failure": {"class": "user_error", "message": "ValueError: x", "traceback": "t", "location": "worker.py:3"}});
        assert_eq!(feed(&mut history, "worker", "node-1", failed), [Notice::Failed(0)]);
        feed(&mut history, "", "", json!({"kind": "swarm_failed", "reason": "r", "attempt": attempt(2)}));
        assert_eq!(history.failure(|failed| failed.node == "node-2"), None);
        let decisive = history.decisive_failure().unwrap();
        assert_eq!((decisive.attempt, decisive.failure.message.as_str()), (1, "ValueError: x"));
        assert_eq!(history.events.len(), 6);
    }
}
