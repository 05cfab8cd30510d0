//! The one place where a swarm's state changes: an event is applied, whether it was just decided or is replayed.
use std::sync::Arc;
use std::time::Duration;

use manta_types::event::{GlobalWrite, NextIteration, Outputs, SwarmEvent as E, Timings};
use manta_types::state::{AttemptChange, IterationChange, SwarmChange, TaskRunChange};
use manta_types::{
    AttemptFailure, AttemptId, Event, IterationState, NodeName, RolloutState, SwarmState, TaskIndex, Timestamp,
};

use super::rollout::Beginning;
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
            E::TaskRunReady { task, .. } => {
                self.change_run(*task, TaskRunChange::MakeReady, "waits for nodes");
                self.agenda.ready.insert(*task);
                self.agenda.runs.insert(*task);
            }
            E::TaskRunSkipped { task, reason, .. } => {
                self.change_run(*task, TaskRunChange::Skip, reason);
                self.note_closed(*task);
            }
            E::TaskRunStarted { task, nodes, movable, renewed, .. } => {
                self.start(*task, nodes, *movable, at);
                self.renew(*task, renewed);
            }
            E::AttemptOffered { attempt, iteration, task, slot, node, epoch, .. } => {
                let place = Place { iteration: *iteration, task: *task, slot: *slot };
                let is_renewed = self.task_runs[*task].slots[*slot].is_renewed;
                self.offer(Attempt::offered(*attempt, node.clone(), *epoch, is_renewed), place);
            }
            E::AttemptProgressed { attempt, state } => self.change_attempt(*attempt, state.change()),
            E::AttemptAccepted { attempt, outputs, timings } => self.accept(*attempt, outputs, timings),
            E::AttemptFailed { attempt, failure, timings, retry_after_ms, .. } => {
                // What begins to wait in a pause waits no longer than what began before it.
                let since = self.paused_at.unwrap_or(at);
                let retry_at = retry_after_ms.map(|wait| since + Duration::from_millis(wait));
                self.fail(*attempt, AttemptFailure::from(failure.clone()), timings, retry_at);
            }
            E::AttemptLost { attempt, .. } => {
                self.change_attempt(*attempt, AttemptChange::Lose);
                self.slot_of(*attempt).lost += 1;
            }
            E::AttemptCancelled { attempt, .. } => self.change_attempt(*attempt, AttemptChange::Cancel),
            E::NodeExcused { task, slot, reason, .. } => self.excuse(*task, *slot, reason),
            E::TaskRunClosed { task, succeeded, reason, globals, .. } => {
                self.change_run(*task, TaskRunChange::Close, reason);
                let change = if *succeeded { TaskRunChange::Succeed } else { TaskRunChange::Fail };
                self.change_run(*task, change, reason);
                self.write(globals);
                self.note_closed(*task);
                self.note_short_run(*task);
            }
            E::IterationFinished { .. } => {
                self.change_iteration(IterationChange::Finish);
                self.note_iteration();
            }
            E::SwarmSucceeded { reason } => self.end(SwarmChange::Succeed, reason, event.time_ms),
            E::SwarmFailed { reason, .. } => self.end(SwarmChange::Fail, reason, event.time_ms),
            E::SwarmStopped { reason } => self.end(SwarmChange::Stop, reason, event.time_ms),
            E::SwarmPaused { reason } => {
                self.change(SwarmChange::Pause, reason);
                self.paused_at = Some(at);
            }
            E::SwarmResumed { reason, .. } => {
                self.change(SwarmChange::Resume, reason);
                let paused = self.paused_at.take().map_or(Duration::ZERO, |since| at - since);
                self.stand_still(paused);
                self.let_rollouts_stand_still(paused);
                self.look_at_everything();
            }
            what => self.apply_to_rollout(what, event.time_ms, at),
        }
    }

    fn apply_to_rollout(&mut self, what: &E, time_ms: u64, at: Timestamp) {
        match what {
            E::RolloutStarted { rollout, task, to, plan, back, reason, .. } => {
                // What begins in a pause waits no longer than what began before it.
                let at = self.paused_at.unwrap_or(at);
                let beginning = Beginning { number: *rollout, back: *back, reason, time_ms, at };
                self.start_rollout(*task, to, plan, beginning);
            }
            E::RolloutStepped { task, step, share, unfit, figures, reason, .. } => {
                self.note_figures(*task, figures);
                self.step_rollout(*task, (*step, *share), unfit, at);
                self.going(*task).go_on(reason);
            }
            E::RolloutHeld { task, holder, figures, reason, .. } => {
                self.note_figures(*task, figures);
                self.hold_rollout(*task, *holder, reason);
            }
            E::RolloutResumed { task, reason, .. } => self.resume_rollout(*task, reason),
            E::RolloutPromoted { task, full, reason, .. } => self.promote_rollout(*task, *full, reason),
            E::RolloutEnded { task, outcome, figures, reason, .. } => {
                self.note_figures(*task, figures);
                self.end_rollout(*task, *outcome, reason, time_ms);
                if *outcome == RolloutState::Reverted {
                    self.take_back(*task, at);
                }
            }
            other => unreachable!("{} is not of a rollout", other.kind()),
        }
    }

    /// The slots whose nodes run the version that is being rolled out.
    fn renew(&mut self, task: TaskIndex, nodes: &[NodeName]) {
        self.note_renewed(task, nodes);
        if nodes.is_empty() {
            return;
        }
        let target = self.rollout_of(task).map(|rollout| Arc::clone(&rollout.target));
        let run = &mut self.task_runs[task];
        run.renewed = target;
        for slot in run.slots.iter_mut().filter(|slot| nodes.contains(&slot.node)) {
            slot.is_renewed = true;
        }
    }

    fn begin(&mut self, iteration: u32, requests: &[NextIteration], time_ms: u64) {
        if self.state == SwarmState::Pending {
            self.change(SwarmChange::Start, "running");
        }
        let tasks = 0..self.spec.tasks.len();
        let fresh = tasks.map(|task| TaskRun::new(iteration, task, Arc::clone(&self.globals), Arc::clone(&self.spec)));
        let fresh = fresh.collect();
        self.previous = std::mem::replace(&mut self.task_runs, fresh);
        self.attempts.retain(|_, place| place.iteration + 1 >= iteration);
        (self.iteration, self.iteration_started_ms) = (Some(iteration), time_ms);
        self.iteration_state = Some(IterationState::Open);
        self.granted = requests.to_vec();
        self.requests.clear();
        if let Some(checkpoint) = self.carried.take() {
            self.take_up(*checkpoint);
        }
        self.plan_iteration();
    }

    fn start(&mut self, task: TaskIndex, nodes: &[NodeName], movable: bool, at: Timestamp) {
        let globals = Arc::clone(&self.globals);
        self.change_run(task, TaskRunChange::Start, &format!("runs on {}", count(nodes.len(), "node")));
        let run = &mut self.task_runs[task];
        run.fill(nodes.iter().cloned().map(Slot::new).collect());
        (run.movable, run.globals, run.started) = (movable, globals, Some(at));
        if run.iteration == 0 && self.spec.tasks[task].fixed {
            self.fixed.insert(task, nodes.to_vec());
        }
        self.agenda.ready.remove(&task);
        self.agenda.runs.insert(task);
        self.agenda.slots.extend((0..nodes.len()).map(|slot| (task, slot)));
    }

    fn offer(&mut self, attempt: Attempt, place: Place) {
        self.attempts.insert(attempt.id, place);
        self.agenda.live.insert((place.task, place.slot));
        self.agenda.queued.remove(&(place.task, place.slot));
        let run = &mut self.task_runs[place.task];
        if run.slots[place.slot].node != attempt.node {
            // The node that it leaves may be what another slot looks for.
            run.nowhere = None;
            self.agenda.slots.extend(run.stranded.pop_first().map(|slot| (place.task, slot)));
        }
        run.occupy(place.slot, &attempt.node);
        let slot = &mut run.slots[place.slot];
        assert!(attempt.epoch > slot.epoch, "a lease epoch rises with every offer");
        (slot.epoch, slot.node, slot.retry_at) = (attempt.epoch, attempt.node.clone(), None);
        slot.attempts.push(attempt);
    }

    fn accept(&mut self, attempt: AttemptId, outputs: &Outputs, timings: &Timings) {
        self.change_attempt(attempt, AttemptChange::Accept);
        let Place { task, slot, .. } = self.attempts[&attempt];
        let done = named(self.slot_of(attempt), attempt);
        (done.outputs, done.timings) = (Some(outputs.clone()), timings.clone());
        let is_renewed = done.is_renewed;
        self.note_accepted(task, is_renewed, &outputs.metrics);
        self.task_runs[task].settle(slot, SlotOutcome::Accepted);
        self.agenda.runs.insert(task);
        self.requests.extend(outputs.next_iterations.iter().cloned());
        if outputs.stop_swarm {
            self.stop_asked.get_or_insert_with(|| self.spec.tasks[task].alias.clone());
        }
    }

    fn fail(&mut self, attempt: AttemptId, failure: AttemptFailure, timings: &Timings, retry_at: Option<Timestamp>) {
        self.change_attempt(attempt, AttemptChange::Fail);
        let Place { task, slot: index, .. } = self.attempts[&attempt];
        let slot = self.slot_of(attempt);
        let tries = if failure.class.counts_as_try() { &mut slot.tries } else { &mut slot.lost };
        *tries += 1;
        slot.retry_at = retry_at;
        let done = named(slot, attempt);
        let is_renewed = done.is_renewed;
        (done.failure, done.timings) = (Some(failure.clone()), timings.clone());
        self.note_failed(task, is_renewed, &failure);
        if retry_at.is_none() {
            self.task_runs[task].settle(index, SlotOutcome::Failed);
            self.agenda.runs.insert(task);
        }
    }

    fn excuse(&mut self, task: TaskIndex, slot: usize, reason: &str) {
        let run = &mut self.task_runs[task];
        run.settle(slot, SlotOutcome::Excused(reason.to_owned()));
        run.reason = run.runs_on();
        self.agenda.runs.insert(task);
    }

    fn write(&mut self, globals: &[GlobalWrite]) {
        if globals.is_empty() {
            return;
        }
        let visible = Arc::make_mut(&mut self.globals);
        for write in globals {
            let value = GlobalValue { blob: write.blob, revision: write.revision, writer: Some(write.writer.clone()) };
            visible.insert(write.name.clone(), value);
            self.revision = self.revision.max(write.revision);
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

    /// Lets no deadline pass within a span from now, unless it is shorter itself: as if the task run began later.
    pub(crate) fn put_off_deadlines(&mut self, now: Timestamp, span: Duration) {
        // What is held has as much left as it had then.
        if self.paused_at.is_some() {
            return;
        }
        for run in self.task_runs.iter_mut().filter(|run| !run.state.is_final()) {
            if let (Some(started), Some(wait)) = (run.started, self.spec.tasks[run.task].policy.deadline) {
                run.started = Some(started.max((now + span - wait).min(now)));
            }
        }
    }

    fn end(&mut self, change: SwarmChange, reason: &str, time_ms: u64) {
        self.change(change, reason);
        self.finished_ms = Some(time_ms);
        if self.iteration_state == Some(IterationState::Open) {
            self.change_iteration(IterationChange::Abandon);
        }
        // A swarm that failed can be continued, and what runs again may read the iteration before.
        if self.state != SwarmState::Failed {
            self.previous = Vec::new();
        }
    }

    fn change(&mut self, change: SwarmChange, reason: &str) {
        self.state = self.state.next(change).expect("the engine asks only for changes that the state knows");
        reason.clone_into(&mut self.reason);
    }

    fn change_iteration(&mut self, change: IterationChange) {
        let state = self.iteration_state.expect("an iteration changes after it has begun");
        self.iteration_state = Some(state.next(change).expect("the engine asks only for changes that the state knows"));
    }

    fn change_run(&mut self, task: TaskIndex, change: TaskRunChange, reason: &str) {
        let run = &mut self.task_runs[task];
        run.state = run.state.next(change).expect("the engine asks only for changes that the state knows");
        reason.clone_into(&mut run.reason);
    }

    /// Changes an attempt; what it leaves undone is looked at next.
    fn change_attempt(&mut self, id: AttemptId, change: AttemptChange) {
        let Place { task, slot, .. } = self.attempts[&id];
        let attempt = named(self.slot_of(id), id);
        attempt.change(change);
        let is_over = attempt.state.is_final();
        if is_over {
            self.agenda.live.remove(&(task, slot));
        }
        if is_over || change == AttemptChange::FallSilent {
            self.agenda.slots.insert((task, slot));
        }
    }

    fn slot_of(&mut self, attempt: AttemptId) -> &mut Slot {
        let place = self.attempts[&attempt];
        &mut self.task_runs[place.task].slots[place.slot]
    }
}

fn named(slot: &mut Slot, id: AttemptId) -> &mut Attempt {
    let newest_first = slot.attempts.iter_mut().rev();
    newest_first.into_iter().find(|attempt| attempt.id == id).expect("the index names a slot that holds the attempt")
}

/// `1 node`, `5 nodes`.
pub(crate) fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
