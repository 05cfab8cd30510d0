//! The first process of a container: becomes the task in a child of its own, takes in its orphans, and tells how it ended.
//!
//! It comes in with nothing but the path of a socket. The program, its environment and its descriptors come over that socket from
//! the agent, so that they are in no description that an engine keeps. What the engine gave it besides is taken away here: it
//! closes what it inherited, checks that no capability is left, and puts the same fence and filter around the task that builtin
//! sandboxes have. Then there is no way to make or connect a socket any more. When the agent closes its end, this process ends,
//! and the kernel ends every other one of the container with it.

use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use super::protocol::{FromEntry, Program, RUN_FDS, ToEntry};
use crate::child::{self, CStrings, ContainedPlan, Failure, Plan, Role, TaskFds, World};
use crate::launcher::protocol::{MESSAGE_BYTES_MAX, receive, send};
use crate::rlimits::ResourceLimits;
use crate::seccomp::{Arch, Policy, Variant, compile};
use crate::sys;

/// How long it is waited for the last process that was killed, before it is killed again.
const AGAIN: Duration = Duration::from_millis(50);
const SIGNALS: [libc::c_int; 1] = [libc::SIGCHLD];

/// Runs one task in a container that [`crate::Containers`] made, whose socket lies at `door`. Never returns.
///
/// Call it first thing in the process that the container starts, before any thread is made.
pub fn entry_main(door: &Path) -> ! {
    // An agent that is gone hears nothing, and needs to.
    sys::exit_now(i32::from(serve(door).is_err()))
}

fn serve(door: &Path) -> io::Result<()> {
    sys::close_from(3)?;
    sys::block_signals(&SIGNALS);
    let door = come_in(door)?;
    let mut buffer = vec![0; MESSAGE_BYTES_MAX];
    let Some((ToEntry::Run(program), fds)) = receive(&door, &mut buffer)? else { return Ok(()) };
    let landlock_abi = sys::landlock_abi();
    let children = sys::signal_fd(&SIGNALS)?;
    // The task could otherwise look into this process, whose uid it has.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let (report, their_report) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let plan = plan(&program, fds, their_report, landlock_abi > 0)?;
    let Some(task) = sys::fork()? else { child::run_contained(&plan) };
    child::close_entry(&plan.filter).map_err(|failure| io::Error::from_raw_os_error(failure.errno))?;
    drop(plan);
    if let Some(failure) = failure_of(&report)? {
        let cause = io::Error::from_raw_os_error(failure.errno).to_string();
        return tell(&door, &FromEntry::Failed { step: failure.step.purpose().to_owned(), cause });
    }
    drop(report);
    tell(&door, &FromEntry::Started { landlock_abi })?;
    watch(task, &children, &door, &mut buffer)
}

fn come_in(door: &Path) -> io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    connect(&socket, &SocketAddrUnix::new(door)?)?;
    Ok(socket)
}

/// What the child does, with all its descriptors out of the way of those it will have.
fn plan(program: &Program, fds: Vec<OwnedFd>, report: OwnedFd, landlock: bool) -> io::Result<Plan> {
    let [light, stdout, stderr]: [OwnedFd; RUN_FDS] =
        fds.try_into().map_err(|_| io::Error::other("not three descriptors came with the program"))?;
    let high = |fd: OwnedFd| rustix::io::fcntl_dupfd_cloexec(&fd, 10);
    let null = || std::fs::File::open("/dev/null").map(OwnedFd::from);
    let texts = |texts: Vec<String>| texts.into_iter().map(CString::new).collect::<Result<Vec<_>, _>>();
    let arch = Arch::native().ok_or_else(|| io::Error::other("there is no filter for this processor"))?;
    let (go, _nobody) = UnixStream::pair()?;
    Ok(Plan {
        argv: CStrings::new(texts(program.argv.clone())?),
        env: CStrings::new(texts(program.env.iter().map(|(name, value)| format!("{name}={value}")).collect())?),
        directory: program.directory.clone().map(CString::new).transpose()?,
        fds: TaskFds { stdin: high(null()?)?, stdout: high(stdout)?, stderr: high(stderr)?, light: high(light)? },
        // Nobody holds this child back, and its parent sees itself how it ends.
        go: high(go.into())?,
        status: high(null()?)?,
        report: high(report)?,
        filter: compile(&Policy::new(arch, Variant::Namespaced)),
        limits: ResourceLimits::new(&program.limits, program.enforced, 1, None),
        role: Role::Task { landlock },
        world: World::Contained(ContainedPlan { readable: texts(program.readable.clone())? }),
    })
}

/// Why the child did not enter its program, if it did not.
fn failure_of(report: &OwnedFd) -> io::Result<Option<Failure>> {
    let mut bytes = [0; Failure::BYTES];
    match rustix::io::retry_on_intr(|| rustix::io::read(report, &mut bytes))? {
        0 => Ok(None),
        length if length == bytes.len() => Ok(Failure::from_bytes(bytes)),
        _ => Err(io::Error::other("the task's report was cut short")),
    }
}

/// Takes in orphans and follows the agent until it closes the socket.
fn watch(task: i32, children: &OwnedFd, door: &OwnedFd, buffer: &mut [u8]) -> io::Result<()> {
    let mut running = true;
    loop {
        let mut fds = [PollFd::new(door, PollFlags::IN), PollFd::new(children, PollFlags::IN)];
        rustix::io::retry_on_intr(|| poll(&mut fds, None))?;
        let (ordered, ended) = (!fds[0].revents().is_empty(), !fds[1].revents().is_empty());
        if ordered {
            match receive(door, buffer)? {
                Some((ToEntry::Kill, _)) => sys::kill_all_others(),
                Some((ToEntry::Run(_), _)) => return Err(io::Error::other("a second program came")),
                None => return Ok(()),
            }
        }
        if !ended {
            continue;
        }
        sys::drain(children);
        while let Ok(Some((pid, status))) = sys::reap_any() {
            if running && pid == task {
                running = false;
                end_the_rest(children);
                let usage = sys::usage_of_children();
                let cpu_ms = u64::try_from(usage.cpu.as_millis()).unwrap_or(u64::MAX);
                tell(door, &FromEntry::Ended { status, cpu_ms, peak_memory_bytes: usage.peak_memory_bytes })?;
            }
        }
    }
}

/// Kills what the program left until there is no other process in the container.
fn end_the_rest(children: &OwnedFd) {
    let again = Timespec::try_from(AGAIN).expect("a twentieth of a second fits");
    loop {
        sys::kill_all_others();
        loop {
            match sys::reap_any() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
        // An interrupted wait only makes the next look come sooner.
        let _ = poll(&mut [PollFd::new(children, PollFlags::IN)], Some(&again));
        sys::drain(children);
    }
}

fn tell(door: &OwnedFd, message: &FromEntry) -> io::Result<()> {
    send(door, &serde_json::to_vec(message).map_err(io::Error::other)?, &[])
}
