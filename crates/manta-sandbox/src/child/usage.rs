//! What a task without a file system of its own has in its scratch: files below it, and files that it holds open without a name.

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, open, openat, statat};
use rustix::process::Pid;

use crate::{ScratchLimit, TmpLimits};

/// Directories within directories; what nests deeper counts as too many files.
const DEPTH_MAX: usize = 64;
/// Bytes in a block as a file's status counts them.
const BLOCK_BYTES: u64 = 512;
/// How often it is looked at, if that takes little time.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// So many times as long as a look takes, nothing is done after it.
const REST: u32 = 4;

/// Looks at a task's scratch from time to time.
pub(super) struct Watch<'a> {
    scratch: &'a CStr,
    limits: TmpLimits,
    /// How long to wait before the next look.
    pub(super) pause: Duration,
}

impl<'a> Watch<'a> {
    pub(super) const fn new(scratch: &'a CStr, limits: TmpLimits) -> Self {
        Self { scratch, limits, pause: LOOK_EVERY }
    }

    /// The limit that the scratch is beyond, if it is. A scratch that cannot be read is looked at again.
    pub(super) fn look(&mut self, processes: &[Pid]) -> Option<ScratchLimit> {
        let begun = Instant::now();
        let found = self.used(processes);
        self.pause = LOOK_EVERY.max(begun.elapsed() * REST);
        let used = found?;
        if used.files > self.limits.inodes || used.is_too_deep {
            return Some(ScratchLimit::Files);
        }
        (used.bytes > self.limits.bytes).then_some(ScratchLimit::Bytes)
    }

    fn used(&self, processes: &[Pid]) -> Option<Used> {
        let root = open(self.scratch, DIRECTORY, Mode::empty()).ok()?;
        let device = rustix::fs::fstat(&root).ok()?.st_dev;
        let mut used = Used { files_max: self.limits.inodes, ..Used::default() };
        used.add_below(root, 0);
        used.add_unnamed(processes, device);
        Some(used)
    }
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

#[derive(Default)]
struct Used {
    bytes: u64,
    files: u64,
    /// Beyond so many it is not counted on.
    files_max: u64,
    is_too_deep: bool,
    /// Files with more than one name, or none, that were counted.
    counted: BTreeSet<u64>,
}

impl Used {
    /// Counts what lies below a directory, following no links. What goes while it is counted is not there any more.
    fn add_below(&mut self, dir: OwnedFd, depth: usize) {
        if depth > DEPTH_MAX {
            self.is_too_deep = true;
            return;
        }
        let Ok(mut entries) = Dir::read_from(&dir) else { return };
        while let Some(Ok(entry)) = entries.next() {
            if self.files > self.files_max || self.is_too_deep {
                return;
            }
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let Ok(stat) = statat(dir.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            self.files += 1;
            if stat.st_nlink < 2 || self.counted.insert(stat.st_ino) {
                self.bytes += u64::try_from(stat.st_blocks).unwrap_or(0) * BLOCK_BYTES;
            }
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory
                && let Ok(below) = openat(dir.as_fd(), name, DIRECTORY, Mode::empty())
            {
                self.add_below(below, depth + 1);
            }
        }
    }

    /// Counts files of that device which processes hold open though they have no name any more.
    fn add_unnamed(&mut self, processes: &[Pid], device: u64) {
        for process in processes {
            let open = fs::read_dir(format!("/proc/{}/fd", process.as_raw_nonzero())).into_iter().flatten().flatten();
            for file in open.filter_map(|entry| fs::metadata(entry.path()).ok()) {
                if file.is_file() && file.nlink() == 0 && file.dev() == device && self.counted.insert(file.ino()) {
                    self.files += 1;
                    self.bytes += file.blocks() * BLOCK_BYTES;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;
    use std::io::Write;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    use super::*;

    fn look(dir: &Path, bytes: u64, inodes: u64) -> Option<ScratchLimit> {
        let path = CString::new(dir.as_os_str().as_bytes()).unwrap();
        Watch::new(&path, TmpLimits { bytes, inodes }).look(&[rustix::process::getpid()])
    }

    #[test]
    fn files_are_counted_at_every_depth_and_links_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::write(dir.path().join("a/b/file"), vec![1; 100_000]).unwrap();
        std::os::unix::fs::symlink("/usr", dir.path().join("link")).unwrap();
        fs::hard_link(dir.path().join("a/b/file"), dir.path().join("again")).unwrap();
        assert_eq!(look(dir.path(), 150_000, 5), None);
        assert_eq!(look(dir.path(), 99_000, 5), Some(ScratchLimit::Bytes));
        assert_eq!(look(dir.path(), 150_000, 4), Some(ScratchLimit::Files));
    }

    #[test]
    fn a_file_without_a_name_is_counted_while_somebody_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = fs::File::create_new(dir.path().join("gone")).unwrap();
        file.write_all(&vec![1; 100_000]).unwrap();
        fs::remove_file(dir.path().join("gone")).unwrap();
        assert_eq!(look(dir.path(), 50_000, 5), Some(ScratchLimit::Bytes));
        drop(file);
        assert_eq!(look(dir.path(), 50_000, 5), None);
    }

    #[test]
    fn what_nests_without_end_is_too_many_files() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("d/".repeat(DEPTH_MAX + 2))).unwrap();
        assert_eq!(look(dir.path(), 1 << 20, 1000), Some(ScratchLimit::Files));
    }
}
