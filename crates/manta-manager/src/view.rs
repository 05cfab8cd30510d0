//! What people see of swarms, nodes and attempts, made from the engine's state.
use std::collections::BTreeMap;

use manta_api::{
    AttemptInputs, EventView, GlobalView, GpuView, InputResult, LinkView, MissingInput, NodeView, ResultView,
    SwarmView, TaskRunView, TryView, WaitingNode, WaitingView, WhyView, version,
};
use manta_engine::{Explanation, Inputs, Node, NodeReason, SwarmRun, TaskRun, Waiting, describe};
use manta_store::{GlobalRecord, ResultRecord};
use manta_types::{AttemptId, Event, NodeName, SwarmSpec};

use crate::orchestrator::{Gpu, View};

/// A swarm as it is now.
pub(crate) fn swarm(view: &View<'_>, swarm: &SwarmRun) -> SwarmView {
    let waits = view.engine.waiting(view.now.monotonic, swarm.id());
    SwarmView { waiting: waits.into_iter().map(waiting).collect(), ..swarm_alone(swarm) }
}

/// A swarm as its history alone tells it: what waits depends on the nodes, which have no place in it.
pub(crate) fn swarm_alone(swarm: &SwarmRun) -> SwarmView {
    SwarmView {
        id: swarm.id(),
        name: swarm.spec().name.clone(),
        state: swarm.state().name().to_owned(),
        reason: swarm.reason().to_owned(),
        iteration: swarm.iteration(),
        max_iteration: swarm.spec().iterations_max.map(std::num::NonZeroU32::get),
        priority: swarm.spec().priority,
        attempts_max: swarm.spec().attempts_max.map(std::num::NonZeroU32::get),
        seq: swarm.seq(),
        created_ms: swarm.created_ms(),
        finished_ms: swarm.finished_ms(),
        tasks: swarm.spec().tasks.iter().map(|task| task.alias.clone()).collect(),
        waiting: Vec::new(),
        task_runs: swarm.task_runs().iter().map(|run| task_run(swarm.spec(), run)).collect(),
        distribution: None,
    }
}

fn waiting(waiting: Waiting) -> WaitingView {
    let Waiting { task, iteration, reason, nodes, would_change } = waiting;
    WaitingView { task, iteration, reason, nodes: nodes.into_iter().map(node_reason).collect(), would_change }
}

fn node_reason(reason: NodeReason) -> WaitingNode {
    WaitingNode { node: reason.node.to_string(), cause: reason.cause, change: reason.change }
}

/// An explanation, in fields and in words.
pub(crate) fn why(explanation: Explanation, notes: Vec<String>) -> WhyView {
    let mut text = explanation.to_string();
    if !notes.is_empty() {
        text.push_str(&format!("\nnotes:\n  {}", notes.join("\n  ")));
    }
    let tried = |tried: manta_engine::Try| TryView {
        attempt: tried.attempt,
        node: tried.node.to_string(),
        epoch: tried.epoch,
        state: tried.state.name().to_owned(),
        failure: tried.failure.map(Into::into),
    };
    let link = |link: manta_engine::Link| {
        let manta_engine::Link { seq, time_ms, message, cause } = link;
        LinkView { seq, time_ms, message, cause }
    };
    WhyView {
        schema_version: version::SCHEMA_VERSION,
        swarm: explanation.swarm,
        name: explanation.name,
        task: explanation.task,
        iteration: explanation.iteration,
        node: explanation.node.map(|node| node.to_string()),
        attempt: explanation.attempt,
        state: explanation.state.to_owned(),
        reason: explanation.reason,
        nodes: explanation.nodes.into_iter().map(node_reason).collect(),
        waiting: explanation.waiting.into_iter().map(waiting).collect(),
        attempts: explanation.tries.into_iter().map(tried).collect(),
        failure: explanation.failure.map(Into::into),
        usage: explanation.usage,
        chain: explanation.chain.into_iter().map(link).collect(),
        notes,
        would_change: explanation.would_change,
        text,
    }
}

fn task_run(spec: &SwarmSpec, run: &TaskRun) -> TaskRunView {
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    TaskRunView {
        task: spec.tasks[run.task].alias.clone(),
        iteration: run.iteration,
        state: run.state.name().to_owned(),
        nodes: count(run.slots.len()),
        accepted: count(run.accepted().count()),
        starts: starts(run),
        memory_bytes_peak: memory_peak(run),
        reason: run.reason.clone(),
    }
}

/// How many of its attempts were started in which way, as far as their nodes have told.
fn starts(run: &TaskRun) -> BTreeMap<String, u32> {
    let attempts = run.slots.iter().flat_map(|slot| &slot.attempts);
    let mut starts = BTreeMap::new();
    for way in attempts.filter_map(|attempt| attempt.timings.start_way) {
        *starts.entry(way.name().to_owned()).or_default() += 1;
    }
    starts
}

/// The most memory that one of its attempts used, as far as their nodes have told.
fn memory_peak(run: &TaskRun) -> Option<u64> {
    let usages = run.slots.iter().flat_map(|slot| &slot.attempts).filter_map(|attempt| attempt.timings.usage);
    usages.filter_map(|usage| usage.memory_bytes_peak).max()
}

/// A node as it is now.
pub(crate) fn node(view: &View<'_>, node: &Node) -> NodeView {
    let (description, known) = (node.description(), view.nodes.get(node.name()));
    NodeView {
        id: known.map(|known| known.id.to_string()).unwrap_or_default(),
        name: node.name().to_string(),
        state: node.state().name().to_owned(),
        duty: node.duty().name().to_owned(),
        labels: description.labels.clone(),
        datasets: description.datasets.clone(),
        slots: description.slots,
        attempts: node.load(),
        gpus: known.into_iter().flat_map(|known| &known.profile.gpus).map(gpu).collect(),
        tier: known.map(|known| known.profile.tier.clone()).unwrap_or_default(),
        engine: known.map(|known| known.profile.engine.clone()).unwrap_or_default(),
        notes: known.map(|known| known.profile.notes.clone()).unwrap_or_default(),
        heard_s: node.silent_for(view.now.monotonic).map(|silent| silent.as_secs_f64()),
    }
}

fn gpu(gpu: &Gpu) -> GpuView {
    GpuView { name: gpu.name.clone(), memory_bytes: gpu.memory_bytes }
}

/// What an attempt may read, if that node holds it and it may still count.
pub(crate) fn inputs(view: &View<'_>, attempt: AttemptId, node: &NodeName) -> Option<AttemptInputs> {
    let swarm = view.engine.swarm_of(attempt)?;
    swarm.attempt(attempt).filter(|(_, found)| found.node == *node)?;
    let inputs = view.engine.inputs(attempt)?;
    let nodes = view.engine.nodes().map(|node| node.name().to_string()).collect();
    Some(readable(swarm.spec(), inputs, nodes))
}

/// What an attempt may read, as nodes and clients are told it; `nodes` are all of the cluster.
pub(crate) fn readable(spec: &SwarmSpec, inputs: Inputs, nodes: Vec<String>) -> AttemptInputs {
    let globals = inputs.globals.into_iter().map(|(name, value)| GlobalView {
        name,
        revision: value.revision,
        writer: value.writer.map(|writer| writer.to_string()),
        blob: value.blob,
    });
    let results = inputs.results.into_iter().map(|result| InputResult {
        task: result.task,
        iteration: result.iteration,
        node: result.node.to_string(),
        labels: result.labels,
        name: result.name,
        blob: result.blob,
        distance: result.distance,
    });
    let missing = inputs.missing.into_iter().map(|missing| MissingInput {
        task: missing.task,
        node: missing.node.to_string(),
        reason: missing.reason,
    });
    AttemptInputs {
        globals: globals.collect(),
        results: results.collect(),
        missing: missing.collect(),
        tasks: spec.tasks.iter().map(|task| task.alias.clone()).collect(),
        nodes,
        ran_before: inputs.ran_before.iter().map(ToString::to_string).collect(),
    }
}

/// An event in words.
pub(crate) fn event(spec: &SwarmSpec, event: &Event) -> EventView {
    let described = describe(spec, event);
    EventView {
        seq: event.seq,
        time_ms: event.time_ms,
        task_name: described.task,
        node_name: described.node,
        message: described.message,
        subject: event.subject.clone(),
        cause: event.cause.clone(),
        event: serde_json::to_value(&event.what).expect("events have text keys: always JSON"),
    }
}

/// A published value.
pub(crate) fn result(spec: &SwarmSpec, record: ResultRecord) -> ResultView {
    ResultView {
        iteration: record.iteration,
        task: spec.tasks.get(record.task).map_or_else(|| record.task.to_string(), |task| task.alias.clone()),
        node: record.node.to_string(),
        name: record.name,
        attempt: record.attempt,
        accepted: record.accepted,
        blob: record.blob,
    }
}

/// Globals as they are now: those of the submission, under those that were written since.
pub(crate) fn globals(spec: &SwarmSpec, records: Vec<GlobalRecord>) -> Vec<GlobalView> {
    let submitted = spec
        .globals
        .iter()
        .map(|(name, blob)| (name.clone(), GlobalView { name: name.clone(), revision: 0, writer: None, blob: *blob }));
    let mut globals: BTreeMap<String, GlobalView> = submitted.collect();
    globals.extend(records.into_iter().map(|record| {
        let GlobalRecord { name, revision, writer, blob } = record;
        (name.clone(), GlobalView { name, revision, writer: Some(writer.to_string()), blob })
    }));
    globals.into_values().collect()
}
