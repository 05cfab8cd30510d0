//! What the engine knows of a node: what it offers, and when it was last heard.
use std::time::Duration;

use manta_types::state::{DutyChange, NodeChange};
use manta_types::{NodeDuty, NodeName, NodeState, Timestamp, limits};

use crate::NodeDescription;

/// A node, as decisions see it.
#[derive(Debug, Clone)]
pub struct Node {
    pub(crate) description: NodeDescription,
    pub(crate) state: NodeState,
    pub(crate) duty: NodeDuty,
    /// While it drains: when what runs there ends, if it has not.
    pub(crate) drain_deadline: Option<Timestamp>,
    pub(crate) connected: bool,
    pub(crate) last_heard: Timestamp,
    /// Live attempts offered to it, over all swarms.
    pub(crate) load: u32,
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
            load: 0,
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

    /// Live attempts offered to it.
    pub const fn load(&self) -> u32 {
        self.load
    }

    /// How long it has not been heard; absent while it never was since the manager started.
    pub fn silent_for(&self, now: Timestamp) -> Option<Duration> {
        (self.state != NodeState::Joining).then(|| now - self.last_heard)
    }

    pub(crate) fn heard(&mut self, now: Timestamp) {
        self.last_heard = now;
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

    /// Ends its lease now: it said goodbye.
    pub(crate) fn leave(&mut self) {
        self.connected = false;
        if self.state != NodeState::Gone {
            self.change(NodeChange::Leave);
        }
    }

    pub(crate) fn change(&mut self, change: NodeChange) {
        self.state = self.state.next(change).expect("callers ask only for changes that the state knows");
    }

    pub(crate) fn change_duty(&mut self, change: DutyChange) -> bool {
        let next = self.duty.next(change);
        self.duty = next.unwrap_or(self.duty);
        if self.duty != NodeDuty::Draining {
            self.drain_deadline = None;
        }
        next.is_ok()
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

    /// Whether an attempt on it may be alive and deliver.
    pub(crate) fn may_deliver(&self) -> bool {
        matches!(self.state, NodeState::Online | NodeState::Joining)
    }
}
