//! Locks on files (fcntl(2), flock(2)). The kernel keeps each in memory that no control group counts, so a task that holds a great
//! many takes that memory from the whole host. No limit of the kernel's is on them: they are counted here, in a process of the
//! launcher's. Reading the kernel's list takes milliseconds, and longer the more there are, which no start should wait for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Signal, set_parent_process_death_signal};
use rustix::time::{ClockId, clock_gettime};

use super::protocol::{self, MESSAGE_BYTES_MAX};
use crate::FILE_LOCKS;
use crate::sys::{self, Forked};

/// The kernel's list, in the form of proc(5).
pub(super) const LIST: &str = "/proc/locks";
/// `USER_HZ`, on every processor that there is a table of system calls for.
const TICKS_PER_SECOND: u64 = 100;
/// Of the numbers of all tasks of a launcher.
const ANSWER_BYTES_MAX: usize = 16 << 10;
/// Between two looks: at least, and at most where looks take long.
const LOOK: Duration = Duration::from_secs(1);
const LOOK_MAX: Duration = Duration::from_secs(5);
/// How many times as long as a look took the next one waits.
const LOOK_SHARE: u32 = 20;

/// The process, which ends with the launcher.
pub(super) struct Locks {
    socket: OwnedFd,
    #[expect(dead_code, reason = "the launcher's end ends it")]
    process: Forked,
    /// When it was asked what it has not answered.
    asked: Option<Instant>,
    look_at: Instant,
}

impl Locks {
    /// Makes the process; the launcher must have one thread.
    pub(super) fn start() -> io::Result<Self> {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let Some(process) = sys::clone_process(0)? else { run(&theirs) };
        rustix::io::ioctl_fionbio(&ours, true)?;
        Ok(Self { socket: ours, process, asked: None, look_at: Instant::now() + LOOK })
    }

    /// Readable when there is an answer.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// How long to wait until it is time to ask; `None` while an answer is awaited.
    pub(super) fn rest(&self) -> Option<Duration> {
        self.asked.is_none().then(|| self.look_at.saturating_duration_since(Instant::now()))
    }

    /// Asks which of the process trees with these roots hold too many locks, if there are any and it is time.
    pub(super) fn ask(&mut self, roots: impl Iterator<Item = i32>) -> io::Result<()> {
        if self.rest().is_none_or(|rest| !rest.is_zero()) {
            return Ok(());
        }
        let roots: Vec<i32> = roots.collect();
        if roots.is_empty() {
            return Ok(());
        }
        let message = serde_json::to_vec(&roots).map_err(io::Error::other)?;
        self.asked = Some(Instant::now());
        protocol::send(&self.socket, &message, &[])
    }

    /// What was found since it was asked; without its process another one is made.
    pub(super) fn hear(&mut self) -> io::Result<BTreeSet<i32>> {
        let mut buffer = [0; ANSWER_BYTES_MAX];
        match protocol::receive::<BTreeSet<i32>>(&self.socket, &mut buffer) {
            Ok(Some((found, _))) => {
                let took = self.asked.take().map_or(Duration::ZERO, |asked| asked.elapsed());
                self.look_at = Instant::now() + (took * LOOK_SHARE).clamp(LOOK, LOOK_MAX);
                Ok(found)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(BTreeSet::new()),
            Ok(None) | Err(_) => {
                *self = Self::start()?;
                Ok(BTreeSet::new())
            }
        }
    }
}

/// Answers what it is asked until the launcher ends.
fn run(socket: &OwnedFd) -> ! {
    let closed = set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(io::Error::from)
        .and_then(|()| sys::place_fd(socket.as_fd(), 0))
        .and_then(|()| sys::close_from(1));
    let mut buffer = vec![0; MESSAGE_BYTES_MAX];
    while closed.is_ok()
        && let Ok(Some((roots, _))) = protocol::receive::<BTreeSet<i32>>(rustix::stdio::stdin(), &mut buffer)
        && let Ok(message) = serde_json::to_vec(&excessive(&roots))
        && protocol::send(rustix::stdio::stdin(), &message, &[]).is_ok()
    {}
    sys::exit_now(0)
}

/// The roots whose trees hold more locks than a task may. A host that does not show its locks is said to be one when it is probed.
fn excessive(roots: &BTreeSet<i32>) -> BTreeSet<i32> {
    let begun = Ticks::now();
    let Ok(list) = File::open(LIST) else { return BTreeSet::new() };
    let held = by_root(&holders(BufReader::new(list)), roots, Process::read, begun);
    held.into_iter().filter(|(_, count)| *count > FILE_LOCKS).map(|(root, _)| root).collect()
}

/// Processes with so many locks each, of lines as `1: POSIX  ADVISORY  WRITE 1234 00:3a:12 0 EOF`. What waits for a lock is a process
/// that waits, and does not count.
fn holders(list: impl BufRead) -> BTreeMap<i32, u64> {
    let mut holders = BTreeMap::new();
    for line in list.lines().map_while(Result::ok) {
        let mut words = line.split_whitespace().skip(1);
        if let Some("POSIX" | "FLOCK") = words.next()
            && let Some(pid) = words.nth(2).and_then(|word| word.parse().ok())
        {
            *holders.entry(pid).or_insert(0) += 1;
        }
    }
    holders
}

/// How many locks each root's tree holds; nothing where all locks together are not too many. A process that came after the list was
/// begun has none in it: it may have the number of one that is gone.
fn by_root(
    holders: &BTreeMap<i32, u64>,
    roots: &BTreeSet<i32>,
    process: impl Fn(i32) -> Option<Process>,
    begun: Ticks,
) -> BTreeMap<i32, u64> {
    let mut held = BTreeMap::new();
    if holders.values().sum::<u64>() <= FILE_LOCKS {
        return held;
    }
    for (pid, count) in holders {
        if process(*pid).is_none_or(|process| process.born > begun) {
            continue;
        }
        let mut line = std::iter::successors(Some(*pid), |pid| process(*pid).map(|process| process.parent));
        if let Some(root) = line.find(|pid| roots.contains(pid)) {
            *held.entry(root).or_insert(0) += count;
        }
    }
    held
}

/// Clock ticks since the machine started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Ticks(u64);

impl Ticks {
    fn now() -> Self {
        let time = clock_gettime(ClockId::Boottime);
        let [seconds, nanoseconds] = [time.tv_sec, time.tv_nsec].map(i64::cast_unsigned);
        Self(seconds * TICKS_PER_SECOND + nanoseconds * TICKS_PER_SECOND / 1_000_000_000)
    }
}

/// What proc(5)'s `/proc/PID/stat` says of a process.
#[derive(Debug, Clone, Copy)]
struct Process {
    parent: i32,
    born: Ticks,
}

impl Process {
    /// Nothing where it is gone.
    fn read(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, behind_name) = stat.rsplit_once(')')?;
        let mut fields = behind_name.split_whitespace().skip(1);
        let parent = fields.next()?.parse().ok()?;
        Some(Self { parent, born: Ticks(fields.nth(17)?.parse().ok()?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_locks_that_are_held_count() {
        let list = "1: POSIX  ADVISORY  WRITE 12 00:3a:7 0 0\n1: -> POSIX  ADVISORY  WRITE 13 00:3a:7 0 0\n\
                    2: POSIX  ADVISORY  READ 12 fd:00:9 128 EOF\n3: FLOCK  ADVISORY  WRITE 12 00:3a:7 0 EOF\n\
                    4: OFDLCK ADVISORY  WRITE -1 00:3a:7 4 4\n5: LEASE  ACTIVE    READ 14 fd:00:9 0 EOF\nnonsense\n";
        assert_eq!(holders(list.as_bytes()), BTreeMap::from([(12, 3)]));
    }

    #[test]
    fn a_tree_holds_what_its_processes_hold() {
        // 10 and 20 are roots; 11 is of 10, 12 of 11, 13 too, but younger than the list; 30 is of nobody here.
        let process = |pid| {
            let (_, parent, born) = [(10, 1, 5), (11, 10, 6), (12, 11, 7), (13, 11, 8), (20, 1, 5), (30, 1, 5)]
                .into_iter()
                .find(|(of, ..)| *of == pid)?;
            Some(Process { parent, born: Ticks(born) })
        };
        let roots = BTreeSet::from([10, 20]);
        let held = BTreeMap::from([(11, FILE_LOCKS), (12, 1), (13, 9), (20, 3), (30, 5)]);
        let found = by_root(&held, &roots, process, Ticks(7));
        assert_eq!(found, BTreeMap::from([(10, FILE_LOCKS + 1), (20, 3)]));
        let few = BTreeMap::from([(11, FILE_LOCKS)]);
        assert_eq!(by_root(&few, &roots, |_| panic!("nobody need be looked for"), Ticks(7)), BTreeMap::new());
    }

    #[test]
    fn a_process_has_a_parent_and_was_born_before_now() {
        let own = Process::read(std::process::id().cast_signed()).unwrap();
        assert_eq!(own.parent, std::os::unix::process::parent_id().cast_signed());
        assert!(own.born <= Ticks::now() && own.born > Ticks(0));
        assert!(Process::read(i32::MAX).is_none());
    }
}
