//! The control groups of one sandbox: one directory in each hierarchy that is used.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::event::{EventfdFlags, eventfd};
use rustix::process::{Pid, Signal, kill_process};

use super::detect::Hierarchy;
use super::{Controller, Entry, Headroom, Readings, Version, detect, found, keyed_number, near, v1, v2};
use crate::{CgroupReport, Limits, StartError};

/// The groups of one sandbox. Dropping it leaves them; [`Group::remove`] takes them away.
pub(crate) struct Group {
    parts: Vec<Part>,
    /// The limit of its memory, in bytes; 0 while there is none.
    memory_bytes: AtomicU64,
}

pub(super) struct Part {
    pub(super) version: Version,
    pub(super) controllers: Vec<Controller>,
    pub(super) dir: PathBuf,
    /// Readable when memory in use has come near its limit, where the kernel tells.
    pub(super) threshold: OnceLock<OwnedFd>,
}

impl Group {
    /// Makes the groups and sets their limits.
    pub(super) fn create(hierarchies: &[Hierarchy], id: &str, limits: Option<&Limits>) -> Result<Self, StartError> {
        let memory_bytes = AtomicU64::new(limits.map_or(0, |limits| limits.memory_bytes));
        let mut group = Self { parts: Vec::new(), memory_bytes };
        for hierarchy in hierarchies {
            let dir = hierarchy.root.join(id);
            let made = fs::create_dir(&dir);
            group.parts.push(Part {
                version: hierarchy.version,
                controllers: hierarchy.controllers.clone(),
                dir,
                threshold: OnceLock::new(),
            });
            let part = group.parts.last().expect("a part was just pushed");
            if let Err(error) = made.and_then(|()| limits.map_or(Ok(()), |limits| part.limit(limits))) {
                let failure = StartError::step(format!("set limits in `{}`", part.dir.display()), error);
                group.remove();
                return Err(failure);
            }
        }
        Ok(group)
    }

    /// No group at all.
    pub(crate) const fn none() -> Self {
        Self::of_parts(Vec::new())
    }

    /// Groups that somebody else made.
    pub(super) const fn of_parts(parts: Vec<Part>) -> Self {
        Self { parts, memory_bytes: AtomicU64::new(0) }
    }

    /// Whether a limit is set on a controller.
    pub(crate) fn holds(&self, controller: Controller) -> bool {
        let holding = |part: &&Part| part.controllers.contains(&controller);
        self.parts.iter().filter(holding).any(|part| found::is_limited(part.version, controller, &part.dir))
    }

    /// The controllers on which no limit is set.
    pub(crate) fn missing(&self) -> Vec<Controller> {
        Controller::ALL.into_iter().filter(|controller| !self.holds(*controller)).collect()
    }

    /// What is limited, for the host report.
    pub(crate) fn report(&self) -> CgroupReport {
        detect::report(self.parts.iter().map(|part| part.version), |controller| self.holds(controller))
    }

    /// Limits groups that were made without limits.
    pub(crate) fn limit(&self, limits: &Limits) -> Result<(), StartError> {
        self.memory_bytes.store(limits.memory_bytes, Ordering::Relaxed);
        self.parts.iter().try_for_each(|part| {
            part.limit(limits)
                .map_err(|error| StartError::step(format!("set limits in `{}`", part.dir.display()), error))
        })
    }

    /// The way in for a process that is yet to be made.
    pub(crate) fn entry(&self) -> Result<Entry, StartError> {
        let (births, others): (Vec<&Part>, Vec<&Part>) =
            self.parts.iter().partition(|part| part.version == Version::V2);
        let birth = births.into_iter().map(|part| part.open(".", File::options().read(true))).next().transpose()?;
        let doors = others.into_iter().map(Part::door).collect::<Result<_, _>>()?;
        Ok(Entry { birth, doors })
    }

    /// What a process that is there already, and has one thread, writes `0` to, to enter the groups.
    pub(crate) fn doors(&self) -> Result<Vec<OwnedFd>, StartError> {
        self.parts.iter().map(Part::door).collect()
    }

    /// Whether one process killed for want of memory leaves the others alive, so that somebody must watch.
    pub(crate) fn needs_watching(&self) -> bool {
        self.parts.iter().any(|part| part.version == Version::V1 && part.controllers.contains(&Controller::Memory))
    }

    /// Whether somebody must look from time to time how near the tree is to its memory limit.
    pub(crate) fn limits_memory(&self) -> bool {
        self.memory_part().is_some()
    }

    /// Whether the kernel can be asked to tell at once when the tree comes near its memory limit.
    pub(crate) fn tells_of_memory(&self) -> bool {
        self.memory_part().is_some_and(|part| part.version == Version::V1)
    }

    /// What makes [`Group::threshold`] work once it is set, where the kernel tells; nothing the second time.
    pub(crate) fn alarm(&self) -> Option<Alarm> {
        let part = self.memory_part().filter(|part| part.version == Version::V1 && part.threshold.get().is_none())?;
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok()?;
        let copy = event.try_clone().ok()?;
        part.threshold.set(event).expect("it was looked at above");
        Some(Alarm {
            event: copy,
            usage: part.open(v1::IN_USE.0, File::options().read(true)).ok()?,
            orders: part.open(v1::EVENTS, File::options().write(true)).ok()?,
            bytes: near(self.memory_bytes.load(Ordering::Relaxed)),
        })
    }

    /// Becomes readable at once when the tree comes near its memory limit, where the kernel tells.
    pub(crate) fn threshold(&self) -> Option<BorrowedFd<'_>> {
        Some(self.memory_part()?.threshold.get()?.as_fd())
    }

    /// How near the tree is to its memory limit; `None` where that cannot be told.
    pub(crate) fn headroom(&self) -> Option<Headroom> {
        let part = self.memory_part()?;
        if let Some(event) = part.threshold.get() {
            // Nothing is there to be read unless it was reached.
            let _ = rustix::io::read(event, &mut [0; 8]);
        }
        let (file, reclaimable) = match part.version {
            Version::V1 => v1::IN_USE,
            Version::V2 => v2::IN_USE,
        };
        let in_use = fs::read_to_string(part.dir.join(file)).ok()?.trim().parse().ok()?;
        Some(Headroom::of(in_use, self.memory_bytes.load(Ordering::Relaxed), || {
            let stat = fs::read_to_string(part.dir.join("memory.stat")).unwrap_or_default();
            reclaimable.iter().map(|key| keyed_number(&stat, key)).sum()
        }))
    }

    fn memory_part(&self) -> Option<&Part> {
        let is_limited = self.memory_bytes.load(Ordering::Relaxed) > 0;
        self.parts.iter().find(|part| is_limited && part.controllers.contains(&Controller::Memory))
    }

    /// What the groups tell now.
    pub(crate) fn readings(&self) -> Readings {
        let mut readings = Readings::default();
        for part in &self.parts {
            for controller in &part.controllers {
                match part.version {
                    Version::V1 => v1::read(*controller, &part.dir, &mut readings),
                    Version::V2 => v2::read(*controller, &part.dir, &mut readings),
                }
            }
        }
        readings
    }

    /// Gives a tree that is about to be killed CPU time to die in, and forbids it new processes.
    pub(crate) fn prepare_end(&self) {
        for part in &self.parts {
            let files = match part.version {
                Version::V1 => v1::PREPARE_END,
                Version::V2 => v2::PREPARE_END,
            };
            for (_, file, value) in files.iter().filter(|(controller, ..)| part.controllers.contains(controller)) {
                // Without it the tree only dies more slowly.
                let _ = fs::write(part.dir.join(file), value);
            }
        }
    }

    /// Removes the groups, killing what is still inside; false if some process has not gone yet.
    pub(crate) fn remove(&self) -> bool {
        // Every part is tried, whatever became of the others.
        self.parts.iter().filter(|part| !remove_dir(&part.dir)).count() == 0
    }
}

/// A wish to be told when the memory of a v1 group comes near its limit.
pub(crate) struct Alarm {
    event: OwnedFd,
    usage: OwnedFd,
    orders: OwnedFd,
    bytes: u64,
}

impl Alarm {
    /// What it consists of, to be sent to another process.
    pub(crate) fn parts(&self) -> (u64, [BorrowedFd<'_>; 3]) {
        (self.bytes, [self.event.as_fd(), self.usage.as_fd(), self.orders.as_fd()])
    }

    /// From what [`Alarm::parts`] gave.
    pub(crate) fn from_parts(bytes: u64, [event, usage, orders]: [OwnedFd; 3]) -> Self {
        Self { event, usage, orders, bytes }
    }

    /// Sets it. The kernel answers only when every processor was idle or in user code for a moment.
    pub(crate) fn set(self) -> io::Result<()> {
        let order = format!("{} {} {}", self.event.as_raw_fd(), self.usage.as_raw_fd(), self.bytes);
        rustix::io::write(&self.orders, order.as_bytes()).map(drop).map_err(io::Error::from)
    }
}

impl Part {
    fn door(&self) -> Result<OwnedFd, StartError> {
        let file = match self.version {
            Version::V1 => v1::DOOR,
            Version::V2 => v2::DOOR,
        };
        self.open(file, File::options().write(true))
    }

    fn open(&self, file: &str, options: &fs::OpenOptions) -> Result<OwnedFd, StartError> {
        let path = self.dir.join(file);
        let opened = options.open(&path).map(OwnedFd::from);
        opened.map_err(|error| StartError::step(format!("open `{}`", path.display()), error))
    }

    fn limit(&self, limits: &Limits) -> io::Result<()> {
        for controller in &self.controllers {
            let settings = match self.version {
                Version::V1 => v1::settings(*controller, limits),
                Version::V2 => v2::settings(*controller, limits),
            };
            for setting in settings {
                let file = self.dir.join(setting.file);
                if setting.optional && !file.exists() {
                    continue;
                }
                fs::write(&file, &setting.value)
                    .map_err(|error| io::Error::other(format!("{}: {error}", setting.file)))?;
            }
        }
        Ok(())
    }
}

/// Removes one group directory after killing every process in it; true if it is gone.
pub(super) fn remove_dir(dir: &Path) -> bool {
    // Kernels before 5.14 and v1 lack the file; the processes are then killed one by one.
    let _ = fs::write(dir.join(v2::KILL.0), v2::KILL.1);
    let inside = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    for pid in inside.lines().filter_map(|line| line.parse().ok()).filter_map(Pid::from_raw) {
        // It may have ended since the list was read.
        let _ = kill_process(pid, Signal::KILL);
    }
    match fs::remove_dir(dir) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}
