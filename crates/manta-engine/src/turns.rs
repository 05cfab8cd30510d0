//! Which swarms run: at most so many at once, the others by priority, then by age.
use std::cmp::Reverse;
use std::collections::BTreeSet;

use manta_types::{SwarmId, SwarmState};

use crate::Engine;
use crate::swarm::{SwarmRun, count};

type Turn = (Reverse<i32>, u64, SwarmId);

/// The swarms that wait for their turn.
#[derive(Debug)]
pub(crate) struct Turns {
    waiting: BTreeSet<Turn>,
    /// Swarms that run; those that are paused have given up their turn.
    pub(crate) running: usize,
    pub(crate) running_max: usize,
}

impl Turns {
    pub(crate) const fn new(running_max: usize) -> Self {
        Self { waiting: BTreeSet::new(), running: 0, running_max }
    }

    pub(crate) fn wait(&mut self, swarm: &SwarmRun) {
        self.waiting.insert(turn(swarm));
    }

    /// The swarm whose turn it is now, where there is room for one.
    pub(crate) fn next(&self) -> Option<SwarmId> {
        let (_, _, swarm) = self.waiting.first().filter(|_| self.running < self.running_max)?;
        Some(*swarm)
    }

    /// Notes that a swarm went from one state to another.
    pub(crate) fn note(&mut self, swarm: &SwarmRun, before: SwarmState) {
        if before == swarm.state {
            return;
        }
        self.running -= usize::from(before == SwarmState::Running);
        self.running += usize::from(swarm.state == SwarmState::Running);
        if swarm.state == SwarmState::Pending {
            self.waiting.insert(turn(swarm));
        } else if before == SwarmState::Pending {
            self.waiting.remove(&turn(swarm));
        }
    }
}

impl Engine {
    /// Why a swarm has not begun: how many run, and how many are before it.
    pub fn turn(&self, id: SwarmId) -> Option<String> {
        let swarm = self.swarms.get(&id).filter(|swarm| swarm.state == SwarmState::Pending)?;
        let ahead = self.turns.waiting.range(..turn(swarm)).count();
        let run = count(self.turns.running, "swarm");
        let verb = if self.turns.running == 1 { "runs" } else { "run" };
        let is = if ahead == 1 { "is" } else { "are" };
        Some(format!("waits for its turn: {run} {verb}, {ahead} {is} ahead of it"))
    }
}

fn turn(swarm: &SwarmRun) -> Turn {
    (Reverse(swarm.spec.priority), swarm.created_ms, swarm.id)
}
