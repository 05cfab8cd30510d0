//! The manager's disk: the real rules of the store, and the troubles of a disk around them.
use std::collections::BTreeSet;

use manta_engine::{Engine, Now};
use manta_manager::ManagerError;
use manta_manager::orchestrator::{Recovered, recover};
use manta_store::{CommitError, Fault, Faulty, MemoryStore, StateStore, StoreError, Transaction};
use manta_types::{ClusterId, Digest};

/// What a disk holds: everything that was committed, and how much of it is synced.
#[derive(Debug)]
pub(crate) struct Disk {
    store: MemoryStore,
    cluster: ClusterId,
    /// Until when there is no space.
    pub(crate) full_until: u64,
    /// Until when there is too little space for what can wait.
    pub(crate) low_until: u64,
    /// The generation of the cluster.
    pub(crate) generation: u64,
    /// Everything that was committed, in order.
    log: Vec<Transaction>,
    /// Where commits return before they are synced: how many are.
    synced: Option<usize>,
    backup: Option<Backup>,
    fences: bool,
}

/// A backup: all that was stored at one moment.
#[derive(Debug, Clone)]
struct Backup {
    commits: usize,
    generation: u64,
    blobs: BTreeSet<Digest>,
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
            low_until: 0,
            generation: 1,
            log: Vec::new(),
            synced: (!syncs).then_some(0),
            backup: None,
            fences,
        }
    }

    /// Commits, or fails in the given way.
    pub(crate) fn commit(&mut self, transaction: &Transaction, fails: Option<Failing>) -> Result<(), CommitError> {
        if fails != Some(Failing::Before) {
            self.store.commit(&self.cluster, transaction)?;
            self.log.push(transaction.clone());
        }
        match fails {
            None => Ok(()),
            Some(_) => Err(StoreError::Database("disk I/O error".to_owned()).into()),
        }
    }

    /// Time goes by: what was written reaches the disk.
    pub(crate) fn sync(&mut self) {
        if let Some(synced) = &mut self.synced {
            *synced = self.log.len();
        }
    }

    /// The power goes: what is not synced is gone.
    pub(crate) fn cut_power(&mut self) {
        if let Some(synced) = self.synced {
            self.go_back(synced);
        }
    }

    /// Only the first commits were ever made.
    fn go_back(&mut self, commits: usize) {
        self.log.truncate(commits);
        self.store = new_store(self.fences);
        for transaction in &self.log {
            self.store.commit(&self.cluster, transaction).expect("it was committed before");
        }
    }

    /// Makes a backup of the state, and of these blobs.
    pub(crate) fn back_up(&mut self, blobs: &BTreeSet<Digest>) {
        self.backup = Some(Backup { commits: self.log.len(), generation: self.generation, blobs: blobs.clone() });
    }

    /// Brings the last backup back, if there is one, and begins a generation; gives the blobs that there are.
    pub(crate) fn restore(&mut self, begin: impl FnOnce(u64) -> u64) -> Option<BTreeSet<Digest>> {
        let Backup { commits, generation, blobs } = self.backup.clone()?;
        self.go_back(commits);
        self.generation = begin(generation);
        Some(blobs)
    }

    /// Everything that was committed, in order.
    pub(crate) fn log(&self) -> &[Transaction] {
        &self.log
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
