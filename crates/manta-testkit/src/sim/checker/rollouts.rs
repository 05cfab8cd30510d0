//! Which code the attempts of a swarm may run, by its history alone, and when and why a rollout may change that.
use std::collections::{BTreeMap, BTreeSet};

use manta_api::SwarmSubmission;
use manta_types::{
    AttemptId, CarriedPin, Digest, Event, Figure, Gate, GateVerdict, NodeName, OutcomeClass, Pin, RolloutPlan,
    RolloutState, SwarmEvent as E,
};

use super::history::Broken;

/// What of a history is not about rollouts, and decides what may happen to them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Situation {
    /// Whether no iteration is open.
    pub(super) is_between: bool,
    /// Since when the swarm is held, if it is.
    pub(super) paused_ms: Option<u64>,
}

/// A version: its bundle, and how it is called.
type Code = (Digest, String);

/// The versions of a swarm's tasks.
#[derive(Debug)]
pub(super) struct Rollouts {
    submitted: Vec<Code>,
    /// What each task runs where no rollout has a say.
    pins: Vec<Code>,
    /// What its task run of this iteration began with.
    base: Vec<Code>,
    started: u32,
    going: BTreeMap<usize, Going>,
    /// Parts of this iteration's task runs that run another version.
    renewed: BTreeMap<usize, Renewed>,
    attempts: BTreeMap<AttemptId, Attempt>,
}

/// A rollout that goes on.
#[derive(Debug)]
struct Going {
    number: u32,
    to: Code,
    plan: RolloutPlan,
    share: Option<f64>,
    /// Since when it is at its step.
    since_ms: u64,
    is_promoted: bool,
    /// Iterations of its step in which the new version ran.
    iterations: u32,
    ended: u32,
    failed: u32,
    /// Of each metric, what accepted attempts of the new version logged in this step.
    metrics: BTreeMap<String, Vec<f64>>,
}

/// The slots of a task run that run the version which a rollout brings.
#[derive(Debug)]
struct Renewed {
    rollout: u32,
    code: Code,
    slots: BTreeSet<usize>,
    /// Those of which nothing was accepted, and which are not excused.
    undone: BTreeSet<usize>,
    /// Those that are not tried again.
    failed: BTreeSet<usize>,
    is_closed: bool,
}

/// An attempt, and what it has to run.
#[derive(Debug)]
struct Attempt {
    task: usize,
    slot: usize,
    code: Code,
    /// The rollout that brought it, where the slot was renewed.
    rollout: Option<u32>,
}

impl Rollouts {
    pub(super) fn new(submission: &SwarmSubmission) -> Self {
        let modules = submission.tasks.iter().map(|task| &submission.modules[task.module]);
        let submitted: Vec<Code> = modules.map(|module| (module.bundle, module.version.clone())).collect();
        Self {
            pins: submitted.clone(),
            base: submitted.clone(),
            submitted,
            started: 0,
            going: BTreeMap::new(),
            renewed: BTreeMap::new(),
            attempts: BTreeMap::new(),
        }
    }

    /// What an attempt has to run, by digest.
    pub(super) fn code_of(&self, attempt: AttemptId) -> Option<Digest> {
        self.attempts.get(&attempt).map(|attempt| attempt.code.0)
    }

    /// Takes over what a swarm that failed had reached.
    pub(super) fn take_over(&mut self, pins: &[CarriedPin]) {
        for carried in pins {
            self.pins[carried.task] = code(&carried.pin);
        }
        self.base.clone_from(&self.pins);
    }

    /// Whether a checkpoint carries the versions that this swarm had reached.
    pub(super) fn are_carried(&self, pins: &[CarriedPin]) -> bool {
        let mut carried = self.submitted.clone();
        pins.iter().for_each(|pin| carried[pin.task] = code(&pin.pin));
        carried == self.pins
    }

    /// A rollout whose step lasts longer than its plan allows.
    pub(super) fn overdue(&self, now_ms: u64) -> Option<u32> {
        let is_over = |going: &&Going| going.plan.deadline_ms.is_some_and(|wait| going.since_ms + wait <= now_ms);
        self.going.values().find(is_over).map(|going| going.number)
    }

    /// The swarm goes on after it was held.
    pub(super) fn resumed(&mut self, paused_ms: u64) {
        self.going.values_mut().for_each(|going| going.since_ms += paused_ms);
    }

    /// Whether a revert lets a part of a task's run begin anew.
    pub(super) fn takes_back(&self, task: usize) -> bool {
        self.renewed.get(&task).is_some_and(|renewed| !renewed.is_closed && !renewed.undone.is_empty())
    }

    /// Follows an event that became durable.
    pub(super) fn follow(&mut self, event: &Event, now: Situation) -> Result<(), Broken> {
        match &event.what {
            E::IterationStarted { .. } => {
                self.base.clone_from(&self.pins);
                self.renewed.clear();
            }
            E::IterationFinished { .. } => {
                for (task, going) in &mut self.going {
                    let ran = self.renewed.get(task).is_some_and(|renewed| renewed.rollout == going.number);
                    going.iterations += u32::from(ran);
                }
            }
            E::TaskRunStarted { task, nodes, renewed, .. } if !renewed.is_empty() => {
                return self.renew(*task, nodes, renewed);
            }
            E::TaskRunClosed { task, succeeded, .. } => return self.close(*task, *succeeded),
            E::NodeExcused { task, slot, .. } => self.done(*task, *slot),
            E::AttemptOffered { attempt, task, slot, version, .. } => {
                return self.offer(*attempt, (*task, *slot), version.as_deref());
            }
            E::AttemptAccepted { attempt, outputs, .. } => self.accept(*attempt, &outputs.metrics),
            E::AttemptFailed { attempt, failure, retry_after_ms, .. } => {
                self.fail(*attempt, &failure.class, retry_after_ms.is_none());
            }
            what => return self.change(what, event.time_ms, now),
        }
        Ok(())
    }

    fn change(&mut self, what: &E, time_ms: u64, now: Situation) -> Result<(), Broken> {
        match what {
            E::RolloutStarted { rollout, task, from, to, plan, .. } => {
                self.started += 1;
                must(*rollout == self.started, || format!("rollout {rollout} is the {}th", self.started))?;
                must(*from == self.pins[*task].1, || format!("it begins at {from}, and {:?} runs", self.pins[*task]))?;
                let since_ms = now.paused_ms.unwrap_or(time_ms);
                let before = self.going.insert(*task, Going::new(*rollout, to, plan, since_ms));
                must(before.is_none(), || format!("rollout {rollout} begins while another of its task goes on"))
            }
            E::RolloutStepped { rollout, task, step, share, figures, .. } => {
                must(now.is_between, || format!("rollout {rollout} takes a step within an iteration"))?;
                let going = self.going(*task, *rollout)?;
                if going.share.is_some() {
                    going.passes(figures)?;
                }
                let planned = going.plan.steps.get(*step as usize).copied().unwrap_or(1.0);
                must(planned.to_bits() == share.to_bits(), || format!("step {step} is {share}, planned {planned}"))?;
                must(going.share.is_none_or(|before| before < *share), || format!("step {step} does not rise"))?;
                going.step(*share, time_ms);
                Ok(())
            }
            E::RolloutHeld { rollout, task, .. } => {
                self.going(*task, *rollout)?.is_promoted = false;
                Ok(())
            }
            E::RolloutResumed { rollout, task, .. } => self.going(*task, *rollout).map(drop),
            E::RolloutPromoted { rollout, task, .. } => {
                self.going(*task, *rollout)?.is_promoted = true;
                Ok(())
            }
            E::RolloutEnded { rollout, task, outcome, figures, .. } => {
                self.end(*task, *rollout, *outcome, figures, now.is_between)
            }
            _ => Ok(()),
        }
    }

    fn going(&mut self, task: usize, rollout: u32) -> Result<&mut Going, Broken> {
        let going = self.going.get_mut(&task).filter(|going| going.number == rollout);
        going.ok_or_else(|| ("rollout", format!("rollout {rollout} changes, and does not go on")))
    }

    fn end(
        &mut self,
        task: usize,
        rollout: u32,
        outcome: RolloutState,
        figures: &[Figure],
        is_between: bool,
    ) -> Result<(), Broken> {
        let going = self.going(task, rollout)?;
        if outcome == RolloutState::Completed {
            must(is_between, || format!("rollout {rollout} completes within an iteration"))?;
            must(going.share == Some(1.0), || format!("rollout {rollout} completes at {:?}", going.share))?;
            going.passes(figures)?;
            self.pins[task] = going.to.clone();
        }
        self.going.remove(&task);
        if outcome == RolloutState::Reverted && self.renewed.get(&task).is_some_and(|renewed| !renewed.is_closed) {
            self.renewed.remove(&task);
        }
        Ok(())
    }

    fn renew(&mut self, task: usize, nodes: &[NodeName], renewed: &[NodeName]) -> Result<(), Broken> {
        let going = self.going.get(&task);
        let Some((going, share)) = going.and_then(|going| Some((going, going.share?))) else {
            return Err(("rollout", format!("{renewed:?} run another version of task {task}, and none is rolled out")));
        };
        let slots: BTreeSet<usize> = (0..nodes.len()).filter(|slot| renewed.contains(&nodes[*slot])).collect();
        must(slots.len() == renewed.len(), || format!("{renewed:?} are not all of {nodes:?}"))?;
        #[expect(clippy::cast_precision_loss, reason = "a few nodes")]
        let most = (share * nodes.len() as f64).round().max(1.0);
        #[expect(clippy::cast_precision_loss, reason = "a few nodes")]
        let count = slots.len() as f64;
        must(count <= most, || format!("{count} of {} nodes are renewed at a share of {share}", nodes.len()))?;
        let (rollout, code, undone) = (going.number, going.to.clone(), slots.clone());
        self.renewed.insert(task, Renewed { rollout, code, slots, undone, failed: BTreeSet::new(), is_closed: false });
        Ok(())
    }

    /// A version on trial never fails its task: it is taken back, and the version of before has its turn.
    fn close(&mut self, task: usize, succeeded: bool) -> Result<(), Broken> {
        let Some(renewed) = self.renewed.get_mut(&task) else { return Ok(()) };
        renewed.is_closed = true;
        must(succeeded || renewed.failed.is_empty(), || {
            format!("task {task} fails, and slots {:?} failed with the version on trial", renewed.failed)
        })
    }

    fn offer(&mut self, id: AttemptId, place: (usize, usize), version: Option<&str>) -> Result<(), Broken> {
        let (task, slot) = place;
        let renewed = self.renewed.get(&task).filter(|renewed| renewed.slots.contains(&slot));
        let code = renewed.map_or_else(|| self.base[task].clone(), |renewed| renewed.code.clone());
        let told = (code.0 != self.submitted[task].0).then_some(code.1.as_str());
        must(told == version, || format!("{id} is to run {version:?}, and its slot runs {told:?}"))?;
        let rollout = renewed.map(|renewed| renewed.rollout);
        self.attempts.insert(id, Attempt { task, slot, code, rollout });
        Ok(())
    }

    fn done(&mut self, task: usize, slot: usize) {
        if let Some(renewed) = self.renewed.get_mut(&task) {
            renewed.undone.remove(&slot);
        }
    }

    /// The rollout that goes on and brought what an attempt ran.
    fn rollout_behind(&mut self, attempt: AttemptId) -> Option<&mut Going> {
        let attempt = self.attempts.get(&attempt)?;
        self.going.get_mut(&attempt.task).filter(|going| Some(going.number) == attempt.rollout)
    }

    fn accept(&mut self, attempt: AttemptId, metrics: &BTreeMap<String, f64>) {
        if let Some(going) = self.rollout_behind(attempt) {
            going.ended += 1;
            for (name, value) in metrics {
                going.metrics.entry(name.clone()).or_default().push(*value);
            }
        }
        if let Some((task, slot)) = self.attempts.get(&attempt).map(|attempt| (attempt.task, attempt.slot)) {
            self.done(task, slot);
        }
    }

    fn fail(&mut self, attempt: AttemptId, class: &str, is_last: bool) {
        let others = [OutcomeClass::Platform, OutcomeClass::LostNode].map(OutcomeClass::name);
        if let Some(going) = self.rollout_behind(attempt).filter(|_| !others.contains(&class)) {
            (going.ended, going.failed) = (going.ended + 1, going.failed + 1);
        }
        let Some(Attempt { task, slot, rollout: Some(_), .. }) = self.attempts.get(&attempt) else { return };
        if let Some(renewed) = self.renewed.get_mut(task).filter(|_| is_last) {
            renewed.failed.insert(*slot);
        }
    }
}

impl Going {
    fn new(number: u32, to: &Pin, plan: &RolloutPlan, since_ms: u64) -> Self {
        Self {
            number,
            to: code(to),
            plan: plan.clone(),
            share: None,
            since_ms,
            is_promoted: false,
            iterations: 0,
            ended: 0,
            failed: 0,
            metrics: BTreeMap::new(),
        }
    }

    fn step(&mut self, share: f64, at_ms: u64) {
        (self.share, self.since_ms, self.is_promoted) = (Some(share), at_ms, false);
        (self.iterations, self.ended, self.failed) = (0, 0, 0);
        self.metrics.clear();
    }

    /// Whether it may leave its step: somebody promoted it, or all its gates are kept to by what its attempts have shown.
    fn passes(&self, figures: &[Figure]) -> Result<(), Broken> {
        let number = self.number;
        let judged: Vec<&Gate> = figures.iter().map(|figure| &figure.gate).collect();
        must(judged == self.plan.gates.iter().collect::<Vec<_>>(), || format!("rollout {number} judges {judged:?}"))?;
        for figure in figures {
            let new = self.shown(&figure.gate);
            let is_same = match (new, figure.new) {
                (Some(ours), Some(told)) => (ours - told).abs() < 1e-9,
                (ours, told) => ours.is_none() && told.is_none(),
            };
            must(is_same && figure.attempts == self.ended, || {
                format!("rollout {number} tells {figure:?}; {new:?} were shown by {} attempts", self.ended)
            })?;
            let is_kept = match (&figure.gate, new, figure.old) {
                (Gate::Failures { most }, Some(rate), _) => rate <= most + 1e-9,
                (Gate::Metric { test, bound, .. }, Some(new), Some(old)) => test.holds(new - old, *bound),
                _ => false,
            };
            let may_go_on = is_kept && figure.verdict == GateVerdict::Passed;
            must(self.is_promoted || may_go_on, || format!("rollout {number} goes on, and {figure:?}"))?;
        }
        must(self.is_promoted || self.iterations >= self.plan.every, || {
            format!("rollout {number} goes on after {} of {} iterations", self.iterations, self.plan.every)
        })
    }

    /// What the new version has shown of what a gate asks for.
    fn shown(&self, gate: &Gate) -> Option<f64> {
        match gate {
            Gate::Failures { .. } => (self.ended > 0).then(|| f64::from(self.failed) / f64::from(self.ended)),
            Gate::Metric { name, .. } => {
                let values = self.metrics.get(name)?;
                #[expect(clippy::cast_precision_loss, reason = "a few attempts")]
                let count = values.len() as f64;
                Some(values.iter().sum::<f64>() / count)
            }
        }
    }
}

fn code(pin: &Pin) -> Code {
    (pin.bundle, pin.version.clone())
}

fn must(holds: bool, words: impl FnOnce() -> String) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(("rollout", words())) }
}
