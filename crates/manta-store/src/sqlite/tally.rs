//! Tallies: how many rows a table holds, and what their checksums come to.
//!
//! A row's checksum says that the row is as it was written, not that it is there. For what belongs to a swarm its history
//! says so; the tables here have none. Triggers keep their tallies in the transaction that changes a row.
use rusqlite::{Connection, OptionalExtension, Row};

use super::checksum::{Checksum, check as check_row, fold, is_sound};
use super::database::corrupt;
use crate::StoreError;

/// Tables that are counted: the name of one, how its rows are read, and what a row is called.
const COUNTED: [(&str, &str, &str); 6] = [
    (
        "generations",
        concat!("SELECT checksum, ", is_sound!(generations), ", generation FROM generations"),
        "generation",
    ),
    (
        "swarms",
        concat!(
            "SELECT checksum, ",
            is_sound!(swarms),
            " AND ",
            is_sound!(heads, head),
            ", name FROM swarms NOT INDEXED"
        ),
        "swarm",
    ),
    (
        "idempotency_keys",
        concat!("SELECT checksum, ", is_sound!(idempotency_keys), ", key FROM idempotency_keys NOT INDEXED"),
        "idempotency key",
    ),
    ("nodes", concat!("SELECT checksum, ", is_sound!(nodes), ", name FROM nodes NOT INDEXED"), "node"),
    (
        "modules",
        concat!("SELECT checksum, ", is_sound!(modules), ", name FROM modules NOT INDEXED"),
        "version of module",
    ),
    ("clusters", concat!("SELECT checksum, ", is_sound!(clusters), ", cluster_id FROM clusters"), "cluster"),
];

/// What a table comes to.
#[derive(PartialEq)]
struct Tally {
    rows: u64,
    folded: Checksum,
}

/// Checks every row of the counted tables, and that none is missing.
///
/// # Errors
/// [`StoreError::Corrupt`] names the row, or the table that has another number of rows or others than were written.
pub(super) fn check(db: &Connection) -> Result<(), StoreError> {
    for (table, select, what) in COUNTED {
        let (found, written) = (count(db, select, what)?, written(db, table)?);
        if found.rows != written.rows {
            let problem = format!("it holds {} rows, and {} were written", found.rows, written.rows);
            return Err(corrupt(&format!("the table `{table}`"), &problem));
        }
        if found != written {
            return Err(corrupt(&format!("the table `{table}`"), "its rows are not those that were written"));
        }
    }
    Ok(())
}

fn count(db: &Connection, select: &str, what: &str) -> Result<Tally, StoreError> {
    let mut select = db.prepare_cached(select)?;
    let mut rows = select.query([])?;
    let mut tally = Tally { rows: 0, folded: Checksum::default() };
    while let Some(row) = rows.next()? {
        check_row(row, 1, || format!("{what} `{}`", shown(row)))?;
        tally.rows += 1;
        tally.folded = fold(tally.folded, row.get(0)?);
    }
    Ok(tally)
}

fn shown(row: &Row<'_>) -> String {
    use rusqlite::types::Value::{Integer, Text};
    match row.get(2) {
        Ok(Text(text)) => text,
        Ok(Integer(number)) => number.to_string(),
        _ => "?".to_owned(),
    }
}

fn written(db: &Connection, table: &str) -> Result<Tally, StoreError> {
    let mut select =
        db.prepare_cached(concat!("SELECT rows, folded, ", is_sound!(tallies), " FROM tallies WHERE counted = ?1"))?;
    let what = || format!("the tally of the table `{table}`");
    let found = select.query_row([table], |row| {
        Ok(check_row(row, 2, what).and_then(|()| Ok(Tally { rows: row.get(0)?, folded: row.get(1)? })))
    });
    found.optional()?.ok_or_else(|| corrupt(&what(), "it is missing"))?
}
