//! A task run, its slots and their attempts.
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use manta_types::event::{Outputs, Timings};
use manta_types::state::{AttemptChange, LeaseChange};
use manta_types::{
    AttemptFailure, AttemptId, AttemptState, LeaseState, NodeName, SwarmSpec, TaskIndex, TaskRunState, TaskSpec,
    Timestamp,
};

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
    /// Its node's right to run it.
    pub lease: LeaseState,
    /// The phase in which it was last heard.
    pub(crate) phase: AttemptState,
    /// What it left, once accepted.
    pub outputs: Option<Outputs>,
    /// How it failed.
    pub failure: Option<AttemptFailure>,
    /// How long its phases took.
    pub timings: Timings,
    /// Whether it runs the version that was being rolled out.
    pub is_renewed: bool,
}

impl Attempt {
    pub(crate) fn offered(id: AttemptId, node: NodeName, epoch: u32, is_renewed: bool) -> Self {
        Self {
            id,
            node,
            epoch,
            is_renewed,
            state: AttemptState::Offered,
            lease: LeaseState::Held,
            phase: AttemptState::Offered,
            outputs: None,
            failure: None,
            timings: Timings::default(),
        }
    }

    /// One that is only remembered.
    pub(crate) fn ended(id: AttemptId, node: NodeName, epoch: u32, how: AttemptChange) -> Self {
        let mut attempt = Self::offered(id, node, epoch, false);
        attempt.change(how);
        attempt
    }

    /// Goes on to another state, and its lease with it.
    pub(crate) fn change(&mut self, change: AttemptChange) {
        self.state = self.state.next(change).expect("the engine asks only for changes that the state knows");
        let lease = match change {
            AttemptChange::Prepare | AttemptChange::Start | AttemptChange::Upload => LeaseChange::Renew,
            AttemptChange::FallSilent => LeaseChange::Lapse,
            AttemptChange::Accept | AttemptChange::Fail => LeaseChange::Release,
            AttemptChange::Lose | AttemptChange::Cancel => LeaseChange::Fence,
        };
        self.lease = self.lease.next(lease).expect("a lease lives as long as its attempt");
        if self.state != AttemptState::Silent {
            self.phase = self.state;
        }
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
    /// Those of them that do not count against its retries: of a version that was taken back.
    pub(crate) pardoned: u32,
    /// Attempts lost to other trouble.
    pub lost: u32,
    /// Whether its attempts run the version that is being rolled out.
    pub is_renewed: bool,
    /// All attempts, oldest first.
    pub attempts: Vec<Attempt>,
    /// How it ended.
    pub outcome: SlotOutcome,
    /// When the next attempt may be offered.
    pub(crate) retry_at: Option<Timestamp>,
    /// The node at which it waits for a place.
    pub(crate) waits_at: Option<NodeName>,
}

impl Slot {
    pub(crate) fn new(node: NodeName) -> Self {
        let (attempts, outcome) = (Vec::new(), SlotOutcome::Open);
        Self {
            node,
            epoch: 0,
            tries: 0,
            pardoned: 0,
            lost: 0,
            is_renewed: false,
            attempts,
            outcome,
            retry_at: None,
            waits_at: None,
        }
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
    /// The swarm with the versions that it runs.
    pub(crate) spec: Arc<SwarmSpec>,
    /// The same with the version that is being rolled out, where it has a part in it.
    pub(crate) renewed: Option<Arc<SwarmSpec>>,
    pub(crate) started: Option<Timestamp>,
    /// How many of its slots are where.
    pub(crate) counts: Counts,
    /// Predecessors that have not closed.
    pub(crate) blockers: usize,
    /// The slot that has each node.
    pub(crate) places: HashMap<NodeName, usize>,
    /// Slots that no node can take now.
    pub(crate) stranded: BTreeSet<usize>,
    /// The deadline for which an alarm is set.
    pub(crate) alarm: Option<Timestamp>,
    /// The state of the fleet in which no other node was found.
    pub(crate) nowhere: Option<u64>,
}

impl TaskRun {
    pub(crate) fn new(iteration: u32, task: TaskIndex, globals: Arc<Globals>, spec: Arc<SwarmSpec>) -> Self {
        let (state, reason) = (TaskRunState::Waiting, "waits for its predecessors".to_owned());
        Self {
            iteration,
            task,
            state,
            reason,
            slots: Vec::new(),
            movable: false,
            globals,
            spec,
            renewed: None,
            started: None,
            counts: Counts::default(),
            blockers: 0,
            places: HashMap::new(),
            stranded: BTreeSet::new(),
            alarm: None,
            nowhere: None,
        }
    }

    /// Gives it its slots, one for each node.
    pub(super) fn fill(&mut self, slots: Vec<Slot>) {
        self.places = slots.iter().enumerate().map(|(index, slot)| (slot.node.clone(), index)).collect();
        self.counts = Counts::default();
        for slot in &slots {
            *self.counts.of(&slot.outcome) += 1;
        }
        self.slots = slots;
    }

    /// Ends a slot.
    pub(super) fn settle(&mut self, slot: usize, outcome: SlotOutcome) {
        *self.counts.of(&self.slots[slot].outcome) -= 1;
        *self.counts.of(&outcome) += 1;
        self.slots[slot].outcome = outcome;
    }

    /// Notes that a slot has, or waits for, another node.
    pub(crate) fn occupy(&mut self, slot: usize, node: &NodeName) {
        let held = &mut self.slots[slot];
        let before = held.waits_at.take().unwrap_or_else(|| held.node.clone());
        if self.places.get(&before) == Some(&slot) {
            self.places.remove(&before);
        }
        self.places.insert(node.clone(), slot);
    }

    /// Notes that a slot waits nowhere any more.
    pub(crate) fn vacate(&mut self, slot: usize) {
        let held = &mut self.slots[slot];
        let Some(waited) = held.waits_at.take() else { return };
        if self.places.get(&waited) == Some(&slot) {
            self.places.remove(&waited);
        }
        self.places.entry(held.node.clone()).or_insert(slot);
    }

    /// The swarm with the versions that an attempt of it runs.
    pub(crate) fn spec_of(&self, is_renewed: bool) -> &Arc<SwarmSpec> {
        self.renewed.as_ref().filter(|_| is_renewed).unwrap_or(&self.spec)
    }

    /// Its task, as the attempts of a slot run it.
    pub(crate) fn task_of(&self, slot: &Slot) -> &TaskSpec {
        &self.spec_of(slot.is_renewed).tasks[self.task]
    }

    /// The module's version that an attempt of it runs.
    pub fn version_of(&self, attempt: &Attempt) -> &str {
        &self.spec_of(attempt.is_renewed).tasks[self.task].version
    }

    pub(crate) fn is_running(&self) -> bool {
        self.state == TaskRunState::Running
    }

    pub(crate) fn is_unblocked(&self) -> bool {
        self.state == TaskRunState::Waiting && self.blockers == 0
    }

    /// Accepted attempts, in slot order.
    pub fn accepted(&self) -> impl Iterator<Item = &Attempt> {
        self.slots.iter().filter_map(Slot::accepted)
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
    fn of(&mut self, outcome: &SlotOutcome) -> &mut u32 {
        match outcome {
            SlotOutcome::Open => &mut self.open,
            SlotOutcome::Accepted => &mut self.accepted,
            SlotOutcome::Failed => &mut self.failed,
            SlotOutcome::Excused(_) => &mut self.excused,
        }
    }

    pub(crate) const fn total(self) -> u32 {
        self.accepted + self.failed + self.excused + self.open
    }
}
