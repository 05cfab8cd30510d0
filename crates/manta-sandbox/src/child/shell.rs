//! The namespaces of a task that a zygote will fork: made and filled before the task exists, and waited in by their first process.
//!
//! A helper of the launcher, made in the zygote's process namespace, enters its user namespace and makes the first process there, as
//! the launcher's own child. That process does all that a cold task's would, stops at its gate, and goes on when the launcher
//! names what is to be mounted besides. It holds privileges while it waits, and gives them up before anything of the user's runs.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use rustix::net::RecvFlags;
use rustix::process::{DumpableBehavior, Signal, pidfd_send_signal, set_dumpable_behavior};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::{Deserialize, Serialize};

use super::init::{self, STATUS_FD};
use super::namespaced::{self, INSIDE_ID, NamespacedPlan, PlannedMount, PlannedSource};
use super::steps::{At, Failure, Outcome, Step};
use super::wait_for_go;
use crate::cgroup::Entry;
use crate::landlock::Fence;
use crate::launcher::protocol;
use crate::{TmpLimits, sys};

/// Where the gate is kept while the first process waits.
const GATE_FD: RawFd = STATUS_FD + 1;

/// Everything the first process needs, made before it exists; the descriptors are numbered 10 or more.
pub(crate) struct ShellPlan {
    pub(crate) world: NamespacedPlan,
    /// As in [`super::Plan`].
    pub(crate) go: OwnedFd,
    /// The first process tells here that it waits, with Landlock rules where there are any, and hears what to mount.
    pub(crate) gate: OwnedFd,
    pub(crate) status: OwnedFd,
    pub(crate) landlock: bool,
}

/// What the launcher says at the gate; a descriptor for each mount rides along.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Admission {
    /// Target, directories above it, and whether it is a directory; as planned.
    pub(crate) mounts: Vec<(String, Vec<String>, bool)>,
    pub(crate) tmp: TmpLimits,
    /// The task's process, as its namespace numbers it.
    pub(crate) program: i32,
}

/// In the helper: makes the first process below a zygote's namespaces, and maps uid and gid `inside` of them to the task's.
///
/// Answers with the new process's pid on the host; in the new process [`run`] takes over.
pub(crate) fn clone_inside(
    user: &OwnedFd,
    inside: u32,
    namespaces: i32,
    plan: &ShellPlan,
    entry: &Entry,
) -> Outcome<i32> {
    // What it makes is in the same groups.
    entry.enter().at(Step::Groups)?;
    move_into_link_name_space(user.as_fd(), Some(LinkNameSpaceType::User)).at(Step::Join)?;
    // The zygote must own the user namespace that it is to enter, and the maps must be ours to write.
    namespaced::become_id(INSIDE_ID)?;
    set_dumpable_behavior(DumpableBehavior::Dumpable).at(Step::Identity)?;
    let Some(first) = sys::clone_process(namespaces | libc::CLONE_PARENT).at(Step::Clone)? else { run(plan) };
    let mapped = host_pid(&first).and_then(|pid| {
        for map in ["uid_map", "gid_map"] {
            std::fs::write(format!("/proc/{pid}/{map}"), format!("{INSIDE_ID} {inside} 1"))?;
        }
        Ok(pid)
    });
    if mapped.is_err() {
        // The launcher learns of the failure alone.
        let _ = pidfd_send_signal(&first.pidfd, Signal::KILL);
    }
    mapped.at(Step::Identity)
}

/// The number that the host's `/proc`, which is still in sight, has for a process of another process namespace.
fn host_pid(process: &sys::Forked) -> io::Result<i32> {
    let told = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", process.pidfd.as_raw_fd()))?;
    let pid = told.lines().find_map(|line| line.strip_prefix("Pid:")).and_then(|pid| pid.trim().parse().ok());
    pid.ok_or_else(|| io::Error::other("the process has no number"))
}

fn run(plan: &ShellPlan) -> ! {
    init::hold_signals();
    let built = build(plan);
    let told = tell(&plan.gate, built.as_ref().err().copied(), built.as_ref().ok().and_then(Option::as_ref));
    if built.is_err() || told.is_err() {
        sys::exit_now(127)
    }
    let admitted = wait_at_gate(plan).and_then(|admission| {
        namespaced::admit(&admission.0, admission.1)?;
        init::give_up_everything()?;
        Ok(admission.2)
    });
    let told = tell(rustix::stdio::stdout(), admitted.as_ref().err().copied(), None);
    match admitted {
        Ok(program) if told.is_ok() && sys::close_from(GATE_FD).is_ok() => init::wait_for(program),
        _ => sys::exit_now(127),
    }
}

/// All of the task's world that does not depend on the task; answers with its Landlock rules.
fn build(plan: &ShellPlan) -> Outcome<Option<OwnedFd>> {
    wait_for_go(&plan.go)?;
    namespaced::enter_open(&plan.world)?;
    if !plan.landlock {
        return Ok(None);
    }
    Ok(namespaced::fence(Fence::new().at(Step::Landlock)?, &plan.world)?.into_fd())
}

/// Says that a step failed, or that all went well, as `null`.
fn tell(gate: impl AsFd, failure: Option<Failure>, fence: Option<&OwnedFd>) -> io::Result<()> {
    let message = serde_json::to_vec(&failure).map_err(io::Error::other)?;
    let fds: Vec<_> = fence.into_iter().map(AsFd::as_fd).collect();
    protocol::send(gate, &message, &fds)
}

/// Lets go of all that came from the launcher, and waits for what to attach.
fn wait_at_gate(plan: &ShellPlan) -> Outcome<(Vec<PlannedMount>, TmpLimits, i32)> {
    sys::place_fd(plan.status.as_fd(), STATUS_FD).at(Step::Init)?;
    sys::place_fd(plan.gate.as_fd(), GATE_FD).at(Step::Init)?;
    sys::close_from(GATE_FD + 1).at(Step::Init)?;
    let mut buffer = vec![0; protocol::MESSAGE_BYTES_MAX];
    let received = protocol::receive_all::<Admission>(rustix::stdio::stdout(), &mut buffer, RecvFlags::empty());
    // Its end without a word means that nobody wants the task any more.
    let Some(received) = received.at(Step::Go)? else { sys::exit_now(126) };
    let Admission { mounts, tmp, program } = received.message;
    let c_string = |text: String| std::ffi::CString::new(text).map_err(io::Error::other).at(Step::Attach);
    let planned = mounts.into_iter().zip(received.fds).map(|((target, parents, is_dir), fd)| {
        Ok(PlannedMount {
            source: PlannedSource::Detached(fd),
            target: c_string(target)?,
            parents: parents.into_iter().map(c_string).collect::<Outcome<_>>()?,
            is_dir,
        })
    });
    Ok((planned.collect::<Outcome<_>>()?, tmp, program))
}
