//! Lines of tasks' logs, metrics and progress: live, beside the history, in a file of their own.
//!
//! Lines of the last moments may be gone after a power cut; what is there is in order. In the place of a damaged line stands
//! one that says so: what is whole beside it is served.
use std::collections::VecDeque;
use std::path::Path;

use manta_api::view::LogLine;
use manta_types::{AttemptId, ClusterId, SwarmId};
use rusqlite::types::{Type, ValueRef};
use rusqlite::{Connection, ErrorCode, Row, TransactionBehavior, params};

use crate::StoreError;
use crate::sqlite::checksum::{is_sound, put};
use crate::sqlite::database::{self, Format, StoredId};
use crate::sqlite::migrate;

const LOG_FILE: &str = "logs.db";
const LOGS: Format = Format {
    application_id: i32::from_be_bytes(*b"MnLg"),
    version: 2,
    schema: include_str!("sqlite/schema/logs-2.sql"),
    migrations: &[migrate::logs_to_2],
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

/// Reads a swarm's lines in that order of `seq`: those that pass the filter, and all that are damaged.
macro_rules! select {
    ($order:literal) => {
        concat!(
            "SELECT seq, time_ms, attempt_id, task, node, iteration, level, source, text, data, ",
            is_sound!(log_lines),
            " FROM log_lines \
             WHERE cluster_id = ?1 AND swarm_id = ?2 AND seq > ?3 \
             AND ((?4 IS NULL OR task = ?4) AND (?5 IS NULL OR node = ?5) AND (?6 IS NULL OR iteration = ?6) \
             AND (?7 IS NULL OR severity >= ?7) AND (?8 IS NULL OR attempt_id = ?8) AND (?9 IS NULL OR source = ?9) \
             OR NOT ",
            is_sound!(log_lines),
            ") ORDER BY seq ",
            $order,
            " LIMIT ?10"
        )
    };
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
            let mut insert = writing.prepare_cached(put!(
                "INSERT",
                log_lines,
                "?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13"
            ))?;
            for (seq, line) in (last + 1..).zip(lines.iter_mut()) {
                line.seq = seq;
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
        }
        Ok(writing.commit()?)
    }

    /// Removes the log of a swarm.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn purge(&mut self, cluster: &ClusterId, swarm: SwarmId) -> Result<(), StoreError> {
        let delete = "DELETE FROM log_lines WHERE cluster_id = ?1 AND swarm_id = ?2";
        self.connection.prepare_cached(delete)?.execute(params![cluster.as_str(), swarm.bytes()])?;
        Ok(())
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

    /// The lines of a swarm after a `seq` that pass the filter, in order, at most `limit`. Where lines are damaged, whatever
    /// the filter, one stands in their place that says how much is.
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
        let log = Log { connection: &self.connection, cluster, swarm };
        let mut lines = Vec::new();
        match log.walk(select!("ASC"), after, filter, limit, |line| lines.push(line)) {
            Err(error) if is_damage(&error) => log.go_on_behind(error, after, filter, limit, &mut lines)?,
            outcome => outcome?,
        }
        Ok(lines)
    }
}

/// One swarm's log.
struct Log<'a> {
    connection: &'a Connection,
    cluster: &'a ClusterId,
    swarm: SwarmId,
}

impl Log<'_> {
    fn walk(
        &self,
        select: &str,
        after: u64,
        filter: &LogFilter,
        limit: usize,
        mut take: impl FnMut(LogLine),
    ) -> rusqlite::Result<()> {
        let mut select = self.connection.prepare_cached(select)?;
        let mut rows = select.query(params![
            self.cluster.as_str(),
            self.swarm.bytes(),
            i64::try_from(after).unwrap_or(i64::MAX), // SQLite counts in 63 bits; no log comes near
            filter.task,
            filter.node,
            filter.iteration,
            filter.level.as_deref().map(severity),
            filter.attempt.map(AttemptId::bytes),
            filter.source,
            i64::try_from(limit).unwrap_or(i64::MAX),
        ])?;
        let mut beside_ms = 0;
        while let Some(row) = rows.next()? {
            let line = if row.get(10)? {
                line(row)?
            } else {
                let bytes = bytes(row.get_ref(8)?) + bytes(row.get_ref(9)?);
                stand_in(row.get(0)?, beside_ms, format!("a line of {bytes} bytes is damaged and not shown"))
            };
            beside_ms = line.time_ms;
            take(line);
        }
        Ok(())
    }

    /// Goes on behind a damaged part of the file, which is met again when it is come to from the log's end.
    fn go_on_behind(
        &self,
        damage: rusqlite::Error,
        after: u64,
        filter: &LogFilter,
        limit: usize,
        lines: &mut Vec<LogLine>,
    ) -> Result<(), StoreError> {
        let before = lines.last().map_or(after, |line| line.seq);
        let Some(next) = self.first_readable(before)? else {
            return if lines.is_empty() { Err(damage.into()) } else { Ok(()) };
        };
        if next > before + 1 {
            let text = format!("the lines {} to {} are damaged and not shown", before + 1, next - 1);
            lines.push(stand_in(next - 1, lines.last().map_or(0, |line| line.time_ms), text));
        }
        let room = limit.saturating_sub(lines.len());
        let mut behind = VecDeque::new();
        let walked = self.walk(select!("DESC"), next - 1, filter, usize::MAX, |line| {
            behind.push_front(line);
            behind.truncate(room);
        });
        lines.extend(behind);
        match walked {
            Err(error) if !is_damage(&error) => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// The first line after this one behind which, as the walk from the end shows, nothing is damaged.
    fn first_readable(&self, after: u64) -> Result<Option<u64>, StoreError> {
        let select = "SELECT seq FROM log_lines WHERE cluster_id = ?1 AND swarm_id = ?2 AND seq > ?3 ORDER BY seq DESC";
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let mut select = self.connection.prepare_cached(select)?;
        let mut rows = select.query(params![self.cluster.as_str(), self.swarm.bytes(), after])?;
        let mut first = None;
        loop {
            match rows.next() {
                Ok(Some(row)) => first = Some(row.get(0)?),
                Ok(None) => return Ok(first),
                Err(error) if is_damage(&error) => return Ok(first),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn is_damage(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt)
}

fn bytes(value: ValueRef<'_>) -> usize {
    value.as_bytes_or_null().ok().flatten().map_or(0, <[u8]>::len)
}

/// What stands where lines are damaged: nothing of them can be believed, so it names no task and no node, and its time is that
/// of a line beside it.
fn stand_in(seq: u64, time_ms: u64, text: String) -> LogLine {
    LogLine {
        seq,
        time_ms,
        attempt: AttemptId::from_uuid(uuid::Uuid::nil()),
        task: String::new(),
        node: String::new(),
        iteration: 0,
        level: "error".to_owned(),
        source: "platform".to_owned(),
        text,
        data: None,
    }
}

fn line(row: &Row<'_>) -> rusqlite::Result<LogLine> {
    let data: Option<String> = row.get(9)?;
    let parse = |text: String| {
        serde_json::from_str(&text)
            .map_err(|error| rusqlite::Error::FromSqlConversionFailure(9, Type::Text, error.into()))
    };
    Ok(LogLine {
        seq: row.get(0)?,
        time_ms: row.get(1)?,
        attempt: AttemptId::from_uuid(row.get::<_, StoredId>(2)?.0),
        task: row.get(3)?,
        node: row.get(4)?,
        iteration: row.get(5)?,
        level: row.get(6)?,
        source: row.get(7)?,
        text: row.get(8)?,
        data: data.map(parse).transpose()?,
    })
}

#[cfg(test)]
mod tests;
