//! The audit log: records that are only ever added, read by people, and verified from the oldest to the newest.
use manta_types::{ClusterId, limits};
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};

use super::chain::Link;
use super::{AccessStore, AuditEntry, cluster};
use crate::StoreError;
use crate::sqlite::checksum::{check, columns, is_sound, put};

const COLUMNS: &str = "seq, time_ms, cluster_id, who, token, source, method, route, object, outcome, key, digest";

/// A record of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// From 1, without gaps.
    pub seq: u64,
    /// What happened.
    pub entry: AuditEntry,
    /// BLAKE3 of the digest before it and of all that it says.
    pub digest: [u8; 32],
}

/// Which records are wanted; what is absent does not matter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditFilter {
    /// Only those of this cluster.
    pub cluster: Option<ClusterId>,
    /// Only those after this number.
    pub after: u64,
    /// Only those from this moment on; wall clock, ms since 1970.
    pub since_ms: u64,
    /// Only those of this person, as the record names them.
    pub who: Option<String>,
}

/// How far the log goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditHead {
    /// The number of the oldest record that is kept.
    pub first_seq: u64,
    /// The number of the newest record; 0 before the first.
    pub seq: u64,
    /// Its digest.
    pub digest: [u8; 32],
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditVerdict {
    /// How many records were read.
    pub records: u64,
    /// How far the log goes.
    pub head: AuditHead,
    /// What is wrong, one sentence each; nothing where every record is what was written.
    pub damage: Vec<String>,
}

/// The row that says how far the log goes.
struct Ends {
    first_seq: u64,
    before: Link,
    last_seq: u64,
    last: Link,
    bytes: u64,
}

impl Ends {
    fn read(db: &Connection) -> Result<Self, StoreError> {
        let mut select = db.prepare_cached(concat!(
            "SELECT ",
            columns!(audit_ends),
            ", ",
            is_sound!(audit_ends),
            " FROM audit_ends"
        ))?;
        let mut rows = select.query([])?;
        let what = || "how far the audit log goes".to_owned();
        let gone = || StoreError::Corrupt { what: what(), problem: "it is gone".to_owned() };
        let row = rows.next()?.ok_or_else(gone)?;
        check(row, 6, what)?;
        let (first_seq, before, last_seq) = (row.get(1)?, row.get(2)?, row.get(3)?);
        Ok(Self { first_seq, before, last_seq, last: row.get(4)?, bytes: row.get(5)? })
    }

    fn write(&self, db: &Connection) -> Result<(), StoreError> {
        let Self { first_seq, before, last_seq, last, bytes } = self;
        let mut write = db.prepare_cached(put!("INSERT OR REPLACE", audit_ends, "?1, ?2, ?3, ?4, ?5, ?6"))?;
        write.execute(params![1, first_seq, before, last_seq, last, bytes])?;
        Ok(())
    }

    const fn head(&self) -> AuditHead {
        AuditHead { first_seq: self.first_seq, seq: self.last_seq, digest: self.last }
    }

    /// Forgets the oldest records until the rest is within the limit.
    fn trim(&mut self, db: &Connection, bytes_max: u64) -> Result<(), StoreError> {
        while self.bytes > bytes_max && self.first_seq < self.last_seq {
            let oldest = db
                .prepare_cached(&format!("SELECT {COLUMNS} FROM audit WHERE seq = ?1"))?
                .query_row([self.first_seq], |row| Ok(read(row)))??;
            db.prepare_cached("DELETE FROM audit WHERE seq = ?1")?.execute([self.first_seq])?;
            self.bytes = self.bytes.saturating_sub(oldest.entry.bytes());
            self.before = oldest.digest;
            self.first_seq += 1;
        }
        Ok(())
    }
}

impl AccessStore {
    /// Adds records at the end of the log, and forgets the oldest ones beyond [`limits::AUDIT_BYTES_MAX`].
    ///
    /// # Errors
    /// When the storage fails; then nothing was added.
    pub fn append(&mut self, entries: &[AuditEntry]) -> Result<(), StoreError> {
        self.append_within(entries, limits::AUDIT_BYTES_MAX)
    }

    /// The same with another limit.
    pub(super) fn append_within(&mut self, entries: &[AuditEntry], bytes_max: u64) -> Result<(), StoreError> {
        let writing = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut ends = Ends::read(&writing)?;
        for entry in entries {
            let seq = ends.last_seq + 1;
            let digest = entry.follow(&ends.last, seq);
            insert(&writing, seq, entry, &digest)?;
            ends = Ends { last_seq: seq, last: digest, bytes: ends.bytes + entry.bytes(), ..ends };
        }
        ends.trim(&writing, bytes_max)?;
        ends.write(&writing)?;
        Ok(writing.commit()?)
    }

    /// The newest records that pass the filter, at most `limit`, in order.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn audit(&self, filter: &AuditFilter, limit: usize) -> Result<Vec<AuditRecord>, StoreError> {
        let mut select = self.connection.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM audit WHERE seq > ?1 AND time_ms >= ?2 AND (?3 IS NULL OR cluster_id = ?3) \
             AND (?4 IS NULL OR who = ?4) ORDER BY seq DESC LIMIT ?5"
        ))?;
        let cluster = filter.cluster.as_ref().map(ClusterId::as_str);
        let [after, since_ms] = [filter.after, filter.since_ms].map(|number| i64::try_from(number).unwrap_or(i64::MAX));
        let mut rows = select.query(params![after, since_ms, cluster, filter.who, limit])?;
        let mut records = Vec::new();
        while let Some(row) = rows.next()? {
            records.push(read(row)?);
        }
        records.reverse();
        Ok(records)
    }

    /// The digest of one record, where it is kept.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn audit_digest(&self, seq: u64) -> Result<Option<[u8; 32]>, StoreError> {
        let seq = i64::try_from(seq).unwrap_or(i64::MAX);
        let mut select = self.connection.prepare_cached("SELECT digest FROM audit WHERE seq = ?1")?;
        Ok(select.query_row([seq], |row| row.get(0)).optional()?)
    }

    /// Reads the whole log and says which records are not what was written, are missing, or stand elsewhere.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn audit_verdict(&self) -> Result<AuditVerdict, StoreError> {
        let mut damage = Vec::new();
        let ends = match Ends::read(&self.connection) {
            Ok(ends) => ends,
            Err(StoreError::Corrupt { what, problem }) => {
                damage.push(format!("{what} cannot be read: {problem}"));
                Ends { first_seq: 1, before: [0; 32], last_seq: 0, last: [0; 32], bytes: 0 }
            }
            Err(other) => return Err(other),
        };
        let mut select = self.connection.prepare_cached(&format!("SELECT {COLUMNS} FROM audit ORDER BY seq"))?;
        let mut rows = select.query([])?;
        let (mut records, mut next, mut before) = (0, ends.first_seq, Some(ends.before));
        while let Some(row) = rows.next()? {
            records += 1;
            let seq: u64 = row.get(0)?;
            if seq < next {
                damage.push(format!("record {seq} should have been forgotten"));
                continue;
            }
            if seq > next {
                damage.push(missing(next, seq - 1));
                before = None;
            }
            let (record, follows) = match read(row) {
                Ok(record) => {
                    let follows = before.is_none_or(|before| record.entry.follow(&before, seq) == record.digest);
                    (Some(record.digest), follows)
                }
                Err(StoreError::Corrupt { .. }) => (None, false),
                Err(other) => return Err(other),
            };
            if !follows {
                damage.push(format!("record {seq} is not what was written after record {}", seq.saturating_sub(1)));
            }
            (before, next) = (record, seq + 1);
        }
        if next <= ends.last_seq {
            damage.push(missing(next, ends.last_seq));
        } else if ends.last_seq > 0 && before.is_some_and(|last| last != ends.last) {
            damage.push(format!("the log does not end with the record {} that was written last", ends.last_seq));
        }
        Ok(AuditVerdict { records, head: ends.head(), damage })
    }
}

fn missing(first: u64, last: u64) -> String {
    if first == last { format!("record {first} is missing") } else { format!("records {first} to {last} are missing") }
}

fn insert(db: &Connection, seq: u64, entry: &AuditEntry, digest: &Link) -> Result<(), StoreError> {
    let AuditEntry { time_ms, cluster, who, token, source, method, route, object, outcome, key } = entry;
    db.prepare_cached(&format!(
        "INSERT INTO audit ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)"
    ))?
    .execute(params![
        seq,
        time_ms,
        cluster.as_str(),
        who,
        token,
        source,
        method,
        route,
        object,
        outcome,
        key,
        digest
    ])?;
    Ok(())
}

fn read(row: &Row<'_>) -> Result<AuditRecord, StoreError> {
    let entry = AuditEntry {
        time_ms: row.get(1)?,
        cluster: cluster(row, 2)?,
        who: row.get(3)?,
        token: row.get(4)?,
        source: row.get(5)?,
        method: row.get(6)?,
        route: row.get(7)?,
        object: row.get(8)?,
        outcome: row.get(9)?,
        key: row.get(10)?,
    };
    Ok(AuditRecord { seq: row.get(0)?, entry, digest: row.get(11)? })
}
