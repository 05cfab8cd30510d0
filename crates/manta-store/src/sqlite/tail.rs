//! Where a swarm's history stands: its last sequence and checksum, and whether it ended.
use manta_types::{ClusterId, SwarmId};
use rusqlite::{Connection, OptionalExtension, params};

use super::checksum::{Checksum, check, is_sound};
use crate::StoreError;

/// The end of a swarm's history.
pub(super) struct Tail {
    /// The checksum of the swarm's own row, with which the chain begins.
    pub(super) first: Checksum,
    /// The last event's sequence; 0 before the first.
    pub(super) seq: u64,
    /// When it ended.
    pub(super) ended_ms: Option<u64>,
    /// The last event's checksum, or the swarm's own.
    pub(super) checksum: Checksum,
}

impl Tail {
    /// Reads it, if the swarm is stored.
    pub(super) fn read(db: &Connection, cluster: &ClusterId, swarm: SwarmId) -> Result<Option<Self>, StoreError> {
        let mut select = db.prepare_cached(concat!(
            "SELECT checksum, seq, ended_ms, tail, ",
            is_sound!(heads, head),
            " FROM swarms WHERE cluster_id = ?1 AND swarm_id = ?2"
        ))?;
        let found = select.query_row(params![cluster.as_str(), swarm.bytes()], |row| {
            Ok(check(row, 4, || format!("the end of the history of swarm `{swarm}`")).and_then(|()| {
                Ok(Self { first: row.get(0)?, seq: row.get(1)?, ended_ms: row.get(2)?, checksum: row.get(3)? })
            }))
        });
        found.optional()?.transpose()
    }

    /// Stores it.
    pub(super) fn write(&self, db: &Connection, cluster: &ClusterId, swarm: SwarmId) -> Result<(), StoreError> {
        let mut update = db.prepare_cached(
            "UPDATE swarms SET seq = ?3, ended_ms = ?4, tail = ?5, head = checksum_of('heads', ?1, ?2, ?3, ?4, ?5) \
             WHERE cluster_id = ?1 AND swarm_id = ?2",
        )?;
        update.execute(params![cluster.as_str(), swarm.bytes(), self.seq, self.ended_ms, self.checksum])?;
        Ok(())
    }
}
