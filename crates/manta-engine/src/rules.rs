//! What happens next in a swarm: one event at a time, from its state, the nodes and the time alone.
use std::collections::BTreeSet;

use manta_types::event::{AttemptStateName, SwarmEvent as E};
use manta_types::{AttemptState, NodeDuty, NodeName, OnFailure, Quorum, SwarmState, TaskRunState, Timestamp, limits};

use crate::Now;
use crate::node::Node;
use crate::placement::{self, Nodes, Placement};
use crate::random::Random;
use crate::swarm::{Counts, Slot, SlotOutcome, SwarmRun, TaskRun};

/// The next event, or nothing while the swarm has to wait.
pub(crate) fn next_event(swarm: &SwarmRun, nodes: &Nodes, now: Now, random: &mut Random) -> Option<E> {
    match swarm.state {
        SwarmState::Pending => return Some(begin(swarm)),
        SwarmState::Running => {}
        _ => return None,
    }
    if let Some(failed) = swarm.task_runs.iter().find(|run| swarm.is_fatal(run)) {
        return Some(fail(swarm, failed));
    }
    for run in &swarm.task_runs {
        let event = match run.state {
            TaskRunState::Waiting => leave_waiting(swarm, run),
            TaskRunState::Ready => leave_ready(swarm, run, nodes, now.monotonic),
            TaskRunState::Running => advance(swarm, run, nodes, now, random),
            _ => None,
        };
        if event.is_some() {
            return event;
        }
    }
    swarm.task_runs.iter().all(|run| run.state.is_final()).then(|| leave_iteration(swarm, now))
}

/// The first iteration, or the one at which the swarm that it continues failed.
fn begin(swarm: &SwarmRun) -> E {
    match &swarm.carried {
        Some(checkpoint) => {
            E::IterationStarted { iteration: checkpoint.iteration, requests: checkpoint.granted.clone() }
        }
        None => E::IterationStarted { iteration: 0, requests: Vec::new() },
    }
}

fn leave_waiting(swarm: &SwarmRun, run: &TaskRun) -> Option<E> {
    let before: Vec<&TaskRun> = swarm.spec.tasks[run.task].after.iter().map(|task| &swarm.task_runs[*task]).collect();
    if !before.iter().all(|run| run.state.is_final()) {
        return None;
    }
    let (iteration, task) = (run.iteration, run.task);
    if !before.is_empty() && before.iter().all(|run| run.accepted().next().is_none()) {
        return Some(E::TaskRunSkipped { iteration, task, reason: "its predecessors left nothing".to_owned() });
    }
    Some(E::TaskRunReady { iteration, task })
}

fn leave_ready(swarm: &SwarmRun, run: &TaskRun, nodes: &Nodes, now: Timestamp) -> Option<E> {
    let (iteration, task) = (run.iteration, run.task);
    match placement::place(swarm, task, nodes, now) {
        Placement::Chosen { nodes, movable } => {
            Some(E::TaskRunStarted { iteration, task, nodes, movable, globals_revision: swarm.revision })
        }
        Placement::Skipped(reason) => Some(E::TaskRunSkipped { iteration, task, reason }),
        Placement::Wait { .. } => None,
    }
}

fn advance(swarm: &SwarmRun, run: &TaskRun, nodes: &Nodes, now: Now, random: &mut Random) -> Option<E> {
    if let Some(verdict) = closing(swarm, run, now.monotonic) {
        return Some(close(swarm, run, verdict));
    }
    let open = run.slots.iter().enumerate().filter(|(_, slot)| slot.is_open());
    open.into_iter().find_map(|(index, slot)| match slot.live() {
        Some(_) => doubt(swarm, run, index, slot, nodes, now.monotonic),
        None if slot.lost >= limits::LOST_ATTEMPTS_MAX => Some(give_up(run, index, slot)),
        None => offer(swarm, run, index, slot, nodes, now, random),
    })
}

/// Whether and how a running task run closes now.
fn closing(swarm: &SwarmRun, run: &TaskRun, now: Timestamp) -> Option<Verdict> {
    let policy = &swarm.spec.tasks[run.task].policy;
    let counts = run.counts();
    let needed = needed(policy.quorum, counts);
    let enough = counts.accepted >= needed && counts.accepted > 0;
    let due = policy.deadline.zip(run.started).is_some_and(|(wait, started)| now >= started + wait);
    let total = counts.total();
    // Successors run on what succeeded, so what still runs may add to it.
    let hopeful = policy.on_failure == OnFailure::Continue && policy.quorum == Quorum::All;
    if counts.open == 0 && enough {
        return Some(Verdict { succeeded: true, reason: settled(swarm, run, counts) });
    }
    if counts.open == 0 || (counts.accepted + counts.open < needed && !hopeful) {
        return Some(Verdict { succeeded: false, reason: impossible(swarm, run, counts, needed) });
    }
    if due {
        let reason = format!("{}/{total} by its deadline", counts.accepted);
        return Some(Verdict { succeeded: enough, reason });
    }
    None
}

struct Verdict {
    succeeded: bool,
    reason: String,
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share in (0, 1] of a count fits")]
fn needed(quorum: Quorum, counts: Counts) -> u32 {
    match quorum {
        Quorum::All => (counts.total() - counts.excused).max(1),
        Quorum::Count(count) => count.get(),
        Quorum::Share(share) => ((share * f64::from(counts.total()) - 1e-9).ceil() as u32).max(1),
    }
}

fn impossible(swarm: &SwarmRun, run: &TaskRun, counts: Counts, needed: u32) -> String {
    let cause = first_failure(run).unwrap_or_else(|| excuses(run));
    match swarm.spec.tasks[run.task].policy.quorum {
        Quorum::All => cause,
        _ => format!("its quorum of {needed}/{} became impossible: {cause}", counts.total()),
    }
}

fn settled(swarm: &SwarmRun, run: &TaskRun, counts: Counts) -> String {
    let figure = format!("closed {}/{}", counts.accepted, counts.total());
    let rule = match swarm.spec.tasks[run.task].policy.quorum {
        Quorum::All => figure,
        quorum => format!("{figure}, quorum {}", needed(quorum, counts)),
    };
    if counts.excused > 0 { format!("{rule}: {}", excuses(run)) } else { rule }
}

fn excuses(run: &TaskRun) -> String {
    let excused = run.slots.iter().filter_map(|slot| match &slot.outcome {
        SlotOutcome::Excused(reason) => Some(format!("{} {reason}", slot.node)),
        _ => None,
    });
    excused.collect::<Vec<_>>().join(", ")
}

fn first_failure(run: &TaskRun) -> Option<String> {
    let slot = run.slots.iter().find(|slot| slot.outcome == SlotOutcome::Failed)?;
    let tries = match slot.tries {
        0 | 1 => String::new(),
        tries => format!(" after {tries} attempts"),
    };
    Some(match slot.last_failure() {
        Some((attempt, failure)) => format!("{} on {}{tries}", failure.message, attempt.node),
        None => format!("given up on {} after {} lost attempts", slot.node, slot.lost),
    })
}

/// Stragglers are cancelled first, one event each; then the task run closes.
fn close(swarm: &SwarmRun, run: &TaskRun, verdict: Verdict) -> E {
    let (iteration, task) = (run.iteration, run.task);
    if let Some(straggler) = run.slots.iter().find_map(Slot::live) {
        let reason = format!("its task run closed: {}", verdict.reason);
        return E::AttemptCancelled { attempt: straggler.id, reason };
    }
    let Verdict { succeeded, reason } = verdict;
    let counts = succeeded || swarm.spec.tasks[run.task].policy.on_failure == OnFailure::Continue;
    let (globals, conflicts) = if counts { swarm.closing_writes(run) } else { Default::default() };
    E::TaskRunClosed { iteration, task, succeeded, reason, globals, conflicts }
}

/// What to make of a live attempt whose node is not heard.
fn doubt(swarm: &SwarmRun, run: &TaskRun, index: usize, slot: &Slot, nodes: &Nodes, now: Timestamp) -> Option<E> {
    let attempt = slot.live()?;
    let node = nodes.get(&attempt.node);
    if let Some(dismissed) = node.and_then(|node| node.dismissed(now)) {
        return Some(E::AttemptLost { attempt: attempt.id, reason: format!("{} is {dismissed}", attempt.node) });
    }
    if node.is_some_and(Node::may_deliver) {
        return None;
    }
    let silent = node.map_or(limits::NODE_GRACE, |node| now - node.last_heard);
    let reason = format!("{} has not been heard for {} s", attempt.node, silent.as_secs());
    if attempt.state != AttemptState::Silent {
        return Some(E::AttemptProgressed { attempt: attempt.id, state: AttemptStateName::Silent });
    }
    let moves = run.movable && placement::replacement(swarm, run.task, nodes, now, &used(run)).is_some();
    let excusable = !run.movable && silent > limits::NODE_GRACE && others_remain(run, index);
    if moves || excusable {
        return Some(E::AttemptLost { attempt: attempt.id, reason });
    }
    None
}

/// Why a task that must run on a node may go on without it.
fn away(node: &Node, now: Timestamp) -> Option<String> {
    match node.duty() {
        NodeDuty::Active => {
            let silent = now - node.last_heard;
            (silent > limits::NODE_GRACE).then(|| format!("lost {} s ago", silent.as_secs()))
        }
        NodeDuty::Revoked => Some("revoked".to_owned()),
        NodeDuty::Draining | NodeDuty::Drained => Some("drained".to_owned()),
    }
}

/// Whether some other slot may still succeed or has, so that this one can be excused.
fn others_remain(run: &TaskRun, index: usize) -> bool {
    let counts = |slot: &Slot| matches!(slot.outcome, SlotOutcome::Accepted | SlotOutcome::Open);
    run.slots.iter().enumerate().any(|(other, slot)| other != index && counts(slot))
}

fn used(run: &TaskRun) -> BTreeSet<&NodeName> {
    run.slots.iter().map(|slot| &slot.node).collect()
}

fn give_up(run: &TaskRun, index: usize, slot: &Slot) -> E {
    let reason = format!("given up after {} lost attempts", slot.lost);
    E::NodeExcused { iteration: run.iteration, task: run.task, slot: index, node: slot.node.clone(), reason }
}

/// Offers a slot's next attempt, on another node where it may move and one is free, or excuses the node.
fn offer(
    swarm: &SwarmRun,
    run: &TaskRun,
    index: usize,
    slot: &Slot,
    nodes: &Nodes,
    now: Now,
    random: &mut Random,
) -> Option<E> {
    let at = now.monotonic;
    if slot.retry_at.is_some_and(|due| at < due) {
        return None;
    }
    let spec = &swarm.spec.tasks[run.task];
    let again = !slot.attempts.is_empty();
    let here = nodes.get(&slot.node).filter(|node| placement::cause(spec, node, at).is_none());
    let elsewhere =
        (run.movable && again).then(|| placement::replacement(swarm, run.task, nodes, at, &used(run))).flatten();
    let node = match (elsewhere, here) {
        (Some(node), _) => node,
        (None, Some(node)) => node.name().clone(),
        (None, None) => {
            let away = nodes.get(&slot.node).map_or_else(|| Some("lost".to_owned()), |node| away(node, at));
            let excusable = !run.movable && others_remain(run, index);
            let reason = away.filter(|_| excusable)?;
            let (iteration, task, node) = (run.iteration, run.task, slot.node.clone());
            return Some(E::NodeExcused { iteration, task, slot: index, node, reason });
        }
    };
    let reason = match slot.attempts.last() {
        None => "first".to_owned(),
        Some(last) => match &last.failure {
            Some(failure) => format!("again after {}", failure.class),
            None => format!("again: {} was lost", last.node),
        },
    };
    Some(E::AttemptOffered {
        attempt: random.attempt_id(now.wall_ms),
        iteration: run.iteration,
        task: run.task,
        slot: index,
        node,
        epoch: slot.epoch + 1,
        reason,
    })
}

/// A task run failed that may not: what still runs is cancelled, then the swarm fails.
fn fail(swarm: &SwarmRun, run: &TaskRun) -> E {
    let alias = &swarm.spec.tasks[run.task].alias;
    if let Some(live) = swarm.live_attempts().next() {
        return E::AttemptCancelled { attempt: live.id, reason: format!("task `{alias}` failed") };
    }
    let attempt = run.slots.iter().find_map(|slot| slot.last_failure().map(|(attempt, _)| attempt.id));
    let reason = format!("task `{alias}` failed in iteration {}: {}", run.iteration, run.reason);
    E::SwarmFailed { reason, attempt }
}

fn leave_iteration(swarm: &SwarmRun, now: Now) -> E {
    let iteration = swarm.iteration.unwrap_or_default();
    if !swarm.iteration_finished {
        return E::IterationFinished { iteration, elapsed_ms: now.wall_ms.saturating_sub(swarm.iteration_started_ms) };
    }
    let done = iteration + 1;
    let ended = |why: &str| {
        let passes = crate::swarm::count(done as usize, "iteration");
        E::SwarmSucceeded { reason: format!("{why} after {passes}") }
    };
    if let Some(task) = &swarm.stop_asked {
        return ended(&format!("stopped by task `{task}`"));
    }
    let wanted = match swarm.spec.iterations_max {
        Some(most) => done < most.get(),
        None => !swarm.requests.is_empty(),
    };
    if !wanted {
        return ended("done");
    }
    if done >= limits::ITERATIONS_MAX {
        let reason = format!("the limit of {} iterations is reached", limits::ITERATIONS_MAX);
        return E::SwarmFailed { reason, attempt: None };
    }
    E::IterationStarted { iteration: done, requests: swarm.requests.clone() }
}
