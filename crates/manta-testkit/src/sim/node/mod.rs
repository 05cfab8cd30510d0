//! A node's agent: the real desk in a simulated shell, which may die between any two of its steps.
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use manta_engine::Offer;
use manta_manager::orchestrator::NodeProfile;
use manta_node::desk::{self, Desk, Journal};
use manta_types::{AttemptId, Blob, NodeId, NodeName, SwarmId};

mod disk;
mod session;

use self::disk::DiskOrder;
use super::World;
use super::bug::Bug;
use super::gateway::profile;
use super::happening::{AtNode, Happening, LinkId};
use super::work::{Run, publisher};
use uuid::Uuid;

/// The first and the longest wait before the manager is dialled again.
const REDIAL_MS: (u64, u64) = (200, 5_000);
/// How long after it was told so an attempt may still be there.
const GONE_WITHIN_MS: u64 = 5_000;

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
    beats: u64,
    redial: u64,
    pub(crate) runs: BTreeMap<AttemptId, Run>,
    orders: BTreeMap<AttemptId, (u64, DiskOrder)>,
    pub(crate) serial: u64,
    pub(crate) up_blocked: u64,
    pub(crate) down_blocked: u64,
    pub(crate) stalled_until: u64,
    /// What the state was when an attempt was offered, for the bug that gives it that.
    pub(crate) states_offered: BTreeMap<AttemptId, Option<Blob>>,
    /// Attempts that it knows are no longer wanted, with their generation.
    pub(crate) stale: BTreeMap<AttemptId, Option<u64>>,
    slots: u32,
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
            beats: 0,
            redial: REDIAL_MS.0,
            runs: BTreeMap::new(),
            orders: BTreeMap::new(),
            serial: 0,
            up_blocked: 0,
            down_blocked: 0,
            stalled_until: 0,
            states_offered: BTreeMap::new(),
            stale: BTreeMap::new(),
            slots,
        }
    }

    pub(crate) fn profile(&self) -> NodeProfile {
        profile(self.slots)
    }

    /// The attempt whose state a lane has here.
    pub(crate) fn kept(&self, lane: &Lane) -> Option<[u8; 16]> {
        self.kept.state.get(lane).and_then(|state| state.get("state")).map(publisher)
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
            AtNode::Killed(attempt, generation) => {
                let runs = &mut self.nodes[node].runs;
                if runs.get(&attempt).is_some_and(|run| run.attempt.generation == generation) {
                    runs.remove(&attempt);
                    self.desk(node, desk::Input::Ended { attempt, left: None });
                }
            }
            AtNode::MustBeGone(attempt, generation, by) => {
                let SimNode { name, runs, stale, life, .. } = &self.nodes[node];
                if self.now > by {
                    // The agent itself stood still; it has the whole time from now.
                    let by = self.now + GONE_WITHIN_MS;
                    self.agenda.put(by, Happening::Node(node, *life, AtNode::MustBeGone(attempt, generation, by)));
                } else if runs
                    .get(&attempt)
                    .is_some_and(|run| run.attempt.generation == generation && stale.get(&attempt) == Some(&generation))
                {
                    self.checker
                        .breaks("I4", || format!("{name} still runs {attempt}, of which it knows that it is stale"));
                }
            }
            AtNode::Disk(attempt, serial) => self.disk_done(node, attempt, serial),
            AtNode::TryDisk => self.desk(node, desk::Input::TryDisk),
            AtNode::Answered(asker, answer) => self.answered(asker, answer),
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
                    let (after, known) = (self.chance.between(0, 500), &self.nodes[node]);
                    let generation = known.runs.get(&attempt).and_then(|run| run.attempt.generation);
                    let killed = AtNode::Killed(attempt, generation);
                    self.agenda.put(self.now + after, Happening::Node(node, known.life, killed));
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
            desk::Command::RemoveJournal { attempt } => self.order(node, attempt, DiskOrder::Remove),
            desk::Command::SetAsideJournal { attempt, generation } => {
                self.checker.set_aside(&self.nodes[node].name, attempt, generation);
                self.order(node, attempt, DiskOrder::Remove);
            }
            desk::Command::ForgetState { swarm } => {
                self.nodes[node].kept.state.retain(|(state_of, _), _| *state_of != swarm);
                self.desk(node, desk::Input::StateSettled { swarm });
            }
        }
    }
}
