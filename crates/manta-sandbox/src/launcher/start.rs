//! Makes one sandbox: checks the spec, gathers what it needs, clones the child, maps its ids, and hears whether exec came about.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, WaitOptions, pidfd_send_signal, waitpid};

use super::identity::Identity;
use super::plan;
use super::protocol::START_FDS;
use super::scratch::Scratch;
use super::task::{Task, Warning};
use super::{LauncherName, retry_briefly};
use crate::cgroup::{Group, Manager};
use crate::child::{self, Failure, INSIDE_ID, Plan, Role, Step, TaskFds};
use crate::hostid::{HostId, HostIds, Seats};
use crate::idmap::{IdMap, IdMaps};
use crate::mounts::{Source, detach_mapped};
use crate::rlimits::{ResourceLimits, threads_of};
use crate::seccomp::{Arch, Policy, Variant, compile};
use crate::{Limits, Mount, MountAccess, SandboxSpec, StartError, Tier, landlock, sys};

/// How long a child may take from clone to exec; mounts of dead network file systems hang.
const EXEC_MAX: Duration = Duration::from_secs(30);

/// Descriptors that children place as 0 to 3 are kept above those.
const HIGH_FD: i32 = 10;

/// Namespaces of a task beside its cgroup namespace, which it makes when it has joined its groups.
pub(super) const NAMESPACES: i32 = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS;

/// Makes sandboxes; holds what is worth making once.
pub(super) struct Starter {
    pub(super) cgroups: Manager,
    pub(super) landlock_abi: u32,
    pub(super) privileged: bool,
    name: LauncherName,
    host_ids: Option<HostIds>,
    pub(super) id_maps: IdMaps,
    /// Zygotes and children of zygotes that were named so far.
    named: u64,
}

/// What one sandbox holds while it runs.
struct Held {
    identity: Option<Identity>,
    scratch: Option<Scratch>,
    group: Group,
}

impl Starter {
    pub(super) fn new() -> Self {
        let name = LauncherName::own();
        Self {
            cgroups: Manager::detect(&name),
            landlock_abi: sys::landlock_abi(),
            privileged: rustix::process::geteuid().is_root(),
            name,
            host_ids: None,
            id_maps: IdMaps::default(),
            named: 0,
        }
    }

    /// Starts a sandbox; returns when its program has been entered.
    pub(super) fn start(&mut self, spec: &SandboxSpec, fds: [OwnedFd; START_FDS]) -> Result<Task, StartError> {
        spec.check()?;
        self.check_tier(spec.tier)?;
        let identity = if self.privileged { Some(Identity::Own(self.take_host_id()?)) } else { None };
        self.start_as(spec, Role::Task { landlock: self.landlock_abi > 0 }, identity, fds)
    }

    /// Starts a zygote, of which `spec` says what it is as of a task.
    pub(super) fn start_zygote(
        &mut self,
        spec: &SandboxSpec,
        seats: Rc<Seats>,
        fds: [OwnedFd; START_FDS],
    ) -> Result<Task, StartError> {
        self.start_as(spec, Role::Zygote, Some(Identity::Zygote(seats)), fds)
    }

    fn start_as(
        &mut self,
        spec: &SandboxSpec,
        role: Role,
        identity: Option<Identity>,
        fds: [OwnedFd; START_FDS],
    ) -> Result<Task, StartError> {
        let number = identity.as_ref().map(Identity::number);
        let shared = spec.tier == Tier::Reduced;
        let scratch = if shared { Some(Scratch::create(&self.name, &spec.id, number)?) } else { None };
        let group = self.cgroups.create(&spec.id, Some(&tree_limits(&spec.limits)))?;
        let held = Held { identity, scratch, group };
        match self.launch(spec, role, &held, fds) {
            Ok((process, status)) => {
                let Held { identity, scratch, group } = held;
                Ok(Task {
                    process,
                    status,
                    kept: shared,
                    group,
                    refused_before_kill: None,
                    warning: Warning::new(),
                    held_locks: false,
                    zygote: None,
                    leash: None,
                    identity,
                    scratch,
                })
            }
            Err(error) => {
                retry_briefly(|| held.group.remove());
                Err(error)
            }
        }
    }

    /// Whether a task could read `source` if it were mounted for its owner.
    pub(super) fn check_mount(&mut self, source: &Path) -> Result<(), StartError> {
        let opened = Source::open(source)?;
        if !self.privileged {
            return opened.check_readable_by_me(source);
        }
        let host_id = self.take_host_id()?;
        let mount = Mount { source: source.to_owned(), target: source.to_owned(), access: MountAccess::Owner };
        detach_mapped(&mount, &opened, &mut self.id_maps, host_id.number()).map(drop)
    }

    /// Whether the file system that `path` lies on can map owners.
    pub(super) fn can_map_owners(&mut self, path: &Path) -> bool {
        let Ok(host_id) = self.take_host_id() else { return false };
        let map = IdMap { uid: 0, gid: 0, host_id: host_id.number() };
        Source::open(path).is_ok_and(|source| source.can_map_owner(&mut self.id_maps, map))
    }

    /// Lets go of what it keeps for host uids that nobody has any more; false if some is kept for a moment longer.
    pub(super) fn tidy(&mut self) -> bool {
        let given_back = self.host_ids.as_ref().map(HostIds::given_back).unwrap_or_default();
        self.id_maps.let_go(given_back, Instant::now());
        !self.id_maps.has_idle()
    }

    /// Removes what the launcher made for itself.
    pub(super) fn end(&self) {
        self.cgroups.remove();
    }

    /// A host uid for a task; only with root's privileges.
    fn take_host_id(&mut self) -> Result<HostId, StartError> {
        self.host_ids()?.take()
    }

    /// A name, for its control groups, that nothing else of this launcher has: callers' ids hold no dot.
    pub(super) fn name(&mut self, kind: &str) -> String {
        self.named += 1;
        format!("{kind}.{}", self.named)
    }

    /// Host uids for a zygote and so many children.
    pub(super) fn take_seats(&mut self, children: usize) -> Result<Rc<Seats>, StartError> {
        Seats::take(self.host_ids()?, children)
    }

    fn host_ids(&mut self) -> Result<&HostIds, StartError> {
        if self.host_ids.is_none() {
            self.host_ids = Some(HostIds::open()?);
        }
        Ok(self.host_ids.as_ref().expect("opened above"))
    }

    fn check_tier(&self, tier: Tier) -> Result<(), StartError> {
        let problem = match tier {
            Tier::Full if !self.privileged => "it needs root",
            // Its single uid map would make the task root on the host.
            Tier::Rootless if self.privileged => "it is for ordinary users, and this launcher is root",
            Tier::Reduced if self.landlock_abi == 0 => {
                "it needs Landlock (kernel 5.13, `landlock` among the active security modules)"
            }
            _ if !sys::has_filters() => "the kernel has no system-call filters",
            _ => return Ok(()),
        };
        Err(StartError::Tier { tier: tier.name().to_owned(), problem: problem.to_owned() })
    }

    fn launch(
        &mut self,
        spec: &SandboxSpec,
        role: Role,
        held: &Held,
        fds: [OwnedFd; START_FDS],
    ) -> Result<(sys::Forked, OwnedFd), StartError> {
        let (go_read, go_write) = pipe()?;
        let (report_read, report_write) = pipe()?;
        let (status_read, status_write) = pipe()?;
        rustix::io::ioctl_fionbio(&status_read, true).map_err(|error| StartError::step("make a pipe", error))?;
        let plan = self.plan(spec, role, held, fds, [go_read, report_write, status_write])?;
        let namespaces = if spec.tier.maps_paths() { NAMESPACES } else { 0 };
        let entry = held.group.entry()?;
        let cloned = entry
            .clone_process(namespaces)
            .map_err(|error| StartError::step("make a process with its own namespaces", error))?;
        let Some(process) = cloned else { child::run(&plan, &entry) };
        // The child has copies; ours would hide that it closed its own.
        drop(plan);
        let entered = admit(spec, held, &process)
            .and_then(|()| {
                rustix::io::write(&go_write, &[1]).map(drop).map_err(|error| StartError::step("start the child", error))
            })
            .and_then(|()| hear(&report_read).map_err(|failure| describe(&plan::sorted(spec), &spec.argv[0], failure)));
        if let Err(error) = entered {
            end_child(&process);
            return Err(error);
        }
        Ok((process, status_read))
    }

    fn plan(
        &mut self,
        spec: &SandboxSpec,
        role: Role,
        held: &Held,
        fds: [OwnedFd; START_FDS],
        pipes: [OwnedFd; 3],
    ) -> Result<Plan, StartError> {
        let host_id = held.identity.as_ref().map(Identity::number);
        let scratch = held.scratch.as_ref().map(Scratch::path);
        let world = plan::world(spec, host_id, scratch, &mut self.id_maps)?;
        let [light, stdout, stderr] = fds;
        if !spec.devices.is_empty() {
            // It was made in the host's network, where the task could name it otherwise.
            sys::name_socket(light.as_fd()).map_err(|error| StartError::step("name the task's socket", error))?;
        }
        let stdin = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| StartError::step("open `/dev/null`", error))?;
        let [go, report, status] = pipes;
        Ok(Plan {
            argv: plan::c_strings(spec.argv.iter().cloned())?,
            env: plan::c_strings(plan::environment(spec, scratch))?,
            directory: spec.directory.clone().map(plan::c_string).transpose()?,
            fds: TaskFds { stdin: high(stdin)?, stdout: high(stdout)?, stderr: high(stderr)?, light: high(light)? },
            go: high(go)?,
            report: high(report)?,
            status: high(status)?,
            filter: self.filter(spec, role)?,
            limits: self.resource_limits(spec, host_id),
            role,
            world,
        })
    }

    /// The system-call filter of what is started.
    pub(super) fn filter(&self, spec: &SandboxSpec, role: Role) -> Result<Vec<libc::sock_filter>, StartError> {
        let arch =
            Arch::native().ok_or_else(|| StartError::step("filter system calls", "no table for this processor"))?;
        let variant = match role {
            Role::Zygote => Variant::Zygote,
            Role::Task { .. } if spec.tier.maps_paths() && spec.devices.is_empty() => Variant::Namespaced,
            Role::Task { .. } if spec.tier.maps_paths() => Variant::WithDevices,
            Role::Task { .. } => Variant::Shared { signals_scoped: self.landlock_abi >= landlock::ABI_SCOPES },
        };
        Ok(compile(&Policy::new(arch, variant)))
    }

    pub(super) fn resource_limits(&self, spec: &SandboxSpec, host_id: Option<u32>) -> ResourceLimits {
        // A user namespace counts its own processes; without one those of the whole user count.
        let in_use = match (spec.tier, host_id) {
            (Tier::Reduced, None) => threads_of(rustix::process::geteuid().as_raw()),
            (Tier::Reduced, Some(_)) => 0,
            // The first process of the namespace.
            _ => 1,
        };
        // A keeper looks at the scratch from time to time only; values that a task publishes are files, too, of its memory's size.
        let file_bytes = (spec.tier == Tier::Reduced).then_some(spec.tmp.bytes.max(spec.limits.memory_bytes));
        ResourceLimits::new(&spec.limits, self.cgroups.enforced(), in_use, file_bytes)
    }
}

/// What only the parent can do for a new child: its id maps.
fn admit(spec: &SandboxSpec, held: &Held, process: &sys::Forked) -> Result<(), StartError> {
    if !spec.tier.maps_paths() {
        return Ok(());
    }
    let directory = format!("/proc/{}", process.pid.as_raw_nonzero());
    write_maps(&directory, held.identity.as_ref()).map_err(|error| StartError::step("map the task's uid", error))
}

/// Limits of a task's groups: a keeper, or the first process of the namespace, counts as one of the task.
pub(super) fn tree_limits(limits: &Limits) -> Limits {
    Limits { pids: limits.pids.saturating_add(1), ..*limits }
}

pub(super) fn pipe() -> Result<(OwnedFd, OwnedFd), StartError> {
    pipe_with(PipeFlags::CLOEXEC).map_err(|error| StartError::step("make a pipe", error))
}

/// The same open file under a number that nothing is placed on.
pub(super) fn high(fd: OwnedFd) -> Result<OwnedFd, StartError> {
    rustix::io::fcntl_dupfd_cloexec(fd, HIGH_FD).map_err(|error| StartError::step("copy a descriptor", error))
}

fn write_maps(process: &str, identity: Option<&Identity>) -> io::Result<()> {
    let (uids, gids) = match identity {
        Some(identity) => (identity.map(), identity.map()),
        None => {
            let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
            assert!(uid != 0, "no inside uid is root on the host");
            // The kernel asks it of unprivileged users, so that nobody leaves a group that denies.
            fs::write(format!("{process}/setgroups"), "deny")?;
            (format!("{INSIDE_ID} {uid} 1"), format!("{INSIDE_ID} {gid} 1"))
        }
    };
    fs::write(format!("{process}/uid_map"), uids)?;
    fs::write(format!("{process}/gid_map"), gids)
}

/// Waits for the child's exec, which closes the pipe without a word, or for the word why it did not come.
fn hear(report: &OwnedFd) -> Result<(), Option<Failure>> {
    let timeout = Timespec::try_from(EXEC_MAX).expect("half a minute fits");
    let mut fds = [PollFd::new(report, PollFlags::IN)];
    let ready = rustix::io::retry_on_intr(|| poll(&mut fds, Some(&timeout))).map_err(|_| None)?;
    if ready == 0 {
        return Err(None);
    }
    let mut bytes = [0; Failure::BYTES];
    match rustix::io::retry_on_intr(|| rustix::io::read(report, &mut bytes)) {
        Ok(0) => Ok(()),
        Ok(Failure::BYTES) => Err(Failure::from_bytes(bytes)),
        _ => Err(None),
    }
}

/// A sentence for a failed step.
pub(super) fn describe(mounts: &[&Mount], program: &str, failure: Option<Failure>) -> StartError {
    let Some(failure) = failure else {
        return StartError::step("start the program", format!("nothing was heard for {} seconds", EXEC_MAX.as_secs()));
    };
    let cause = io::Error::from_raw_os_error(failure.errno);
    let mount = || mounts.get(usize::try_from(failure.index).ok()?).copied();
    match failure.step {
        Step::OpenMount | Step::Attach => match mount() {
            Some(mount) => StartError::Mount {
                path: mount.source.clone(),
                problem: format!("{}: {cause}", failure.step.purpose()),
            },
            None => StartError::step(failure.step.purpose(), cause),
        },
        Step::Exec => StartError::Program { program: program.to_owned(), cause: cause.to_string() },
        step => StartError::step(step.purpose(), cause),
    }
}

pub(super) fn end_child(process: &sys::Forked) {
    // Both fail only for a child that is gone already.
    let _ = pidfd_send_signal(&process.pidfd, Signal::KILL);
    let _ = waitpid(Some(process.pid), WaitOptions::empty());
}
