//! The keeper of a task without a process namespace: a parent that every orphan of the task comes back to, and that ends them all.
//!
//! It does what the kernel does for the first process of a process namespace. It ends when the task's first process ends, when the
//! launcher asks by SIGTERM, when the launcher dies (SIGTERM by parent-death signal), or when the task's scratch is beyond its limit,
//! in each case after the whole tree.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::AsFd;

use rustix::process::{
    Pid, Resource, Rlimit, Signal, kill_process, prlimit, set_child_subreaper, set_parent_process_death_signal,
};

use super::init::{STATUS_FD, pass_on_warning};
use super::steps::{At, Outcome, Step};
use super::usage::Watch;
use super::{Plan, SharedPlan, become_task};
use crate::{ScratchLimit, sys};

const SIGNALS: [libc::c_int; 3] = [libc::SIGCHLD, libc::SIGTERM, libc::SIGPWR];

/// Becomes the keeper, which never returns; its child returns with the outcome of becoming the task.
pub(super) fn run(plan: &Plan, shared: &SharedPlan) -> Outcome {
    let own = rustix::process::getpid();
    set_child_subreaper(Some(own)).at(Step::Keeper)?;
    sys::block_signals(&SIGNALS);
    set_parent_process_death_signal(Some(Signal::TERM)).at(Step::Keeper)?;
    let Some(task) = sys::clone_process(0).at(Step::Keeper)? else { return become_task(plan) };
    // Held open, the report pipe would hide that the task's exec closed its end.
    sys::place_fd(plan.status.as_fd(), STATUS_FD).at(Step::Keeper)?;
    sys::close_from(STATUS_FD + 1).at(Step::Keeper)?;
    let end = wait_for(task.pid, &mut Watch::new(&shared.scratch, shared.tmp));
    end_tree();
    std::mem::forget(task);
    if let End::Beyond(limit) = end {
        // Nobody is left to tell if the launcher is gone.
        let _ = rustix::io::write(rustix::stdio::stdin(), &limit.to_bytes());
    }
    mirror(end)
}

/// Why a task ends.
enum End {
    /// By itself, with this wait status.
    Itself(i32),
    /// The keeper was told to end it.
    Told,
    /// Its scratch is beyond a limit.
    Beyond(ScratchLimit),
}

fn wait_for(task: Pid, watch: &mut Watch<'_>) -> End {
    loop {
        match sys::wait_signal_for(&SIGNALS, watch.pause) {
            Some(libc::SIGTERM) => return End::Told,
            Some(libc::SIGPWR) => pass_on_warning(task.as_raw_nonzero().get()),
            Some(_) => {}
            None => {
                if let Some(limit) = watch.look(&descendants()) {
                    return End::Beyond(limit);
                }
            }
        }
        while let Ok(Some((pid, status))) = sys::reap_any() {
            if pid == task.as_raw_nonzero().get() {
                return End::Itself(status);
            }
        }
    }
}

/// Passes over the tree that try to stop it before it is killed all the same.
const STOP_PASSES_MAX: usize = 64;

/// Ends every descendant: those of a killed process become the keeper's own children and are met again in the next pass.
fn end_tree() {
    loop {
        stop_tree();
        for descendant in descendants() {
            // It may be gone already.
            let _ = kill_process(descendant, Signal::KILL);
        }
        loop {
            match sys::reap_any() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
        std::thread::yield_now();
    }
}

/// Stops every descendant and forbids it to fork, until a pass meets no new one: then none is left that could make more.
fn stop_tree() {
    let mut stopped = BTreeSet::new();
    for _ in 0..STOP_PASSES_MAX {
        let new: Vec<Pid> =
            descendants().into_iter().filter(|descendant| stopped.insert(descendant.as_raw_nonzero().get())).collect();
        if new.is_empty() {
            return;
        }
        for descendant in new {
            // Each call fails only if it is gone.
            let _ = kill_process(descendant, Signal::STOP);
            let _ = prlimit(Some(descendant), Resource::Nproc, Rlimit { current: Some(0), maximum: Some(0) });
        }
    }
}

/// Every process below the keeper, nearest first.
fn descendants() -> Vec<Pid> {
    let mut found = children_of(std::process::id());
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(children_of(parent));
        next += 1;
    }
    found.into_iter().filter_map(|pid| i32::try_from(pid).ok()).filter_map(Pid::from_raw).collect()
}

/// Children of all threads of a process.
fn children_of(parent: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
    let mut listed = threads.map(|thread| fs::read_to_string(thread.path().join("children"))).peekable();
    if matches!(listed.peek(), Some(Err(error)) if error.kind() == std::io::ErrorKind::NotFound) {
        return children_by_scan(parent);
    }
    let pids = |text: String| text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>();
    listed.filter_map(Result::ok).flat_map(pids).collect()
}

/// For kernels that list no children (built without checkpoint support).
fn children_by_scan(own: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // The name in parentheses may hold anything; state and parent follow the last one.
            let parent =
                stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse::<u32>().ok());
            parent == Some(own)
        })
        .collect()
}

/// Ends as the task ended, so that the launcher reads the task's status from the keeper.
fn mirror(end: End) -> ! {
    // A request to end that came with the task's own end must not decide how the keeper ends.
    sys::ignore_signal(libc::SIGTERM);
    match end {
        End::Itself(status) if libc::WIFEXITED(status) => sys::exit_now(libc::WEXITSTATUS(status)),
        End::Itself(status) if libc::WIFSIGNALED(status) => sys::die_by(libc::WTERMSIG(status)),
        _ => sys::die_by(libc::SIGKILL),
    }
}
