//! The node's own audit: append-only files of sealed records, and the ledger of what left of each dataset today.
//!
//! A record is with the kernel before what it tells of goes on, so that it outlives the agent. It is on the disk before a report is
//! said, and, where a budget counts on it, before anything leaves; what nobody waits for is synced soon after.
mod chain;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use manta_api::audit::{AuditEntry, AuditRecord};
use manta_types::limits;
use tokio::sync::{Mutex as Turn, Notify};
use tokio_util::sync::CancellationToken;

pub use self::chain::{AuditFault, AuditHead, read_audit};
use self::chain::{Chain, SetAside};
use crate::attempt::Attempts;
use crate::clock::now_ms;
use crate::supervisor::blocking;

/// The audit's name in a node's data directory.
pub const AUDIT_FILE: &str = "audit.log";
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// How long a record that nobody waits for may not be on the disk.
const SYNC_WITHIN: Duration = Duration::from_secs(2);

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
    /// Whose it is to sync.
    turn: Arc<Turn<()>>,
    /// Told when something left.
    pub(crate) spent: Notify,
}

struct Inner {
    chain: Chain,
    today: Today,
    /// What was found and set aside at the start, for people.
    set_aside: Option<String>,
    /// Why it is not on the disk, where that is so.
    trouble: Option<String>,
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
        if record.time_ms / DAY_MS != self.day {
            return;
        }
        match &record.entry {
            AuditEntry::Egress { datasets, bytes, .. } => {
                for dataset in datasets {
                    let left = self.bytes.entry(dataset.clone()).or_default();
                    *left = left.saturating_add_signed(*bytes);
                }
            }
            AuditEntry::Continued { left_today, .. } | AuditEntry::Broken { left_today, .. }
                if !left_today.is_empty() =>
            {
                self.bytes.clone_from(left_today);
            }
            _ => {}
        }
    }
}

impl Audit {
    /// Goes on with the audit of a data directory. A last line that is cut is set aside, and so is an audit whose chain is broken;
    /// either is said in what follows.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Self::bounded(path, limits::NODE_AUDIT_BYTES_MAX)
    }

    fn bounded(path: &Path, bytes_max: u64) -> io::Result<Self> {
        let now = now_ms();
        let mut today = Today { day: now / DAY_MS, ..Today::default() };
        let (chain, aside) = Chain::open(path, bytes_max, now, |record| today.note(&record))?;
        let mut inner = Inner { chain, today, set_aside: None, trouble: None };
        if let Some(SetAside { why, file }) = aside {
            let note = format!("{why}; what could not be followed was set aside in `{file}`, and the audit goes on");
            tracing::error!("{note}");
            inner.set_aside = Some(note);
            let left_today = inner.today.bytes.clone();
            inner.write(AuditEntry::Broken { why, file, left_today }, now)?;
        }
        Ok(Self { inner: Mutex::new(inner), turn: Arc::default(), spent: Notify::new() })
    }

    /// What a person who looks at this node should know of it.
    pub(crate) fn notes(&self) -> impl Iterator<Item = String> {
        let inner = self.inner();
        [inner.set_aside.clone(), inner.trouble.clone()].into_iter().flatten()
    }

    /// Writes a record.
    ///
    /// # Errors
    /// A sentence why it is not written.
    pub(crate) fn record(&self, entry: AuditEntry) -> Result<(), String> {
        let mut inner = self.inner();
        inner.write(entry, now_ms()).map_err(|error| inner.unwritten(&error))
    }

    /// Waits until all that is written so far is on the disk.
    ///
    /// # Errors
    /// Why the disk refuses; the next call asks it again.
    pub(crate) async fn synced(self: &Arc<Self>) -> io::Result<()> {
        let last = self.inner().chain.last();
        self.synced_to(last).await
    }

    async fn synced_to(self: &Arc<Self>, seq: u64) -> io::Result<()> {
        if self.inner().chain.is_synced(seq) {
            return Ok(());
        }
        let turn = Arc::clone(&self.turn).lock_owned().await;
        // Whoever had the turn before may have done it.
        if self.inner().chain.is_synced(seq) {
            return Ok(());
        }
        let audit = Arc::clone(self);
        blocking(move || {
            let _turn = turn;
            audit.sync()
        })
        .await
    }

    /// Syncs what is written, and begins another file where this one is full. Blocks.
    fn sync(&self) -> io::Result<()> {
        let synced = self.sync_lines();
        let mut inner = self.inner();
        let ended = synced.and_then(|()| inner.chain.turn_over());
        inner.note_sync(ended)
    }

    /// Syncs what is written; others write meanwhile.
    fn sync_lines(&self) -> io::Result<()> {
        let Some(syncing) = self.inner().chain.begin_sync()? else { return Ok(()) };
        let outcome = syncing.carry_out();
        self.inner().chain.end_sync(&syncing, outcome)
    }

    /// Waits until the record of what is to leave is on the disk, where a budget counts on that.
    ///
    /// # Errors
    /// Why it does not leave.
    pub(crate) async fn settled(self: &Arc<Self>, watched: &[Watched], record: u64) -> Result<(), Kept> {
        if watched.iter().all(|one| one.budget.is_none()) {
            return Ok(());
        }
        self.synced_to(record).await.map_err(|error| Kept::Unwritten(error.to_string()))
    }

    /// Lets bytes leave that an attempt made which could open these datasets: said before they go, and only where every budget
    /// reaches. Answers the number of the record that says so.
    ///
    /// # Errors
    /// Why they do not leave.
    pub(crate) fn spend(&self, attempt: &str, watched: &[Watched], what: &str, bytes: u64) -> Result<u64, Kept> {
        if watched.is_empty() || bytes == 0 {
            return Ok(0);
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
        let record = inner.chain.last();
        drop(inner);
        self.spent.notify_one();
        Ok(record)
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
        self.today.turn(time_ms);
        let record = self.chain.append(entry, time_ms, &self.today.bytes)?;
        self.today.note(&record);
        Ok(())
    }

    /// Notes how a sync ended, and says it once.
    fn note_sync(&mut self, ended: io::Result<()>) -> io::Result<()> {
        let before = std::mem::take(&mut self.trouble);
        let Err(error) = ended else { return Ok(()) };
        let words = self.unwritten(&error);
        if before.as_ref() != Some(&words) {
            tracing::error!("{words}");
        }
        self.trouble = Some(words.clone());
        Err(io::Error::new(error.kind(), words))
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
    portion: Mutex<Portion>,
}

/// What of a log is set aside.
#[derive(Default)]
struct Portion {
    bytes: u64,
    /// The record that says so.
    record: u64,
}

/// Bytes of log that are set aside at a time.
const PORTION_BYTES: u64 = 64 << 10;

impl Meter {
    pub(crate) fn new(audit: Arc<Audit>, attempt: String, watched: Vec<Watched>) -> Self {
        Self { audit, attempt, watched, portion: Mutex::default() }
    }

    /// Lets a line of so many bytes leave.
    ///
    /// # Errors
    /// Why it does not.
    pub(crate) async fn spend(&self, bytes: u64) -> Result<(), Kept> {
        if self.watched.is_empty() {
            return Ok(());
        }
        let record = self.take(bytes)?;
        self.audit.settled(&self.watched, record).await
    }

    /// Takes a line out of what is set aside, and sets more aside where that does not reach; answers the record that says so.
    fn take(&self, bytes: u64) -> Result<u64, Kept> {
        let mut portion = self.portion.lock().unwrap_or_else(PoisonError::into_inner);
        if portion.bytes < bytes {
            let wanted = bytes - portion.bytes;
            let whole = wanted.max(PORTION_BYTES);
            let set_aside = |bytes| {
                let record = self.audit.spend(&self.attempt, &self.watched, "logs", bytes)?;
                Ok(Portion { bytes, record })
            };
            let more = match set_aside(whole) {
                Err(Kept::Budget(_)) if wanted < whole => set_aside(wanted),
                outcome => outcome,
            }?;
            *portion = Portion { bytes: portion.bytes + more.bytes, ..more };
        }
        portion.bytes -= bytes;
        Ok(portion.record)
    }

    /// Gives back what is set aside and not used.
    pub(crate) fn close(&self) {
        let unused = std::mem::take(&mut *self.portion.lock().unwrap_or_else(PoisonError::into_inner)).bytes;
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

/// Syncs what nobody waits for, and lets people know while the disk refuses.
pub(crate) async fn keep(attempts: Arc<Attempts>, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(SYNC_WITHIN)).await.is_some() {
        // What it says is among the notes.
        let _ = attempts.node().audit.synced().await;
        attempts.tell_notes();
    }
}

#[cfg(test)]
mod tests;
