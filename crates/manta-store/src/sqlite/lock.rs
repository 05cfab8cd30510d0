//! Keeps a second manager off a data directory, for as long as the first one lives.
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::database::io_at;
use crate::StoreError;

/// The file whose lock is held.
const LOCK_FILE: &str = "manager.lock";

/// The held lock; the kernel takes it back when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct DataLock {
    _file: File,
}

impl DataLock {
    /// Takes the lock of a data directory without waiting and writes our process id into it.
    ///
    /// # Errors
    /// `Locked`, with the holder's process id, where a living manager has it.
    pub(super) fn take(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(LOCK_FILE);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&path).map_err(io_at(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // The holder may be writing just now; without its number the refusal still stands.
                let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                return Err(StoreError::Locked { path: path.display().to_string(), pid });
            }
            Err(TryLockError::Error(error)) => return Err(io_at(&path)(error)),
        }
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        write(&mut file).map_err(io_at(&path))?;
        Ok(Self { _file: file })
    }
}
