//! What stands after a restore, a purge, and where a swarm goes on after another.
use manta_store::{NodeRecord, Transaction};
use manta_types::{AttemptId, Checkpoint, NodeDuty, NodeName, SwarmId, SwarmState};

use super::Checker;
use super::history::History;
use crate::sim::node::SimNode;

impl Checker {
    /// A backup was brought back: this is all that was ever committed. What was accepted since may have become state of a
    /// node, or still become it; nothing else of the undone history counts.
    pub(crate) fn restored(&mut self, log: &[Transaction], generation: u64, nodes: &[SimNode]) {
        let now = self.generation;
        let accepted = self.attempts.iter().filter(|(_, known)| known.is_accepted);
        self.undone.extend(accepted.map(|(attempt, _)| (*attempt, Some(now))));
        for ((name, lane), kept) in &mut self.lanes {
            let node = nodes.iter().find(|node| node.name == *name).expect("attempts run on known nodes");
            kept.insert(node.kept(lane));
        }
        self.generation = generation;
        self.histories.clear();
        self.purged.clear();
        self.attempts.clear();
        self.revoked.clear();
        self.made.clear();
        self.gone.clear();
        self.is_replaying = true;
        log.iter().for_each(|transaction| self.durable(transaction));
        self.is_replaying = false;
        self.forget_keys();
    }

    /// A report is kept for the operator instead of being said.
    pub(crate) fn set_aside(&mut self, node: &NodeName, attempt: AttemptId, generation: u64) {
        let is_undone = generation != self.generation;
        self.must(is_undone, "outbox", || format!("{node} sets the report of {attempt} aside, which is wanted"));
    }

    /// A swarm goes on after another: with all that the other reached, and with nothing else.
    pub(super) fn continued(&mut self, swarm: SwarmId, checkpoint: &Checkpoint) {
        let from = checkpoint.from;
        let found = match self.histories.get(&from) {
            Some(failed) => failed.compare(from, checkpoint),
            None => Err("it is not stored".to_owned()),
        };
        if let Err(words) = found {
            self.breaks("I3", || format!("{swarm} goes on after {from} with {checkpoint:?}: {words}"));
        }
    }

    /// A swarm and all that is stored of it go.
    pub(super) fn purge(&mut self, swarm: SwarmId) {
        let Some(history) = self.histories.remove(&swarm) else {
            return self.breaks("I1", || format!("{swarm} is purged, and was not there"));
        };
        self.must(history.is_over(), "I1", || format!("{swarm} is purged before it has ended"));
        self.purged.insert(swarm, history);
        self.forget_keys();
    }

    /// Of a line that was purged nothing may be left: what is left could be let go on, and read state whose reports the
    /// manager does not know any more.
    pub(super) fn purged_whole(&mut self, swarm: SwarmId) {
        let is_whole = self.is_purged(swarm);
        self.must(is_whole, "I1", || format!("{swarm} is purged, and others of its line stay"));
    }

    /// The history of a swarm, stored or purged.
    pub(super) fn history(&self, swarm: SwarmId) -> Option<&History> {
        self.histories.get(&swarm).or_else(|| self.purged.get(&swarm))
    }

    /// Whether a swarm and all that go on after it or before it are purged.
    pub(super) fn is_purged(&self, swarm: SwarmId) -> bool {
        self.history(swarm).is_some_and(|history| self.is_line_purged(history.state_of(swarm)))
    }

    /// Whether all swarms are purged whose tasks keep their state under this one.
    pub(super) fn is_line_purged(&self, state_of: SwarmId) -> bool {
        let of_line = |(id, history): (&SwarmId, &History)| history.state_of(*id) == state_of;
        self.purged.iter().any(of_line) && !self.histories.iter().any(of_line)
    }

    /// Whether a swarm was ever committed, as far as nothing undid it.
    pub(crate) fn knows(&self, swarm: SwarmId) -> bool {
        self.history(swarm).is_some()
    }

    /// Whether another swarm may go on after this one.
    pub(crate) fn can_go_on(&self, swarm: SwarmId) -> bool {
        self.histories.get(&swarm).is_some_and(|history| history.ended_as() == Some(SwarmState::Failed))
    }
}

/// The node of a record, where it is revoked.
pub(super) fn revoked(record: &NodeRecord) -> Option<NodeName> {
    (record.duty == NodeDuty::Revoked).then(|| record.name.clone())
}
