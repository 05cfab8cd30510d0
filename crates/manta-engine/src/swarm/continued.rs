//! From a swarm that failed to the one that continues it: what is carried over, and how it is taken up.
use std::sync::Arc;

use manta_types::event::Failure;
use manta_types::state::{AttemptChange, TaskRunChange};
use manta_types::{
    AttemptFailure, CarriedGlobal, CarriedOutcome, CarriedPin, CarriedRun, CarriedSlot, Checkpoint, FixedChoice,
    SwarmId, SwarmState, TaskRunState,
};

use super::{Attempt, GlobalValue, Slot, SlotOutcome, SwarmRun, TaskRun};

impl SwarmRun {
    /// Where a new swarm can go on: everything that closed well stays; the task run that failed, what had not closed
    /// beside it and what comes after run again. Nothing unless this swarm failed in an iteration.
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        if self.state != SwarmState::Failed {
            return None;
        }
        let iteration = self.iteration?;
        let stays = |run: &&TaskRun| run.state.is_final() && !self.is_fatal(run);
        let closed: Vec<CarriedRun> = self.task_runs.iter().filter(stays).map(carry).collect();
        let outputs = || {
            let slots = closed.iter().flat_map(|run| run.slots.iter().map(|slot| (run.task, slot)));
            slots.filter_map(|(task, slot)| match &slot.outcome {
                CarriedOutcome::Accepted { outputs, .. } => Some((task, outputs)),
                _ => None,
            })
        };
        let globals = self.globals.iter().map(|(name, value)| CarriedGlobal {
            name: name.clone(),
            blob: value.blob,
            revision: value.revision,
            writer: value.writer.clone(),
        });
        let stopping = outputs().find(|(_, outputs)| outputs.stop_swarm);
        Some(Checkpoint {
            from: self.id,
            state_of: self.state_of,
            iteration,
            revision: self.revision,
            globals: globals.collect(),
            previous: self.previous.iter().map(carry).collect(),
            granted: self.granted.clone(),
            requests: outputs().flat_map(|(_, outputs)| outputs.next_iterations.iter().cloned()).collect(),
            stop_asked: stopping.map(|(task, _)| self.spec.tasks[task].alias.clone()),
            fixed: self.fixed.iter().map(|(task, nodes)| FixedChoice { task: *task, nodes: nodes.clone() }).collect(),
            closed,
            pins: self.brought(),
            before: self.before.clone(),
        })
    }

    /// The versions that rollouts brought, where they are not those of the submission.
    fn brought(&self) -> Vec<CarriedPin> {
        let tasks = self.spec.tasks.iter().zip(&self.submitted.tasks).enumerate();
        let other = tasks.filter(|(_, (now, then))| now.bundle != then.bundle);
        other.map(|(task, (now, _))| CarriedPin { task, pin: now.pin() }).collect()
    }

    /// Whether attempts at its tasks may yet read what nodes keep: it is not over, or a new swarm can go on where it stopped.
    pub(crate) const fn needs_state(&self) -> bool {
        !self.state.is_final() || (matches!(self.state, SwarmState::Failed) && self.iteration.is_some())
    }

    /// The swarm that this one continues.
    pub fn continues(&self) -> Option<SwarmId> {
        self.continues
    }

    /// The first swarm of the line: nodes keep task state under this id, and seeds and samples come from it.
    pub const fn state_of(&self) -> SwarmId {
        self.state_of
    }

    /// Takes over what stands outside task runs; those follow when the iteration goes on.
    pub(super) fn take_over(&mut self, checkpoint: &Checkpoint) {
        let value = |global: &CarriedGlobal| GlobalValue {
            blob: global.blob,
            revision: global.revision,
            writer: global.writer.clone(),
        };
        let globals = checkpoint.globals.iter().map(|global| (global.name.clone(), value(global)));
        self.globals = Arc::new(globals.collect());
        self.revision = checkpoint.revision;
        (self.continues, self.state_of) = (Some(checkpoint.from), checkpoint.state_of);
        self.fixed = checkpoint.fixed.iter().map(|choice| (choice.task, choice.nodes.clone())).collect();
        for carried in &checkpoint.pins {
            self.pin(carried.task, &carried.pin);
        }
        self.before.clone_from(&checkpoint.before);
        self.carried = Some(Box::new(checkpoint.clone()));
    }

    /// Puts carried task runs in their places in the iteration that has just begun.
    pub(super) fn take_up(&mut self, checkpoint: Checkpoint) {
        for carried in checkpoint.closed {
            let task = carried.task;
            self.task_runs[task] = self.taken_up(checkpoint.iteration, carried);
            self.note_short_run(task);
        }
        if let Some(before) = checkpoint.iteration.checked_sub(1) {
            self.previous = checkpoint.previous.into_iter().map(|run| self.taken_up(before, run)).collect();
        }
        (self.requests, self.stop_asked) = (checkpoint.requests, checkpoint.stop_asked);
    }

    fn taken_up(&self, iteration: u32, carried: CarriedRun) -> TaskRun {
        let mut run = TaskRun::new(iteration, carried.task, Arc::clone(&self.globals), Arc::clone(&self.spec));
        let path: &[TaskRunChange] = match carried.state {
            TaskRunState::Succeeded => {
                &[TaskRunChange::MakeReady, TaskRunChange::Start, TaskRunChange::Close, TaskRunChange::Succeed]
            }
            TaskRunState::Skipped => &[TaskRunChange::Skip],
            _ => &[TaskRunChange::Fail],
        };
        for change in path {
            run.state = run.state.next(*change).expect("a fresh task run takes this path to its end");
        }
        run.reason = carried.reason;
        run.fill(carried.slots.into_iter().map(slot).collect());
        run
    }
}

fn carry(run: &TaskRun) -> CarriedRun {
    let slots = run.slots.iter().map(|slot| {
        let outcome = match (slot.accepted(), &slot.outcome) {
            (Some(attempt), _) => CarriedOutcome::Accepted {
                attempt: attempt.id,
                epoch: attempt.epoch,
                outputs: attempt.outputs.clone().unwrap_or_default(),
                timings: attempt.timings.clone(),
            },
            (None, SlotOutcome::Excused(reason)) => CarriedOutcome::Excused { reason: reason.clone() },
            (None, _) => match slot.last_failure() {
                Some((attempt, failure)) => {
                    let failure = Failure {
                        class: failure.class.name().to_owned(),
                        message: failure.message.clone(),
                        location: failure.location.clone(),
                        ..Failure::default()
                    };
                    CarriedOutcome::Failed { attempt: attempt.id, epoch: attempt.epoch, failure }
                }
                None => CarriedOutcome::Cancelled,
            },
        };
        CarriedSlot { node: slot.node.clone(), outcome }
    });
    CarriedRun { task: run.task, state: run.state, reason: run.reason.clone(), slots: slots.collect() }
}

fn slot(carried: CarriedSlot) -> Slot {
    let mut slot = Slot::new(carried.node);
    let node = slot.node.clone();
    match carried.outcome {
        CarriedOutcome::Accepted { attempt, epoch, outputs, timings } => {
            let ended = Attempt::ended(attempt, node, epoch, AttemptChange::Accept);
            slot.attempts.push(Attempt { outputs: Some(outputs), timings, ..ended });
            slot.outcome = SlotOutcome::Accepted;
        }
        CarriedOutcome::Failed { attempt, epoch, failure } => {
            let ended = Attempt::ended(attempt, node, epoch, AttemptChange::Fail);
            slot.attempts.push(Attempt { failure: Some(AttemptFailure::from(failure)), ..ended });
            slot.outcome = SlotOutcome::Failed;
        }
        CarriedOutcome::Excused { reason } => slot.outcome = SlotOutcome::Excused(reason),
        CarriedOutcome::Cancelled => {}
    }
    slot
}
