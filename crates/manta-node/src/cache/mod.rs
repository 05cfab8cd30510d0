//! The node's store of blobs: verified as they arrive, shared by all attempts, bounded in size.
mod directories;
mod flights;
mod shelf;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use manta_types::limits::storage_reserve;
use manta_types::{Blob, Digest};
use tokio::io::AsyncWriteExt as _;

use crate::home::{gone_already, private_dir};
use crate::remote::{BlobSource, MayPass, RemoteError, persist};
use crate::supervisor::blocking;
pub(crate) use directories::{Directories, Hold, bytes_in_use};
pub(crate) use flights::Flights;
use shelf::Shelf;

/// Bytes copied and digested at a time.
const COPY_BYTES: usize = 1 << 20;

/// Why a blob is not to be had.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum CacheError {
    /// The manager did not give it.
    #[error("the value {} cannot be fetched: {reason}", digest.short())]
    Remote {
        /// Which.
        digest: Digest,
        /// Why, and whether trying again may help.
        reason: RemoteError,
    },
    /// The node's disk failed.
    #[error("the node's cache failed: {0}")]
    Disk(Arc<io::Error>),
}

impl From<io::Error> for CacheError {
    fn from(error: io::Error) -> Self {
        Self::Disk(Arc::new(error))
    }
}

impl MayPass for CacheError {
    fn may_pass(&self) -> bool {
        matches!(self, Self::Remote { reason, .. } if reason.may_pass())
    }
}

/// The node's blobs. A blob is a read-only file named by its digest.
pub(crate) struct Cache {
    root: PathBuf,
    source: Arc<dyn BlobSource>,
    shelf: Mutex<Shelf>,
    flights: Flights,
}

/// Keeps a blob on disk for as long as it lives.
pub(crate) struct Pin {
    cache: Arc<Cache>,
    blob: Blob,
}

impl Pin {
    /// Which blob it is.
    pub(crate) fn blob(&self) -> Blob {
        self.blob
    }

    /// Its content.
    pub(crate) fn open(&self) -> io::Result<File> {
        File::open(self.cache.path(self.blob.digest))
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> PathBuf {
        self.cache.path(self.blob.digest)
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.cache.shelf().unpin(self.blob.digest);
    }
}

impl Cache {
    /// Opens the store, taking in what an earlier agent left and dropping its unfinished files. Beyond so many bytes the
    /// least recently used blobs go first; what is in use stays, whatever happens.
    pub(crate) fn open(root: &Path, source: Arc<dyn BlobSource>, bytes_max: u64) -> io::Result<Self> {
        let fresh = root.join("new");
        match fs::remove_dir_all(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => private_dir(&fresh)?,
        }
        let mut shelf = Shelf::new(bytes_max);
        for entry in fs::read_dir(root)? {
            let entry = entry?;
            if let Some(digest) = entry.file_name().to_str().and_then(|name| name.parse::<Digest>().ok()) {
                shelf.find(Blob { digest, size: entry.metadata()?.len() });
            }
        }
        Ok(Self { root: root.to_owned(), source, shelf: Mutex::new(shelf), flights: Flights::default() })
    }

    /// The blob's file, fetched first where this node lacks it. Attempts that ask for the same blob at once share
    /// one download; a manager that cannot be reached is waited for.
    pub(crate) async fn fetch(self: &Arc<Self>, digest: Digest) -> Result<Pin, CacheError> {
        if let Some(pin) = self.pin(digest) {
            return Ok(pin);
        }
        let fetched = async {
            match self.pin(digest) {
                Some(pin) => Ok(pin),
                None => match self.take_over(digest).await {
                    Some(pin) => Ok(pin),
                    None => persist(|| self.download(digest)).await,
                },
            }
        };
        self.flights.one_by_one(digest, fetched).await
    }

    /// A blob that an earlier agent left, if it is still what its digest says: after a power cut, or on a disk that fails,
    /// it may not be. What is something else is removed.
    async fn take_over(self: &Arc<Self>, digest: Digest) -> Option<Pin> {
        if !self.shelf().is_unchecked(digest) {
            return None;
        }
        let path = self.path(digest);
        let found = blocking(move || {
            let mut hasher = blake3::Hasher::new();
            let size = io::copy(&mut File::open(path)?, &mut hasher)?;
            Ok::<_, io::Error>(Blob { digest: Digest::from_bytes(*hasher.finalize().as_bytes()), size })
        });
        match found.await {
            Ok(blob) if blob.digest == digest => {
                self.shelf().add(blob);
                self.pin(digest)
            }
            damaged => {
                tracing::warn!(%digest, found = ?damaged, "a value in the cache was damaged; it is fetched again");
                self.shelf().forget(digest);
                // Gone already, or replaced by the download that follows.
                let _ = fs::remove_file(self.path(digest));
                None
            }
        }
    }

    async fn download(self: &Arc<Self>, digest: Digest) -> Result<Pin, CacheError> {
        let fresh = self.fresh()?;
        let mut out = tokio::fs::File::from_std(fresh.file.try_clone()?);
        let fetched = self.source.fetch_to(digest, &mut out).await;
        let size = fetched.map_err(|reason| CacheError::Remote { digest, reason })?;
        out.flush().await?;
        Ok(self.keep(fresh, Blob { digest, size })?)
    }

    /// Bytes that the disk has beside its reserve, which is for what this node itself must write: journals and state. Blocks.
    pub(crate) fn room(&self) -> io::Result<u64> {
        let disk = rustix::fs::statvfs(&self.root)?;
        let (free, total) = (disk.f_bavail.saturating_mul(disk.f_frsize), disk.f_blocks.saturating_mul(disk.f_frsize));
        Ok(free.saturating_sub(storage_reserve(total)))
    }

    /// Takes in all that a reader gives, and answers what it is. Blocks.
    pub(crate) fn take_in(self: &Arc<Self>, mut content: impl Read) -> io::Result<Pin> {
        let mut fresh = self.fresh()?;
        let (mut hasher, mut size) = (blake3::Hasher::new(), 0u64);
        let mut buffer = vec![0; COPY_BYTES];
        loop {
            let read = match content.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            hasher.update(&buffer[..read]);
            fresh.file.write_all(&buffer[..read])?;
            size += read as u64;
        }
        let digest = Digest::from_bytes(*hasher.finalize().as_bytes());
        self.keep(fresh, Blob { digest, size })
    }

    /// Pins a blob that an earlier program left here, once it is looked into; nothing where it is not here, or damaged.
    pub(crate) async fn find(self: &Arc<Self>, digest: Digest) -> Option<Pin> {
        match self.pin(digest) {
            Some(pin) => Some(pin),
            None => self.take_over(digest).await,
        }
    }

    /// Pins a blob that this node has.
    pub(crate) fn pin(self: &Arc<Self>, digest: Digest) -> Option<Pin> {
        let blob = self.shelf().pin(digest)?;
        Some(Pin { cache: Arc::clone(self), blob })
    }

    fn keep(self: &Arc<Self>, fresh: Fresh, blob: Blob) -> io::Result<Pin> {
        let mut shelf = self.shelf();
        fs::rename(&fresh.path, self.path(blob.digest))?;
        shelf.add(blob);
        shelf.pin(blob.digest).expect("it was put there in the line above");
        for digest in shelf.overflow() {
            // Open descriptors go on reading.
            if let Err(error) = gone_already(fs::remove_file(self.path(digest))) {
                tracing::warn!(%digest, %error, "a value that is no longer used takes space until the next start");
            }
        }
        drop(shelf);
        Ok(Pin { cache: Arc::clone(self), blob })
    }

    fn fresh(&self) -> io::Result<Fresh> {
        let name = getrandom::u64().map_err(|error| io::Error::other(error.to_string()))?;
        let path = self.root.join("new").join(format!("{name:016x}"));
        let file = OpenOptions::new().create_new(true).write(true).mode(0o400).open(&path)?;
        Ok(Fresh { path, file })
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.root.join(digest.to_string())
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file that is not a blob yet; what is not kept is removed.
struct Fresh {
    path: PathBuf,
    file: File,
}

impl Drop for Fresh {
    fn drop(&mut self) {
        // Gone already where it was kept.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests;
