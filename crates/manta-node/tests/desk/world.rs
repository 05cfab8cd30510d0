//! A manager, a disk and a process around one desk, all of them models, with every promise checked at each step.
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU32;
use std::sync::Arc;

use manta_api::node::AttemptFinished;
use manta_node::desk::{Attempt, Command, Desk, Input, Journal, Left, Phase, Stage, Word};
use manta_types::{AttemptId, Blob, Digest, SwarmId};

/// Attempts that the node runs at once.
const SLOTS: u32 = 2;
/// Tasks that the manager offers; each keeps state on the node.
const TASKS: u32 = 3;

/// What the manager says.
#[derive(Debug, Clone)]
enum Said {
    Offer(Attempt),
    Cancel(AttemptId),
    Verdict(AttemptId, bool),
    Unneeded(SwarmId),
}

/// What the manager knows of an attempt: live, or how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Live,
    Accepted,
    Over,
}

/// Everything around the desk.
pub(crate) struct World {
    desk: Desk<()>,
    generation: u64,
    // The manager.
    offered: Vec<Attempt>,
    /// The number of the swarm that runs, and those that nobody will read the state of.
    swarm: u128,
    over: BTreeSet<SwarmId>,
    known: BTreeMap<AttemptId, Known>,
    /// Messages of the session on their way to the node; empty while there is none.
    inbound: VecDeque<Said>,
    session: bool,
    // The disk: what is synced.
    journals: BTreeMap<AttemptId, Arc<Journal>>,
    set_aside: BTreeSet<AttemptId>,
    /// For each task of each swarm, whose state it is.
    state: BTreeMap<(SwarmId, String), Vec<AttemptId>>,
    // The process: what it is at, gone when it dies.
    orders: Vec<Command<()>>,
    running: BTreeMap<AttemptId, Attempt>,
    killed: BTreeSet<AttemptId>,
    learnt_over: BTreeSet<AttemptId>,
    // What was said and answered, in all processes.
    said: BTreeMap<AttemptId, AttemptFinished>,
    answered: BTreeMap<AttemptId, bool>,
    /// Attempts that a restore made live again: their state may have been kept in the history that was undone.
    again: BTreeSet<AttemptId>,
    draws: u64,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            desk: Desk::new(NonZeroU32::new(SLOTS).unwrap(), []),
            generation: 1,
            offered: Vec::new(),
            swarm: 1,
            over: BTreeSet::new(),
            known: BTreeMap::new(),
            inbound: VecDeque::new(),
            session: false,
            journals: BTreeMap::new(),
            set_aside: BTreeSet::new(),
            state: BTreeMap::new(),
            orders: Vec::new(),
            running: BTreeMap::new(),
            killed: BTreeSet::new(),
            learnt_over: BTreeSet::new(),
            said: BTreeMap::new(),
            answered: BTreeMap::new(),
            again: BTreeSet::new(),
            draws: 0,
        }
    }

    /// One thing happens: which, and to what, is in the number.
    pub(crate) fn happens(&mut self, choice: u16) {
        let pick = usize::from(choice / 16);
        match choice % 16 {
            0 | 1 => self.offer(pick),
            2..=5 => self.deliver(0),
            6 => self.deliver(pick),
            7 => self.repeat(pick),
            8 => self.cancel(pick),
            9 | 10 => self.end_one(pick),
            11 | 12 => self.disk_does(pick),
            13 => self.disk_refuses(pick),
            14 if pick.is_multiple_of(2) => self.connect(),
            14 => self.cut(),
            _ if pick.is_multiple_of(16) => self.restore(pick),
            _ if pick.is_multiple_of(3) => self.dies(pick),
            _ if pick.is_multiple_of(5) => self.step(Input::SayAgain),
            _ if pick.is_multiple_of(7) => self.swarm_ends(),
            _ if pick.is_multiple_of(11) => self.answer_kept(),
            _ => self.step(Input::TryDisk),
        }
    }

    /// Nothing goes wrong any more: everything must come to its end, and hold.
    pub(crate) fn settles(&mut self) {
        self.comes_to_rest();
        // What became state of a swarm that is over is named at the next session.
        self.comes_to_rest();
        assert!(self.inbound.is_empty() && self.orders.is_empty() && self.running.is_empty(), "work is left");
        assert_eq!((self.desk.held(), self.desk.counts()), (vec![], (0, 0)), "the desk is empty");
        assert!(self.journals.is_empty(), "every journal was answered: {:?}", self.journals.keys());
        for (attempt, known) in &self.known {
            let swarm = self.offered.iter().find(|one| one.id == *attempt).unwrap().state_of;
            let kept = self.state.values().flatten().any(|kept| kept == attempt);
            if self.over.contains(&swarm) {
                assert!(!kept, "{attempt}: its state is kept though nobody will read it");
                continue;
            }
            let undone = self.set_aside.contains(attempt) || self.again.contains(attempt);
            assert!(kept == (*known == Known::Accepted) || undone, "{attempt} is {known:?}, kept: {kept}");
        }
    }

    fn comes_to_rest(&mut self) {
        self.connect();
        for _ in 0..10_000 {
            if !self.session {
                self.connect();
            }
            if !self.inbound.is_empty() {
                self.deliver(0);
            } else if !self.orders.is_empty() {
                self.disk_does(0);
            } else if !self.running.is_empty() {
                self.end_one(0);
            } else if self.desk.waits_for_disk().next().is_some() {
                self.step(Input::TryDisk);
            } else {
                break;
            }
        }
    }

    fn step(&mut self, input: Input<()>) {
        for command in self.desk.step(input) {
            self.check(&command);
            match command {
                Command::Say(word) => self.hears(word),
                Command::StartAttempt { attempt, .. } => drop(self.running.insert(attempt.id, attempt)),
                Command::KillAttempt { attempt } => drop(self.killed.insert(attempt)),
                order => self.orders.push(order),
            }
        }
        let at_work = self.running.len();
        assert!(at_work <= SLOTS as usize, "{at_work} attempts run in {SLOTS} slots");
    }

    /// The promises, at the moment when an order is given.
    fn check(&self, command: &Command<()>) {
        match command {
            Command::Say(Word::Finished(journal)) => {
                let attempt = journal.attempt.id;
                assert!(self.journals.contains_key(&attempt), "{attempt} is said before its journal is on disk");
                let before = self.said.get(&attempt);
                assert!(before.is_none_or(|before| *before == journal.left.report), "{attempt} has two ends");
            }
            Command::StartAttempt { attempt, .. } => {
                let id = attempt.id;
                assert!(!self.learnt_over.contains(&id), "{id} starts though this process learnt that it is over");
                let same = |other: &Attempt| {
                    other.id != id && (other.state_of, &other.task) == (attempt.state_of, &attempt.task)
                };
                assert!(!self.running.values().any(same), "{id} runs beside an attempt that keeps the same state");
                // A journal that says nothing of state may still be on its way out.
                let goes = |journal: &Journal| {
                    let other = journal.attempt.id;
                    let is_over = self.answered.contains_key(&other) || !self.said.contains_key(&other);
                    is_over && journal.left.state.is_empty() && self.desk.stage(other) == Some(Stage::Removing)
                };
                let reported = self.journals.values().find(|journal| same(&journal.attempt) && !goes(journal));
                assert!(reported.is_none(), "{id} starts beside the report of {reported:?}");
                let writes = |order: &Command<()>| matches!(order, Command::WriteJournal(j) if same(&j.attempt));
                assert!(!self.orders.iter().any(writes), "{id} starts beside a journal that is being written");
                let forgets = Command::ForgetState { swarm: attempt.state_of };
                assert!(!self.orders.contains(&forgets), "{id} starts while the state that it reads is removed");
            }
            Command::CommitState(journal) => {
                let attempt = journal.attempt.id;
                let accepted = self.answered.get(&attempt) == Some(&true);
                assert!(accepted || self.again.contains(&attempt), "{attempt} was not accepted");
            }
            Command::RemoveJournal { attempt } => {
                let answer = self.answered.get(attempt);
                assert!(answer.is_some() || !self.said.contains_key(attempt), "{attempt} was said and not answered");
                let journal = self.journals.get(attempt);
                if let (Some(true), Some(journal)) = (answer, journal) {
                    let kept = self.state.get(&lane(&journal.attempt)).and_then(|kept| kept.last());
                    assert_eq!(kept, Some(attempt), "an accepted attempt is forgotten before its state is kept");
                }
            }
            Command::SetAsideJournal { attempt, generation } => {
                assert!(*generation < self.generation && self.journals.contains_key(attempt));
            }
            Command::ForgetState { swarm } => {
                let knows = self.desk.generation() == Some(self.generation);
                assert!(!knows || self.over.contains(swarm), "{swarm} is not over");
                let runs = self.running.values().any(|attempt| attempt.state_of == *swarm);
                let reported = self.journals.values().any(|journal| journal.attempt.state_of == *swarm);
                assert!(!runs && !reported, "the state of {swarm} goes while something refers to it");
            }
            Command::WriteJournal(_) | Command::KillAttempt { .. } => {}
            Command::Say(Word::Progress { .. } | Word::Refused { .. }) => assert!(self.session),
        }
    }

    /// The manager hears a message.
    fn hears(&mut self, word: Word) {
        let Word::Finished(journal) = word else { return };
        let attempt = journal.attempt.id;
        self.said.insert(attempt, journal.left.report.clone());
        let known = self.known.get_mut(&attempt);
        let accepted = match known {
            Some(known @ Known::Live) => {
                *known = if journal.left.report.failure.is_none() { Known::Accepted } else { Known::Over };
                *known == Known::Accepted
            }
            Some(known) => *known == Known::Accepted,
            None => false,
        };
        self.inbound.push_back(Said::Verdict(attempt, accepted));
    }

    /// The next attempt at a task, if none is live: the manager gives a task one attempt at a time.
    fn offer(&mut self, pick: usize) {
        let task = (u32::try_from(pick).unwrap() % TASKS).to_string();
        if self.offered.iter().any(|one| one.task == task && self.known[&one.id] == Known::Live) {
            return;
        }
        self.draws += 1;
        let swarm = SwarmId::from_uuid(uuid::Uuid::from_u128(self.swarm));
        let id = AttemptId::from_uuid(uuid::Uuid::from_u128(u128::from(self.draws)));
        let iteration = u32::try_from(self.draws).unwrap();
        let attempt = Attempt { id, epoch: 1, swarm, state_of: swarm, task, iteration, generation: None };
        self.known.insert(attempt.id, Known::Live);
        self.offered.push(attempt.clone());
        if self.session {
            self.inbound.push_back(Said::Offer(attempt));
        }
    }

    /// The node takes a message; others may overtake it.
    fn deliver(&mut self, pick: usize) {
        let Some(said) = (!self.inbound.is_empty()).then(|| self.inbound.remove(pick % self.inbound.len())).flatten()
        else {
            return;
        };
        self.take(said);
    }

    fn take(&mut self, said: Said) {
        match said {
            Said::Offer(attempt) => self.step(Input::Offered { attempt, work: () }),
            Said::Cancel(attempt) => {
                // A report is left to its answer, so what was said does not end here.
                self.learnt_over.insert(attempt);
                self.step(Input::Cancelled { attempt, epoch: 1 });
            }
            Said::Unneeded(swarm) => self.step(Input::StateUnneeded { swarm }),
            Said::Verdict(attempt, accepted) => {
                self.learnt_over.insert(attempt);
                if self.journals.contains_key(&attempt) {
                    self.answered.entry(attempt).or_insert(accepted);
                }
                self.step(Input::Answered { attempt, epoch: 1, accepted });
            }
        }
    }

    /// A message comes twice.
    fn repeat(&mut self, pick: usize) {
        if !self.inbound.is_empty() {
            let again = self.inbound[pick % self.inbound.len()].clone();
            self.inbound.push_back(again);
        }
    }

    fn cancel(&mut self, pick: usize) {
        let live = self.known.iter().filter(|(_, known)| **known == Known::Live).map(|(attempt, _)| *attempt);
        let live: Vec<_> = live.collect();
        if let Some(attempt) = (!live.is_empty()).then(|| live[pick % live.len()]) {
            self.known.insert(attempt, Known::Over);
            if self.session {
                self.inbound.push_back(Said::Cancel(attempt));
            }
        }
    }

    /// What runs comes to an end; how is drawn anew for every run.
    fn end_one(&mut self, pick: usize) {
        let Some(id) = (!self.running.is_empty()).then(|| *self.running.keys().nth(pick % self.running.len()).unwrap())
        else {
            return;
        };
        self.running.remove(&id);
        self.step(Input::Entered { attempt: id, phase: Phase::Running });
        self.draws += 1;
        if self.killed.remove(&id) {
            self.step(Input::Ended { attempt: id, left: None });
            return;
        }
        let failed = self.draws.is_multiple_of(5);
        let (attempt_text, timings) =
            (id.to_string(), manta_api::node::Timings { run_ms: self.draws, ..<_>::default() });
        let report = AttemptFinished {
            attempt: attempt_text,
            epoch: 1,
            timings: Some(timings),
            failure: failed.then(<_>::default),
            ..AttemptFinished::default()
        };
        let blob = Blob { digest: Digest::from_bytes([1; 32]), size: 1 };
        let state = (!failed).then(|| ("momentum".to_owned(), blob)).into_iter().collect();
        self.step(Input::Ended { attempt: id, left: Some(Box::new(Left { report, state })) });
    }

    fn disk_does(&mut self, pick: usize) {
        if self.orders.is_empty() {
            return;
        }
        let order = self.orders.remove(pick % self.orders.len());
        let told = self.carry_out(&order);
        self.step(told);
    }

    /// The effect of an order on the disk, and what the desk is told of it.
    fn carry_out(&mut self, order: &Command<()>) -> Input<()> {
        match order {
            Command::WriteJournal(journal) => {
                let attempt = journal.attempt.id;
                self.journals.insert(attempt, Arc::clone(journal));
                Input::Written { attempt }
            }
            Command::CommitState(journal) => {
                let attempt = journal.attempt.id;
                let kept = self.state.entry(lane(&journal.attempt)).or_default();
                if kept.last() != Some(&attempt) {
                    let undone = self.again.contains(&attempt);
                    assert!(undone || !kept.contains(&attempt), "{attempt} takes state back");
                    kept.push(attempt);
                }
                Input::Committed { attempt }
            }
            Command::RemoveJournal { attempt } => {
                self.journals.remove(attempt);
                Input::Removed { attempt: *attempt }
            }
            Command::SetAsideJournal { attempt, .. } => {
                self.journals.remove(attempt);
                self.set_aside.insert(*attempt);
                Input::Removed { attempt: *attempt }
            }
            Command::ForgetState { swarm } => {
                self.state.retain(|(state_of, _), _| state_of != swarm);
                Input::StateSettled { swarm: *swarm }
            }
            other => unreachable!("no order for the disk: {other:?}"),
        }
    }

    fn disk_refuses(&mut self, pick: usize) {
        if self.orders.is_empty() {
            return;
        }
        let at = pick % self.orders.len();
        let reason = "no space".to_owned();
        let told = match self.orders.remove(at) {
            Command::WriteJournal(journal) | Command::CommitState(journal) => {
                Input::DiskRefused { attempt: journal.attempt.id, reason }
            }
            Command::RemoveJournal { attempt } | Command::SetAsideJournal { attempt, .. } => {
                Input::DiskRefused { attempt, reason }
            }
            Command::ForgetState { swarm } => Input::StateSettled { swarm },
            other => unreachable!("no order for the disk: {other:?}"),
        };
        self.step(told);
    }

    fn cut(&mut self) {
        self.session = false;
        self.inbound.clear();
        self.step(Input::SessionEnded);
    }

    /// The node introduces itself; the manager says again what it has for it.
    fn connect(&mut self) {
        self.cut();
        let current = self.desk.held().into_iter().filter(|held| held.generation == Some(self.generation));
        let held: BTreeSet<_> = current.map(|held| held.attempt).collect();
        self.session = true;
        for attempt in self.offered.clone() {
            match (self.known[&attempt.id], held.contains(&attempt.id)) {
                (Known::Live, false) => self.inbound.push_back(Said::Offer(attempt)),
                (Known::Accepted | Known::Over, true) => self.inbound.push_back(Said::Cancel(attempt.id)),
                _ => {}
            }
        }
        self.step(Input::SessionBegan { generation: Some(self.generation) });
        self.answer_kept();
    }

    /// The node names the swarms whose state it keeps; the manager says which of them are over.
    fn answer_kept(&mut self) {
        let kept: BTreeSet<SwarmId> = self.state.keys().map(|(swarm, _)| *swarm).collect();
        let unneeded = kept.intersection(&self.over).copied().map(Said::Unneeded);
        if self.session {
            self.inbound.extend(unneeded);
        }
    }

    /// The swarm that runs ends with all its attempts, and another one begins.
    fn swarm_ends(&mut self) {
        let swarm = SwarmId::from_uuid(uuid::Uuid::from_u128(self.swarm));
        for attempt in self.offered.iter().filter(|attempt| attempt.state_of == swarm) {
            if self.known[&attempt.id] == Known::Live {
                self.known.insert(attempt.id, Known::Over);
                if self.session {
                    self.inbound.push_back(Said::Cancel(attempt.id));
                }
            }
        }
        self.over.insert(swarm);
        self.swarm += 1;
    }

    /// The agent dies: what it was at is gone, or was done just before; what is on disk stays.
    fn dies(&mut self, pick: usize) {
        let done = pick % (self.orders.len() + 1);
        for order in std::mem::take(&mut self.orders).into_iter().take(done) {
            self.carry_out(&order);
        }
        self.running.clear();
        self.killed.clear();
        self.learnt_over.clear();
        self.session = false;
        self.inbound.clear();
        let journals: Vec<_> = self.journals.values().cloned().collect();
        self.desk = Desk::new(NonZeroU32::new(SLOTS).unwrap(), journals);
    }

    /// The manager is restored, and calls that a new generation: what came after the backup never happened, and what
    /// ended since is live again. Values that the node kept as state since then stay, as they do for real.
    fn restore(&mut self, pick: usize) {
        self.cut();
        self.generation += 1;
        let kept = self.offered.len() / 2;
        for attempt in self.offered.split_off(kept) {
            self.known.remove(&attempt.id);
        }
        if let Some(attempt) = self.offered.get(pick % kept.max(1)) {
            let id = attempt.id;
            if self.over.remove(&attempt.state_of) {
                // What was forgotten in the history that was undone stays so.
                let revived = self.offered.iter().filter(|one| one.state_of == attempt.state_of);
                self.again.extend(revived.map(|one| one.id));
            }
            self.known.insert(id, Known::Live);
            self.said.remove(&id);
            self.answered.remove(&id);
            self.learnt_over.remove(&id);
            self.again.insert(id);
        }
    }
}

fn lane(attempt: &Attempt) -> (SwarmId, String) {
    (attempt.state_of, attempt.task.clone())
}
