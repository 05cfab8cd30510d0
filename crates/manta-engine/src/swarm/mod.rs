//! A swarm's state, rebuilt at any time from its events alone.
mod agenda;
mod apply;
mod continued;
mod rollout;
mod short_run;
mod subject;
mod task_run;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use manta_types::event::{GlobalWrite, NextIteration};
use manta_types::{
    AttemptId, Blob, CarriedPin, Checkpoint, IterationState, NodeName, OnFailure, SwarmId, SwarmSpec, SwarmState,
    TaskIndex, TaskRunState, Timestamp,
};

pub(crate) use agenda::{Agenda, SlotPlace};
pub(crate) use apply::count;
pub use rollout::Rollout;
pub use short_run::ShortRun;
pub(crate) use short_run::ShortRuns;
pub(crate) use task_run::Counts;
pub use task_run::{Attempt, Slot, SlotOutcome, TaskRun};

/// A global's value at some revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlobalValue {
    /// The encoded value.
    pub blob: Blob,
    /// The revision at which it became visible; 0 for values of the submission.
    pub revision: u64,
    /// Who wrote it; absent for values of the submission.
    pub writer: Option<NodeName>,
}

/// Globals at one revision.
pub type Globals = BTreeMap<String, GlobalValue>;

/// Where an attempt stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) iteration: u32,
    pub(crate) task: TaskIndex,
    pub(crate) slot: usize,
}

/// A deployed swarm.
#[derive(Debug, Clone, PartialEq)]
pub struct SwarmRun {
    pub(crate) id: SwarmId,
    /// What was submitted.
    pub(crate) submitted: Arc<SwarmSpec>,
    /// The same with the versions that rollouts have brought.
    pub(crate) spec: Arc<SwarmSpec>,
    pub(crate) state: SwarmState,
    pub(crate) reason: String,
    pub(crate) created_ms: u64,
    pub(crate) finished_ms: Option<u64>,
    pub(crate) seq: u64,
    pub(crate) iteration: Option<u32>,
    pub(crate) iteration_started_ms: u64,
    pub(crate) iteration_state: Option<IterationState>,
    /// Task runs of the current iteration, by task.
    pub(crate) task_runs: Vec<TaskRun>,
    /// Task runs of the iteration before.
    pub(crate) previous: Vec<TaskRun>,
    pub(crate) attempts: HashMap<AttemptId, Place>,
    pub(crate) globals: Arc<Globals>,
    pub(crate) revision: u64,
    /// What accepted attempts of this iteration asked for the next.
    pub(crate) requests: Vec<NextIteration>,
    /// What was asked for this iteration.
    pub(crate) granted: Vec<NextIteration>,
    /// Who asked that the swarm end after this iteration.
    pub(crate) stop_asked: Option<String>,
    /// The choice of iteration 0 of tasks that are `fixed`.
    pub(crate) fixed: BTreeMap<TaskIndex, Vec<NodeName>>,
    /// The swarm that it continues.
    pub(crate) continues: Option<SwarmId>,
    /// The first swarm of the line.
    pub(crate) state_of: SwarmId,
    /// What it takes over, until its iteration goes on.
    pub(crate) carried: Option<Box<Checkpoint>>,
    /// Since when it is held.
    pub(crate) paused_at: Option<Timestamp>,
    /// All rollouts, oldest first.
    pub(crate) rollouts: Vec<Rollout>,
    /// Those that go on, by task: their positions.
    pub(crate) rolling: BTreeMap<TaskIndex, usize>,
    /// The versions to which rollouts can be taken back, latest last.
    pub(crate) before: Vec<CarriedPin>,
    /// Task runs that closed without some of their nodes.
    pub(crate) short_runs: ShortRuns,
    /// What has to be looked at.
    pub(crate) agenda: Agenda,
}

impl SwarmRun {
    /// A swarm that has been submitted and has no history yet.
    pub(crate) fn new(id: SwarmId, spec: Arc<SwarmSpec>, created_ms: u64) -> Self {
        let submitted = |blob: &Blob| GlobalValue { blob: *blob, revision: 0, writer: None };
        let globals = spec.globals.iter().map(|(name, blob)| (name.clone(), submitted(blob))).collect();
        Self {
            id,
            submitted: Arc::clone(&spec),
            spec,
            state: SwarmState::Validating,
            reason: "being checked".to_owned(),
            created_ms,
            finished_ms: None,
            seq: 0,
            iteration: None,
            iteration_started_ms: created_ms,
            iteration_state: None,
            task_runs: Vec::new(),
            previous: Vec::new(),
            attempts: HashMap::new(),
            globals: Arc::new(globals),
            revision: 0,
            requests: Vec::new(),
            granted: Vec::new(),
            stop_asked: None,
            fixed: BTreeMap::new(),
            continues: None,
            state_of: id,
            carried: None,
            paused_at: None,
            rollouts: Vec::new(),
            rolling: BTreeMap::new(),
            before: Vec::new(),
            short_runs: ShortRuns::default(),
            agenda: Agenda::default(),
        }
    }

    /// Its id.
    pub const fn id(&self) -> SwarmId {
        self.id
    }

    /// What was asked for, with the versions of modules that rollouts have brought.
    pub const fn spec(&self) -> &Arc<SwarmSpec> {
        &self.spec
    }

    /// What was asked for.
    pub const fn submitted(&self) -> &Arc<SwarmSpec> {
        &self.submitted
    }

    /// Its state.
    pub const fn state(&self) -> SwarmState {
        self.state
    }

    /// Why it is in that state.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The current or last iteration.
    pub const fn iteration(&self) -> Option<u32> {
        self.iteration
    }

    /// The state of the current or last iteration.
    pub const fn iteration_state(&self) -> Option<IterationState> {
        self.iteration_state
    }

    /// Wall clock of its submission.
    pub const fn created_ms(&self) -> u64 {
        self.created_ms
    }

    /// Wall clock of its end.
    pub const fn finished_ms(&self) -> Option<u64> {
        self.finished_ms
    }

    /// Sequence of its last event.
    pub const fn seq(&self) -> u64 {
        self.seq
    }

    /// Task runs of the current or last iteration.
    pub fn task_runs(&self) -> &[TaskRun] {
        &self.task_runs
    }

    /// Globals as they are now.
    pub fn globals(&self) -> &Globals {
        &self.globals
    }

    /// The attempts of this and the previous iteration, in no order.
    pub fn attempts(&self) -> impl Iterator<Item = AttemptId> {
        self.attempts.keys().copied()
    }

    /// An attempt of this or the previous iteration, with its task run.
    pub fn attempt(&self, id: AttemptId) -> Option<(&TaskRun, &Attempt)> {
        let place = self.attempts.get(&id)?;
        let run = self.run_of(*place)?;
        run.slots[place.slot].attempts.iter().find(|attempt| attempt.id == id).map(|attempt| (run, attempt))
    }

    pub(crate) fn run_of(&self, place: Place) -> Option<&TaskRun> {
        let runs = if Some(place.iteration) == self.iteration { &self.task_runs } else { &self.previous };
        runs.get(place.task).filter(|run| run.iteration == place.iteration)
    }

    /// Whether a task run failed that was not allowed to.
    pub(crate) fn is_fatal(&self, run: &TaskRun) -> bool {
        run.state == TaskRunState::Failed && self.spec.tasks[run.task].policy.on_failure == OnFailure::Fail
    }

    /// Whether everything about it is settled for ever.
    pub fn is_over(&self) -> bool {
        self.state.is_final()
    }

    /// Attempts that may still deliver, in the order of tasks and slots.
    pub(crate) fn live_attempts(&self) -> impl Iterator<Item = &Attempt> {
        self.agenda.live.iter().filter_map(|(task, slot)| self.task_runs[*task].slots[*slot].live())
    }

    /// Those of one task run.
    pub(crate) fn live_attempts_of(&self, task: TaskIndex) -> impl Iterator<Item = &Attempt> {
        let places = self.agenda.live.range((task, 0)..(task + 1, 0));
        places.filter_map(move |(_, slot)| self.task_runs[task].slots[*slot].live())
    }

    /// Accepted global writes of a task run in node-name order: what becomes visible, and who disagreed.
    pub(crate) fn closing_writes(&self, run: &TaskRun) -> (Vec<GlobalWrite>, Vec<String>) {
        let mut accepted: Vec<_> = run.accepted().collect();
        accepted.sort_by(|a, b| a.node.cmp(&b.node));
        let mut writes: BTreeMap<&str, Vec<(&NodeName, Blob)>> = BTreeMap::new();
        for attempt in accepted {
            for global in attempt.outputs.iter().flat_map(|outputs| &outputs.globals) {
                writes.entry(&global.name).or_default().push((&attempt.node, global.blob));
            }
        }
        let revision = self.revision + 1;
        let mut visible = Vec::new();
        let mut conflicts = Vec::new();
        for (name, writers) in writes {
            let (writer, blob) = writers[writers.len() - 1];
            if writers.iter().any(|(_, other)| *other != blob) {
                let names: Vec<_> = writers.iter().map(|(node, _)| node.as_str()).collect();
                conflicts.push(format!("GlobalConflict: global `{name}`: {} wrote different values", names.join(", ")));
            }
            visible.push(GlobalWrite { name: name.to_owned(), blob, revision, writer: writer.clone() });
        }
        (visible, conflicts)
    }
}
