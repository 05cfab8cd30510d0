//! A process of the launcher's that sets alarms: the kernel takes some ten milliseconds over each, which no start should wait for.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Signal, set_parent_process_death_signal};

use super::protocol;
use crate::cgroup::Alarm;
use crate::sys::{self, Forked};

/// The process, which ends with the launcher.
pub(super) struct Alarms {
    socket: OwnedFd,
    #[expect(dead_code, reason = "the launcher's end ends it")]
    process: Forked,
}

impl Alarms {
    /// Makes the process; the launcher must have one thread, and nothing yet that it should not have.
    pub(super) fn start() -> io::Result<Self> {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let Some(process) = sys::clone_process(0)? else { run(&theirs) };
        rustix::io::ioctl_fionbio(&ours, true)?;
        Ok(Self { socket: ours, process })
    }

    /// Has an alarm set soon. What does not fit in the queue is left out: memory is looked at from time to time besides.
    pub(super) fn set(&self, alarm: &Alarm) {
        let (bytes, fds) = alarm.parts();
        let _ = protocol::send(&self.socket, bytes.to_string().as_bytes(), &fds);
    }
}

/// Sets what comes until the launcher ends.
fn run(socket: &OwnedFd) -> ! {
    let closed = set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(io::Error::from)
        .and_then(|()| sys::place_fd(socket.as_fd(), 0))
        .and_then(|()| sys::close_from(1));
    let mut buffer = [0; 32];
    while closed.is_ok()
        && let Ok(Some((bytes, fds))) = protocol::receive::<u64>(rustix::stdio::stdin(), &mut buffer)
    {
        if let Ok(parts) = fds.try_into() {
            // Its group may be gone by now.
            let _ = Alarm::from_parts(bytes, parts).set();
        }
    }
    sys::exit_now(0)
}
