//! Writes one transaction: swarms, nodes, events, and what events imply for the fence, results and globals.
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use manta_types::{ClusterId, Event, SwarmId};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ToSql, params};

use super::checksum::{Checksum, checksum_of, columns, put};
use super::derive::Derivation;
use super::tail::Tail;
use super::{clusters, modules, nodes, query};
use crate::{CommitError, KeyRecord, NewSwarm, StoreError, Transaction};

/// Writes everything or fails; the caller has begun a transaction and rolls it back on failure.
pub(super) fn write(db: &Connection, cluster: &ClusterId, transaction: &Transaction) -> Result<(), CommitError> {
    let Transaction { clusters: changed, swarms, events, nodes, modules, keys, purged, keys_before_ms } = transaction;
    swarms.iter().try_for_each(|swarm| add_swarm(db, cluster, swarm))?;
    nodes.iter().try_for_each(|node| nodes::put(db, cluster, node))?;
    modules.iter().try_for_each(|module| modules::put(db, cluster, module))?;
    add_events(db, cluster, events)?;
    keys.iter().try_for_each(|record| add_key(db, cluster, record))?;
    if !purged.is_empty() && !clusters::is_leaving(db, cluster)? {
        purged.iter().try_for_each(|swarm| check_ended(db, cluster, *swarm))?;
    }
    purged.iter().try_for_each(|swarm| purge(db, cluster, *swarm))?;
    if *keys_before_ms > 0 {
        run(
            db,
            "DELETE FROM idempotency_keys WHERE cluster_id = ?1 AND swarm_id IS NULL AND used_ms < ?2",
            params![cluster.as_str(), i64::try_from(*keys_before_ms).unwrap_or(i64::MAX)],
        )?;
    }
    changed.iter().try_for_each(|change| clusters::change(db, change))?;
    Ok(())
}

/// Runs a statement and says how many rows it changed.
pub(super) fn run(db: &Connection, sql: &str, values: &[&dyn ToSql]) -> Result<usize, StoreError> {
    Ok(db.prepare_cached(sql)?.execute(values)?)
}

fn add_swarm(db: &Connection, cluster: &ClusterId, swarm: &NewSwarm) -> Result<(), CommitError> {
    if let Some((key, request)) = &swarm.idempotency {
        check_key(db, cluster, key, request)?;
    }
    let added = run(
        db,
        concat!(
            "INSERT INTO swarms (",
            columns!(swarms),
            ", checksum, seq, ended_ms, tail, head) \
             SELECT ?1, ?2, ordinal, ?3, ?4, ?5, checksum, 0, NULL, checksum, \
             checksum_of('heads', ?1, ?2, 0, NULL, checksum) \
             FROM (SELECT ordinal, checksum_of('swarms', ?1, ?2, ordinal, ?3, ?4, ?5) AS checksum \
             FROM (SELECT COALESCE(MAX(ordinal), 0) + 1 AS ordinal FROM swarms WHERE cluster_id = ?1)) WHERE true \
             ON CONFLICT (cluster_id, swarm_id) DO NOTHING"
        ),
        params![cluster.as_str(), swarm.id.bytes(), swarm.name, swarm.submission, swarm.created_ms],
    )?;
    if added == 0 {
        return Err(CommitError::SwarmKnown { swarm: swarm.id });
    }
    match KeyRecord::of(swarm) {
        Some(record) => put_key(db, cluster, &record),
        None => Ok(()),
    }
}

fn check_key(db: &Connection, cluster: &ClusterId, key: &str, request: &str) -> Result<(), CommitError> {
    match query::idempotency(db, cluster, key)? {
        Some(earlier) => {
            let same_request = earlier.request == request;
            Err(CommitError::KeyUsed { earlier: Box::new(earlier), same_request })
        }
        None => Ok(()),
    }
}

fn add_key(db: &Connection, cluster: &ClusterId, record: &KeyRecord) -> Result<(), CommitError> {
    check_key(db, cluster, &record.key, &record.request)?;
    if let Some(swarm) = record.swarm
        && Tail::read(db, cluster, swarm)?.is_none()
    {
        return Err(CommitError::UnknownSwarm { swarm });
    }
    put_key(db, cluster, record)
}

fn put_key(db: &Connection, cluster: &ClusterId, record: &KeyRecord) -> Result<(), CommitError> {
    let KeyRecord { key, request, swarm, answer, used_ms } = record;
    let swarm = swarm.map(SwarmId::bytes);
    run(
        db,
        put!("INSERT", idempotency_keys, "?1, ?2, ?3, ?4, ?5, ?6"),
        params![cluster.as_str(), key, request, swarm, answer, used_ms],
    )?;
    Ok(())
}

fn add_events(db: &Connection, cluster: &ClusterId, events: &[Event]) -> Result<(), CommitError> {
    let mut tails: BTreeMap<SwarmId, Tail> = BTreeMap::new();
    for event in events {
        let swarm = event.swarm;
        let tail = match tails.entry(swarm) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                new.insert(Tail::read(db, cluster, swarm)?.ok_or(CommitError::UnknownSwarm { swarm })?)
            }
        };
        if event.seq != tail.seq + 1 {
            return Err(CommitError::OutOfOrder { swarm, stored: tail.seq, given: event.seq });
        }
        tail.checksum = add_event(db, cluster, event, &tail.checksum)?;
        tail.seq = event.seq;
        if event.what.is_final() {
            tail.ended_ms = tail.ended_ms.or(Some(event.time_ms));
        }
        Derivation { db, cluster, swarm }.follow(&event.what)?;
    }
    for (swarm, tail) in tails {
        tail.write(db, cluster, swarm)?;
    }
    Ok(())
}

/// Writes an event behind the one with the checksum `before`, and gives its own.
fn add_event(db: &Connection, cluster: &ClusterId, event: &Event, before: &Checksum) -> Result<Checksum, StoreError> {
    let subject = serde_json::to_string(&event.subject).expect("ids and numbers are always JSON");
    let cause = serde_json::to_string(&event.cause).expect("texts and numbers are always JSON");
    let text = serde_json::to_string(&event.what).expect("events hold nothing that JSON cannot say");
    let beyond = |number: &str| StoreError::Database(format!("{number} of an event is beyond 63 bits"));
    let (seq, time_ms) = (i64::try_from(event.seq), i64::try_from(event.time_ms));
    let (seq, time_ms) = (seq.map_err(|_| beyond("the sequence"))?, time_ms.map_err(|_| beyond("the time"))?);
    let swarm = event.swarm.bytes();
    let values = [
        ValueRef::Blob(before),
        ValueRef::Text(cluster.as_str().as_bytes()),
        ValueRef::Blob(&swarm),
        ValueRef::Integer(seq),
        ValueRef::Text(event.what.kind().as_bytes()),
        ValueRef::Integer(time_ms),
        ValueRef::Text(subject.as_bytes()),
        ValueRef::Text(cause.as_bytes()),
        ValueRef::Text(text.as_bytes()),
    ];
    let checksum = checksum_of("events", values);
    run(
        db,
        concat!("INSERT INTO events (", columns!(events), ", checksum) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"),
        params![cluster.as_str(), swarm, seq, event.what.kind(), time_ms, subject, cause, text, checksum],
    )?;
    Ok(checksum)
}

fn check_ended(db: &Connection, cluster: &ClusterId, swarm: SwarmId) -> Result<(), CommitError> {
    let tail = Tail::read(db, cluster, swarm)?.ok_or(CommitError::UnknownSwarm { swarm })?;
    tail.ended_ms.map(|_| ()).ok_or(CommitError::NotEnded { swarm })
}

fn purge(db: &Connection, cluster: &ClusterId, swarm: SwarmId) -> Result<(), CommitError> {
    for delete in [
        "DELETE FROM results WHERE cluster_id = ?1 AND swarm_id = ?2",
        "DELETE FROM globals WHERE cluster_id = ?1 AND swarm_id = ?2",
        "DELETE FROM slots WHERE cluster_id = ?1 AND swarm_id = ?2",
        "DELETE FROM attempts WHERE cluster_id = ?1 AND swarm_id = ?2",
        "DELETE FROM events WHERE cluster_id = ?1 AND swarm_id = ?2",
        "DELETE FROM idempotency_keys WHERE cluster_id = ?1 AND swarm_id = ?2",
        "DELETE FROM swarms WHERE cluster_id = ?1 AND swarm_id = ?2",
    ] {
        run(db, delete, params![cluster.as_str(), swarm.bytes()])?;
    }
    Ok(())
}
