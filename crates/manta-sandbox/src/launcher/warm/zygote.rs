//! One zygote: started in the background, asked for children, and started again after it ended.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::RecvFlags;
use serde::Deserialize;

use super::memory::Free;
use super::process::{CHILDREN_MAX, Process, late_mounts, launch};
use super::slot::{Purpose, Slot};
use crate::launcher::protocol::{self, START_FDS};
use crate::launcher::start::Starter;
use crate::launcher::task::Task;
use crate::{SandboxSpec, Start, StartWay, Template, Warmth};

/// How long a zygote that ended, or could not be started, is left alone; twice as long each time that it did not get up.
const PAUSE: Duration = Duration::from_secs(10);
/// How often that is doubled.
const DOUBLINGS_MAX: u32 = 6;

/// How long after one of its children became a task none is made in its place: a task that begins needs the processors.
const REST: Duration = Duration::from_millis(10);

/// How long a child that is waited for may take.
const FORK_MAX: Duration = Duration::from_secs(10);

/// Why there is no warm start yet.
const IMPORTING: &str = "its zygote is still importing the image's packages";

/// Why there is none any more.
const ENDED: &str = "its process ended";

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
    /// When its process was started.
    born: Instant,
    /// Children that its process was asked for.
    forks: u32,
    /// When it was last of use to somebody.
    used: Instant,
    /// Since when one of those that should wait is missing.
    taken: Option<Instant>,
    /// How often in a row it did not get up.
    falls: u32,
}

enum State {
    Down { why: String, since: Instant },
    Importing(Process),
    Up(Process),
}

impl Zygote {
    /// Starts one in the background.
    pub(super) fn start(starter: &mut Starter, template: Template) -> Self {
        let now = Instant::now();
        let mut zygote = Self {
            template,
            state: State::Down { why: String::new(), since: now },
            slots: Vec::new(),
            ended: Vec::new(),
            trouble: None,
            born: now,
            forks: 0,
            used: now,
            taken: None,
            falls: 0,
        };
        zygote.launch(starter);
        zygote
    }

    pub(super) fn template(&self) -> &Template {
        &self.template
    }

    /// When it was last of use to somebody.
    pub(super) fn used(&self) -> Instant {
        self.used
    }

    /// Whether it can fork.
    pub(super) fn is_up(&self) -> bool {
        matches!(self.state, State::Up(_))
    }

    /// Whether it is on its way up, and did not fall the last time.
    pub(super) fn is_importing(&mut self) -> bool {
        self.hear();
        self.falls == 0 && matches!(self.state, State::Importing(_))
    }

    /// Whether it is not there, and is started again only after a pause.
    pub(super) fn is_down(&self) -> bool {
        matches!(self.state, State::Down { .. })
    }

    /// Whether another one should take its place: what it forks shares its layout, which should not be guessed at for ever.
    pub(super) fn is_worn(&self, now: Instant) -> bool {
        let age = now.duration_since(self.born);
        self.is_up()
            && (self.forks >= self.template.forks_max || age >= Duration::from_millis(self.template.age_ms_max))
    }

    /// Whether nobody used it for so long that it should end, and nothing that it forked runs.
    pub(super) fn is_forgotten(&self, now: Instant) -> bool {
        let idle = now.duration_since(self.used);
        self.is_up() && idle >= Duration::from_millis(self.template.idle_ms_max) && self.running() == 0
    }

    /// Children that run a task.
    fn running(&self) -> usize {
        match &self.state {
            State::Importing(process) | State::Up(process) => process.seats.taken().saturating_sub(self.slots.len()),
            State::Down { .. } => 0,
        }
    }

    /// Starts a sandbox from a child that waits, or from one that is forked now.
    pub(super) fn open(
        &mut self,
        starter: &mut Starter,
        spec: &SandboxSpec,
        fds: &[OwnedFd; START_FDS],
    ) -> Result<(Task, Start), String> {
        let late = late_mounts(&self.template, spec)?;
        self.used = Instant::now();
        // None is made to wait now: the one that asked would wait for that.
        self.step();
        let process = match &self.state {
            State::Up(process) => process,
            State::Importing(_) => return Err(IMPORTING.to_owned()),
            State::Down { why, .. } => return Err(format!("its zygote is not there: {why}")),
        };
        loop {
            let waiting = self.slots.iter().position(Slot::is_ready).map(|position| self.slots.swap_remove(position));
            let start = match waiting {
                Some(_) => Start { way: StartWay::Standby, instead: None },
                None => Start { way: StartWay::Fork, instead: Some(self.why_none_waits()) },
            };
            let slot = match waiting {
                Some(slot) => slot,
                None => {
                    let shell = self.slots.iter().position(|slot| slot.is_for(Purpose::Shell));
                    let made = match shell.map(|position| self.slots.swap_remove(position)) {
                        Some(shell) => shell,
                        None => {
                            self.forks = self.forks.saturating_add(1);
                            let made = Slot::begin(starter, process, &self.template, Purpose::Task);
                            made.map_err(|error| error.to_string())?
                        }
                    };
                    wait_for(made, process, &mut self.ended)?
                }
            };
            match slot.admit(starter, &late, spec, fds) {
                Ok(()) => {
                    self.taken.get_or_insert_with(Instant::now);
                    return Ok((slot.into_task(Some(Rc::clone(&process.control))), start));
                }
                Err(error) => {
                    self.ended.push(end_slot(slot));
                    // One that waited may have died a moment ago; the next one need not.
                    if start.way == StartWay::Fork {
                        return Err(error.to_string());
                    }
                }
            }
        }
    }

    fn why_none_waits(&self) -> String {
        match &self.trouble {
            _ if self.template.standbys == 0 => "no standby of its image is kept".to_owned(),
            Some((why, _)) => format!("none of its image was waiting: {why}"),
            None => "none of its image was waiting".to_owned(),
        }
    }

    /// Whether nothing is in the making: all is ready, or hindered.
    pub(super) fn is_settled(&self) -> bool {
        match &self.state {
            State::Importing(_) => false,
            State::Up(_) => {
                self.trouble.is_some() || (self.lacking().is_none() && self.slots.iter().all(Slot::is_done))
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
        Warmth {
            name: self.template.name.clone(),
            zygote: match &self.state {
                State::Up(_) => Ok(()),
                State::Importing(_) => Err(IMPORTING.to_owned()),
                State::Down { why, .. } => Err(why.clone()),
            },
            trouble: self.trouble.as_ref().map(|(why, _)| why.clone()),
            waiting: count(self.slots.iter().filter(|slot| slot.is_ready()).count()),
            running: count(self.running()),
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

    /// Takes every step that needs no waiting; children wait only where that memory is `free`.
    pub(super) fn advance(&mut self, starter: &mut Starter, now: Instant, free: Free) {
        self.step();
        match &self.state {
            State::Down { since, .. } if now.duration_since(*since) >= self.pause() => self.launch(starter),
            State::Up(_) if free.is_less_than(self.template.reserve_bytes) => {
                self.trouble = Some((free.too_little(self.template.reserve_bytes), now));
                self.end_idle();
            }
            State::Up(process) => {
                let Some(purpose) = self.lacking().filter(|_| !self.is_hindered(now) && self.rest(now).is_none())
                else {
                    return;
                };
                self.forks = self.forks.saturating_add(1);
                match Slot::begin(starter, process, &self.template, purpose) {
                    Ok(slot) => {
                        self.slots.push(slot);
                        self.trouble = None;
                        self.taken = self.taken.filter(|_| self.lacking().is_some());
                    }
                    Err(error) => self.trouble = Some((error.to_string(), now)),
                }
            }
            State::Down { .. } | State::Importing(_) => {}
        }
    }

    /// What should be there for tasks that may come, and is not: children that wait, and then one shell.
    fn lacking(&self) -> Option<Purpose> {
        let count = |purpose| self.slots.iter().filter(|slot| slot.is_for(purpose)).count();
        let standbys = (count(Purpose::Standby) < self.wanted()).then_some(Purpose::Standby);
        let has_room = self.running() + self.slots.len() < CHILDREN_MAX;
        let shell = (has_room && count(Purpose::Shell) == 0).then_some(Purpose::Shell);
        standbys.or(shell).filter(|_| self.is_up())
    }

    /// Whether one could not be made a while ago.
    fn is_hindered(&self, now: Instant) -> bool {
        self.trouble.as_ref().is_some_and(|(_, since)| now.duration_since(*since) < PAUSE)
    }

    /// How long to wait until one of them is made; `None` if not for time.
    pub(super) fn rest(&self, now: Instant) -> Option<Duration> {
        let taken = self.taken.filter(|_| self.lacking().is_some() && !self.is_hindered(now))?;
        REST.checked_sub(now.duration_since(taken)).filter(|rest| !rest.is_zero())
    }

    fn pause(&self) -> Duration {
        PAUSE * (1 << self.falls.saturating_sub(1).min(DOUBLINGS_MAX))
    }

    /// Hears what the zygote and those of its children say that become ready.
    fn step(&mut self) {
        self.hear();
        let State::Up(up) = &self.state else { return };
        let control = Rc::clone(&up.control);
        for mut slot in std::mem::take(&mut self.slots) {
            match slot.advance(&control) {
                Ok(()) => self.slots.push(slot),
                Err(error) => {
                    // One that waited has died, which says nothing of the next.
                    if !slot.is_done() {
                        self.trouble = Some((error.to_string(), Instant::now()));
                    }
                    self.ended.push(end_slot(slot));
                }
            }
        }
    }

    /// Ends all that waits; what runs goes on. Called again until nothing is being forked any more.
    pub(super) fn retire(&mut self) -> Vec<Task> {
        self.step();
        self.end_idle();
        self.take_ended()
    }

    /// Ends what waits, but for what is being forked at this moment.
    fn end_idle(&mut self) {
        let (forking, idle): (Vec<Slot>, Vec<Slot>) =
            std::mem::take(&mut self.slots).into_iter().partition(Slot::is_forking);
        self.slots = forking;
        self.ended.extend(idle.into_iter().map(end_slot));
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
    pub(super) fn hear(&mut self) {
        let (State::Importing(process) | State::Up(process)) = &self.state else { return };
        let mut buffer = vec![0; 16 << 10];
        match protocol::receive_all::<Word>(&*process.control, &mut buffer, RecvFlags::DONTWAIT) {
            Ok(Some(received)) => match received.message {
                Word::Ready => {
                    (self.falls, self.used) = (0, Instant::now());
                    let before = std::mem::replace(&mut self.state, State::gone());
                    self.state = match before {
                        State::Importing(process) => State::Up(process),
                        other => other,
                    };
                }
                Word::Failed(why) => self.go_down(why),
            },
            Ok(None) => self.go_down(ENDED.to_owned()),
            // It ended before it took what it was asked.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => self.go_down(ENDED.to_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => self.go_down(error.to_string()),
        }
    }

    fn go_down(&mut self, why: String) {
        self.falls = self.falls.saturating_add(1);
        let down = State::Down { why, since: Instant::now() };
        self.ended.extend(std::mem::take(&mut self.slots).into_iter().map(end_slot));
        if let State::Importing(process) | State::Up(process) = std::mem::replace(&mut self.state, down) {
            let mut task = process.task;
            task.kill();
            self.ended.push(task);
        }
    }

    fn launch(&mut self, starter: &mut Starter) {
        (self.born, self.forks) = (Instant::now(), 0);
        self.state = match launch(starter, &self.template) {
            Ok(process) => State::Importing(process),
            Err(error) => {
                self.falls = self.falls.saturating_add(1);
                State::Down { why: error.to_string(), since: Instant::now() }
            }
        };
    }
}

impl State {
    fn gone() -> Self {
        Self::Down { why: ENDED.to_owned(), since: Instant::now() }
    }
}

/// Drives a child that was begun until it waits.
fn wait_for(mut slot: Slot, process: &Process, ended: &mut Vec<Task>) -> Result<Slot, String> {
    if let Err(error) = slot.need(&process.control) {
        ended.push(end_slot(slot));
        return Err(error.to_string());
    }
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
