//! One zygote: started in the background, asked for children, and started again after it ended.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, Mode, OFlags, memfd_create, open};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, socketpair};
use serde::Deserialize;

use super::slot::Slot;
use crate::child::Role;
use crate::hostid::Seats;
use crate::launcher::plan;
use crate::launcher::protocol::{self, MESSAGE_BYTES_MAX, START_FDS};
use crate::launcher::start::Starter;
use crate::launcher::task::Task;
use crate::{Limits, Mount, SandboxSpec, StartError, StartWay, Template, Tier, TmpLimits, Warmth};

/// Children of one zygote that may live at once.
const CHILDREN_MAX: usize = 32;

/// How long a zygote that ended, or could not be started, is left alone.
const PAUSE: Duration = Duration::from_secs(10);

/// How long a child that is waited for may take.
const FORK_MAX: Duration = Duration::from_secs(10);

/// Why there is no warm start yet.
const IMPORTING: &str = "its zygote is still importing the image's packages";

/// What a zygote may use beside memory.
const ZYGOTE_TMP: TmpLimits = TmpLimits { bytes: 16 << 20, inodes: 1024 };
const ZYGOTE_PIDS: u32 = 64;
const ZYGOTE_CPU: f64 = 64.0;

/// What a zygote says of itself.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    /// Everything is imported.
    Ready,
    /// It cannot serve, and why.
    Failed(String),
}

/// A template and the process that serves it.
pub(super) struct Zygote {
    template: Template,
    state: State,
    slots: Vec<Slot>,
    ended: Vec<Task>,
    /// Why no child could be kept waiting, and when that was.
    trouble: Option<(String, Instant)>,
}

enum State {
    Down { why: String, since: Instant },
    Importing(Process),
    Up(Process),
}

/// A running zygote.
pub(super) struct Process {
    task: Task,
    pub(super) control: Rc<OwnedFd>,
    pub(super) user_namespace: OwnedFd,
    pub(super) pid_namespace: OwnedFd,
    pub(super) seats: Rc<Seats>,
}

impl Zygote {
    /// Starts one in the background.
    pub(super) fn start(starter: &mut Starter, template: Template) -> Self {
        let down = State::Down { why: String::new(), since: Instant::now() };
        let mut zygote = Self { template, state: down, slots: Vec::new(), ended: Vec::new(), trouble: None };
        zygote.launch(starter);
        zygote
    }

    pub(super) fn template(&self) -> &Template {
        &self.template
    }

    /// Starts a sandbox from a child that waits, or from one that is forked now.
    pub(super) fn open(
        &mut self,
        starter: &mut Starter,
        spec: &SandboxSpec,
        fds: &[OwnedFd; START_FDS],
    ) -> Result<(Task, StartWay), String> {
        let late = late_mounts(&self.template, spec)?;
        self.advance(starter, Instant::now());
        let process = match &self.state {
            State::Up(process) => process,
            State::Importing(_) => return Err(IMPORTING.to_owned()),
            State::Down { why, .. } => return Err(format!("its zygote is not there: {why}")),
        };
        loop {
            let waiting = self.slots.iter().position(Slot::is_ready).map(|position| self.slots.swap_remove(position));
            let way = if waiting.is_some() { StartWay::Standby } else { StartWay::Fork };
            let slot = match waiting {
                Some(slot) => slot,
                None => {
                    let made = Slot::begin(starter, process, &self.template).map_err(|error| error.to_string())?;
                    wait_for(made, process, &mut self.ended)?
                }
            };
            match slot.admit(starter, &late, spec, fds) {
                Ok(()) => return Ok((slot.into_task(Some(Rc::clone(&process.control))), way)),
                Err(error) => {
                    self.ended.push(end_slot(slot));
                    // One that waited may have died a moment ago; the next one need not.
                    if way == StartWay::Fork {
                        return Err(error.to_string());
                    }
                }
            }
        }
    }

    /// Whether nothing is in the making: all is ready, or hindered.
    pub(super) fn is_settled(&self) -> bool {
        match &self.state {
            State::Importing(_) => false,
            State::Up(_) => {
                self.trouble.is_some() || self.slots.iter().filter(|slot| slot.is_ready()).count() >= self.wanted()
            }
            State::Down { .. } => true,
        }
    }

    /// Children that should wait.
    fn wanted(&self) -> usize {
        usize::try_from(self.template.standbys).unwrap_or(usize::MAX).min(CHILDREN_MAX)
    }

    /// What is ready.
    pub(super) fn warmth(&self) -> Warmth {
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let taken = match &self.state {
            State::Importing(process) | State::Up(process) => process.seats.taken(),
            State::Down { .. } => 0,
        };
        Warmth {
            name: self.template.name.clone(),
            zygote: match &self.state {
                State::Up(_) => Ok(()),
                State::Importing(_) => Err(IMPORTING.to_owned()),
                State::Down { why, .. } => Err(why.clone()),
            },
            trouble: self.trouble.as_ref().map(|(why, _)| why.clone()),
            waiting: count(self.slots.iter().filter(|slot| slot.is_ready()).count()),
            running: count(taken.saturating_sub(self.slots.len())),
        }
    }

    /// Descriptors that tell when there is something to do.
    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let process = match &self.state {
            State::Importing(process) | State::Up(process) => Some(process),
            State::Down { .. } => None,
        };
        let own = process.into_iter().flat_map(|process| [process.control.as_fd(), process.task.pidfd()]);
        own.chain(self.slots.iter().map(Slot::fd))
    }

    /// Takes every step that needs no waiting.
    pub(super) fn advance(&mut self, starter: &mut Starter, now: Instant) {
        self.hear();
        let up = match &self.state {
            State::Up(process) => process,
            State::Down { since, .. } if now.duration_since(*since) >= PAUSE => return self.launch(starter),
            _ => return,
        };
        let control = Rc::clone(&up.control);
        for mut slot in std::mem::take(&mut self.slots) {
            match slot.advance(&control) {
                Ok(()) => self.slots.push(slot),
                Err(error) => {
                    // One that waited has died, which says nothing of the next.
                    if !slot.is_ready() {
                        self.trouble = Some((error.to_string(), now));
                    }
                    self.ended.push(end_slot(slot));
                }
            }
        }
        let hindered = self.trouble.as_ref().is_some_and(|(_, since)| now.duration_since(*since) < PAUSE);
        if self.slots.len() < self.wanted() && !hindered {
            match Slot::begin(starter, up, &self.template) {
                Ok(slot) => {
                    self.slots.push(slot);
                    self.trouble = None;
                }
                Err(error) => self.trouble = Some((error.to_string(), now)),
            }
        }
    }

    /// Whether something is to be tried again though nothing happens.
    pub(super) fn needs_watching(&self) -> bool {
        self.trouble.is_some() || matches!(self.state, State::Down { .. })
    }

    /// Ends all that waits; what runs goes on.
    pub(super) fn retire(&mut self) -> Vec<Task> {
        std::mem::take(&mut self.slots).into_iter().map(end_slot).collect()
    }

    /// Whether none of its children runs.
    pub(super) fn is_deserted(&self) -> bool {
        match &self.state {
            State::Importing(process) | State::Up(process) => process.seats.taken() == 0,
            State::Down { .. } => true,
        }
    }

    /// Starts the end of everything; answers with what has to be waited for.
    pub(super) fn end(&mut self) -> Vec<Task> {
        self.go_down("it was told to end".to_owned());
        self.take_ended()
    }

    /// What has been told to end since this was asked before.
    pub(super) fn take_ended(&mut self) -> Vec<Task> {
        std::mem::take(&mut self.ended)
    }

    /// Reads what the process said of itself, or that it is gone.
    fn hear(&mut self) {
        let (State::Importing(process) | State::Up(process)) = &self.state else { return };
        let mut buffer = vec![0; 16 << 10];
        match protocol::receive_all::<Word>(&*process.control, &mut buffer, RecvFlags::DONTWAIT) {
            Ok(Some(received)) => match received.message {
                Word::Ready => {
                    let before = std::mem::replace(&mut self.state, State::gone());
                    self.state = match before {
                        State::Importing(process) => State::Up(process),
                        other => other,
                    };
                }
                Word::Failed(why) => self.go_down(why),
            },
            Ok(None) => self.go_down("its process ended".to_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => self.go_down(error.to_string()),
        }
    }

    fn go_down(&mut self, why: String) {
        let down = State::Down { why, since: Instant::now() };
        self.ended.extend(std::mem::take(&mut self.slots).into_iter().map(end_slot));
        if let State::Importing(process) | State::Up(process) = std::mem::replace(&mut self.state, down) {
            let mut task = process.task;
            task.kill();
            self.ended.push(task);
        }
    }

    fn launch(&mut self, starter: &mut Starter) {
        self.state = match launch(starter, &self.template) {
            Ok(process) => State::Importing(process),
            Err(error) => State::Down { why: error.to_string(), since: Instant::now() },
        };
    }
}

impl State {
    fn gone() -> Self {
        Self::Down { why: "its process ended".to_owned(), since: Instant::now() }
    }
}

/// The part of `spec` that the template lacks; an error if a child of the zygote cannot become such a sandbox.
fn late_mounts<'a>(template: &Template, spec: &'a SandboxSpec) -> Result<Vec<&'a Mount>, String> {
    if spec.tier != Tier::Full {
        return Err(format!("the `{}` tier has no warm start", spec.tier.name()));
    }
    let fits = spec.hostname == template.hostname
        && spec.links == template.links
        && template.mounts.iter().all(|mount| spec.mounts.contains(mount));
    if !fits {
        return Err("it lacks something of its image".to_owned());
    }
    let late: Vec<&Mount> = plan::sorted(spec).into_iter().filter(|mount| !template.mounts.contains(mount)).collect();
    if let Some(hiding) =
        late.iter().find(|late| template.mounts.iter().any(|mount| mount.target.starts_with(&late.target)))
    {
        return Err(format!("`{}` would hide a part of its image", hiding.target.display()));
    }
    if late.len() > protocol::MESSAGE_FDS_MAX {
        return Err(format!("it has more than {} mounts beside its image", protocol::MESSAGE_FDS_MAX));
    }
    Ok(late)
}

/// Drives a child that was just begun until it waits.
fn wait_for(mut slot: Slot, process: &Process, ended: &mut Vec<Task>) -> Result<Slot, String> {
    let deadline = Instant::now() + FORK_MAX;
    loop {
        let stuck = match slot.advance(&process.control) {
            Ok(()) if slot.is_ready() => return Ok(slot),
            Ok(()) if Instant::now() < deadline => None,
            Ok(()) => Some(format!("its zygote forked nothing in {} seconds", FORK_MAX.as_secs())),
            Err(error) => Some(error.to_string()),
        };
        if let Some(why) = stuck {
            ended.push(end_slot(slot));
            return Err(why);
        }
        let rest = Timespec::try_from(deadline.saturating_duration_since(Instant::now())).unwrap_or_default();
        // An interrupted wait only makes the next look come sooner.
        let _ = poll(&mut [PollFd::from_borrowed_fd(slot.fd(), PollFlags::IN)], Some(&rest));
    }
}

fn end_slot(slot: Slot) -> Task {
    let mut task = slot.into_task(None);
    task.kill();
    task
}

/// A spec of what all sandboxes of a template have.
pub(super) fn spec_of(template: &Template, id: String) -> SandboxSpec {
    SandboxSpec {
        id,
        tier: Tier::Full,
        argv: template.argv.clone(),
        env: template.env.clone(),
        mounts: template.mounts.clone(),
        devices: Vec::new(),
        links: template.links.clone(),
        tmp: ZYGOTE_TMP,
        limits: Limits { memory_bytes: template.memory_bytes, pids: ZYGOTE_PIDS, cpu: ZYGOTE_CPU },
        hostname: template.hostname.clone(),
        template: None,
    }
}

fn launch(starter: &mut Starter, template: &Template) -> Result<Process, StartError> {
    if !starter.privileged {
        return Err(StartError::Tier { tier: Tier::Full.name().to_owned(), problem: "it needs root".to_owned() });
    }
    let failed = |error: std::io::Error| StartError::step("start a zygote", error);
    let (control, theirs) = channel().map_err(failed)?;
    let filter = starter.filter(Tier::Full, Role::Task { landlock: starter.landlock_abi > 0 })?;
    let program = filter_file(&filter).map_err(failed)?;
    protocol::send(&control, b"{}", &[program.as_fd()]).map_err(failed)?;
    let null =
        || open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map_err(|error| failed(error.into()));
    let seats = starter.take_seats(CHILDREN_MAX)?;
    let spec = spec_of(template, starter.name("zygote"));
    let task = starter.start_zygote(&spec, Rc::clone(&seats), [theirs, null()?, null()?])?;
    let namespace = |name: &str| {
        let path = format!("/proc/{}/ns/{name}", task.process.pid.as_raw_nonzero());
        std::fs::File::open(path).map(OwnedFd::from).map_err(failed)
    };
    let (user_namespace, pid_namespace) = (namespace("user")?, namespace("pid")?);
    Ok(Process { task, control: Rc::new(control), user_namespace, pid_namespace, seats })
}

/// Two ends of a socket that carries whole messages.
pub(super) fn channel() -> std::io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    protocol::make_room(&ours)?;
    protocol::make_room(&theirs)?;
    Ok((ours, theirs))
}

/// A file that holds a filter's instructions, as the kernel takes them.
fn filter_file(filter: &[libc::sock_filter]) -> std::io::Result<OwnedFd> {
    let file = memfd_create("manta-filter", MemfdFlags::CLOEXEC)?;
    let bytes: Vec<u8> = filter
        .iter()
        .flat_map(|step| {
            let [code_low, code_high] = step.code.to_ne_bytes();
            let [a, b, c, d] = step.k.to_ne_bytes();
            [code_low, code_high, step.jt, step.jf, a, b, c, d]
        })
        .collect();
    let written = rustix::io::write(&file, &bytes)?;
    assert!(written == bytes.len(), "memory files take everything at once");
    Ok(file)
}

const _: () = assert!(MESSAGE_BYTES_MAX >= 16 << 10);
