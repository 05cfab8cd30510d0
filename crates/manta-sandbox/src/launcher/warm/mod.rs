//! Warm starts: zygotes that have imported an image's packages, and the children they forked that wait for a task.
//!
//! [`zygote`] keeps one process for each template, [`slot`] makes one sandbox in it step by step, so that the launcher's loop never
//! waits for what is made in the background.

mod slot;
mod zygote;

use std::collections::BTreeMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Instant;

use super::protocol::START_FDS;
use super::start::Starter;
use super::task::Task;
use crate::cgroup::Group;
use crate::{SandboxSpec, StartWay, Template, Warmth};
use zygote::Zygote;

/// All zygotes of a launcher, and what of them has not quite ended.
#[derive(Default)]
pub(super) struct Pool {
    zygotes: BTreeMap<String, Zygote>,
    /// Zygotes whose template was replaced, while tasks that they forked run.
    retired: Vec<Zygote>,
    ending: Vec<Task>,
}

impl Pool {
    /// Makes sandboxes of a template ready in the background.
    pub(super) fn keep(&mut self, starter: &mut Starter, template: Template) {
        if self.zygotes.get(&template.name).is_some_and(|zygote| *zygote.template() == template) {
            return;
        }
        let zygote = Zygote::start(starter, template);
        if let Some(mut old) = self.zygotes.insert(zygote.template().name.clone(), zygote) {
            self.ending.extend(old.retire());
            self.retired.push(old);
        }
    }

    /// Starts a sandbox in a warm way, or says why that is not possible.
    pub(super) fn start(
        &mut self,
        starter: &mut Starter,
        spec: &SandboxSpec,
        fds: &[OwnedFd; START_FDS],
    ) -> Result<(Task, StartWay), String> {
        let name = spec.template.as_deref().unwrap_or_default();
        let Some(zygote) = self.zygotes.get_mut(name) else {
            return Err("no zygote was made for its image".to_owned());
        };
        let started = zygote.open(starter, spec, fds);
        self.ending.append(&mut zygote.take_ended());
        started
    }

    /// Whether nothing is in the making.
    pub(super) fn is_settled(&self) -> bool {
        self.zygotes.values().all(Zygote::is_settled)
    }

    /// What is ready, by template.
    pub(super) fn warmth(&self) -> Vec<Warmth> {
        self.zygotes.values().map(Zygote::warmth).collect()
    }

    /// What the launcher's loop must wake up for.
    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let zygotes = self.zygotes.values().chain(&self.retired).flat_map(Zygote::fds);
        zygotes.chain(self.ending.iter().map(Task::pidfd))
    }

    /// Whether something is to be tried again though nothing happens.
    pub(super) fn needs_watching(&self) -> bool {
        self.zygotes.values().any(Zygote::needs_watching)
    }

    /// Does what can be done without waiting; answers with groups in which a process had not quite gone.
    pub(super) fn advance(&mut self, starter: &mut Starter) -> Vec<Group> {
        for zygote in self.zygotes.values_mut() {
            zygote.advance(starter, Instant::now());
            self.ending.append(&mut zygote.take_ended());
        }
        for mut idle in self.retired.extract_if(.., |zygote| zygote.is_deserted()) {
            self.ending.append(&mut idle.end());
        }
        let ended = self.ending.extract_if(.., |task| task.poll_exit().is_some());
        ended.map(|task| task.group).filter(|group| !group.remove()).collect()
    }

    /// Starts the end of every zygote and of all that waits.
    pub(super) fn end(&mut self) {
        let zygotes = std::mem::take(&mut self.zygotes).into_values().chain(std::mem::take(&mut self.retired));
        self.ending.extend(zygotes.flat_map(|mut zygote| zygote.end()));
    }

    /// Whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.zygotes.is_empty() && self.retired.is_empty() && self.ending.is_empty()
    }
}
