//! What one program leaves to the next in the same process: attempts that run, with the descriptors that lead to them, and all that
//! is known of them. It is one sealed memory, which names descriptors by number.
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsRawFd, IntoRawFd as _, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use manta_api::AttemptInputs;
use manta_api::node::{LogLine, Timings};
use manta_api::version::{HANDOVER, PRODUCT};
use manta_sandbox::{Engine, Exit, Launcher, Start};
use manta_types::Digest;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::{FdFlags, fcntl_setfd};
use serde::{Deserialize, Serialize};
use tokio::net::unix::pipe::Receiver;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::NodeError;
use crate::agent::Node;
use crate::attempt::{LeftAttempt, Order, Output, Parted, PreparedLeft, Since, Underway};
use crate::clock::ms;
use crate::desk::{Attempt, Phase};
use crate::light::{Channel, Said, Staged, StagedLeft};
use crate::logs::{Kept, Lines};
use crate::runner::{Hold, LeftRunning};
use crate::settings::OwnProgram;

/// What is left to the next program.
#[derive(Debug, Serialize, Deserialize)]
struct Left {
    /// The form of all this, and of what agent, task and launcher say to each other.
    handover: u32,
    /// The release that wrote it.
    from: String,
    /// Milliseconds of the monotonic clock when it was written; spans below are up to then.
    at_ms: u64,
    /// The lock of the data directory.
    lock: RawFd,
    /// The file of the program that wrote it, and what that was started with.
    program: RawFd,
    arguments: Vec<OsString>,
    launchers: Vec<LauncherLeft>,
    attempts: Vec<AttemptLeft>,
    generation: Option<u64>,
    lines: Vec<LogLine>,
    /// For how long there was no session.
    cut_ms: u64,
    /// The name of the directory of `manta.light` that its tasks have.
    runtimes: BTreeSet<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct LauncherLeft {
    pid: u32,
    socket: RawFd,
}

#[derive(Debug, Serialize, Deserialize)]
struct AttemptLeft {
    attempt: Attempt,
    order: Order,
    offered_ms: u64,
    running: Option<RunningLeft>,
}

/// An attempt whose task runs.
#[derive(Debug, Serialize, Deserialize)]
struct RunningLeft {
    phase: Phase,
    prepared: PreparedLeft,
    log: Kept,
    timings: Timings,
    /// Which of the launchers has it.
    launcher: usize,
    sandbox: String,
    start: Start,
    is_program: bool,
    /// How it ended, where that was heard already.
    exit: Option<Exit>,
    channel: Option<RawFd>,
    stdout: Option<(RawFd, Lines)>,
    stderr: Option<(RawFd, Lines)>,
    inputs: AttemptInputs,
    staged: StagedLeft,
    told_left_behind: bool,
    lent: Option<RawFd>,
    could_not: Option<String>,
    begun_ms: u64,
    begun_at: SystemTime,
    launched_ms: u64,
    first_line_ms: Option<u64>,
}

/// What is ready for the next program: whoever has this starts it.
#[derive(Debug)]
pub struct Handover {
    program: PathBuf,
    memory: OwnedFd,
    /// What the memory names.
    fds: Vec<OwnedFd>,
}

impl Handover {
    /// The program that is to be started in the place of this one.
    pub fn program(&self) -> PathBuf {
        self.program.clone()
    }

    /// Leaves all descriptors open for the next program, which is told the number that comes back. If it cannot be started,
    /// [`Taken::take`] takes all back.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn leave_open(self) -> io::Result<RawFd> {
        for fd in self.fds.iter().chain([&self.memory]) {
            fcntl_setfd(fd, FdFlags::empty())?;
        }
        for fd in self.fds {
            let _left = fd.into_raw_fd();
        }
        Ok(self.memory.into_raw_fd())
    }
}

/// What the program before this one in its process has left.
#[derive(Debug)]
pub struct Taken {
    left: Left,
    memory: OwnedFd,
    fds: BTreeMap<RawFd, OwnedFd>,
    blamed: Option<String>,
}

impl Taken {
    /// Takes what was left under that number.
    ///
    /// # Errors
    /// When there is nothing under it that this release can read.
    pub fn take(number: RawFd) -> Result<Self, NodeError> {
        let failed = |error: &dyn std::fmt::Display| {
            NodeError::Upgrade(format!("what the program before this one left cannot be taken: {error}"))
        };
        let memory = manta_sandbox::inherited(number).map_err(|error| failed(&error))?;
        let mut file = File::from(memory);
        let mut text = Vec::new();
        file.rewind().and_then(|()| file.read_to_end(&mut text)).map_err(|error| failed(&error))?;
        let left: Left = serde_json::from_slice(&text).map_err(|error| failed(&error))?;
        if left.handover != HANDOVER {
            return Err(failed(&format!("it is of form {}, and this release reads {HANDOVER}", left.handover)));
        }
        let mut fds = BTreeMap::new();
        for number in left.numbers() {
            fds.insert(number, manta_sandbox::inherited(number).map_err(|error| failed(&error))?);
        }
        Ok(Self { left, memory: file.into(), fds, blamed: None })
    }

    /// Notes why the program that was to go on with it did not, which people are told.
    pub fn blame(&mut self, why: String) {
        self.blamed = Some(why);
    }

    /// Why another program did not go on with it.
    pub(crate) fn blamed(&self) -> Option<&str> {
        self.blamed.as_deref()
    }

    /// The release that left it.
    pub fn from(&self) -> &str {
        &self.left.from
    }

    /// Leaves all open again for the program that left it, because this one cannot go on: how that is started, and the number that it
    /// is to be told.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn give_back(self) -> io::Result<(OwnProgram, RawFd)> {
        let program = PathBuf::from(format!("/proc/self/fd/{}", self.left.program));
        let handover = Handover { program, memory: self.memory, fds: self.fds.into_values().collect() };
        let before = OwnProgram { file: handover.program(), arguments: self.left.arguments };
        Ok((before, handover.leave_open()?))
    }

    /// The lock of the data directory.
    pub(crate) fn lock(&self) -> io::Result<OwnedFd> {
        let lock = self.fds.get(&self.left.lock).ok_or_else(|| io::Error::other("its lock was not left"))?;
        lock.try_clone()
    }

    /// What of the data directory its tasks use.
    pub(crate) fn in_use(&self) -> InUse {
        let attempts = &self.left.attempts;
        let running = attempts.iter().filter_map(|left| Some((left, left.running.as_ref()?)));
        let (bundles, layers) = running.map(|(left, running)| (left.order.bundle, running.prepared.layer)).unzip();
        let layers: Vec<Option<Digest>> = layers;
        let layers = layers.into_iter().flatten().collect();
        InUse { bundles, layers, runtimes: self.left.runtimes.clone(), cut_for: self.left.cut_for() }
    }

    /// Goes on with it: the attempts, the generation, and how many run.
    ///
    /// # Errors
    /// When a descriptor is not what it should be. What cannot be taken over is ended.
    pub(crate) async fn go_on(mut self, node: &Node) -> Result<(Vec<Parted>, Option<u64>), NodeError> {
        let failed =
            |error: &dyn std::fmt::Display| NodeError::Upgrade(format!("attempts cannot be taken over: {error}"));
        let gap = Duration::from_millis(now_ms().saturating_sub(self.left.at_ms));
        let mut launchers = Vec::new();
        for (place, launcher) in self.left.launchers.iter().enumerate() {
            let here = self.left.attempts.iter().filter_map(|left| left.running.as_ref());
            let sandboxes: Vec<String> = here
                .filter(|running| running.launcher == place && running.exit.is_none())
                .map(|r| r.sandbox.clone())
                .collect();
            let socket = self.fds.remove(&launcher.socket).ok_or_else(|| failed(&"a launcher is missing"))?;
            let parted = manta_sandbox::Parted { pid: launcher.pid, socket };
            let (launcher, exits) = Launcher::take_over(parted, &sandboxes).map_err(|error| failed(&error))?;
            let exits: BTreeMap<String, oneshot::Receiver<Exit>> = sandboxes.into_iter().zip(exits).collect();
            launchers.push((Arc::new(launcher) as Arc<dyn Engine>, exits));
        }
        let mut parted = Vec::new();
        for AttemptLeft { attempt, order, offered_ms, running } in std::mem::take(&mut self.left.attempts) {
            let offered = ago(offered_ms, gap);
            let left = match running {
                None => None,
                Some(running) => {
                    let phase = running.phase;
                    let left = running.take_over(node, &mut self.fds, &mut launchers, (offered, gap)).await;
                    Some((phase, Box::new(left.map_err(|error| failed(&error))?)))
                }
            };
            parted.push(Parted { attempt, order, offered, left });
        }
        node.outbox.put_lines(std::mem::take(&mut self.left.lines));
        Ok((parted, self.left.generation))
    }
}

/// What of a data directory is in use by tasks that outlived their agent, and for how long there was no session.
#[derive(Debug, Default)]
pub(crate) struct InUse {
    pub(crate) bundles: BTreeSet<Digest>,
    pub(crate) layers: BTreeSet<Digest>,
    pub(crate) runtimes: BTreeSet<String>,
    pub(crate) cut_for: Duration,
}

impl Left {
    fn cut_for(&self) -> Duration {
        Duration::from_millis(self.cut_ms.saturating_add(now_ms().saturating_sub(self.at_ms)))
    }

    /// Every descriptor that is named.
    fn numbers(&self) -> BTreeSet<RawFd> {
        let launchers = self.launchers.iter().map(|launcher| launcher.socket);
        let running = self.attempts.iter().filter_map(|left| left.running.as_ref());
        let of_attempts = running.flat_map(|running| {
            let outputs = [&running.stdout, &running.stderr].map(|output| output.as_ref().map(|(fd, _)| *fd));
            [running.channel, running.lent].into_iter().chain(outputs).flatten()
        });
        [self.lock, self.program].into_iter().chain(launchers).chain(of_attempts).collect()
    }
}

/// Collects what is left, and the descriptors that it names.
#[derive(Default)]
struct Packing {
    fds: Vec<OwnedFd>,
    engines: Vec<Arc<dyn Engine>>,
    launchers: Vec<LauncherLeft>,
}

impl Packing {
    fn keep(&mut self, fd: OwnedFd) -> RawFd {
        self.fds.push(fd);
        self.fds.last().map_or(-1, AsRawFd::as_raw_fd)
    }

    /// The place of a launcher among those that are left; nothing where it is gone.
    fn launcher(&mut self, engine: &Arc<dyn Engine>) -> Option<usize> {
        if let Some(place) = self.engines.iter().position(|known| Arc::ptr_eq(known, engine)) {
            return Some(place);
        }
        let manta_sandbox::Parted { pid, socket } = engine.part()?;
        let socket = self.keep(socket);
        self.engines.push(Arc::clone(engine));
        self.launchers.push(LauncherLeft { pid, socket });
        Some(self.launchers.len() - 1)
    }

    /// An attempt whose task runs; nothing where its launcher is gone, and it with it.
    fn running(&mut self, phase: Phase, left: LeftAttempt) -> io::Result<Option<RunningLeft>> {
        let LeftAttempt { underway, prepared, log, timings, asked: _ } = left;
        let Underway { hold, channel, stdout, stderr, inputs, said, since } = underway;
        let LeftRunning { engine, id: sandbox, start, is_program, mut exit } = hold.leave();
        let Some(launcher) = self.launcher(&engine) else { return Ok(None) };
        // Nobody hears the launcher any more: what was heard is there.
        let exit = exit.try_recv().ok();
        let Said { staged, told_left_behind, lent, could_not } = said;
        let lent = lent.map(|lent| lent.try_clone()).transpose()?;
        let mut output = |output: Option<Output>| {
            let Some(Output { pipe, begun }) = output else { return Ok(None) };
            Ok::<_, io::Error>(Some((self.keep(pipe.into_nonblocking_fd()?), begun)))
        };
        let (stdout, stderr) = (output(stdout)?, output(stderr)?);
        Ok(Some(RunningLeft {
            phase,
            prepared,
            log,
            timings,
            launcher,
            sandbox,
            start,
            is_program,
            exit,
            channel: channel.map(Channel::into_fd).transpose()?.map(|fd| self.keep(fd)),
            stdout,
            stderr,
            inputs,
            staged: staged.hand_over(),
            told_left_behind,
            lent: lent.map(|lent| self.keep(lent)),
            could_not,
            begun_ms: ms(since.begun.elapsed()),
            begun_at: since.begun_at,
            launched_ms: ms(since.launched.elapsed()),
            first_line_ms: since.first_line.map(|first| ms(first.elapsed())),
        }))
    }
}

/// What is left beside attempts.
pub(crate) struct Rest {
    /// The program that is to come.
    pub(crate) program: PathBuf,
    /// What this one was started with.
    pub(crate) arguments: Vec<OsString>,
    /// The lock of the data directory.
    pub(crate) lock: OwnedFd,
    pub(crate) generation: Option<u64>,
    pub(crate) lines: Vec<LogLine>,
    pub(crate) cut_for: Duration,
    pub(crate) runtimes: BTreeSet<String>,
}

/// Makes all that is left ready for the next program. Blocks for moments.
pub(crate) fn pack(parted: Vec<Parted>, rest: Rest) -> io::Result<Handover> {
    let mut packing = Packing::default();
    let Rest { program, arguments, lock, generation, lines, cut_for, runtimes } = rest;
    let mut attempts = Vec::new();
    for Parted { attempt, order, offered, left } in parted {
        let running = match left {
            None => None,
            Some((phase, left)) => match packing.running(phase, *left)? {
                Some(running) => Some(running),
                // It ended with its launcher, and is lost to the manager as well.
                None => continue,
            },
        };
        attempts.push(AttemptLeft { attempt, order, offered_ms: ms(offered.elapsed()), running });
    }
    let left = Left {
        handover: HANDOVER,
        from: PRODUCT.to_owned(),
        at_ms: now_ms(),
        lock: packing.keep(lock),
        program: packing.keep(File::open("/proc/self/exe")?.into()),
        arguments,
        launchers: packing.launchers,
        attempts,
        generation,
        lines,
        cut_ms: ms(cut_for),
        runtimes,
    };
    let mut memory = File::from(memfd_create("manta-handover", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    memory.write_all(&serde_json::to_vec(&left)?)?;
    fcntl_add_seals(&memory, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(Handover { program, memory: memory.into(), fds: packing.fds })
}

type Launchers = [(Arc<dyn Engine>, BTreeMap<String, oneshot::Receiver<Exit>>)];

impl RunningLeft {
    async fn take_over(
        self,
        node: &Node,
        fds: &mut BTreeMap<RawFd, OwnedFd>,
        launchers: &mut Launchers,
        (asked, gap): (Instant, Duration),
    ) -> io::Result<LeftAttempt> {
        let mut fd = |number: RawFd| fds.remove(&number).ok_or_else(|| io::Error::other("a descriptor was not left"));
        let (engine, exits) =
            launchers.get_mut(self.launcher).ok_or_else(|| io::Error::other("a launcher was not left"))?;
        let exit = match self.exit {
            Some(exit) => {
                let (tell, told) = oneshot::channel();
                // The other end is in the line above.
                let _ = tell.send(exit);
                told
            }
            None => exits.remove(&self.sandbox).ok_or_else(|| io::Error::other("a sandbox was not left"))?,
        };
        let channel = self.channel.map(&mut fd).transpose()?.map(Channel::take_over).transpose()?;
        let mut output = |output: Option<(RawFd, Lines)>| {
            let Some((number, begun)) = output else { return Ok(None) };
            Ok::<_, io::Error>(Some(Output { pipe: Receiver::from_owned_fd(fd(number)?)?, begun }))
        };
        let (stdout, stderr) = (output(self.stdout)?, output(self.stderr)?);
        let lent = self.lent.map(fd).transpose()?.map(Arc::new);
        let staged = Staged::take_over(self.staged, &node.values).await.map_err(io::Error::other)?;
        let said = Said { staged, told_left_behind: self.told_left_behind, lent, could_not: self.could_not };
        let (engine, id, start, is_program) = (Arc::clone(engine), self.sandbox, self.start, self.is_program);
        let hold = Hold::take_over(LeftRunning { engine, id, start, is_program, exit });
        let since = Since {
            begun: ago(self.begun_ms, gap),
            begun_at: self.begun_at,
            launched: ago(self.launched_ms, gap),
            first_line: self.first_line_ms.map(|first| ago(first, gap)),
        };
        let underway = Underway { hold, channel, stdout, stderr, inputs: self.inputs, said, since };
        Ok(LeftAttempt { underway, prepared: self.prepared, log: self.log, asked, timings: self.timings })
    }
}

/// So long before the other program wrote it down.
fn ago(before_ms: u64, gap: Duration) -> Instant {
    let now = Instant::now();
    now.checked_sub(Duration::from_millis(before_ms) + gap).unwrap_or(now)
}

/// Milliseconds of the clock that goes on from program to program.
fn now_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let (seconds, nanos) = (u64::try_from(now.tv_sec).unwrap_or(0), u64::try_from(now.tv_nsec).unwrap_or(0));
    seconds * 1000 + nanos / 1_000_000
}
