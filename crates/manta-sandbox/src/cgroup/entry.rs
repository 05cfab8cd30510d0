//! The way into the groups of a sandbox: a process enters by itself, or is made inside.
//!
//! To move another process the kernel waits until every processor was idle or in user code for a moment, some ten milliseconds long.
//! A process with one thread that moves itself on a v1 hierarchy waits for nobody, nor does one that is made in a group of the
//! unified one.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use crate::sys::{self, Forked};

/// Files and a group that lead into one sandbox, opened by the launcher: what enters needs no right of its own.
pub(crate) struct Entry {
    /// The unified hierarchy's group, where that is used.
    pub(super) birth: Option<OwnedFd>,
    /// What a process writes to, to enter the groups that it was not made in.
    pub(super) doors: Vec<OwnedFd>,
}

impl Entry {
    /// [`sys::clone_process`] into those groups that a process can be made in; the copy must still [`Entry::enter`] the others.
    pub(crate) fn clone_process(&self, flags: libc::c_int) -> io::Result<Option<Forked>> {
        sys::clone_process_into(flags, self.birth.as_ref().map(AsFd::as_fd))
    }

    /// Moves the calling process, which has one thread, into the groups that it was not made in.
    pub(crate) fn enter(&self) -> io::Result<()> {
        self.doors.iter().try_for_each(|door| rustix::io::write(door, b"0").map(drop).map_err(io::Error::from))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::path::{Path, PathBuf};

    use rustix::process::{Signal, WaitOptions, pidfd_send_signal, waitpid};

    use super::*;

    #[test]
    fn a_process_is_made_in_a_group_of_the_unified_hierarchy() {
        let Some(dir) = unified_group() else {
            eprintln!("skipped: needs a unified hierarchy of control groups that may be written");
            return;
        };
        let entry = Entry { birth: Some(File::open(&dir).unwrap().into()), doors: Vec::new() };
        let Some(made) = entry.clone_process(0).unwrap() else {
            loop {
                rustix::event::pause();
            }
        };
        let groups = fs::read_to_string(format!("/proc/{}/cgroup", made.pid.as_raw_nonzero()));
        pidfd_send_signal(&made.pidfd, Signal::KILL).unwrap();
        waitpid(Some(made.pid), WaitOptions::empty()).unwrap();
        assert!(crate::launcher::retry_briefly(|| fs::remove_dir(&dir).is_ok()), "{}", dir.display());
        let name = dir.file_name().unwrap().to_str().unwrap();
        assert!(groups.unwrap().lines().any(|line| line.starts_with("0::") && line.ends_with(name)));
    }

    fn unified_group() -> Option<PathBuf> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let line = mounts.lines().find(|line| line.contains(" - cgroup2 "))?;
        let dir = Path::new(line.split(' ').nth(4)?).join(format!("manta-test-{}", std::process::id()));
        fs::create_dir(&dir).ok().map(|()| dir)
    }
}
