//! What follows in a rollout: its share of a task's nodes, its steps at the boundaries of iterations, and the way back.
use manta_types::event::{SwarmEvent as E, UnfitNode};
use manta_types::rollout::percent;
use manta_types::{Figure, Gate, GateVerdict, Holder, NodeName, RolloutState, TaskIndex, Timestamp};

use crate::fleet::Fleet;
use crate::placement::{part, rank, static_cause};
use crate::rules::Decision;
use crate::swarm::{Rollout, Slot, SlotOutcome, SwarmRun, TaskRun};
use crate::timers::Alarm;

/// Nodes that cannot run a new version which an event names.
const UNFIT_TOLD_MAX: usize = 100;

/// Those of a task run's nodes that run the version which is being rolled out, in name order: those that ran it before come
/// first, then the order is by hash, so that a growing share keeps who it has.
pub(crate) fn renewed(swarm: &SwarmRun, task: TaskIndex, nodes: &[NodeName], fleet: &Fleet) -> Vec<NodeName> {
    let Some(rollout) = swarm.rollout_of(task).filter(|rollout| rollout.step.is_some()) else { return Vec::new() };
    let target = &rollout.target.tasks[task];
    let is_fit = |name: &&NodeName| fleet.get(name).is_some_and(|node| static_cause(target, node).is_none());
    let mut fit: Vec<NodeName> = nodes.iter().filter(is_fit).cloned().collect();
    fit.sort_by_cached_key(|name| (!rollout.known.contains(name), rank(swarm, target, 0, name)));
    fit.truncate(part(rollout.share(), nodes.len()).max(1));
    fit.sort();
    fit
}

/// What follows of time alone: a rollout whose step has taken too long is reverted.
pub(crate) fn overdue(swarm: &mut SwarmRun, now: Timestamp) -> Option<Decision> {
    for index in swarm.rolling.values().copied().collect::<Vec<_>>() {
        let rollout = &swarm.rollouts[index];
        let Some(due) = rollout.due() else { continue };
        if now >= due {
            let waited = rollout.plan.deadline_ms.unwrap_or_default();
            let because = if rollout.state == RolloutState::Held { rollout.reason.as_str() } else { "" };
            let held = if because.is_empty() { String::new() } else { format!("; it was held: {because}") };
            let reason = format!("its step was not done with within {}{held}", in_words(waited));
            return Some(Decision::happen(end(rollout, RolloutState::Reverted, rollout.judge(), reason)));
        }
        if rollout.alarm != Some(due) {
            let task = rollout.task;
            swarm.rollouts[index].alarm = Some(due);
            return Some(Decision::Wake(due, Alarm::Rollout(swarm.id, task)));
        }
    }
    None
}

/// What a running task run means for a rollout: a gate of failures that cannot be kept to any more reverts it, and so does
/// whatever would fail the task run while the new version has a part in that; then the old version has its turn.
pub(crate) fn rescue(swarm: &SwarmRun, run: &TaskRun, would_fail: Option<&str>) -> Option<Vec<E>> {
    let rollout = swarm.rollout_of(run.task)?;
    let renewed = || run.slots.iter().filter(|slot| slot.is_renewed);
    let open = renewed().filter(|slot| slot.is_open()).count();
    if let Some(gate) = rollout.plan.gates.iter().find(|gate| is_lost(gate, rollout, open)) {
        let figures = rollout.judge();
        let figure = figures.iter().find(|figure| figure.gate == *gate);
        let reason = figure.map_or_else(|| format!("{gate} failed"), ToString::to_string);
        return Some(vec![end(rollout, RolloutState::Reverted, figures, reason)]);
    }
    let reason = would_fail?;
    let failed = |slot: &Slot| slot.outcome == SlotOutcome::Failed;
    let others_failed = run.slots.iter().any(|slot| !slot.is_renewed && failed(slot));
    let is_its_doing = renewed().any(failed) || (open > 0 && !others_failed);
    if !is_its_doing {
        return None;
    }
    let hung = renewed().filter_map(|slot| slot.live()).map(|attempt| E::AttemptCancelled {
        attempt: attempt.id,
        reason: format!("version {} would fail its task", rollout.to.version),
    });
    let mut events: Vec<E> = hung.collect();
    let reason = format!("with it the task would fail: {reason}");
    events.push(end(rollout, RolloutState::Reverted, rollout.judge(), reason));
    Some(events)
}

/// Whether a gate of failures fails even if all that is open succeeds.
fn is_lost(gate: &Gate, rollout: &Rollout, open: usize) -> bool {
    let Gate::Failures { most } = gate else { return false };
    let expected = f64::from(rollout.new.ended) + open as f64;
    rollout.new.failed > 0 && f64::from(rollout.new.failed) / expected > most + 1e-12
}

/// What follows for rollouts between two iterations; where no other iteration follows, only what completes one.
pub(crate) fn between(swarm: &SwarmRun, fleet: &Fleet, goes_on: bool) -> Option<E> {
    let going = swarm.rolling.values().map(|index| &swarm.rollouts[*index]);
    let mut next = going.filter_map(|rollout| advance(swarm, rollout, fleet));
    let completes = |event: &E| matches!(event, E::RolloutEnded { outcome: RolloutState::Completed, .. });
    next.find(|event| goes_on || completes(event))
}

fn advance(swarm: &SwarmRun, rollout: &Rollout, fleet: &Fleet) -> Option<E> {
    let Some((step, share)) = rollout.step else {
        let may_begin = rollout.state == RolloutState::Running || rollout.promoted.is_some();
        let reason = rollout.reason.clone();
        return may_begin.then(|| step_to(swarm, rollout, fleet, (0, Vec::new(), reason)));
    };
    let figures = rollout.judge();
    let is_due = rollout.iterations >= rollout.plan.every;
    if let Some(full) = rollout.promoted {
        return Some(if share >= 1.0 {
            end(rollout, RolloutState::Completed, figures, rollout.reason.clone())
        } else {
            let last = rollout.plan.steps.len() - usize::from(rollout.plan.steps.last() == Some(&1.0));
            let next = if full { u32::try_from(last).unwrap_or(u32::MAX) } else { step + 1 };
            step_to(swarm, rollout, fleet, (next, figures, rollout.reason.clone()))
        });
    }
    if !is_due {
        return None;
    }
    let with = |verdict| figures.iter().filter(move |figure| figure.verdict == verdict);
    let told = |figures: &[&Figure]| figures.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let failed: Vec<_> = with(GateVerdict::Failed).collect();
    if !failed.is_empty() {
        let reason = told(&failed);
        return Some(end(rollout, RolloutState::Reverted, figures, reason));
    }
    if matches!(rollout.holder, Some(Holder::User | Holder::Plan)) {
        return None;
    }
    let open: Vec<_> = with(GateVerdict::Unjudged).collect();
    if !open.is_empty() {
        let reason = told(&open);
        return rollout.holder.is_none().then(|| hold(rollout, Holder::Gate, figures, reason));
    }
    let passed = match figures.as_slice() {
        [] => "no gate stands against it".to_owned(),
        some => told(&some.iter().collect::<Vec<_>>()),
    };
    let is_last = step as usize + 1 >= rollout.plan.steps.len();
    Some(match (is_last, share >= 1.0, rollout.plan.hold_each) {
        (true, true, false) => end(rollout, RolloutState::Completed, figures, passed),
        (true, false, _) => {
            let reason = format!("its last step is {}: promote or revert it; {passed}", percent(share));
            hold(rollout, Holder::Plan, figures, reason)
        }
        (_, _, true) => hold(rollout, Holder::Plan, figures, format!("every step waits for a person; {passed}")),
        (false, ..) => step_to(swarm, rollout, fleet, (step + 1, figures, passed)),
    })
}

/// To a step of the plan; beyond its last, to all nodes.
fn step_to(swarm: &SwarmRun, rollout: &Rollout, fleet: &Fleet, how: (u32, Vec<Figure>, String)) -> E {
    let (step, figures, reason) = how;
    let share = rollout.plan.steps.get(step as usize).copied().unwrap_or(1.0);
    let unfit = unfit(swarm, rollout, fleet);
    E::RolloutStepped { rollout: rollout.number, task: rollout.task, step, share, unfit, figures, reason }
}

fn hold(rollout: &Rollout, holder: Holder, figures: Vec<Figure>, reason: String) -> E {
    E::RolloutHeld { rollout: rollout.number, task: rollout.task, holder, figures, reason }
}

pub(crate) fn end(rollout: &Rollout, outcome: RolloutState, figures: Vec<Figure>, reason: String) -> E {
    E::RolloutEnded { rollout: rollout.number, task: rollout.task, outcome, figures, reason }
}

fn unfit(swarm: &SwarmRun, rollout: &Rollout, fleet: &Fleet) -> Vec<UnfitNode> {
    let (old, new) = (&swarm.spec.tasks[rollout.task], &rollout.target.tasks[rollout.task]);
    unfit_nodes(old, new, fleet).take(UNFIT_TOLD_MAX).collect()
}

/// Nodes that can run one version of a task and not another, with the cause.
pub(crate) fn unfit_nodes(
    old: &manta_types::TaskSpec,
    new: &manta_types::TaskSpec,
    fleet: &Fleet,
) -> impl Iterator<Item = UnfitNode> {
    let able = fleet.iter().filter(|node| !node.is_revoked() && static_cause(old, node).is_none());
    able.filter_map(|node| Some(UnfitNode { node: node.name().clone(), cause: static_cause(new, node)?.why }))
}

/// `30 s`, `5 min`.
fn in_words(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms} ms"),
        ms if ms < 120_000 => format!("{} s", ms / 1000),
        ms if ms < 7_200_000 => format!("{} min", ms / 60_000),
        ms => format!("{} h", ms / 3_600_000),
    }
}
