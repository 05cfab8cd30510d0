//! Resource limits of a task's processes: always the fixed ones, and stand-ins for what no cgroup enforces.

use std::fs;
use std::os::unix::fs::MetadataExt;

use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, prlimit, setrlimit};
use serde::{Deserialize, Serialize};

use crate::Limits;

/// Open descriptors of each process of a task.
pub const OPEN_FILES: u64 = 1024;
/// Locks on files and parts of them, of a whole task; the kernel has no such limit, the launcher counts them.
pub const FILE_LOCKS: u64 = 1000;
/// Signals that wait, timers included, of a task. They count for whoever made its namespace as well, who could have none of their own
/// if a task took all.
const SIGNALS_WAITING: u64 = 1024;
/// Stack of a process's first thread.
const STACK_BYTES: u64 = 8 << 20;

/// Which limits a control group enforces already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Enforced {
    /// Memory of the tree.
    pub(crate) memory: bool,
    /// Processes of the tree.
    pub(crate) pids: bool,
}

/// Limits ready to be set between clone and exec.
pub(crate) struct ResourceLimits(Vec<(Resource, u64)>);

impl ResourceLimits {
    /// Limits for a task; `pids_in_use` are processes that its uid has already and that count against it, `file_bytes` what a file
    /// may have where nothing else bounds it at once.
    pub(crate) fn new(limits: &Limits, enforced: Enforced, pids_in_use: u64, file_bytes: Option<u64>) -> Self {
        let mut list = vec![
            (Resource::Core, 0),
            (Resource::Nofile, OPEN_FILES),
            (Resource::Sigpending, SIGNALS_WAITING),
            (Resource::Stack, STACK_BYTES),
        ];
        if !enforced.memory {
            list.push((Resource::Data, limits.memory_bytes));
        }
        if !enforced.pids {
            list.push((Resource::Nproc, pids_in_use + u64::from(limits.pids)));
        }
        list.extend(file_bytes.map(|bytes| (Resource::Fsize, bytes)));
        Self(list)
    }

    /// Sets them for the calling process; a limit that is lower already stays.
    pub(crate) fn apply(&self) -> rustix::io::Result<()> {
        for (resource, wanted) in &self.0 {
            let hard = rustix::process::getrlimit(*resource).maximum.unwrap_or(u64::MAX);
            let value = Some(hard.min(*wanted));
            match setrlimit(*resource, Rlimit { current: value, maximum: value }) {
                // gVisor's kernel lets nobody set it. The signals that wait there are none of the host's.
                Err(Errno::PERM) if *resource == Resource::Sigpending => {}
                set => set?,
            }
        }
        Ok(())
    }

    /// Sets them for another process.
    pub(crate) fn apply_to(&self, process: Pid) -> rustix::io::Result<()> {
        self.0.iter().try_for_each(|(resource, wanted)| {
            let value = Some(*wanted);
            prlimit(Some(process), *resource, Rlimit { current: value, maximum: value }).map(drop)
        })
    }
}

/// Threads that `uid` runs now, in this process namespace.
pub(crate) fn threads_of(uid: u32) -> u64 {
    let Ok(processes) = fs::read_dir("/proc") else { return 0 };
    processes
        .flatten()
        .filter(|entry| entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit))
        .filter(|entry| entry.metadata().is_ok_and(|metadata| metadata.uid() == uid))
        .map(|entry| fs::read_dir(entry.path().join("task")).map_or(0, |threads| threads.count() as u64))
        .sum()
}
