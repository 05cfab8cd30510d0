//! What an attempt has published so far: nothing of it counts before the manager accepts the attempt.
use std::collections::{BTreeMap, BTreeSet};

use manta_types::{Blob, NodeName};

use crate::cache::Pin;

/// An attempt's writes, kept on this node until they are delivered.
#[derive(Default)]
pub(crate) struct Staged {
    /// In the order in which the names were first published.
    pub(crate) results: Vec<(String, Pin)>,
    /// By name.
    pub(crate) globals: BTreeMap<String, Pin>,
    /// By name; never leaves the node.
    pub(crate) state: BTreeMap<String, Pin>,
    /// Names of state that it read as an earlier attempt had left it.
    pub(crate) state_read: BTreeSet<String>,
    /// Asked for by `schedule_next_iter`, all calls united: task → its nodes, where any call named some. However often
    /// a task asks, this is no larger than the swarm and its cluster.
    pub(crate) next_iterations: BTreeMap<Option<String>, Option<BTreeSet<NodeName>>>,
    /// Asked for by `stop_swarm`.
    pub(crate) stop_swarm: bool,
}

impl Staged {
    /// Publishes a result; a second one of the name takes the first one's place.
    pub(crate) fn publish(&mut self, name: String, value: Pin) {
        match self.results.iter_mut().find(|(known, _)| *known == name) {
            Some((_, place)) => *place = value,
            None => self.results.push((name, value)),
        }
    }

    /// Asks for one more iteration.
    pub(crate) fn ask_iteration(&mut self, task: Option<String>, nodes: Option<BTreeSet<NodeName>>) {
        let asked = self.next_iterations.entry(task).or_default();
        if let Some(nodes) = nodes {
            asked.get_or_insert_default().extend(nodes);
        }
    }

    /// Whether a result of that name was published.
    pub(crate) fn has_result(&self, name: &str) -> bool {
        self.results.iter().any(|(known, _)| known == name)
    }

    /// Every value that the manager must have before the attempt can be reported.
    pub(crate) fn to_upload(&self) -> impl Iterator<Item = &Pin> {
        self.results.iter().map(|(_, pin)| pin).chain(self.globals.values())
    }

    /// Bytes of all values, each publication counted.
    pub(crate) fn bytes(&self) -> u64 {
        let pins = self.to_upload().chain(self.state.values());
        pins.map(|pin| pin.blob()).fold(0, |sum, Blob { size, .. }| sum.saturating_add(size))
    }
}
