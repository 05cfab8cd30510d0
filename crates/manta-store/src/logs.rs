//! Lines of tasks' logs, metrics and progress: live, beside the history, in a file of their own.
//!
//! Lines of the last moments may be gone after a power cut; what is there is in order. In the place of lines that are damaged
//! or missing stands one that says so: what is whole beside them is served. How far each log goes is kept in a tree of its
//! own, so that no damage to one page takes lines away and the word of them too.
mod check;
mod read;

use std::path::Path;

use manta_api::view::LogLine;
use manta_types::{AttemptId, ClusterId, SwarmId};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use self::read::Log;
use crate::StoreError;
use crate::sqlite::checksum::{is_sound, put};
use crate::sqlite::database::{self, Format};
use crate::sqlite::migrate;

const LOG_FILE: &str = "logs.db";
const LOGS: Format = Format {
    application_id: i32::from_be_bytes(*b"MnLg"),
    version: 3,
    schema: concat!(include_str!("sqlite/schema/logs-2.sql"), include_str!("sqlite/schema/logs-3.sql")),
    migrations: &[migrate::logs_to_2, migrate::logs_to_3],
    synchronous: "NORMAL",
    is_checked: false,
};

/// Which lines are wanted; what is absent does not matter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogFilter {
    /// The task's alias.
    pub task: Option<String>,
    /// The node's name.
    pub node: Option<String>,
    /// From 0.
    pub iteration: Option<u32>,
    /// This level or a worse one: `debug`, `info`, `warning`, `error`.
    pub level: Option<String>,
    /// The attempt.
    pub attempt: Option<AttemptId>,
    /// `log`, `stdout`, `stderr`, `metrics`, `progress`, `platform`.
    pub source: Option<String>,
}

/// The logs of a manager's swarms.
#[derive(Debug)]
pub struct LogStore {
    connection: Connection,
}

/// A level as a number; what nobody knows is taken for `info`.
fn severity(level: &str) -> i64 {
    match level {
        "debug" => 10,
        "warning" => 30,
        "error" => 40,
        _ => 20,
    }
}

impl LogStore {
    /// Opens the logs in a data directory, making both where they are not there.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] for a foreign or damaged file, [`StoreError::Version`] for another format.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        database::make_private_dir(dir)?;
        Ok(Self { connection: database::open(&dir.join(LOG_FILE), &LOGS)? })
    }

    /// Logs that live as long as this value.
    ///
    /// # Errors
    /// When SQLite cannot work at all.
    pub fn in_memory() -> Result<Self, StoreError> {
        Ok(Self { connection: database::open_in_memory(&LOGS)? })
    }

    /// Adds lines at the end of a swarm's log and gives each its `seq`: rising, from 1, also across restarts.
    ///
    /// # Errors
    /// When the storage fails; then no line was added.
    pub fn append(&mut self, cluster: &ClusterId, swarm: SwarmId, lines: &mut [LogLine]) -> Result<(), StoreError> {
        let writing = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let last: u64 = writing
                .prepare_cached("SELECT COALESCE(MAX(seq), 0) FROM log_lines WHERE cluster_id = ?1 AND swarm_id = ?2")?
                .query_row(params![cluster.as_str(), swarm.bytes()], |row| row.get(0))?;
            // Whoever reads on from the last line that they saw must not take another for it, though it was lost.
            let last = last.max(end(&writing, cluster, swarm)?.unwrap_or(0));
            let mut insert = writing.prepare_cached(put!(
                "INSERT",
                log_lines,
                "?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13"
            ))?;
            for (seq, line) in (last + 1..).zip(lines.iter_mut()) {
                line.seq = seq;
                // SQLite counts in 63 bits, and one line must not take the others of its batch along.
                line.time_ms = line.time_ms.min(i64::MAX.cast_unsigned());
                insert.execute(params![
                    cluster.as_str(),
                    swarm.bytes(),
                    seq,
                    line.time_ms,
                    line.attempt.bytes(),
                    line.task,
                    line.node,
                    line.iteration,
                    line.level,
                    severity(&line.level),
                    line.source,
                    line.text,
                    line.data.as_ref().map(serde_json::Value::to_string),
                ])?;
            }
            let last = last + lines.len() as u64;
            writing.prepare_cached(put!("INSERT OR REPLACE", log_ends, "?1, ?2, ?3"))?.execute(params![
                cluster.as_str(),
                swarm.bytes(),
                last
            ])?;
        }
        Ok(writing.commit()?)
    }

    /// Removes the log of a swarm.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn purge(&mut self, cluster: &ClusterId, swarm: SwarmId) -> Result<(), StoreError> {
        let purging = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for delete in [
            "DELETE FROM log_lines WHERE cluster_id = ?1 AND swarm_id = ?2",
            "DELETE FROM log_ends WHERE cluster_id = ?1 AND swarm_id = ?2",
        ] {
            purging.prepare_cached(delete)?.execute(params![cluster.as_str(), swarm.bytes()])?;
        }
        Ok(purging.commit()?)
    }

    /// Removes the logs of all swarms of a cluster.
    ///
    /// # Errors
    /// When the storage fails; then nothing was removed.
    pub fn forget(&mut self, cluster: &ClusterId) -> Result<(), StoreError> {
        let purging = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for table in ["log_lines", "log_ends"] {
            purging.execute(&format!("DELETE FROM {table} WHERE cluster_id = ?1"), [cluster.as_str()])?;
        }
        Ok(purging.commit()?)
    }

    /// Copies the logs of a data directory, as of one moment, into a new file of another, whether a manager writes them or
    /// not; where there are none, nothing is made.
    ///
    /// # Errors
    /// When the storage fails; then the directory has no such file.
    pub fn copy(from: &Path, to: &Path) -> Result<(), StoreError> {
        let path = from.join(LOG_FILE);
        if !path.try_exists().map_err(database::io_at(&path))? {
            return Ok(());
        }
        database::copy(&database::open_to_read(&path, &LOGS)?, &to.join(LOG_FILE))
    }

    /// The lines of a swarm after a `seq` that pass the filter, in order, at most `limit`. Where lines are damaged or missing,
    /// whatever the filter, one stands in their place that says how much is.
    ///
    /// # Errors
    /// When the storage fails, or nothing that follows `after` can be read, not even from the log's end.
    pub fn query(
        &mut self,
        cluster: &ClusterId,
        swarm: SwarmId,
        after: u64,
        filter: &LogFilter,
        limit: usize,
    ) -> Result<Vec<LogLine>, StoreError> {
        // Where it cannot be read the lines may still be whole; a check says so.
        let end = end(&self.connection, cluster, swarm).unwrap_or_default();
        Log { connection: &self.connection, cluster, swarm, filter, end }.lines(after, limit)
    }
}

/// The `seq` of a swarm's last line; nothing where the swarm has none, or where what says so is damaged.
fn end(connection: &Connection, cluster: &ClusterId, swarm: SwarmId) -> Result<Option<u64>, rusqlite::Error> {
    const SELECT: &str =
        concat!("SELECT seq FROM log_ends WHERE cluster_id = ?1 AND swarm_id = ?2 AND ", is_sound!(log_ends));
    let mut select = connection.prepare_cached(SELECT)?;
    select.query_row(params![cluster.as_str(), swarm.bytes()], |row| row.get(0)).optional()
}

#[cfg(test)]
mod tests;
