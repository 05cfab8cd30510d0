//! What this node has of attempts and what it owes for them: a pure state machine.
//!
//! [`Desk::step`] takes one [`Input`] and gives the [`Command`]s that follow. It touches no clock, thread, file or
//! socket; the agent carries its orders out, and so does the simulation. What it promises, whatever is repeated, late,
//! out of order or cut short by a restart:
//!
//! * An end is said only when its journal is on disk, and always in the same words.
//! * A report is forgotten only when the manager has answered it; what an accepted attempt kept is state by then.
//! * An attempt that was cancelled, or that ended, is not started again.
//! * An attempt is not started while an earlier one is here that changes the same state, or may yet: it would read what is about to
//!   change, and a journal that is found again after a crash would change it back.
//! * State is forgotten only when the manager says that nobody will read it again, and nothing here refers to it.
//! * When a restore undid the history, nothing goes on from it, and unanswered reports are kept for the operator.
mod ended;
mod forget;
mod stage;
mod words;

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::Arc;

use manta_types::{AttemptId, SwarmId};

use ended::Ended;
use forget::Forget;
pub use stage::{Change, Stage};
pub use words::{Attempt, Command, Held, Input, Journal, Left, Phase, Word};

/// Attempts that may wait here; a manager that keeps to the node's slots never comes near.
const WAITING_MAX: usize = 10_000;

/// Whose state an attempt reads and changes: the attempts of one lane run one after another. One whose journal has no state in it
/// leaves its lane when nothing but that journal is left of it.
type Lane = (SwarmId, String);

/// The attempts of one node. `W` is what the caller needs to start one.
#[derive(Debug)]
pub struct Desk<W> {
    slots: usize,
    entries: BTreeMap<AttemptId, Entry<W>>,
    /// Attempts that wait, in the order they came.
    line: VecDeque<AttemptId>,
    busy: usize,
    /// How many attempts of each lane are here and do not wait.
    lanes: BTreeMap<Lane, usize>,
    ended: Ended,
    /// Offers of attempts of which something from an undone history is still here.
    later: BTreeMap<AttemptId, (Attempt, W)>,
    forget: Forget,
    has_session: bool,
    /// The generation that the manager named last.
    generation: Option<u64>,
}

#[derive(Debug)]
struct Entry<W> {
    attempt: Attempt,
    stage: Stage,
    phase: Phase,
    /// Taken when it starts.
    work: Option<W>,
    /// There from its end on.
    journal: Option<Arc<Journal>>,
    /// Why the disk did not do what it was asked last.
    refused: Option<String>,
    /// Whether the disk is at work for it.
    asked: bool,
    /// Whether it belongs to a history that was undone.
    undone: bool,
}

impl<W> Desk<W> {
    /// A desk with so many slots, as an agent finds it when it starts: with the journals that were not answered.
    pub fn new(slots: NonZeroU32, journals: impl IntoIterator<Item = Arc<Journal>>) -> Self {
        let mut desk = Self {
            slots: slots.get() as usize,
            entries: BTreeMap::new(),
            line: VecDeque::new(),
            busy: 0,
            lanes: BTreeMap::new(),
            ended: Ended::default(),
            later: BTreeMap::new(),
            forget: Forget::default(),
            has_session: false,
            generation: None,
        };
        for journal in journals {
            let attempt = journal.attempt.clone();
            *desk.lanes.entry(lane(&attempt)).or_default() += 1;
            let entry = Entry { stage: Stage::Reported, journal: Some(journal), ..Entry::new(attempt, None) };
            desk.entries.insert(entry.attempt.id, entry);
        }
        desk
    }

    /// Goes on from where another program was, before anything happens here: attempts that run, each with how far it is, others that
    /// wait, and the generation that the manager named last.
    pub fn take_over(
        &mut self,
        running: impl IntoIterator<Item = (Attempt, Phase)>,
        waiting: impl IntoIterator<Item = (Attempt, W)>,
        generation: Option<u64>,
    ) {
        self.generation = generation;
        for (attempt, phase) in running {
            *self.lanes.entry(lane(&attempt)).or_default() += 1;
            self.busy += 1;
            let entry = Entry { stage: Stage::Running, phase, ..Entry::new(attempt, None) };
            self.entries.insert(entry.attempt.id, entry);
        }
        for (attempt, work) in waiting {
            self.line.push_back(attempt.id);
            self.entries.insert(attempt.id, Entry::new(attempt, Some(work)));
        }
    }

    /// Attempts that wait, in the order they came, with what they need to start.
    pub fn waiting(&self) -> impl Iterator<Item = (&Attempt, &W)> {
        let entries = self.line.iter().filter_map(|attempt| self.entries.get(attempt));
        entries.filter_map(|entry| Some((&entry.attempt, entry.work.as_ref()?)))
    }

    /// An attempt that runs and is wanted, with how far it is.
    pub fn running(&self, attempt: AttemptId) -> Option<(&Attempt, Phase)> {
        let entry = self.entries.get(&attempt).filter(|entry| entry.stage == Stage::Running)?;
        Some((&entry.attempt, entry.phase))
    }

    /// Takes what happened; answers what is to be done, in this order.
    pub fn step(&mut self, input: Input<W>) -> Vec<Command<W>> {
        let mut commands = Vec::new();
        let out = &mut commands;
        match input {
            Input::Offered { attempt, work } => self.offered(attempt, work, out),
            Input::Cancelled { attempt, epoch } => self.cancelled(attempt, epoch, out),
            Input::Answered { attempt, epoch, accepted } => self.answered(attempt, epoch, accepted, out),
            Input::StateUnneeded { swarm } => self.forget.want(swarm),
            Input::StateSettled { swarm } => self.forget.settle(swarm),
            Input::SessionBegan { generation } => self.begin_session(generation, out),
            Input::SessionEnded => self.has_session = false,
            Input::Entered { attempt, phase } => self.entered(attempt, phase, out),
            Input::Ended { attempt, left } => self.ended(attempt, left, out),
            Input::Written { attempt } => {
                self.change(attempt, Change::Write, out);
                self.say_end(attempt, out);
            }
            Input::Committed { attempt } => self.change(attempt, Change::Commit, out),
            Input::Removed { attempt } => self.change(attempt, Change::Remove, out),
            Input::DiskRefused { attempt, reason } => self.disk_refused(attempt, reason, out),
            Input::SayAgain => {
                self.entries.keys().copied().collect::<Vec<_>>().into_iter().for_each(|id| self.say_end(id, out));
            }
            Input::TryDisk => {
                let refused = self.entries.iter().filter(|(_, entry)| entry.refused.is_some() && !entry.asked);
                let again: Vec<AttemptId> = refused.map(|(attempt, _)| *attempt).collect();
                again.into_iter().for_each(|attempt| self.ask_disk(attempt, out));
            }
        }
        self.forget_due(out);
        self.start_due(out);
        commands
    }

    /// What this node has, for a manager that it introduces itself to.
    pub fn held(&self) -> Vec<Held> {
        let held = |entry: &Entry<W>| {
            let phase = match entry.stage {
                Stage::Waiting | Stage::Running | Stage::Writing => Some(entry.phase),
                Stage::Reported => None,
                // Killed, answered or undone: nothing of it can count any more.
                _ => return None,
            };
            let Attempt { id, epoch, generation, .. } = entry.attempt;
            Some(Held { attempt: id, epoch, generation, phase })
        };
        self.entries.values().filter_map(held).collect()
    }

    /// The cluster's generation, where this agent was told.
    pub fn generation(&self) -> Option<u64> {
        self.generation
    }

    /// How many attempts have a slot, and how many wait for one.
    pub fn counts(&self) -> (usize, usize) {
        (self.busy, self.line.len())
    }

    /// Where an attempt stands; nothing where this node has nothing of it.
    pub fn stage(&self, attempt: AttemptId) -> Option<Stage> {
        self.entries.get(&attempt).map(|entry| entry.stage)
    }

    /// Attempts that wait for the disk, with what it said last.
    pub fn waits_for_disk(&self) -> impl Iterator<Item = (&Attempt, &str)> {
        self.entries.values().filter_map(|entry| Some((&entry.attempt, entry.refused.as_deref()?)))
    }

    fn offered(&mut self, mut attempt: Attempt, work: W, out: &mut Vec<Command<W>>) {
        attempt.generation = self.generation;
        let (id, epoch) = (attempt.id, attempt.epoch);
        if self.ended.covers(id, epoch) {
            return;
        }
        match self.entries.get(&id) {
            None if self.line.len() < WAITING_MAX => {
                self.forget.keep(attempt.state_of);
                self.entries.insert(id, Entry::new(attempt, Some(work)));
                self.line.push_back(id);
                self.say_progress(id, out);
            }
            None => self.refuse(id, epoch, "too many attempts wait on this node".to_owned(), out),
            Some(entry) if entry.undone => drop(self.later.insert(id, (attempt, work))),
            Some(entry) if entry.attempt.epoch != epoch => {
                let reason = format!("this node has it under epoch {}", entry.attempt.epoch);
                self.refuse(id, epoch, reason, out);
            }
            Some(entry) if entry.stage == Stage::Reported => self.say_end(id, out),
            Some(_) => self.say_progress(id, out),
        }
    }

    fn cancelled(&mut self, attempt: AttemptId, epoch: u32, out: &mut Vec<Command<W>>) {
        let newer = self.entries.get(&attempt).is_some_and(|entry| entry.attempt.epoch > epoch);
        // A report that may have been said is left to its answer: the manager may have accepted it before it said this.
        if newer || self.stage(attempt) == Some(Stage::Reported) {
            return;
        }
        self.ended.add(attempt, epoch);
        self.later.remove(&attempt);
        self.change(attempt, Change::Withdraw, out);
        self.drop_unwritten(attempt, out);
    }

    fn answered(&mut self, attempt: AttemptId, epoch: u32, accepted: bool, out: &mut Vec<Command<W>>) {
        let Some(entry) = self.entries.get(&attempt).filter(|entry| entry.attempt.epoch == epoch) else { return };
        if entry.stage != Stage::Reported {
            return;
        }
        let changes_state = entry.changes_state();
        self.ended.add(attempt, epoch);
        self.change(attempt, if accepted && changes_state { Change::Accept } else { Change::Settle }, out);
    }

    fn begin_session(&mut self, generation: Option<u64>, out: &mut Vec<Command<W>>) {
        if let Some(generation) = generation {
            if self.generation.replace(generation) != Some(generation) {
                self.ended.clear();
                self.later.clear();
                self.forget.clear();
            }
            self.undo_others(generation, out);
        }
        self.has_session = true;
        for attempt in self.entries.keys().copied().collect::<Vec<_>>() {
            match self.stage(attempt) {
                Some(Stage::Waiting | Stage::Running | Stage::Writing) => self.say_progress(attempt, out),
                _ => self.say_end(attempt, out),
            }
        }
    }

    /// Ends what belongs to another generation than this.
    fn undo_others(&mut self, generation: u64, out: &mut Vec<Command<W>>) {
        for attempt in self.entries.keys().copied().collect::<Vec<_>>() {
            let entry = self.entries.get_mut(&attempt).expect("nothing leaves but in its own turn");
            if entry.attempt.generation.is_some_and(|own| own != generation) {
                entry.undone = true;
                self.change(attempt, Change::Undo, out);
                self.drop_unwritten(attempt, out);
            }
        }
    }

    /// A journal that is no longer wanted and that the disk has refused is not asked for again.
    fn drop_unwritten(&mut self, attempt: AttemptId, out: &mut Vec<Command<W>>) {
        let idle = |entry: &&Entry<W>| entry.stage == Stage::Unwanted && !entry.asked;
        if self.entries.get(&attempt).filter(idle).is_some() {
            self.change(attempt, Change::Refuse, out);
        }
    }

    fn entered(&mut self, attempt: AttemptId, phase: Phase, out: &mut Vec<Command<W>>) {
        if let Some(entry) = self.entries.get_mut(&attempt).filter(|entry| entry.stage == Stage::Running) {
            entry.phase = phase;
            self.say_progress(attempt, out);
        }
    }

    fn ended(&mut self, attempt: AttemptId, left: Option<Box<Left>>, out: &mut Vec<Command<W>>) {
        let change = if left.is_some() { Change::Report } else { Change::Vanish };
        if let Some(entry) = self.entries.get_mut(&attempt).filter(|entry| entry.stage == Stage::Running) {
            let journal = |left: Box<Left>| Journal { attempt: entry.attempt.clone(), left: *left };
            entry.journal = left.map(journal).map(Arc::new);
            // What was published is stored, or there was nothing to store.
            entry.phase = Phase::Uploading;
        }
        self.change(attempt, change, out);
    }

    fn disk_refused(&mut self, attempt: AttemptId, reason: String, out: &mut Vec<Command<W>>) {
        let Some(entry) = self.entries.get_mut(&attempt) else { return };
        (entry.asked, entry.refused) = (false, Some(reason));
        self.change(attempt, Change::Refuse, out);
    }

    /// Has the state forgotten that nobody needs and nothing here refers to.
    fn forget_due(&mut self, out: &mut Vec<Command<W>>) {
        if self.forget.waits() {
            let here = self.entries.values().map(|entry| &entry.attempt);
            let later = self.later.values().map(|(attempt, _)| attempt);
            let referred = here.chain(later).map(|attempt| attempt.state_of).collect();
            out.extend(self.forget.take(&referred).map(|swarm| Command::ForgetState { swarm }));
        }
    }

    /// Starts what there are slots for, in the order it came; what keeps the state of another attempt lets others pass.
    fn start_due(&mut self, out: &mut Vec<Command<W>>) {
        let mut next = 0;
        while self.busy < self.slots
            && let Some(attempt) = self.line.get(next).copied()
        {
            let entry = self.entries.get_mut(&attempt).expect("what stands in line is here");
            if self.lanes.contains_key(&lane(&entry.attempt)) || self.forget.is_at(entry.attempt.state_of) {
                next += 1;
                continue;
            }
            let work = entry.work.take().expect("what waits was not started");
            out.push(Command::StartAttempt { attempt: entry.attempt.clone(), work });
            self.change(attempt, Change::Start, out);
        }
    }

    /// The one place where an attempt's stage changes, with all that follows from where it stands then.
    fn change(&mut self, attempt: AttemptId, change: Change, out: &mut Vec<Command<W>>) {
        let Some(entry) = self.entries.get_mut(&attempt) else { return };
        let (before, Some(after)) = (entry.stage, entry.stage.next(change)) else { return };
        let had_lane = entry.has_lane();
        (entry.stage, entry.refused) = (after, None);
        let has_lane = entry.has_lane();
        let lane = lane(&entry.attempt);
        match (before.has_slot(), after.has_slot()) {
            (false, true) => self.busy += 1,
            (true, false) => self.busy -= 1,
            _ => {}
        }
        match (had_lane, has_lane) {
            (false, true) => *self.lanes.entry(lane).or_default() += 1,
            (true, false) => self.leave_lane(&lane),
            _ => {}
        }
        if before == Stage::Waiting {
            self.line.retain(|waiting| *waiting != attempt);
        }
        match after {
            Stage::Stopping => out.push(Command::KillAttempt { attempt }),
            Stage::Gone => self.leave(attempt, out),
            // The disk is still at work for the stage before.
            Stage::Unwanted => {}
            Stage::Writing | Stage::Reported | Stage::Committing | Stage::Removing | Stage::SettingAside => {
                self.ask_disk(attempt, out);
            }
            Stage::Waiting | Stage::Running => {}
        }
    }

    fn leave_lane(&mut self, lane: &Lane) {
        let count = self.lanes.get_mut(lane).expect("what left the lane was in it");
        *count -= 1;
        if *count == 0 {
            self.lanes.remove(lane);
        }
    }

    fn leave(&mut self, attempt: AttemptId, out: &mut Vec<Command<W>>) {
        self.entries.remove(&attempt);
        if let Some((attempt, work)) = self.later.remove(&attempt) {
            self.offered(attempt, work, out);
        }
    }

    /// Gives the disk the order that belongs to where an attempt stands.
    fn ask_disk(&mut self, attempt: AttemptId, out: &mut Vec<Command<W>>) {
        let Some(entry) = self.entries.get_mut(&attempt) else { return };
        entry.asked = true;
        let journal = || Arc::clone(entry.journal.as_ref().expect("what has ended with a report has a journal"));
        out.push(match entry.stage {
            Stage::Writing => Command::WriteJournal(journal()),
            Stage::Committing => Command::CommitState(journal()),
            Stage::Removing => Command::RemoveJournal { attempt },
            Stage::SettingAside => {
                let generation = entry.attempt.generation.expect("what belongs to no generation is never undone");
                Command::SetAsideJournal { attempt, generation }
            }
            Stage::Waiting | Stage::Running | Stage::Stopping | Stage::Unwanted | Stage::Reported | Stage::Gone => {
                entry.asked = false;
                return;
            }
        });
    }

    fn say_progress(&self, attempt: AttemptId, out: &mut Vec<Command<W>>) {
        let Some(entry) = self.entries.get(&attempt).filter(|_| self.has_session) else { return };
        if matches!(entry.stage, Stage::Waiting | Stage::Running | Stage::Writing) {
            let epoch = entry.attempt.epoch;
            out.push(Command::Say(Word::Progress { attempt, epoch, phase: entry.phase }));
        }
    }

    fn say_end(&self, attempt: AttemptId, out: &mut Vec<Command<W>>) {
        let Some(entry) = self.entries.get(&attempt).filter(|_| self.has_session) else { return };
        if let (Stage::Reported, Some(journal)) = (entry.stage, &entry.journal) {
            out.push(Command::Say(Word::Finished(Arc::clone(journal))));
        }
    }

    fn refuse(&self, attempt: AttemptId, epoch: u32, reason: String, out: &mut Vec<Command<W>>) {
        if self.has_session {
            out.push(Command::Say(Word::Refused { attempt, epoch, reason }));
        }
    }
}

impl<W> Entry<W> {
    /// Whether the next attempt that keeps the same state has to wait for it.
    fn has_lane(&self) -> bool {
        self.stage.has_lane() && (self.stage != Stage::Removing || self.changes_state())
    }

    /// Whether it has ended with something that is to become state.
    fn changes_state(&self) -> bool {
        self.journal.as_ref().is_some_and(|journal| !journal.left.state.is_empty())
    }

    fn new(attempt: Attempt, work: Option<W>) -> Self {
        Self {
            attempt,
            stage: Stage::Waiting,
            phase: Phase::Preparing,
            work,
            journal: None,
            refused: None,
            asked: false,
            undone: false,
        }
    }
}

fn lane(attempt: &Attempt) -> Lane {
    (attempt.state_of, attempt.task.clone())
}

#[cfg(test)]
mod tests;
