//! Events in words, the same in the API, the command line and the log.
use manta_types::event::{AttemptStateName, SwarmEvent as E, Timings};
use manta_types::rollout::percent;
use manta_types::{Event, SwarmSpec};

use crate::swarm::count;

/// What an event concerns, and its sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// The task's alias.
    pub task: Option<String>,
    /// The node's name.
    pub node: Option<String>,
    /// One sentence.
    pub message: String,
}

/// Says an event of a swarm in words.
pub fn describe(spec: &SwarmSpec, event: &Event) -> Described {
    let node = event.subject.node.as_ref().map(ToString::to_string);
    let task = event.subject.task;
    let task = task.map(|task| spec.tasks.get(task).map_or_else(|| task.to_string(), |spec| spec.alias.clone()));
    let whole = |text: &str| text.to_owned();
    let on = |verb: &str| {
        let (task, node) = (task.as_deref().unwrap_or("?"), node.as_deref().unwrap_or("?"));
        format!("{task} on {node} {verb}")
    };
    let of = |verb: String| format!("{} {verb}", task.as_deref().unwrap_or("?"));
    let message = match &event.what {
        E::SwarmAdmitted => whole("admitted"),
        E::SwarmContinued { checkpoint } => {
            let carried = count(checkpoint.closed.len(), "task run");
            format!("continues {} at iteration {}, with {carried} done", checkpoint.from, checkpoint.iteration)
        }
        E::IterationStarted { iteration, .. } => format!("iteration {iteration} started"),
        E::TaskRunReady { .. } => of("is ready".into()),
        E::TaskRunSkipped { reason, .. } => of(format!("skipped: {reason}")),
        E::TaskRunStarted { nodes, .. } => of(format!("runs on {}", count(nodes.len(), "node"))),
        E::AttemptOffered { reason, .. } if reason == "first" => on("offered"),
        E::AttemptOffered { reason, .. } => on(&format!("offered {reason}")),
        E::AttemptProgressed { state: AttemptStateName::Silent, .. } => on("fell silent"),
        E::AttemptProgressed { state, .. } => on(&format!("is {}", state.state())),
        E::AttemptAccepted { outputs, timings, .. } => {
            let published = count(outputs.results.len(), "result");
            on(&format!("done in {} ms, {published} published{}", timings.run_ms, start_of(timings)))
        }
        E::AttemptFailed { failure, retry_after_ms, .. } => {
            let next = if retry_after_ms.is_some() { "; it will be tried again" } else { "" };
            on(&format!("failed: {}{next}", failure.message))
        }
        E::AttemptLost { reason, .. } => on(&format!("lost: {reason}")),
        E::AttemptCancelled { reason, .. } => on(&format!("cancelled: {reason}")),
        E::NodeExcused { reason, .. } => on(&format!("excused: {reason}")),
        E::TaskRunClosed { succeeded: true, reason, conflicts, .. } => {
            let warning = conflicts.iter().map(|conflict| format!("; warning: {conflict}")).collect::<String>();
            of(format!("{reason}{warning}"))
        }
        E::TaskRunClosed { succeeded: false, reason, .. } => of(format!("failed: {reason}")),
        E::IterationFinished { iteration, elapsed_ms } => format!("iteration {iteration} done in {elapsed_ms} ms"),
        E::SwarmSucceeded { reason } => format!("succeeded: {reason}"),
        E::SwarmFailed { reason, .. } => format!("failed: {reason}"),
        E::SwarmStopped { reason } => format!("stopped: {reason}"),
        E::SwarmPaused { reason } => format!("paused: {reason}"),
        E::SwarmResumed { reason, .. } => format!("goes on: {reason}"),
        what => of(rollout(what)),
    };
    Described { task, node, message }
}

/// What happened to a rollout of a task.
fn rollout(what: &E) -> String {
    match what {
        E::RolloutStarted { rollout, reason, .. } => format!("rollout {rollout} started: {reason}"),
        E::RolloutStepped { rollout, step, share, unfit, reason, .. } => {
            let unfit: String =
                unfit.iter().take(3).map(|unfit| format!("; {} cannot run it: {}", unfit.node, unfit.cause)).collect();
            let step = step + 1;
            format!("rollout {rollout} goes to {} of its nodes (step {step}): {reason}{unfit}", percent(*share))
        }
        E::RolloutHeld { rollout, reason, .. } => format!("rollout {rollout} is held: {reason}"),
        E::RolloutResumed { rollout, reason, .. } => format!("rollout {rollout} goes on: {reason}"),
        E::RolloutPromoted { rollout, full, reason, .. } => {
            let to = if *full { "all nodes" } else { "its next step" };
            format!("rollout {rollout} will go to {to}: {reason}")
        }
        E::RolloutEnded { rollout, outcome, reason, .. } => format!("rollout {rollout} {outcome}: {reason}"),
        other => other.kind().to_owned(),
    }
}

/// How an attempt was started, and why not more quickly, as a clause.
fn start_of(timings: &Timings) -> String {
    match (timings.start_way, timings.start_instead.as_str()) {
        (None, _) => String::new(),
        (Some(way), "") => format!("; {} start", way.name()),
        (Some(way), why) => format!("; {} start: {why}", way.name()),
    }
}
