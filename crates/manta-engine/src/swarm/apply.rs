//! The one place where a swarm's state changes: an event is applied, whether it was just decided or is replayed.
use std::sync::Arc;
use std::time::Duration;

use manta_types::event::{NextIteration, SwarmEvent as E};
use manta_types::state::{AttemptChange, SwarmChange, TaskRunChange};
use manta_types::{AttemptFailure, AttemptId, Event, SwarmState, Timestamp};

use super::{Attempt, GlobalValue, Place, Slot, SlotOutcome, SwarmRun, TaskRun};

impl SwarmRun {
    /// Applies an event that follows the last one; `at` is the monotonic time to which its waits are anchored.
    pub(crate) fn apply(&mut self, event: &Event, at: Timestamp) {
        assert_eq!(event.swarm, self.id, "an event is applied to its own swarm");
        assert_eq!(event.seq, self.seq + 1, "events are applied in order");
        self.seq = event.seq;
        match &event.what {
            E::SwarmAdmitted => self.change(SwarmChange::Admit, "admitted"),
            E::SwarmContinued { checkpoint } => self.take_over(checkpoint),
            E::IterationStarted { iteration, requests } => self.begin(*iteration, requests, event.time_ms),
            E::TaskRunReady { task, .. } => self.change_run(*task, TaskRunChange::MakeReady, "waits for nodes"),
            E::TaskRunSkipped { task, reason, .. } => self.change_run(*task, TaskRunChange::Skip, reason),
            E::TaskRunStarted { task, nodes, movable, .. } => {
                let globals = Arc::clone(&self.globals);
                self.change_run(*task, TaskRunChange::Start, &format!("runs on {}", count(nodes.len(), "node")));
                let run = &mut self.task_runs[*task];
                run.slots = nodes.iter().cloned().map(Slot::new).collect();
                (run.movable, run.globals, run.started) = (*movable, globals, Some(at));
                if run.iteration == 0 && self.spec.tasks[*task].fixed {
                    self.fixed.insert(*task, nodes.clone());
                }
            }
            E::AttemptOffered { attempt, iteration, task, slot, node, epoch, .. } => {
                let place = Place { iteration: *iteration, task: *task, slot: *slot };
                self.attempts.insert(*attempt, place);
                let slot = &mut self.task_runs[*task].slots[*slot];
                assert!(*epoch > slot.epoch, "a lease epoch rises with every offer");
                (slot.epoch, slot.node, slot.retry_at) = (*epoch, node.clone(), None);
                slot.attempts.push(Attempt::offered(*attempt, node.clone(), *epoch));
            }
            E::AttemptProgressed { attempt, state } => {
                self.change_attempt(*attempt, state.change());
            }
            E::AttemptAccepted { attempt, outputs, timings } => {
                let slot = self.change_attempt(*attempt, AttemptChange::Accept);
                slot.outcome = SlotOutcome::Accepted;
                let done = named(slot, *attempt);
                (done.outputs, done.timings) = (Some(outputs.clone()), *timings);
                self.requests.extend(outputs.next_iterations.iter().cloned());
                if outputs.stop_swarm {
                    let task = self.attempts[attempt].task;
                    self.stop_asked.get_or_insert_with(|| self.spec.tasks[task].alias.clone());
                }
            }
            E::AttemptFailed { attempt, failure, timings, retry_after_ms, .. } => {
                let slot = self.change_attempt(*attempt, AttemptChange::Fail);
                let failure = AttemptFailure::from(failure.clone());
                if failure.class.counts_as_try() {
                    slot.tries += 1
                } else {
                    slot.lost += 1
                }
                match retry_after_ms {
                    Some(wait) => slot.retry_at = Some(at + Duration::from_millis(*wait)),
                    None => slot.outcome = SlotOutcome::Failed,
                }
                let done = named(slot, *attempt);
                (done.failure, done.timings) = (Some(failure), *timings);
            }
            E::AttemptLost { attempt, .. } => self.change_attempt(*attempt, AttemptChange::Lose).lost += 1,
            E::AttemptCancelled { attempt, .. } => {
                self.change_attempt(*attempt, AttemptChange::Cancel);
            }
            E::NodeExcused { task, slot, reason, .. } => {
                self.task_runs[*task].slots[*slot].outcome = SlotOutcome::Excused(reason.clone());
            }
            E::TaskRunClosed { task, succeeded, reason, globals, .. } => {
                self.change_run(*task, TaskRunChange::Close, reason);
                let change = if *succeeded { TaskRunChange::Succeed } else { TaskRunChange::Fail };
                self.change_run(*task, change, reason);
                let visible = Arc::make_mut(&mut self.globals);
                for write in globals {
                    let writer = Some(write.writer.clone());
                    let value = GlobalValue { blob: write.blob, revision: write.revision, writer };
                    visible.insert(write.name.clone(), value);
                    self.revision = self.revision.max(write.revision);
                }
            }
            E::IterationFinished { .. } => self.iteration_finished = true,
            E::SwarmSucceeded { reason } => self.end(SwarmChange::Succeed, reason, event.time_ms),
            E::SwarmFailed { reason, .. } => self.end(SwarmChange::Fail, reason, event.time_ms),
            E::SwarmStopped { reason } => self.end(SwarmChange::Stop, reason, event.time_ms),
            E::SwarmPaused { reason } => {
                self.change(SwarmChange::Pause, reason);
                self.paused_at = Some(at);
            }
            E::SwarmResumed { reason, paused_ms } => {
                self.change(SwarmChange::Resume, reason);
                self.paused_at = None;
                self.stand_still(Duration::from_millis(*paused_ms));
            }
        }
    }

    /// Deadlines and waits go on where they were when the swarm was paused.
    fn stand_still(&mut self, paused: Duration) {
        for run in self.task_runs.iter_mut().filter(|run| !run.state.is_final()) {
            run.started = run.started.map(|at| at + paused);
            for slot in &mut run.slots {
                slot.retry_at = slot.retry_at.map(|due| due + paused);
            }
        }
    }

    fn begin(&mut self, iteration: u32, requests: &[NextIteration], time_ms: u64) {
        if self.state == SwarmState::Pending {
            self.change(SwarmChange::Start, "running");
        }
        let tasks = 0..self.spec.tasks.len();
        let fresh = tasks.map(|task| TaskRun::new(iteration, task, Arc::clone(&self.globals))).collect();
        self.previous = std::mem::replace(&mut self.task_runs, fresh);
        self.attempts.retain(|_, place| place.iteration + 1 >= iteration);
        (self.iteration, self.iteration_started_ms, self.iteration_finished) = (Some(iteration), time_ms, false);
        self.granted = requests.to_vec();
        self.requests.clear();
        if let Some(checkpoint) = self.carried.take() {
            self.take_up(*checkpoint);
        }
    }

    fn end(&mut self, change: SwarmChange, reason: &str, time_ms: u64) {
        self.change(change, reason);
        self.finished_ms = Some(time_ms);
        if self.state != SwarmState::Failed {
            self.previous.clear();
        }
    }

    fn change(&mut self, change: SwarmChange, reason: &str) {
        self.state = self.state.next(change).expect("the engine asks only for changes that the state knows");
        reason.clone_into(&mut self.reason);
    }

    fn change_run(&mut self, task: usize, change: TaskRunChange, reason: &str) {
        let run = &mut self.task_runs[task];
        run.state = run.state.next(change).expect("the engine asks only for changes that the state knows");
        reason.clone_into(&mut run.reason);
    }

    fn change_attempt(&mut self, id: AttemptId, change: AttemptChange) -> &mut Slot {
        let place = self.attempts[&id];
        let slot = &mut self.task_runs[place.task].slots[place.slot];
        let attempt = named(slot, id);
        attempt.state = attempt.state.next(change).expect("the engine asks only for changes that the state knows");
        slot
    }
}

fn named(slot: &mut Slot, id: AttemptId) -> &mut Attempt {
    slot.attempts.iter_mut().find(|attempt| attempt.id == id).expect("the index names a slot that holds the attempt")
}

/// `1 node`, `5 nodes`.
pub(crate) fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
