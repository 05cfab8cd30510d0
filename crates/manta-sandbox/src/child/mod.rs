//! What happens in a task's process between clone and exec, in one order, each step reported by name if it fails.
//!
//! The launcher prepares a [`Plan`] with every string, descriptor and program, so that little is left to do here. The child is a copy of
//! the single-threaded launcher; it runs nothing of the user's before exec, and exec closes every descriptor but 0 to 3.

mod contained;
mod init;
mod keeper;
mod namespaced;
mod shared;
mod shell;
mod steps;
mod usage;

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use rustix::process::{Signal, set_parent_process_death_signal, umask};

use crate::cgroup::Entry;
use crate::rlimits::ResourceLimits;
use crate::{landlock, sys};

pub(crate) use contained::{ContainedPlan, close_entry, run_contained};
pub(crate) use namespaced::{INSIDE_ID, NamespacedPlan, PlannedMount, PlannedSource};
pub(crate) use shared::SharedPlan;
pub(crate) use shell::{Admission, ShellPlan, clone_inside};
pub(crate) use steps::{Failure, Step};

use steps::{At, Outcome};

/// Everything a child needs, made before it exists.
pub(crate) struct Plan {
    pub(crate) argv: CStrings,
    pub(crate) env: CStrings,
    /// Where the program begins, if not in its scratch.
    pub(crate) directory: Option<CString>,
    pub(crate) fds: TaskFds,
    /// One byte is read from here before anything is done; its end without a byte means that the launcher is gone.
    pub(crate) go: OwnedFd,
    /// A [`Failure`] is written here; exec closes it.
    pub(crate) report: OwnedFd,
    /// The program's wait status is written here by the first process of its namespace, or by its keeper.
    pub(crate) status: OwnedFd,
    pub(crate) filter: Vec<libc::sock_filter>,
    pub(crate) limits: ResourceLimits,
    pub(crate) role: Role,
    pub(crate) world: World,
}

/// What the program may do once it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// A task: it has given up all that it could.
    Task {
        /// Whether the kernel has Landlock.
        landlock: bool,
    },
    /// A zygote: it keeps the one capability that puts its children into namespaces of their own.
    Zygote,
}

/// The descriptors that the task inherits as 0, 1, 2 and 3; all numbered 10 or more here.
pub(crate) struct TaskFds {
    pub(crate) stdin: OwnedFd,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
    pub(crate) light: OwnedFd,
}

/// Whether the task gets namespaces of its own.
pub(crate) enum World {
    Namespaced(NamespacedPlan),
    Shared(SharedPlan),
    /// It is in a container that somebody else made.
    Contained(ContainedPlan),
}

/// C strings and the null-terminated list of pointers to them.
pub(crate) struct CStrings {
    strings: Vec<CString>,
    pointers: Vec<*const libc::c_char>,
}

impl CStrings {
    pub(crate) fn new(strings: Vec<CString>) -> Self {
        let pointers = strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect();
        Self { strings, pointers }
    }
}

/// Becomes the task, in the groups that `entry` leads to; on failure says why and ends.
pub(crate) fn run(plan: &Plan, entry: &Entry) -> ! {
    let entered = wait_for_go(&plan.go).and_then(|()| entry.enter().at(Step::Groups));
    let outcome = entered.and_then(|()| match &plan.world {
        World::Namespaced(namespaced) => namespaced::enter(namespaced).and_then(|()| init::run(plan)),
        World::Shared(shared) => keeper::run(plan, shared),
        World::Contained(_) => become_task(plan),
    });
    give_up(plan, outcome)
}

fn give_up(plan: &Plan, outcome: Outcome) -> ! {
    if let Err(failure) = outcome {
        // Nobody is left to tell if the launcher is gone.
        let _ = rustix::io::write(&plan.report, &failure.to_bytes());
    }
    sys::exit_now(127)
}

fn wait_for_go(go: &OwnedFd) -> Outcome {
    set_parent_process_death_signal(Some(Signal::KILL)).at(Step::Go)?;
    let mut byte = [0];
    match rustix::io::read(go, &mut byte).at(Step::Go)? {
        0 => sys::exit_now(126),
        _ => Ok(()),
    }
}

/// The last steps, equal in all tiers: what remains can only be given up, never won back.
fn become_task(plan: &Plan) -> Outcome {
    set_parent_process_death_signal(Some(Signal::KILL)).at(Step::Go)?;
    umask(rustix::fs::Mode::from_raw_mode(0o022));
    if let Some(directory) = &plan.directory {
        rustix::process::chdir(directory).at(Step::WorkingDirectory)?;
    }
    sys::start_session().at(Step::Session)?;
    plan.limits.apply().at(Step::ResourceLimits)?;
    for (fd, target) in [(&plan.fds.stdin, 0), (&plan.fds.stdout, 1), (&plan.fds.stderr, 2), (&plan.fds.light, 3)] {
        sys::place_fd(fd.as_fd(), target).at(Step::Descriptors)?;
    }
    sys::close_on_exec_from(4).at(Step::Descriptors)?;
    sys::reset_signals();
    match plan.role {
        Role::Task { .. } => drop_capabilities(plan)?,
        Role::Zygote => keep_capability().at(Step::Capabilities)?,
    }
    rustix::thread::set_no_new_privs(true).at(Step::NoNewPrivileges)?;
    if plan.role == (Role::Task { landlock: true }) {
        close_fence(plan)?;
    }
    sys::install_filter(&plan.filter).at(Step::Filter)?;
    Err(sys::exec(&plan.argv.strings[0], &plan.argv.pointers, &plan.env.pointers)).at(Step::Exec)
}

fn drop_capabilities(plan: &Plan) -> Outcome {
    let bounded = sys::clear_bounding_set();
    match &plan.world {
        // An ordinary user has no say in it, and no capability.
        World::Shared(SharedPlan { host_id: None, .. }) => {}
        // The engine was told to clear it.
        World::Contained(_) => sys::check_bounding_set_is_empty().at(Step::Capabilities)?,
        World::Shared(_) | World::Namespaced(_) => bounded.at(Step::Capabilities)?,
    }
    if let World::Shared(SharedPlan { host_id: Some(id), .. }) = &plan.world {
        namespaced::become_id(*id)?;
    }
    clear_capabilities().at(Step::Capabilities)?;
    // Both changing the uid and dropping capabilities clear it.
    set_parent_process_death_signal(Some(Signal::KILL)).at(Step::Go)
}

/// Gives up every capability but that of entering namespaces, which exec hands on.
fn keep_capability() -> std::io::Result<()> {
    use rustix::thread::{CapabilitySet, CapabilitySets, configure_capability_in_ambient_set, set_capabilities};
    let kept = CapabilitySet::SYS_ADMIN;
    sys::clear_bounding_set_but(Some(kept.bits().trailing_zeros().cast_signed()))?;
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable: kept })?;
    configure_capability_in_ambient_set(kept, true)?;
    Ok(set_parent_process_death_signal(Some(Signal::KILL))?)
}

/// Gives up every capability that the process has, could have or would hand on.
fn clear_capabilities() -> rustix::io::Result<()> {
    match rustix::thread::clear_ambient_capability_set() {
        // gVisor's kernel has no such set.
        Ok(()) | Err(rustix::io::Errno::INVAL) => {}
        Err(error) => return Err(error),
    }
    let none = rustix::thread::CapabilitySets {
        effective: rustix::thread::CapabilitySet::empty(),
        permitted: rustix::thread::CapabilitySet::empty(),
        inheritable: rustix::thread::CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, none)
}

fn close_fence(plan: &Plan) -> Outcome {
    let fence = landlock::Fence::new().at(Step::Landlock)?;
    let fence = match &plan.world {
        World::Namespaced(namespaced) => namespaced::fence(fence, namespaced)?,
        World::Contained(contained) => contained::fence(fence, contained)?,
        World::Shared(shared) => shared::fence(fence, shared)?,
    };
    fence.close().at(Step::Landlock)
}
