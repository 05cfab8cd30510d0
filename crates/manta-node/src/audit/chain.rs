//! The files of the audit: the one that is written, and the one before it that was full. Their records are one chain; the older
//! file's own beginning is what is forgotten when the next is full.
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use manta_api::audit::{AUDIT_BEGIN, AuditEntry, AuditRecord, audit_line, read_audit_line};
use manta_types::Digest;

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
pub fn read_audit(path: &Path, mut take: impl FnMut(AuditRecord)) -> Result<AuditHead, AuditFault> {
    let older = older(path);
    let before = if older.exists() { Some(read_file(&older, None, &mut take)?) } else { None };
    match read_file(path, before.or(Some(BEGIN)), &mut take) {
        // An agent that ended between two files wrote the older one last.
        Err(AuditFault::Disk { source, .. }) if source.kind() == io::ErrorKind::NotFound && before.is_some() => {
            Ok(before.unwrap_or(BEGIN))
        }
        read => read,
    }
}

/// Reads one file; what it has to go on from is known, but for the oldest, which says so itself.
fn read_file(
    path: &Path,
    before: Option<AuditHead>,
    take: &mut impl FnMut(AuditRecord),
) -> Result<AuditHead, AuditFault> {
    let disk = |source| AuditFault::Disk { path: path.to_owned(), source };
    let mut lines = BufReader::new(File::open(path).map_err(disk)?);
    let (mut text, mut number, mut head) = (Vec::new(), 0, before);
    loop {
        text.clear();
        if lines.read_until(b'\n', &mut text).map_err(disk)? == 0 {
            return Ok(head.unwrap_or(BEGIN));
        }
        number += 1;
        let broken = |why: String| AuditFault::Broken { path: path.to_owned(), line: number, why };
        let Some(line) = text.strip_suffix(b"\n") else {
            return Err(broken("it is not whole: the machine may have stopped while it was written".to_owned()));
        };
        let line = std::str::from_utf8(line).map_err(|error| broken(error.to_string()))?;
        let after = head.unwrap_or_else(|| begun_after(line));
        let (record, seal) =
            read_audit_line(line, &after.seal, after.seq).map_err(|error| broken(error.to_string()))?;
        if let AuditEntry::Continued { seal } = &record.entry
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
        Some(AuditRecord { seq, entry: AuditEntry::Continued { seal }, .. }) => {
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
    file: File,
    head: AuditHead,
    /// Of both files together.
    bytes_max: u64,
}

impl Chain {
    /// Goes on where the files end. Those whose chain is broken are set aside; what is to be said of that comes with it.
    pub(super) fn open(
        path: &Path,
        bytes_max: u64,
        now_ms: u64,
        take: impl FnMut(AuditRecord),
    ) -> io::Result<(Self, Option<AuditEntry>)> {
        let is_there = [path, &older(path)].iter().any(|path| path.exists());
        let found = if is_there { read_audit(path, take) } else { Ok(BEGIN) };
        let (head, broken) = match found {
            Ok(head) => (head, None),
            Err(AuditFault::Disk { source, .. }) => return Err(source),
            Err(broken @ AuditFault::Broken { .. }) => {
                let aside = path.with_extension(format!("broken-{now_ms}"));
                move_away(&older(path), &beside(&aside, ".1"))?;
                move_away(path, &aside)?;
                tracing::error!(error = %broken, file = %aside.display(), "the audit was set aside, and a new one begins");
                let (why, file) = (broken.to_string(), aside.display().to_string());
                (BEGIN, Some(AuditEntry::Broken { why, file }))
            }
        };
        let mut chain = Self { path: path.to_owned(), file: open(path)?, head, bytes_max };
        if head.seq > 0 && chain.file.metadata()?.len() == 0 {
            chain.go_on(now_ms)?;
        }
        Ok((chain, broken))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a record, in another file where this one is full.
    pub(super) fn append(&mut self, entry: AuditEntry, time_ms: u64) -> io::Result<AuditRecord> {
        if self.file.metadata()?.len() >= self.bytes_max / 2 {
            move_away(&self.path, &older(&self.path))?;
            self.file = open(&self.path)?;
            self.go_on(time_ms)?;
        }
        self.write(entry, time_ms)
    }

    /// Begins a file with what it goes on from.
    fn go_on(&mut self, time_ms: u64) -> io::Result<()> {
        self.write(AuditEntry::Continued { seal: self.head.seal }, time_ms).map(drop)
    }

    fn write(&mut self, entry: AuditEntry, time_ms: u64) -> io::Result<AuditRecord> {
        let record = AuditRecord { seq: self.head.seq + 1, time_ms, entry };
        let (line, seal) = audit_line(&self.head.seal, &record);
        let length = self.file.metadata()?.len();
        if let Err(error) = self.file.write_all(line.as_bytes()) {
            // Half a line would break the chain for whatever follows.
            self.file.set_len(length)?;
            return Err(error);
        }
        self.head = AuditHead { seq: record.seq, seal };
        Ok(record)
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// Moves a file, where it is there: a second try finds that the first did it.
fn move_away(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn removed(dataset: &str) -> AuditEntry {
        AuditEntry::DatasetRemoved { dataset: dataset.to_owned() }
    }

    /// An audit of files of some 600 bytes, with forty records.
    fn full(path: &Path) -> Chain {
        let (mut chain, _) = Chain::open(path, 1200, 1, |_| ()).unwrap();
        (0..40).for_each(|number| drop(chain.append(removed(&format!("d{number}")), 1).unwrap()));
        chain
    }

    fn told(path: &Path) -> (Vec<u64>, Result<AuditHead, String>) {
        let mut seen = Vec::new();
        let read = read_audit(path, |record| seen.push(record.seq));
        (seen, read.map_err(|fault| fault.to_string()))
    }

    #[test]
    fn a_full_audit_forgets_its_oldest_records_and_its_chain_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let head = full(&path).head;
        let sizes = [&path, &older(&path)].map(|path| fs::metadata(path).unwrap().len());
        assert!(sizes.iter().sum::<u64>() < 2000, "{sizes:?}");
        let (seen, read) = told(&path);
        assert_eq!(read, Ok(head));
        assert!(seen[0] > 1 && seen.windows(2).all(|pair| pair[1] == pair[0] + 1), "{seen:?}");
        let (mut chain, broken) = Chain::open(&path, 1200, 2, |_| ()).unwrap();
        assert_eq!((chain.head, broken), (head, None));
        chain.append(removed("last"), 2).unwrap();
        assert!(told(&path).1.unwrap().seq > head.seq);
    }

    #[test]
    fn an_agent_that_ended_between_two_files_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        for end_it in [|path: &Path| fs::remove_file(path), |path: &Path| fs::write(path, "")] {
            let _ = (fs::remove_file(&path), fs::remove_file(older(&path)));
            full(&path);
            fs::rename(&path, older(&path)).unwrap();
            fs::write(&path, "").unwrap();
            end_it(&path).unwrap();
            let last = told(&path).1.unwrap();
            let (mut chain, broken) = Chain::open(&path, 1200, 2, |_| ()).unwrap();
            assert_eq!(broken, None);
            chain.append(removed("next"), 2).unwrap();
            assert_eq!(told(&path).1.unwrap().seq, last.seq + 2, "one record says that it goes on");
        }
    }

    #[test]
    fn a_file_that_was_changed_swapped_or_removed_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let changes: [fn(&Path) -> io::Result<()>; 3] = [
            |path| fs::remove_file(older(path)),
            |path| fs::copy(path, older(path)).map(drop),
            |path| fs::write(older(path), fs::read_to_string(older(path))?.replace("\"d", "\"e")),
        ];
        for change in changes {
            let _ = (fs::remove_file(&path), fs::remove_file(older(&path)));
            full(&path);
            change(&path).unwrap();
            assert!(told(&path).1.unwrap_err().contains("is broken in line"));
        }
    }

    #[test]
    fn a_broken_audit_is_set_aside_and_named_and_never_lost() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let (mut chain, _) = Chain::open(&path, 1 << 20, 1, |_| ()).unwrap();
        ["one", "two"].iter().for_each(|name| drop(chain.append(removed(name), 1).unwrap()));
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("one", "six")).unwrap();
        assert!(told(&path).1.unwrap_err().contains("broken in line 1"));
        let (mut chain, broken) = Chain::open(&path, 1 << 20, 2, |_| ()).unwrap();
        let Some(AuditEntry::Broken { file, .. }) = &broken else { panic!("{broken:?}") };
        assert!(fs::read_to_string(file).unwrap().contains("six"));
        chain.append(removed("three"), 2).unwrap();
        assert_eq!(told(&path), (vec![1], Ok(chain.head)));
    }
}
