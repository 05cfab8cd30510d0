//! State in memory, for tests: the same rules as on disk, nothing kept.
use std::collections::BTreeMap;

use manta_types::event::{GlobalWrite, Published};
use manta_types::{AttemptId, ClusterId, Event, NodeName, SwarmEvent, SwarmId};

use crate::{
    AttemptRecord, ClusterChange, ClusterRecord, CommitError, GlobalRecord, KeyRecord, ModuleRecord, NewSwarm,
    NodeRecord, ResultRecord, StateStore, StoreError, SwarmRecord, Transaction,
};

/// The state of clusters in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    clusters: BTreeMap<ClusterId, Cluster>,
    /// Those beyond the first.
    added: BTreeMap<ClusterId, ClusterRecord>,
    /// Takes the fence out, so that the simulation can show that it notices.
    #[cfg(feature = "planted-bugs")]
    pub accept_stale_attempts: bool,
}

#[derive(Debug, Default)]
struct Cluster {
    /// In the order in which they were committed.
    order: Vec<SwarmId>,
    swarms: BTreeMap<SwarmId, Swarm>,
    nodes: BTreeMap<NodeName, NodeRecord>,
    modules: BTreeMap<(String, String), ModuleRecord>,
    keys: BTreeMap<String, KeyRecord>,
    /// Whose each attempt is.
    attempts: BTreeMap<AttemptId, SwarmId>,
    #[cfg(feature = "planted-bugs")]
    accept_stale_attempts: bool,
}

#[derive(Debug)]
struct Swarm {
    new: NewSwarm,
    events: Vec<Event>,
    derived: Derived,
}

/// What follows from a swarm's history; always equal to a fold over it.
#[derive(Debug, Default)]
struct Derived {
    attempts: BTreeMap<AttemptId, Offer>,
    slots: BTreeMap<SlotKey, Slot>,
    results: BTreeMap<ResultKey, ResultRecord>,
    globals: BTreeMap<String, GlobalRecord>,
    ended_ms: Option<u64>,
}

/// Iteration, task, slot.
type SlotKey = (u32, usize, usize);
/// Iteration, task, node, attempt, order of publication.
type ResultKey = (u32, usize, NodeName, AttemptId, usize);

#[derive(Debug, Clone)]
struct Offer {
    slot: SlotKey,
    node: NodeName,
    epoch: u32,
}

#[derive(Debug)]
struct Slot {
    attempt: AttemptId,
    epoch: u32,
    accepted: bool,
}

/// How to undo a transaction: how long everything was.
struct Before {
    swarms: usize,
    histories: BTreeMap<SwarmId, usize>,
    nodes: BTreeMap<NodeName, NodeRecord>,
    /// Versions of modules that the transaction names, where they were there.
    modules: BTreeMap<(String, String), Option<ModuleRecord>>,
    /// Keys of the transaction that were not there.
    keys: Vec<String>,
}

impl Cluster {
    fn before(&self, transaction: &Transaction) -> Before {
        let length = |id: SwarmId| self.swarms.get(&id).map(|swarm| (id, swarm.events.len()));
        let nodes = if transaction.nodes.is_empty() { BTreeMap::new() } else { self.nodes.clone() };
        let histories = transaction.events.iter().filter_map(|event| length(event.swarm)).collect();
        let submitted = transaction.swarms.iter().filter_map(|swarm| Some(&swarm.idempotency.as_ref()?.0));
        let keys = submitted.chain(transaction.keys.iter().map(|record| &record.key));
        let keys = keys.filter(|key| !self.keys.contains_key(*key)).cloned().collect();
        let version = |module: &ModuleRecord| (module.name.clone(), module.version.clone());
        let known = |key: (String, String)| (key.clone(), self.modules.get(&key).cloned());
        let modules = transaction.modules.iter().map(version).map(known).collect();
        Before { swarms: self.order.len(), histories, nodes, modules, keys }
    }

    fn undo(&mut self, transaction: &Transaction, before: Before) {
        for new in self.order.drain(before.swarms..) {
            self.swarms.remove(&new);
        }
        for key in before.keys {
            self.keys.remove(&key);
        }
        if !transaction.nodes.is_empty() {
            self.nodes = before.nodes;
        }
        for (version, record) in before.modules {
            match record {
                Some(record) => drop(self.modules.insert(version, record)),
                None => drop(self.modules.remove(&version)),
            }
        }
        for (id, length) in before.histories {
            let swarm = self.swarms.get_mut(&id).expect("a swarm that was there before stays");
            swarm.events.truncate(length);
            swarm.derived = Derived::default();
            for event in &swarm.events {
                swarm.derived.apply(event).expect("this history was accepted before");
            }
        }
        let swarms = &self.swarms;
        self.attempts.retain(|attempt, id| {
            swarms.get(id).is_some_and(|swarm: &Swarm| swarm.derived.attempts.contains_key(attempt))
        });
    }

    fn apply(&mut self, transaction: &Transaction, is_leaving: bool) -> Result<(), CommitError> {
        let Transaction { swarms, events, nodes, modules, keys, purged, keys_before_ms, clusters: _ } = transaction;
        swarms.iter().try_for_each(|swarm| self.add_swarm(swarm))?;
        nodes.iter().try_for_each(|node| self.put_node(node))?;
        modules.iter().try_for_each(|module| self.put_module(module))?;
        events.iter().try_for_each(|event| self.add_event(event))?;
        keys.iter().try_for_each(|record| self.add_key(record))?;
        if !is_leaving {
            purged.iter().try_for_each(|swarm| self.check_ended(*swarm))?;
        }
        purged.iter().for_each(|swarm| self.purge(*swarm));
        self.keys.retain(|_, record| record.swarm.is_some() || record.used_ms >= *keys_before_ms);
        Ok(())
    }

    fn add_swarm(&mut self, new: &NewSwarm) -> Result<(), CommitError> {
        if let Some((key, request)) = &new.idempotency {
            self.check_key(key, request)?;
        }
        if self.swarms.contains_key(&new.id) {
            return Err(CommitError::SwarmKnown { swarm: new.id });
        }
        self.order.push(new.id);
        self.swarms.insert(new.id, Swarm { new: new.clone(), events: Vec::new(), derived: Derived::default() });
        match KeyRecord::of(new) {
            Some(record) => self.add_key(&record),
            None => Ok(()),
        }
    }

    fn check_key(&self, key: &str, request: &str) -> Result<(), CommitError> {
        match self.keys.get(key) {
            Some(earlier) => {
                let same_request = earlier.request == request;
                Err(CommitError::KeyUsed { earlier: Box::new(earlier.clone()), same_request })
            }
            None => Ok(()),
        }
    }

    fn add_key(&mut self, record: &KeyRecord) -> Result<(), CommitError> {
        self.check_key(&record.key, &record.request)?;
        if let Some(swarm) = record.swarm.filter(|swarm| !self.swarms.contains_key(swarm)) {
            return Err(CommitError::UnknownSwarm { swarm });
        }
        self.keys.insert(record.key.clone(), record.clone());
        Ok(())
    }

    fn put_node(&mut self, node: &NodeRecord) -> Result<(), CommitError> {
        if self.nodes.get(&node.name).is_some_and(|owner| owner.id != node.id) {
            return Err(CommitError::NameTaken { name: node.name.clone() });
        }
        let mut joined_ms = node.joined_ms;
        if let Some(known) = self.nodes.values().find(|known| known.id == node.id) {
            if known.name != node.name {
                let (name, wanted) = (known.name.clone(), node.name.clone());
                return Err(CommitError::Renamed { id: node.id, name, wanted });
            }
            joined_ms = known.joined_ms;
        }
        self.nodes.insert(node.name.clone(), NodeRecord { joined_ms, ..node.clone() });
        Ok(())
    }

    fn put_module(&mut self, module: &ModuleRecord) -> Result<(), CommitError> {
        let (name, version) = (module.name.clone(), module.version.clone());
        let key = (name.clone(), version.clone());
        if self.modules.get(&key).is_some_and(|known| !known.is_same_version(module)) {
            return Err(CommitError::Published { name, version });
        }
        self.modules.insert(key, module.clone());
        Ok(())
    }

    fn add_event(&mut self, event: &Event) -> Result<(), CommitError> {
        let swarm = self.swarms.get_mut(&event.swarm).ok_or(CommitError::UnknownSwarm { swarm: event.swarm })?;
        let stored = swarm.events.len() as u64;
        if event.seq != stored + 1 {
            return Err(CommitError::OutOfOrder { swarm: event.swarm, stored, given: event.seq });
        }
        swarm.events.push(event.clone());
        #[cfg(feature = "planted-bugs")]
        if self.accept_stale_attempts {
            // What the fence keeps out is not derived, and stored all the same.
            let _ = swarm.derived.apply(event);
            return Ok(());
        }
        let SwarmEvent::AttemptOffered { attempt, .. } = event.what else {
            return swarm.derived.apply(event).map_err(|attempt| CommitError::Fenced { attempt });
        };
        if self.attempts.contains_key(&attempt) {
            return Err(CommitError::Fenced { attempt });
        }
        swarm.derived.apply(event).map_err(|attempt| CommitError::Fenced { attempt })?;
        self.attempts.insert(attempt, event.swarm);
        Ok(())
    }

    fn check_ended(&self, swarm: SwarmId) -> Result<(), CommitError> {
        let found = self.swarms.get(&swarm).ok_or(CommitError::UnknownSwarm { swarm })?;
        found.derived.ended_ms.map(|_| ()).ok_or(CommitError::NotEnded { swarm })
    }

    fn purge(&mut self, swarm: SwarmId) {
        self.swarms.remove(&swarm);
        self.order.retain(|id| *id != swarm);
        self.keys.retain(|_, record| record.swarm != Some(swarm));
        self.attempts.retain(|_, owner| *owner != swarm);
    }
}

impl Derived {
    /// Follows an event, or names the attempt that the fence keeps out.
    fn apply(&mut self, event: &Event) -> Result<(), AttemptId> {
        match &event.what {
            SwarmEvent::AttemptOffered { attempt, iteration, task, slot, node, epoch, .. } => {
                self.offer(*attempt, Offer { slot: (*iteration, *task, *slot), node: node.clone(), epoch: *epoch })?;
            }
            SwarmEvent::AttemptAccepted { attempt, outputs, .. } => {
                let offer = self.attempts.get(attempt).ok_or(*attempt)?.clone();
                let slot = self.slots.get_mut(&offer.slot).expect("an offer makes its slot");
                if slot.attempt != *attempt || slot.epoch != offer.epoch || slot.accepted {
                    return Err(*attempt);
                }
                slot.accepted = true;
                self.add_results(*attempt, &offer, &outputs.results, true);
            }
            SwarmEvent::AttemptFailed { attempt, results, .. } => {
                let offer = self.attempts.get(attempt).ok_or(*attempt)?.clone();
                self.add_results(*attempt, &offer, results, false);
            }
            SwarmEvent::TaskRunClosed { globals, .. } => globals.iter().for_each(|write| self.put_global(write)),
            SwarmEvent::SwarmContinued { checkpoint } => {
                checkpoint.written().for_each(|write| self.put_global(&write));
            }
            other if other.is_final() => self.ended_ms = self.ended_ms.or(Some(event.time_ms)),
            _ => {}
        }
        Ok(())
    }

    fn offer(&mut self, attempt: AttemptId, offer: Offer) -> Result<(), AttemptId> {
        let fenced = self.slots.get(&offer.slot).is_some_and(|slot| slot.accepted || slot.epoch >= offer.epoch);
        if fenced || self.attempts.contains_key(&attempt) {
            return Err(attempt);
        }
        self.slots.insert(offer.slot, Slot { attempt, epoch: offer.epoch, accepted: false });
        self.attempts.insert(attempt, offer);
        Ok(())
    }

    fn put_global(&mut self, write: &GlobalWrite) {
        let GlobalWrite { name, blob, revision, writer } = write.clone();
        self.globals.insert(name.clone(), GlobalRecord { name, revision, writer, blob });
    }

    fn add_results(&mut self, attempt: AttemptId, offer: &Offer, results: &[Published], accepted: bool) {
        let (iteration, task, _) = offer.slot;
        for (position, Published { name, blob }) in results.iter().enumerate() {
            let (node, name, blob) = (offer.node.clone(), name.clone(), *blob);
            let key = (iteration, task, node.clone(), attempt, position);
            self.results.insert(key, ResultRecord { iteration, task, node, name, blob, attempt, accepted });
        }
    }
}

impl MemoryStore {
    /// How many attempts and slots a swarm's history made.
    pub(crate) fn fence_rows(&self, cluster: &ClusterId, swarm: SwarmId) -> (usize, usize) {
        let derived = self.swarm(cluster, swarm).map(|swarm| &swarm.derived);
        derived.map_or((0, 0), |derived| (derived.attempts.len(), derived.slots.len()))
    }

    fn swarm(&self, cluster: &ClusterId, swarm: SwarmId) -> Option<&Swarm> {
        self.clusters.get(cluster)?.swarms.get(&swarm)
    }
}

impl StateStore for MemoryStore {
    fn commit(&mut self, cluster: &ClusterId, transaction: &Transaction) -> Result<(), CommitError> {
        let is_leaving = self.added.get(cluster).is_some_and(|record| record.is_removing);
        let cluster = self.clusters.entry(cluster.clone()).or_default();
        #[cfg(feature = "planted-bugs")]
        {
            cluster.accept_stale_attempts = self.accept_stale_attempts;
        }
        let before = cluster.before(transaction);
        let outcome = cluster.apply(transaction, is_leaving);
        if outcome.is_err() {
            cluster.undo(transaction, before);
            return outcome;
        }
        for change in &transaction.clusters {
            match change {
                ClusterChange::Put(record) => drop(self.added.insert(record.name.clone(), record.clone())),
                ClusterChange::Gone(name) => {
                    self.added.remove(name);
                    self.clusters.remove(name);
                }
            }
        }
        outcome
    }

    fn generation(&mut self) -> Result<u64, StoreError> {
        Ok(1)
    }

    fn clusters(&mut self) -> Result<Vec<ClusterRecord>, StoreError> {
        Ok(self.added.values().cloned().collect())
    }

    fn swarms(&mut self, cluster: &ClusterId) -> Result<Vec<SwarmRecord>, StoreError> {
        let Some(cluster) = self.clusters.get(cluster) else { return Ok(Vec::new()) };
        let record = |id: &SwarmId| {
            let Swarm { new, events, derived } = &cluster.swarms[id];
            let (name, submission, seq) = (new.name.clone(), new.submission.clone(), events.len() as u64);
            SwarmRecord { id: *id, name, submission, created_ms: new.created_ms, seq, ended_ms: derived.ended_ms }
        };
        Ok(cluster.order.iter().map(record).collect())
    }

    fn events(
        &mut self,
        cluster: &ClusterId,
        swarm: SwarmId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Event>, StoreError> {
        let Some(swarm) = self.swarm(cluster, swarm) else { return Ok(Vec::new()) };
        let after = usize::try_from(after).unwrap_or(usize::MAX);
        Ok(swarm.events.iter().skip(after).take(limit).cloned().collect())
    }

    fn idempotency(&mut self, cluster: &ClusterId, key: &str) -> Result<Option<KeyRecord>, StoreError> {
        Ok(self.clusters.get(cluster).and_then(|cluster| cluster.keys.get(key).cloned()))
    }

    fn attempt(&mut self, cluster: &ClusterId, attempt: AttemptId) -> Result<Option<AttemptRecord>, StoreError> {
        let Some(cluster) = self.clusters.get(cluster) else { return Ok(None) };
        let Some(swarm) = cluster.attempts.get(&attempt) else { return Ok(None) };
        let derived = &cluster.swarms[swarm].derived;
        let Offer { slot, node, epoch } = derived.attempts[&attempt].clone();
        let accepted = derived.slots[&slot].accepted && derived.slots[&slot].attempt == attempt;
        let (iteration, task, slot) = slot;
        Ok(Some(AttemptRecord { swarm: *swarm, iteration, task, slot, node, epoch, accepted }))
    }

    fn nodes(&mut self, cluster: &ClusterId) -> Result<Vec<NodeRecord>, StoreError> {
        let nodes = self.clusters.get(cluster).map(|cluster| cluster.nodes.values().cloned().collect());
        Ok(nodes.unwrap_or_default())
    }

    fn modules(&mut self, cluster: &ClusterId) -> Result<Vec<ModuleRecord>, StoreError> {
        let modules = self.clusters.get(cluster).map(|cluster| cluster.modules.values().cloned().collect());
        Ok(modules.unwrap_or_default())
    }

    fn results(&mut self, cluster: &ClusterId, swarm: SwarmId) -> Result<Vec<ResultRecord>, StoreError> {
        let results = self.swarm(cluster, swarm).map(|swarm| swarm.derived.results.values().cloned().collect());
        Ok(results.unwrap_or_default())
    }

    fn globals(&mut self, cluster: &ClusterId, swarm: SwarmId) -> Result<Vec<GlobalRecord>, StoreError> {
        let globals = self.swarm(cluster, swarm).map(|swarm| swarm.derived.globals.values().cloned().collect());
        Ok(globals.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests;
