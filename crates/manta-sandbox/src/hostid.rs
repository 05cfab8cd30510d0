//! Host uids for tasks: one for each running attempt, distinct between all launchers of a machine, never that of a person.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use crate::{StartError, sys};

/// First host uid (and gid) of tasks. Far above people, subordinate ranges (100000 on) and container managers' ranges.
const BASE: u32 = 2_000_000_000;

/// In a container whose user namespace ends lower, tasks take the last uids there are but for these: `nobody` and its neighbours.
const KEPT_AT_THE_END: u32 = 16;

/// Tasks that may run at once on one machine under uids of their own.
const SLOTS: u32 = 4096;

/// Of those, the first that zygotes and their children may have: the rest is left to tasks that start cold, which zygotes that nobody
/// uses must not hinder.
const WARM_SLOTS: u32 = SLOTS / 4 * 3;

/// Byte `n` of this file is locked while the host uid of slot `n` is in use; the kernel unlocks it when its launcher dies.
const LOCK_DIR: &str = "/run/manta";
const LOCK_FILE: &str = "/run/manta/task-uids.lock";

/// Hands out host uids; needs root.
#[derive(Debug)]
pub(crate) struct HostIds {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    base: u32,
    file: OwnedFd,
    taken: Mutex<BTreeSet<u32>>,
    /// Uids that were given back and that nobody asked for since.
    given_back: Mutex<BTreeSet<u32>>,
}

/// A host uid (and equal gid) that no other running task has; given back when dropped.
#[derive(Debug)]
pub(crate) struct HostId {
    slot: u32,
    shared: Arc<Shared>,
}

impl HostIds {
    /// Opens the machine's register of host uids in use.
    pub(crate) fn open() -> Result<Self, StartError> {
        let file = open_register().map_err(|error| StartError::step(format!("open `{LOCK_FILE}`"), error))?;
        let known = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        let base = base_within(&known)
            .ok_or_else(|| StartError::step("find host uids for tasks", "this user namespace has too few of them"))?;
        Ok(Self { shared: Arc::new(Shared { base, file, taken: Mutex::default(), given_back: Mutex::default() }) })
    }

    /// Takes the lowest free host uid.
    pub(crate) fn take(&self) -> Result<HostId, StartError> {
        self.take_of_first(SLOTS, "wait until a task ends")
    }

    /// Takes the lowest free host uid among the first so many.
    fn take_of_first(&self, count: u32, cure: &str) -> Result<HostId, StartError> {
        let mut taken = self.shared.taken.lock().unwrap_or_else(PoisonError::into_inner);
        for slot in (0..count).filter(|slot| !taken.contains(slot)).collect::<Vec<_>>() {
            let locked = sys::lock_byte(self.shared.file.as_fd(), slot, true)
                .map_err(|error| StartError::step(format!("lock `{LOCK_FILE}`"), error))?;
            if locked {
                taken.insert(slot);
                let id = HostId { slot, shared: Arc::clone(&self.shared) };
                id.shared.note(id.number(), BTreeSet::remove);
                return Ok(id);
            }
        }
        Err(StartError::step("find a free host uid", format!("all {count} are in use; {cure}")))
    }

    /// Host uids, of tasks and of zygotes' children, that were given back since this was asked before.
    pub(crate) fn given_back(&self) -> BTreeSet<u32> {
        std::mem::take(&mut *self.shared.given_back.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shared {
    /// Notes that a uid was given back, or taken again.
    fn note(&self, number: u32, change: impl Fn(&mut BTreeSet<u32>, &u32) -> bool) {
        change(&mut self.given_back.lock().unwrap_or_else(PoisonError::into_inner), &number);
    }
}

/// The first uid for tasks, given the text of `/proc/self/uid_map` (user_namespaces(7)).
fn base_within(uid_map: &str) -> Option<u32> {
    let ranges = uid_map.lines().filter_map(|line| {
        let mut numbers = line.split_whitespace().map(str::parse::<u64>);
        let (first, _outside, count) = (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
        Some(first..first + count)
    });
    let bases = ranges.filter_map(|range| {
        let wanted = u64::from(BASE)..u64::from(BASE + SLOTS);
        if range.start <= wanted.start && wanted.end <= range.end {
            return Some(BASE);
        }
        let low = range.end.checked_sub(u64::from(SLOTS + KEPT_AT_THE_END))?;
        // Uids below a thousand belong to the system.
        u32::try_from(low).ok().filter(|base| u64::from(*base) >= range.start.max(1000))
    });
    bases.max()
}

fn open_register() -> io::Result<OwnedFd> {
    if !Path::new(LOCK_DIR).is_dir() {
        match fs::DirBuilder::new().mode(0o755).create(LOCK_DIR) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    Ok(options.open(LOCK_FILE)?.into())
}

impl HostId {
    /// The uid, and the gid, on the host.
    pub(crate) fn number(&self) -> u32 {
        self.shared.base + self.slot
    }
}

/// Host uids that one zygote's user namespace maps: its own, and one for each child that may live at once.
pub(crate) struct Seats {
    own: HostId,
    seats: Vec<HostId>,
    free: RefCell<BTreeSet<usize>>,
}

/// One of the uids of a zygote, given back when dropped.
pub(crate) struct Seat {
    index: usize,
    seats: Rc<Seats>,
}

impl Seats {
    /// Takes uids for a zygote and `count` children.
    pub(crate) fn take(ids: &HostIds, count: usize) -> Result<Rc<Self>, StartError> {
        let take = || ids.take_of_first(WARM_SLOTS, "start nodes of this machine with `--warm off`");
        let own = take()?;
        let seats = (0..count).map(|_| take()).collect::<Result<Vec<_>, _>>()?;
        Ok(Rc::new(Self { own, seats, free: RefCell::new((0..count).collect()) }))
    }

    /// The zygote's own uid.
    pub(crate) fn own(&self) -> &HostId {
        &self.own
    }

    /// A uid for a child; `None` while all are taken.
    pub(crate) fn sit(self: &Rc<Self>) -> Option<Seat> {
        let index = self.free.borrow_mut().pop_first()?;
        let seat = Seat { index, seats: Rc::clone(self) };
        self.own.shared.note(seat.number(), BTreeSet::remove);
        Some(seat)
    }

    /// How many children have one.
    pub(crate) fn taken(&self) -> usize {
        self.seats.len() - self.free.borrow().len()
    }

    /// Host uids in the order in which the zygote's namespace numbers them.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u32> {
        [&self.own].into_iter().chain(&self.seats).map(HostId::number)
    }
}

impl Seat {
    /// The uid, and the gid, on the host.
    pub(crate) fn number(&self) -> u32 {
        self.seats.seats[self.index].number()
    }

    /// How far after the zygote's own uid its namespace has this one.
    pub(crate) fn offset(&self) -> u32 {
        u32::try_from(self.index + 1).expect("a zygote has a few dozen children")
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.free.borrow_mut().insert(self.index);
        self.seats.own.shared.note(self.number(), |given_back, number| given_back.insert(*number));
    }
}

impl Drop for HostId {
    fn drop(&mut self) {
        self.shared.taken.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.slot);
        // A failed unlock only keeps the slot taken until this launcher ends.
        let _ = sys::lock_byte(self.shared.file.as_fd(), self.slot, false);
        self.shared.note(self.number(), |given_back, number| given_back.insert(*number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zygotes_leave_uids_to_tasks_that_start_cold() {
        let file = tempfile::tempfile().unwrap().into();
        let (taken, given_back) = Default::default();
        let ids = HostIds { shared: Arc::new(Shared { base: BASE, file, taken, given_back }) };
        let mut zygotes = Vec::new();
        let refused = loop {
            match Seats::take(&ids, 32) {
                Ok(seats) => zygotes.push(seats),
                Err(error) => break error.to_string(),
            }
        };
        assert!(refused.contains("--warm off"), "{refused}");
        assert_eq!(zygotes.len(), 93);
        let cold: Vec<HostId> = (0..SLOTS / 4).map(|_| ids.take().unwrap()).collect();
        assert_eq!(cold.iter().map(HostId::number).collect::<BTreeSet<_>>().len(), cold.len());
        drop((zygotes, cold));
        assert_eq!(ids.given_back().len(), 4096 - 3);
    }

    #[test]
    fn tasks_take_high_uids_wherever_there_are_some() {
        assert_eq!(base_within("         0          0 4294967295\n"), Some(BASE));
        assert_eq!(base_within("0 100000 65536\n"), Some(65_536 - SLOTS - KEPT_AT_THE_END));
        assert_eq!(base_within("0 1000 1\n1 100000 65536\n"), Some(65_537 - SLOTS - KEPT_AT_THE_END));
        assert_eq!(base_within("0 1000 1\n"), None);
        assert_eq!(base_within(""), None);
    }
}
