//! What the engine knows of a node: what it offers, what it is used for, when it was last heard, and what it has.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use manta_types::state::{DutyChange, NodeChange};
use manta_types::{AttemptId, Digest, NodeDuty, NodeName, NodeState, SignedBy, SwarmId, Timestamp, limits};

use crate::NodeDescription;
use crate::queue::Queue;

/// Who signed each bundle, as far as anybody did.
pub(crate) type Signatures = Arc<BTreeMap<Digest, Vec<SignedBy>>>;

/// A node, as decisions see it.
#[derive(Debug)]
pub struct Node {
    pub(crate) description: NodeDescription,
    pub(crate) state: NodeState,
    pub(crate) duty: NodeDuty,
    /// While it drains: when what runs there ends, if it has not.
    pub(crate) drain_deadline: Option<Timestamp>,
    pub(crate) connected: bool,
    pub(crate) last_heard: Timestamp,
    /// Whether that is so since the manager started, and not only assumed then.
    pub(crate) was_heard: bool,
    /// The alarm that is set for its lease or grace; it may come early, and never late.
    pub(crate) alarm: Option<Timestamp>,
    /// Live attempts that were offered to it.
    pub(crate) live: BTreeMap<AttemptId, SwarmId>,
    /// Slots that wait for a place at it.
    pub(crate) queue: Queue,
    /// Who signed what; all nodes share it.
    pub(crate) signatures: Signatures,
    /// Bundles that its policy refused though nobody foresaw it, with its words; until it connects again or they are signed.
    pub(crate) refused: BTreeMap<Digest, String>,
}

impl Node {
    pub(crate) fn joining(description: NodeDescription, now: Timestamp) -> Self {
        Self {
            description,
            state: NodeState::Joining,
            duty: NodeDuty::Active,
            drain_deadline: None,
            connected: false,
            last_heard: now,
            was_heard: false,
            alarm: None,
            live: BTreeMap::new(),
            queue: Queue::default(),
            signatures: Signatures::default(),
            refused: BTreeMap::new(),
        }
    }

    /// What it said of itself.
    pub const fn description(&self) -> &NodeDescription {
        &self.description
    }

    /// Its name.
    pub const fn name(&self) -> &NodeName {
        &self.description.name
    }

    /// Its state.
    pub const fn state(&self) -> NodeState {
        self.state
    }

    /// What it is used for.
    pub const fn duty(&self) -> NodeDuty {
        self.duty
    }

    /// While it drains: how long what runs may still go on, where that is limited.
    pub fn drain_left(&self, now: Timestamp) -> Option<Duration> {
        self.drain_deadline.map(|due| due - now)
    }

    /// Live attempts that were offered to it.
    pub fn load(&self) -> u32 {
        u32::try_from(self.live.len()).unwrap_or(u32::MAX)
    }

    /// The same, each with its swarm.
    pub fn live(&self) -> impl Iterator<Item = (AttemptId, SwarmId)> {
        self.live.iter().map(|(attempt, swarm)| (*attempt, *swarm))
    }

    /// Whether it can be let go of: it is gone or revoked, and nothing of it is awaited.
    pub fn is_removable(&self) -> bool {
        let is_away = self.state == NodeState::Gone || self.is_revoked();
        is_away && self.live.is_empty() && self.queue.len() == 0
    }

    /// Slots that wait, at the manager, for a place at it.
    pub const fn waiting(&self) -> u32 {
        self.queue.len()
    }

    /// How long it has not been heard; absent while it never was since the manager started.
    pub fn silent_for(&self, now: Timestamp) -> Option<Duration> {
        self.was_heard.then(|| now - self.last_heard)
    }

    /// Whether it may be offered another attempt: one runs in each slot, and the next ones wait there.
    pub(crate) fn has_room(&self) -> bool {
        self.load() < self.slots().saturating_mul(limits::OFFERS_PER_SLOT)
    }

    /// Whether it has room for more than what waits for it already.
    pub(crate) fn has_spare_room(&self) -> bool {
        self.load().saturating_add(self.waiting()) < self.slots().saturating_mul(limits::OFFERS_PER_SLOT)
    }

    /// Whether it can be offered anything now.
    pub(crate) fn is_usable(&self) -> bool {
        self.state == NodeState::Online && self.duty == NodeDuty::Active
    }

    /// All it has and all that waits for it, in thousandths of its slots.
    pub(crate) fn busy(&self) -> u64 {
        (u64::from(self.load()) + u64::from(self.waiting())) * 1000 / u64::from(self.slots())
    }

    pub(crate) fn slots(&self) -> u32 {
        self.description.slots.max(1)
    }

    pub(crate) fn heard(&mut self, now: Timestamp) {
        (self.last_heard, self.was_heard) = (now, true);
        self.change(NodeChange::ComeOnline);
    }

    /// Judges its lease; whether anything changed.
    pub(crate) fn judge(&mut self, now: Timestamp) -> bool {
        let silent = now - self.last_heard;
        match self.state {
            NodeState::Online if silent > limits::LEASE => self.change(NodeChange::LoseContact),
            NodeState::Joining if silent > limits::LEASE => self.change(NodeChange::Leave),
            NodeState::Unreachable if silent > limits::NODE_GRACE => self.change(NodeChange::Leave),
            _ => return false,
        }
        true
    }

    /// When [`Node::judge`] may next say something new.
    pub(crate) fn next_judgement(&self) -> Option<Timestamp> {
        let wait = match self.state {
            NodeState::Online | NodeState::Joining => limits::LEASE,
            NodeState::Unreachable => limits::NODE_GRACE,
            NodeState::Gone => return None,
        };
        Some(self.last_heard + wait + Duration::from_millis(1))
    }

    /// When a task that must run on it may go on without it.
    pub(crate) fn grace_ends(&self) -> Timestamp {
        self.last_heard + limits::NODE_GRACE + Duration::from_millis(1)
    }

    /// Ends its lease now: it said goodbye.
    pub(crate) fn leave(&mut self) {
        self.connected = false;
        if self.state != NodeState::Gone {
            self.change(NodeChange::Leave);
        }
    }

    fn change(&mut self, change: NodeChange) {
        self.state = self.state.next(change).expect("callers ask only for changes that the state knows");
    }

    /// Changes what it is used for, where the duty knows the change; whether it did.
    pub(crate) fn change_duty(&mut self, change: DutyChange, drain_deadline: Option<Timestamp>) -> bool {
        let Ok(next) = self.duty.next(change) else { return false };
        (self.duty, self.drain_deadline) = (next, drain_deadline);
        true
    }

    /// Why nothing may run on it any more, whatever it says: its identity is gone, or its drain's deadline passed.
    pub(crate) fn dismissed(&self, now: Timestamp) -> Option<&'static str> {
        match self.duty {
            NodeDuty::Revoked => Some("revoked"),
            NodeDuty::Drained => Some("drained"),
            NodeDuty::Draining if self.drain_deadline.is_some_and(|due| now >= due) => Some("drained"),
            _ => None,
        }
    }

    /// Whether its identity was taken away: it never comes back.
    pub(crate) fn is_revoked(&self) -> bool {
        self.duty == NodeDuty::Revoked
    }

    /// Whether an attempt on it may be alive and deliver.
    pub(crate) fn may_deliver(&self) -> bool {
        matches!(self.state, NodeState::Online | NodeState::Joining)
    }
}
