//! What has to be looked at in a swarm: derived from its history, never part of it.
use std::collections::BTreeSet;

use manta_types::{SwarmState, TaskIndex, TaskRunState};

use super::{SlotOutcome, SwarmRun};

/// A slot's place: its task, and its position in the task run.
pub(crate) type SlotPlace = (TaskIndex, usize);

/// Work-lists, so that a decision costs what it concerns and not what there is.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Agenda {
    /// Task runs that may go on to another state.
    pub(crate) runs: BTreeSet<TaskIndex>,
    /// Task runs whose nodes may be chosen.
    pub(crate) starts: BTreeSet<TaskIndex>,
    /// Slots that may need an attempt, or doubt one.
    pub(crate) slots: BTreeSet<SlotPlace>,
    /// Slots with a live attempt.
    pub(crate) live: BTreeSet<SlotPlace>,
    /// Slots that wait for a place at a node.
    pub(crate) queued: BTreeSet<SlotPlace>,
    /// Task runs that are ready and have no nodes yet.
    pub(crate) ready: BTreeSet<TaskIndex>,
    /// Task runs that have not closed.
    pub(crate) open: usize,
    /// The task run that failed and was not allowed to.
    pub(crate) fatal: Option<TaskIndex>,
    /// The tasks that follow each task.
    pub(crate) followers: Vec<Vec<TaskIndex>>,
}

impl SwarmRun {
    /// Begins the work-lists of an iteration whose task runs are in place.
    pub(super) fn plan_iteration(&mut self) {
        if self.agenda.followers.is_empty() {
            self.agenda.followers = followers(self);
        }
        let open = |task: TaskIndex| !self.task_runs[task].state.is_final();
        let blockers: Vec<_> =
            self.spec.tasks.iter().map(|task| task.after.iter().filter(|before| open(**before)).count()).collect();
        for (run, blockers) in self.task_runs.iter_mut().zip(blockers) {
            run.blockers = blockers;
        }
        let agenda = &mut self.agenda;
        agenda.runs = self.task_runs.iter().filter(|run| run.is_unblocked()).map(|run| run.task).collect();
        agenda.open = self.task_runs.iter().filter(|run| !run.state.is_final()).count();
        (agenda.fatal, agenda.slots, agenda.ready) = (None, BTreeSet::new(), BTreeSet::new());
    }

    /// A task run closed: what follows it has one reason less to wait.
    pub(super) fn note_closed(&mut self, task: TaskIndex) {
        self.agenda.open -= 1;
        self.agenda.ready.remove(&task);
        if self.is_fatal(&self.task_runs[task]) {
            self.agenda.fatal = Some(task);
        }
        for next in &self.agenda.followers[task] {
            let run = &mut self.task_runs[*next];
            run.blockers -= 1;
            if run.is_unblocked() {
                self.agenda.runs.insert(*next);
            }
        }
        // What it published may be the tag that others look for.
        self.agenda.runs.extend(self.agenda.ready.iter());
    }

    /// Puts all that is open on the work-lists: after a pause or a restart, nothing is known to be settled.
    pub(crate) fn look_at_everything(&mut self) {
        for run in self.task_runs.iter().filter(|run| !run.state.is_final()) {
            if run.state != TaskRunState::Waiting || run.is_unblocked() {
                self.agenda.runs.insert(run.task);
            }
            let open = run.slots.iter().enumerate().filter(|(_, slot)| slot.outcome == SlotOutcome::Open);
            self.agenda.slots.extend(open.map(|(slot, _)| (run.task, slot)));
        }
    }

    /// Whether attempts of it may be offered.
    pub(crate) fn may_start(&self) -> bool {
        self.state == SwarmState::Running
    }

    /// Whether it has as many live attempts as it may.
    pub(crate) fn is_at_its_limit(&self) -> bool {
        self.spec.attempts_max.is_some_and(|most| self.agenda.live.len() >= most.get() as usize)
    }

    pub(crate) fn has_work(&self) -> bool {
        !(self.agenda.runs.is_empty() && self.agenda.slots.is_empty() && self.agenda.starts.is_empty())
    }
}

fn followers(swarm: &SwarmRun) -> Vec<Vec<TaskIndex>> {
    let mut followers = vec![Vec::new(); swarm.spec.tasks.len()];
    for (task, spec) in swarm.spec.tasks.iter().enumerate() {
        for before in &spec.after {
            followers[*before].push(task);
        }
    }
    followers
}
