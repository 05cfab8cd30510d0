//! A store that fails on purpose, for tests of whoever uses one.
use manta_types::{AttemptId, ClusterId, Event, SwarmId};

use crate::{
    AttemptRecord, ClusterRecord, CommitError, GlobalRecord, KeyRecord, ModuleRecord, NodeRecord, ResultRecord,
    StateStore, StoreError, SwarmRecord, Transaction,
};

/// On which side of the work a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing was done.
    Before,
    /// All was done, but the caller is told otherwise, as when a machine dies right after its disk has written.
    After,
}

/// A store whose N-th call fails; every other call goes through.
#[derive(Debug)]
pub struct Faulty<S> {
    store: S,
    calls_left: u64,
    fault: Fault,
}

impl<S: StateStore> Faulty<S> {
    /// Wraps a store; `call` counts from 1, and 0 never comes.
    pub fn new(store: S, call: u64, fault: Fault) -> Self {
        Self { store, calls_left: call, fault }
    }

    /// The store inside, with all that was written.
    pub fn into_inner(self) -> S {
        self.store
    }

    fn call<T, E: From<StoreError>>(&mut self, work: impl FnOnce(&mut S) -> Result<T, E>) -> Result<T, E> {
        let fails = self.calls_left == 1;
        self.calls_left = self.calls_left.saturating_sub(1);
        if fails && self.fault == Fault::Before {
            return Err(injected().into());
        }
        let done = work(&mut self.store)?;
        if fails { Err(injected().into()) } else { Ok(done) }
    }
}

fn injected() -> StoreError {
    StoreError::Database("a fault was injected".to_owned())
}

impl<S: StateStore> StateStore for Faulty<S> {
    fn commit(&mut self, cluster: &ClusterId, transaction: &Transaction) -> Result<(), CommitError> {
        self.call(|store| store.commit(cluster, transaction))
    }

    fn generation(&mut self) -> Result<u64, StoreError> {
        self.call(StateStore::generation)
    }

    fn clusters(&mut self) -> Result<Vec<ClusterRecord>, StoreError> {
        self.call(StateStore::clusters)
    }

    fn swarms(&mut self, cluster: &ClusterId) -> Result<Vec<SwarmRecord>, StoreError> {
        self.call(|store| store.swarms(cluster))
    }

    fn events(
        &mut self,
        cluster: &ClusterId,
        swarm: SwarmId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Event>, StoreError> {
        self.call(|store| store.events(cluster, swarm, after, limit))
    }

    fn idempotency(&mut self, cluster: &ClusterId, key: &str) -> Result<Option<KeyRecord>, StoreError> {
        self.call(|store| store.idempotency(cluster, key))
    }

    fn attempt(&mut self, cluster: &ClusterId, attempt: AttemptId) -> Result<Option<AttemptRecord>, StoreError> {
        self.call(|store| store.attempt(cluster, attempt))
    }

    fn nodes(&mut self, cluster: &ClusterId) -> Result<Vec<NodeRecord>, StoreError> {
        self.call(|store| store.nodes(cluster))
    }

    fn modules(&mut self, cluster: &ClusterId) -> Result<Vec<ModuleRecord>, StoreError> {
        self.call(|store| store.modules(cluster))
    }

    fn results(&mut self, cluster: &ClusterId, swarm: SwarmId) -> Result<Vec<ResultRecord>, StoreError> {
        self.call(|store| store.results(cluster, swarm))
    }

    fn globals(&mut self, cluster: &ClusterId, swarm: SwarmId) -> Result<Vec<GlobalRecord>, StoreError> {
        self.call(|store| store.globals(cluster, swarm))
    }
}
