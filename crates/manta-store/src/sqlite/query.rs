//! Reads state back, checking each record as it comes.
use std::fmt::Display;
use std::str::FromStr;

use manta_types::{AttemptId, Blob, ClusterId, Digest, Event, NodeId, NodeName, SwarmId};
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::de::DeserializeOwned;

use super::database::{StoredId, corrupt};
use crate::{GlobalRecord, NodeRecord, ResultRecord, StoreError, SwarmRecord};

/// A text that must parse.
struct Parsed<T>(T);

impl<T: FromStr<Err: Display>> FromSql for Parsed<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let parsed = value.as_str()?.parse().map_err(|error: T::Err| FromSqlError::Other(error.to_string().into()))?;
        Ok(Self(parsed))
    }
}

fn blob(row: &Row<'_>, digest: usize, size: usize) -> rusqlite::Result<Blob> {
    Ok(Blob { digest: Digest::from_bytes(row.get(digest)?), size: row.get(size)? })
}

pub(super) fn swarms(connection: &Connection, cluster: &ClusterId) -> Result<Vec<SwarmRecord>, StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT swarm_id, name, submission, created_ms, finished FROM swarms WHERE cluster_id = ?1 ORDER BY ordinal",
    )?;
    let rows = select.query_map([cluster.as_str()], |row| {
        Ok(SwarmRecord {
            id: SwarmId::from_uuid(row.get::<_, StoredId>(0)?.0),
            name: row.get(1)?,
            submission: row.get(2)?,
            created_ms: row.get(3)?,
            finished: row.get(4)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn events(
    connection: &Connection,
    cluster: &ClusterId,
    swarm: SwarmId,
    after: u64,
    limit: usize,
) -> Result<Vec<Event>, StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT seq, time_ms, subject, cause, event FROM events WHERE cluster_id = ?1 AND swarm_id = ?2 AND seq > ?3 \
         ORDER BY seq LIMIT ?4",
    )?;
    // SQLite counts in 63 bits; no history comes near.
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = select.query(params![cluster.as_str(), swarm.bytes(), after, limit])?;
    let mut events = Vec::new();
    while let Some(row) = rows.next()? {
        let seq = row.get(0)?;
        let (subject, cause, what) = (read(row, 2, swarm, seq)?, read(row, 3, swarm, seq)?, read(row, 4, swarm, seq)?);
        events.push(Event { swarm, seq, time_ms: row.get(1)?, subject, cause, what });
    }
    Ok(events)
}

/// A column of an event that holds JSON.
fn read<T: DeserializeOwned>(row: &Row<'_>, column: usize, swarm: SwarmId, seq: u64) -> Result<T, StoreError> {
    serde_json::from_str(row.get_ref(column)?.as_str().map_err(rusqlite::Error::from)?)
        .map_err(|error| corrupt(&format!("event {seq} of swarm `{swarm}`"), &error.to_string()))
}

pub(super) fn idempotency(
    connection: &Connection,
    cluster: &ClusterId,
    key: &str,
) -> Result<Option<(SwarmId, String)>, StoreError> {
    let mut select = connection
        .prepare_cached("SELECT swarm_id, request FROM idempotency_keys WHERE cluster_id = ?1 AND key = ?2")?;
    let found = select
        .query_row([cluster.as_str(), key], |row| Ok((SwarmId::from_uuid(row.get::<_, StoredId>(0)?.0), row.get(1)?)));
    Ok(found.optional()?)
}

pub(super) fn nodes(connection: &Connection, cluster: &ClusterId) -> Result<Vec<NodeRecord>, StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT node_id, name, description, joined_ms FROM nodes WHERE cluster_id = ?1 ORDER BY name",
    )?;
    let rows = select.query_map([cluster.as_str()], |row| {
        Ok(NodeRecord {
            id: NodeId::from_uuid(row.get::<_, StoredId>(0)?.0),
            name: row.get::<_, Parsed<_>>(1)?.0,
            description: row.get(2)?,
            joined_ms: row.get(3)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn results(
    connection: &Connection,
    cluster: &ClusterId,
    swarm: SwarmId,
) -> Result<Vec<ResultRecord>, StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT iteration, task, node, name, digest, size, attempt_id, accepted FROM results \
         WHERE cluster_id = ?1 AND swarm_id = ?2 ORDER BY iteration, task, node, attempt_id, position",
    )?;
    let rows = select.query_map(params![cluster.as_str(), swarm.bytes()], |row| {
        Ok(ResultRecord {
            iteration: row.get(0)?,
            task: row.get(1)?,
            node: row.get::<_, Parsed<_>>(2)?.0,
            name: row.get(3)?,
            blob: blob(row, 4, 5)?,
            attempt: AttemptId::from_uuid(row.get::<_, StoredId>(6)?.0),
            accepted: row.get(7)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn globals(
    connection: &Connection,
    cluster: &ClusterId,
    swarm: SwarmId,
) -> Result<Vec<GlobalRecord>, StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT name, revision, writer, digest, size FROM globals WHERE cluster_id = ?1 AND swarm_id = ?2 ORDER BY name",
    )?;
    let rows = select.query_map(params![cluster.as_str(), swarm.bytes()], |row| {
        Ok(GlobalRecord {
            name: row.get(0)?,
            revision: row.get(1)?,
            writer: row.get::<_, Parsed<NodeName>>(2)?.0,
            blob: blob(row, 3, 4)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
