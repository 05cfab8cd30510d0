//! [`SqliteStore`]: the state of a manager's clusters in `state.db`.
use std::path::Path;

use manta_types::{AttemptId, ClusterId, Event, SwarmId, crash_point};
use rusqlite::{Connection, TransactionBehavior, params};
use uuid::Uuid;

use super::checksum::put;
use super::database::{self, Format};
use super::lock::DataLock;
use super::{clusters, commit, migrate, modules, nodes, query, tally};
use crate::state::generation_after;
use crate::{
    AttemptRecord, ClusterRecord, CommitError, GlobalRecord, KeyRecord, ModuleRecord, NodeRecord, ResultRecord,
    StateStore, StoreError, SwarmRecord, Transaction,
};

pub(super) const STATE_FILE: &str = "state.db";
pub(super) const STATE: Format = Format {
    application_id: i32::from_be_bytes(*b"MnSt"),
    version: 7,
    schema: concat!(
        include_str!("schema/state-3.sql"),
        include_str!("schema/state-4.sql"),
        include_str!("schema/state-5.sql"),
        include_str!("schema/state-6.sql"),
        include_str!("schema/state-7.sql")
    ),
    migrations: &[
        migrate::state_to_2,
        migrate::state_to_3,
        migrate::state_to_4,
        migrate::state_to_5,
        migrate::state_to_6,
        migrate::state_to_7,
    ],
    synchronous: "FULL",
    is_checked: true,
};

/// The state of a manager's clusters in one SQLite file; holds the data directory's lock for its whole life.
#[derive(Debug)]
pub struct SqliteStore {
    pub(super) connection: Connection,
    /// Set by a commit that failed in the storage: what the disk holds is in doubt until the file is opened anew.
    in_doubt: bool,
    _lock: DataLock,
}

impl SqliteStore {
    /// Opens the state in a data directory, making both where they are not there.
    ///
    /// # Errors
    /// [`StoreError::Locked`] at once where a living manager has the directory; [`StoreError::Corrupt`] for a foreign or
    /// damaged file; [`StoreError::Version`] for a newer format. A refused file is left as it is.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        database::make_private_dir(dir)?;
        let lock = DataLock::take(dir)?;
        let connection = database::open(&dir.join(STATE_FILE), &STATE)?;
        tally::check(&connection)?;
        Ok(Self { connection, in_doubt: false, _lock: lock })
    }

    /// Begins a new generation, by [`generation_after`]; gives its number.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn begin_generation(&mut self, reason: &str) -> Result<u64, StoreError> {
        let last = query::generation(&self.connection)?;
        let now = "SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER)";
        let since_ms: u64 = self.connection.query_row(now, [], |row| row.get(0))?;
        let [.., a, b, c] = Uuid::now_v7().into_bytes();
        let generation = generation_after(last, since_ms, u32::from_be_bytes([0, a, b, c]));
        commit::run(
            &self.connection,
            put!("INSERT", generations, "?1, ?2, ?3"),
            params![generation, since_ms, reason],
        )?;
        Ok(generation)
    }

    fn commit_all(&mut self, cluster: &ClusterId, transaction: &Transaction) -> Result<(), CommitError> {
        let writing = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        crash_point!("store.commit.begun");
        commit::write(&writing, cluster, transaction)?; // dropping `writing` rolls back
        crash_point!("store.commit.written");
        writing.commit()?;
        crash_point!("store.commit.synced");
        Ok(())
    }
}

impl StateStore for SqliteStore {
    fn commit(&mut self, cluster: &ClusterId, transaction: &Transaction) -> Result<(), CommitError> {
        if self.in_doubt {
            let problem = "an earlier commit failed; the manager must be restarted".to_owned();
            return Err(StoreError::Database(problem).into());
        }
        let outcome = self.commit_all(cluster, transaction);
        self.in_doubt = matches!(outcome, Err(CommitError::Store(_)));
        outcome
    }

    fn generation(&mut self) -> Result<u64, StoreError> {
        query::generation(&self.connection)
    }

    fn clusters(&mut self) -> Result<Vec<ClusterRecord>, StoreError> {
        clusters::all(&self.connection)
    }

    fn swarms(&mut self, cluster: &ClusterId) -> Result<Vec<SwarmRecord>, StoreError> {
        query::swarms(&self.connection, cluster)
    }

    fn events(
        &mut self,
        cluster: &ClusterId,
        swarm: SwarmId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Event>, StoreError> {
        query::events(&self.connection, cluster, swarm, after, limit)
    }

    fn idempotency(&mut self, cluster: &ClusterId, key: &str) -> Result<Option<KeyRecord>, StoreError> {
        query::idempotency(&self.connection, cluster, key)
    }

    fn attempt(&mut self, cluster: &ClusterId, attempt: AttemptId) -> Result<Option<AttemptRecord>, StoreError> {
        query::attempt(&self.connection, cluster, attempt)
    }

    fn nodes(&mut self, cluster: &ClusterId) -> Result<Vec<NodeRecord>, StoreError> {
        nodes::all(&self.connection, cluster)
    }

    fn modules(&mut self, cluster: &ClusterId) -> Result<Vec<ModuleRecord>, StoreError> {
        modules::all(&self.connection, cluster)
    }

    fn results(&mut self, cluster: &ClusterId, swarm: SwarmId) -> Result<Vec<ResultRecord>, StoreError> {
        query::results(&self.connection, cluster, swarm)
    }

    fn globals(&mut self, cluster: &ClusterId, swarm: SwarmId) -> Result<Vec<GlobalRecord>, StoreError> {
        query::globals(&self.connection, cluster, swarm)
    }
}

#[cfg(test)]
mod tests;
