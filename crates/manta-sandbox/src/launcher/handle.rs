//! The agent's side of the launcher: starts it, asks it, and hears from it on a thread of its own.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType, shutdown, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Resource, Rlimit, WaitOptions, getrlimit, setrlimit, waitpid};
use tokio::sync::oneshot;

use super::part::Parted;
use super::protocol::{self, Event, MESSAGE_BYTES_MAX, Request};
use crate::{Exit, HostReport, SandboxError, SandboxSpec, Start, StartError, Template, Warmth};

/// A running launcher process. Dropping it ends every sandbox and waits until the launcher has cleaned up.
#[derive(Debug)]
pub struct Launcher {
    pub(super) pid: u32,
    pub(super) socket: Arc<OwnedFd>,
    pub(super) waiting: Arc<Mutex<Waiting>>,
    pub(super) reader: Mutex<Option<Reader>>,
}

/// The thread that hears the launcher; it lets go of the socket when the pipe is closed.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(super) thread: JoinHandle<()>,
    pub(super) hold: OwnedFd,
}

impl Reader {
    /// Waits until the launcher that was told to end is gone.
    pub(crate) fn join(self) -> std::thread::Result<()> {
        let Self { thread, hold } = self;
        let ended = thread.join();
        // Not before: the thread would leave the launcher as it is.
        drop(hold);
        ended
    }
}

/// A sandbox that was started.
#[derive(Debug)]
pub struct Running {
    /// The spec's id.
    pub id: String,
    /// How it was started.
    pub start: Start,
    /// Receives once how the sandbox ended. If the launcher dies, that is [`crate::ExitHow::Lost`].
    pub exit: oneshot::Receiver<Exit>,
}

/// A sandbox that was asked for.
struct Asked {
    id: String,
    started: oneshot::Receiver<Result<Start, StartError>>,
    exit: oneshot::Receiver<Exit>,
}

/// Who waits for which event.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub(super) gone: bool,
    pub(super) sandboxes: HashMap<String, Sandbox>,
    probes: VecDeque<oneshot::Sender<HostReport>>,
    warmths: VecDeque<oneshot::Sender<Vec<Warmth>>>,
    checks: VecDeque<oneshot::Sender<Result<(), StartError>>>,
    /// Names of all that was ever to be kept warm.
    pub(super) templates: BTreeSet<String>,
}

#[derive(Debug)]
pub(super) struct Sandbox {
    pub(super) started: Option<oneshot::Sender<Result<Start, StartError>>>,
    pub(super) exit: oneshot::Sender<Exit>,
}

/// Descriptors on their way through sockets count for the whole user, up to the limit on open files of whoever sends more (unix(7)): a
/// task that runs as the agent's user must not use up what the agent may send.
fn raise_open_files() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    // To one's own hard limit everybody may go.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

impl Launcher {
    /// Starts `exe args…`, which must call [`crate::launcher_main`], with its control socket as standard input.
    ///
    /// Call it before making threads. The launcher gets an empty environment but for `TMPDIR`, and its standard error. This process and
    /// the launcher may have as many open files from here on as their hard limit lets them.
    ///
    /// # Errors
    /// [`SandboxError::Spawn`] if the program cannot be started.
    pub fn spawn(exe: &Path, args: &[&str]) -> Result<Self, SandboxError> {
        let failed = |source| SandboxError::Spawn { exe: exe.to_owned(), source };
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(|error| failed(error.into()))?;
        protocol::make_room(&ours).map_err(failed)?;
        protocol::make_room(&theirs).map_err(failed)?;
        raise_open_files();
        let mut command = Command::new(exe);
        command.args(args).env_clear().stdin(theirs).stdout(Stdio::null()).current_dir("/");
        if let Some(dir) = std::env::var_os("TMPDIR") {
            command.env("TMPDIR", dir);
        }
        let process = command.spawn().map_err(failed)?;
        let pid = process.id();
        // It holds a copy of the launcher's end of the socket.
        drop(command);
        Self::hear(Parted { pid, socket: ours }, Waiting::default()).map_err(failed)
    }

    /// Hears a launcher on a thread of its own.
    pub(super) fn hear(parted: Parted, waiting: Waiting) -> io::Result<Self> {
        let Parted { pid, socket } = parted;
        let (socket, waiting) = (Arc::new(socket), Arc::new(Mutex::new(waiting)));
        let (held, hold) = pipe_with(PipeFlags::CLOEXEC)?;
        let thread = std::thread::Builder::new().name("launcher-events".to_owned()).spawn({
            let (socket, waiting) = (Arc::clone(&socket), Arc::clone(&waiting));
            move || read_events(&socket, &held, &waiting, pid)
        })?;
        Ok(Self { pid, socket, waiting, reader: Mutex::new(Some(Reader { thread, hold })) })
    }

    /// The launcher's process id.
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// Finds out what the host can enforce, by really starting trivial sandboxes; takes some tens of milliseconds.
    ///
    /// # Errors
    /// [`SandboxError::LauncherGone`].
    pub async fn probe(&self) -> Result<HostReport, SandboxError> {
        self.ask_probe()?.await.map_err(|_| SandboxError::LauncherGone)
    }

    /// [`Launcher::probe`] for threads outside an async runtime.
    ///
    /// # Errors
    /// As [`Launcher::probe`].
    pub fn probe_blocking(&self) -> Result<HostReport, SandboxError> {
        self.ask_probe()?.blocking_recv().map_err(|_| SandboxError::LauncherGone)
    }

    /// Finds out whether a task could be given `source` with [`crate::MountAccess::Owner`], as for a dataset.
    ///
    /// # Errors
    /// [`SandboxError::Start`] names the path, its mode and what would help.
    pub async fn check_mount(&self, source: &Path) -> Result<(), SandboxError> {
        Ok(self.ask_check(source)?.await.map_err(|_| SandboxError::LauncherGone)??)
    }

    /// [`Launcher::check_mount`] for threads outside an async runtime.
    ///
    /// # Errors
    /// As [`Launcher::check_mount`].
    pub fn check_mount_blocking(&self, source: &Path) -> Result<(), SandboxError> {
        Ok(self.ask_check(source)?.blocking_recv().map_err(|_| SandboxError::LauncherGone)??)
    }

    /// Starts a sandbox; returns when its program has been entered.
    ///
    /// `light` becomes descriptor 3 of the task, `stdout` and `stderr` its 1 and 2; 0 is `/dev/null`. A sandbox goes on when the future
    /// or the [`Running`] is dropped: only its own end, [`Launcher::kill`] or the end of the launcher ends it.
    ///
    /// # Errors
    /// [`SandboxError::Start`] tells which step failed and why; nothing is left of the sandbox then.
    pub async fn start(
        &self,
        spec: SandboxSpec,
        light: OwnedFd,
        stdout: OwnedFd,
        stderr: OwnedFd,
    ) -> Result<Running, SandboxError> {
        let Asked { id, started, exit } = self.ask_start(spec, [light, stdout, stderr])?;
        let start = started.await.map_err(|_| SandboxError::LauncherGone)??;
        Ok(Running { id, start, exit })
    }

    /// [`Launcher::start`] for threads outside an async runtime.
    ///
    /// # Errors
    /// As [`Launcher::start`].
    pub fn start_blocking(
        &self,
        spec: SandboxSpec,
        light: OwnedFd,
        stdout: OwnedFd,
        stderr: OwnedFd,
    ) -> Result<Running, SandboxError> {
        let Asked { id, started, exit } = self.ask_start(spec, [light, stdout, stderr])?;
        let start = started.blocking_recv().map_err(|_| SandboxError::LauncherGone)??;
        Ok(Running { id, start, exit })
    }

    /// Ends a sandbox and every process in it; its exit arrives as usual. Unknown ids are ignored.
    pub fn kill(&self, id: &str) {
        // A launcher that is gone has ended everything already.
        let _ = self.send(&Request::Kill { id: id.to_owned() }, &[]);
    }

    /// Ends every sandbox and the launcher, and waits until nothing of them is left.
    pub fn shutdown(self) {
        drop(self);
    }

    /// Makes ready, in the background, what sandboxes can be started from that name the template; one of the same name is replaced.
    ///
    /// It needs [`crate::Tier::Full`]. Until it is ready, and where it cannot be made, such sandboxes are started cold, and
    /// [`Start::instead`] says why.
    ///
    /// # Errors
    /// [`SandboxError::LauncherGone`], or a template that no launcher can be told.
    pub fn keep_warm(&self, template: Template) -> Result<(), SandboxError> {
        template.check()?;
        lock(&self.waiting).templates.insert(template.name.clone());
        self.send(&Request::KeepWarm(Box::new(template)), &[])
    }

    /// Ends what was made ready under a template's name; what runs goes on. Unknown names are ignored.
    pub fn let_go(&self, template: &str) {
        // A launcher that is gone has ended everything already.
        let _ = self.send(&Request::LetGo { template: template.to_owned() }, &[]);
    }

    /// What is ready to start sandboxes from, a row for each template; waits until nothing is in the making.
    ///
    /// # Errors
    /// [`SandboxError::LauncherGone`].
    pub async fn warmth(&self) -> Result<Vec<Warmth>, SandboxError> {
        self.ask_warmth()?.await.map_err(|_| SandboxError::LauncherGone)
    }

    /// [`Launcher::warmth`] for threads outside an async runtime.
    ///
    /// # Errors
    /// As [`Launcher::warmth`].
    pub fn warmth_blocking(&self) -> Result<Vec<Warmth>, SandboxError> {
        self.ask_warmth()?.blocking_recv().map_err(|_| SandboxError::LauncherGone)
    }

    /// Whether the launcher has ended.
    pub(crate) fn is_gone(&self) -> bool {
        lock(&self.waiting).gone
    }

    /// Tells the launcher to end; answers, the first time, with the thread that ends after it.
    pub(crate) fn hang_up(&self) -> Option<Reader> {
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        // The launcher may have closed its end already.
        let _ = shutdown(&*self.socket, Shutdown::Both);
        Some(reader)
    }

    fn ask_warmth(&self) -> Result<oneshot::Receiver<Vec<Warmth>>, SandboxError> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.lock_alive()?;
        self.send(&Request::Warmth, &[])?;
        waiting.warmths.push_back(sender);
        Ok(receiver)
    }

    fn ask_probe(&self) -> Result<oneshot::Receiver<HostReport>, SandboxError> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.lock_alive()?;
        // Asked under the lock, so that answers come in the order of the queue.
        self.send(&Request::Probe, &[])?;
        waiting.probes.push_back(sender);
        Ok(receiver)
    }

    fn ask_check(&self, source: &Path) -> Result<oneshot::Receiver<Result<(), StartError>>, SandboxError> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.lock_alive()?;
        self.send(&Request::CheckMount { source: source.to_owned() }, &[])?;
        waiting.checks.push_back(sender);
        Ok(receiver)
    }

    fn ask_start(&self, spec: SandboxSpec, fds: [OwnedFd; 3]) -> Result<Asked, SandboxError> {
        let id = spec.id.clone();
        let (started, start) = oneshot::channel();
        let (exited, exit) = oneshot::channel();
        let mut waiting = self.lock_alive()?;
        if waiting.sandboxes.contains_key(&id) {
            return Err(SandboxError::Duplicate { id });
        }
        self.send(&Request::Start(Box::new(spec)), &fds)?;
        waiting.sandboxes.insert(id.clone(), Sandbox { started: Some(started), exit: exited });
        Ok(Asked { id, started: start, exit })
    }

    fn lock_alive(&self) -> Result<MutexGuard<'_, Waiting>, SandboxError> {
        let waiting = lock(&self.waiting);
        if waiting.gone { Err(SandboxError::LauncherGone) } else { Ok(waiting) }
    }

    fn send(&self, request: &Request, fds: &[OwnedFd]) -> Result<(), SandboxError> {
        let message = serde_json::to_vec(request).map_err(SandboxError::Encode)?;
        if message.len() > MESSAGE_BYTES_MAX {
            return Err(SandboxError::TooLarge { bytes: message.len(), max: MESSAGE_BYTES_MAX });
        }
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        protocol::send(&*self.socket, &message, &fds).map_err(|_| SandboxError::LauncherGone)
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        if let Some(reader) = self.hang_up() {
            // A panic of the reader was reported when it happened.
            let _ = reader.join();
        }
    }
}

pub(super) fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hands events to those who wait until the launcher is gone, then tells them that it is. What `held` leads from may be closed
/// before: then the launcher is left as it is.
fn read_events(socket: &OwnedFd, held: &OwnedFd, waiting: &Mutex<Waiting>, pid: u32) {
    let mut buffer = vec![0; MESSAGE_BYTES_MAX];
    loop {
        let mut fds = [PollFd::new(held, PollFlags::IN), PollFd::new(socket, PollFlags::IN)];
        if rustix::io::retry_on_intr(|| poll(&mut fds, None)).is_err() {
            break;
        }
        if !fds[0].revents().is_empty() {
            return;
        }
        match protocol::receive::<Event>(socket, &mut buffer) {
            Ok(Some((event, _fds))) => deliver(&mut lock(waiting), event),
            _ => break,
        }
    }
    // A launcher that broke the protocol must end too. It may have closed its end already.
    let _ = shutdown(socket, Shutdown::Both);
    // It is our child and nobody else waits for it.
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = rustix::io::retry_on_intr(|| waitpid(Some(pid), WaitOptions::empty()));
    }
    let mut waiting = lock(waiting);
    waiting.gone = true;
    waiting.probes.clear();
    waiting.warmths.clear();
    waiting.checks.clear();
    for (_, sandbox) in waiting.sandboxes.drain() {
        // Receivers that were dropped do not care.
        let _ = sandbox.exit.send(Exit::lost());
    }
}

fn deliver(waiting: &mut Waiting, event: Event) {
    // Everywhere here: a receiver that was dropped does not care for its answer.
    match event {
        Event::Started { id, result } => {
            let failed = result.is_err();
            if let Some(started) = waiting.sandboxes.get_mut(&id).and_then(|sandbox| sandbox.started.take()) {
                let _ = started.send(result);
            }
            if failed {
                waiting.sandboxes.remove(&id);
            }
        }
        Event::Exited { id, exit } => {
            if let Some(sandbox) = waiting.sandboxes.remove(&id) {
                let _ = sandbox.exit.send(exit);
            }
        }
        Event::Probed(report) => {
            if let Some(probe) = waiting.probes.pop_front() {
                let _ = probe.send(report);
            }
        }
        Event::Warmth(rows) => {
            if let Some(asker) = waiting.warmths.pop_front() {
                let _ = asker.send(rows);
            }
        }
        Event::MountChecked(result) => {
            if let Some(check) = waiting.checks.pop_front() {
                let _ = check.send(result);
            }
        }
    }
}
