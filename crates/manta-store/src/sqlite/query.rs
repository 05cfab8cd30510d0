//! Reads state back, checking each record as it comes.
use std::fmt::Display;
use std::str::FromStr;

use manta_types::{AttemptId, Blob, ClusterId, Digest, Event, NodeName, SwarmId};
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, Value, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::de::DeserializeOwned;

use super::checksum::{Checksum, check, checksum_of, columns, is_sound};
use super::database::{StoredId, corrupt};
use super::derive::Derivation;
use super::tail::Tail;
use crate::{AttemptRecord, GlobalRecord, KeyRecord, ResultRecord, StoreError, SwarmRecord};

/// A text that must parse.
pub(super) struct Parsed<T>(pub(super) T);

impl<T: FromStr<Err: Display>> FromSql for Parsed<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let parsed = value.as_str()?.parse().map_err(|error: T::Err| FromSqlError::Other(error.to_string().into()))?;
        Ok(Self(parsed))
    }
}

fn blob(row: &Row<'_>, digest: usize, size: usize) -> rusqlite::Result<Blob> {
    Ok(Blob { digest: Digest::from_bytes(row.get(digest)?), size: row.get(size)? })
}

pub(super) fn generation(db: &Connection) -> Result<u64, StoreError> {
    let mut select = db.prepare_cached(concat!(
        "SELECT generation, ",
        is_sound!(generations),
        " FROM generations ORDER BY generation DESC LIMIT 1"
    ))?;
    let found = select.query_row([], |row| {
        Ok(check(row, 1, || "the cluster's generation".to_owned()).and_then(|()| Ok(row.get(0)?)))
    });
    found.optional()?.ok_or_else(|| corrupt("the cluster's generation", "it is missing"))?
}

const SWARMS: &str = concat!(
    "SELECT swarm_id, name, submission, created_ms, seq, ended_ms, ",
    is_sound!(swarms),
    " AND ",
    is_sound!(heads, head),
    ", cluster_id, ordinal FROM swarms"
);

/// Every swarm of a cluster, in order. All rows of the table are read and checked, whosever they claim to be and without
/// their index, so that a row that is damaged, or that the index has lost, is named and not left out.
pub(super) fn swarms(db: &Connection, cluster: &ClusterId) -> Result<Vec<SwarmRecord>, StoreError> {
    let mut select = db.prepare_cached(&format!("{SWARMS} NOT INDEXED"))?;
    let mut rows = select.query([])?;
    let mut swarms = Vec::new();
    while let Some(row) = rows.next()? {
        let swarm = read_swarm(row)?;
        if row.get_ref(7)?.as_str().is_ok_and(|owner| owner == cluster.as_str()) {
            swarms.push((row.get::<_, u64>(8)?, swarm));
        }
    }
    swarms.sort_unstable_by_key(|(ordinal, _)| *ordinal);
    Ok(swarms.into_iter().map(|(_, swarm)| swarm).collect())
}

pub(super) fn swarm(db: &Connection, cluster: &ClusterId, swarm: SwarmId) -> Result<Option<SwarmRecord>, StoreError> {
    let mut select = db.prepare_cached(&format!("{SWARMS} WHERE cluster_id = ?1 AND swarm_id = ?2"))?;
    let found = select.query_row(params![cluster.as_str(), swarm.bytes()], |row| Ok(read_swarm(row)));
    found.optional()?.transpose()
}

fn read_swarm(row: &Row<'_>) -> Result<SwarmRecord, StoreError> {
    let id = SwarmId::from_uuid(row.get::<_, StoredId>(0)?.0);
    check(row, 6, || format!("swarm `{id}`"))?;
    let (name, submission, created_ms) = (row.get(1)?, row.get(2)?, row.get(3)?);
    Ok(SwarmRecord { id, name, submission, created_ms, seq: row.get(4)?, ended_ms: row.get(5)? })
}

pub(super) fn events(
    db: &Connection,
    cluster: &ClusterId,
    swarm: SwarmId,
    after: u64,
    limit: usize,
) -> Result<Vec<Event>, StoreError> {
    let Some(tail) = Tail::read(db, cluster, swarm)?.filter(|tail| tail.seq > after) else { return Ok(Vec::new()) };
    let mut before = if after == 0 { tail.first } else { checksum_at(db, cluster, swarm, after)? };
    let mut select = db.prepare_cached(concat!(
        "SELECT ",
        columns!(events),
        ", checksum FROM events WHERE cluster_id = ?1 AND swarm_id = ?2 AND seq > ?3 ORDER BY seq LIMIT ?4"
    ))?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX); // SQLite counts in 63 bits
    let mut rows = select.query(params![cluster.as_str(), swarm.bytes(), after, limit])?;
    let mut events = Vec::new();
    let mut next = after + 1;
    while let Some(row) = rows.next()? {
        let what = || event_of(swarm, next);
        before = follow(row, &before).ok_or_else(|| corrupt(&what(), "it is not what was written"))?;
        if row.get::<_, u64>(2)? != next {
            return Err(corrupt(&what(), "it is missing"));
        }
        let (subject, cause, event) = (json(row, 5, what)?, json(row, 6, what)?, json(row, 7, what)?);
        events.push(Event { swarm, seq: next, time_ms: row.get(4)?, subject, cause, what: event });
        next += 1;
    }
    let is_end = i64::try_from(events.len()).is_ok_and(|found| found < limit) || next > tail.seq;
    match is_end {
        true if next <= tail.seq => Err(corrupt(&event_of(swarm, next), "it is missing")),
        true if next > tail.seq + 1 || before != tail.checksum => {
            Err(corrupt(&event_of(swarm, next - 1), "it does not end the history"))
        }
        _ => Ok(events),
    }
}

fn event_of(swarm: SwarmId, seq: u64) -> String {
    format!("event {seq} of swarm `{swarm}`")
}

/// The checksum of an event's row, if that row follows the one with the checksum `before`.
pub(super) fn follow(row: &Row<'_>, before: &Checksum) -> Option<Checksum> {
    const COLUMNS: usize = 8;
    let values = (0..COLUMNS).map(|index| row.get_ref(index).unwrap_or(ValueRef::Null));
    let checksum = checksum_of("events", std::iter::once(ValueRef::Blob(before)).chain(values));
    row.get::<_, Checksum>(COLUMNS).is_ok_and(|stored| stored == checksum).then_some(checksum)
}

fn checksum_at(db: &Connection, cluster: &ClusterId, swarm: SwarmId, seq: u64) -> Result<Checksum, StoreError> {
    let mut select =
        db.prepare_cached("SELECT checksum FROM events WHERE cluster_id = ?1 AND swarm_id = ?2 AND seq = ?3")?;
    let found = select.query_row(params![cluster.as_str(), swarm.bytes(), seq], |row| row.get::<_, Value>(0));
    match found.optional()? {
        Some(Value::Blob(bytes)) if bytes.len() == size_of::<Checksum>() => {
            Ok(bytes.try_into().expect("the length was just looked at"))
        }
        Some(_) => Err(corrupt(&event_of(swarm, seq), "its checksum is not one")),
        None => Err(corrupt(&event_of(swarm, seq), "it is missing")),
    }
}

/// A column that holds JSON.
fn json<T: DeserializeOwned>(row: &Row<'_>, column: usize, what: impl FnOnce() -> String) -> Result<T, StoreError> {
    serde_json::from_str(row.get_ref(column)?.as_str().map_err(rusqlite::Error::from)?)
        .map_err(|error| corrupt(&what(), &error.to_string()))
}

pub(super) fn idempotency(db: &Connection, cluster: &ClusterId, key: &str) -> Result<Option<KeyRecord>, StoreError> {
    let mut select = db.prepare_cached(concat!(
        "SELECT request, swarm_id, answer, used_ms, ",
        is_sound!(idempotency_keys),
        " FROM idempotency_keys WHERE cluster_id = ?1 AND key = ?2"
    ))?;
    let found = select.query_row([cluster.as_str(), key], |row| {
        Ok(check(row, 4, || format!("the idempotency key `{key}`")).and_then(|()| {
            let swarm = row.get::<_, Option<StoredId>>(1)?.map(|id| SwarmId::from_uuid(id.0));
            let key = key.to_owned();
            Ok(KeyRecord { key, request: row.get(0)?, swarm, answer: row.get(2)?, used_ms: row.get(3)? })
        }))
    });
    found.optional()?.transpose()
}

pub(super) fn attempt(
    db: &Connection,
    cluster: &ClusterId,
    attempt: AttemptId,
) -> Result<Option<AttemptRecord>, StoreError> {
    let owner = db
        .prepare_cached("SELECT swarm_id FROM attempts WHERE cluster_id = ?1 AND attempt_id = ?2")?
        .query_row(params![cluster.as_str(), attempt.bytes()], |row| row.get::<_, StoredId>(0))
        .optional()?;
    let Some(swarm) = owner.map(|id| SwarmId::from_uuid(id.0)) else { return Ok(None) };
    let tables = Derivation { db, cluster, swarm };
    let damaged = |problem| corrupt(&format!("attempt `{attempt}` of swarm `{swarm}`"), problem);
    let offer = tables.offered(attempt)?.ok_or_else(|| damaged("its row is missing"))?;
    let slot = tables.slot(&offer)?.ok_or_else(|| damaged("its slot is missing"))?;
    let accepted = slot.attempt == attempt && slot.accepted;
    let (iteration, task, node, epoch) = (offer.iteration, offer.task, offer.node, offer.epoch);
    Ok(Some(AttemptRecord { swarm, iteration, task, slot: offer.slot, node, epoch, accepted }))
}

pub(super) fn results(db: &Connection, cluster: &ClusterId, swarm: SwarmId) -> Result<Vec<ResultRecord>, StoreError> {
    let mut select = db.prepare_cached(concat!(
        "SELECT iteration, task, node, name, digest, size, attempt_id, accepted, ",
        is_sound!(results),
        " FROM results WHERE cluster_id = ?1 AND swarm_id = ?2 ORDER BY iteration, task, node, attempt_id, position"
    ))?;
    let mut rows = select.query(params![cluster.as_str(), swarm.bytes()])?;
    let mut results = Vec::new();
    while let Some(row) = rows.next()? {
        check(row, 8, || format!("a result of swarm `{swarm}`"))?;
        results.push(ResultRecord {
            iteration: row.get(0)?,
            task: row.get(1)?,
            node: row.get::<_, Parsed<_>>(2)?.0,
            name: row.get(3)?,
            blob: blob(row, 4, 5)?,
            attempt: AttemptId::from_uuid(row.get::<_, StoredId>(6)?.0),
            accepted: row.get(7)?,
        });
    }
    Ok(results)
}

pub(super) fn globals(db: &Connection, cluster: &ClusterId, swarm: SwarmId) -> Result<Vec<GlobalRecord>, StoreError> {
    let mut select = db.prepare_cached(concat!(
        "SELECT name, revision, writer, digest, size, ",
        is_sound!(globals),
        " FROM globals WHERE cluster_id = ?1 AND swarm_id = ?2 ORDER BY name"
    ))?;
    let mut rows = select.query(params![cluster.as_str(), swarm.bytes()])?;
    let mut globals = Vec::new();
    while let Some(row) = rows.next()? {
        check(row, 5, || format!("a global of swarm `{swarm}`"))?;
        globals.push(GlobalRecord {
            name: row.get(0)?,
            revision: row.get(1)?,
            writer: row.get::<_, Parsed<NodeName>>(2)?.0,
            blob: blob(row, 3, 4)?,
        });
    }
    Ok(globals)
}
