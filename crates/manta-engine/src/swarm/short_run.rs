//! Task runs that go on, or closed, without some of their nodes: what nobody would notice once a swarm has gone on.
use std::collections::VecDeque;
use std::fmt;

use manta_types::{NodeName, TaskIndex, TaskRunState};

use super::apply::count;
use super::{Slot, SlotOutcome, SwarmRun, TaskRun};

/// Task runs of a swarm that are remembered, the latest ones; the rest is counted.
const RUNS_KEPT: usize = 5;
/// Nodes of a task run that are named; the rest is counted.
const NODES_KEPT: usize = 10;
/// Characters of a cause that are kept.
const CAUSE_KEPT: usize = 200;

/// A task run that goes on, or closed, without some of its nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShortRun {
    /// The task's alias.
    pub task: String,
    /// From 0.
    pub iteration: u32,
    /// How many of its nodes left nothing.
    pub missing: usize,
    /// The first of them, each with its cause: `lost 20 s ago`.
    pub nodes: Vec<(NodeName, String)>,
}

impl fmt::Display for ShortRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told: Vec<_> = self.nodes.iter().map(|(node, cause)| format!("{node}: {cause}")).collect();
        write!(f, "iteration {}, task `{}`: without {}", self.iteration, self.task, told.join(", "))?;
        match self.missing.saturating_sub(told.len()) {
            0 => Ok(()),
            more => write!(f, ", and {more} more"),
        }
    }
}

/// Of task runs that closed without some of their nodes: the latest, oldest first, and how many there were.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ShortRuns {
    latest: VecDeque<ShortRun>,
    pub(crate) count: usize,
}

impl SwarmRun {
    /// Remembers a task run that closed without some of its nodes, unless it fails the swarm: its reason says so then.
    pub(super) fn note_short_run(&mut self, task: TaskIndex) {
        let run = &self.task_runs[task];
        if self.is_fatal(run) {
            return;
        }
        let Some(short) = self.short(run) else { return };
        self.short_runs.count += 1;
        self.short_runs.latest.push_back(short);
        if self.short_runs.latest.len() > RUNS_KEPT {
            self.short_runs.latest.pop_front();
        }
    }

    /// The latest task runs that closed without some of their nodes, those that go on so, and how many more closed.
    pub(crate) fn short_runs(&self) -> (Vec<ShortRun>, usize) {
        let earlier = self.short_runs.count - self.short_runs.latest.len();
        let going = self.task_runs.iter().filter(|run| run.state == TaskRunState::Running && !self.is_over());
        let going = going.filter_map(|run| self.short(run));
        (self.short_runs.latest.iter().cloned().chain(going).collect(), earlier)
    }

    /// What a task run lacks, where it lacks something.
    fn short(&self, run: &TaskRun) -> Option<ShortRun> {
        if run.counts.accepted == run.counts.total() {
            return None;
        }
        let mut missing = 0;
        let mut nodes = Vec::new();
        for slot in &run.slots {
            let Some(cause) = cause(run, slot) else { continue };
            missing += 1;
            if nodes.len() < NODES_KEPT {
                nodes.push((slot.node.clone(), clip(&cause)));
            }
        }
        let task = self.spec.tasks[run.task].alias.clone();
        (missing > 0).then_some(ShortRun { task, iteration: run.iteration, missing, nodes })
    }
}

impl TaskRun {
    /// On how many of its nodes it runs, and why not on the others.
    pub(super) fn runs_on(&self) -> String {
        let excused = self.slots.iter().filter_map(|slot| match &slot.outcome {
            SlotOutcome::Excused(reason) => Some(format!("{} excused: {}", slot.node, clip(reason))),
            _ => None,
        });
        let told: Vec<_> = excused.take(NODES_KEPT).collect();
        let (without, total) = (self.counts.excused as usize, self.counts.total() as usize);
        let more = match without.saturating_sub(told.len()) {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        format!("runs on {} of {}; {}{more}", total.saturating_sub(without), count(total, "node"), told.join(", "))
    }
}

/// Why a slot leaves nothing; nothing where it has left something, or still may.
fn cause(run: &TaskRun, slot: &Slot) -> Option<String> {
    match &slot.outcome {
        SlotOutcome::Accepted => None,
        SlotOutcome::Excused(reason) => Some(reason.clone()),
        SlotOutcome::Failed => Some(match slot.last_failure() {
            Some((_, failure)) => format!("failed: {}", failure.message),
            None => format!("given up after {}", count(slot.lost as usize, "lost attempt")),
        }),
        SlotOutcome::Open => run.state.is_final().then(|| "not done when it closed".to_owned()),
    }
}

/// The first line, shortened.
fn clip(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(CAUSE_KEPT).collect()
}
