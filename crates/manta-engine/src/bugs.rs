//! Rules of the engine that can be taken out, so that the simulation can show that it notices.
use std::sync::Arc;

use crate::swarm::SwarmRun;
use crate::{Command, Engine};

/// The rules that are taken out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bugs {
    /// Attempts count though they are stale.
    pub accept_stale_attempts: bool,
    /// What runs on a node that is revoked goes on.
    pub trust_revoked: bool,
    /// Swarms are forgotten while others of their line stay.
    pub forget_parts: bool,
    /// A task waits for nodes that are all revoked.
    pub await_revoked: bool,
    /// An attempt runs the newest version of a rollout, whatever its task run began with.
    pub repin_running: bool,
    /// A rollout takes its steps as soon as they are due, and not between two iterations.
    pub step_any_time: bool,
    /// What a version on trial does to a task stays done.
    pub no_rescue: bool,
}

impl Bugs {
    /// What a node is told, with a version that it should not get.
    pub(crate) fn repinned(self, swarm: &SwarmRun, mut command: Command) -> Command {
        if let Command::Offer(offer) = &mut command
            && let Some(rollout) = swarm.rollout_of(offer.task).filter(|_| self.repin_running)
        {
            offer.spec = Arc::clone(&rollout.target);
        }
        command
    }
}

impl Engine {
    /// Takes rules out.
    pub const fn plant(&mut self, bugs: Bugs) {
        self.bugs = bugs;
        self.fleet.bugs = bugs;
    }
}
