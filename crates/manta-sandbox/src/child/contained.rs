//! Steps of a task in a container that somebody else made: namespaces, mounts and limits are there, the rest is done here.

use std::ffi::CString;

use rustix::fs::{Mode, OFlags, open};

use super::steps::{At, Outcome, Step};
use super::{Plan, become_task, clear_capabilities, give_up};
use crate::landlock::{Fence, Grant};
use crate::{mounts, sys};

/// What a task in a container is made from.
pub(crate) struct ContainedPlan {
    /// What may be read; containers hold more than a task needs.
    pub(crate) readable: Vec<CString>,
}

/// Becomes the task, as a child of the container's first process; on failure says why and ends.
pub(crate) fn run_contained(plan: &Plan) -> ! {
    let outcome = rustix::process::chdir("/tmp").at(Step::WorkingDirectory).and_then(|()| become_task(plan));
    give_up(plan, outcome)
}

/// What that first process gives up once the task has begun: it makes no socket any more, and has nothing to hand on.
pub(crate) fn close_entry(filter: &[libc::sock_filter]) -> Outcome {
    clear_capabilities().at(Step::Capabilities)?;
    rustix::thread::set_no_new_privs(true).at(Step::NoNewPrivileges)?;
    sys::install_filter(filter).at(Step::Filter)
}

/// Landlock rules inside: what was mounted may be read, the temporary directories and devices written.
pub(super) fn fence(mut fence: Fence, plan: &ContainedPlan) -> Outcome<Fence> {
    let path = |path: &CString| open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    for (index, readable) in plan.readable.iter().enumerate() {
        let opened = path(readable).at_index(Step::OpenMount, index)?;
        let kind = rustix::fs::fstat(&opened).at_index(Step::OpenMount, index)?.st_mode;
        let is_dir = rustix::fs::FileType::from_raw_mode(kind) == rustix::fs::FileType::Directory;
        fence = fence.grant(&opened, is_dir, Grant::Read).at(Step::Landlock)?;
    }
    let devices = mounts::DEVICES.map(|device| (device, false, Grant::Device));
    for (path, is_dir, grant) in
        [("/tmp", true, Grant::Write), ("/dev/shm", true, Grant::Write)].into_iter().chain(devices)
    {
        let path = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).at(Step::Landlock)?;
        fence = fence.grant(&path, is_dir, grant).at(Step::Landlock)?;
    }
    Ok(fence)
}
