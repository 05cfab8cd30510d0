//! Why something is as it is, and what would change it: the one place where the engine's state becomes such a text.
use std::collections::BTreeSet;
use std::fmt;

use manta_types::rollout::percent;
use manta_types::{
    AttemptFailure, AttemptId, AttemptState, NodeName, RolloutState, SwarmId, SwarmState, TaskIndex, TaskRunState,
    TaskSpec, Timestamp, Usage, limits,
};

use crate::placement::{self, Obstacle};
use crate::swarm::{Attempt, Rollout, ShortRun, Slot, SlotOutcome, SwarmRun, TaskRun, count};
use crate::{Engine, closing};

/// Nodes that a text lists by name; the rest is counted.
const NODES_TOLD: usize = 20;

/// A node that something waits for or cannot use, or what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeReason {
    /// The node.
    pub node: NodeName,
    /// What follows its name: `has not been heard for 12 s`.
    pub cause: String,
    /// What would change it, as a clause; nothing where it changes by itself or never.
    pub change: Option<String>,
}

/// A task that waits, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The task's alias.
    pub task: String,
    /// From 0.
    pub iteration: u32,
    /// One sentence.
    pub reason: String,
    /// Each node that cannot be used, or is awaited, with its cause.
    pub nodes: Vec<NodeReason>,
    /// What would change it, each as a clause.
    pub would_change: Vec<String>,
}

/// One attempt among those that were made.
#[derive(Debug, Clone, PartialEq)]
pub struct Try {
    /// Which.
    pub attempt: AttemptId,
    /// Where.
    pub node: NodeName,
    /// Its lease epoch.
    pub epoch: u32,
    /// Its state.
    pub state: AttemptState,
    /// How it failed, where it did.
    pub failure: Option<AttemptFailure>,
    /// The module's version that it ran.
    pub version: String,
}

/// An event in a chain of causes, and what it follows from where that is no event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The event's sequence.
    pub seq: u64,
    /// Wall clock, ms since 1970.
    pub time_ms: u64,
    /// The event in words.
    pub message: String,
    /// What it follows from: `event 41`, `node-3: report`, `stop by a user`, `time`.
    pub cause: String,
}

/// Why a swarm, a task of it or an attempt is as it is; its [`Display`](fmt::Display) form is what people read.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// The swarm.
    pub swarm: SwarmId,
    /// The swarm's name.
    pub name: String,
    /// The task's alias, where it is about one.
    pub task: Option<String>,
    /// The iteration, from 0; absent before the first.
    pub iteration: Option<u32>,
    /// The node, where it is about an attempt.
    pub node: Option<NodeName>,
    /// The attempt, where it is about one.
    pub attempt: Option<AttemptId>,
    /// The state's stable name.
    pub state: &'static str,
    /// One sentence.
    pub reason: String,
    /// Each node that matters, with its cause.
    pub nodes: Vec<NodeReason>,
    /// Tasks that wait, where they matter.
    pub waiting: Vec<Waiting>,
    /// Task runs that go on, or closed, without some of their nodes, where it is about a swarm: the latest, oldest first.
    pub short_runs: Vec<ShortRun>,
    /// How many more of them there were before.
    pub short_runs_earlier: usize,
    /// The attempts made, oldest first.
    pub tries: Vec<Try>,
    /// The failure that decided it.
    pub failure: Option<AttemptFailure>,
    /// What it used, where it is about an attempt that ran.
    pub usage: Option<Usage>,
    /// The events that led here, latest first.
    pub chain: Vec<Link>,
    /// What would change it, each as a clause; empty where nothing will.
    pub would_change: Vec<String>,
}

impl Engine {
    /// What waits in a swarm now, and why.
    pub fn waiting(&self, now: Timestamp, id: SwarmId) -> Vec<Waiting> {
        self.swarms.get(&id).map(|swarm| self.waits_of(swarm, now)).unwrap_or_default()
    }

    /// Why a swarm is as it is; one that was rebuilt from its history will do.
    pub fn explain_swarm(&self, now: Timestamp, swarm: &SwarmRun) -> Explanation {
        let waiting = self.waits_of(swarm, now);
        let mut explanation = Explanation { iteration: swarm.iteration, ..blank(swarm) };
        explanation.state = swarm.state.name();
        explanation.reason = match swarm.state {
            SwarmState::Running => format!("{}{}", running(swarm, &waiting), rolling(swarm)),
            SwarmState::Pending => self.turn(swarm.id).unwrap_or_else(|| swarm.reason.clone()),
            _ => swarm.reason.clone(),
        };
        explanation.would_change = match swarm.state {
            SwarmState::Paused => vec![format!("somebody lets it go on: manta resume {}", swarm.id)],
            SwarmState::Failed => vec![format!("a new swarm goes on from the failed task: manta retry {}", swarm.id)],
            state if state.is_final() => Vec::new(),
            _ => united(waiting.iter().flat_map(|waiting| waiting.would_change.iter().cloned())),
        };
        for held in going(swarm).filter(|rollout| rollout.state == RolloutState::Held) {
            let place = format!("{}/{}", swarm.id, swarm.spec.tasks[held.task].alias);
            explanation.would_change.push(format!("somebody lets it go on: manta rollout promote {place}"));
        }
        if swarm.state == SwarmState::Failed {
            let failed = swarm.task_runs.iter().find(|run| run.state == TaskRunState::Failed);
            explanation.nodes = failed.map(|run| self.nodes_of(swarm, run, now)).unwrap_or_default();
            explanation.failure = failed.and_then(closing::decisive_failure).map(cloned);
        }
        explanation.waiting = waiting;
        (explanation.short_runs, explanation.short_runs_earlier) = swarm.short_runs();
        explanation
    }

    /// Why a task is as it is in the swarm's current iteration; nothing where there is no such task.
    pub fn explain_task(&self, now: Timestamp, swarm: &SwarmRun, task: TaskIndex) -> Option<Explanation> {
        let spec = swarm.spec.tasks.get(task)?;
        let mut explanation = Explanation { task: Some(spec.alias.clone()), ..blank(swarm) };
        let Some(run) = swarm.task_runs.get(task) else {
            explanation.state = TaskRunState::Waiting.name();
            explanation.reason = format!("waits for the swarm, which is {}: {}", swarm.state, swarm.reason);
            return Some(explanation);
        };
        explanation.iteration = Some(run.iteration);
        explanation.state = run.state.name();
        explanation.reason.clone_from(&run.reason);
        explanation.nodes = self.nodes_of(swarm, run, now);
        explanation.tries =
            run.slots.iter().flat_map(|slot| &slot.attempts).map(|attempt| tried(run, attempt)).collect();
        if run.state == TaskRunState::Failed {
            explanation.failure = closing::decisive_failure(run).map(cloned);
        }
        if swarm.is_over() {
            if !run.state.is_final() {
                explanation.reason = format!("the swarm is over: {}", swarm.reason);
                explanation.nodes.clear();
            }
            return Some(explanation);
        }
        if let Some(waiting) = self.why(swarm, run, now) {
            explanation.reason = waiting.reason;
            explanation.nodes = waiting.nodes;
            explanation.nodes.extend(run.slots.iter().filter_map(excused));
            explanation.would_change = waiting.would_change;
        }
        if swarm.state == SwarmState::Paused && !run.state.is_final() {
            explanation.would_change.insert(0, format!("somebody lets the swarm go on: manta resume {}", swarm.id));
        }
        let before: BTreeSet<_> = swarm.spec.ancestors(task).into_iter().map(|(before, _)| before).collect();
        let awaited = swarm.task_runs.iter().filter(|run| before.contains(&run.task));
        explanation.waiting = awaited.filter_map(|run| self.why(swarm, run, now)).collect();
        Some(explanation)
    }

    /// Why an attempt is as it is; nothing where it is not one of the current or the previous iteration.
    pub fn explain_attempt(&self, now: Timestamp, swarm: &SwarmRun, id: AttemptId) -> Option<Explanation> {
        let (run, attempt) = swarm.attempt(id)?;
        let spec = &swarm.spec.tasks[run.task];
        let slot = &run.slots[swarm.attempts.get(&id)?.slot];
        let mut explanation = Explanation {
            task: Some(spec.alias.clone()),
            iteration: Some(run.iteration),
            node: Some(attempt.node.clone()),
            attempt: Some(id),
            state: attempt.state.name(),
            failure: attempt.failure.clone(),
            usage: attempt.timings.usage,
            tries: slot.attempts.iter().map(|attempt| tried(run, attempt)).collect(),
            ..blank(swarm)
        };
        explanation.reason = match (&attempt.failure, &attempt.outputs) {
            (Some(failure), _) => format!("{}{}", failure.message, follow_up(spec, slot, attempt)),
            (None, Some(outputs)) => format!("what it published counts: {}", count(outputs.results.len(), "result")),
            (None, None) => state_in_words(attempt.state).to_owned(),
        };
        if let Some(reason) =
            slot.live().filter(|live| live.id == id).and_then(|_| self.slot_cause(swarm, run, slot, now))
        {
            explanation.reason = format!("{} {}", reason.node, reason.cause);
            explanation.would_change.extend(reason.change);
        }
        Some(explanation)
    }

    fn waits_of(&self, swarm: &SwarmRun, now: Timestamp) -> Vec<Waiting> {
        if swarm.is_over() {
            return Vec::new();
        }
        swarm.task_runs.iter().filter_map(|run| self.why(swarm, run, now)).collect()
    }

    fn why(&self, swarm: &SwarmRun, run: &TaskRun, now: Timestamp) -> Option<Waiting> {
        let spec = &swarm.spec.tasks[run.task];
        let (reason, nodes, mut would_change) = match run.state {
            TaskRunState::Waiting => {
                let open: Vec<_> = open_predecessors(swarm, run.task).collect();
                let change = open.iter().map(|task| format!("task {task} closes")).collect();
                (format!("waits for {}", open.join(", ")), Vec::new(), change)
            }
            TaskRunState::Ready if swarm.state == SwarmState::Paused => {
                ("waits while the swarm is paused".to_owned(), Vec::new(), Vec::new())
            }
            TaskRunState::Ready => {
                let (reason, causes) = placement::why(swarm, run.task, &self.fleet, now);
                let reasons = causes.into_iter().map(|(node, obstacle)| {
                    let Obstacle { why, change } = obstacle;
                    NodeReason { node, cause: why, change }
                });
                (reason, reasons.collect(), vec![another_node(spec)])
            }
            TaskRunState::Running => {
                let nodes: Vec<_> =
                    run.slots.iter().filter_map(|slot| self.slot_cause(swarm, run, slot, now)).collect();
                if nodes.is_empty() {
                    return None;
                }
                (format!("waits for {} of {}", nodes.len(), count(run.slots.len(), "node")), nodes, Vec::new())
            }
            _ => return None,
        };
        let by_node = nodes.iter().filter_map(|node| node.change.clone());
        would_change = united(by_node.chain(would_change));
        Some(Waiting { task: spec.alias.clone(), iteration: run.iteration, reason, nodes, would_change })
    }

    /// What keeps the slot's node from delivering; nothing where it runs user code or is done.
    fn slot_cause(&self, swarm: &SwarmRun, run: &TaskRun, slot: &Slot, now: Timestamp) -> Option<NodeReason> {
        if !slot.is_open() {
            return None;
        }
        let others_remain = run.counts.accepted + run.counts.open > 1;
        let back = || match run.movable {
            true => format!("{} comes back, or another node can take its place", slot.node),
            false if others_remain => {
                let grace = limits::NODE_GRACE.as_secs();
                format!("{} comes back; silent for more than {grace} s it is excused", slot.node)
            }
            false if run.slots.len() > 1 => {
                format!("{} comes back; it is the last of its task's nodes, which is not excused", slot.node)
            }
            false => format!("{} comes back", slot.node),
        };
        let (cause, change) = match slot.live() {
            None => {
                let node = slot.waits_at.as_ref().unwrap_or(&slot.node).clone();
                let Obstacle { why, change } = self.place_cause(swarm, run, slot, &node, now);
                return Some(NodeReason { node, cause: why, change });
            }
            Some(attempt) => match attempt.state {
                AttemptState::Offered => ("has not answered the offer yet".to_owned(), None),
                AttemptState::Preparing => ("is preparing or has it queued".to_owned(), None),
                AttemptState::Silent => {
                    let silent = self.fleet.get(&attempt.node).map_or(0, |node| (now - node.last_heard).as_secs());
                    (format!("has not been heard for {silent} s"), Some(back()))
                }
                _ => return None,
            },
        };
        Some(NodeReason { node: slot.node.clone(), cause, change })
    }

    /// Why a slot has no place at the node for which it waits.
    fn place_cause(&self, swarm: &SwarmRun, run: &TaskRun, slot: &Slot, name: &NodeName, now: Timestamp) -> Obstacle {
        if swarm.state == SwarmState::Paused {
            return Obstacle::new("gets nothing new while the swarm is paused".to_owned(), None);
        }
        if let Some(due) = slot.retry_at.filter(|due| *due > now) {
            return Obstacle::new(format!("tries again in {:.1} s", (due - now).as_secs_f64()), None);
        }
        let Some(node) = self.fleet.get(name) else {
            return Obstacle::new("is not known any more".to_owned(), None);
        };
        if let Some(obstacle) = placement::cause(run.task_of(slot), node, now) {
            return obstacle;
        }
        if !node.has_room() {
            let slots = node.slots();
            let why = format!("has no free slot: {} of {slots} busy", node.load().min(slots));
            return Obstacle::new(why, format!("a slot of {name} becomes free"));
        }
        match swarm.spec.attempts_max.filter(|_| swarm.is_at_its_limit()) {
            Some(most) => {
                let why = format!("waits because the swarm may have {most} attempts at once");
                Obstacle::new(why, "another attempt of the swarm ends".to_owned())
            }
            None => Obstacle::new("is about to be offered it".to_owned(), None),
        }
    }

    /// What became of each of a task run's nodes.
    fn nodes_of(&self, swarm: &SwarmRun, run: &TaskRun, now: Timestamp) -> Vec<NodeReason> {
        let spec = &swarm.spec.tasks[run.task];
        let of = |slot: &Slot| {
            let cause = match &slot.outcome {
                SlotOutcome::Open if run.state.is_final() || swarm.is_over() => return Some(left_open(slot)),
                SlotOutcome::Open => return self.slot_cause(swarm, run, slot, now).or_else(|| Some(state_of(slot))),
                SlotOutcome::Accepted => return None,
                SlotOutcome::Excused(_) => return excused(slot),
                SlotOutcome::Failed => match slot.last_failure() {
                    Some((attempt, failure)) => {
                        format!("failed: {}{}", failure.message, follow_up(spec, slot, attempt))
                    }
                    None => format!("was given up after {}", count(slot.lost as usize, "lost attempt")),
                },
            };
            Some(NodeReason { node: slot.node.clone(), cause, change: None })
        };
        run.slots.iter().filter_map(of).collect()
    }
}

fn blank(swarm: &SwarmRun) -> Explanation {
    Explanation {
        swarm: swarm.id,
        name: swarm.spec.name.clone(),
        task: None,
        iteration: None,
        node: None,
        attempt: None,
        state: swarm.state.name(),
        reason: String::new(),
        nodes: Vec::new(),
        waiting: Vec::new(),
        short_runs: Vec::new(),
        short_runs_earlier: 0,
        tries: Vec::new(),
        failure: None,
        usage: None,
        chain: Vec::new(),
        would_change: Vec::new(),
    }
}

/// What a running swarm does: what waits where something does, else what runs.
fn running(swarm: &SwarmRun, waiting: &[Waiting]) -> String {
    let iteration = swarm.iteration.unwrap_or_default();
    let open: Vec<_> = swarm.task_runs.iter().filter(|run| run.state == TaskRunState::Running).collect();
    let told: Vec<_> = waiting.iter().map(|waiting| format!("`{}` {}", waiting.task, waiting.reason)).collect();
    let runs: Vec<_> = open.iter().map(|run| format!("`{}`", swarm.spec.tasks[run.task].alias)).collect();
    let runs = if runs.is_empty() { String::new() } else { format!("{} runs; ", runs.join(", ")) };
    format!("iteration {iteration}: {runs}{}", told.join("; ")).trim_end_matches("; ").trim_end_matches(": ").to_owned()
}

fn going(swarm: &SwarmRun) -> impl Iterator<Item = &Rollout> {
    swarm.rollouts.iter().filter(|rollout| !rollout.state.is_final())
}

/// What is being rolled out in a swarm, as further clauses.
fn rolling(swarm: &SwarmRun) -> String {
    let told = going(swarm).map(|rollout| {
        let (alias, version) = (&swarm.spec.tasks[rollout.task].alias, &rollout.to.version);
        let share = percent(rollout.share());
        format!("; version {version} of `{alias}` runs on {share} of its nodes, {}: {}", rollout.state, rollout.reason)
    });
    told.collect()
}

/// What is done about a failed attempt: another one, or no more.
fn follow_up(spec: &TaskSpec, slot: &Slot, attempt: &Attempt) -> String {
    let is_last = slot.attempts.last().is_some_and(|last| last.id == attempt.id);
    match &slot.outcome {
        SlotOutcome::Failed if is_last => {
            format!(" (attempt {} of {})", slot.tries.max(1), (spec.policy.retries + 1).max(slot.tries))
        }
        SlotOutcome::Open if is_last => " (it will be tried again)".to_owned(),
        _ => String::new(),
    }
}

fn state_of(slot: &Slot) -> NodeReason {
    let cause = slot.live().map_or("has not begun", |attempt| state_in_words(attempt.state));
    NodeReason { node: slot.node.clone(), cause: cause.to_owned(), change: None }
}

/// A slot that had not ended when its task run or its swarm did: it waits for nothing any more.
fn left_open(slot: &Slot) -> NodeReason {
    let cause = slot.attempts.last().map_or("had not begun", |attempt| state_in_words(attempt.state));
    NodeReason { node: slot.node.clone(), cause: cause.to_owned(), change: None }
}

fn excused(slot: &Slot) -> Option<NodeReason> {
    let SlotOutcome::Excused(reason) = &slot.outcome else { return None };
    Some(NodeReason { node: slot.node.clone(), cause: format!("was excused: {reason}"), change: None })
}

const fn state_in_words(state: AttemptState) -> &'static str {
    match state {
        AttemptState::Offered => "was offered and has not answered yet",
        AttemptState::Preparing => "fetches code and inputs, or has it queued",
        AttemptState::Running => "runs user code",
        AttemptState::Silent => "is not heard",
        AttemptState::Uploading => "sends what it published",
        AttemptState::Accepted => "is done",
        AttemptState::Failed => "failed",
        AttemptState::Lost => "lost its place",
        AttemptState::Cancelled => "was no longer wanted",
    }
}

fn tried(run: &TaskRun, attempt: &Attempt) -> Try {
    let Attempt { id, node, epoch, state, failure, .. } = attempt;
    let version = run.version_of(attempt).to_owned();
    Try { attempt: *id, node: node.clone(), epoch: *epoch, state: *state, failure: failure.clone(), version }
}

fn cloned((_, failure): (&Attempt, &AttemptFailure)) -> AttemptFailure {
    failure.clone()
}

fn open_predecessors(swarm: &SwarmRun, task: TaskIndex) -> impl Iterator<Item = String> {
    let open = swarm.spec.tasks[task].after.iter().filter(|before| !swarm.task_runs[**before].state.is_final());
    open.map(|before| format!("`{}`", swarm.spec.tasks[*before].alias))
}

/// The newcomer that would help a task.
fn another_node(spec: &TaskSpec) -> String {
    match spec.datasets.as_slice() {
        [] => "another node joins that can run it".to_owned(),
        names => {
            let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
            format!("another node offers dataset {}", names.join(" and "))
        }
    }
}

/// Each clause once, in the order in which they first came.
fn united(clauses: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    clauses.filter(|clause| seen.insert(clause.clone())).collect()
}

impl Explanation {
    /// The same with the events that led here, latest first.
    #[must_use]
    pub fn because(mut self, chain: Vec<Link>) -> Self {
        let unexplained =
            self.attempt.is_some() && self.failure.is_none() && matches!(self.state, "lost" | "cancelled");
        if let Some(last) = chain.first().filter(|_| unexplained) {
            self.reason.clone_from(&last.message);
        }
        self.chain = chain;
        self
    }

    /// What it is about: ``swarm `FedAvg` ``, ``task `worker` in iteration 3``.
    pub fn subject(&self) -> String {
        let iteration = self.iteration.map(|iteration| format!(" in iteration {iteration}")).unwrap_or_default();
        match (&self.task, &self.attempt, &self.node) {
            (Some(task), Some(attempt), Some(node)) => {
                format!("attempt {attempt} of task `{task}` on {node}{iteration}")
            }
            (Some(task), ..) => format!("task `{task}` of swarm `{}`{iteration}", self.name),
            _ => format!("swarm `{}`", self.name),
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if matches!(self.state, "succeeded" | "failed") { "" } else { "is " };
        write!(f, "{} {verb}{}: {}", self.subject(), self.state, hanging(&self.reason))?;
        tell_nodes(f, "  ", &self.nodes)?;
        for waiting in &self.waiting {
            write!(f, "\n  `{}` {}", waiting.task, waiting.reason)?;
            tell_nodes(f, "    ", &waiting.nodes)?;
        }
        self.tell_short_runs(f)?;
        self.tell_failure(f)?;
        if let Some(usage) = &self.usage {
            write!(f, "\nused: {usage}")?;
        }
        if self.tries.len() > 1 {
            f.write_str("\nattempts:")?;
            let versions: BTreeSet<&str> = self.tries.iter().map(|tried| tried.version.as_str()).collect();
            for tried in &self.tries {
                write!(f, "\n  {} on {}: {}", tried.attempt, tried.node, tried.state)?;
                if versions.len() > 1 {
                    write!(f, " (version {})", tried.version)?;
                }
                if let Some(failure) = &tried.failure {
                    write!(f, ": {}: {}", failure.class, hanging(&failure.message))?;
                }
            }
        }
        if let Some(root) = self.chain.last() {
            f.write_str("\nbecause:")?;
            for link in &self.chain {
                write!(f, "\n  event {}: {}", link.seq, hanging(&link.message))?;
            }
            write!(f, "\n  which follows from {}", root.cause)?;
        }
        if !self.would_change.is_empty() {
            write!(f, "\nwould change it: {}", self.would_change.join("; or "))?;
        }
        Ok(())
    }
}

impl Explanation {
    fn tell_short_runs(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.short_runs.iter().try_for_each(|short| write!(f, "\n  {short}"))?;
        match self.short_runs_earlier {
            0 => Ok(()),
            more => write!(f, "\n  and {} before that left nodes out", count(more, "task run")),
        }
    }

    fn tell_failure(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(failure) = &self.failure else { return Ok(()) };
        let place = failure.location.as_deref().map(|place| format!(" at {place}")).unwrap_or_default();
        write!(f, "\nfailure: {}{place}: {}", failure.class, hanging(&failure.message))?;
        if self.attempt.is_some() {
            failure.traceback.lines().try_for_each(|line| write!(f, "\n  {line}"))?;
        }
        Ok(())
    }
}

/// A text that a task may have written, with further lines set in, so that none of them can pass for one of ours.
fn hanging(text: &str) -> String {
    text.trim_end().replace('\n', "\n    ")
}

fn tell_nodes(f: &mut fmt::Formatter<'_>, indent: &str, nodes: &[NodeReason]) -> fmt::Result {
    for reason in nodes.iter().take(NODES_TOLD) {
        write!(f, "\n{indent}{} {}", reason.node, hanging(&reason.cause))?;
    }
    match nodes.len().saturating_sub(NODES_TOLD) {
        0 => Ok(()),
        more => write!(f, "\n{indent}and {more} more"),
    }
}
