//! Checksums of stored rows, and the statements that write and read rows with them.
//!
//! SQLite notices damage to its own structure, not to what a row says. So every row ends in a checksum over its columns,
//! which whoever reads the row checks; events are chained, so that a missing one shows too.
use rusqlite::functions::{Aggregate, Context, FunctionFlags};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use super::database::corrupt;
use crate::StoreError;

/// Bytes of a checksum.
const CHECKSUM_BYTES: usize = 16;

/// The checksum of a row.
pub(super) type Checksum = [u8; CHECKSUM_BYTES];

/// The columns of a table that its checksum covers, in order.
macro_rules! columns {
    (generations) => {
        "generation, since_ms, reason"
    };
    (swarms) => {
        "cluster_id, swarm_id, ordinal, name, submission, created_ms"
    };
    (heads) => {
        "cluster_id, swarm_id, seq, ended_ms, tail"
    };
    (idempotency_keys) => {
        "cluster_id, key, request, swarm_id, answer, used_ms"
    };
    (nodes) => {
        "cluster_id, node_id, name, description, joined_ms, duty, drain_left_ms"
    };
    (events) => {
        "cluster_id, swarm_id, seq, kind, time_ms, subject, cause, event"
    };
    (attempts) => {
        "cluster_id, swarm_id, attempt_id, iteration, task, slot, node, epoch"
    };
    (slots) => {
        "cluster_id, swarm_id, iteration, task, slot, attempt_id, epoch, accepted"
    };
    (results) => {
        "cluster_id, swarm_id, iteration, task, node, attempt_id, position, name, digest, size, accepted"
    };
    (globals) => {
        "cluster_id, swarm_id, name, revision, writer, digest, size"
    };
    (tallies) => {
        "counted, rows, folded"
    };
    (clusters) => {
        "cluster_id, created_ms, removing"
    };
    (modules) => {
        "cluster_id, name, version, digest, size, about, publisher, published_ms, yanked, deprecated, tags, signatures"
    };
    (users) => {
        "cluster_id, name, role, created_ms, subject, role_from"
    };
    (users_removed) => {
        "cluster_id, name, removed_ms"
    };
    (tokens) => {
        "cluster_id, token_id, user, role, digest, created_ms, expires_ms, used_ms, revoked_ms"
    };
    (access_keys) => {
        "cluster_id, key, request, answer, used_ms"
    };
    (quotas) => {
        "cluster_id, name, value"
    };
    (audit_ends) => {
        "id, first_seq, before, last_seq, last, bytes"
    };
    (join_tokens) => {
        "cluster_id, token_id, secret, name, labels, made_ms, expires_ms, used_ms, used_by"
    };
    (enrolments) => {
        "cluster_id, node, node_id, labels, joined_ms, flag"
    };
    (certificates) => {
        "cluster_id, serial, node, key, follows, pem, issued_ms, expires_ms"
    };
    (log_ends) => {
        "cluster_id, swarm_id, seq"
    };
    (log_lines) => {
        "cluster_id, swarm_id, seq, time_ms, attempt_id, task, node, iteration, level, severity, source, text, data"
    };
}

/// Whether a row still is as it was written, as a column of a query; [`check`] reads it.
macro_rules! is_sound {
    ($table:ident) => {
        $crate::sqlite::checksum::is_sound!($table, checksum)
    };
    ($table:ident, $checksum:ident) => {
        concat!(
            stringify!($checksum),
            " = checksum_of('",
            stringify!($table),
            "', ",
            $crate::sqlite::checksum::columns!($table),
            ")"
        )
    };
}

/// Writes a row with its checksum: `put!("INSERT", results, "?1, …")`.
macro_rules! put {
    ($verb:literal, $table:ident, $values:literal) => {
        concat!(
            $verb,
            " INTO ",
            stringify!($table),
            " (",
            $crate::sqlite::checksum::columns!($table),
            ", checksum) VALUES (",
            $values,
            ", checksum_of('",
            stringify!($table),
            "', ",
            $values,
            "))"
        )
    };
}

pub(crate) use {columns, is_sound, put};

/// The checksum of a row's values, in order. Each counts with its type and length, so that no two rows read alike.
pub(super) fn checksum_of<'a>(table: &'a str, values: impl IntoIterator<Item = ValueRef<'a>>) -> Checksum {
    let mut hasher = blake3::Hasher::new();
    for value in std::iter::once(ValueRef::Text(table.as_bytes())).chain(values) {
        let number;
        let (kind, bytes) = match value {
            ValueRef::Null => (0, &[][..]),
            ValueRef::Integer(integer) => {
                number = integer.to_le_bytes();
                (1, &number[..])
            }
            ValueRef::Real(real) => {
                number = real.to_le_bytes();
                (2, &number[..])
            }
            ValueRef::Text(text) => (3, text),
            ValueRef::Blob(blob) => (4, blob),
        };
        hasher.update(&[kind]);
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    }
    let mut checksum = [0; CHECKSUM_BYTES];
    hasher.finalize_xof().fill(&mut checksum);
    checksum
}

/// Gives a connection the SQL functions `checksum_of(table, value, …)`, `fold(checksums, checksum)` and the aggregate
/// `folded(checksum)`, for triggers too.
pub(super) fn register(connection: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS;
    connection.create_scalar_function("checksum_of", -1, flags, |context: &Context<'_>| {
        let table = context.get_raw(0).as_str()?;
        Ok(checksum_of(table, (1..context.len()).map(|index| context.get_raw(index))).to_vec())
    })?;
    connection.create_scalar_function("fold", 2, flags, |context: &Context<'_>| {
        Ok(fold(context.get(0)?, context.get(1)?).to_vec())
    })?;
    connection.create_aggregate_function("folded", 1, flags, Folded)
}

/// The aggregate `folded`.
struct Folded;

impl Aggregate<Checksum, Vec<u8>> for Folded {
    fn init(&self, _: &mut Context<'_>) -> rusqlite::Result<Checksum> {
        Ok(Checksum::default())
    }

    fn step(&self, context: &mut Context<'_>, many: &mut Checksum) -> rusqlite::Result<()> {
        *many = fold(*many, context.get(0)?);
        Ok(())
    }

    fn finalize(&self, _: &mut Context<'_>, many: Option<Checksum>) -> rusqlite::Result<Vec<u8>> {
        Ok(many.unwrap_or_default().to_vec())
    }
}

/// Adds a checksum to many, or takes it away again: exclusive or, so that their order is nothing.
pub(super) fn fold(mut many: Checksum, one: Checksum) -> Checksum {
    many.iter_mut().zip(one).for_each(|(many, one)| *many ^= one);
    many
}

/// Refuses a row whose column `index`, an [`is_sound!`], says that it changed since it was written.
pub(crate) fn check(row: &Row<'_>, index: usize, what: impl FnOnce() -> String) -> Result<(), StoreError> {
    if row.get::<_, bool>(index)? { Ok(()) } else { Err(corrupt(&what(), "it is not what was written")) }
}
