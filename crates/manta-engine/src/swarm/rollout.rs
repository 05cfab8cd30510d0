//! A rollout as its events tell it: which version goes to which nodes, and what its attempts have shown so far.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use manta_types::event::{SwarmEvent as E, UnfitNode};
use manta_types::state::RolloutChange;
use manta_types::{
    AttemptFailure, CarriedPin, Figure, Gate, GateVerdict, Holder, NodeName, OutcomeClass, Pin, RolloutPlan,
    RolloutState, SwarmSpec, TaskIndex, TaskRunState, Timestamp, limits,
};

use super::{SlotOutcome, SwarmRun};

/// What attempts of one version have shown in a step.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Shown {
    /// Attempts that ended by their own doing.
    pub(crate) ended: u32,
    /// Those of them that failed.
    pub(crate) failed: u32,
    /// Of each metric: the sum of its newest values, one for each accepted attempt, and how many there are.
    metrics: BTreeMap<String, (f64, u32)>,
}

impl Shown {
    fn mean(&self, name: &str) -> Option<f64> {
        self.metrics.get(name).map(|(sum, count)| sum / f64::from(*count))
    }

    fn accept(&mut self, metrics: &BTreeMap<String, f64>) {
        self.ended += 1;
        for (name, value) in metrics {
            let (sum, count) = self.metrics.entry(name.clone()).or_default();
            *sum += value;
            *count += 1;
        }
    }
}

/// Another version of a task's module on its way to the task's nodes.
#[derive(Debug, Clone, PartialEq)]
pub struct Rollout {
    /// Counted from 1 within the swarm.
    pub number: u32,
    /// The task.
    pub task: TaskIndex,
    /// The version of before.
    pub from: Pin,
    /// The version that it brings.
    pub to: Pin,
    /// How it goes on.
    pub plan: RolloutPlan,
    /// Whether it is the way back from one that completed.
    pub back: bool,
    /// Its state.
    pub state: RolloutState,
    /// Why it is in that state.
    pub reason: String,
    /// Who holds it, while it is held.
    pub holder: Option<Holder>,
    /// The step at which it is, from 0, and its share; nothing before the first.
    pub step: Option<(u32, f64)>,
    /// Nodes that run the task and cannot run the new version.
    pub unfit: Vec<UnfitNode>,
    /// How its gates were judged last.
    pub figures: Vec<Figure>,
    /// Wall clock of its start.
    pub started_ms: u64,
    /// Wall clock of its end.
    pub ended_ms: Option<u64>,
    /// Iterations of this step that have ended and in which the new version ran.
    pub iterations: u32,
    /// The nodes that run the new version in the current or last task run.
    pub nodes: Vec<NodeName>,
    /// Nodes that ran it before: they are the first to run it again.
    pub(crate) known: BTreeSet<NodeName>,
    /// Whether a person wants it to go on at the next boundary; then, whether to the end.
    pub(crate) promoted: Option<bool>,
    /// Since when it is at its step.
    pub(crate) since: Timestamp,
    /// The deadline for which an alarm is set.
    pub(crate) alarm: Option<Timestamp>,
    /// What attempts of the new version have shown in this step.
    pub(crate) new: Shown,
    /// What those of the old one have.
    pub(crate) old: Shown,
    /// What those of the old one showed when they ran last, for steps in which none does.
    before: Shown,
    /// The swarm with the new version in this task.
    pub(crate) target: Arc<SwarmSpec>,
}

impl Rollout {
    fn change(&mut self, change: RolloutChange, reason: &str) {
        self.state = self.state.next(change).expect("the engine asks only for changes that the state knows");
        reason.clone_into(&mut self.reason);
        self.holder = None;
    }

    /// The share of the task's nodes that runs the new version; 0 before the first step.
    pub fn share(&self) -> f64 {
        self.step.map_or(0.0, |(_, share)| share)
    }

    /// When its step is reverted at the latest.
    pub fn due(&self) -> Option<Timestamp> {
        self.plan.deadline().map(|wait| self.since + wait)
    }

    /// How the gates stand by what attempts have shown so far in this step.
    pub(crate) fn judge(&self) -> Vec<Figure> {
        self.plan.gates.iter().map(|gate| self.figure(gate)).collect()
    }

    fn figure(&self, gate: &Gate) -> Figure {
        let (new, old, kept) = match gate {
            Gate::Failures { most } => {
                let rate = (self.new.ended > 0).then(|| f64::from(self.new.failed) / f64::from(self.new.ended));
                (rate, None, rate.map(|rate| rate <= most + 1e-12))
            }
            Gate::Metric { name, test, bound } => {
                let old = self.old.mean(name).or_else(|| self.before.mean(name));
                let new = self.new.mean(name);
                let difference = new.zip(old).map(|(new, old)| new - old);
                (new, old, difference.map(|difference| test.holds(difference, *bound)))
            }
        };
        let verdict = match kept {
            Some(true) => GateVerdict::Passed,
            Some(false) => GateVerdict::Failed,
            None => GateVerdict::Unjudged,
        };
        Figure { gate: gate.clone(), verdict, attempts: self.new.ended, new, old }
    }

    /// The shown of this step becomes that of the step before.
    fn begin_step(&mut self, at: Timestamp) {
        let old = std::mem::take(&mut self.old);
        self.before.metrics.extend(old.metrics);
        self.new = Shown::default();
        (self.iterations, self.promoted, self.since) = (0, None, at);
    }
}

impl SwarmRun {
    /// The rollout of a task that goes on.
    pub fn rollout_of(&self, task: TaskIndex) -> Option<&Rollout> {
        self.rollouts.get(*self.rolling.get(&task)?)
    }

    /// All its rollouts, oldest first.
    pub fn rollouts(&self) -> &[Rollout] {
        &self.rollouts
    }

    /// Whether an event of a rollout can follow: it begins where none goes on, or is of the one that does.
    pub(crate) fn knows_rollout(&self, what: &E) -> bool {
        match what {
            E::RolloutStarted { task, .. } => *task < self.spec.tasks.len() && self.rollout_of(*task).is_none(),
            E::RolloutStepped { rollout, task, .. }
            | E::RolloutHeld { rollout, task, .. }
            | E::RolloutResumed { rollout, task, .. }
            | E::RolloutPromoted { rollout, task, .. }
            | E::RolloutEnded { rollout, task, .. } => {
                self.rollout_of(*task).is_some_and(|going| going.number == *rollout)
            }
            _ => true,
        }
    }

    /// The version to which a rollback of a task, or of whichever task a rollout changed last, would go, with the task.
    pub fn way_back(&self, task: Option<TaskIndex>) -> Option<&CarriedPin> {
        self.before.iter().rev().find(|before| task.is_none_or(|task| before.task == task))
    }

    pub(super) fn rollout_mut(&mut self, task: TaskIndex) -> Option<&mut Rollout> {
        self.rollouts.get_mut(*self.rolling.get(&task)?)
    }

    pub(super) fn going(&mut self, task: TaskIndex) -> &mut Rollout {
        self.rollout_mut(task).expect("the engine changes only rollouts that go on")
    }

    /// A rollout begins: what the old version has shown in this iteration is what the new one is measured by.
    pub(super) fn start_rollout(&mut self, task: TaskIndex, to: &Pin, plan: &RolloutPlan, beginning: Beginning<'_>) {
        let Beginning { number, back, reason, time_ms, at } = beginning;
        let mut old = Shown::default();
        let accepted = self.task_runs.get(task).into_iter().flat_map(|run| run.accepted());
        accepted.filter_map(|attempt| attempt.outputs.as_ref()).for_each(|outputs| old.accept(&outputs.metrics));
        self.rolling.insert(task, self.rollouts.len());
        self.rollouts.push(Rollout {
            number,
            task,
            from: self.spec.tasks[task].pin(),
            to: to.clone(),
            plan: plan.clone(),
            back,
            state: RolloutState::Running,
            reason: reason.to_owned(),
            holder: None,
            step: None,
            unfit: Vec::new(),
            figures: Vec::new(),
            started_ms: time_ms,
            ended_ms: None,
            iterations: 0,
            nodes: Vec::new(),
            known: BTreeSet::new(),
            promoted: None,
            since: at,
            alarm: None,
            new: Shown::default(),
            old,
            before: Shown::default(),
            target: Arc::new(self.spec.pinned(task, to)),
        });
    }

    pub(super) fn step_rollout(&mut self, task: TaskIndex, to: (u32, f64), unfit: &[UnfitNode], at: Timestamp) {
        let rollout = self.going(task);
        rollout.begin_step(at);
        (rollout.step, rollout.unfit) = (Some(to), unfit.to_vec());
    }

    /// A rollout is over, and what begins from now on runs the one version that is left.
    pub(super) fn end_rollout(&mut self, task: TaskIndex, outcome: RolloutState, reason: &str, time_ms: u64) {
        let change = match outcome {
            RolloutState::Completed => RolloutChange::Complete,
            RolloutState::Abandoned => RolloutChange::Abandon,
            _ => RolloutChange::Revert,
        };
        let rollout = self.going(task);
        rollout.change(change, reason);
        (rollout.ended_ms, rollout.promoted) = (Some(time_ms), None);
        let (back, from, to) = (rollout.back, rollout.from.clone(), rollout.to.clone());
        self.rolling.remove(&task);
        if outcome == RolloutState::Completed {
            match self.before.iter().rposition(|before| before.task == task).filter(|_| back) {
                Some(last) => drop(self.before.remove(last)),
                None => self.before.push(CarriedPin { task, pin: from }),
            }
            self.pin(task, &to);
        }
    }

    /// A task runs another version from the next iteration on.
    pub(super) fn pin(&mut self, task: TaskIndex, to: &Pin) {
        self.spec = Arc::new(self.spec.pinned(task, to));
        for rollout in self.rolling.values() {
            let rollout = &mut self.rollouts[*rollout];
            rollout.target = Arc::new(self.spec.pinned(rollout.task, &rollout.to));
        }
    }

    /// What the new version has not done in this iteration, the old one does: slots that failed are open again, and have all
    /// their tries. Attempts that run may end.
    pub(super) fn take_back(&mut self, task: TaskIndex, at: Timestamp) {
        // What begins to wait in a pause waits no longer than what began before it.
        let since = self.paused_at.unwrap_or(at);
        let Some(run) = self.task_runs.get_mut(task).filter(|run| run.state == TaskRunState::Running) else { return };
        for index in 0..run.slots.len() {
            let slot = &mut run.slots[index];
            if !slot.is_renewed || matches!(slot.outcome, SlotOutcome::Accepted | SlotOutcome::Excused(_)) {
                continue;
            }
            (slot.is_renewed, slot.retry_at, slot.pardoned) = (false, None, slot.tries);
            if slot.outcome == SlotOutcome::Failed && slot.lost < limits::LOST_ATTEMPTS_MAX {
                run.settle(index, SlotOutcome::Open);
            }
            run.started = Some(since);
            self.agenda.slots.insert((task, index));
        }
        self.agenda.runs.insert(task);
    }

    /// An attempt of a task was accepted.
    pub(super) fn note_accepted(&mut self, task: TaskIndex, is_renewed: bool, metrics: &BTreeMap<String, f64>) {
        if let Some(rollout) = self.rollout_mut(task) {
            let shown = if is_renewed { &mut rollout.new } else { &mut rollout.old };
            shown.accept(metrics);
        }
    }

    /// An attempt of a task failed. What is no version's doing is not counted.
    pub(super) fn note_failed(&mut self, task: TaskIndex, is_renewed: bool, failure: &AttemptFailure) {
        let own = !matches!(failure.class, OutcomeClass::Platform | OutcomeClass::LostNode);
        if let Some(rollout) = self.rollout_mut(task).filter(|_| own) {
            let shown = if is_renewed { &mut rollout.new } else { &mut rollout.old };
            (shown.ended, shown.failed) = (shown.ended + 1, shown.failed + 1);
            // A gate may be lost by it, whether or not it is tried again.
            self.agenda.runs.insert(task);
        }
    }

    /// The nodes of a task run that run the new version.
    pub(super) fn note_renewed(&mut self, task: TaskIndex, nodes: &[NodeName]) {
        if let Some(rollout) = self.rollout_mut(task).filter(|rollout| rollout.step.is_some()) {
            nodes.clone_into(&mut rollout.nodes);
            rollout.known.extend(nodes.iter().cloned());
        }
    }

    /// An iteration ended: it counts for a step in which the new version ran in it.
    pub(super) fn note_iteration(&mut self) {
        for rollout in self.rolling.values() {
            let rollout = &mut self.rollouts[*rollout];
            let run = &self.task_runs[rollout.task];
            rollout.iterations += u32::from(run.slots.iter().any(|slot| slot.is_renewed));
        }
    }

    pub(super) fn note_figures(&mut self, task: TaskIndex, figures: &[Figure]) {
        figures.clone_into(&mut self.going(task).figures);
    }

    pub(super) fn hold_rollout(&mut self, task: TaskIndex, holder: Holder, reason: &str) {
        let rollout = self.going(task);
        rollout.change(RolloutChange::Hold, reason);
        (rollout.holder, rollout.promoted) = (Some(holder), None);
    }

    pub(super) fn resume_rollout(&mut self, task: TaskIndex, reason: &str) {
        self.going(task).change(RolloutChange::Resume, reason);
    }

    pub(super) fn promote_rollout(&mut self, task: TaskIndex, full: bool, reason: &str) {
        let rollout = self.going(task);
        rollout.promoted = Some(full);
        reason.clone_into(&mut rollout.reason);
    }

    /// The deadlines of rollouts go on where they were when the swarm was paused.
    pub(super) fn let_rollouts_stand_still(&mut self, paused: Duration) {
        for rollout in self.rolling.values() {
            let rollout = &mut self.rollouts[*rollout];
            rollout.since = rollout.since + paused;
        }
    }
}

/// The circumstances under which a rollout begins.
pub(super) struct Beginning<'a> {
    pub(super) number: u32,
    pub(super) back: bool,
    pub(super) reason: &'a str,
    pub(super) time_ms: u64,
    pub(super) at: Timestamp,
}

impl Rollout {
    pub(super) fn go_on(&mut self, reason: &str) {
        self.change(RolloutChange::Step, reason);
    }
}
