//! The first process of a task's process namespace: starts the program, takes in its orphans, and tells how the program ended.
//!
//! The kernel drops signals that the first process sends itself, so a program in its place could not abort. When this process ends
//! the kernel ends every other one of the namespace. It runs no code of the user's, has no capability, and cannot be traced.

use std::os::fd::{AsFd, OwnedFd};

use rustix::process::{
    DumpableBehavior, Pid, Signal, kill_process, set_dumpable_behavior, set_parent_process_death_signal,
};

use super::steps::{At, Outcome, Step};
use super::{Plan, become_task};
use crate::sys;

const SIGNALS: [libc::c_int; 2] = [libc::SIGCHLD, libc::SIGPWR];
/// Where the pipe is kept on which the program's wait status is told: standard input's number.
pub(super) const STATUS_FD: libc::c_int = 0;

/// Becomes the first process, which never returns; its child returns with the outcome of becoming the task.
pub(super) fn run(plan: &Plan) -> Outcome {
    hold_signals();
    let Some(task) = sys::clone_process(0).at(Step::Init)? else { return become_task(plan) };
    keep_only(&plan.status)?;
    give_up_everything()?;
    wait_for(task.pid.as_raw_nonzero().get())
}

/// Takes in orphans until the program has ended, and tells how.
pub(super) fn wait_for(program: i32) -> ! {
    loop {
        while let Ok(Some((pid, status))) = sys::reap_any() {
            if pid == program {
                // Nobody is left to tell if the launcher is gone.
                let _ = rustix::io::write(rustix::stdio::stdin(), &status.to_ne_bytes());
                sys::exit_now(0);
            }
        }
        if sys::wait_signal(&SIGNALS) == libc::SIGPWR {
            pass_on_warning(program);
        }
    }
}

/// Tells the program that it is near its memory limit, if it asked to be told: the signal would end any other.
pub(super) fn pass_on_warning(program: i32) {
    let status = std::fs::read_to_string(format!("/proc/{program}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    if caught & (1 << (libc::SIGPWR - 1)) != 0
        && let Some(program) = Pid::from_raw(program)
    {
        // It may have ended a moment ago.
        let _ = kill_process(program, Signal::POWER);
    }
}

/// Makes the signal that [`wait_for`] waits for wait for it.
pub(super) fn hold_signals() {
    sys::block_signals(&SIGNALS);
}

/// Closes all but the status pipe; the report pipe too, or the launcher would not see the program's exec.
fn keep_only(status: &OwnedFd) -> Outcome {
    sys::place_fd(status.as_fd(), STATUS_FD).at(Step::Init)?;
    sys::close_from(STATUS_FD + 1).at(Step::Init)
}

/// What remains is waiting.
pub(super) fn give_up_everything() -> Outcome {
    sys::clear_bounding_set().at(Step::Init)?;
    super::clear_capabilities().at(Step::Init)?;
    rustix::thread::set_no_new_privs(true).at(Step::Init)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).at(Step::Init)?;
    set_parent_process_death_signal(Some(Signal::KILL)).at(Step::Init)
}
