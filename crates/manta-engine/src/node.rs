//! What the engine knows of a node: what it offers, and when it was last heard.
use std::time::Duration;

use manta_types::state::NodeChange;
use manta_types::{NodeName, NodeState, Timestamp, limits};

use crate::NodeDescription;

/// A node, as decisions see it.
#[derive(Debug, Clone)]
pub struct Node {
    pub(crate) description: NodeDescription,
    pub(crate) state: NodeState,
    pub(crate) connected: bool,
    pub(crate) last_heard: Timestamp,
    /// Live attempts offered to it, over all swarms.
    pub(crate) load: u32,
}

impl Node {
    pub(crate) fn joining(description: NodeDescription, now: Timestamp) -> Self {
        Self { description, state: NodeState::Joining, connected: false, last_heard: now, load: 0 }
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

    /// Whether an attempt on it may be alive and deliver.
    pub(crate) fn may_deliver(&self) -> bool {
        matches!(self.state, NodeState::Online | NodeState::Joining)
    }
}
