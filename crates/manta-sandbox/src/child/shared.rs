//! Steps of a task without namespaces: a private temporary directory, and Landlock rules for the real paths of its mounts.

use std::ffi::CString;

use rustix::fs::{Mode, OFlags, open};

use super::steps::{At, Outcome, Step};
use crate::landlock::{Fence, Grant};
use crate::{TmpLimits, mounts};

/// Files of the host that interpreters and numerical libraries look at; those that are missing are left out.
const HOST_READABLE: [&str; 7] = [
    "/proc/self",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/sys/vm/overcommit_memory",
    "/proc/sys/kernel/random",
    "/sys/devices/system/cpu",
];

/// What a task without namespaces is made from.
pub(crate) struct SharedPlan {
    /// The uid to run as, if the launcher is root.
    pub(crate) host_id: Option<u32>,
    /// Sources of the spec's mounts: path and whether it is a directory.
    pub(crate) readable: Vec<(CString, bool)>,
    /// Device nodes beside those that every task has.
    pub(crate) devices: Vec<CString>,
    /// The task's private temporary directory.
    pub(crate) scratch: CString,
    /// What may be in it.
    pub(crate) tmp: TmpLimits,
}

/// Landlock rules: the spec's sources may be read, the private temporary directory written.
pub(super) fn fence(mut fence: Fence, plan: &SharedPlan) -> Outcome<Fence> {
    for (index, (path, is_dir)) in plan.readable.iter().enumerate() {
        let source = open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
            .at_index(Step::OpenMount, index)?;
        fence = fence.grant(&source, *is_dir, Grant::Read).at(Step::Landlock)?;
    }
    let scratch = open(&plan.scratch, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).at(Step::WorkingDirectory)?;
    fence = fence.grant(&scratch, true, Grant::Write).at(Step::Landlock)?;
    for (path, grant) in HOST_READABLE
        .map(|path| (path, Grant::Read))
        .into_iter()
        .chain(mounts::DEVICES.map(|device| (device, Grant::Device)))
    {
        let Ok(file) = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) else { continue };
        let is_dir = std::path::Path::new(path).is_dir();
        fence = fence.grant(&file, is_dir, grant).at(Step::Landlock)?;
    }
    for (index, path) in plan.devices.iter().enumerate() {
        let device = open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
            .at_index(Step::Devices, index)?;
        fence = fence.grant(&device, false, Grant::Device).at(Step::Landlock)?;
    }
    rustix::process::chdir(&plan.scratch).at(Step::WorkingDirectory)?;
    Ok(fence)
}
