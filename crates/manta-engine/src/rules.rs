//! What happens next in a swarm: one decision at a time, from its state, the nodes and the time alone.
use manta_types::event::SwarmEvent as E;
use manta_types::{IterationState, NodeName, SwarmState, TaskIndex, TaskRunState, Timestamp, limits};

use crate::fleet::Fleet;
use crate::placement::{self, Placement};
use crate::swarm::{SlotPlace, SwarmRun, TaskRun, count};
use crate::timers::Alarm;
use crate::{Now, closing, rollout, seating};

/// What follows in a swarm.
#[derive(Debug, PartialEq)]
pub(crate) enum Decision {
    /// These happen, in this order.
    Happen(Vec<E>),
    /// A slot waits for a place at a node, and is looked at again at that time at the latest.
    Queue { slot: SlotPlace, node: NodeName, look_again: Option<Timestamp> },
    /// A task run, or one slot of it, waits for a node; not before the watched one is heard or given up.
    Seek { task: TaskIndex, slot: Option<usize>, watch: Option<NodeName> },
    /// Something is to be looked at again then.
    Wake(Timestamp, Alarm),
}

impl Decision {
    pub(crate) fn happen(event: E) -> Self {
        Self::Happen(vec![event])
    }
}

/// The next decision, or nothing while the swarm has to wait.
pub(crate) fn next(swarm: &mut SwarmRun, fleet: &Fleet, now: Now) -> Option<Decision> {
    match swarm.state {
        SwarmState::Running => {}
        SwarmState::Paused => {
            swarm.agenda.runs.clear();
            swarm.agenda.starts.clear();
            return next_of_slots(swarm, fleet, now.monotonic);
        }
        _ => {
            swarm.agenda.runs.clear();
            swarm.agenda.starts.clear();
            swarm.agenda.slots.clear();
            return None;
        }
    }
    if let Some(decision) = rollout::overdue(swarm, now.monotonic) {
        return Some(decision);
    }
    if let Some(failed) = swarm.agenda.fatal {
        return Some(Decision::Happen(fail(swarm, &swarm.task_runs[failed])));
    }
    #[cfg(feature = "planted-bugs")]
    if let Some(event) = rollout::between(swarm, fleet, true).filter(|_| fleet.bugs.step_any_time) {
        return Some(Decision::happen(event));
    }
    while let Some(task) = swarm.agenda.runs.pop_first() {
        let decision = match swarm.task_runs[task].state {
            TaskRunState::Waiting => leave_waiting(swarm, &swarm.task_runs[task]).map(Decision::happen),
            TaskRunState::Ready => {
                swarm.agenda.starts.insert(task);
                None
            }
            TaskRunState::Running => leave_running(swarm, task, fleet, now.monotonic),
            _ => None,
        };
        if decision.is_some() {
            return decision;
        }
    }
    if let Some(decision) = next_of_slots(swarm, fleet, now.monotonic) {
        return Some(decision);
    }
    // One task run after the other, so that each choice counts what waits at nodes because of those before.
    while let Some(task) = swarm.agenda.starts.pop_first() {
        let run = &swarm.task_runs[task];
        if run.state == TaskRunState::Ready {
            return Some(leave_ready(swarm, run, fleet));
        }
    }
    (swarm.agenda.open == 0).then(|| Decision::happen(leave_iteration(swarm, fleet, now)))
}

fn next_of_slots(swarm: &mut SwarmRun, fleet: &Fleet, now: Timestamp) -> Option<Decision> {
    while let Some(place) = swarm.agenda.slots.pop_first() {
        let decision = seating::decide(swarm, place, fleet, now);
        if let Some(Decision::Seek { .. }) = decision {
            swarm.task_runs[place.0].nowhere = Some(fleet.version());
        }
        if decision.is_some() {
            return decision;
        }
    }
    None
}

/// The first iteration, or the one at which the swarm that it continues failed.
pub(crate) fn begin(swarm: &SwarmRun) -> E {
    match &swarm.carried {
        Some(checkpoint) => {
            E::IterationStarted { iteration: checkpoint.iteration, requests: checkpoint.granted.clone() }
        }
        None => E::IterationStarted { iteration: 0, requests: Vec::new() },
    }
}

fn leave_waiting(swarm: &SwarmRun, run: &TaskRun) -> Option<E> {
    if !run.is_unblocked() {
        return None;
    }
    let (iteration, task) = (run.iteration, run.task);
    let before = &swarm.spec.tasks[task].after;
    if !before.is_empty() && before.iter().all(|before| swarm.task_runs[*before].counts.accepted == 0) {
        return Some(E::TaskRunSkipped { iteration, task, reason: "its predecessors left nothing".to_owned() });
    }
    Some(E::TaskRunReady { iteration, task })
}

fn leave_ready(swarm: &SwarmRun, run: &TaskRun, fleet: &Fleet) -> Decision {
    let (iteration, task) = (run.iteration, run.task);
    match placement::place(swarm, task, fleet) {
        Placement::Chosen { nodes, movable } => {
            let globals_revision = swarm.revision;
            let renewed = rollout::renewed(swarm, task, &nodes, fleet);
            Decision::happen(E::TaskRunStarted { iteration, task, nodes, movable, globals_revision, renewed })
        }
        Placement::Skipped(reason) => Decision::happen(E::TaskRunSkipped { iteration, task, reason }),
        Placement::Wait { watch } => Decision::Seek { task, slot: None, watch },
    }
}

fn leave_running(swarm: &mut SwarmRun, task: TaskIndex, fleet: &Fleet, now: Timestamp) -> Option<Decision> {
    let run = &swarm.task_runs[task];
    let verdict = closing::verdict(swarm, run, now);
    let rescued = rollout::rescue(swarm, run, verdict.as_ref().and_then(closing::Verdict::failure));
    if let Some(events) = rescued.filter(|_| fleet.rescues()) {
        return Some(Decision::Happen(events));
    }
    if let Some(verdict) = verdict {
        return Some(Decision::Happen(closing::close(swarm, run, verdict)));
    }
    let due = closing::deadline(swarm, run).filter(|due| run.alarm != Some(*due))?;
    swarm.task_runs[task].alarm = Some(due);
    Some(Decision::Wake(due, Alarm::Deadline(swarm.id, task)))
}

/// A task run failed that may not: what still runs is cancelled, then the swarm fails.
fn fail(swarm: &SwarmRun, run: &TaskRun) -> Vec<E> {
    let alias = &swarm.spec.tasks[run.task].alias;
    let live = swarm.live_attempts();
    let mut events: Vec<E> = live
        .map(|attempt| E::AttemptCancelled { attempt: attempt.id, reason: format!("task `{alias}` failed") })
        .collect();
    let attempt = closing::decisive_failure(run).map(|(attempt, _)| attempt.id);
    let reason = format!("task `{alias}` failed in iteration {}: {}", run.iteration, run.reason);
    events.push(E::SwarmFailed { reason, attempt });
    events
}

fn leave_iteration(swarm: &SwarmRun, fleet: &Fleet, now: Now) -> E {
    let iteration = swarm.iteration.unwrap_or_default();
    if swarm.iteration_state == Some(IterationState::Open) {
        return E::IterationFinished { iteration, elapsed_ms: now.wall_ms.saturating_sub(swarm.iteration_started_ms) };
    }
    let last = last_words(swarm, iteration + 1);
    if let Some(event) = rollout::between(swarm, fleet, last.is_none()) {
        return event;
    }
    last.unwrap_or_else(|| E::IterationStarted { iteration: iteration + 1, requests: swarm.requests.clone() })
}

/// How a swarm ends after so many iterations, where it does.
fn last_words(swarm: &SwarmRun, done: u32) -> Option<E> {
    let short = match swarm.short_runs.count {
        0 => String::new(),
        runs => format!("; {} left nodes out", count(runs, "task run")),
    };
    let ended =
        |why: &str| E::SwarmSucceeded { reason: format!("{why} after {}{short}", count(done as usize, "iteration")) };
    if let Some(task) = &swarm.stop_asked {
        return Some(ended(&format!("stopped by task `{task}`")));
    }
    let wanted = match swarm.spec.iterations_max {
        Some(most) => done < most.get(),
        None => !swarm.requests.is_empty(),
    };
    if !wanted {
        return Some(ended("done"));
    }
    if done >= limits::ITERATIONS_MAX {
        let reason = format!("the limit of {} iterations is reached", limits::ITERATIONS_MAX);
        return Some(E::SwarmFailed { reason, attempt: None });
    }
    None
}
