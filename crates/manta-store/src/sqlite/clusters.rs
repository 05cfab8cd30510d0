//! The clusters beyond the first: which there are, and what goes with one.
use manta_types::ClusterId;
use rusqlite::{Connection, params};

use super::checksum::{check, columns, is_sound, put};
use super::commit::run;
use super::query::Parsed;
use crate::{ClusterChange, ClusterRecord, CommitError, StoreError};

/// The tables that hold rows of a cluster; those that others refer to last.
const TABLES: [&str; 10] =
    ["results", "globals", "slots", "attempts", "events", "idempotency_keys", "swarms", "nodes", "modules", "clusters"];

/// Stores a cluster, or removes it with every row of it that is left.
pub(super) fn change(db: &Connection, change: &ClusterChange) -> Result<(), CommitError> {
    match change {
        ClusterChange::Put(ClusterRecord { name, created_ms, is_removing }) => {
            run(
                db,
                concat!(
                    put!("INSERT", clusters, "?1, ?2, ?3"),
                    " ON CONFLICT (cluster_id) DO UPDATE SET created_ms = excluded.created_ms, \
                     removing = excluded.removing, checksum = excluded.checksum"
                ),
                params![name.as_str(), created_ms, is_removing],
            )?;
        }
        ClusterChange::Gone(name) => {
            for table in TABLES {
                run(db, &format!("DELETE FROM {table} WHERE cluster_id = ?1"), params![name.as_str()])?;
            }
        }
    }
    Ok(())
}

/// Whether a cluster is on its way out: what is left of it goes, whatever state it is in.
pub(super) fn is_leaving(db: &Connection, cluster: &ClusterId) -> Result<bool, StoreError> {
    let mut select = db.prepare_cached("SELECT 1 FROM clusters WHERE cluster_id = ?1 AND removing = 1")?;
    Ok(select.exists([cluster.as_str()])?)
}

/// All clusters beyond the first, by name.
pub(super) fn all(db: &Connection) -> Result<Vec<ClusterRecord>, StoreError> {
    let mut select = db.prepare_cached(concat!(
        "SELECT ",
        columns!(clusters),
        ", ",
        is_sound!(clusters),
        " FROM clusters ORDER BY cluster_id"
    ))?;
    let mut rows = select.query([])?;
    let mut clusters = Vec::new();
    while let Some(row) = rows.next()? {
        check(row, 3, || "a cluster".to_owned())?;
        let name = row.get::<_, Parsed<ClusterId>>(0)?.0;
        clusters.push(ClusterRecord { name, created_ms: row.get(1)?, is_removing: row.get(2)? });
    }
    Ok(clusters)
}
