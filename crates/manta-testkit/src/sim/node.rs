//! A node's agent: the real desk in a simulated shell, which may die between any two of its steps.
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;

use manta_engine::{Command, Held, Offer};
use manta_manager::orchestrator::NodeProfile;
use manta_node::desk::{self, Desk, Journal, Word};
use manta_types::{AttemptId, Blob, NodeId, NodeName, SwarmId};

use super::World;
use super::bug::Bug;
use super::gateway::profile;
use super::happening::{AtNode, Happening, LinkId, Said, Told};
use super::manager::short;
use super::work::Run;
use uuid::Uuid;

/// How often a node says that it lives, and how long it waits for the manager to.
const BEAT_MS: u64 = 2_000;
const SILENCE_MS: u64 = 6_000;
/// How long a greeting may take.
const GREETING_MS: u64 = 10_000;
/// The first and the longest wait before the manager is dialled again.
const REDIAL_MS: (u64, u64) = (200, 5_000);
/// How long after it was told so an attempt may still be there.
const GONE_WITHIN_MS: u64 = 5_000;
/// How long a disk that refused is left alone.
const DISK_AGAIN_MS: u64 = 5_000;

/// Whose state an attempt reads and changes.
pub(crate) type Lane = (SwarmId, String);

/// What outlives an agent.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    id: Option<NodeId>,
    pub(crate) journals: BTreeMap<AttemptId, Arc<Journal>>,
    /// Per lane, what the last attempt that changed it kept.
    pub(crate) state: BTreeMap<Lane, BTreeMap<String, Blob>>,
}

/// A node.
#[derive(Debug)]
pub(crate) struct SimNode {
    pub(crate) name: NodeName,
    /// Counts the starts of its agent.
    pub(crate) life: u64,
    pub(crate) kept: Kept,
    /// Nothing while its agent is down.
    pub(crate) desk: Option<Desk<Arc<Offer>>>,
    /// The session, or the one that is being greeted.
    pub(crate) link: Option<LinkId>,
    pub(crate) is_welcome: bool,
    /// Counts the times it was cut off.
    pub(crate) cuts: u64,
    heard_at: u64,
    redial: u64,
    pub(crate) runs: BTreeMap<AttemptId, Run>,
    orders: BTreeMap<AttemptId, (u64, DiskOrder)>,
    pub(crate) serial: u64,
    pub(crate) up_blocked: u64,
    pub(crate) down_blocked: u64,
    pub(crate) stalled_until: u64,
    /// What the state was when an attempt was offered, for the bug that gives it that.
    pub(crate) states_offered: BTreeMap<AttemptId, Option<Blob>>,
    /// Attempts that it knows are no longer wanted.
    pub(crate) stale: BTreeSet<AttemptId>,
    slots: u32,
}

/// What a node's disk was asked to do.
#[derive(Debug, Clone)]
enum DiskOrder {
    Write(Arc<Journal>),
    Commit(Arc<Journal>),
    Remove,
}

impl SimNode {
    pub(crate) fn new(index: usize, slots: u32) -> Self {
        Self {
            name: NodeName::new(&format!("node-{}", index + 1)).expect("a plain label"),
            life: 0,
            kept: Kept::default(),
            desk: None,
            link: None,
            is_welcome: false,
            cuts: 0,
            heard_at: 0,
            redial: REDIAL_MS.0,
            runs: BTreeMap::new(),
            orders: BTreeMap::new(),
            serial: 0,
            up_blocked: 0,
            down_blocked: 0,
            stalled_until: 0,
            states_offered: BTreeMap::new(),
            stale: BTreeSet::new(),
            slots,
        }
    }

    pub(crate) fn profile(&self) -> NodeProfile {
        profile(self.slots)
    }

    /// Whether nothing is here and nothing is owed.
    pub(crate) fn is_idle(&self) -> bool {
        self.kept.journals.is_empty()
            && self.runs.is_empty()
            && self.desk.as_ref().is_some_and(|desk| desk.held().is_empty())
    }
}

impl World {
    /// What happens at a node, unless its agent has died since.
    pub(crate) fn at_node(&mut self, node: usize, at: AtNode) {
        match at {
            AtNode::Start => self.start_node(node),
            AtNode::Dial => self.greet(node),
            AtNode::GreetingOver(link) => {
                if self.nodes[node].link == Some(link) && !self.nodes[node].is_welcome {
                    self.leave_session(node, true);
                }
            }
            AtNode::Beat(link) => self.beat(node, link),
            AtNode::Told(link, told) => self.told(node, link, told),
            AtNode::Closed(link) => {
                if self.nodes[node].link == Some(link) {
                    self.leave_session(node, false);
                }
            }
            AtNode::Work(attempt, serial) => self.work(node, attempt, serial),
            AtNode::StopAfter(attempt, cut) => self.stop_after(node, attempt, cut),
            AtNode::Killed(attempt) => {
                if self.nodes[node].runs.remove(&attempt).is_some() {
                    self.desk(node, desk::Input::Ended { attempt, left: None });
                }
            }
            AtNode::MustBeGone(attempt, by) => {
                let SimNode { name, runs, life, .. } = &self.nodes[node];
                if self.now > by {
                    // The agent itself stood still; it has the whole time from now.
                    let by = self.now + GONE_WITHIN_MS;
                    self.agenda.put(by, Happening::Node(node, *life, AtNode::MustBeGone(attempt, by)));
                } else if runs.contains_key(&attempt) {
                    self.checker
                        .breaks("I4", || format!("{name} still runs {attempt}, of which it knows that it is stale"));
                }
            }
            AtNode::Disk(attempt, serial) => self.disk_done(node, attempt, serial),
            AtNode::TryDisk => self.desk(node, desk::Input::TryDisk),
            AtNode::Answered(attempt, answer) => self.answered(node, attempt, answer),
        }
    }

    fn start_node(&mut self, node: usize) {
        let fresh = NodeId::from_uuid(Uuid::from_u128(u128::from(self.chance.number()) << 64 | node as u128));
        let known = &mut self.nodes[node];
        known.kept.id.get_or_insert(fresh);
        let slots = NonZeroU32::new(known.slots).expect("a node has slots");
        known.desk = Some(Desk::new(slots, known.kept.journals.values().cloned()));
        (known.link, known.is_welcome, known.redial) = (None, false, REDIAL_MS.0);
        self.trace.line(self.now, || format!("{} starts, life {}", self.nodes[node].name, self.nodes[node].life));
        self.greet(node);
    }

    /// Its agent is gone, and with it all that ran.
    pub(crate) fn kill_node(&mut self, node: usize, why: &str) {
        if self.nodes[node].desk.is_none() {
            return;
        }
        self.trace.line(self.now, || format!("{} dies {why}", self.nodes[node].name));
        self.crashes.nodes += 1;
        if let Some(link) = self.nodes[node].link.take() {
            let silently = self.chance.one_in(4);
            self.hang_up(link, silently);
        }
        for (attempt, (_, order)) in std::mem::take(&mut self.nodes[node].orders) {
            if self.chance.one_in(2) {
                self.carry_out(node, attempt, &order);
            }
        }
        let known = &mut self.nodes[node];
        (known.desk, known.is_welcome, known.stalled_until) = (None, false, 0);
        known.life += 1;
        known.cuts += 1;
        known.runs.clear();
        known.stale.clear();
        let (after, life) = (self.chance.pick(&[100, 1_000, 5_000, 15_000, 30_000]), known.life);
        self.agenda.put(self.now + after, Happening::Node(node, life, AtNode::Start));
    }

    /// A point between two steps, where it may die.
    pub(crate) fn node_dies(&mut self, node: usize, point: &str) -> bool {
        let dies = self.chance.one_in(self.options.node_crash);
        if dies {
            self.kill_node(node, point);
        }
        dies
    }

    /// Dials the manager and says who it is.
    fn greet(&mut self, node: usize) {
        let known = &self.nodes[node];
        if known.link.is_some() || known.desk.is_none() {
            return;
        }
        let is_reachable =
            self.now >= known.up_blocked && self.now >= known.down_blocked && self.manager.core.is_some();
        if !is_reachable {
            return self.redial(node);
        }
        let held = known.desk.as_ref().map(Desk::held).unwrap_or_default();
        let held = held.into_iter().map(|held| Held { attempt: held.attempt, epoch: held.epoch }).collect();
        let (id, life) = (known.kept.id, known.life);
        let link = self.dial(node);
        self.nodes[node].link = Some(link);
        self.say(link, Said::Hello { id, held });
        self.agenda.put(self.now + GREETING_MS, Happening::Node(node, life, AtNode::GreetingOver(link)));
    }

    fn redial(&mut self, node: usize) {
        let known = &mut self.nodes[node];
        let (wait, life) = (known.redial, known.life);
        known.redial = (wait * 2).min(REDIAL_MS.1);
        let wait = self.chance.between(wait / 2, wait + 1);
        self.agenda.put(self.now + wait, Happening::Node(node, life, AtNode::Dial));
    }

    /// The session is over for this node, and another one is begun.
    fn leave_session(&mut self, node: usize, silently: bool) {
        let Some(link) = self.nodes[node].link.take() else { return };
        self.hang_up(link, silently);
        if std::mem::take(&mut self.nodes[node].is_welcome) {
            self.nodes[node].redial = REDIAL_MS.0;
            self.nodes[node].cuts += 1;
            self.trace.line(self.now, || format!("{} is cut off", self.nodes[node].name));
            self.desk(node, desk::Input::SessionEnded);
            self.watch_cut_off(node);
        }
        if self.nodes[node].desk.is_some() {
            self.redial(node);
        }
    }

    fn beat(&mut self, node: usize, link: LinkId) {
        let known = &self.nodes[node];
        if known.link != Some(link) || !known.is_welcome {
            return;
        }
        if self.now > known.heard_at + SILENCE_MS {
            return self.leave_session(node, true);
        }
        let life = known.life;
        self.say(link, Said::Beat);
        self.agenda.put(self.now + BEAT_MS, Happening::Node(node, life, AtNode::Beat(link)));
    }

    fn told(&mut self, node: usize, link: LinkId, told: Told) {
        let is_broken = self.links.get(&link).is_none_or(|link| link.is_broken);
        if self.nodes[node].link != Some(link) || is_broken {
            return;
        }
        self.nodes[node].heard_at = self.now;
        match told {
            Told::Welcome { id, generation } => {
                let known = &mut self.nodes[node];
                (known.kept.id, known.is_welcome) = (Some(id), true);
                let life = known.life;
                self.desk(node, desk::Input::SessionBegan { generation: Some(generation) });
                self.agenda.put(self.now, Happening::Node(node, life, AtNode::Beat(link)));
            }
            Told::TurnedAway => {
                // Its agent ends with an error; whoever looks after it starts it again.
                self.leave_session(node, false);
                self.kill_node(node, "because it was turned away");
            }
            Told::Beat => {}
            Told::Command(command) => self.commanded(node, command),
        }
    }

    fn commanded(&mut self, node: usize, command: Command) {
        if self.node_dies(node, "before it takes a command") {
            return;
        }
        self.trace.line(self.now, || format!("{} hears {}", command.node(), short(&command)));
        match command {
            Command::Offer(offer) => {
                let attempt = desk::Attempt {
                    id: offer.attempt,
                    epoch: offer.epoch,
                    swarm: offer.swarm,
                    state_of: offer.state_of,
                    task: offer.spec.tasks[offer.task].alias.clone(),
                    iteration: offer.iteration,
                    generation: None,
                };
                if self.bug == Some(Bug::OldState) {
                    let lane = (attempt.state_of, attempt.task.clone());
                    let known = &mut self.nodes[node];
                    let state = known.kept.state.get(&lane).and_then(|state| state.get("state")).copied();
                    known.states_offered.insert(attempt.id, state);
                }
                self.desk(node, desk::Input::Offered { attempt, work: Arc::from(offer) });
            }
            Command::Cancel { attempt, epoch, .. } => {
                let known = &mut self.nodes[node];
                if known.runs.get(&attempt).is_some_and(|run| run.attempt.epoch <= epoch) {
                    known.stale.insert(attempt);
                    let by = self.now + GONE_WITHIN_MS;
                    self.agenda.put(by, Happening::Node(node, known.life, AtNode::MustBeGone(attempt, by)));
                }
                self.desk(node, desk::Input::Cancelled { attempt, epoch });
            }
            Command::Verdict { attempt, epoch, accepted, .. } => {
                self.desk(node, desk::Input::Answered { attempt, epoch, accepted });
            }
        }
    }

    /// Tells the desk, and does what it orders.
    pub(crate) fn desk(&mut self, node: usize, input: desk::Input<Arc<Offer>>) {
        let Some(desk) = &mut self.nodes[node].desk else { return };
        for command in desk.step(input) {
            if self.node_dies(node, "between two orders") {
                return;
            }
            self.obey(node, command);
        }
    }

    fn obey(&mut self, node: usize, command: desk::Command<Arc<Offer>>) {
        match command {
            desk::Command::Say(word) => self.speak(node, word),
            desk::Command::StartAttempt { attempt, work } => self.begin(node, attempt, work),
            desk::Command::KillAttempt { attempt } => {
                if self.bug != Some(Bug::KeepRunning) {
                    let (after, life) = (self.chance.between(0, 500), self.nodes[node].life);
                    self.agenda.put(self.now + after, Happening::Node(node, life, AtNode::Killed(attempt)));
                }
            }
            desk::Command::WriteJournal(journal) => {
                let attempt = journal.attempt.id;
                self.order(node, attempt, DiskOrder::Write(Arc::clone(&journal)));
                if self.bug == Some(Bug::StateBeforeVerdict) {
                    self.carry_out(node, attempt, &DiskOrder::Commit(journal));
                }
                if self.bug == Some(Bug::FinishedBeforeJournal) {
                    self.desk(node, desk::Input::Written { attempt });
                }
            }
            desk::Command::CommitState(journal) => self.order(node, journal.attempt.id, DiskOrder::Commit(journal)),
            desk::Command::RemoveJournal { attempt } | desk::Command::SetAsideJournal { attempt, .. } => {
                self.order(node, attempt, DiskOrder::Remove);
            }
        }
    }

    fn speak(&mut self, node: usize, word: Word) {
        let Some(link) = self.nodes[node].link else { return };
        match word {
            Word::Progress { attempt, epoch, phase } => self.say(link, Said::Progress { attempt, epoch, phase }),
            Word::Refused { attempt, epoch, reason } => self.say(link, Said::Refused { attempt, epoch, reason }),
            Word::Finished(journal) => {
                let attempt = journal.attempt.id;
                let SimNode { name, kept, .. } = &self.nodes[node];
                self.checker.said(name, &journal, kept.journals.get(&attempt) == Some(&journal));
                self.say(link, Said::Finished(journal));
                if self.bug == Some(Bug::ForgetReport) {
                    self.nodes[node].kept.journals.remove(&attempt);
                }
            }
        }
    }

    fn order(&mut self, node: usize, attempt: AttemptId, order: DiskOrder) {
        let takes = if self.chance.one_in(20) { self.chance.between(100, 2_000) } else { self.chance.between(0, 15) };
        let known = &mut self.nodes[node];
        known.serial += 1;
        known.orders.insert(attempt, (known.serial, order));
        self.agenda.put(self.now + takes, Happening::Node(node, known.life, AtNode::Disk(attempt, known.serial)));
    }

    fn disk_done(&mut self, node: usize, attempt: AttemptId, serial: u64) {
        if self.nodes[node].orders.get(&attempt).is_none_or(|(ordered, _)| *ordered != serial) {
            return;
        }
        if self.node_dies(node, "while its disk writes") {
            return;
        }
        let Some((_, order)) = self.nodes[node].orders.remove(&attempt) else { return };
        if self.chance.permille(self.options.node_disk) {
            let (reason, life) = ("no space left on device".to_owned(), self.nodes[node].life);
            self.desk(node, desk::Input::DiskRefused { attempt, reason });
            self.agenda.put(self.now + DISK_AGAIN_MS, Happening::Node(node, life, AtNode::TryDisk));
            return;
        }
        self.carry_out(node, attempt, &order);
        if self.node_dies(node, "after its disk wrote") {
            return;
        }
        self.desk(
            node,
            match order {
                DiskOrder::Write(_) => desk::Input::Written { attempt },
                DiskOrder::Commit(_) => desk::Input::Committed { attempt },
                DiskOrder::Remove => desk::Input::Removed { attempt },
            },
        );
    }

    /// What an order leaves on the node's disk.
    fn carry_out(&mut self, node: usize, attempt: AttemptId, order: &DiskOrder) {
        let SimNode { name, kept, .. } = &mut self.nodes[node];
        match order {
            DiskOrder::Write(journal) => drop(kept.journals.insert(attempt, Arc::clone(journal))),
            DiskOrder::Remove => drop(kept.journals.remove(&attempt)),
            DiskOrder::Commit(journal) => {
                self.checker.state_changed(name, journal);
                let lane = (journal.attempt.state_of, journal.attempt.task.clone());
                kept.state.entry(lane).or_default().extend(journal.left.state.clone());
            }
        }
    }

    /// It says goodbye and ends in order.
    pub(crate) fn part(&mut self, node: usize) {
        if let Some(link) = self.nodes[node].link.filter(|_| self.nodes[node].is_welcome) {
            self.say(link, Said::Goodbye);
        }
        self.kill_node(node, "in order");
    }

    /// A session that was cut is noticed by the manager, whatever becomes of the node.
    pub(crate) fn cut(&mut self, node: usize) {
        if let Some(link) = self.nodes[node].link {
            self.trace.line(self.now, || format!("the connection of {} breaks", self.nodes[node].name));
            self.break_link(link);
        }
    }
}
