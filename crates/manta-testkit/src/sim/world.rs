//! The world: everything there is, and the loop that lets one thing after another happen in it.
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use manta_types::Digest;

use super::agenda::{Agenda, When};
use super::bug::Bug;
use super::chance::Chance;
use super::checker::Checker;
use super::disk::Disk;
use super::happening::{Asked, AtManager, AtNode, Happening, LinkId};
use super::manager::Manager;
use super::network::Link;
use super::node::SimNode;
use super::options::Options;
use super::outcome::{Crashes, Failure, Outcome};
use super::trace::Trace;
use super::user::User;
use super::workload;

/// How long after the troubles everything must have ended, in virtual ms.
const ENDED_WITHIN_MS: u64 = 600_000;
/// The same where swarms have more iterations, for rollouts to go on in.
const LONG_ENDED_WITHIN_MS: u64 = 1_800_000;
/// How often somebody looks whether it has.
const NUDGE_MS: u64 = 1_000;

/// Everything there is.
#[derive(Debug)]
pub(crate) struct World {
    /// Virtual time, in ms since the run began.
    pub(crate) now: u64,
    pub(crate) chance: Chance,
    pub(crate) options: Options,
    pub(crate) bug: Option<Bug>,
    pub(crate) agenda: Agenda<Happening>,
    pub(crate) manager: Manager,
    pub(crate) disk: Disk,
    /// Values that the manager has stored.
    pub(crate) blobs: BTreeSet<Digest>,
    pub(crate) nodes: Vec<SimNode>,
    pub(crate) users: Vec<User>,
    /// Changes that somebody asked for.
    pub(crate) changes: u64,
    /// The node that is revoked when one is.
    pub(crate) revoked: Option<usize>,
    pub(crate) links: BTreeMap<LinkId, Link>,
    pub(crate) links_made: LinkId,
    pub(crate) checker: Checker,
    pub(crate) trace: Trace,
    pub(crate) crashes: Crashes,
    pub(crate) is_healed: bool,
    pub(crate) healed_at: u64,
    steps: u64,
    is_over: bool,
}

/// Runs what the seed and the options say, with a bug planted where one is named; checks everything after every step.
///
/// # Errors
/// When something does not hold that must: what, and how to see it again.
pub fn run(seed: u64, options: Options, bug: Option<Bug>) -> Result<Outcome, Box<Failure>> {
    // Lines are kept only the second time: making them is dear, and the run is the same.
    play(seed, options, bug, false).or_else(|_| play(seed, options, bug, true))
}

fn play(seed: u64, options: Options, bug: Option<Bug>, keeps_lines: bool) -> Result<Outcome, Box<Failure>> {
    let mut world = World::new(seed, options, bug, keeps_lines);
    let played = catch_unwind(AssertUnwindSafe(|| world.play()));
    if let Err(panic) = played {
        let words = panic.downcast_ref::<String>().cloned();
        let words = words.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        world.checker.breaks("assertion", || words.unwrap_or_default());
    }
    match world.checker.broken() {
        None => Ok(world.outcome()),
        Some((invariant, words)) => {
            let (at_ms, last) = (world.now, world.trace.into_lines());
            Err(Box::new(Failure { seed, options, bug, invariant, words, at_ms, last }))
        }
    }
}

impl World {
    fn new(seed: u64, options: Options, bug: Option<Bug>, keeps_lines: bool) -> Self {
        let mut chance = Chance::new(seed);
        let nodes = (0..options.nodes).map(|_| u32::try_from(chance.between(1, 4)).expect("a few slots")).enumerate();
        let nodes = nodes.map(|(index, slots)| SimNode::new(index, slots)).collect();
        let users = (0..options.swarms).map(|_| ()).enumerate();
        let users = users
            .map(|(number, ())| User::new(number, workload::submission(&mut chance, number, &options), options.retries))
            .collect();
        Self {
            now: 0,
            chance,
            options,
            bug,
            agenda: Agenda::new(),
            manager: Manager::new(),
            disk: Disk::new(bug != Some(Bug::NoSync), bug != Some(Bug::NoFence)),
            blobs: BTreeSet::new(),
            nodes,
            users,
            changes: 0,
            revoked: None,
            links: BTreeMap::new(),
            links_made: 0,
            checker: Checker::new(&options),
            trace: Trace::new(keeps_lines),
            crashes: Crashes::default(),
            is_healed: false,
            healed_at: 0,
            steps: 0,
            is_over: false,
        }
    }

    fn play(&mut self) {
        self.agenda.put(0, Happening::Manager(0, AtManager::Start));
        for node in 0..self.nodes.len() {
            let at = self.chance.between(0, 3_000);
            self.agenda.put(at, Happening::Node(node, 0, AtNode::Start));
        }
        for user in 0..self.users.len() {
            let at = self.chance.between(1_000, 15_000);
            self.agenda.put(at, Happening::User(user));
        }
        self.expect_troubles();
        self.agenda.put(NUDGE_MS, Happening::Nudge);
        while !self.is_over && self.checker.holds() {
            let (when, what) = self.agenda.next().expect("somebody always looks again");
            self.now = when.0;
            self.steps += 1;
            self.happen(when, what);
        }
    }

    fn happen(&mut self, when: When, what: Happening) {
        match what {
            Happening::Manager(run, at) => self.reach_manager(when, run, at),
            Happening::Node(node, life, at) => self.reach_node(when, node, life, at),
            Happening::Trouble(trouble) => self.trouble(trouble),
            Happening::Heal => self.heal(),
            Happening::User(user) => self.user_acts(user),
            Happening::Again(change, key) => self.ask_as_user(Asked::Change(change, key)),
            Happening::Nudge => self.nudge(),
        }
    }

    fn reach_manager(&mut self, when: When, run: u64, at: AtManager) {
        if run != self.manager.run {
            return;
        }
        let stalled = Some(self.manager.stalled_until).filter(|until| self.now < *until);
        if let Some(until) = stalled.or_else(|| self.blocked_up(&at)) {
            return self.agenda.put_back(until, when, Happening::Manager(run, at));
        }
        self.trace.mix(&[when.0, run, self.agenda_mark(&at)]);
        self.at_manager(at);
    }

    fn reach_node(&mut self, when: When, node: usize, life: u64, at: AtNode) {
        if life != self.nodes[node].life {
            return;
        }
        let stalled = Some(self.nodes[node].stalled_until).filter(|until| self.now < *until);
        if let Some(until) = stalled.or_else(|| self.blocked_down(node, &at)) {
            return self.agenda.put_back(until, when, Happening::Node(node, life, at));
        }
        self.trace.mix(&[when.0, node as u64, life]);
        self.at_node(node, at);
    }

    /// What a happening at the manager adds to the fingerprint.
    fn agenda_mark(&self, at: &AtManager) -> u64 {
        match at {
            AtManager::Said(link, _) | AtManager::Noticed(link) => *link,
            AtManager::Committed => self.checker.fingerprint(),
            _ => 0,
        }
    }

    /// Looks whether all is over; after the troubles, it has to be in time.
    fn nudge(&mut self) {
        self.disk.sync();
        // What a revoked node still has to say, nobody hears.
        let nodes_idle = self.nodes.iter().all(|node| node.is_idle() || self.checker.is_revoked(&node.name));
        let is_over = |user: &User| user.swarm.is_some_and(|swarm| self.checker.is_over(swarm));
        let content = (0..self.users.len()).all(|user| self.is_content(user));
        let all_over = content && self.users.iter().all(is_over);
        if all_over && nodes_idle && self.manager.is_idle() {
            if self.is_healed {
                if let Some(core) = &self.manager.core {
                    self.checker.finished(&self.nodes, core, &mut self.disk);
                }
                self.is_over = true;
            } else {
                self.heal();
            }
        } else if self.is_healed {
            self.let_go_on();
            if self.now > self.healed_at + self.ended_within_ms() {
                let words = self.what_is_stuck();
                self.checker.breaks("I5", || words);
            }
        }
        self.agenda.put(self.now + NUDGE_MS, Happening::Nudge);
    }

    const fn ended_within_ms(&self) -> u64 {
        if self.options.rollouts > 0 { LONG_ENDED_WITHIN_MS } else { ENDED_WITHIN_MS }
    }

    fn what_is_stuck(&self) -> String {
        let mut stuck = format!("{} s after the troubles ended:", self.ended_within_ms() / 1000);
        let Some(core) = &self.manager.core else { return stuck + " the manager is down" };
        for swarm in core.engine().swarms().filter(|swarm| !swarm.is_over()) {
            let waiting = core.engine().waiting(self.clock().monotonic, swarm.id());
            stuck += &format!(" swarm {} is {}: {waiting:?};", swarm.id(), swarm.state());
        }
        for node in core.engine().nodes() {
            stuck += &format!(" {} is {} and {}, {} live;", node.name(), node.state(), node.duty(), node.load());
        }
        for (number, _) in self.users.iter().enumerate().filter(|(_, user)| user.swarm.is_none()) {
            stuck += &format!(" user {number} was not answered;");
        }
        for node in self.nodes.iter().filter(|node| !node.is_idle()) {
            let held = node.desk.as_ref().map(manta_node::desk::Desk::held);
            stuck += &format!(" {} holds {held:?}, journals {:?};", node.name, node.kept.journals.keys());
        }
        stuck
    }

    fn outcome(self) -> Outcome {
        let (events, accepted, succeeded) = self.checker.counts();
        Outcome {
            fingerprint: self.trace.fingerprint() ^ self.checker.fingerprint(),
            steps: self.steps,
            events,
            accepted,
            succeeded,
            crashes: self.crashes,
            virtual_ms: self.now,
        }
    }
}
