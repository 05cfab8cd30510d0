//! What users were told under their idempotency keys: it is done once, and every answer is the same.
use manta_manager::orchestrator::Change;
use manta_store::StateStore;
use manta_types::SwarmId;

use super::Checker;
use super::history::History;
use crate::sim::disk::Disk;

impl Checker {
    /// A user was told which swarm their key has.
    pub(crate) fn acknowledged(&mut self, key: &str, swarm: SwarmId, continues: Option<SwarmId>) {
        let is_durable = self.knows(swarm);
        self.must(is_durable, "durable", || format!("swarm {swarm} is acknowledged before it is durable"));
        let before = self.keys.insert(key.to_owned(), swarm);
        let is_same = before.is_none_or(|before| before == swarm || self.purged.contains_key(&before));
        self.must(is_same, "I1", || format!("`{key}` has swarm {swarm}, and had {before:?}"));
        let found = self.histories.get(&swarm).map_or(continues, History::continues);
        self.must(found == continues, "I1", || {
            format!("{swarm} should go on after {continues:?}, and does after {found:?}")
        });
    }

    /// A user was told that the change is made which they asked for under this key.
    pub(crate) fn changed(&mut self, key: &str, change: &Change) {
        let is_kept = self.made.contains_key(key);
        // In the turn in which its swarm is purged the key may have been looked up before.
        let is_durable = is_kept || self.gone.contains(key);
        self.must(is_durable, "durable", || format!("`{key}` is acknowledged before it is durable: {change:?}"));
        if let Change::Stop(swarm) = change {
            let is_over = self.is_over(*swarm);
            self.must(is_over, "durable", || format!("the stop of {swarm} is acknowledged before it is durable"));
        }
        if is_kept {
            self.told.insert(key.to_owned());
        }
    }

    /// A user was told that the change cannot be made which they asked for under this key. Asked for again in the same turn it
    /// may have been made since.
    pub(crate) fn stays(&mut self, key: &str) {
        let was_made = self.made.get(key).is_some_and(|(_, turn)| *turn < self.turns);
        self.must(!was_made, "I1", || format!("the change under `{key}` is refused, and was made"));
    }

    /// Keys that are not stored any more may be used anew.
    pub(super) fn forget_keys(&mut self) {
        let Self { keys, made, gone, told, histories, .. } = self;
        keys.retain(|_, swarm| histories.contains_key(swarm));
        let is_gone = |_: &String, (swarm, _): &mut (Option<SwarmId>, u64)| {
            swarm.is_some_and(|swarm| !histories.contains_key(&swarm))
        };
        gone.extend(made.extract_if(.., is_gone).map(|(key, _)| key));
        told.retain(|key| made.contains_key(key));
    }

    /// A manager starts on what the disk has.
    pub(crate) fn restarted(&mut self, disk: &mut Disk) {
        for (key, swarm) in self.keys.clone() {
            let stored = disk.read(|store, cluster| store.idempotency(cluster, &key));
            let is_there = stored.is_some_and(|record| record.swarm == Some(swarm));
            self.must(is_there, "I1", || format!("`{key}` had swarm {swarm}, and after a restart it has none"));
        }
        for key in self.told.clone() {
            let is_there = disk.read(|store, cluster| store.idempotency(cluster, &key)).is_some();
            self.must(is_there, "I1", || format!("what was asked for under `{key}` was done, and a restart forgot it"));
        }
        let mut problems = Vec::new();
        for (id, history) in &self.histories {
            let stored = disk.read(|store, cluster| store.events(cluster, *id, 0, usize::MAX));
            if stored != history.events() {
                let (has, had) = (stored.len(), history.events().len());
                problems.push(format!("swarm {id} has {has} events after a restart, {had} were durable"));
            }
        }
        for words in problems {
            self.breaks("I1", || words);
        }
    }
}
