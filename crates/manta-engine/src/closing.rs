//! Whether and how a task run closes, and the rule in words.
use manta_types::event::SwarmEvent as E;
use manta_types::{AttemptFailure, OnFailure, Quorum, Timestamp};

use crate::swarm::{Attempt, Counts, Slot, SlotOutcome, SwarmRun, TaskRun};

/// How a task run closes.
pub(crate) struct Verdict {
    succeeded: bool,
    reason: String,
}

impl Verdict {
    /// Why the task run fails, where it does.
    pub(crate) fn failure(&self) -> Option<&str> {
        (!self.succeeded).then_some(self.reason.as_str())
    }
}

/// Whether and how a running task run closes now.
pub(crate) fn verdict(swarm: &SwarmRun, run: &TaskRun, now: Timestamp) -> Option<Verdict> {
    let policy = &swarm.spec.tasks[run.task].policy;
    let counts = run.counts;
    let needed = needed(policy.quorum, counts);
    let enough = counts.accepted >= needed && counts.accepted > 0;
    // Successors run on what succeeded, so what still runs may add to it.
    let hopeful = policy.on_failure == OnFailure::Continue && policy.quorum == Quorum::All;
    if counts.open == 0 && enough {
        return Some(Verdict { succeeded: true, reason: settled(policy.quorum, run) });
    }
    if counts.open == 0 || (counts.accepted + counts.open < needed && !hopeful) {
        return Some(Verdict { succeeded: false, reason: impossible(policy.quorum, run, needed) });
    }
    if deadline(swarm, run).is_some_and(|due| now >= due) {
        let reason = format!("{}/{} by its deadline", counts.accepted, counts.total());
        return Some(Verdict { succeeded: enough, reason });
    }
    None
}

/// When a running task run closes with what it has.
pub(crate) fn deadline(swarm: &SwarmRun, run: &TaskRun) -> Option<Timestamp> {
    let wait = swarm.spec.tasks[run.task].policy.deadline?;
    run.started.map(|started| started + wait)
}

/// Stragglers are cancelled; then the task run closes, and its global writes become visible, unless it fails the swarm:
/// then nothing of it counts, so that whoever continues the swarm finds what this task run found.
pub(crate) fn close(swarm: &SwarmRun, run: &TaskRun, verdict: Verdict) -> Vec<E> {
    let (iteration, task) = (run.iteration, run.task);
    let Verdict { succeeded, reason } = verdict;
    let stragglers = swarm
        .live_attempts_of(task)
        .map(|attempt| E::AttemptCancelled { attempt: attempt.id, reason: format!("its task run closed: {reason}") });
    let mut events: Vec<E> = stragglers.collect();
    let counts = succeeded || swarm.spec.tasks[task].policy.on_failure == OnFailure::Continue;
    let (globals, conflicts) = if counts { swarm.closing_writes(run) } else { Default::default() };
    events.push(E::TaskRunClosed { iteration, task, succeeded, reason, globals, conflicts });
    events
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share in (0, 1] of a count fits")]
fn needed(quorum: Quorum, counts: Counts) -> u32 {
    match quorum {
        Quorum::All => (counts.total() - counts.excused).max(1),
        Quorum::Count(count) => count.get(),
        Quorum::Share(share) => ((share * f64::from(counts.total()) - 1e-9).ceil() as u32).max(1),
    }
}

fn impossible(quorum: Quorum, run: &TaskRun, needed: u32) -> String {
    let cause = first_failure(run).unwrap_or_else(|| excuses(run));
    match quorum {
        Quorum::All => cause,
        _ => format!("its quorum of {needed}/{} became impossible: {cause}", run.counts.total()),
    }
}

/// `closed 5/5`; `closed by quorum 4/5: node-3 lost 21 s ago`.
fn settled(quorum: Quorum, run: &TaskRun) -> String {
    let (accepted, total) = (run.counts.accepted, run.counts.total());
    let by = if quorum == Quorum::All { "" } else { " by quorum" };
    let rule = format!("closed{by} {accepted}/{total}");
    let told = [first_failure(run), Some(excuses(run)).filter(|told| !told.is_empty())];
    let told: Vec<_> = told.into_iter().flatten().collect();
    if told.is_empty() { rule } else { format!("{rule}: {}", told.join(", ")) }
}

fn excuses(run: &TaskRun) -> String {
    let excused = run.slots.iter().filter_map(|slot| match &slot.outcome {
        SlotOutcome::Excused(reason) => Some(format!("{} {reason}", slot.node)),
        _ => None,
    });
    shorten(excused)
}

/// The first ten, and how many more.
fn shorten(told: impl Iterator<Item = String>) -> String {
    const SHOWN: usize = 10;
    let mut told: Vec<String> = told.collect();
    let more = told.len().saturating_sub(SHOWN);
    told.truncate(SHOWN);
    let text = told.join(", ");
    if more > 0 { format!("{text}, and {more} more") } else { text }
}

/// The failure that a task run closes with: of the slot that its reason is about, where one failed.
pub(crate) fn decisive_failure(run: &TaskRun) -> Option<(&Attempt, &AttemptFailure)> {
    match failed_slot(run) {
        Some(slot) => slot.last_failure(),
        None => run.slots.iter().find_map(Slot::last_failure),
    }
}

fn failed_slot(run: &TaskRun) -> Option<&Slot> {
    run.slots.iter().find(|slot| slot.outcome == SlotOutcome::Failed)
}

fn first_failure(run: &TaskRun) -> Option<String> {
    if run.counts.failed == 0 {
        return None;
    }
    let slot = failed_slot(run)?;
    let tries = match slot.tries {
        0 | 1 => String::new(),
        tries => format!(" after {tries} attempts"),
    };
    Some(match slot.last_failure() {
        Some((attempt, failure)) => format!("{} on {}{tries}", failure.message, attempt.node),
        None => format!("given up on {} after {} lost attempts", slot.node, slot.lost),
    })
}
