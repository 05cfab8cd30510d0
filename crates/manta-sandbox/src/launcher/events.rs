//! The launcher's loop: requests in, sandboxes made and watched, events out; the end of the socket ends everything.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::alarms::Alarms;
use super::locks::Locks;
use super::protocol::{self, Event, MESSAGE_BYTES_MAX, Request, START_FDS};
use super::scratch::Scratch;
use super::start::Starter;
use super::task::{ALARM_AFTER, Task};
use super::warm::Pool;
use super::{probe, retry_briefly};
use crate::cgroup::Group;
use crate::{SandboxSpec, Start, StartError, StartWay, sys};

/// How often memory groups of v1 are looked at, and groups that would not go are tried again.
const TICK: Duration = Duration::from_millis(100);

/// How often it is looked whether what waits for tasks is worn, has fallen, or takes memory that the host needs.
const POOL_TICK: Duration = Duration::from_secs(2);

/// How long a start waits at most for a zygote that is importing; then it is a cold one, which imports the same itself.
const IMPORT_MAX: Duration = Duration::from_secs(30);

/// How long the launcher waits for killed tasks when it ends itself.
const END_MAX: Duration = Duration::from_secs(10);

/// Runs the launcher on the control socket that is its standard input, until that closes. Never returns.
///
/// Call it first thing in the process that [`crate::Launcher::spawn`] starts, before any thread is made.
pub fn launcher_main() -> ! {
    // A terminal's Ctrl-C and a service manager's stop are for the agent, which closes the socket when it is done.
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT, libc::SIGPIPE] {
        sys::ignore_signal(signal);
    }
    // It fails only for a leader of a process group, which has no terminal to lose then.
    let _ = rustix::process::setsid();
    let code = match Server::open() {
        Ok(mut server) => {
            let result = server.serve();
            server.end();
            i32::from(result.is_err())
        }
        Err(_) => 1,
    };
    std::process::exit(code)
}

/// A start that waits for its zygote.
struct Waiting {
    spec: SandboxSpec,
    fds: Vec<OwnedFd>,
    since: Instant,
}

struct Server {
    control: OwnedFd,
    starter: Starter,
    alarms: Alarms,
    locks: Locks,
    tasks: BTreeMap<String, Task>,
    waiting: Vec<Waiting>,
    pool: Pool,
    /// Questions after what is ready that wait for their answer.
    warmth_asked: u32,
    /// Whether nothing is kept for tasks that may come.
    is_tidy: bool,
    /// Groups of ended tasks in which a process had not quite gone.
    leftovers: Vec<Group>,
}

impl Server {
    fn open() -> io::Result<Self> {
        sys::close_from(3)?;
        let control = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)?;
        let null = std::fs::File::open("/dev/null")?;
        sys::place_fd(null.as_fd(), 0)?;
        Scratch::sweep();
        Ok(Self {
            control,
            alarms: Alarms::start()?,
            locks: Locks::start()?,
            starter: Starter::new(),
            tasks: BTreeMap::new(),
            waiting: Vec::new(),
            pool: Pool::default(),
            warmth_asked: 0,
            is_tidy: true,
            leftovers: Vec::new(),
        })
    }

    /// Serves until the agent closes the socket or breaks the protocol.
    fn serve(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; MESSAGE_BYTES_MAX];
        loop {
            if self.wait()? {
                match protocol::receive::<Request>(&self.control, &mut buffer)? {
                    Some((request, fds)) => self.answer(request, fds)?,
                    None => return Ok(()),
                }
            }
            self.start_waiting()?;
            self.tasks.values_mut().for_each(Task::kill_if_out_of_memory);
            self.set_alarms();
            self.tasks.values_mut().for_each(Task::warn_if_nearly_out_of_memory);
            self.end_holders_of_locks()?;
            self.leftovers.append(&mut self.pool.advance(&mut self.starter));
            if self.pool.is_settled() {
                for _ in 0..std::mem::take(&mut self.warmth_asked) {
                    self.tell(&Event::Warmth(self.pool.warmth()))?;
                }
            }
            self.leftovers.retain(|group| !group.remove());
            for (id, exit) in self.take_ended() {
                self.tell(&Event::Exited { id, exit })?;
            }
            self.is_tidy = self.starter.tidy();
        }
    }

    /// Sleeps until something happens; true if a request waits.
    fn wait(&self) -> io::Result<bool> {
        let mut fds = vec![PollFd::new(&self.control, PollFlags::IN)];
        fds.push(PollFd::from_borrowed_fd(self.locks.fd(), PollFlags::IN));
        fds.extend(self.tasks.values().map(|task| PollFd::from_borrowed_fd(task.pidfd(), PollFlags::IN)));
        fds.extend(self.pool.fds().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        let thresholds = self.tasks.values().filter_map(|task| task.group.threshold());
        fds.extend(thresholds.map(|threshold| PollFd::from_borrowed_fd(threshold, PollFlags::IN)));
        let timeout = self.timeout().map(|timeout| Timespec::try_from(timeout).expect("some seconds fit"));
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => Ok(!fds[0].revents().is_empty()),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// How long nothing need happen until it is time to look; `None` if only what happens counts.
    fn timeout(&self) -> Option<Duration> {
        let mut tasks = self.tasks.values();
        let is_ticking = !self.leftovers.is_empty() || !self.is_tidy || tasks.any(|task| task.group.needs_watching());
        let waits = [
            self.pool.rest(),
            self.tasks.values().any(Task::needs_alarm).then_some(ALARM_AFTER),
            is_ticking.then_some(TICK),
            self.tasks.values().filter_map(Task::look_in).min(),
            self.pool.needs_watching().then_some(POOL_TICK),
            self.locks.rest().filter(|_| !self.tasks.is_empty()),
        ];
        waits.into_iter().flatten().min()
    }

    /// Has the kernel asked to tell at once when a task comes near its memory limit.
    fn set_alarms(&mut self) {
        for task in self.tasks.values_mut() {
            if task.is_due_for_alarm()
                && let Some(alarm) = task.group.alarm()
            {
                self.alarms.set(&alarm);
            }
        }
    }

    /// Ends the tasks that hold more locks than they may.
    fn end_holders_of_locks(&mut self) -> io::Result<()> {
        let excessive = self.locks.hear()?;
        self.tasks.values_mut().filter(|task| excessive.contains(&task.root())).for_each(Task::kill_for_its_locks);
        self.locks.ask(self.tasks.values().map(Task::root))
    }

    fn answer(&mut self, request: Request, fds: Vec<OwnedFd>) -> io::Result<()> {
        match request {
            Request::Start(spec) => {
                self.waiting.push(Waiting { spec: *spec, fds, since: Instant::now() });
                Ok(())
            }
            Request::KeepWarm(template) => {
                self.pool.keep(&mut self.starter, *template);
                Ok(())
            }
            Request::LetGo { template } => {
                self.pool.let_go(&template);
                Ok(())
            }
            Request::Kill { id } => {
                if let Some(task) = self.tasks.get_mut(&id) {
                    task.kill();
                }
                let ended = self.waiting.extract_if(.., |waiting| waiting.spec.id == id).collect::<Vec<_>>();
                ended.into_iter().try_for_each(|Waiting { spec, .. }| {
                    let result = Err(StartError::step("wait for its zygote", "it was ended"));
                    self.tell(&Event::Started { id: spec.id, result })
                })
            }
            Request::Probe => {
                let report = probe::probe(&mut self.starter);
                self.tell(&Event::Probed(report))
            }
            Request::Warmth => {
                self.warmth_asked += 1;
                Ok(())
            }
            Request::CheckMount { source } => {
                let result = self.starter.check_mount(&source);
                self.tell(&Event::MountChecked(result))
            }
        }
    }

    /// Starts what has nothing more to wait for: a task whose zygote is importing would import the same beside it if it did not wait.
    fn start_waiting(&mut self) -> io::Result<()> {
        let pool = &mut self.pool;
        let due = self.waiting.extract_if(.., |Waiting { spec, since, .. }| {
            let imports = spec.template.as_deref().is_some_and(|template| pool.is_importing(template));
            !imports || since.elapsed() >= IMPORT_MAX
        });
        for Waiting { spec, fds, .. } in due.collect::<Vec<_>>() {
            let result = self.start(&spec, fds);
            let id = spec.id;
            self.tell(&Event::Started { id: id.clone(), result })?;
            // Told first: the agent wakes up beside the task, which asks it before anything else.
            if let Some(task) = self.tasks.get_mut(&id) {
                task.let_go();
            }
        }
        Ok(())
    }

    fn start(&mut self, spec: &SandboxSpec, fds: Vec<OwnedFd>) -> Result<Start, StartError> {
        let fds: [OwnedFd; START_FDS] = fds
            .try_into()
            .map_err(|_| StartError::Spec { problem: format!("{START_FDS} descriptors must come with it") })?;
        if self.tasks.contains_key(&spec.id) {
            return Err(StartError::Spec { problem: format!("a sandbox named `{}` is running already", spec.id) });
        }
        spec.check()?;
        let warm = spec.template.is_some().then(|| self.pool.start(&mut self.starter, spec, &fds));
        let (task, start) = match warm {
            Some(Ok(started)) => started,
            Some(Err(why)) => (self.starter.start(spec, fds)?, Start { way: StartWay::Cold, instead: Some(why) }),
            None => (self.starter.start(spec, fds)?, Start { way: StartWay::Cold, instead: None }),
        };
        self.tasks.insert(spec.id.clone(), task);
        Ok(start)
    }

    /// Takes out the tasks that have ended and gives back what they held.
    fn take_ended(&mut self) -> Vec<(String, crate::Exit)> {
        let ended: Vec<(String, crate::Exit)> =
            self.tasks.iter().filter_map(|(id, task)| Some((id.clone(), task.poll_exit()?))).collect();
        for (id, _) in &ended {
            let task = self.tasks.remove(id).expect("it was found a moment ago");
            if !task.group.remove() {
                self.leftovers.push(task.group);
            }
        }
        ended
    }

    fn tell(&self, event: &Event) -> io::Result<()> {
        let message = serde_json::to_vec(event).map_err(io::Error::other)?;
        protocol::send(&self.control, &message, &[])
    }

    /// Ends every task and removes everything that was made for them.
    fn end(mut self) {
        let deadline = Instant::now() + END_MAX;
        self.tasks.values_mut().for_each(Task::kill);
        self.pool.end();
        while !(self.tasks.is_empty() && self.pool.is_empty()) && Instant::now() < deadline {
            let pidfds = self.tasks.values().map(Task::pidfd).chain(self.pool.fds());
            let mut fds: Vec<_> = pidfds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
            let timeout = Timespec::try_from(TICK).expect("a tenth of a second fits");
            // An interrupted or failed wait only makes the next look come sooner.
            let _ = poll(&mut fds, Some(&timeout));
            drop(fds);
            self.take_ended();
            self.leftovers.append(&mut self.pool.advance(&mut self.starter));
        }
        for group in &self.leftovers {
            retry_briefly(|| group.remove());
        }
        self.starter.end();
    }
}
