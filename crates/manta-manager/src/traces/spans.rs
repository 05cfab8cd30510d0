//! A swarm's history as spans, in the JSON form of OTLP. Ids are made of ids of the swarm, so that the same history gives the same
//! trace.
use std::collections::BTreeMap;
use std::sync::Arc;

use manta_types::event::Timings;
use manta_types::{AttemptId, Event, SwarmEvent, SwarmId, SwarmSpec, TaskIndex};
use serde_json::{Value, json};

/// What a span is of; its id is made of this.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Of {
    Swarm,
    Iteration(u32),
    Task(u32, TaskIndex),
    Attempt(AttemptId),
    Phase(AttemptId, &'static str),
}

/// A span that has begun.
struct Open {
    name: String,
    parent: Option<Of>,
    start_ms: u64,
    attributes: Vec<(&'static str, Value)>,
}

/// How a span ended: with these attributes more, and with an error where there was one.
#[derive(Default)]
struct End {
    attributes: Vec<(&'static str, Value)>,
    error: Option<String>,
}

/// The spans of one swarm, as far as its history was read.
pub(super) struct Spans {
    swarm: SwarmId,
    spec: Arc<SwarmSpec>,
    open: BTreeMap<Of, Open>,
    ended: Vec<Value>,
}

impl Spans {
    /// None yet.
    pub(super) fn new(swarm: SwarmId, spec: Arc<SwarmSpec>) -> Self {
        Self { swarm, spec, open: BTreeMap::new(), ended: Vec::new() }
    }

    /// How many have ended and were not given away.
    pub(super) fn ended(&self) -> usize {
        self.ended.len()
    }

    /// So many of those that have ended.
    pub(super) fn give(&mut self, most: usize) -> Vec<Value> {
        let rest = self.ended.split_off(most.min(self.ended.len()));
        std::mem::replace(&mut self.ended, rest)
    }

    /// Goes on with the next event.
    pub(super) fn take(&mut self, event: &Event) {
        use SwarmEvent as E;
        let at = event.time_ms;
        if !self.open.contains_key(&Of::Swarm) && self.ended.is_empty() {
            let attributes = vec![("manta.swarm", Value::from(self.swarm.to_string()))];
            self.begin(Of::Swarm, format!("swarm {}", self.spec.name), None, at, attributes);
        }
        match &event.what {
            E::IterationStarted { iteration, .. } => {
                let attributes = vec![("manta.iteration", (*iteration).into())];
                self.begin(
                    Of::Iteration(*iteration),
                    format!("iteration {iteration}"),
                    Some(Of::Swarm),
                    at,
                    attributes,
                );
            }
            E::TaskRunReady { iteration, task } => self.begin_task(*iteration, *task, at),
            E::TaskRunSkipped { iteration, task, reason } => {
                self.begin_task(*iteration, *task, at);
                let attributes = vec![("manta.reason", reason.as_str().into())];
                self.end(&Of::Task(*iteration, *task), at, End { attributes, error: None });
            }
            E::AttemptOffered { attempt, iteration, task, node, epoch, reason, .. } => {
                let attributes = vec![
                    ("manta.attempt", Value::from(attempt.to_string())),
                    ("manta.node", node.as_str().into()),
                    ("manta.epoch", (*epoch).into()),
                    ("manta.reason", reason.as_str().into()),
                ];
                let parent = Some(Of::Task(*iteration, *task));
                self.begin(Of::Attempt(*attempt), format!("attempt on {node}"), parent, at, attributes);
            }
            E::AttemptAccepted { attempt, timings, .. } => self.end_attempt(*attempt, at, Some(timings), None),
            E::AttemptFailed { attempt, failure, timings, .. } => {
                let error = format!("{}: {}", failure.class, failure.message);
                self.end_attempt(*attempt, at, Some(timings), Some(error));
            }
            E::AttemptLost { attempt, reason } | E::AttemptCancelled { attempt, reason } => {
                self.end_attempt(*attempt, at, None, Some(reason.clone()));
            }
            E::TaskRunClosed { iteration, task, succeeded, reason, .. } => {
                let attributes = vec![("manta.reason", reason.as_str().into())];
                let error = (!succeeded).then(|| reason.clone());
                self.end(&Of::Task(*iteration, *task), at, End { attributes, error });
            }
            E::IterationFinished { iteration, .. } => self.end(&Of::Iteration(*iteration), at, End::default()),
            E::SwarmSucceeded { reason } | E::SwarmStopped { reason } => self.finish(at, reason, None),
            E::SwarmFailed { reason, .. } => self.finish(at, reason, Some(reason.clone())),
            _ => {}
        }
    }

    /// The trace of whoever submitted the swarm, else one of its own.
    fn trace(&self) -> String {
        let own = || self.swarm.uuid().simple().to_string();
        self.spec.trace_parent.map_or_else(own, |parent| format!("{:032x}", parent.trace()))
    }

    fn begin(
        &mut self,
        of: Of,
        name: String,
        parent: Option<Of>,
        start_ms: u64,
        attributes: Vec<(&'static str, Value)>,
    ) {
        self.open.entry(of).or_insert(Open { name, parent, start_ms, attributes });
    }

    fn begin_task(&mut self, iteration: u32, task: TaskIndex, at: u64) {
        let known = self.spec.tasks.get(task);
        let name = known.map_or_else(|| format!("task {task}"), |task| format!("task {}", task.alias));
        let module = known.map(|task| format!("{} {}", task.module, task.version)).unwrap_or_default();
        let attributes = vec![("manta.iteration", iteration.into()), ("manta.module", module.into())];
        self.begin(Of::Task(iteration, task), name, Some(Of::Iteration(iteration)), at, attributes);
    }

    fn end_attempt(&mut self, attempt: AttemptId, at: u64, timings: Option<&Timings>, error: Option<String>) {
        let of = Of::Attempt(attempt);
        if let (Some(timings), Some(open)) = (timings, self.open.get(&of)) {
            self.phases(attempt, (open.start_ms, at), timings);
        }
        self.end(&of, at, End { attributes: Vec::new(), error });
    }

    /// The phases that a node measured, one after the other from the attempt's beginning. The node's clock is another, and part of the
    /// time was on the way: none goes beyond the attempt's end.
    fn phases(&mut self, attempt: AttemptId, (mut start, end): (u64, u64), timings: &Timings) {
        let Timings { queue_ms, prepare_ms, start_ms, run_ms, upload_ms, .. } = timings;
        let phases = [
            ("queue", queue_ms),
            ("fetch", prepare_ms),
            ("environment", start_ms),
            ("run", run_ms),
            ("publish", upload_ms),
        ];
        for (name, elapsed_ms) in phases {
            let of = Of::Phase(attempt, name);
            let measured = i64::try_from(*elapsed_ms).unwrap_or(i64::MAX);
            let attributes = vec![("manta.measured_ms", Value::from(measured))];
            self.begin(of.clone(), name.to_owned(), Some(Of::Attempt(attempt)), start, attributes);
            start = start.saturating_add(*elapsed_ms).min(end);
            self.end(&of, start, End::default());
        }
    }

    /// The swarm is over, and with it all that still goes on.
    fn finish(&mut self, at: u64, reason: &str, error: Option<String>) {
        let left: Vec<Of> = self.open.keys().rev().filter(|of| **of != Of::Swarm).cloned().collect();
        for of in left {
            let error = Some("the swarm ended first".to_owned());
            self.end(&of, at, End { attributes: Vec::new(), error });
        }
        self.end(&Of::Swarm, at, End { attributes: vec![("manta.reason", reason.into())], error });
    }

    fn end(&mut self, of: &Of, at: u64, end: End) {
        let Some(Open { name, parent, start_ms, attributes: begun }) = self.open.remove(of) else { return };
        let (code, message) = end.error.map_or((1, String::new()), |message| (2, message));
        let own = parent.map(|parent| span_id(self.swarm, &parent));
        let parent = own.or_else(|| Some(format!("{:016x}", self.spec.trace_parent?.span()))).unwrap_or_default();
        self.ended.push(json!({
            "traceId": self.trace(),
            "spanId": span_id(self.swarm, of),
            "parentSpanId": parent,
            "name": name,
            "kind": 1,
            "startTimeUnixNano": nanoseconds(start_ms),
            "endTimeUnixNano": nanoseconds(at.max(start_ms)),
            "attributes": attributes(begun.into_iter().chain(end.attributes)),
            "status": {"code": code, "message": message},
        }));
    }
}

/// The span of an attempt for its task, of a swarm that is part of a trace that others began: as `traceparent`.
pub(crate) fn span_of(spec: &SwarmSpec, swarm: SwarmId, attempt: AttemptId) -> Option<String> {
    let span = u64::from_str_radix(&span_id(swarm, &Of::Attempt(attempt)), 16).ok()?;
    Some(spec.trace_parent?.with_span(span).to_string())
}

/// Attributes in the form of OTLP.
pub(super) fn attributes(pairs: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    let one = |(key, value): (&'static str, Value)| match value {
        Value::String(text) => json!({"key": key, "value": {"stringValue": text}}),
        // 64-bit integers are texts in the JSON form of Protocol Buffers.
        number => json!({"key": key, "value": {"intValue": number.to_string()}}),
    };
    pairs.into_iter().map(one).collect()
}

/// Eight bytes that name a span of a swarm; never all zero, which would name none.
fn span_id(swarm: SwarmId, of: &Of) -> String {
    let text = match of {
        Of::Swarm => "swarm".to_owned(),
        Of::Iteration(iteration) => format!("iteration {iteration}"),
        Of::Task(iteration, task) => format!("task {task} in {iteration}"),
        Of::Attempt(attempt) => attempt.to_string(),
        Of::Phase(attempt, name) => format!("{name} of {attempt}"),
    };
    let mut hasher = blake3::Hasher::new();
    hasher.update(&swarm.bytes()).update(text.as_bytes());
    let digest = hasher.finalize().to_hex();
    match &digest[..16] {
        "0000000000000000" => "0000000000000001".to_owned(),
        id => id.to_owned(),
    }
}

/// Wall clock as OTLP wants it: a text of nanoseconds since 1970.
fn nanoseconds(ms: u64) -> String {
    (u128::from(ms) * 1_000_000).to_string()
}
