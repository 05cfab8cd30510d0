//! Brings a file of an older format up to date, one format at a time; each step happens wholly or not at all.
use std::path::{Path, PathBuf};

use manta_types::crash_point;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, TransactionBehavior};

use super::checksum::{Checksum, checksum_of};
use super::database::{self, Format, check_references};
use crate::StoreError;

/// Turns a file into one of the next format, inside a transaction that also notes the new number.
pub(crate) type Step = fn(&Connection) -> Result<(), StoreError>;

/// Goes from format `found` to the present one. The file as it was is kept beside it, for whoever has to go back to the
/// version that wrote it; nothing ever removes that copy.
pub(super) fn bring_up(
    connection: &mut Connection,
    path: &Path,
    format: &Format,
    found: i64,
) -> Result<(), StoreError> {
    if found == format.version {
        return Ok(());
    }
    let kept = copy_path(path, found);
    let (from, to) = (found, format.version);
    tracing::info!(path = %path.display(), from, to, kept = %kept.display(), "an older format is brought up to date");
    if !kept.try_exists().map_err(database::io_at(&kept))? {
        database::copy(connection, &kept)?;
    }
    crash_point!("store.migration.kept");
    connection.pragma_update(None, "foreign_keys", false)?;
    for (step, next) in format.migrations.iter().zip(2..).filter(|(_, next)| *next > found) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        step(&transaction)?;
        check_references(&transaction)?;
        transaction.pragma_update(None, "user_version", next)?;
        crash_point!("store.migration.stepped");
        transaction.commit()?;
        crash_point!("store.migration.committed");
    }
    Ok(())
}

/// Where the file as format `found` left it is kept.
fn copy_path(path: &Path, found: i64) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".format-{found}"));
    name.into()
}

/// Events name their subject and cause. What older ones followed from is not known.
pub(super) fn state_to_2(db: &Connection) -> Result<(), StoreError> {
    Ok(db.execute_batch(
        "ALTER TABLE events ADD COLUMN subject TEXT NOT NULL DEFAULT '{}';
         ALTER TABLE events ADD COLUMN cause TEXT NOT NULL DEFAULT '{\"by\":\"unknown\"}';",
    )?)
}

/// Rows have checksums, nodes a duty, keys an answer, and the cluster a generation.
pub(super) fn state_to_3(db: &Connection) -> Result<(), StoreError> {
    const TABLES: [&str; 8] =
        ["swarms", "idempotency_keys", "nodes", "events", "attempts", "slots", "results", "globals"];
    for table in TABLES {
        db.execute_batch(&format!("ALTER TABLE {table} RENAME TO old_{table}"))?;
    }
    db.execute_batch(include_str!("schema/state-3.sql"))?;
    db.execute_batch(include_str!("schema/state-2-to-3.sql"))?;
    chain(db)?;
    for table in TABLES.iter().rev() {
        db.execute_batch(&format!("DROP TABLE old_{table}"))?;
    }
    Ok(())
}

/// Users may be known by an issuer of identities, and who was removed is kept.
pub(crate) fn access_to_2(db: &Connection) -> Result<(), StoreError> {
    Ok(db.execute_batch(include_str!("schema/access-2.sql"))?)
}

/// Rows that belong to no history are counted.
pub(super) fn state_to_4(db: &Connection) -> Result<(), StoreError> {
    Ok(db.execute_batch(include_str!("schema/state-4.sql"))?)
}

/// Versions of modules can be published.
pub(super) fn state_to_5(db: &Connection) -> Result<(), StoreError> {
    Ok(db.execute_batch(include_str!("schema/state-5.sql"))?)
}

/// Versions of modules can be signed.
pub(super) fn state_to_6(db: &Connection) -> Result<(), StoreError> {
    Ok(db.execute_batch(include_str!("schema/state-6.sql"))?)
}

/// There are clusters beyond the first.
pub(super) fn state_to_7(db: &Connection) -> Result<(), StoreError> {
    Ok(db.execute_batch(include_str!("schema/state-7.sql"))?)
}

/// Lines have checksums.
pub(crate) fn logs_to_2(db: &Connection) -> Result<(), StoreError> {
    db.execute_batch("ALTER TABLE log_lines RENAME TO old_log_lines")?;
    db.execute_batch(include_str!("schema/logs-2.sql"))?;
    Ok(db.execute_batch(
        "INSERT INTO log_lines SELECT *, checksum_of('log_lines', cluster_id, swarm_id, seq, time_ms, attempt_id, task, \
         node, iteration, level, severity, source, text, data) FROM old_log_lines; \
         DROP TABLE old_log_lines;",
    )?)
}

/// How far each log goes is kept beside its lines.
pub(crate) fn logs_to_3(db: &Connection) -> Result<(), StoreError> {
    db.execute_batch(include_str!("schema/logs-3.sql"))?;
    Ok(db.execute_batch(
        "INSERT INTO log_ends SELECT cluster_id, swarm_id, last, checksum_of('log_ends', cluster_id, swarm_id, last) \
         FROM (SELECT cluster_id, swarm_id, MAX(seq) AS last FROM log_lines GROUP BY cluster_id, swarm_id);",
    )?)
}

/// Chains the events of format 2 and ends each swarm's history with the last one's checksum.
fn chain(db: &Connection) -> Result<(), StoreError> {
    let mut select = db.prepare(
        "SELECT cluster_id, swarm_id, seq, kind, time_ms, subject, cause, event FROM old_events \
         WHERE cluster_id = ?1 AND swarm_id = ?2 ORDER BY seq",
    )?;
    let mut insert = db.prepare("INSERT INTO events VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?;
    let mut end = db.prepare(
        "UPDATE swarms SET tail = ?3, head = checksum_of('heads', cluster_id, swarm_id, seq, ended_ms, ?3) \
         WHERE cluster_id = ?1 AND swarm_id = ?2",
    )?;
    let mut swarms = db.prepare("SELECT cluster_id, swarm_id, checksum FROM swarms")?;
    let mut swarms = swarms.query([])?;
    while let Some(swarm) = swarms.next()? {
        let (cluster, id): (String, [u8; 16]) = (swarm.get(0)?, swarm.get(1)?);
        let mut last: Checksum = swarm.get(2)?;
        let mut events = select.query((&cluster, id))?;
        while let Some(event) = events.next()? {
            last = copy_event(event, &mut insert, &last)?;
        }
        end.execute((&cluster, id, last))?;
    }
    Ok(())
}

fn copy_event(
    event: &Row<'_>,
    insert: &mut rusqlite::Statement<'_>,
    before: &Checksum,
) -> Result<Checksum, StoreError> {
    let values: Vec<_> = (0..8).map(|column| event.get_ref(column)).collect::<Result<_, _>>()?;
    let checksum = checksum_of("events", std::iter::once(ValueRef::Blob(before)).chain(values.iter().copied()));
    for (position, value) in (1..).zip(values.into_iter().chain([ValueRef::Blob(&checksum)])) {
        insert.raw_bind_parameter(position, rusqlite::types::ToSqlOutput::Borrowed(value))?;
    }
    insert.raw_execute()?;
    Ok(checksum)
}

#[cfg(test)]
mod tests;
