//! What people see of swarms, nodes and attempts, made from the engine's state.
use std::collections::BTreeMap;

use manta_api::{
    AttemptInputs, EventView, GlobalView, GpuView, InputResult, LinkView, MissingInput, NodeDetailView, NodeView,
    ResultView, RolloutView, RunningView, ShortRunView, SwarmView, TaskRunView, TryView, WaitingNode, WaitingView,
    WhyView, version,
};
use manta_engine::{Explanation, Inputs, Node, NodeReason, Rollout, ShortRun, SwarmRun, TaskRun, Waiting, describe};
use manta_store::{GlobalRecord, ResultRecord};
use manta_types::event::UnfitNode;
use manta_types::{AttemptId, Event, NodeName, NodeState, Pin, RolloutPlan, SwarmSpec, TaskIndex};

use crate::orchestrator::{Gpu, KnownNode, View};

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

fn short_run(short: ShortRun) -> ShortRunView {
    let told = |(node, cause): (NodeName, String)| WaitingNode { node: node.to_string(), cause, change: None };
    ShortRunView {
        task: short.task,
        iteration: short.iteration,
        missing: u32::try_from(short.missing).unwrap_or(u32::MAX),
        nodes: short.nodes.into_iter().map(told).collect(),
    }
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
        version: tried.version,
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
        short_runs: explanation.short_runs.into_iter().map(short_run).collect(),
        short_runs_earlier: u32::try_from(explanation.short_runs_earlier).unwrap_or(u32::MAX),
        attempts: explanation.tries.into_iter().map(tried).collect(),
        failure: explanation.failure.map(Into::into),
        usage: explanation.usage,
        chain: explanation.chain.into_iter().map(link).collect(),
        notes,
        would_change: explanation.would_change,
        text,
    }
}

/// A rollout as it is now.
pub(crate) fn rollout(view: &View<'_>, swarm: &SwarmRun, rollout: &Rollout) -> RolloutView {
    let left = rollout.due().filter(|_| !rollout.state.is_final()).map(|due| due - view.now.monotonic);
    let planned =
        planned_rollout(swarm, rollout.task, &rollout.to, (&rollout.plan, rollout.back), rollout.unfit.clone());
    RolloutView {
        number: rollout.number,
        from: rollout.from.version.clone(),
        from_bundle: rollout.from.bundle,
        state: rollout.state.name().to_owned(),
        reason: rollout.reason.clone(),
        holder: rollout.holder.map(|holder| holder.name().to_owned()),
        step: rollout.step.map(|(step, _)| step),
        share: rollout.share(),
        figures: rollout.figures.clone(),
        iterations: rollout.iterations,
        deadline_left_ms: left.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
        nodes: rollout.nodes.iter().map(ToString::to_string).collect(),
        started_ms: rollout.started_ms,
        ended_ms: rollout.ended_ms,
        ..planned
    }
}

/// A rollout that would begin now.
pub(crate) fn planned_rollout(
    swarm: &SwarmRun,
    task: TaskIndex,
    to: &Pin,
    (plan, back): (&RolloutPlan, bool),
    unfit: Vec<UnfitNode>,
) -> RolloutView {
    let spec = &swarm.spec().tasks[task];
    let told = |unfit: UnfitNode| WaitingNode { node: unfit.node.to_string(), cause: unfit.cause, change: None };
    RolloutView {
        swarm: swarm.id(),
        swarm_name: swarm.spec().name.clone(),
        task: spec.alias.clone(),
        number: u32::try_from(swarm.rollouts().len() + 1).unwrap_or(u32::MAX),
        module: to.module.clone(),
        from: spec.version.clone(),
        from_bundle: spec.bundle,
        to: to.version.clone(),
        to_bundle: to.bundle,
        state: "planned".to_owned(),
        reason: format!("would bring version {} in place of {}", to.version, spec.version),
        holder: None,
        back,
        step: None,
        share: 0.0,
        steps: plan.steps.clone(),
        gates: plan.gates.clone(),
        figures: Vec::new(),
        every: plan.every,
        iterations: 0,
        hold_each: plan.hold_each,
        deadline_left_ms: plan.deadline_ms,
        nodes: Vec::new(),
        unfit: unfit.into_iter().map(told).collect(),
        started_ms: 0,
        ended_ms: None,
    }
}

/// How many of its attempts run which version.
fn versions(run: &TaskRun) -> BTreeMap<String, u32> {
    let mut versions = BTreeMap::new();
    for attempt in run.slots.iter().filter_map(|slot| slot.attempts.last()) {
        *versions.entry(run.version_of(attempt).to_owned()).or_default() += 1;
    }
    versions
}

fn task_run(spec: &SwarmSpec, run: &TaskRun) -> TaskRunView {
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    TaskRunView {
        task: spec.tasks[run.task].alias.clone(),
        iteration: run.iteration,
        state: run.state.name().to_owned(),
        nodes: count(run.slots.len()),
        accepted: count(run.accepted().count()),
        versions: versions(run),
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
        agent_version: known.map(|known| known.profile.agent_version.clone()).unwrap_or_default(),
        notes: known.map(|known| known.profile.notes.clone()).unwrap_or_default(),
        heard_s: node.silent_for(view.now.monotonic).map(|silent| silent.as_secs_f64()),
        attempts_revoked: None,
    }
}

/// A node that joined and never connected: no decision knows of it.
pub(crate) fn enrolled(name: &NodeName, known: &KnownNode) -> NodeView {
    NodeView {
        id: known.id.to_string(),
        name: name.to_string(),
        state: NodeState::Joining.name().to_owned(),
        duty: known.duty.name().to_owned(),
        labels: known.profile.labels.clone(),
        datasets: Vec::new(),
        slots: 0,
        attempts: 0,
        gpus: Vec::new(),
        tier: String::new(),
        engine: String::new(),
        agent_version: String::new(),
        notes: known.profile.notes.clone(),
        heard_s: None,
        attempts_revoked: None,
    }
}

/// A node, and all that is known of it.
pub(crate) fn node_detail(view: &View<'_>, found: &Node) -> NodeDetailView {
    let running = found.live().filter_map(|(attempt, id)| {
        let swarm = view.engine.swarm(id)?;
        let (run, now) = swarm.attempt(attempt)?;
        Some(RunningView {
            attempt,
            swarm: id,
            swarm_name: swarm.spec().name.clone(),
            task: swarm.spec().tasks.get(run.task)?.alias.clone(),
            iteration: run.iteration,
            state: now.state.to_string(),
        })
    });
    NodeDetailView {
        running: running.collect(),
        events: view.node_events.get(found.name()).into_iter().flatten().cloned().collect(),
        ..detail(node(view, found), view.nodes.get(found.name()))
    }
}

/// A node as it said what it is, beside all that happens at it.
pub(crate) fn detail(node: NodeView, known: Option<&KnownNode>) -> NodeDetailView {
    let profile = known.map(|known| known.profile.clone()).unwrap_or_default();
    let policy = manta_api::policy::digest(&profile.policy.clone().into());
    NodeDetailView {
        node,
        own_labels: profile.labels,
        joined_ms: known.map_or(0, |known| known.joined_ms),
        agent_version: profile.agent_version,
        protocol: Some(profile.protocol).filter(|protocol| *protocol > 0),
        python_version: profile.python_version,
        platform: profile.platform,
        cpu_count: profile.cpu_count,
        memory_bytes: profile.memory_bytes,
        datasets: profile.dataset_views,
        images: profile
            .images
            .iter()
            .map(|image| (image.clone(), profile.image_digests.get(image).cloned().unwrap_or_default()))
            .collect(),
        link_quality: None,
        policy: policy.map(|digest| digest.to_string()),
        running: Vec::new(),
        events: Vec::new(),
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

/// A published value, with the module's version that published it: that of the submission, unless a rollout brought another.
pub(crate) fn result(submitted: &SwarmSpec, brought: &BTreeMap<AttemptId, String>, record: ResultRecord) -> ResultView {
    let task = submitted.tasks.get(record.task);
    let version = brought.get(&record.attempt).or_else(|| task.map(|task| &task.version));
    ResultView {
        version: version.cloned().unwrap_or_default(),
        iteration: record.iteration,
        task: task.map_or_else(|| record.task.to_string(), |task| task.alias.clone()),
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
