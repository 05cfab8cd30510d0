//! Directories for images on their way here: each goes with whoever asked for it, or with the next one that is asked for.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::{Store, disk};
use crate::ImageError;

/// An empty directory in a store, beside what came before; removed when this is dropped.
#[derive(Debug)]
pub struct Incoming {
    path: PathBuf,
    _lock: File,
}

impl Incoming {
    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // What cannot be removed now is when the next one is asked for.
        let _ = fs::remove_dir_all(&self.path);
    }
}

impl Store {
    /// Makes a directory for an image that is on its way, and removes those of processes that were killed.
    ///
    /// # Errors
    /// When the store's directory cannot be written.
    pub fn incoming(&self) -> Result<Incoming, ImageError> {
        let all = self.root.join("incoming");
        let failed = || ImageError::store(&all);
        disk::private_dir(&all).map_err(failed())?;
        for entry in fs::read_dir(&all).map_err(failed())?.filter_map(Result::ok) {
            let left = disk::lock_file(&entry.path().join("lock")).ok().filter(|lock| lock.try_lock().is_ok());
            if left.is_some() {
                fs::remove_dir_all(entry.path()).map_err(failed())?;
            }
        }
        let mut names = (0u64..).map(|number| all.join(format!("{}-{number}", std::process::id())));
        let path = names.find(|path| !path.exists()).expect("numbers do not run out");
        disk::private_dir(&path).map_err(failed())?;
        let lock = disk::lock_file(&path.join("lock")).map_err(failed())?;
        lock.lock().map_err(failed())?;
        Ok(Incoming { path, _lock: lock })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Unpacker;

    #[test]
    fn what_a_killed_process_left_goes_and_what_another_has_stays() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().to_owned(), Unpacker::new("/nonexistent".into(), Vec::new()));
        let (mine, left) = (store.incoming().unwrap(), dir.path().join("incoming/1-0"));
        fs::create_dir(&left).unwrap();
        fs::write(left.join("half"), "x").unwrap();
        let second = store.incoming().unwrap();
        assert!(mine.path().is_dir() && second.path().is_dir() && mine.path() != second.path() && !left.exists());
        let path = mine.path().to_owned();
        drop(mine);
        assert!(!path.exists());
    }
}
