//! State that the manager says nobody will read again, until it is off the disk.
use std::collections::BTreeSet;

use manta_types::SwarmId;

/// Swarms whose state waits here; what is beyond is named to the manager again, and comes back.
const WAITING_MAX: usize = 100_000;

/// The swarms whose state is to go.
#[derive(Debug, Default)]
pub(super) struct Forget {
    /// Not asked of the disk yet.
    waiting: BTreeSet<SwarmId>,
    /// The disk is at it.
    at: BTreeSet<SwarmId>,
}

impl Forget {
    /// A swarm's state is to go.
    pub(super) fn want(&mut self, swarm: SwarmId) {
        if self.waiting.len() < WAITING_MAX && !self.at.contains(&swarm) {
            self.waiting.insert(swarm);
        }
    }

    /// It is needed after all.
    pub(super) fn keep(&mut self, swarm: SwarmId) {
        self.waiting.remove(&swarm);
    }

    /// What was said in a history that was undone means nothing.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }

    /// The disk is done with it, well or not.
    pub(super) fn settle(&mut self, swarm: SwarmId) {
        self.at.remove(&swarm);
    }

    /// Whether the disk is at it: nothing may read or change it meanwhile.
    pub(super) fn is_at(&self, swarm: SwarmId) -> bool {
        self.at.contains(&swarm)
    }

    /// Whether there is anything to ask the disk for.
    pub(super) fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes those that nothing refers to; the disk is asked for them now.
    pub(super) fn take(&mut self, referred: &BTreeSet<SwarmId>) -> impl Iterator<Item = SwarmId> + use<> {
        let due: Vec<SwarmId> = self.waiting.difference(referred).copied().collect();
        for swarm in &due {
            self.waiting.remove(swarm);
            self.at.insert(*swarm);
        }
        due.into_iter()
    }
}
