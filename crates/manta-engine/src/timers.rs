//! What is due when, in order.
use std::collections::BTreeSet;

use manta_types::{NodeName, SwarmId, TaskIndex, Timestamp};

/// Something to look at once its time has come. Alarms may come early, or for what is gone; whoever looks finds out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Alarm {
    /// A node's lease or grace.
    Lease(NodeName),
    /// The deadline of a node's drain.
    Drain(NodeName),
    /// A task run's deadline.
    Deadline(SwarmId, TaskIndex),
    /// The deadline of a task's rollout.
    Rollout(SwarmId, TaskIndex),
    /// A slot's next attempt, or the end of its node's grace.
    Slot(SwarmId, TaskIndex, usize),
}

/// All alarms.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    due: BTreeSet<(Timestamp, Alarm)>,
}

impl Timers {
    pub(crate) fn set(&mut self, at: Timestamp, alarm: Alarm) {
        self.due.insert((at, alarm));
    }

    pub(crate) fn cancel(&mut self, at: Timestamp, alarm: Alarm) {
        self.due.remove(&(at, alarm));
    }

    /// Takes the next alarm that is due by now.
    pub(crate) fn take(&mut self, now: Timestamp) -> Option<Alarm> {
        let (at, _) = self.due.first()?;
        if *at > now {
            return None;
        }
        self.due.pop_first().map(|(_, alarm)| alarm)
    }

    /// When the next alarm is due.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }
}
