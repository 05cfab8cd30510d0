//! [`StateReader`]: looks at a manager's state beside whoever writes it, to check it, to copy it, and to find what it names.
use std::path::{Path, PathBuf};

use manta_types::{ClusterId, Digest, SwarmEvent, SwarmId};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, params};

use super::database::{self, StoredId, check_structure, corrupt, named};
use super::query::Parsed;
use super::store::{STATE, STATE_FILE};
use super::{clusters, query, tally};
use crate::{ClusterRecord, MemoryStore, NewSwarm, StateStore, StoreError, Transaction};

/// Rows of the cluster `?1`, or of the first, whose name has no row, where that is nothing.
const OF_CLUSTER: &str = "cluster_id = ?1 OR ?1 IS NULL AND cluster_id NOT IN (SELECT cluster_id FROM clusters)";

/// A second pair of eyes on a data directory's state. It writes nothing and holds up nobody.
#[derive(Debug)]
pub struct StateReader {
    connection: Connection,
    path: PathBuf,
}

impl StateReader {
    /// Opens the state of a data directory, whether a manager has it or not.
    ///
    /// # Errors
    /// [`StoreError::Io`] where there is none; [`StoreError::Corrupt`] and [`StoreError::Version`] as for the store itself.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(STATE_FILE);
        Ok(Self { connection: database::open_to_read(&path, &STATE)?, path })
    }

    /// The generation.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn generation(&self) -> Result<u64, StoreError> {
        query::generation(&self.connection)
    }

    /// Every swarm, with its cluster.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn swarms(&self) -> Result<Vec<(ClusterId, SwarmId)>, StoreError> {
        let mut select =
            self.connection.prepare_cached("SELECT cluster_id, swarm_id FROM swarms ORDER BY cluster_id, ordinal")?;
        let rows = select.query_map([], |row| {
            Ok((row.get::<_, Parsed<ClusterId>>(0)?.0, SwarmId::from_uuid(row.get::<_, StoredId>(1)?.0)))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The clusters beyond the first, by name.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn clusters(&self) -> Result<Vec<ClusterRecord>, StoreError> {
        clusters::all(&self.connection)
    }

    /// Shows every submission of a cluster; of the first where none is named, as everywhere here.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn submissions(&self, of: Option<&ClusterId>, mut show: impl FnMut(&str)) -> Result<(), StoreError> {
        self.texts("SELECT submission FROM swarms", of, &mut show)
    }

    /// Names every digest in any text that is stored of a cluster: submissions, events, answers.
    ///
    /// Texts are searched for whatever looks like a digest, so that a kind of event that is yet to come cannot be forgotten
    /// here: what is named too much is kept too long, what is named too little would be lost.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn digests(&self, of: Option<&ClusterId>, mut name: impl FnMut(Digest)) -> Result<(), StoreError> {
        let _snapshot = self.connection.unchecked_transaction()?;
        for texts in
            ["SELECT submission FROM swarms", "SELECT event FROM events", "SELECT answer FROM idempotency_keys"]
        {
            self.texts(texts, of, &mut |text| digests_in(text, &mut name))?;
        }
        Ok(())
    }

    /// Names the bundle of every published version of a module of a cluster.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn bundles(&self, of: Option<&ClusterId>, mut name: impl FnMut(Digest)) -> Result<(), StoreError> {
        self.blobs("SELECT digest FROM modules", of, &mut name)
    }

    /// Names every blob of a cluster that an attempt published or a task wrote.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn outputs(&self, of: Option<&ClusterId>, mut name: impl FnMut(Digest)) -> Result<(), StoreError> {
        self.blobs("SELECT digest FROM results", of, &mut name)?;
        self.blobs("SELECT digest FROM globals", of, &mut name)
    }

    fn blobs(&self, select: &str, of: Option<&ClusterId>, name: &mut dyn FnMut(Digest)) -> Result<(), StoreError> {
        let mut select = self.connection.prepare_cached(&format!("{select} WHERE {OF_CLUSTER}"))?;
        let mut rows = select.query([of.map(ClusterId::as_str)])?;
        while let Some(row) = rows.next()? {
            name(Digest::from_bytes(row.get(0)?));
        }
        Ok(())
    }

    fn texts(&self, select: &str, of: Option<&ClusterId>, show: &mut dyn FnMut(&str)) -> Result<(), StoreError> {
        let mut select = self.connection.prepare_cached(&format!("{select} WHERE {OF_CLUSTER}"))?;
        let mut rows = select.query([of.map(ClusterId::as_str)])?;
        while let Some(row) = rows.next()? {
            if let ValueRef::Text(text) = row.get_ref(0)? {
                show(&String::from_utf8_lossy(text));
            }
        }
        Ok(())
    }

    /// Checks the file's structure, and every row that belongs to no swarm, and that none of these is missing.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] names the first thing that is damaged.
    pub fn check_file(&self) -> Result<(), StoreError> {
        named(&self.path, check_structure(&self.connection))?;
        let _snapshot = self.connection.unchecked_transaction()?;
        tally::check(&self.connection)
    }

    /// Checks all that is stored of a swarm: every row for itself, and what is derived from its history against a fold of
    /// that history. A swarm that is not there is sound. Gives the number of its events.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] names the first thing that is damaged.
    pub fn check_swarm(&self, cluster: &ClusterId, swarm: SwarmId) -> Result<u64, StoreError> {
        let _snapshot = self.connection.unchecked_transaction()?;
        let Some(record) = query::swarm(&self.connection, cluster, swarm)? else { return Ok(0) };
        let events = query::events(&self.connection, cluster, swarm, 0, usize::MAX)?;
        let count = events.len() as u64;
        let attempts: Vec<_> = events
            .iter()
            .filter_map(|event| match event.what {
                SwarmEvent::AttemptOffered { attempt, .. } => Some(attempt),
                _ => None,
            })
            .collect();
        let (name, submission, created_ms) = (record.name.clone(), record.submission.clone(), record.created_ms);
        let new = NewSwarm { id: swarm, name, submission, idempotency: None, created_ms };
        let all = Transaction { swarms: vec![new], events, ..Transaction::default() };
        let mut fold = MemoryStore::default();
        let differs =
            |what: &str| corrupt(&format!("swarm `{swarm}`"), &format!("its {what} are not what its events say"));
        fold.commit(cluster, &all)
            .map_err(|error| corrupt(&format!("the history of swarm `{swarm}`"), &error.to_string()))?;
        if fold.swarms(cluster)? != [record] {
            return Err(differs("beginning and end"));
        }
        if fold.results(cluster, swarm)? != query::results(&self.connection, cluster, swarm)? {
            return Err(differs("results"));
        }
        if fold.globals(cluster, swarm)? != query::globals(&self.connection, cluster, swarm)? {
            return Err(differs("globals"));
        }
        for attempt in attempts {
            if fold.attempt(cluster, attempt)? != query::attempt(&self.connection, cluster, attempt)? {
                return Err(differs("attempts"));
            }
        }
        let rows = |table: &str| -> Result<usize, StoreError> {
            let select = format!("SELECT count(*) FROM {table} WHERE cluster_id = ?1 AND swarm_id = ?2");
            Ok(self.connection.query_row(&select, params![cluster.as_str(), swarm.bytes()], |row| row.get(0))?)
        };
        if (rows("attempts")?, rows("slots")?) != fold.fence_rows(cluster, swarm) {
            return Err(differs("attempts"));
        }
        Ok(count)
    }

    /// Copies the state, as of one moment, into a new file of that directory.
    ///
    /// # Errors
    /// When the storage fails; then the directory has no such file.
    pub fn copy_to(&self, dir: &Path) -> Result<(), StoreError> {
        database::copy(&self.connection, &dir.join(STATE_FILE))
    }
}

/// Names whatever in a text looks like a digest: 64 lower-case hexadecimal digits and no more.
fn digests_in(text: &str, mut name: impl FnMut(Digest)) {
    let words = text.split(|letter: char| !matches!(letter, '0'..='9' | 'a'..='f'));
    words.filter_map(|word| word.parse().ok()).for_each(&mut name);
}

#[cfg(test)]
mod tests;
