//! Whoever operates the cluster: makes backups and brings them back, purges what has ended, revokes nodes.
use std::collections::BTreeSet;

use manta_store::state::generation_after;

use super::World;
use super::bug::Bug;
use super::happening::{Asked, Message};

impl World {
    /// Makes a backup, or brings the last one back: all since then is undone, and a generation begins that fences it.
    pub(crate) fn restore(&mut self) {
        if self.chance.one_in(2) {
            self.trace.line(self.now, || "a backup is made".to_owned());
            return self.disk.back_up(&self.blobs);
        }
        let (wall_ms, chance) = (self.clock().wall_ms, u32::try_from(self.chance.between(0, 1 << 20)).unwrap_or(0));
        let goes_on = self.bug == Some(Bug::NoGeneration);
        let begin = |last| if goes_on { last } else { generation_after(last, wall_ms, chance) };
        self.kill_manager("to be restored, if there is a backup");
        if let Some(blobs) = self.disk.restore(begin) {
            self.trace.line(self.now, || format!("the backup is brought back, generation {}", self.disk.generation));
            self.blobs = blobs;
            self.checker.restored(self.disk.log(), self.disk.generation, &self.nodes);
            self.look_again();
        }
    }

    /// Lets go of some of the swarms that have ended.
    pub(crate) fn purge(&mut self) {
        let Some(core) = &self.manager.core else { return };
        let ended = core.engine().swarms().filter(|swarm| swarm.is_over()).map(|swarm| swarm.id());
        let ended: BTreeSet<_> = ended.filter(|_| self.chance.one_in(2)).collect();
        self.trace.line(self.now, || format!("swarms are purged: {ended:?}"));
        self.post(Message::Purge(ended));
    }

    /// Revokes a node, the same one in the whole run: the others have to do.
    pub(crate) fn revoke(&mut self, node: usize) {
        let node = *self.revoked.get_or_insert(node);
        let node = self.nodes[node].name.clone();
        self.trace.line(self.now, || format!("{node} is to be revoked"));
        self.ask_as_user(Asked::Revoke(node));
    }
}
