//! The manager's disk: the real rules of the store, and the troubles of a disk around them.
use manta_engine::{Engine, Now};
use manta_manager::ManagerError;
use manta_manager::orchestrator::{Recovered, recover};
use manta_store::{CommitError, Fault, Faulty, MemoryStore, StateStore, StoreError, Transaction};
use manta_types::ClusterId;

/// What a disk holds: everything that was committed, and how much of it is synced.
#[derive(Debug)]
pub(crate) struct Disk {
    store: MemoryStore,
    cluster: ClusterId,
    /// Until when there is no space.
    pub(crate) full_until: u64,
    /// Where commits return before they are synced: all of them, and how many are.
    unsynced: Option<(Vec<Transaction>, usize)>,
    fences: bool,
}

/// What goes wrong with a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failing {
    /// Nothing was written.
    Before,
    /// All was written, and the manager is told otherwise.
    After,
}

impl Disk {
    pub(crate) fn new(syncs: bool, fences: bool) -> Self {
        Self {
            store: new_store(fences),
            cluster: ClusterId::default(),
            full_until: 0,
            unsynced: (!syncs).then(|| (Vec::new(), 0)),
            fences,
        }
    }

    /// Commits, or fails in the given way.
    pub(crate) fn commit(&mut self, transaction: &Transaction, fails: Option<Failing>) -> Result<(), CommitError> {
        if fails != Some(Failing::Before) {
            self.store.commit(&self.cluster, transaction)?;
            if let Some((all, _)) = &mut self.unsynced {
                all.push(transaction.clone());
            }
        }
        match fails {
            None => Ok(()),
            Some(_) => Err(StoreError::Database("disk I/O error".to_owned()).into()),
        }
    }

    /// Time goes by: what was written reaches the disk.
    pub(crate) fn sync(&mut self) {
        if let Some((all, synced)) = &mut self.unsynced {
            *synced = all.len();
        }
    }

    /// The power goes: what is not synced is gone.
    pub(crate) fn cut_power(&mut self) {
        if let Some((all, synced)) = &mut self.unsynced {
            all.truncate(*synced);
            self.store = new_store(self.fences);
            for transaction in all.iter() {
                self.store.commit(&self.cluster, transaction).expect("it was committed before");
            }
        }
    }

    /// What a starting manager reads; the given read of it may fail.
    pub(crate) fn recover(&mut self, now: Now, seed: u64, failing_read: u64) -> Result<Recovered, ManagerError> {
        let mut faulty = Faulty::new(std::mem::take(&mut self.store), failing_read, Fault::Before);
        let recovered = recover(&mut faulty, &self.cluster, now, Engine::new(seed)).and_then(|mut recovered| {
            while !recovered.ended.is_empty() {
                for swarm in recovered.ended.read(&mut faulty, &self.cluster) {
                    recovered.engine.remember_swarm(swarm?);
                }
            }
            Ok(recovered)
        });
        self.store = faulty.into_inner();
        recovered
    }

    /// Reads something that is there.
    pub(crate) fn read<T>(&mut self, read: impl FnOnce(&mut MemoryStore, &ClusterId) -> Result<T, StoreError>) -> T {
        read(&mut self.store, &self.cluster).expect("memory reads")
    }
}

fn new_store(fences: bool) -> MemoryStore {
    let mut store = MemoryStore::default();
    store.accept_stale_attempts = !fences;
    store
}
