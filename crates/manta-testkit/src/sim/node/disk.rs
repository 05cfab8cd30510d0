//! A node's disk: what it is asked to do takes time, may be refused, and may be cut short by the end of the agent.
use std::sync::Arc;

use manta_node::desk::{self, Journal};
use manta_types::AttemptId;

use super::SimNode;
use crate::sim::World;
use crate::sim::happening::{AtNode, Happening};

/// How long a disk that refused is left alone.
const DISK_AGAIN_MS: u64 = 5_000;

/// What a node's disk was asked to do.
#[derive(Debug, Clone)]
pub(super) enum DiskOrder {
    Write(Arc<Journal>),
    Commit(Arc<Journal>),
    Remove,
}

impl World {
    pub(super) fn order(&mut self, node: usize, attempt: AttemptId, order: DiskOrder) {
        let takes = if self.chance.one_in(20) { self.chance.between(100, 2_000) } else { self.chance.between(0, 15) };
        let known = &mut self.nodes[node];
        known.serial += 1;
        known.orders.insert(attempt, (known.serial, order));
        self.agenda.put(self.now + takes, Happening::Node(node, known.life, AtNode::Disk(attempt, known.serial)));
    }

    pub(super) fn disk_done(&mut self, node: usize, attempt: AttemptId, serial: u64) {
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
    pub(super) fn carry_out(&mut self, node: usize, attempt: AttemptId, order: &DiskOrder) {
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
}
