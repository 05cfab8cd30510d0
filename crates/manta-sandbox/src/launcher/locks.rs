//! Locks on parts of files (fcntl(2)). The kernel keeps each in memory that no control group counts, so a task that holds a great
//! many takes that memory from the whole host. No limit of the kernel's is on them: they are counted here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::time::{Duration, Instant};

use crate::FILE_LOCKS;

/// Bytes of the list that are read: more than a hundred thousand locks.
const LIST_BYTES_MAX: u64 = 8 << 20;
/// Between two looks, at least.
const LOOK: Duration = Duration::from_secs(1);
/// And at least so many times as long as a look took.
const LOOK_SHARE: u32 = 20;

/// When the list was looked at, and when it is next.
pub(super) struct Locks {
    look_at: Instant,
}

impl Locks {
    pub(super) fn new() -> Self {
        Self { look_at: Instant::now() + LOOK }
    }

    /// How long to wait until it is time to look.
    pub(super) fn rest(&self) -> Duration {
        self.look_at.saturating_duration_since(Instant::now())
    }

    /// Looks if it is time: which of the process trees with these roots hold too many locks.
    pub(super) fn excessive(&mut self, roots: &BTreeSet<i32>) -> BTreeSet<i32> {
        if !self.rest().is_zero() {
            return BTreeSet::new();
        }
        let begun = Instant::now();
        // A host without the list has no locks.
        let held = read_list().map(|list| by_root(&holders(&list), roots, parent)).unwrap_or_default();
        self.look_at = Instant::now() + LOOK.max(LOOK_SHARE * begun.elapsed());
        held.into_iter().filter(|(_, count)| *count > FILE_LOCKS).map(|(root, _)| root).collect()
    }
}

fn read_list() -> io::Result<String> {
    let mut list = Vec::new();
    File::open("/proc/locks")?.take(LIST_BYTES_MAX).read_to_end(&mut list)?;
    Ok(String::from_utf8_lossy(&list).into_owned())
}

/// Processes with so many locks on parts of files each, of proc(5)'s `/proc/locks`: `1: POSIX  ADVISORY  WRITE 1234 00:3a:12 0 EOF`. What
/// waits for a lock is a process that waits, and locks of whole files are no more than open files: neither counts.
fn holders(list: &str) -> BTreeMap<i32, u64> {
    let mut holders = BTreeMap::new();
    for line in list.lines() {
        let mut words = line.split_whitespace().skip(1);
        if words.next() == Some("POSIX")
            && let Some(pid) = words.nth(2).and_then(|word| word.parse().ok())
        {
            *holders.entry(pid).or_insert(0) += 1;
        }
    }
    holders
}

/// How many locks each root's tree holds; nothing where all locks together are not too many.
fn by_root(
    holders: &BTreeMap<i32, u64>,
    roots: &BTreeSet<i32>,
    parent: impl Fn(i32) -> Option<i32>,
) -> BTreeMap<i32, u64> {
    let mut held = BTreeMap::new();
    if holders.values().sum::<u64>() <= FILE_LOCKS {
        return held;
    }
    for (pid, count) in holders {
        let line = std::iter::successors(Some(*pid), |pid| parent(*pid));
        if let Some(root) = line.into_iter().find(|pid| roots.contains(pid)) {
            *held.entry(root).or_insert(0) += count;
        }
    }
    held
}

/// The parent of a process; `None` where it is gone, or has none.
fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, behind_name) = stat.rsplit_once(')')?;
    behind_name.split_whitespace().nth(1)?.parse().ok().filter(|parent| *parent > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_locks_on_parts_of_files_that_are_held_count() {
        let list = "1: POSIX  ADVISORY  WRITE 12 00:3a:7 0 0\n1: -> POSIX  ADVISORY  WRITE 13 00:3a:7 0 0\n\
                    2: POSIX  ADVISORY  READ 12 fd:00:9 128 EOF\n3: FLOCK  ADVISORY  WRITE 12 00:3a:7 0 EOF\n\
                    4: OFDLCK ADVISORY  WRITE -1 00:3a:7 4 4\n5: LEASE  ACTIVE    READ 14 fd:00:9 0 EOF\nnonsense\n";
        assert_eq!(holders(list), BTreeMap::from([(12, 2)]));
    }

    #[test]
    fn a_tree_holds_what_its_processes_hold() {
        // 10 and 20 are roots; 11 is of 10, 12 of 11; 30 is of nobody here.
        let parent = |pid| BTreeMap::from([(10, 1), (11, 10), (12, 11), (20, 1), (30, 1)]).get(&pid).copied();
        let roots = BTreeSet::from([10, 20]);
        let held = BTreeMap::from([(11, FILE_LOCKS), (12, 1), (20, 3), (30, 5)]);
        assert_eq!(by_root(&held, &roots, parent), BTreeMap::from([(10, FILE_LOCKS + 1), (20, 3)]));
        let few = BTreeMap::from([(11, FILE_LOCKS)]);
        assert_eq!(by_root(&few, &roots, |_| panic!("nobody need be looked for")), BTreeMap::new());
    }

    #[test]
    fn a_process_has_a_parent() {
        assert_eq!(
            parent(i32::try_from(std::process::id()).unwrap()),
            Some(std::os::unix::process::parent_id().cast_signed())
        );
        assert_eq!(parent(i32::MAX), None);
    }
}
