//! Reads one swarm's log, and says in its place what of it is damaged or missing.
use std::collections::VecDeque;

use manta_api::view::LogLine;
use manta_types::{AttemptId, ClusterId, SwarmId};
use rusqlite::types::Type;
use rusqlite::{Connection, ErrorCode, Row, params};

use super::{LogFilter, severity};
use crate::StoreError;
use crate::sqlite::checksum::is_sound;
use crate::sqlite::database::StoredId;

/// Reads a swarm's lines that are as they were written, in that order of `seq`, and whether each passes the filter.
macro_rules! select {
    ($order:literal) => {
        concat!(
            "SELECT seq, time_ms, attempt_id, task, node, iteration, level, source, text, data, \
             (?4 IS NULL OR task = ?4) AND (?5 IS NULL OR node = ?5) AND (?6 IS NULL OR iteration = ?6) \
             AND (?7 IS NULL OR severity >= ?7) AND (?8 IS NULL OR attempt_id = ?8) AND (?9 IS NULL OR source = ?9) \
             FROM log_lines WHERE cluster_id = ?1 AND swarm_id = ?2 AND seq > ?3 AND ",
            is_sound!(log_lines),
            " ORDER BY seq ",
            $order
        )
    };
}

/// One swarm's log, as somebody wants it.
pub(super) struct Log<'a> {
    pub(super) connection: &'a Connection,
    pub(super) cluster: &'a ClusterId,
    pub(super) swarm: SwarmId,
    pub(super) filter: &'a LogFilter,
    /// The last line that was ever written, where that is known.
    pub(super) end: Option<u64>,
}

impl Log<'_> {
    /// Lines after a `seq`, in order, at most `limit`.
    pub(super) fn lines(&self, after: u64, limit: usize) -> Result<Vec<LogLine>, StoreError> {
        let after = after.min(i64::MAX.cast_unsigned()); // SQLite counts in 63 bits; no log comes near
        let (mut lines, mut last) = (Vec::new(), after);
        let walked = self.walk(select!("ASC"), after, |seq, line| {
            lines.extend(lost(last + 1, seq - 1, time(&lines)).filter(|_| lines.len() < limit));
            last = seq;
            if lines.len() < limit {
                lines.extend(line);
            }
            lines.len() < limit
        });
        match walked {
            Err(error) if is_damage(&error) => self.go_on_behind(error, last, limit, &mut lines)?,
            outcome => {
                let is_all = outcome?;
                if let Some(end) = self.end.filter(|_| is_all) {
                    lines.extend(lost(last + 1, end, time(&lines)));
                }
            }
        }
        Ok(lines)
    }

    /// Shows each line, or nothing in the place of one that does not pass, until `take` wants no more; whether it wanted all.
    fn walk(
        &self,
        select: &str,
        after: u64,
        mut take: impl FnMut(u64, Option<LogLine>) -> bool,
    ) -> rusqlite::Result<bool> {
        let filter = self.filter;
        let mut select = self.connection.prepare_cached(select)?;
        let mut rows = select.query(params![
            self.cluster.as_str(),
            self.swarm.bytes(),
            after,
            filter.task,
            filter.node,
            filter.iteration,
            filter.level.as_deref().map(severity),
            filter.attempt.map(AttemptId::bytes),
            filter.source,
        ])?;
        while let Some(row) = rows.next()? {
            let shown = if row.get(10)? { Some(line(row)?) } else { None };
            if !take(row.get(0)?, shown) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Goes on behind a damaged part of the file, which is met again when it is come to from the log's end; `last` is the
    /// last line before it.
    fn go_on_behind(
        &self,
        damage: rusqlite::Error,
        last: u64,
        limit: usize,
        lines: &mut Vec<LogLine>,
    ) -> Result<(), StoreError> {
        let mut behind = VecDeque::new();
        let mut next = self.end.map(|end| end + 1);
        let walked = self.walk(select!("DESC"), last, |seq, line| {
            let time_ms = line.as_ref().map_or(0, |line| line.time_ms);
            let lost = next.and_then(|next| lost(seq + 1, next - 1, time_ms));
            lost.into_iter().chain(line).for_each(|line| behind.push_front(line));
            behind.truncate(limit);
            next = Some(seq);
            true
        });
        match walked {
            Err(error) if !is_damage(&error) => return Err(error.into()),
            _ => {}
        }
        let before = next.and_then(|next| lost(last + 1, next - 1, time(lines)));
        if before.is_none() && behind.is_empty() && lines.is_empty() {
            return Err(damage.into());
        }
        lines.extend(before.into_iter().chain(behind));
        lines.truncate(limit);
        Ok(())
    }
}

fn is_damage(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt)
}

/// The time of the last line.
fn time(lines: &[LogLine]) -> u64 {
    lines.last().map_or(0, |line| line.time_ms)
}

/// What stands for the lines from one to another, both among them, if there are any; it has the last one's `seq`. Nothing of
/// them can be believed, so it names no task and no node, and its time is that of a line beside them.
fn lost(first: u64, last: u64, beside_ms: u64) -> Option<LogLine> {
    let text = if first == last {
        format!("the line {first} is damaged and not shown")
    } else {
        format!("the lines {first} to {last} are damaged and not shown")
    };
    (first <= last).then(|| LogLine {
        seq: last,
        time_ms: beside_ms,
        attempt: AttemptId::from_uuid(uuid::Uuid::nil()),
        task: String::new(),
        node: String::new(),
        iteration: 0,
        level: "error".to_owned(),
        source: "platform".to_owned(),
        text,
        data: None,
    })
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
