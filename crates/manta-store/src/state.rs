//! The state of a cluster: nodes, swarms, their histories, and the fence that keeps stale attempts out.
use manta_types::{AttemptId, ClusterId, Event, SwarmId};

use crate::{
    AttemptRecord, ClusterChange, ClusterRecord, CommitError, GlobalRecord, KeyRecord, ModuleRecord, NewSwarm,
    NodeRecord, ResultRecord, StoreError, SwarmRecord,
};

/// Changes that become durable together, or not at all; applied in the order swarms, nodes, modules, events,
/// keys, purged, forgotten keys, clusters.
///
/// The store derives its fence rows from the events themselves: `AttemptOffered` makes `(swarm, iteration, task, slot)`
/// belong to that attempt and epoch (which must be higher than before, and the slot not accepted); `AttemptAccepted`
/// needs the slot to still belong to it and not to be accepted already.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Transaction {
    /// Swarms that begin to exist; their events may follow in the same transaction.
    pub swarms: Vec<NewSwarm>,
    /// Events, in order; per swarm the sequence goes on without a gap.
    pub events: Vec<Event>,
    /// Nodes that joined, described themselves anew, or changed their duty.
    pub nodes: Vec<NodeRecord>,
    /// Versions of modules that are published, or of which something else is said now.
    pub modules: Vec<ModuleRecord>,
    /// Mutating calls that are answered with this.
    pub keys: Vec<KeyRecord>,
    /// Swarms that have ended and go, with all that is stored of them: histories, results, globals, keys. Those of a cluster
    /// that is being removed go whether they have ended or not.
    pub purged: Vec<SwarmId>,
    /// Keys that belong to no swarm and were used before this moment go; wall clock, ms since 1970. At 0 all stay.
    pub keys_before_ms: u64,
    /// Clusters beyond the first that begin to exist, or go.
    pub clusters: Vec<ClusterChange>,
}

/// Bits of a generation that are chance.
const GENERATION_CHANCE_BITS: u32 = 20;
/// The latest instant that a generation is in step with, in ms since 1970: the year 2109, so that it fits any signed number.
const GENERATION_MS_MAX: u64 = 1 << 42;

/// The generation after one: beyond it, in step with the wall clock, and not that of another restore of the same backup,
/// though the clock was put back between the two: from 20 bits of chance.
pub fn generation_after(last: u64, wall_ms: u64, chance: u32) -> u64 {
    let beyond = (last >> GENERATION_CHANCE_BITS) + 1;
    let chance = u64::from(chance) % (1 << GENERATION_CHANCE_BITS);
    wall_ms.min(GENERATION_MS_MAX).max(beyond) << GENERATION_CHANCE_BITS | chance
}

impl Transaction {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        let Self { swarms, events, nodes, modules, keys, purged, keys_before_ms, clusters } = self;
        let is_still = swarms.is_empty() && events.is_empty() && nodes.is_empty() && clusters.is_empty();
        is_still && modules.is_empty() && keys.is_empty() && purged.is_empty() && *keys_before_ms == 0
    }
}

/// Where the state of clusters lives. All calls block; a commit returns when it is durable.
pub trait StateStore: Send {
    /// Writes a transaction durably.
    ///
    /// # Errors
    /// See [`CommitError`]; after [`CommitError::Store`] nothing may be acknowledged any more.
    fn commit(&mut self, cluster: &ClusterId, transaction: &Transaction) -> Result<(), CommitError>;

    /// Which life of the cluster this is: a restored backup begins a new one, so what nodes hold of another generation
    /// belongs to a history that was undone. Never 0; generations of one cluster rise.
    ///
    /// # Errors
    /// When the storage fails.
    fn generation(&mut self) -> Result<u64, StoreError>;

    /// The clusters beyond the first, by name.
    ///
    /// # Errors
    /// When the storage fails.
    fn clusters(&mut self) -> Result<Vec<ClusterRecord>, StoreError>;

    /// All swarms, in the order in which they were committed.
    ///
    /// # Errors
    /// When the storage fails.
    fn swarms(&mut self, cluster: &ClusterId) -> Result<Vec<SwarmRecord>, StoreError>;

    /// The events of a swarm after a sequence, in order, at most `limit`.
    ///
    /// # Errors
    /// When the storage fails, or an event is missing, damaged or of an unknown kind.
    fn events(
        &mut self,
        cluster: &ClusterId,
        swarm: SwarmId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Event>, StoreError>;

    /// What an idempotency key was used for.
    ///
    /// # Errors
    /// When the storage fails.
    fn idempotency(&mut self, cluster: &ClusterId, key: &str) -> Result<Option<KeyRecord>, StoreError>;

    /// An attempt of any swarm that is stored, however long it is over.
    ///
    /// # Errors
    /// When the storage fails.
    fn attempt(&mut self, cluster: &ClusterId, attempt: AttemptId) -> Result<Option<AttemptRecord>, StoreError>;

    /// All nodes that ever joined, by name.
    ///
    /// # Errors
    /// When the storage fails.
    fn nodes(&mut self, cluster: &ClusterId) -> Result<Vec<NodeRecord>, StoreError>;

    /// All versions of modules that are published, by name and then by the text of the version.
    ///
    /// # Errors
    /// When the storage fails.
    fn modules(&mut self, cluster: &ClusterId) -> Result<Vec<ModuleRecord>, StoreError>;

    /// What a swarm's attempts published, ordered by iteration, task, node, attempt and order of publication.
    ///
    /// # Errors
    /// When the storage fails.
    fn results(&mut self, cluster: &ClusterId, swarm: SwarmId) -> Result<Vec<ResultRecord>, StoreError>;

    /// The current globals that a swarm's tasks wrote, by name; values of the submission itself are not among them.
    ///
    /// # Errors
    /// When the storage fails.
    fn globals(&mut self, cluster: &ClusterId, swarm: SwarmId) -> Result<Vec<GlobalRecord>, StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_rise_whatever_the_clock_says() {
        let early = generation_after(1, 1_700_000_000_000, 9);
        assert!(early > 1_700_000_000_000, "also beyond those that were instants alone");
        let put_back = generation_after(early, 5, 0);
        assert!(put_back > early);
        assert!(generation_after(put_back, u64::MAX, u32::MAX) < 1 << 63);
    }

    #[test]
    fn two_restores_of_one_backup_differ_though_the_clock_was_put_back() {
        let backup = generation_after(1, 1_900_000_000_000, 3);
        assert_ne!(generation_after(backup, 1_700_000_000_000, 4), generation_after(backup, 1_600_000_000_000, 5));
    }
}
