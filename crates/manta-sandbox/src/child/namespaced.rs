//! Steps of a task that has namespaces: its root directory from nothing, `/proc`, `/dev`, `/tmp` and the mounts of its spec.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Gid, Mode, OFlags, Uid, mkdir, open, symlink};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags, fsconfig_create, fsconfig_reconfigure, fsconfig_set_string, fsmount, fsopen, fspick, mount_change,
    move_mount, open_tree, unmount,
};
use rustix::process::{chdir, fchdir, pivot_root};

use super::steps::{At, Outcome, Step};
use crate::landlock::{Fence, Grant};
use crate::{TmpLimits, mounts, sys};

/// The task's uid and gid as it sees them.
pub(crate) const INSIDE_ID: u32 = 1000;

/// Where the new root is attached before it becomes the root; the host's directory is hidden in the task's namespace only.
const STAGING: &str = "/tmp";

/// The root file system holds mount points, links and two small files.
const ROOT_SIZE: &str = "1m";
const ROOT_INODES: &str = "4096";

/// Files that tell about the host or its kernel's secrets: an empty device takes their place.
const MASKED_FILES: [&str; 14] = [
    "/proc/kcore",
    "/proc/keys",
    "/proc/key-users",
    "/proc/kallsyms",
    "/proc/kmsg",
    "/proc/iomem",
    "/proc/ioports",
    "/proc/interrupts",
    "/proc/modules",
    "/proc/timer_list",
    "/proc/sched_debug",
    "/proc/latency_stats",
    "/proc/sysrq-trigger",
    "/proc/config.gz",
];
/// Directories of the same kind: an empty one takes their place.
const MASKED_DIRS: [&str; 5] = ["/proc/acpi", "/proc/scsi", "/proc/asound", "/proc/driver", "/proc/bus"];
/// Directories of switches: they stay readable.
const READ_ONLY_DIRS: [&str; 4] = ["/proc/sys", "/proc/irq", "/proc/fs", "/proc/pressure"];

/// Accounts inside, so that looking up one's own name works.
const PASSWD: &[u8] = b"task:x:1000:1000:task:/tmp:/bin/sh\n";
const GROUP: &[u8] = b"task:x:1000:\n";

/// What a namespaced task is made from.
pub(crate) struct NamespacedPlan {
    /// Whether the launcher is root, so that the task must leave its uid.
    pub(crate) privileged: bool,
    /// Sorted by target, so that what lies inside another mount comes after it.
    pub(crate) mounts: Vec<PlannedMount>,
    pub(crate) devices: Vec<PlannedMount>,
    /// Whether some of them are those of its spec.
    pub(crate) has_own_devices: bool,
    /// (directories to make, where, what it points to)
    pub(crate) links: Vec<(Vec<CString>, CString, CString)>,
    pub(crate) tmp_bytes: CString,
    pub(crate) tmp_inodes: CString,
    pub(crate) hostname: CString,
}

/// Something to attach in the new root.
pub(crate) struct PlannedMount {
    pub(crate) source: PlannedSource,
    pub(crate) target: CString,
    /// Directories above the target, outermost first.
    pub(crate) parents: Vec<CString>,
    pub(crate) is_dir: bool,
}

/// Where an attached mount comes from.
pub(crate) enum PlannedSource {
    /// Detached and made read-only by a privileged launcher.
    Detached(OwnedFd),
    /// To be detached by the child itself, which may do so only inside its own namespace.
    Path(CString),
}

/// Enters the task's world: afterwards `/` is the task's and nothing of the host's file system is in reach.
pub(super) fn enter(plan: &NamespacedPlan) -> Outcome {
    enter_open(plan)?;
    seal_root()
}

/// [`enter`], but for the root directory, in which mounts can still be attached.
pub(super) fn enter_open(plan: &NamespacedPlan) -> Outcome {
    if plan.privileged {
        become_id(INSIDE_ID)?;
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)).at(Step::Go)?;
    }
    sys::new_cgroup_namespace().at(Step::CgroupNamespace)?;
    rustix::system::sethostname(plan.hostname.as_bytes()).at(Step::Hostname)?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).at(Step::PrivateMounts)?;
    // The kernel grants a /proc only while a whole one is in sight, and paths of the host end with the pivot.
    let proc = new_proc()?;
    let opened = open_all(&plan.mounts, false)?;
    let devices = open_all(&plan.devices, true)?;
    pivot_into_empty_root()?;
    make_tmp(plan)?;
    make_devices(plan, &devices)?;
    make_dir(c"/proc", Step::Proc)?;
    attach(&proc, c"/proc", Step::Proc, 0)?;
    for (index, mount) in plan.mounts.iter().enumerate() {
        attach_planned(mount, opened[index].as_ref(), index)?;
    }
    make_links(plan)?;
    write_accounts()?;
    mask_proc()?;
    chdir("/tmp").at(Step::WorkingDirectory)
}

/// Attaches what came late, limits the temporary directories, and closes the root directory for good.
pub(super) fn admit(mounts: &[PlannedMount], tmp: TmpLimits) -> Outcome {
    for (index, mount) in mounts.iter().enumerate() {
        attach_planned(mount, None, index)?;
    }
    for path in [c"/tmp", c"/dev/shm"] {
        let context = fspick(CWD, path, FsPickFlags::FSPICK_CLOEXEC).at(Step::Tmp)?;
        for (key, value) in [("size", tmp.bytes), ("nr_inodes", tmp.inodes)] {
            fsconfig_set_string(&context, key, value.to_string()).at(Step::Tmp)?;
        }
        fsconfig_reconfigure(&context).at(Step::Tmp)?;
    }
    seal_root()
}

/// Takes a uid and equal gid, for good, and leaves all groups.
pub(crate) fn become_id(id: u32) -> Outcome {
    let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
    rustix::thread::set_thread_groups(&[]).at(Step::Identity)?;
    rustix::thread::set_thread_res_gid(gid, gid, gid).at(Step::Identity)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).at(Step::Identity)
}

fn new_proc() -> Outcome<OwnedFd> {
    let context = fsopen(c"proc", FsOpenFlags::FSOPEN_CLOEXEC).at(Step::Proc)?;
    // Processes of other uids are invisible.
    fsconfig_set_string(&context, c"hidepid", c"2").at(Step::Proc)?;
    fsconfig_create(&context).at(Step::Proc)?;
    let attributes =
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).at(Step::Proc)
}

fn new_tmpfs(bytes: &str, inodes: &str, mode: &str, no_exec: bool, step: Step) -> Outcome<OwnedFd> {
    let context = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).at(step)?;
    for (key, value) in [("size", bytes), ("nr_inodes", inodes), ("mode", mode)] {
        fsconfig_set_string(&context, key, value).at(step)?;
    }
    fsconfig_create(&context).at(step)?;
    let mut attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    attributes.set(MountAttrFlags::MOUNT_ATTR_NOEXEC, no_exec);
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).at(step)
}

/// Detaches what the launcher could not; entries it could are `None`.
fn open_all(mounts: &[PlannedMount], devices: bool) -> Outcome<Vec<Option<OwnedFd>>> {
    let attributes = if devices { mounts::DEVICE_ATTRIBUTES } else { mounts::HOST_ATTRIBUTES };
    let open_one = |(index, mount): (usize, &PlannedMount)| {
        let PlannedSource::Path(path) = &mount.source else { return Ok(None) };
        let source = open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
            .at_index(Step::OpenMount, index)?;
        let tree = mounts::detach(source).at_index(Step::OpenMount, index)?;
        sys::set_mount_attributes(tree.as_fd(), attributes, true, None).at_index(Step::OpenMount, index)?;
        Ok(Some(tree))
    };
    mounts.iter().enumerate().map(open_one).collect()
}

fn pivot_into_empty_root() -> Outcome {
    let root = new_tmpfs(ROOT_SIZE, ROOT_INODES, "755", true, Step::Root)?;
    move_mount(&root, c"", CWD, STAGING, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).at(Step::Root)?;
    fchdir(&root).at(Step::Root)?;
    // The old root ends up on top of the new one, where it is let go with all that is mounted in it.
    pivot_root(c".", c".").at(Step::Pivot)?;
    unmount(c".", UnmountFlags::DETACH).at(Step::Pivot)?;
    chdir("/").at(Step::Pivot)
}

fn make_dir(path: &std::ffi::CStr, step: Step) -> Outcome {
    match mkdir(path, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(error) => Err(error).at(step),
    }
}

fn attach(tree: &OwnedFd, target: &std::ffi::CStr, step: Step, index: usize) -> Outcome {
    move_mount(tree, c"", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).at_index(step, index)
}

fn attach_planned(mount: &PlannedMount, opened: Option<&OwnedFd>, index: usize) -> Outcome {
    let named = |failure: super::Failure| super::Failure { index: u32::try_from(index).unwrap_or(u32::MAX), ..failure };
    for parent in &mount.parents {
        make_dir(parent, Step::Attach).map_err(named)?;
    }
    if mount.is_dir {
        make_dir(&mount.target, Step::Attach).map_err(named)?;
    } else if !Path::new(mount.target.to_str().unwrap_or_default()).exists() {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        open(&mount.target, flags, Mode::from_raw_mode(0o444)).at_index(Step::Attach, index)?;
    }
    let tree = match (&mount.source, opened) {
        (PlannedSource::Detached(tree), _) | (_, Some(tree)) => tree,
        (PlannedSource::Path(_), None) => unreachable!("open_all detaches every path"),
    };
    attach(tree, &mount.target, Step::Attach, index)
}

fn make_tmp(plan: &NamespacedPlan) -> Outcome {
    let text = |number: &CString| number.to_str().map(str::to_owned).unwrap_or_default();
    let (bytes, inodes) = (text(&plan.tmp_bytes), text(&plan.tmp_inodes));
    for (path, no_exec) in [(c"/tmp", false), (c"/dev/shm", true)] {
        if no_exec {
            make_dir(c"/dev", Step::Tmp)?;
        }
        make_dir(path, Step::Tmp)?;
        let tmpfs = new_tmpfs(&bytes, &inodes, "1777", no_exec, Step::Tmp)?;
        attach(&tmpfs, path, Step::Tmp, 0)?;
    }
    Ok(())
}

fn make_devices(plan: &NamespacedPlan, opened: &[Option<OwnedFd>]) -> Outcome {
    for (index, device) in plan.devices.iter().enumerate() {
        attach_planned(device, opened[index].as_ref(), index)
            .map_err(|failure| super::Failure { step: Step::Devices, ..failure })?;
    }
    let links = [
        ("/proc/self/fd", "/dev/fd"),
        ("/proc/self/fd/0", "/dev/stdin"),
        ("/proc/self/fd/1", "/dev/stdout"),
        ("/proc/self/fd/2", "/dev/stderr"),
    ];
    links.iter().try_for_each(|(to, path)| symlink(*to, *path)).at(Step::Devices)
}

fn make_links(plan: &NamespacedPlan) -> Outcome {
    for (index, (parents, path, to)) in plan.links.iter().enumerate() {
        for parent in parents {
            make_dir(parent, Step::Links)?;
        }
        match symlink(to, path) {
            // A mount that holds the same path already decides.
            Ok(()) | Err(rustix::io::Errno::EXIST | rustix::io::Errno::ROFS) => {}
            Err(error) => return Err(error).at_index(Step::Links, index),
        }
    }
    Ok(())
}

fn write_accounts() -> Outcome {
    make_dir(c"/etc", Step::Accounts)?;
    for (path, text) in [(c"/etc/passwd", PASSWD), (c"/etc/group", GROUP)] {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = match open(path, flags, Mode::from_raw_mode(0o644)) {
            // The spec mounts its own.
            Err(rustix::io::Errno::EXIST | rustix::io::Errno::ROFS) => continue,
            file => file.at(Step::Accounts)?,
        };
        rustix::io::write(&file, text).at(Step::Accounts)?;
    }
    Ok(())
}

fn mask_proc() -> Outcome {
    let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    for path in MASKED_FILES.iter().filter(|path| Path::new(path).exists()) {
        let empty = open_tree(CWD, c"/dev/null", clone).at(Step::MaskProc)?;
        move_mount(&empty, c"", CWD, *path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).at(Step::MaskProc)?;
    }
    for path in MASKED_DIRS.iter().filter(|path| Path::new(path).is_dir()) {
        let empty = new_tmpfs("4k", "2", "555", true, Step::MaskProc)?;
        sys::set_mount_attributes(empty.as_fd(), sys::ATTR_READ_ONLY, false, None).at(Step::MaskProc)?;
        move_mount(&empty, c"", CWD, *path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).at(Step::MaskProc)?;
    }
    for path in READ_ONLY_DIRS.iter().filter(|path| Path::new(path).is_dir()) {
        let same = open_tree(CWD, *path, clone | OpenTreeFlags::AT_RECURSIVE).at(Step::MaskProc)?;
        sys::set_mount_attributes(same.as_fd(), sys::ATTR_READ_ONLY, true, None).at(Step::MaskProc)?;
        move_mount(&same, c"", CWD, *path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).at(Step::MaskProc)?;
    }
    Ok(())
}

fn seal_root() -> Outcome {
    let root = open(c"/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).at(Step::SealRoot)?;
    sys::set_mount_attributes(root.as_fd(), sys::ATTR_READ_ONLY, false, None).at(Step::SealRoot)
}

/// Landlock rules inside: everything mounted may be read, the temporary directories and devices written.
pub(super) fn fence(mut fence: Fence, plan: &NamespacedPlan) -> Outcome<Fence> {
    let devices = plan.devices.iter().map(|device| (device.target.as_c_str(), false, Grant::Device));
    let dirs = [(c"/", true, Grant::Read), (c"/tmp", true, Grant::Write), (c"/dev/shm", true, Grant::Write)];
    // CUDA gives up where it cannot name a thread of its own; of what may be written there, only its own processes are left.
    let names = plan.has_own_devices.then_some((c"/proc", true, Grant::Overwrite));
    for (path, is_dir, grant) in dirs.into_iter().chain(names).chain(devices) {
        let path = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).at(Step::Landlock)?;
        fence = fence.grant(&path, is_dir, grant).at(Step::Landlock)?;
    }
    Ok(fence)
}
