//! The node's own audit: append-only files of sealed records, and the ledger of what left of each dataset today.
//!
//! A record is with the kernel before what it tells of goes on, so that it outlives the agent; it is not synced to the disk.
mod chain;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use manta_api::audit::{AuditEntry, AuditRecord};
use manta_types::limits;
use tokio::sync::Notify;

use self::chain::Chain;
pub use self::chain::{AuditFault, AuditHead, read_audit};
use crate::logs::now_ms;

/// The audit's name in a node's data directory.
pub const AUDIT_FILE: &str = "audit.log";
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// What may leave of a dataset, where that is bounded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Watched {
    pub(crate) dataset: String,
    /// Bytes in a day.
    pub(crate) budget: Option<u64>,
}

/// Why something does not leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kept {
    /// The budget of this dataset does not reach.
    Budget(String),
    /// The audit cannot be written, and nothing leaves unseen.
    Unwritten(String),
}

/// The audit, open for as long as the agent runs.
pub(crate) struct Audit {
    inner: Mutex<Inner>,
    /// Told when something left.
    pub(crate) spent: Notify,
}

struct Inner {
    chain: Chain,
    today: Today,
}

/// What left of each dataset in a day of UTC.
#[derive(Debug, Default)]
struct Today {
    day: u64,
    bytes: BTreeMap<String, u64>,
}

impl Today {
    fn turn(&mut self, time_ms: u64) {
        if self.day != time_ms / DAY_MS {
            *self = Self { day: time_ms / DAY_MS, bytes: BTreeMap::new() };
        }
    }

    fn note(&mut self, record: &AuditRecord) {
        if let AuditEntry::Egress { datasets, bytes, .. } = &record.entry
            && record.time_ms / DAY_MS == self.day
        {
            for dataset in datasets {
                let left = self.bytes.entry(dataset.clone()).or_default();
                *left = left.saturating_add_signed(*bytes);
            }
        }
    }
}

impl Audit {
    /// Goes on with the audit of a data directory. One whose chain is broken is set aside, and the new one says so.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let now = now_ms();
        let mut today = Today { day: now / DAY_MS, ..Today::default() };
        let (chain, broken) = Chain::open(path, limits::NODE_AUDIT_BYTES_MAX, now, |record| today.note(&record))?;
        let audit = Self { inner: Mutex::new(Inner { chain, today }), spent: Notify::new() };
        if let Some(broken) = broken {
            audit.record(broken).map_err(io::Error::other)?;
        }
        Ok(audit)
    }

    /// Writes a record.
    ///
    /// # Errors
    /// A sentence why it is not written.
    pub(crate) fn record(&self, entry: AuditEntry) -> Result<(), String> {
        let mut inner = self.inner();
        inner.write(entry, now_ms()).map_err(|error| inner.unwritten(&error))
    }

    /// Lets bytes leave that an attempt made which could open these datasets: said before they go, and only where every budget
    /// reaches.
    ///
    /// # Errors
    /// Why they do not leave.
    pub(crate) fn spend(&self, attempt: &str, watched: &[Watched], what: &str, bytes: u64) -> Result<(), Kept> {
        if watched.is_empty() || bytes == 0 {
            return Ok(());
        }
        let now = now_ms();
        let mut inner = self.inner();
        inner.today.turn(now);
        for Watched { dataset, budget } in watched {
            let left = inner.today.bytes.get(dataset).copied().unwrap_or(0);
            if budget.is_some_and(|budget| left.saturating_add(bytes) > budget) {
                return Err(Kept::Budget(dataset.clone()));
            }
        }
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        inner.egress(attempt, watched, what, bytes, now).map_err(|error| Kept::Unwritten(inner.unwritten(&error)))?;
        drop(inner);
        self.spent.notify_one();
        Ok(())
    }

    /// Gives back what was set aside and did not leave.
    fn give_back(&self, attempt: &str, watched: &[Watched], bytes: u64) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let (now, mut inner) = (now_ms(), self.inner());
        inner.today.turn(now);
        // Where it cannot be written it counts as having left.
        if let Err(error) = inner.egress(attempt, watched, "returned", -bytes, now) {
            tracing::warn!("{}", inner.unwritten(&error));
        }
    }

    /// What left of a dataset today, in bytes.
    pub(crate) fn left_today(&self, dataset: &str) -> u64 {
        let mut inner = self.inner();
        inner.today.turn(now_ms());
        inner.today.bytes.get(dataset).copied().unwrap_or(0)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn egress(&mut self, attempt: &str, watched: &[Watched], what: &str, bytes: i64, now: u64) -> io::Result<()> {
        let datasets = watched.iter().map(|one| one.dataset.clone()).collect();
        self.write(AuditEntry::Egress { attempt: attempt.to_owned(), datasets, what: what.to_owned(), bytes }, now)
    }

    fn write(&mut self, entry: AuditEntry, time_ms: u64) -> io::Result<()> {
        let record = self.chain.append(entry, time_ms)?;
        self.today.turn(time_ms);
        self.today.note(&record);
        Ok(())
    }

    fn unwritten(&self, error: &io::Error) -> String {
        format!("the node's audit `{}` cannot be written: {error}", self.chain.path().display())
    }
}

impl std::fmt::Debug for Meter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meter").field("attempt", &self.attempt).finish_non_exhaustive()
    }
}

/// Counts the log of one attempt against the budgets of its datasets. It is set aside in portions, so that not every line is a
/// record; what is left of the last is given back at the end.
pub(crate) struct Meter {
    audit: Arc<Audit>,
    attempt: String,
    watched: Vec<Watched>,
    portion: Mutex<u64>,
}

/// Bytes of log that are set aside at a time.
const PORTION_BYTES: u64 = 64 << 10;

impl Meter {
    pub(crate) fn new(audit: Arc<Audit>, attempt: String, watched: Vec<Watched>) -> Self {
        Self { audit, attempt, watched, portion: Mutex::new(0) }
    }

    /// Lets a line of so many bytes leave.
    ///
    /// # Errors
    /// Why it does not.
    pub(crate) fn spend(&self, bytes: u64) -> Result<(), Kept> {
        if self.watched.is_empty() {
            return Ok(());
        }
        let mut portion = self.portion.lock().unwrap_or_else(PoisonError::into_inner);
        if *portion < bytes {
            let wanted = bytes - *portion;
            let whole = wanted.max(PORTION_BYTES);
            let set_aside = match self.audit.spend(&self.attempt, &self.watched, "logs", whole) {
                Err(Kept::Budget(_)) if wanted < whole => {
                    self.audit.spend(&self.attempt, &self.watched, "logs", wanted).map(|()| wanted)
                }
                outcome => outcome.map(|()| whole),
            };
            *portion += set_aside?;
        }
        *portion -= bytes;
        Ok(())
    }

    /// Gives back what is set aside and not used.
    pub(crate) fn close(&self) {
        let unused = std::mem::take(&mut *self.portion.lock().unwrap_or_else(PoisonError::into_inner));
        if unused > 0 {
            self.audit.give_back(&self.attempt, &self.watched, unused);
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched(budget: Option<u64>) -> Vec<Watched> {
        vec![Watched { dataset: "mnist".to_owned(), budget }]
    }

    #[test]
    fn what_left_is_remembered_across_a_restart_and_bounded_by_the_budget() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(AUDIT_FILE);
        let audit = Audit::open(&path).unwrap();
        audit.spend("at", &watched(Some(100)), "results", 60).unwrap();
        assert_eq!(audit.spend("at", &watched(Some(100)), "results", 41), Err(Kept::Budget("mnist".to_owned())));
        drop(audit);
        let audit = Audit::open(&path).unwrap();
        assert_eq!(audit.left_today("mnist"), 60);
        audit.spend("at", &watched(Some(100)), "report", 40).unwrap();
        assert!(audit.spend("at", &watched(Some(100)), "logs", 1).is_err());
        audit.spend("at", &watched(None), "logs", 1).unwrap();
        let mut kinds = Vec::new();
        let head = read_audit(&path, |record| kinds.push(record.entry.kind())).unwrap();
        assert_eq!((head.seq, kinds), (3, vec!["egress"; 3]));
    }

    #[test]
    fn a_log_is_set_aside_in_portions_and_the_rest_is_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let audit = Arc::new(Audit::open(&dir.path().join(AUDIT_FILE)).unwrap());
        let meter = |budget| Meter::new(Arc::clone(&audit), "at".to_owned(), watched(budget));
        let free = meter(None);
        free.spend(10).unwrap();
        free.spend(20).unwrap();
        assert_eq!(audit.left_today("mnist"), PORTION_BYTES);
        drop(free);
        assert_eq!(audit.left_today("mnist"), 30);
        let bounded = meter(Some(100));
        bounded.spend(70).unwrap();
        assert_eq!(bounded.spend(1), Err(Kept::Budget("mnist".to_owned())));
        assert_eq!(audit.left_today("mnist"), 100);
    }
}
