//! Warm starts: zygotes that have imported an image's packages, and the children they forked that wait for a task.
//!
//! [`zygote`] keeps one process for each template, [`process`] is that process, [`slot`] makes one sandbox in it step by step, so that
//! the launcher's loop never waits for what is made in the background. A zygote that is worn is renewed behind its own back; one that
//! there is no room for rests until its template is named again.

mod memory;
mod process;
mod slot;
mod zygote;

use std::collections::BTreeMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use super::protocol::START_FDS;
use super::start::Starter;
use super::task::Task;
use crate::cgroup::Group;
use crate::{SandboxSpec, Start, Template, Warmth};
use memory::Gauge;
use zygote::Zygote;

/// Zygotes at once, each of an image; one more takes the place of the one that was not of use for longest.
const ZYGOTES_MAX: usize = 4;

/// How soon a zygote that could not be renewed is tried to be renewed again.
const RENEW_AGAIN: Duration = Duration::from_secs(30);

/// All zygotes of a launcher, and what of them has not quite ended.
#[derive(Default)]
pub(super) struct Pool {
    zygotes: BTreeMap<String, Zygote>,
    /// Zygotes that are to take the place of one that is worn, once they are up.
    renewals: BTreeMap<String, Zygote>,
    renewal_failed: Option<Instant>,
    /// Templates whose zygote was ended, and why.
    resting: BTreeMap<String, (Template, String)>,
    /// Zygotes that fork no more, while tasks that they forked run.
    retired: Vec<Zygote>,
    ending: Vec<Task>,
    gauge: Gauge,
}

impl Pool {
    /// Makes sandboxes of a template ready in the background.
    pub(super) fn keep(&mut self, starter: &mut Starter, template: Template) {
        if self.zygotes.get(&template.name).is_some_and(|zygote| *zygote.template() == template) {
            return;
        }
        self.dismiss(&template.name);
        self.resting.remove(&template.name);
        if self.gauge.read(Instant::now()).is_less_than(template.reserve_bytes / 2) {
            let why = self.too_little(&template);
            self.resting.insert(template.name.clone(), (template, why));
            return;
        }
        self.wake(starter, template);
    }

    /// Ends a template's zygote and forgets it; what runs goes on.
    pub(super) fn let_go(&mut self, name: &str) {
        self.dismiss(name);
        self.resting.remove(name);
    }

    /// Starts a sandbox in a warm way, or says why that is not possible.
    pub(super) fn start(
        &mut self,
        starter: &mut Starter,
        spec: &SandboxSpec,
        fds: &[OwnedFd; START_FDS],
    ) -> Result<(Task, Start), String> {
        let name = spec.template.as_deref().unwrap_or_default();
        if let Some(zygote) = self.zygotes.get_mut(name) {
            let started = zygote.open(starter, spec, fds);
            self.ending.append(&mut zygote.take_ended());
            return started;
        }
        let Some((template, why)) = self.resting.get(name) else {
            return Err("no zygote was made for its image".to_owned());
        };
        let (template, why) = (template.clone(), why.clone());
        self.keep(starter, template);
        let again = if self.zygotes.contains_key(name) { ", and is started again" } else { "" };
        Err(format!("its zygote is not there: {why}{again}"))
    }

    /// Whether a template's zygote is on its way up, and did not fall the last time.
    pub(super) fn is_importing(&mut self, template: &str) -> bool {
        self.zygotes.get_mut(template).is_some_and(Zygote::is_importing)
    }

    /// Whether nothing is in the making.
    pub(super) fn is_settled(&self) -> bool {
        self.zygotes.values().all(Zygote::is_settled)
    }

    /// What is ready, by template.
    pub(super) fn warmth(&self) -> Vec<Warmth> {
        let resting = self.resting.iter().map(|(name, (_, why))| Warmth {
            name: name.clone(),
            zygote: Err(why.clone()),
            trouble: None,
            waiting: 0,
            running: 0,
        });
        self.zygotes.values().map(Zygote::warmth).chain(resting).collect()
    }

    /// What the launcher's loop must wake up for.
    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let zygotes = self.zygotes.values().chain(self.renewals.values()).chain(&self.retired).flat_map(Zygote::fds);
        zygotes.chain(self.ending.iter().map(Task::pidfd))
    }

    /// How long to wait at most until something of it is to be done though nothing happens.
    pub(super) fn rest(&self) -> Option<Duration> {
        let now = Instant::now();
        self.zygotes.values().filter_map(|zygote| zygote.rest(now)).min()
    }

    /// Whether time and memory decide on something of it though nothing happens.
    pub(super) fn needs_watching(&self) -> bool {
        !self.zygotes.is_empty()
    }

    /// Does what can be done without waiting; answers with groups in which a process had not quite gone.
    pub(super) fn advance(&mut self, starter: &mut Starter) -> Vec<Group> {
        let now = Instant::now();
        if !self.zygotes.is_empty() {
            let free = self.gauge.read(now);
            for zygote in self.zygotes.values_mut() {
                zygote.advance(starter, now, free);
                self.ending.append(&mut zygote.take_ended());
            }
            self.make_room();
            self.forget(now);
            self.renew(starter, now);
        }
        self.retired.iter_mut().for_each(|zygote| self.ending.append(&mut zygote.retire()));
        for mut idle in self.retired.extract_if(.., |zygote| zygote.is_deserted()) {
            self.ending.append(&mut idle.end());
        }
        let ended = self.ending.extract_if(.., |task| task.poll_exit().is_some());
        ended.map(|task| task.group).filter(|group| !group.remove()).collect()
    }

    /// Starts the end of every zygote and of all that waits.
    pub(super) fn end(&mut self) {
        self.resting.clear();
        let zygotes = std::mem::take(&mut self.zygotes).into_values();
        let zygotes = zygotes.chain(std::mem::take(&mut self.renewals).into_values());
        let zygotes = zygotes.chain(std::mem::take(&mut self.retired));
        self.ending.extend(zygotes.flat_map(|mut zygote| zygote.end()));
    }

    /// Whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.zygotes.is_empty() && self.renewals.is_empty() && self.retired.is_empty() && self.ending.is_empty()
    }

    /// Starts a zygote, in place of another where there are as many as may be.
    fn wake(&mut self, starter: &mut Starter, template: Template) {
        if self.zygotes.len() >= ZYGOTES_MAX {
            let oldest =
                self.zygotes.values().min_by_key(|zygote| zygote.used()).map(|zygote| zygote.template().clone());
            if let Some(oldest) = oldest {
                self.dismiss(&oldest.name);
                let why = format!("another of the {ZYGOTES_MAX} that there may be took its place");
                self.resting.insert(oldest.name.clone(), (oldest, why));
            }
        }
        let zygote = Zygote::start(starter, template);
        self.zygotes.insert(zygote.template().name.clone(), zygote);
    }

    /// Ends a template's zygote and all that waits; what runs goes on.
    fn dismiss(&mut self, name: &str) {
        if let Some(mut renewal) = self.renewals.remove(name) {
            self.ending.append(&mut renewal.end());
        }
        if let Some(mut old) = self.zygotes.remove(name) {
            self.ending.append(&mut old.retire());
            self.retired.push(old);
        }
    }

    /// Lets zygotes rest of which nothing runs, where the host has too little memory for them.
    fn make_room(&mut self) {
        let Some(free) = self.gauge.last() else { return };
        let idle = self.zygotes.values().filter(|zygote| {
            free.is_less_than(zygote.template().reserve_bytes / 2) && !zygote.is_down() && zygote.is_deserted()
        });
        for template in idle.map(|zygote| zygote.template().clone()).collect::<Vec<_>>() {
            self.dismiss(&template.name);
            let why = self.too_little(&template);
            self.resting.insert(template.name.clone(), (template, why));
        }
    }

    /// Lets zygotes rest that nobody used for long.
    fn forget(&mut self, now: Instant) {
        let forgotten = self.zygotes.values().filter(|zygote| zygote.is_forgotten(now));
        for template in forgotten.map(|zygote| zygote.template().clone()).collect::<Vec<_>>() {
            self.dismiss(&template.name);
            let why = format!("nobody used it for {} seconds", template.idle_ms_max / 1000);
            self.resting.insert(template.name.clone(), (template, why));
        }
    }

    fn too_little(&self, template: &Template) -> String {
        self.gauge.last().map(|free| free.too_little(template.reserve_bytes / 2)).unwrap_or_default()
    }

    /// Puts a fresh zygote in the place of each that is worn, once it is up.
    fn renew(&mut self, starter: &mut Starter, now: Instant) {
        let paused = self.renewal_failed.is_some_and(|at| now.duration_since(at) < RENEW_AGAIN);
        let worn =
            self.zygotes.iter().filter(|(name, zygote)| zygote.is_worn(now) && !self.renewals.contains_key(*name));
        for template in worn.map(|(_, zygote)| zygote.template().clone()).filter(|_| !paused).collect::<Vec<_>>() {
            self.renewals.insert(template.name.clone(), Zygote::start(starter, template));
        }
        for renewal in self.renewals.values_mut() {
            renewal.hear();
            self.ending.append(&mut renewal.take_ended());
        }
        for (name, fresh) in self.renewals.extract_if(.., |_, zygote| zygote.is_up() || zygote.is_down()) {
            if fresh.is_down() {
                self.renewal_failed = Some(now);
            } else if let Some(mut old) = self.zygotes.insert(name, fresh) {
                self.ending.append(&mut old.retire());
                self.retired.push(old);
            }
        }
    }
}
