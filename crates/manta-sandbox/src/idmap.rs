//! User namespaces that map one owner on disk to one task's host uid, for id-mapped mounts.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::process::{Signal, set_parent_process_death_signal};

use crate::sys;

/// Namespaces that are kept for the next task before the whole store is emptied.
const KEPT_MAX: usize = 256;

/// How long namespaces are kept for the next task that has a host uid.
const KEPT: Duration = Duration::from_secs(1);

/// Which owner appears as which task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct IdMap {
    /// The uid on disk.
    pub(crate) uid: u32,
    /// The gid on disk.
    pub(crate) gid: u32,
    /// The uid and gid of the task on the host.
    pub(crate) host_id: u32,
}

/// Makes mapping namespaces and keeps them for the tasks that come next.
#[derive(Default)]
pub(crate) struct IdMaps {
    namespaces: HashMap<IdMap, OwnedFd>,
    /// Host uids that nobody has any more, and since when.
    idle: HashMap<u32, Instant>,
}

impl IdMaps {
    /// The namespace for `map`.
    pub(crate) fn namespace(&mut self, map: IdMap) -> io::Result<BorrowedFd<'_>> {
        self.idle.remove(&map.host_id);
        if !self.namespaces.contains_key(&map) {
            if self.namespaces.len() >= KEPT_MAX {
                self.namespaces.clear();
            }
            let namespace = make_namespace(map)?;
            self.namespaces.insert(map, namespace);
        }
        Ok(self.namespaces[&map].as_fd())
    }

    /// Notes that nobody has some host uids any more, and lets go of the namespaces of those that nobody took for a while.
    pub(crate) fn let_go(&mut self, given_back: impl IntoIterator<Item = u32>, now: Instant) {
        self.idle.extend(given_back.into_iter().map(|id| (id, now)));
        for (over, _) in self.idle.extract_if(|_, since| now.duration_since(*since) >= KEPT) {
            self.namespaces.retain(|map, _| map.host_id != over);
        }
    }

    /// Whether [`IdMaps::let_go`] will have something to do.
    pub(crate) fn has_idle(&self) -> bool {
        !self.idle.is_empty()
    }
}

/// Makes a user namespace by way of a child that does nothing but exist while its maps are written.
fn make_namespace(map: IdMap) -> io::Result<OwnedFd> {
    let Some(holder) = sys::clone_process(libc::CLONE_NEWUSER)? else {
        // A failure only means that the holder is ended by the kill below.
        let _ = set_parent_process_death_signal(Some(Signal::KILL));
        loop {
            rustix::event::pause();
        }
    };
    let process = format!("/proc/{}", holder.pid.as_raw_nonzero());
    let namespace = (|| {
        fs::write(format!("{process}/uid_map"), format!("{} {} 1", map.uid, map.host_id))?;
        fs::write(format!("{process}/gid_map"), format!("{} {} 1", map.gid, map.host_id))?;
        fs::File::open(format!("{process}/ns/user")).map(OwnedFd::from)
    })();
    rustix::process::pidfd_send_signal(&holder.pidfd, Signal::KILL)?;
    rustix::process::waitpid(Some(holder.pid), rustix::process::WaitOptions::empty())?;
    namespace
}
