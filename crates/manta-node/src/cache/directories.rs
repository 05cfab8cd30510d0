//! Directories named by digests: made whole under another name, kept while they are used, and taken away, the least recently used
//! first, when they are too many.
use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use manta_types::{Blob, Digest};

use super::Shelf;
use crate::home::gone_already;

/// The directories.
#[derive(Debug)]
pub(crate) struct Directories {
    root: PathBuf,
    shelf: Mutex<Shelf>,
}

/// Keeps a directory for as long as it lives.
#[derive(Debug)]
pub(crate) struct Hold {
    directories: Arc<Directories>,
    digest: Digest,
}

impl Hold {
    /// The directory.
    pub(crate) fn path(&self) -> PathBuf {
        self.directories.place(self.digest)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.directories.shelf().unpin(self.digest);
    }
}

/// The bytes of a directory that is named by one of these digests.
pub(crate) fn bytes_in_use(left: &Path, in_use: &BTreeSet<Digest>) -> Option<u64> {
    let digest = left.file_name()?.to_str()?.parse().ok()?;
    let count = || {
        bytes_below(left).unwrap_or_else(|error| {
            // Tasks run from it: it is kept, whatever it has.
            tracing::warn!(directory = %left.display(), %error, "what is in use cannot be measured");
            0
        })
    };
    in_use.contains(&digest).then(count)
}

fn bytes_below(directory: &Path) -> io::Result<u64> {
    fs::read_dir(directory)?.try_fold(0, |bytes, entry| {
        let entry = entry?;
        let metadata = entry.metadata()?;
        Ok(bytes + if metadata.is_dir() { bytes_below(&entry.path())? } else { metadata.len() })
    })
}

impl Directories {
    /// Those in a directory, with so many bytes at most beside those in use. What an earlier agent left is removed, but for what
    /// `whole` knows to be so, with its size in bytes.
    pub(crate) fn open(root: &Path, bytes_max: u64, whole: impl Fn(&Path) -> Option<u64>) -> io::Result<Arc<Self>> {
        let mut shelf = Shelf::new(bytes_max);
        for left in fs::read_dir(root)? {
            let left = left?;
            let digest = left.file_name().to_str().and_then(|name| name.parse::<Digest>().ok());
            match digest.and_then(|digest| Some(Blob { digest, size: whole(&left.path())? })) {
                Some(blob) => shelf.add(blob),
                None => fs::remove_dir_all(left.path())?,
            }
        }
        Ok(Arc::new(Self { root: root.to_owned(), shelf: Mutex::new(shelf) }))
    }

    /// Keeps a directory that is there.
    pub(crate) fn hold(self: &Arc<Self>, digest: Digest) -> Option<Hold> {
        self.shelf().pin(digest).map(|_| Hold { directories: Arc::clone(self), digest })
    }

    /// Whether a directory is there.
    pub(crate) fn has(&self, digest: Digest) -> bool {
        self.shelf().has(digest)
    }

    /// Makes a directory and keeps it; what is too much then goes. `fill` is given an empty one, and answers with its bytes. Blocks.
    pub(crate) fn add<E: From<io::Error>>(
        self: &Arc<Self>,
        digest: Digest,
        fill: impl FnOnce(&Path) -> Result<u64, E>,
    ) -> Result<Hold, E> {
        let fresh = self.unused("new")?;
        let mut left = vec![fresh.clone()];
        // Others are kept out by the data directory; in a container a task is such another.
        let made = DirBuilder::new().mode(0o755).create(&fresh);
        let added = made.map_err(E::from).and_then(|()| fill(&fresh)).and_then(|size| {
            self.name(&fresh, Blob { digest, size }, &mut left)?;
            Ok(())
        });
        for left in left {
            // Nothing has its name, so it is in nobody's way, and goes at the next start.
            if let Err(error) = gone_already(fs::remove_dir_all(&left)) {
                tracing::warn!(directory = %left.display(), %error, "what is no longer used takes space until the next start");
            }
        }
        added.map(|()| Hold { directories: Arc::clone(self), digest })
    }

    /// Gives what was made its name and pins it, and takes the names of what is too much then; adds what that leaves.
    fn name(&self, fresh: &Path, made: Blob, left: &mut Vec<PathBuf>) -> io::Result<()> {
        let mut shelf = self.shelf();
        // Another attempt may have made the same meanwhile.
        if shelf.pin(made.digest).is_none() {
            self.take_name(made.digest, left)?;
            fs::rename(fresh, self.place(made.digest))?;
            shelf.add(made);
            shelf.pin(made.digest).expect("it was put there in the line above");
        }
        for gone in shelf.overflow() {
            if let Err(error) = self.take_name(gone, left) {
                tracing::warn!(directory = %gone, %error, "what is no longer used cannot be removed");
            }
        }
        Ok(())
    }

    /// Takes a directory's name, if it has one: nobody finds it any more.
    fn take_name(&self, digest: Digest, left: &mut Vec<PathBuf>) -> io::Result<()> {
        let old = self.unused("old")?;
        gone_already(fs::rename(self.place(digest), &old))?;
        left.push(old);
        Ok(())
    }

    fn place(&self, digest: Digest) -> PathBuf {
        self.root.join(digest.to_string())
    }

    /// A name that nothing has.
    fn unused(&self, prefix: &str) -> io::Result<PathBuf> {
        let number = getrandom::u64().map_err(|error| io::Error::other(error.to_string()))?;
        Ok(self.root.join(format!("{prefix}-{number:016x}")))
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
