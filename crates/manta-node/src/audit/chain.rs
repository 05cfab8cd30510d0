//! The files of the audit: the one that is written, and the one before it that was full. Their records are one chain; the older
//! file's own beginning is what is forgotten when the next is full.
//!
//! What is written is kept here until it was synced, and written anew where a sync failed: the next one of the same pages may say
//! that it went well, and lie.
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use manta_api::audit::{AUDIT_BEGIN, AuditEntry, AuditRecord, audit_line, read_audit_line};
use manta_types::Digest;
use manta_types::limits::NODE_AUDIT_UNSYNCED_BYTES_MAX;

use crate::home::{sync_dir, write_synced};

/// The end of a chain of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditHead {
    /// The number of the last record; 0 before the first.
    pub seq: u64,
    /// Its seal.
    pub seal: Digest,
}

/// Before the first record.
const BEGIN: AuditHead = AuditHead { seq: 0, seal: AUDIT_BEGIN };

/// Why an audit cannot be read or followed.
#[derive(Debug, thiserror::Error)]
pub enum AuditFault {
    /// The file cannot be read.
    #[error("the audit `{path}` cannot be read: {source}")]
    Disk {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A line does not follow from those before it.
    #[error("the audit `{path}` is broken in line {line}: {why}")]
    Broken {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: u64,
        /// In words.
        why: String,
    },
}

/// Reads an audit, with the file before it, and checks its chain; each record is handed over as it is read.
///
/// # Errors
/// The first line that does not follow; what came before it was handed over.
pub fn read_audit(path: &Path, take: impl FnMut(AuditRecord)) -> Result<AuditHead, AuditFault> {
    let Found { head, torn } = read_files(path, take)?;
    torn.map_or(Ok(head), |torn| Err(torn.fault(path)))
}

/// What files hold, up to their end.
struct Found {
    head: AuditHead,
    torn: Option<Torn>,
}

/// A last line without its end.
struct Torn {
    /// From 1.
    line: u64,
    /// Bytes before it.
    at: u64,
}

impl Torn {
    fn fault(&self, path: &Path) -> AuditFault {
        let why = "it is not whole: the machine may have stopped while it was written".to_owned();
        AuditFault::Broken { path: path.to_owned(), line: self.line, why }
    }
}

fn read_files(path: &Path, mut take: impl FnMut(AuditRecord)) -> Result<Found, AuditFault> {
    let older = older(path);
    let before = if older.exists() {
        let Found { head, torn } = read_file(&older, None, &mut take)?;
        // It got its name when all of it was on disk.
        torn.map_or(Ok(Some(head)), |torn| Err(torn.fault(&older)))?
    } else {
        None
    };
    match read_file(path, before.or(Some(BEGIN)), &mut take) {
        // An agent that ended between two files wrote the older one last.
        Err(AuditFault::Disk { source, .. }) if source.kind() == io::ErrorKind::NotFound && before.is_some() => {
            Ok(Found { head: before.unwrap_or(BEGIN), torn: None })
        }
        read => read,
    }
}

/// Reads one file; what it has to go on from is known, but for the oldest, which says so itself.
fn read_file(path: &Path, before: Option<AuditHead>, take: &mut impl FnMut(AuditRecord)) -> Result<Found, AuditFault> {
    let disk = |source| AuditFault::Disk { path: path.to_owned(), source };
    let mut lines = BufReader::new(File::open(path).map_err(disk)?);
    let (mut text, mut number, mut at, mut head) = (Vec::new(), 0, 0, before);
    loop {
        text.clear();
        let read = lines.read_until(b'\n', &mut text).map_err(disk)?;
        number += 1;
        let broken = |why: String| AuditFault::Broken { path: path.to_owned(), line: number, why };
        let Some(line) = text.strip_suffix(b"\n") else {
            let torn = (read > 0).then_some(Torn { line: number, at });
            return Ok(Found { head: head.unwrap_or(BEGIN), torn });
        };
        at += read as u64;
        let line = std::str::from_utf8(line).map_err(|error| broken(error.to_string()))?;
        let after = head.unwrap_or_else(|| begun_after(line));
        let (record, seal) =
            read_audit_line(line, &after.seal, after.seq).map_err(|error| broken(error.to_string()))?;
        if let AuditEntry::Continued { seal, .. } = &record.entry
            && *seal != after.seal
        {
            return Err(broken("it goes on from another file than the one before it".to_owned()));
        }
        head = Some(AuditHead { seq: record.seq, seal });
        take(record);
    }
}

/// What the first line of a file says that it goes on from.
fn begun_after(line: &str) -> AuditHead {
    let record = line.split_once(' ').and_then(|(_, json)| serde_json::from_str::<AuditRecord>(json).ok());
    match record {
        Some(AuditRecord { seq, entry: AuditEntry::Continued { seal, .. }, .. }) => {
            AuditHead { seq: seq.saturating_sub(1), seal }
        }
        _ => BEGIN,
    }
}

/// Where the file before the one that is written lies.
fn older(path: &Path) -> PathBuf {
    beside(path, ".1")
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(end);
    name.into()
}

/// The end of the chain, open to be written.
pub(super) struct Chain {
    path: PathBuf,
    file: Arc<File>,
    /// Bytes of the file's whole lines.
    len: u64,
    head: AuditHead,
    /// Of both files together.
    bytes_max: u64,
    /// The last lines of the file, which no sync has gone well over.
    unsynced: Vec<u8>,
    /// The number of the last record that a sync went well over.
    synced: u64,
    /// Whether the last sync failed, so that those lines are to be written anew before the next.
    is_suspect: bool,
    /// Whether the file's name is on disk.
    is_named: bool,
}

/// What could not be followed, and where it lies now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SetAside {
    pub(super) why: String,
    pub(super) file: String,
}

/// A sync that is to be carried out while others write.
pub(super) struct Syncing {
    file: Arc<File>,
    dir: Option<PathBuf>,
    bytes: usize,
    seq: u64,
}

impl Syncing {
    /// Blocks until it is done.
    pub(super) fn carry_out(&self) -> io::Result<()> {
        self.file.sync_data()?;
        self.dir.as_deref().map_or(Ok(()), sync_dir)
    }
}

impl Chain {
    /// Goes on where the files end. What cannot be followed is set aside: a last line without its end alone, or all.
    pub(super) fn open(
        path: &Path,
        bytes_max: u64,
        now_ms: u64,
        take: impl FnMut(AuditRecord),
    ) -> io::Result<(Self, Option<SetAside>)> {
        let is_there = [path, &older(path)].iter().any(|path| path.exists());
        let found = if is_there { read_files(path, take) } else { Ok(Found { head: BEGIN, torn: None }) };
        let (head, aside) = match found {
            Ok(Found { head, torn: None }) => (head, None),
            Ok(Found { head, torn: Some(torn) }) => (head, Some(cut_off(path, &torn, now_ms)?)),
            Err(AuditFault::Disk { source, .. }) => return Err(source),
            Err(broken @ AuditFault::Broken { .. }) => {
                let aside = path.with_extension(format!("broken-{now_ms}"));
                move_away(&older(path), &beside(&aside, ".1"))?;
                move_away(path, &aside)?;
                (BEGIN, Some(SetAside { why: broken.to_string(), file: aside.display().to_string() }))
            }
        };
        let file = Arc::new(open(path)?);
        let len = file.metadata()?.len();
        let (unsynced, synced, is_suspect, is_named) = (Vec::new(), 0, false, false);
        let chain = Self { path: path.to_owned(), file, len, head, bytes_max, unsynced, synced, is_suspect, is_named };
        Ok((chain, aside))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The number of the last record.
    pub(super) fn last(&self) -> u64 {
        self.head.seq
    }

    /// Whether this record and those before it are on disk.
    pub(super) fn is_synced(&self, seq: u64) -> bool {
        self.is_named && self.synced >= seq
    }

    /// Writes a record. A file that goes on from another begins with what it goes on from, and what had left on that day.
    pub(super) fn append(
        &mut self,
        entry: AuditEntry,
        time_ms: u64,
        left_today: &BTreeMap<String, u64>,
    ) -> io::Result<AuditRecord> {
        if self.head.seq > 0 && self.len == 0 {
            self.write(AuditEntry::Continued { seal: self.head.seal, left_today: left_today.clone() }, time_ms)?;
        }
        self.write(entry, time_ms)
    }

    fn write(&mut self, entry: AuditEntry, time_ms: u64) -> io::Result<AuditRecord> {
        if self.unsynced.len() >= NODE_AUDIT_UNSYNCED_BYTES_MAX {
            return Err(io::Error::other("its disk has not synced what was written before"));
        }
        let record = AuditRecord { seq: self.head.seq + 1, time_ms, entry };
        let (line, seal) = audit_line(&self.head.seal, &record);
        if let Err(error) = self.file.write_all_at(line.as_bytes(), self.len) {
            // Whoever reads it before the next line is written over it would find half a line.
            self.file.set_len(self.len)?;
            return Err(error);
        }
        self.len += line.len() as u64;
        self.unsynced.extend_from_slice(line.as_bytes());
        self.head = AuditHead { seq: record.seq, seal };
        Ok(record)
    }

    /// What is to be synced, where anything is. One at a time: of two that fail, the kernel tells one alone.
    pub(super) fn begin_sync(&self) -> io::Result<Option<Syncing>> {
        if self.is_synced(self.head.seq) {
            return Ok(None);
        }
        if self.is_suspect {
            self.file.write_all_at(&self.unsynced, self.len - self.unsynced.len() as u64)?;
        }
        let dir = if self.is_named { None } else { self.path.parent().map(Path::to_owned) };
        Ok(Some(Syncing { file: Arc::clone(&self.file), dir, bytes: self.unsynced.len(), seq: self.head.seq }))
    }

    /// Notes how a sync ended.
    pub(super) fn end_sync(&mut self, syncing: &Syncing, outcome: io::Result<()>) -> io::Result<()> {
        self.is_suspect = outcome.is_err();
        outcome?;
        self.unsynced.drain(..syncing.bytes);
        (self.synced, self.is_named) = (syncing.seq, true);
        Ok(())
    }

    /// Begins another file, where this one is full; first what is in it is synced. Blocks.
    pub(super) fn turn_over(&mut self) -> io::Result<()> {
        if self.len < self.bytes_max / 2 {
            return Ok(());
        }
        if let Some(syncing) = self.begin_sync()? {
            let outcome = syncing.carry_out();
            self.end_sync(&syncing, outcome)?;
        }
        move_away(&self.path, &older(&self.path))?;
        self.file = Arc::new(open(&self.path)?);
        (self.len, self.is_named) = (0, false);
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)
}

/// Takes a last line without its end out of a file, into another.
fn cut_off(path: &Path, torn: &Torn, now_ms: u64) -> io::Result<SetAside> {
    let aside = path.with_extension(format!("torn-{now_ms}"));
    let rest = fs::read(path)?.split_off(usize::try_from(torn.at).map_err(io::Error::other)?);
    write_synced(&aside, &[&rest])?;
    OpenOptions::new().write(true).open(path)?.set_len(torn.at)?;
    Ok(SetAside { why: torn.fault(path).to_string(), file: aside.display().to_string() })
}

/// Moves a file, where it is there: a second try finds that the first did it.
fn move_away(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
