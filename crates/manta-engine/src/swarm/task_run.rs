//! A task run, its slots and their attempts.
use std::sync::Arc;

use manta_types::event::{Outputs, Timings};
use manta_types::state::AttemptChange;
use manta_types::{AttemptFailure, AttemptId, AttemptState, NodeName, TaskIndex, TaskRunState, Timestamp};

use super::Globals;

/// How a slot ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SlotOutcome {
    /// Not yet.
    Open,
    /// With an accepted attempt.
    Accepted,
    /// No further attempt will be made.
    Failed,
    /// Its node was excused, for this reason.
    Excused(String),
}

/// One try at an assignment.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    /// Its id.
    pub id: AttemptId,
    /// Where.
    pub node: NodeName,
    /// Its lease epoch.
    pub epoch: u32,
    /// Its state.
    pub state: AttemptState,
    /// What it left, once accepted.
    pub outputs: Option<Outputs>,
    /// How it failed.
    pub failure: Option<AttemptFailure>,
    /// How long its phases took.
    pub timings: Timings,
}

impl Attempt {
    pub(crate) fn offered(id: AttemptId, node: NodeName, epoch: u32) -> Self {
        let (outputs, failure, timings) = (None, None, Timings::default());
        Self { id, node, epoch, state: AttemptState::Offered, outputs, failure, timings }
    }

    /// One that is only remembered.
    pub(crate) fn ended(id: AttemptId, node: NodeName, epoch: u32, how: AttemptChange) -> Self {
        let state = AttemptState::Offered.next(how).expect("a live attempt can end in every way");
        Self { state, ..Self::offered(id, node, epoch) }
    }
}

/// A place for one node in a task run.
#[derive(Debug, Clone, PartialEq)]
pub struct Slot {
    /// The node it belongs to now.
    pub node: NodeName,
    /// Rises with every offer.
    pub epoch: u32,
    /// Attempts that ran user code and failed.
    pub tries: u32,
    /// Attempts lost to other trouble.
    pub lost: u32,
    /// All attempts, oldest first.
    pub attempts: Vec<Attempt>,
    /// How it ended.
    pub outcome: SlotOutcome,
    /// When the next attempt may be offered.
    pub(crate) retry_at: Option<Timestamp>,
}

impl Slot {
    pub(crate) fn new(node: NodeName) -> Self {
        Self { node, epoch: 0, tries: 0, lost: 0, attempts: Vec::new(), outcome: SlotOutcome::Open, retry_at: None }
    }

    /// The attempt that may still deliver.
    pub(crate) fn live(&self) -> Option<&Attempt> {
        self.attempts.last().filter(|attempt| !attempt.state.is_final())
    }

    pub(crate) fn is_open(&self) -> bool {
        self.outcome == SlotOutcome::Open
    }

    /// The accepted attempt.
    pub(crate) fn accepted(&self) -> Option<&Attempt> {
        self.attempts.iter().find(|attempt| attempt.state == AttemptState::Accepted)
    }

    /// The last failure of user code or platform.
    pub(crate) fn last_failure(&self) -> Option<(&Attempt, &AttemptFailure)> {
        self.attempts.iter().rev().find_map(|attempt| attempt.failure.as_ref().map(|failure| (attempt, failure)))
    }
}

/// One task in one iteration, over all its nodes.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskRun {
    /// From 0.
    pub iteration: u32,
    /// Position in the spec.
    pub task: TaskIndex,
    /// Its state.
    pub state: TaskRunState,
    /// Why it is in that state.
    pub reason: String,
    /// One per chosen node.
    pub slots: Vec<Slot>,
    /// Whether a slot may move to another node.
    pub movable: bool,
    /// What its attempts read.
    pub globals: Arc<Globals>,
    pub(crate) started: Option<Timestamp>,
}

impl TaskRun {
    pub(crate) fn new(iteration: u32, task: TaskIndex, globals: Arc<Globals>) -> Self {
        let (state, reason) = (TaskRunState::Waiting, "waits for its predecessors".to_owned());
        Self { iteration, task, state, reason, slots: Vec::new(), movable: false, globals, started: None }
    }

    /// Accepted attempts, in slot order.
    pub fn accepted(&self) -> impl Iterator<Item = &Attempt> {
        self.slots.iter().filter_map(Slot::accepted)
    }

    /// Counts of slots: accepted, failed, excused, open.
    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for slot in &self.slots {
            match slot.outcome {
                SlotOutcome::Open => counts.open += 1,
                SlotOutcome::Accepted => counts.accepted += 1,
                SlotOutcome::Failed => counts.failed += 1,
                SlotOutcome::Excused(_) => counts.excused += 1,
            }
        }
        counts
    }
}

/// How many slots are where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) accepted: u32,
    pub(crate) failed: u32,
    pub(crate) excused: u32,
    pub(crate) open: u32,
}

impl Counts {
    pub(crate) const fn total(self) -> u32 {
        self.accepted + self.failed + self.excused + self.open
    }
}
