//! The low-water mark of the data directory: what would fill the disk is refused in words while there still is room to
//! commit what must be, so that the manager keeps serving, and goes on by itself when there is space again.
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use manta_api::{ErrorCode, Problem};
use manta_types::{Timestamp, limits};

use crate::clock::Clock;

/// How long a look at the file system is good for.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Bytes of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Room {
    /// What we may still write.
    free: u64,
    /// What must stay free.
    reserve: u64,
}

impl Room {
    fn of(dir: &Path) -> std::io::Result<Self> {
        let found = rustix::fs::statvfs(dir)?;
        let total = found.f_blocks.saturating_mul(found.f_frsize);
        let free = found.f_bavail.saturating_mul(found.f_frsize);
        Ok(Self { free, reserve: limits::storage_reserve(total) })
    }

    const fn is_low(self) -> bool {
        self.free < self.reserve
    }
}

/// Watches the free space of a directory's file system.
pub(crate) struct Space {
    dir: PathBuf,
    clock: Arc<dyn Clock>,
    seen: Mutex<Option<(Timestamp, Room)>>,
}

impl Space {
    pub(crate) fn new(dir: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Self { dir, clock, seen: Mutex::default() }
    }

    /// Refuses to store so many bytes more, where that would leave less than the reserve.
    pub(crate) fn admit(&self, bytes: u64) -> Result<(), Problem> {
        let room = self.look();
        if room.free.saturating_sub(bytes) >= room.reserve {
            return Ok(());
        }
        let (free, needed) = (mebibytes(room.free), mebibytes(room.reserve.saturating_add(bytes)));
        let sentence = format!(
            "the manager's disk is full: `{}` has {free} free, and {needed} are needed to store this",
            self.dir.display()
        );
        Err(Problem::new(ErrorCode::Storage, sentence)
            .hint("free some space there, and it goes on by itself; reading, stopping and pausing still work"))
    }

    /// Why nothing new is stored, where that is so.
    pub(crate) fn shortage(&self) -> Option<String> {
        let room = self.look();
        room.is_low().then(|| format!("{} free, {} needed", mebibytes(room.free), mebibytes(room.reserve)))
    }

    /// Bytes that may still be written.
    pub(crate) fn free_bytes(&self) -> u64 {
        self.look().free
    }

    /// The room as of a moment ago; a change for the worse or the better is logged once.
    fn look(&self) -> Room {
        let now = self.clock.now().monotonic;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, room)) = *seen
            && now - at < LOOK_EVERY
        {
            return room;
        }
        // A file system that cannot be asked is not kept from working: the commit is what decides then.
        let room = Room::of(&self.dir).unwrap_or(Room { free: u64::MAX, reserve: 0 });
        let (was_low, path) = (seen.is_some_and(|(_, room)| room.is_low()), self.dir.display());
        let (free, needed) = (mebibytes(room.free), mebibytes(room.reserve));
        match (was_low, room.is_low()) {
            (false, true) => {
                tracing::warn!(%path, free, needed, "the disk is full: submissions, blobs and results wait for space");
            }
            (true, false) => tracing::info!(%path, free, needed, "there is space again"),
            _ => {}
        }
        *seen = Some((now, room));
        room
    }
}

fn mebibytes(bytes: u64) -> String {
    const MEBIBYTE: u64 = 1 << 20;
    format!("{}.{} MiB", bytes / MEBIBYTE, bytes % MEBIBYTE * 10 / MEBIBYTE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RealClock;

    #[test]
    fn what_would_use_up_the_reserve_is_refused_with_both_figures() {
        let dir = tempfile::tempdir().unwrap();
        let space = Space::new(dir.path().to_owned(), Arc::new(RealClock::new()));
        space.admit(0).unwrap();
        assert_eq!(space.shortage(), None);
        let problem = space.admit(u64::MAX / 2).unwrap_err();
        assert_eq!((problem.status, problem.code.as_str()), (507, "MANTA-0701"));
        assert!(problem.message.contains(&dir.path().display().to_string()), "{problem}");
        assert!(problem.message.contains(" free, and ") && problem.hint.is_some(), "{problem}");
    }

    #[test]
    fn a_small_file_system_keeps_a_quarter_free() {
        let room = |free| Room { free, reserve: limits::storage_reserve(16 << 20) };
        assert!(room(3 << 20).is_low() && !room(5 << 20).is_low());
        assert_eq!(mebibytes((3 << 20) + (1 << 19)), "3.5 MiB");
    }
}
