//! One swarm's history as it became durable, and the rules that any history keeps.
use std::collections::{BTreeMap, BTreeSet};

use manta_api::SwarmSubmission;
use manta_types::checkpoint::CarriedRun;
use manta_types::event::GlobalWrite;
use manta_types::{
    AttemptId, Blob, Checkpoint, Digest, Event, RolloutState, SwarmEvent as E, SwarmId, SwarmState, TaskRunState,
    limits,
};

use super::rollouts::{Rollouts, Situation};
use crate::sim::work::publisher;

/// Iteration, task, slot.
type Place = (u32, usize, usize);
/// Which invariant broke, and how.
pub(super) type Broken = (&'static str, String);

/// One swarm's history.
#[derive(Debug)]
pub(crate) struct History {
    events: Vec<Event>,
    /// The predecessors of each task.
    after: Vec<Vec<usize>>,
    /// How long a task run may be open once it has started, by task, in ms.
    deadlines: Vec<Option<u64>>,
    /// When task runs of this iteration started that are open; wall clock, without the time in which they were held.
    started: BTreeMap<usize, u64>,
    /// Since when the swarm is held, if it is.
    paused_ms: Option<u64>,
    /// When the swarm was last let go on.
    resumed_ms: u64,
    ended_as: Option<SwarmState>,
    iteration: Option<u32>,
    iteration_is_finished: bool,
    open: BTreeSet<usize>,
    /// Tasks of this iteration that have closed.
    closed: BTreeSet<usize>,
    newest: BTreeMap<Place, (AttemptId, u32)>,
    places: BTreeMap<AttemptId, Place>,
    accepted: BTreeMap<Place, AttemptId>,
    /// Attempts that have ended, in whatever way.
    ended: BTreeSet<AttemptId>,
    fingerprint: u64,
    /// Tasks of this iteration that have closed well.
    succeeded: BTreeSet<usize>,
    /// Globals that tasks wrote, with their revision.
    globals: Globals,
    continued: Option<Box<Checkpoint>>,
    rollouts: Rollouts,
}

/// By name: the value, and the revision at which it became visible.
type Globals = BTreeMap<String, (Blob, u64)>;

impl History {
    pub(crate) fn new(submission: &str) -> Self {
        let submission: SwarmSubmission = serde_json::from_str(submission).expect("submissions are JSON");
        Self {
            events: Vec::new(),
            rollouts: Rollouts::new(&submission),
            deadlines: submission.tasks.iter().map(|task| task.deadline_s.map(ms)).collect(),
            started: BTreeMap::new(),
            paused_ms: None,
            resumed_ms: 0,
            after: submission.tasks.into_iter().map(|task| task.after).collect(),
            ended_as: None,
            iteration: None,
            iteration_is_finished: false,
            open: BTreeSet::new(),
            closed: BTreeSet::new(),
            newest: BTreeMap::new(),
            places: BTreeMap::new(),
            accepted: BTreeMap::new(),
            ended: BTreeSet::new(),
            fingerprint: 0xcbf2_9ce4_8422_2325,
            succeeded: BTreeSet::new(),
            globals: Globals::new(),
            continued: None,
        }
    }

    pub(crate) fn events(&self) -> &[Event] {
        &self.events
    }

    pub(crate) fn seq(&self) -> u64 {
        self.events.len() as u64
    }

    pub(crate) const fn is_over(&self) -> bool {
        self.ended_as.is_some()
    }

    pub(crate) const fn ended_as(&self) -> Option<SwarmState> {
        self.ended_as
    }

    pub(crate) const fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Follows an event that became durable.
    pub(crate) fn follow(&mut self, event: &Event) -> Result<(), Broken> {
        if event.seq != self.seq() + 1 {
            return Err(("I1", format!("it follows event {}", self.seq())));
        }
        if self.is_over() {
            return Err(("I1", "it comes after the end".to_owned()));
        }
        for byte in event.what.kind().bytes().chain(event.time_ms.to_le_bytes()) {
            self.fingerprint = (self.fingerprint ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.events.push(event.clone());
        let is_between = self.iteration.is_none() || self.iteration_is_finished;
        if let E::RolloutEnded { task, outcome: RolloutState::Reverted, .. } = &event.what
            && self.started.contains_key(task)
            && self.rollouts.takes_back(*task)
        {
            // What the version of before has to do now has the task run's whole deadline.
            self.started.insert(*task, self.paused_ms.unwrap_or(event.time_ms));
        }
        self.rollouts.follow(event, Situation { is_between, paused_ms: self.paused_ms })?;
        match &event.what {
            E::SwarmContinued { checkpoint } => {
                self.globals = visible(checkpoint.written());
                self.rollouts.take_over(&checkpoint.pins);
                self.continued = Some(checkpoint.clone());
                Ok(())
            }
            E::IterationStarted { iteration, .. } => self.begin(*iteration),
            E::TaskRunReady { task, .. } => self.open(*task),
            E::TaskRunStarted { task, .. } => {
                self.started.insert(*task, event.time_ms);
                self.open(*task)
            }
            E::SwarmPaused { .. } => {
                self.paused_ms = Some(event.time_ms);
                Ok(())
            }
            E::SwarmResumed { paused_ms, .. } => {
                self.paused_ms = None;
                self.rollouts.resumed(*paused_ms);
                self.started.values_mut().for_each(|started| *started += paused_ms);
                self.resumed_ms = event.time_ms;
                Ok(())
            }
            E::TaskRunSkipped { task, .. } => {
                self.open(*task)?;
                self.close(*task);
                Ok(())
            }
            E::AttemptOffered { attempt, iteration, task, slot, epoch, .. } => {
                self.offer(*attempt, (*iteration, *task, *slot), *epoch)
            }
            E::AttemptAccepted { attempt, .. } => {
                self.end(*attempt)?;
                self.accept(*attempt)
            }
            E::AttemptFailed { attempt, .. } | E::AttemptLost { attempt, .. } | E::AttemptCancelled { attempt, .. } => {
                self.end(*attempt)
            }
            E::TaskRunClosed { iteration, task, succeeded, globals, .. } => {
                let ours = |place: &Place| (place.0, place.1) == (*iteration, *task);
                let accepted: Vec<_> = self.accepted.iter().filter(|(place, _)| ours(place)).collect();
                if *succeeded && accepted.is_empty() {
                    return Err(("I3", format!("task run {task} succeeds, and nothing of it was accepted")));
                }
                for write in globals {
                    let by = publisher(&write.blob);
                    if !accepted.iter().any(|(_, attempt)| attempt.bytes() == by) {
                        return Err(("I3", format!("global `{}` is not of an accepted attempt", write.name)));
                    }
                }
                self.globals.extend(visible(globals.iter().cloned()));
                self.succeeded.extend(succeeded.then_some(*task));
                self.close(*task);
                Ok(())
            }
            E::IterationFinished { .. } => {
                self.iteration_is_finished = true;
                let all_closed = self.closed.len() == self.after.len();
                all_closed.then_some(()).ok_or_else(|| ("I3", format!("it finishes with {:?} closed", self.closed)))
            }
            E::SwarmSucceeded { .. } => self.finish(SwarmState::Succeeded),
            E::SwarmFailed { .. } => self.finish(SwarmState::Failed),
            E::SwarmStopped { .. } => self.finish(SwarmState::Stopped),
            _ => Ok(()),
        }
    }

    /// A task whose run is open past its deadline, though it could run on for as long as nodes may take to report since the
    /// manager started.
    pub(crate) fn overdue(&self, started_ms: u64, now_ms: u64) -> Option<usize> {
        let grace = limits::LEASE + limits::HEARTBEAT;
        let judged_from = started_ms.max(self.resumed_ms) + u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        let is_over = |(task, started): &(&usize, &u64)| {
            self.deadlines[**task].is_some_and(|deadline| (**started + deadline).max(judged_from) <= now_ms)
        };
        self.started.iter().find(is_over).map(|(task, _)| *task)
    }

    /// A rollout whose step lasts too long, in a swarm that is not held.
    pub(crate) fn overdue_rollout(&self, now_ms: u64) -> Option<u32> {
        self.rollouts.overdue(now_ms)
    }

    /// What an attempt has to run, by digest.
    pub(crate) fn code_of(&self, attempt: AttemptId) -> Option<Digest> {
        self.rollouts.code_of(attempt)
    }

    /// The swarm that this one continues.
    pub(crate) fn continues(&self) -> Option<SwarmId> {
        self.continued.as_ref().map(|checkpoint| checkpoint.from)
    }

    /// The first swarm of the line, under which nodes keep their state.
    pub(crate) fn state_of(&self, id: SwarmId) -> SwarmId {
        self.continued.as_ref().map_or(id, |checkpoint| checkpoint.state_of)
    }

    /// What of a checkpoint is not as this swarm, which failed, left it.
    pub(crate) fn compare(&self, id: SwarmId, checkpoint: &Checkpoint) -> Result<(), String> {
        let carried: BTreeSet<usize> = checkpoint.closed.iter().map(|run| run.task).collect();
        let (found, left) = (visible(checkpoint.written()), &self.globals);
        let checks = [
            (self.ended_as == Some(SwarmState::Failed), format!("{id} has not failed")),
            (checkpoint.state_of == self.state_of(id), format!("the state is that of {}", checkpoint.state_of)),
            (Some(checkpoint.iteration) == self.iteration, format!("{:?} was reached", self.iteration)),
            (found == *left, format!("globals were {left:?}")),
            (self.succeeded.is_subset(&carried), format!("{:?} closed well", self.succeeded)),
            (carried.is_subset(&self.closed), format!("only {:?} closed", self.closed)),
            (self.rollouts.are_carried(&checkpoint.pins), format!("{:?} were reached", self.rollouts)),
        ];
        checks.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, words)| Err(words))
    }

    fn begin(&mut self, iteration: u32) -> Result<(), Broken> {
        let follows = match self.iteration {
            None => iteration == self.continued.as_ref().map_or(0, |checkpoint| checkpoint.iteration),
            Some(before) => iteration == before + 1 && self.iteration_is_finished,
        };
        (self.iteration, self.iteration_is_finished) = (Some(iteration), false);
        self.open.clear();
        self.started.clear();
        self.closed.clear();
        self.succeeded.clear();
        if let Some(checkpoint) = self.continued.as_ref().filter(|checkpoint| checkpoint.iteration == iteration) {
            let well = |run: &&CarriedRun| run.state == TaskRunState::Succeeded;
            self.closed.extend(checkpoint.closed.iter().map(|run| run.task));
            self.succeeded.extend(checkpoint.closed.iter().filter(well).map(|run| run.task));
        }
        follows.then_some(()).ok_or_else(|| ("I3", format!("iteration {iteration} begins before its turn")))
    }

    fn open(&mut self, task: usize) -> Result<(), Broken> {
        let waits_for = self.after[task].iter().find(|before| !self.closed.contains(before));
        if let Some(before) = waits_for {
            return Err(("I3", format!("task {task} goes on before task {before} has closed")));
        }
        self.open.insert(task);
        Ok(())
    }

    fn close(&mut self, task: usize) {
        self.open.remove(&task);
        self.started.remove(&task);
        self.closed.insert(task);
    }

    fn offer(&mut self, attempt: AttemptId, place: Place, epoch: u32) -> Result<(), Broken> {
        if let Some((before, older)) = self.newest.insert(place, (attempt, epoch)) {
            if older >= epoch {
                return Err(("I2", format!("epoch {epoch} of {place:?} follows epoch {older}")));
            }
            if !self.ended.contains(&before) {
                return Err(("I2", format!("{attempt} is offered while {before} may still deliver")));
            }
        }
        self.places.insert(attempt, place);
        let is_open = self.open.contains(&place.1) && Some(place.0) == self.iteration;
        is_open.then_some(()).ok_or_else(|| ("I3", format!("{attempt} is offered while its task run is not open")))
    }

    fn end(&mut self, attempt: AttemptId) -> Result<(), Broken> {
        let is_first = self.ended.insert(attempt) && self.places.contains_key(&attempt);
        is_first.then_some(()).ok_or_else(|| ("I2", format!("{attempt} ends, and had ended or was never offered")))
    }

    fn accept(&mut self, attempt: AttemptId) -> Result<(), Broken> {
        let place = self.places[&attempt];
        if self.newest[&place].0 != attempt {
            return Err(("I2", format!("{attempt} is accepted, and {:?} is newer", self.newest[&place])));
        }
        if let Some(before) = self.accepted.insert(place, attempt) {
            return Err(("I2", format!("{attempt} is accepted in the place of {before}")));
        }
        let is_open = self.open.contains(&place.1) && Some(place.0) == self.iteration;
        is_open.then_some(()).ok_or_else(|| ("I3", format!("{attempt} is accepted while its task run is not open")))
    }

    fn finish(&mut self, as_what: SwarmState) -> Result<(), Broken> {
        self.ended_as = Some(as_what);
        let live = self.places.keys().find(|attempt| !self.ended.contains(attempt));
        live.map_or(Ok(()), |live| Err(("I3", format!("the swarm ends while {live} may still deliver"))))
    }
}

fn visible(writes: impl Iterator<Item = GlobalWrite>) -> Globals {
    writes.map(|write| (write.name, (write.blob, write.revision))).collect()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "drawn deadlines are a few seconds")]
fn ms(seconds: f64) -> u64 {
    (seconds * 1000.0) as u64
}
