//! One child of a zygote, from its namespaces to the task that it becomes.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::net::{RecvFlags, sockopt};
use rustix::process::{Pid, PidfdFlags, WaitOptions, pidfd_open, waitpid};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::{Deserialize, Serialize};

use super::process::{Process, channel, spec_of};
use crate::cgroup::{Entry, Group};
use crate::child::{Admission, Failure, PlannedSource, ShellPlan, clone_inside};
use crate::hostid::Seat;
use crate::launcher::identity::Identity;
use crate::launcher::plan;
use crate::launcher::protocol::{self, MESSAGE_BYTES_MAX, START_FDS};
use crate::launcher::retry_briefly;
use crate::launcher::start::{NAMESPACES, Starter, describe, end_child, high, pipe, tree_limits};
use crate::launcher::task::{Task, Warning};
use crate::{Mount, SandboxSpec, StartError, Template, child, sys};

/// A child of a zygote, or the namespaces that it will have.
pub(super) struct Slot {
    first: sys::Forked,
    status: OwnedFd,
    gate: OwnedFd,
    leash: OwnedFd,
    group: Group,
    seat: Seat,
    purpose: Purpose,
    stage: Stage,
}

/// What a child is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To wait for a task that may come.
    Standby,
    /// To be forked when a task comes for which nothing waits: what needs no zygote is made before.
    Shell,
    /// For a task that has come.
    Task,
}

/// How far a child has come.
pub(super) enum Stage {
    /// Its first process fills the namespaces; the zygote's end of the leash waits.
    Building(OwnedFd),
    /// Its first process waits, and there is nothing to wait for but the fork; Landlock rules, where there are any.
    Built(OwnedFd, Option<OwnedFd>),
    /// The zygote forks it.
    Forking,
    /// It waits for a task.
    Ready {
        /// Its process on the host.
        process: Pid,
        /// Its process in its own namespace.
        inside: i32,
    },
}

/// What the zygote is asked; the leash, namespaces and the way into the groups ride along.
#[derive(Serialize)]
struct Fork {
    /// Whether Landlock rules come last.
    fence: bool,
    /// Whether nobody waits for it, so that it may do ahead what a task would have to.
    ahead: bool,
}

/// What a child says when it waits, or why it does not.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Ready(i32),
    Failed(String),
}

/// What a child is told to become.
#[derive(Serialize)]
struct Run<'a> {
    argv: &'a [String],
    env: &'a [(String, String)],
}

impl Slot {
    /// Makes the namespaces of a child, in which their first process goes to work.
    pub(super) fn begin(
        starter: &mut Starter,
        zygote: &Process,
        template: &Template,
        purpose: Purpose,
    ) -> Result<Self, StartError> {
        let seat = zygote
            .seats
            .sit()
            .ok_or_else(|| StartError::step("find a free uid", "as many of its tasks run as may run at once"))?;
        let spec = spec_of(template, starter.name("child"));
        let (gate, gate_inside) = channel().map_err(|error| StartError::step("make a socket", error))?;
        let (leash, leash_inside) = channel().map_err(|error| StartError::step("make a socket", error))?;
        sockopt::set_socket_passcred(&leash, true).map_err(|error| StartError::step("make a socket", error))?;
        let (status, status_inside) = pipe()?;
        rustix::io::ioctl_fionbio(&status, true).map_err(|error| StartError::step("make a pipe", error))?;
        let (go, go_write) = pipe()?;
        let plan = ShellPlan {
            world: plan::namespaced(&spec, Some(seat.number()), &mut starter.id_maps)?,
            go: high(go)?,
            gate: high(gate_inside)?,
            status: high(status_inside)?,
            landlock: starter.landlock_abi > 0,
        };
        let group = starter.cgroups.create(&spec.id, None)?;
        let made = group
            .entry()
            .and_then(|entry| {
                make_first(zygote, &seat, &plan, &entry)
                    .map_err(|failure| describe(&plan::sorted(&spec), &spec.argv[0], failure))
            })
            .and_then(|first| release(first, &go_write));
        match made {
            Ok(first) => {
                Ok(Self { first, status, gate, leash, group, seat, purpose, stage: Stage::Building(leash_inside) })
            }
            Err(error) => {
                retry_briefly(|| group.remove());
                Err(error)
            }
        }
    }

    /// Whether it was made for this.
    pub(super) fn is_for(&self, purpose: Purpose) -> bool {
        self.purpose == purpose
    }

    /// Whether all is made that its purpose needs.
    pub(super) fn is_done(&self) -> bool {
        self.is_ready() || (self.purpose == Purpose::Shell && matches!(self.stage, Stage::Built(..)))
    }

    /// Whether its zygote is at work for it: whoever ends it now kills what borrows the zygote's memory.
    pub(super) fn is_forking(&self) -> bool {
        matches!(self.stage, Stage::Forking)
    }

    /// Whether it waits for a task.
    pub(super) fn is_ready(&self) -> bool {
        matches!(self.stage, Stage::Ready { .. })
    }

    /// Readable when the next step can be taken, or when it died.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        match self.stage {
            Stage::Building(_) | Stage::Built(..) => self.gate.as_fd(),
            Stage::Forking | Stage::Ready { .. } => self.leash.as_fd(),
        }
    }

    /// Takes the next step if nothing has to be waited for; an error ends the child.
    pub(super) fn advance(&mut self, zygote: &OwnedFd) -> Result<(), StartError> {
        let broken = |cause: String| StartError::step("fork it from its zygote", cause);
        match &self.stage {
            Stage::Building(_) => {
                let Some(fence) = hear_gate(&self.gate, RecvFlags::DONTWAIT, &[])? else { return Ok(()) };
                let Stage::Building(leash) = std::mem::replace(&mut self.stage, Stage::Forking) else { unreachable!() };
                self.stage = Stage::Built(leash, fence);
                if self.purpose == Purpose::Shell { Ok(()) } else { self.fork(zygote) }
            }
            Stage::Built(..) => match hear_gate(&self.gate, RecvFlags::DONTWAIT, &[])? {
                None => Ok(()),
                Some(_) => Err(broken("its first process spoke out of turn".to_owned())),
            },
            Stage::Forking => match hear(&self.leash)? {
                None => Ok(()),
                Some((Word::Failed(why), _)) => Err(broken(why)),
                Some((Word::Ready(inside), sender)) => {
                    let process = sender.ok_or_else(|| broken("it did not say who it is".to_owned()))?;
                    self.stage = Stage::Ready { process, inside };
                    Ok(())
                }
            },
            Stage::Ready { .. } => match hear(&self.leash)? {
                None => Ok(()),
                Some(_) => Err(broken("it spoke out of turn".to_owned())),
            },
        }
    }

    /// Has a shell forked for a task, as soon as that is possible.
    pub(super) fn need(&mut self, zygote: &OwnedFd) -> Result<(), StartError> {
        self.purpose = Purpose::Task;
        self.fork(zygote)
    }

    /// Asks the zygote for the child, if all else is there.
    fn fork(&mut self, zygote: &OwnedFd) -> Result<(), StartError> {
        let Stage::Built(leash, fence) = &self.stage else { return Ok(()) };
        let (doors, is_ahead) = (self.group.doors()?, self.purpose == Purpose::Standby);
        ask_fork(zygote, leash, self.first.pid, is_ahead, fence.as_ref(), &doors)
            .map_err(|error| StartError::step("fork it from its zygote", error))?;
        self.stage = Stage::Forking;
        Ok(())
    }

    /// Lets a child that waits become the sandbox of `spec`, with `late` mounts beside those of its image. It makes ready for its
    /// task while they are made, and begins it when it is let go.
    pub(super) fn admit(
        &self,
        starter: &mut Starter,
        late: &[&Mount],
        spec: &SandboxSpec,
        fds: &[OwnedFd; START_FDS],
    ) -> Result<(), StartError> {
        let Stage::Ready { process, inside } = self.stage else {
            return Err(StartError::step("become a task", "it does not wait for one"));
        };
        self.group.limit(&tree_limits(&spec.limits))?;
        starter
            .resource_limits(spec, Some(self.seat.number()))
            .apply_to(process)
            .map_err(|error| StartError::step("set its resource limits", error))?;
        let run = Run { argv: &spec.argv, env: &spec.env };
        let message = serde_json::to_vec(&run).map_err(|error| StartError::step("tell it what to run", error))?;
        if message.len() > MESSAGE_BYTES_MAX {
            return Err(StartError::step("tell it what to run", "its arguments and environment are too long"));
        }
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        protocol::send(&self.leash, &message, &fds).map_err(|error| StartError::step("tell it what to run", error))?;
        self.mount(starter, late, spec, inside)
    }

    /// Has the first process attach the late mounts and give up its privileges.
    fn mount(
        &self,
        starter: &mut Starter,
        late: &[&Mount],
        spec: &SandboxSpec,
        program: i32,
    ) -> Result<(), StartError> {
        let (mut mounts, mut trees) = (Vec::new(), Vec::new());
        for mount in late {
            let planned = plan::plan_mount(mount, Some(self.seat.number()), &mut starter.id_maps)?;
            let PlannedSource::Detached(tree) = planned.source else { unreachable!("root detaches every mount") };
            let text =
                |path: std::ffi::CString| path.into_string().map_err(|error| StartError::step("name a mount", error));
            let parents = planned.parents.into_iter().map(text).collect::<Result<Vec<_>, _>>()?;
            mounts.push((text(planned.target)?, parents, planned.is_dir));
            trees.push(tree);
        }
        let admission = Admission { mounts, tmp: spec.tmp, program };
        let message = serde_json::to_vec(&admission).map_err(|error| StartError::step("name its mounts", error))?;
        if message.len() > MESSAGE_BYTES_MAX {
            return Err(StartError::step("name its mounts", "their paths are too long"));
        }
        let trees: Vec<_> = trees.iter().map(AsFd::as_fd).collect();
        protocol::send(&self.gate, &message, &trees).map_err(|error| StartError::step("name its mounts", error))?;
        hear_gate(&self.gate, RecvFlags::empty(), late).map(drop)
    }

    /// The sandbox, with what it must give back when it ends.
    pub(super) fn into_task(self, zygote: Option<Rc<OwnedFd>>) -> Task {
        Task {
            process: self.first,
            status: self.status,
            kept: false,
            group: self.group,
            refused_before_kill: None,
            warning: Warning::new(),
            held_locks: false,
            zygote,
            leash: Some(self.leash),
            identity: Some(Identity::Seat(self.seat)),
            scratch: None,
        }
    }
}

/// Has a helper make the first process inside the zygote's namespaces, as a child of the launcher.
fn make_first(zygote: &Process, seat: &Seat, plan: &ShellPlan, entry: &Entry) -> Result<sys::Forked, Option<Failure>> {
    let (told, tell) = pipe().map_err(|_| None)?;
    let Some(helper) = clone_into(&zygote.pid_namespace, entry).map_err(|_| None)? else {
        let inside = child::INSIDE_ID + seat.offset();
        let words = match clone_inside(&zygote.user_namespace, inside, NAMESPACES, plan, entry) {
            Ok(pid) => pid.to_ne_bytes().to_vec(),
            Err(failure) => failure.to_bytes().to_vec(),
        };
        // Nobody is left to tell if the launcher is gone.
        let _ = rustix::io::write(&tell, &words);
        sys::exit_now(0)
    };
    drop(tell);
    let mut bytes = [0; Failure::BYTES];
    let length = rustix::io::retry_on_intr(|| rustix::io::read(&told, &mut bytes));
    // It is our child and ends by itself.
    let _ = waitpid(Some(helper.pid), WaitOptions::empty());
    match length {
        Ok(4) => {
            let pid = Pid::from_raw(i32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).ok_or(None)?;
            let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|_| None)?;
            Ok(sys::Forked { pid, pidfd })
        }
        Ok(Failure::BYTES) => Err(Failure::from_bytes(bytes)),
        _ => Err(None),
    }
}

/// Makes a copy of this process in another process namespace, at `entry`; `None` is returned in the copy.
fn clone_into(processes: &OwnedFd, entry: &Entry) -> io::Result<Option<sys::Forked>> {
    let own = File::open("/proc/self/ns/pid")?;
    move_into_link_name_space(processes.as_fd(), Some(LinkNameSpaceType::ProcessID))?;
    let cloned = entry.clone_process(0);
    // In the copy it changes nothing: both are its own now.
    if !matches!(cloned, Ok(None)) {
        move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::ProcessID))
            .expect("a process may always return to its own process namespace");
    }
    cloned
}

/// What the first process says at the gate: `None` as long as it says nothing.
fn hear_gate(gate: &OwnedFd, flags: RecvFlags, mounts: &[&Mount]) -> Result<Option<Option<OwnedFd>>, StartError> {
    let mut buffer = [0; 256];
    match protocol::receive_all::<Option<Failure>>(gate, &mut buffer, flags) {
        Ok(Some(mut received)) => match received.message {
            None => Ok(Some(received.fds.pop())),
            failure @ Some(_) => Err(describe(mounts, "", failure)),
        },
        Ok(None) => Err(StartError::step("prepare its namespaces", "their first process ended")),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(StartError::step("prepare its namespaces", error)),
    }
}

/// Lets the first process go to work.
fn release(first: sys::Forked, go: &OwnedFd) -> Result<sys::Forked, StartError> {
    match rustix::io::write(go, &[1]) {
        Ok(_) => Ok(first),
        Err(error) => {
            end_child(&first);
            Err(StartError::step("start the child", error))
        }
    }
}

/// What a child says on its leash, and its process on the host; `None` as long as it says nothing.
fn hear(leash: &OwnedFd) -> Result<Option<(Word, Option<Pid>)>, StartError> {
    let mut buffer = [0; 4096];
    match protocol::receive_all::<Word>(leash, &mut buffer, RecvFlags::DONTWAIT) {
        Ok(Some(received)) => Ok(Some((received.message, received.sender))),
        Ok(None) => Err(StartError::step("fork it from its zygote", "it ended")),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(StartError::step("fork it from its zygote", error)),
    }
}

/// Asks a zygote to fork a child into the namespaces of `first` and the groups behind `doors`.
fn ask_fork(
    zygote: &OwnedFd,
    leash: &OwnedFd,
    first: Pid,
    ahead: bool,
    fence: Option<&OwnedFd>,
    doors: &[OwnedFd],
) -> io::Result<()> {
    // In the order in which they are entered; the process namespace before the fork.
    let namespaces = ["pid", "user", "mnt", "net", "ipc", "uts", "cgroup"]
        .map(|name| File::open(format!("/proc/{}/ns/{name}", first.as_raw_nonzero())).map(OwnedFd::from));
    let namespaces = namespaces.into_iter().collect::<io::Result<Vec<_>>>()?;
    let fds = [leash].into_iter().chain(&namespaces).chain(fence).chain(doors);
    let fds: Vec<_> = fds.map(AsFd::as_fd).collect();
    let message = serde_json::to_vec(&Fork { fence: fence.is_some(), ahead }).map_err(io::Error::other)?;
    protocol::send(zygote, &message, &fds)
}
