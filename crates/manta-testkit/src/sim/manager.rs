//! The manager's process: the real core on a simulated clock and disk, which may die between any two of its steps.
use std::collections::{BTreeSet, VecDeque};

use manta_engine::{Input, Now};
use manta_manager::orchestrator::{Core, Effect, Sealed, SessionId};
use manta_store::{CommitError, StateStore};
use manta_types::{NodeName, Timestamp};

use super::World;
use super::bug::Bug;
use super::disk::Failing;
use super::happening::{Answer, Asking, AtManager, Found, Happening, Message, Order, Told, Waiter};

/// Where wall time begins.
const EPOCH_MS: u64 = 1_700_000_000_000;

/// The process of the manager.
#[derive(Debug)]
pub(crate) struct Manager {
    /// Counts its starts.
    pub(crate) run: u64,
    /// Nothing while it is down.
    pub(crate) core: Option<Core>,
    /// When it started; its monotonic clock begins at 0 then.
    started: u64,
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
        let monotonic = match self.bug {
            Some(Bug::WallClock) => wall_ms.wrapping_sub(EPOCH_MS).wrapping_sub(self.manager.started),
            _ => self.now - self.manager.started,
        };
        Now { monotonic: Timestamp::from_ms(monotonic), wall_ms }
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
        core.engine_mut().accept_stale_attempts = matches!(self.bug, Some(Bug::NoFence | Bug::NoEngineFence));
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
    fn manager_dies(&mut self, point: &str) -> bool {
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
            AtManager::Judged(input) => self.post(Message::Step(input, Waiter::Nobody)),
            AtManager::Noticed(link) => self.notice(link),
            AtManager::Asked(asked) => self.asked(asked),
            AtManager::Checked(user, new, spec) => self.post(Message::Submit(user, new, spec)),
        }
    }

    fn turn(&mut self) {
        let now = self.clock();
        let Some(core) = &mut self.manager.core else { return };
        let mut turn = core.begin(now);
        core.hear(std::mem::take(&mut self.manager.heard), &mut turn);
        while let Some(message) = self.manager.inbox.pop_front() {
            match message {
                Message::Submit(user, new, spec) => core.submit(*new, spec, user, &mut turn),
                Message::Connect(link, joining) => {
                    let name = joining.name.clone();
                    let former = core.session_of(&name);
                    if let Some(former) = former.filter(|former| self.links[&former.0].is_gone) {
                        core.close(&name, former);
                    }
                    core.connect(*joining, (name, link), &mut turn);
                }
                Message::Disconnect(node, session) => {
                    core.disconnect(node, session, &mut turn);
                }
                Message::Leave(node, session) => {
                    core.leave(node, session, "the agent was stopped".to_owned(), &mut turn);
                }
                Message::Step(input, waiter) => core.step(*input, waiter, &mut turn),
                Message::Inputs { node, life, attempt } => {
                    let inputs = core.engine().inputs(attempt).map(Box::new);
                    turn.tell(Found::Inputs { node, life, attempt, inputs });
                }
                Message::Look(swarm) => {
                    if let Some(found) = core.engine().swarm(swarm) {
                        let seq = found.seq();
                        turn.tell(Found::Seen { swarm, seq });
                    }
                }
            }
        }
        let sealed = core.seal(turn);
        self.commit(sealed);
    }

    fn commit(&mut self, mut sealed: Sealed<Asking>) {
        if self.manager_dies("before its commit") {
            return;
        }
        let Some(transaction) = &mut sealed.transaction else {
            self.let_all_know(sealed.effects);
            return;
        };
        if self.bug == Some(Bug::ForgetDuties) {
            for node in &mut transaction.nodes {
                (node.duty, node.drain_left_ms) = (manta_types::NodeDuty::Active, None);
            }
        }
        let early = match self.bug {
            Some(Bug::AcknowledgeBeforeSync) => std::mem::take(&mut sealed.effects),
            Some(Bug::SendBeforeSync) => {
                let is_command = |effect: &Effect<Asking>| matches!(effect, Effect::Send { .. });
                let (early, late) = std::mem::take(&mut sealed.effects).into_iter().partition(is_command);
                sealed.effects = late;
                early
            }
            _ => Vec::new(),
        };
        self.manager.committing = Some(InFlight(sealed));
        let run = self.manager.run;
        if !self.let_know(early) {
            return;
        }
        let slow = self.chance.permille(self.options.slow_disk);
        let takes = if slow { self.chance.between(500, 6_000) } else { self.chance.between(0, 6) };
        self.agenda.put(self.now + takes, Happening::Manager(run, AtManager::Committed));
    }

    fn committed(&mut self) {
        if self.manager_dies("while the disk commits") {
            return;
        }
        let Some(InFlight(sealed)) = self.manager.committing.take() else { return };
        let transaction = sealed.transaction.expect("only what changes something is committed");
        let full = self.now < self.disk.full_until;
        let fails = if full {
            Some(Failing::Before)
        } else if self.chance.permille(self.options.failing_disk) {
            Some(self.chance.pick(&[Failing::Before, Failing::After]))
        } else {
            None
        };
        self.trace.line(self.now, || {
            let kinds = transaction.events.iter().map(|event| event.what.kind());
            format!("manager commits {:?}", kinds.collect::<Vec<_>>())
        });
        match self.disk.commit(&transaction, fails) {
            Ok(()) => self.checker.durable(&transaction),
            Err(CommitError::Store(error)) => {
                if fails == Some(Failing::After) {
                    self.checker.durable(&transaction);
                }
                if self.bug != Some(Bug::IgnoreFailedCommit) {
                    self.kill_manager(&format!("of a failed commit: {error}"));
                    return;
                }
            }
            Err(error) => {
                self.checker.breaks("store", || format!("the store refuses what the manager decided: {error}"));
                return;
            }
        }
        if !self.manager_dies("after its commit") {
            self.let_all_know(sealed.effects);
        }
    }

    /// Lets everything be known, and sleeps.
    fn let_all_know(&mut self, effects: Vec<Effect<Asking>>) {
        if !self.let_know(effects) {
            return;
        }
        if let Some(core) = &self.manager.core {
            self.checker.settled(core, &mut self.disk);
        }
        let now = self.clock();
        let Some(core) = &mut self.manager.core else { return };
        let sleep = u64::try_from(core.rest(now).as_millis()).unwrap_or(u64::MAX);
        let waits = !(self.manager.inbox.is_empty() && self.manager.heard.is_empty());
        self.wake_manager(self.now + if waits { 0 } else { sleep });
    }

    /// Lets effects be known one by one; false where it died in between.
    fn let_know(&mut self, effects: Vec<Effect<Asking>>) -> bool {
        for effect in effects {
            self.release(effect);
            if self.manager_dies("between two effects") {
                return false;
            }
        }
        true
    }

    fn release(&mut self, effect: Effect<Asking>) {
        match effect {
            Effect::News { swarm, seq } => self.checker.shown(swarm, seq),
            Effect::Submitted { asker, outcome } => self.submitted(asker, outcome),
            Effect::Connected { asker: (name, link), outcome } => self.connected(&name, link, outcome),
            Effect::Changed { asker, .. } => match asker {},
            Effect::Done(Waiter::Nobody) => {}
            Effect::Done(Waiter::User(order)) => self.ordered(&order),
            Effect::Told(Found::Seen { swarm, seq }) => self.checker.shown(swarm, seq),
            Effect::Told(Found::Inputs { node, life, attempt, inputs }) => {
                if let Some(inputs) = &inputs {
                    self.checker.handed_out(attempt, inputs);
                }
                self.answer(node, life, attempt, Answer::Inputs(inputs));
            }
            Effect::Send { session: SessionId(link), command } => self.send(link, command),
            Effect::Recall(recall) => {
                let stored = self.disk.read(|store, cluster| store.attempt(cluster, recall.attempt));
                let SessionId(link) = recall.session;
                self.send(link, recall.answer(stored.as_ref()));
            }
            Effect::End(SessionId(link)) => self.end_session(link),
        }
    }

    fn send(&mut self, link: u64, command: manta_engine::Command) {
        self.checker.sent(&command);
        if self.bug == Some(Bug::AnswerOnce)
            && let manta_engine::Command::Verdict { attempt, .. } = &command
            && !self.manager.answered.insert(*attempt)
        {
            return;
        }
        if self.links.get(&link).is_some_and(|link| link.manager_end) {
            self.trace.line(self.now, || format!("manager tells {}: {}", command.node(), short(&command)));
            self.tell(link, Told::Command(command));
        }
    }

    fn ordered(&mut self, order: &Order) {
        self.trace.line(self.now, || format!("a user is told that it is done: {order:?}"));
        self.checker.ordered(order);
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
