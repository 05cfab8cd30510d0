//! Finds out what this host can enforce by starting trivial sandboxes, best tier first.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};

use super::locks::LIST;
use super::retry_briefly;
use super::start::Starter;
use crate::cgroup::Controller;
use crate::image::system_directories;
use crate::{
    Exit, ExitHow, HostReport, Limits, Mount, MountAccess, SandboxSpec, Shortcoming, StartError, Tier, TmpLimits,
    landlock, sys,
};

/// How long a trivial sandbox may take.
const TRIAL_MAX: Duration = Duration::from_secs(10);

/// Programs that do nothing well; the first that exists is tried.
const IDLE_PROGRAMS: [&str; 3] = ["/usr/bin/true", "/bin/true", "/bin/sh"];

/// Kernel switches that keep user namespaces from ordinary users: file, value that does, cure.
const SWITCHES: [(&str, &str, &str); 3] = [
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "run the agent as root, or allow user namespaces: sysctl kernel.apparmor_restrict_unprivileged_userns=0",
    ),
    (
        "/proc/sys/kernel/unprivileged_userns_clone",
        "0",
        "run the agent as root, or allow user namespaces: sysctl kernel.unprivileged_userns_clone=1",
    ),
    (
        "/proc/sys/user/max_user_namespaces",
        "0",
        "run the agent as root, or allow user namespaces: sysctl user.max_user_namespaces=16384",
    ),
];

/// Tries what works and says what does not.
pub(super) fn probe(starter: &mut Starter) -> HostReport {
    let mut shortcomings = Vec::new();
    let tier = best_tier(starter, &mut shortcomings);
    let namespaces = tier.is_some_and(Tier::maps_paths);
    let report = HostReport {
        tier,
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        user_namespaces: namespaces || has_user_namespaces(),
        id_mapped_mounts: starter.privileged && starter.can_map_owners(Path::new("/usr")),
        landlock_abi: starter.landlock_abi,
        seccomp: sys::has_filters(),
        cgroup: starter.cgroups.report(),
        shortcomings,
    };
    add_missing(starter, report)
}

fn best_tier(starter: &mut Starter, shortcomings: &mut Vec<Shortcoming>) -> Option<Tier> {
    let namespaced = if starter.privileged { Tier::Full } else { Tier::Rootless };
    match trial(starter, namespaced) {
        Ok(()) => return Some(namespaced),
        Err(error) => shortcomings
            .push(Shortcoming::new(format!("tasks get no namespaces of their own: {error}"), namespace_cure())),
    }
    match trial(starter, Tier::Reduced) {
        Ok(()) => Some(Tier::Reduced),
        Err(error) => {
            shortcomings.push(Shortcoming::new(
                format!("no task can be contained on this host: {error}"),
                "use Linux 5.13 or newer with system-call filters and Landlock, or make user namespaces work",
            ));
            None
        }
    }
}

fn add_missing(starter: &Starter, mut report: HostReport) -> HostReport {
    let mut missing = |what: &str, cure: &str| report.shortcomings.push(Shortcoming::new(what, cure));
    if fs::File::open(LIST).is_err() {
        missing("a task's locks on files cannot be counted", "let the agent read `/proc/locks`");
    }
    if report.landlock_abi == 0 {
        missing(
            "Landlock is missing, so files are fenced by mounts alone",
            "use Linux 5.13 or newer and add landlock to the lsm= boot option",
        );
    } else if report.landlock_abi < landlock::ABI_SCOPES {
        missing(
            "Landlock is old, so in the reduced tier tasks may send no signals, not even to their own children",
            "use Linux 6.12 or newer",
        );
    }
    if report.tier == Some(Tier::Full) && !report.id_mapped_mounts {
        missing(
            "owners cannot be mapped in mounts, so tasks read only files that everybody may read",
            "use Linux 5.12 or newer and a local file system such as ext4, xfs or btrfs",
        );
    }
    if report.tier == Some(Tier::Reduced) {
        missing(
            "there is no private file system: scratch is not limited in size, and tasks cannot change modes or owners",
            "let ordinary users make user namespaces, or run the agent as root",
        );
    }
    let cgroup_cure = "run the agent as root, or as a systemd service with Delegate=cpu memory pids";
    if !starter.cgroups.has(Controller::Memory) {
        missing(
            "memory is limited for each process of a task, not for all together, and its peak is not known",
            cgroup_cure,
        );
    }
    if !starter.cgroups.has(Controller::Pids) {
        missing("the number of a task's processes is limited by its user's resource limit only", cgroup_cure);
    }
    if !starter.cgroups.has(Controller::Cpu) {
        missing("CPU time is shared by priority only; a task's CPU limit is not enforced", cgroup_cure);
    }
    report
}

fn namespace_cure() -> String {
    let holds = |file: &str, value: &str| fs::read_to_string(file).is_ok_and(|text| text.trim() == value);
    SWITCHES.iter().find(|(file, value, _)| holds(file, value)).map_or_else(
        || "in a container, allow it to make namespaces and mounts (for example --privileged); else use Linux 5.12 or newer".to_owned(),
        |(_, _, cure)| (*cure).to_owned(),
    )
}

/// Whether a process of this user can be given a user namespace at all.
fn has_user_namespaces() -> bool {
    match sys::clone_process(libc::CLONE_NEWUSER) {
        Ok(Some(child)) => {
            retry_briefly(|| !matches!(sys::reap(child.pid), Ok(None)));
            true
        }
        Ok(None) => sys::exit_now(0),
        Err(_) => false,
    }
}

/// Starts a program that does nothing, in `tier`, and waits for its end.
fn trial(starter: &mut Starter, tier: Tier) -> Result<(), StartError> {
    let spec = trial_spec(tier)?;
    let fds = [null()?, null()?, null()?];
    let mut task = starter.start(&spec, fds)?;
    let timeout = Timespec::try_from(TRIAL_MAX).expect("ten seconds fit");
    // An interrupted wait is followed by the kill below, and told as such.
    let _ = poll(&mut [PollFd::from_borrowed_fd(task.process.pidfd.as_fd(), PollFlags::IN)], Some(&timeout));
    let exit = task.poll_exit().or_else(|| {
        task.kill();
        retry_briefly(|| !matches!(sys::reap(task.process.pid), Ok(None)));
        None
    });
    retry_briefly(|| task.group.remove());
    match exit {
        Some(Exit { how: ExitHow::Exited(0), .. }) => Ok(()),
        Some(Exit { how, .. }) => Err(StartError::step("run a trivial program", format!("it ended as {how:?}"))),
        None => Err(StartError::step("run a trivial program", "it did not end")),
    }
}

/// A sandbox that does nothing.
pub(crate) fn trial_spec(tier: Tier) -> Result<SandboxSpec, StartError> {
    let program = IDLE_PROGRAMS
        .iter()
        .find(|program| Path::new(program).exists())
        .ok_or_else(|| StartError::step("find a trivial program", "neither `true` nor `sh` is installed"))?;
    let (directories, links) = system_directories();
    let mount =
        |path: &std::path::PathBuf| Mount { source: path.clone(), target: path.clone(), access: MountAccess::Other };
    Ok(SandboxSpec {
        id: "probe".to_owned(),
        tier,
        argv: vec![(*program).to_owned(), "-c".to_owned(), ":".to_owned()],
        env: Vec::new(),
        mounts: directories.iter().map(mount).collect(),
        directory: None,
        devices: Vec::new(),
        links,
        tmp: TmpLimits { bytes: 1 << 20, inodes: 64 },
        limits: Limits { memory_bytes: 64 << 20, pids: 8, cpu: 1.0 },
        hostname: "probe".to_owned(),
        template: None,
    })
}

fn null() -> Result<OwnedFd, StartError> {
    open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| StartError::step("open `/dev/null`", error))
}
