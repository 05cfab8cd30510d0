//! A running sandbox as the launcher sees it: how to end it, and what it came to when it has ended.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, pidfd_send_signal};

use super::identity::Identity;
use super::protocol;
use super::retry_briefly;
use super::scratch::Scratch;
use crate::cgroup::{Group, Nearness};
use crate::sys::{self, Forked, Reaped};
use crate::{Exit, ExitHow, ScratchLimit};

/// How long a task runs before its alarm is set: while that lasts the kernel removes no group.
pub(super) const ALARM_AFTER: Duration = Duration::from_millis(50);

/// A sandbox that runs, with everything that must be given back when it ends.
pub(super) struct Task {
    pub(super) process: Forked,
    /// The first process of the task's namespace tells here how the program ended.
    pub(super) status: OwnedFd,
    /// Whether the process is a keeper, which ends its tree itself when told to.
    pub(super) kept: bool,
    pub(super) group: Group,
    /// Refused forks that were counted when the task was first told to end.
    pub(super) refused_before_kill: Option<u64>,
    pub(super) warning: Warning,
    /// Whether it was ended for its locks on files.
    pub(super) held_locks: bool,
    /// The control socket of the zygote it was forked from, which hangs up when that ends.
    pub(super) zygote: Option<Rc<OwnedFd>>,
    /// Where one that a zygote forked waits to be let go.
    pub(super) leash: Option<OwnedFd>,
    #[expect(dead_code, reason = "given back when dropped")]
    pub(super) identity: Option<Identity>,
    #[expect(dead_code, reason = "removed when dropped")]
    pub(super) scratch: Option<Scratch>,
}

/// Between two looks at how near a task is to its memory limit: usually, and at the least.
const LOOK: Duration = Duration::from_millis(100);
const LOOK_MIN: Duration = Duration::from_millis(5);

/// What was done about a task that comes near its memory limit.
pub(super) struct Warning {
    begun: Instant,
    is_alarm_set: bool,
    /// Whether the task knows.
    is_told: bool,
    /// When it was looked last, and what was left then.
    seen: Option<(Instant, u64)>,
    /// When it is looked next, where the kernel does not tell.
    look_at: Instant,
}

impl Warning {
    pub(super) fn new() -> Self {
        let begun = Instant::now();
        Self { begun, is_alarm_set: false, is_told: false, seen: None, look_at: begun + LOOK_MIN }
    }

    /// Takes note of what is left, and decides when to look again: halfway there if it goes on as before.
    fn see(&mut self, bytes: Option<u64>) {
        let now = Instant::now();
        let wait = bytes.zip(self.seen).filter(|_| !self.is_told);
        self.look_at = now + wait.map_or(LOOK, |(bytes, (then, before))| look_in(before, bytes, now - then));
        self.seen = bytes.map(|bytes| (now, bytes));
    }
}

/// Half of the time in which what is left is used up at the rate of this span.
#[expect(clippy::cast_precision_loss, reason = "a part of a rate")]
fn look_in(before: u64, now: u64, span: Duration) -> Duration {
    match before.saturating_sub(now) {
        0 => LOOK,
        used => span.mul_f64((now as f64 / used as f64 / 2.0).min(1e3)).clamp(LOOK_MIN, LOOK),
    }
}

impl Task {
    /// Readable when the task has ended.
    pub(super) fn pidfd(&self) -> BorrowedFd<'_> {
        self.process.pidfd.as_fd()
    }

    /// The process from which all others of the task descend.
    pub(super) fn root(&self) -> i32 {
        self.process.pid.as_raw_nonzero().get()
    }

    /// Lets a task begin that a zygote forked, now that all is made for it.
    pub(super) fn let_go(&mut self) {
        if let Some(leash) = self.leash.take() {
            // One that has died meanwhile is found ended.
            let _ = protocol::send(&leash, b"{}", &[]);
        }
    }

    /// Ends the task for its locks on files.
    pub(super) fn kill_for_its_locks(&mut self) {
        self.held_locks = true;
        self.kill();
    }

    /// Starts the end of every process of the task.
    pub(super) fn kill(&mut self) {
        // Forks that fail from here on are our doing.
        self.refused_before_kill.get_or_insert_with(|| self.group.readings().pids_refused);
        self.group.prepare_end();
        let signal = if self.kept { Signal::TERM } else { Signal::KILL };
        // It may have ended a moment ago.
        let _ = pidfd_send_signal(&self.process.pidfd, signal);
    }

    /// Ends the task if the kernel killed one of its processes for want of memory and left the rest.
    pub(super) fn kill_if_out_of_memory(&mut self) {
        if self.group.needs_watching() && self.group.readings().oom_kills > 0 {
            self.kill();
        }
    }

    /// Whether it is time to set its [`Group::alarm`], once.
    pub(super) fn is_due_for_alarm(&mut self) -> bool {
        let is_due = self.needs_alarm() && self.warning.begun.elapsed() >= ALARM_AFTER;
        self.warning.is_alarm_set |= is_due;
        is_due
    }

    /// Whether its alarm is yet to be set.
    pub(super) fn needs_alarm(&self) -> bool {
        !self.warning.is_alarm_set && self.group.limits_memory()
    }

    /// Has the program told by its first process that it is near its memory limit, once until it was far from it again.
    pub(super) fn warn_if_nearly_out_of_memory(&mut self) {
        if self.look_in().is_some_and(|wait| !wait.is_zero()) {
            return;
        }
        let room = self.group.headroom();
        match room.map(|room| room.nearness) {
            Some(Nearness::Near) if !self.warning.is_told => {
                self.warning.is_told = true;
                // It may have ended a moment ago.
                let _ = pidfd_send_signal(&self.process.pidfd, Signal::POWER);
            }
            Some(Nearness::Far) => self.warning.is_told = false,
            _ => {}
        }
        self.warning.see(room.map(|room| room.bytes));
    }

    /// When to look again how near it is to its memory limit, where the kernel does not tell.
    pub(super) fn look_in(&self) -> Option<Duration> {
        let is_watched = self.group.limits_memory() && !self.group.tells_of_memory();
        is_watched.then(|| self.warning.look_at.saturating_duration_since(Instant::now()))
    }

    /// How the task ended; `None` while it runs.
    pub(super) fn poll_exit(&self) -> Option<Exit> {
        match sys::reap(self.process.pid) {
            Ok(reaped) => reaped.map(|reaped| self.exit(&reaped)),
            // Somebody else took the status, which a launcher never lets happen; the task is gone all the same.
            Err(_) => Some(Exit::lost()),
        }
    }

    /// The program's own wait status, where a first process lived to tell it; or the limit at which its keeper ended it.
    fn told(&self) -> (Option<i32>, Option<ScratchLimit>) {
        let mut bytes = [0; ScratchLimit::BYTES];
        let length = rustix::io::read(&self.status, &mut bytes).unwrap_or(0);
        (bytes[..length].try_into().ok().map(i32::from_ne_bytes), ScratchLimit::from_bytes(&bytes[..length]))
    }

    /// Whether nobody told it to end, and what it was forked from is gone too.
    fn died_with_its_zygote(&self) -> bool {
        let Some(zygote) = self.zygote.as_ref().filter(|_| self.refused_before_kill.is_none()) else { return false };
        // The kernel ends them in any order, a moment apart.
        retry_briefly(|| hung_up(zygote))
    }

    fn exit(&self, reaped: &Reaped) -> Exit {
        let readings = self.group.readings();
        let (told, scratch) = self.told();
        let status = told.unwrap_or(reaped.status);
        let how = if told.is_none() && readings.oom_kills == 0 && self.died_with_its_zygote() {
            ExitHow::ZygoteLost
        } else if libc::WIFSIGNALED(status) {
            ExitHow::Signaled(libc::WTERMSIG(status))
        } else {
            ExitHow::Exited(libc::WEXITSTATUS(status))
        };
        Exit {
            how,
            oom: readings.oom_kills > 0,
            pids_limit_hit: self.refused_before_kill.unwrap_or(readings.pids_refused) > 0,
            file_locks_limit_hit: self.held_locks,
            scratch,
            peak_memory_bytes: readings.peak_memory_bytes.unwrap_or(reaped.peak_memory_bytes),
            peak_pids: readings.peak_pids.unwrap_or(0),
            cpu_ms: u64::try_from(reaped.cpu.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// Whether the other end of a socket is closed.
pub(super) fn hung_up(socket: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(socket, PollFlags::empty())];
    poll(&mut fds, Some(&Timespec::default())).is_ok() && fds[0].revents().contains(PollFlags::HUP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_fills_its_memory_is_looked_at_sooner() {
        let ms = Duration::from_millis;
        assert_eq!(look_in(1000, 900, ms(10)), ms(45));
        assert_eq!(look_in(1000, 999, ms(10)), LOOK);
        assert_eq!(look_in(1000, 100, ms(10)), LOOK_MIN);
        assert_eq!(look_in(1000, 0, ms(10)), LOOK_MIN);
        assert_eq!([look_in(1000, 1000, ms(10)), look_in(900, 1000, ms(10))], [LOOK; 2]);
    }
}
