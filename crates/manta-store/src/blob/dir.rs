//! Blobs as files of one directory: `ab/<64 hexadecimal digits>`, `tmp/` for what is being written, and `quarantine/` for
//! what is damaged.
//!
//! A file gets its name only after its bytes are on the disk, and the name is on the disk before anyone hears of it.
use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use manta_types::{Blob, Digest, crash_point};

use super::contract::{Hasher, check};
use super::memory::Held;
use super::{BlobError, BlobRead, BlobStore, BlobWriter};

/// The folder of what is damaged.
const QUARANTINE: &str = "quarantine";

/// Blobs in a directory, for one process at a time: opening removes what an earlier one left half-written.
#[derive(Debug, Clone)]
pub struct DirBlobs {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    /// Numbers the files in `tmp/`.
    drafts: AtomicU64,
    /// Folders of blobs whose own names are on the disk.
    settled: Mutex<BTreeSet<u8>>,
    /// What was held since the start, by a clock that never jumps; a file's own time says it across restarts. Whoever
    /// gives a file its name, holds it or takes it away has this lock.
    held: Mutex<Held>,
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> BlobError {
    let path = path.display().to_string();
    move |source| BlobError::Io { path, source }
}

/// The folder of the blobs whose digests begin with this byte.
fn folder(shard: u8) -> String {
    format!("{shard:02x}")
}

fn sync_dir(dir: &Path) -> Result<(), BlobError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_at(dir))
}

/// Nothing, where the file is not there.
fn if_there<T>(outcome: io::Result<T>, path: &Path) -> Result<Option<T>, BlobError> {
    match outcome {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_at(path)(error)),
    }
}

impl DirBlobs {
    /// Opens the blobs of a directory, making it where it is not there.
    ///
    /// # Errors
    /// When the directory cannot be made or read.
    pub fn open(dir: &Path) -> Result<Self, BlobError> {
        let make = |dir: &Path| DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io_at(dir));
        let drafts = dir.join("tmp");
        make(&drafts)?;
        make(&dir.join(QUARANTINE))?;
        for leftover in fs::read_dir(&drafts).map_err(io_at(&drafts))? {
            let leftover = leftover.map_err(io_at(&drafts))?.path();
            fs::remove_file(&leftover).map_err(io_at(&leftover))?;
        }
        let there: Vec<u8> = (0..=u8::MAX).filter(|shard| dir.join(folder(*shard)).is_dir()).collect();
        sync_dir(dir)?;
        if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync_dir(parent)?;
        }
        let blobs = Self::beside(dir);
        blobs.shared.settled().extend(there);
        Ok(blobs)
    }

    /// The blobs of a directory that another process may have, to read them; nothing is made or removed.
    pub fn beside(dir: &Path) -> Self {
        let (drafts, settled, held) = (AtomicU64::new(0), Mutex::default(), Mutex::default());
        Self { shared: Arc::new(Shared { dir: dir.to_owned(), drafts, settled, held }) }
    }

    /// Where a blob's file is, or would be.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.shared.path(digest)
    }

    /// Opens a blob's file for reading, if it is stored: for ranges, and for descriptors that travel.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn open_file(&self, digest: &Digest) -> Result<Option<File>, BlobError> {
        let path = self.path(digest);
        if_there(File::open(&path), &path)
    }
}

impl Shared {
    fn path(&self, digest: &Digest) -> PathBuf {
        let [shard, ..] = digest.bytes();
        self.dir.join(folder(*shard)).join(digest.to_string())
    }

    fn settled(&self) -> MutexGuard<'_, BTreeSet<u8>> {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the folder of a blob's file. A new store has none: making all 256 would delay a manager's start.
    fn make_folder(&self, digest: &Digest) -> Result<(), BlobError> {
        let [shard, ..] = digest.bytes();
        let dir = self.dir.join(folder(*shard));
        if self.settled().contains(shard) {
            return Ok(());
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(io_at(&dir))
    }

    /// Has the names of a blob's file and of its folder on the disk.
    fn sync_names(&self, digest: &Digest) -> Result<(), BlobError> {
        let [shard, ..] = digest.bytes();
        sync_dir(&self.dir.join(folder(*shard)))?;
        if !self.settled().contains(shard) {
            sync_dir(&self.dir)?;
            self.settled().insert(*shard);
        }
        Ok(())
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hold(&self, digest: &Digest) -> Result<Option<u64>, BlobError> {
        let path = self.path(digest);
        let mut held = self.held();
        let Some(file) = if_there(File::open(&path), &path)? else { return Ok(None) };
        file.set_modified(SystemTime::now()).map_err(io_at(&path))?;
        held.note(digest);
        Ok(Some(file.metadata().map_err(io_at(&path))?.len()))
    }
}

impl BlobStore for DirBlobs {
    fn begin(&self) -> Result<Box<dyn BlobWriter>, BlobError> {
        let number = self.shared.drafts.fetch_add(1, Ordering::Relaxed);
        let path = self.shared.dir.join("tmp").join(number.to_string());
        let file = OpenOptions::new().write(true).create_new(true).mode(0o400).open(&path).map_err(io_at(&path))?;
        Ok(Box::new(Draft { shared: Arc::clone(&self.shared), path, file, hasher: Hasher::default() }))
    }

    fn open(&self, digest: &Digest) -> Result<Option<Box<dyn BlobRead>>, BlobError> {
        Ok(self.open_file(digest)?.map(|file| Box::new(file) as Box<dyn BlobRead>))
    }

    fn size(&self, digest: &Digest) -> Result<Option<u64>, BlobError> {
        let path = self.path(digest);
        Ok(if_there(fs::metadata(&path), &path)?.map(|metadata| metadata.len()))
    }

    fn hold(&self, digest: &Digest) -> Result<Option<u64>, BlobError> {
        self.shared.hold(digest)
    }

    fn digests(&self, after: Option<&Digest>, limit: usize) -> Result<Vec<Digest>, BlobError> {
        let mut digests = Vec::new();
        let first = after.map_or(0, |digest| digest.bytes()[0]);
        for shard in first..=u8::MAX {
            if digests.len() >= limit {
                break;
            }
            let dir = self.shared.dir.join(folder(shard));
            let mut found = Vec::new();
            for file in if_there(fs::read_dir(&dir), &dir)?.into_iter().flatten() {
                let name = file.map_err(io_at(&dir))?.file_name();
                // Nothing else is of our making.
                found.extend(name.to_str().and_then(|name| name.parse::<Digest>().ok()));
            }
            found.retain(|digest| after.is_none_or(|after| digest > after));
            found.sort_unstable();
            digests.append(&mut found);
        }
        digests.truncate(limit);
        Ok(digests)
    }

    fn sweep(&self, digest: &Digest, held: Duration) -> Result<u64, BlobError> {
        let path = self.path(digest);
        let mut known = self.shared.held();
        let Some(metadata) = if_there(fs::metadata(&path), &path)? else { return Ok(0) };
        let modified = metadata.modified().map_err(io_at(&path))?;
        // A time that is yet to come is one of a clock that was set back.
        let is_young = modified.elapsed().map_or(true, |age| age < held);
        if !held.is_zero() && (is_young || known.is_within(digest, held)) {
            return Ok(0);
        }
        if_there(fs::remove_file(&path), &path)?;
        known.forget(digest);
        Ok(metadata.len())
    }

    fn quarantine(&self, digest: &Digest) -> Result<(), BlobError> {
        let path = self.path(digest);
        let dir = self.shared.dir.join(QUARANTINE);
        let _lock = self.shared.held();
        let free = (0u32..).map(|number| dir.join(format!("{digest}.{number}"))).find(|target| !target.exists());
        let target = free.expect("numbers do not run out");
        if if_there(fs::rename(&path, &target), &path)?.is_some() {
            tracing::error!(%digest, kept = %target.display(), "a damaged blob was set aside");
        }
        sync_dir(&dir)
    }
}

/// A file in `tmp/`; removed when dropped, unless it has been given its name.
struct Draft {
    shared: Arc<Shared>,
    path: PathBuf,
    file: File,
    hasher: Hasher,
}

impl Draft {
    fn keep(&mut self, blob: Blob) -> Result<Blob, BlobError> {
        let target = self.shared.path(&blob.digest);
        if self.shared.hold(&blob.digest)?.is_none() {
            crash_point!("store.blob.written");
            self.file.set_modified(SystemTime::now()).map_err(io_at(&self.path))?;
            self.file.sync_all().map_err(io_at(&self.path))?;
            crash_point!("store.blob.synced");
            self.shared.make_folder(&blob.digest)?;
            let mut held = self.shared.held();
            fs::rename(&self.path, &target).map_err(io_at(&target))?;
            held.note(&blob.digest);
            crash_point!("store.blob.named");
        }
        // Also where it was there: whoever put it may not have come to this line yet.
        self.shared.sync_names(&blob.digest)?;
        crash_point!("store.blob.stored");
        Ok(blob)
    }
}

impl BlobWriter for Draft {
    fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        self.hasher.update(bytes)?;
        self.file.write_all(bytes).map_err(io_at(&self.path))
    }

    fn finish(mut self: Box<Self>, expected: &Digest) -> Result<Blob, BlobError> {
        let blob = check(self.hasher.blob(), expected)?;
        self.keep(blob)
    }

    fn seal(mut self: Box<Self>) -> Result<Blob, BlobError> {
        let blob = self.hasher.blob();
        self.keep(blob)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // It is not there any more once it has its name; anything else is removed at the next opening.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests;
