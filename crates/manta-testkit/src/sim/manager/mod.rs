//! The manager's process: the real core on a simulated clock and disk, which may die between any two of its steps.
use std::collections::{BTreeSet, VecDeque};

use manta_engine::{Input, Now};
use manta_manager::orchestrator::{Core, Sealed};
use manta_types::{NodeName, Timestamp};

mod turn;

use super::World;
use super::bug::Bug;
use super::happening::{Asking, AtManager, Happening, Message};

/// The digest of every request: the same key always comes with the same one.
pub(crate) const REQUEST: &str = "digest of the request";
/// Where wall time begins.
const EPOCH_MS: u64 = 1_700_000_000_000;

/// The process of the manager.
#[derive(Debug)]
pub(crate) struct Manager {
    /// Counts its starts.
    pub(crate) run: u64,
    /// Nothing while it is down.
    pub(crate) core: Option<Core>,
    /// When it started; its monotonic clock begins at its origin then.
    started: u64,
    /// When its last turn began.
    began: u64,
    /// By how much its wall clock is wrong.
    pub(crate) wall_error: u64,
    pub(crate) inbox: VecDeque<Message>,
    pub(crate) heard: BTreeSet<NodeName>,
    /// The turn whose commit the disk is at.
    committing: Option<InFlight>,
    /// Tells the timer that counts from those that do not.
    timer: u64,
    pub(crate) stalled_until: u64,
    /// Attempts that were answered, for the bug that answers once.
    answered: BTreeSet<manta_types::AttemptId>,
}

/// A turn whose commit is under way.
struct InFlight(Sealed<Asking>);

impl std::fmt::Debug for InFlight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("InFlight").field(&self.0.transaction).finish_non_exhaustive()
    }
}

impl Manager {
    pub(crate) const fn new() -> Self {
        Self {
            run: 0,
            core: None,
            started: 0,
            began: 0,
            wall_error: 0,
            inbox: VecDeque::new(),
            heard: BTreeSet::new(),
            committing: None,
            timer: 0,
            stalled_until: 0,
            answered: BTreeSet::new(),
        }
    }

    /// Whether nothing is under way in it.
    pub(crate) fn is_idle(&self) -> bool {
        self.core.is_some() && self.committing.is_none() && self.inbox.is_empty() && self.heard.is_empty()
    }
}

impl World {
    /// The manager's clocks.
    pub(crate) fn clock(&self) -> Now {
        let wall_ms = EPOCH_MS.wrapping_add(self.now).wrapping_add(self.manager.wall_error);
        let since_start = match self.bug {
            Some(Bug::WallClock) => wall_ms.wrapping_sub(EPOCH_MS).wrapping_sub(self.manager.started),
            _ => self.now - self.manager.started,
        };
        let start = if self.bug == Some(Bug::FullDeadlines) { Timestamp::default() } else { Timestamp::START };
        Now { monotonic: Timestamp::from_ms(start.ms().wrapping_add(since_start)), wall_ms }
    }

    /// Its process starts on what the disk has.
    pub(crate) fn start_manager(&mut self) {
        self.manager.started = self.now;
        let (seed, fails) = (self.chance.number(), self.chance.permille(self.options.corrupt_read));
        let failing_read = if fails { self.chance.between(1, 6) } else { 0 };
        let now = self.clock();
        match self.disk.recover(now, seed, failing_read) {
            Ok(recovered) => {
                self.trace.line(self.now, || format!("manager starts, run {}", self.manager.run));
                self.checker.restarted(&mut self.disk);
                self.manager.core = Some(self.plant(Core::new(recovered, now)));
                self.wake_manager(self.now);
            }
            Err(error) if fails => {
                self.trace.line(self.now, || format!("manager refuses to start: {error}"));
                self.restart_manager();
            }
            Err(error) => self.checker.breaks("recovery", || format!("the manager cannot start: {error}")),
        }
    }

    fn plant(&self, mut core: Core) -> Core {
        core.bugs.no_forgiveness = self.bug == Some(Bug::NoForgiveness);
        core.bugs.forget_keys = self.bug == Some(Bug::ForgetKeys);
        core.bugs.forget_old_verdicts = self.bug == Some(Bug::ForgetOldVerdicts);
        core.bugs.retry_from_nothing = self.bug == Some(Bug::RetryFromNothing);
        core.engine_mut().plant(manta_engine::Bugs {
            accept_stale_attempts: matches!(self.bug, Some(Bug::NoFence | Bug::NoEngineFence)),
            trust_revoked: self.bug == Some(Bug::TrustRevoked),
            forget_parts: self.bug == Some(Bug::PurgeParts),
            await_revoked: self.bug == Some(Bug::AwaitRevoked),
            repin_running: self.bug == Some(Bug::RepinRunning),
            step_any_time: self.bug == Some(Bug::StepAnyTime),
            no_rescue: self.bug == Some(Bug::NoRescue),
        });
        core
    }

    /// Its process is gone; connections go with it.
    pub(crate) fn kill_manager(&mut self, why: &str) {
        self.trace.line(self.now, || format!("manager dies {why}"));
        self.crashes.manager += 1;
        let manager = &mut self.manager;
        (manager.core, manager.stalled_until) = (None, 0);
        manager.inbox.clear();
        manager.heard.clear();
        if let Some(InFlight(Sealed { transaction: Some(transaction), .. })) = self.manager.committing.take()
            && self.chance.one_in(2)
            && self.disk.commit(&transaction, None).is_ok()
        {
            // It reached the disk, and nobody was told.
            self.checker.durable(&transaction);
        }
        if self.chance.one_in(2) {
            self.disk.cut_power();
        }
        self.disk.sync();
        for link in self.links_of_manager() {
            self.end_session(link);
        }
        self.restart_manager();
    }

    fn restart_manager(&mut self) {
        self.manager.run += 1;
        let after = self.chance.pick(&[50, 500, 3_000, 8_000]);
        self.agenda.put(self.now + after, Happening::Manager(self.manager.run, AtManager::Start));
    }

    /// A point between two steps, where it may die.
    pub(crate) fn manager_dies(&mut self, point: &str) -> bool {
        let dies = self.chance.one_in(self.options.manager_crash);
        if dies {
            self.kill_manager(point);
        }
        dies
    }

    /// Wakes its service loop, where it sleeps.
    pub(crate) fn wake_manager(&mut self, at: u64) {
        if self.manager.core.is_some() && self.manager.committing.is_none() {
            self.manager.timer += 1;
            self.agenda.put(at, Happening::Manager(self.manager.run, AtManager::Wake(self.manager.timer)));
        }
    }

    /// Puts a message into its inbox.
    pub(crate) fn post(&mut self, message: Message) {
        self.manager.inbox.push_back(message);
        self.wake_manager(self.now);
    }

    /// What happens at the manager, unless it has died since.
    pub(crate) fn at_manager(&mut self, at: AtManager) {
        match at {
            AtManager::Start => self.start_manager(),
            AtManager::Wake(timer) if timer == self.manager.timer => self.turn(),
            AtManager::Wake(_) => {}
            AtManager::Committed => self.committed(),
            AtManager::Said(link, said) => self.hear(link, said),
            AtManager::Judged(input) => self.post(Message::Step(input)),
            AtManager::Noticed(link) => self.notice(link),
            AtManager::Asked(asked) => self.asked(asked),
            AtManager::Checked(submitter, new, spec) => self.post(Message::Submit(submitter, new, spec)),
            AtManager::NotMade(change, key) => self.post(Message::Change(change, key)),
            AtManager::Stored(asker, values) => self.stored(asker, values),
        }
    }

    /// All connections of the run that ends.
    fn links_of_manager(&self) -> Vec<u64> {
        let run = self.manager.run;
        self.links.iter().filter(|(_, link)| link.run == run && !link.is_gone).map(|(id, _)| *id).collect()
    }

    /// A report has been compared with the values that are stored.
    pub(crate) fn judged(&mut self, input: Input) {
        let at = self.now + self.chance.between(0, 20);
        self.agenda.put(at, Happening::Manager(self.manager.run, AtManager::Judged(Box::new(input))));
    }
}

/// A command in few words.
pub(crate) fn short(command: &manta_engine::Command) -> String {
    use manta_engine::Command as C;
    match command {
        C::Offer(offer) => {
            let task = &offer.spec.tasks[offer.task].alias;
            format!("offer {} epoch {}: {task} iteration {}", offer.attempt, offer.epoch, offer.iteration)
        }
        C::Cancel { attempt, epoch, reason, .. } => format!("cancel {attempt} epoch {epoch}: {reason}"),
        C::Verdict { attempt, epoch, accepted, reason, .. } => {
            format!("verdict {attempt} epoch {epoch} accepted {accepted}: {reason}")
        }
    }
}
