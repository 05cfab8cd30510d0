//! What an attempt may read: pinned globals, and results of closed task runs in its scope.
use std::collections::BTreeMap;

use manta_types::{AttemptId, AttemptState, Blob, NodeName, SwarmId, TaskIndex, TaskRunState, Timestamp};

use crate::swarm::{GlobalValue, SlotOutcome, SwarmRun, TaskRun};
use crate::{Engine, rules};

/// A result in an attempt's scope.
#[derive(Debug, Clone, PartialEq)]
pub struct InputResult {
    /// The alias of the task that published it.
    pub task: String,
    /// From 0.
    pub iteration: u32,
    /// Where it was published.
    pub node: NodeName,
    /// That node's labels.
    pub labels: BTreeMap<String, String>,
    /// The result's name.
    pub name: String,
    /// The encoded value.
    pub blob: Blob,
    /// Steps back in the graph, from 1; `select` takes the nearest that published the name.
    pub distance: u32,
}

/// A node of a predecessor that left nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The predecessor's alias.
    pub task: String,
    /// The node.
    pub node: NodeName,
    /// Why.
    pub reason: String,
}

/// All that an attempt may read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Inputs {
    /// Globals at the revision that its task run pinned.
    pub globals: BTreeMap<String, GlobalValue>,
    /// Ordered by distance, node name, task.
    pub results: Vec<InputResult>,
    /// Nodes that left nothing.
    pub missing: Vec<Missing>,
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
    pub nodes: Vec<(NodeName, String)>,
}

impl Engine {
    /// What an attempt may read, while it may still count.
    pub fn inputs(&self, attempt: AttemptId) -> Option<Inputs> {
        let swarm = self.swarm_of(attempt)?;
        let (run, found) = swarm.attempt(attempt)?;
        if found.state.is_final() {
            return None;
        }
        let labels = |name: &NodeName| self.nodes.get(name).map(|node| node.description().labels.clone());
        Some(readable(swarm, run, |name| labels(name).unwrap_or_default()))
    }

    /// What waits in a swarm now, and why.
    pub fn waiting(&self, now: Timestamp, id: SwarmId) -> Vec<Waiting> {
        let Some(swarm) = self.swarms.get(&id).filter(|swarm| !swarm.is_over()) else { return Vec::new() };
        swarm.task_runs.iter().filter_map(|run| self.why(swarm, run, now)).collect()
    }

    fn why(&self, swarm: &SwarmRun, run: &TaskRun, now: Timestamp) -> Option<Waiting> {
        let (reason, nodes) = match run.state {
            TaskRunState::Waiting => (format!("waits for {}", open_predecessors(swarm, run.task)), Vec::new()),
            TaskRunState::Ready => rules::why_waiting(swarm, run.task, &self.nodes, now)?,
            TaskRunState::Running => {
                let nodes: Vec<_> = run.slots.iter().filter_map(|slot| self.slot_cause(slot, now)).collect();
                if nodes.is_empty() {
                    return None;
                }
                (format!("waits for {} of {} nodes", nodes.len(), run.slots.len()), nodes)
            }
            _ => return None,
        };
        Some(Waiting { task: swarm.spec.tasks[run.task].alias.clone(), iteration: run.iteration, reason, nodes })
    }

    fn slot_cause(&self, slot: &crate::swarm::Slot, now: Timestamp) -> Option<(NodeName, String)> {
        if !slot.is_open() {
            return None;
        }
        let cause = match slot.live() {
            None => match slot.retry_at {
                Some(due) if due > now => format!("tries again in {:.1} s", (due - now).as_secs_f64()),
                _ => "is not there to try again".to_owned(),
            },
            Some(attempt) => match attempt.state {
                AttemptState::Offered => "has not answered the offer yet".to_owned(),
                AttemptState::Preparing => "is preparing or has it queued".to_owned(),
                AttemptState::Silent => {
                    let silent = self.nodes.get(&attempt.node).map_or(0, |node| (now - node.last_heard).as_secs());
                    format!("has not been heard for {silent} s")
                }
                _ => return None,
            },
        };
        Some((slot.node.clone(), cause))
    }
}

/// What the attempts of a task run may read; `labels` tells those of a node.
pub(crate) fn readable(
    swarm: &SwarmRun,
    run: &TaskRun,
    labels: impl Fn(&NodeName) -> BTreeMap<String, String>,
) -> Inputs {
    let mut inputs = Inputs { globals: run.globals.as_ref().clone(), ..Inputs::default() };
    for (source, distance) in scope(swarm, run) {
        collect(swarm, source, distance, &labels, &mut inputs);
    }
    inputs.results.sort_by(|a, b| (a.distance, &a.node, &a.task).cmp(&(b.distance, &b.node, &b.task)));
    inputs
}

fn collect(
    swarm: &SwarmRun,
    run: &TaskRun,
    distance: u32,
    labels: &impl Fn(&NodeName) -> BTreeMap<String, String>,
    inputs: &mut Inputs,
) {
    let task = &swarm.spec.tasks[run.task].alias;
    for slot in &run.slots {
        let Some(attempt) = slot.accepted() else {
            let reason = match &slot.outcome {
                SlotOutcome::Excused(reason) => reason.clone(),
                _ => slot.last_failure().map_or_else(|| run.reason.clone(), |(_, failure)| failure.message.clone()),
            };
            inputs.missing.push(Missing { task: task.clone(), node: slot.node.clone(), reason });
            continue;
        };
        let labels = labels(&attempt.node);
        for result in attempt.outputs.iter().flat_map(|outputs| &outputs.results) {
            inputs.results.push(InputResult {
                task: task.clone(),
                iteration: run.iteration,
                node: attempt.node.clone(),
                labels: labels.clone(),
                name: result.name.clone(),
                blob: result.blob,
                distance,
            });
        }
    }
}

/// The task runs whose results an attempt sees, with their distance: all ancestors; for a task with no predecessor
/// the whole iteration before.
fn scope<'a>(swarm: &'a SwarmRun, run: &TaskRun) -> Vec<(&'a TaskRun, u32)> {
    if !swarm.spec.tasks[run.task].after.is_empty() {
        let ancestors = swarm.spec.ancestors(run.task);
        return ancestors.into_iter().map(|(task, distance)| (&swarm.task_runs[task], distance)).collect();
    }
    let latest_first = swarm.previous.iter().rev().zip(1..);
    latest_first.collect()
}

fn open_predecessors(swarm: &SwarmRun, task: TaskIndex) -> String {
    let open = swarm.spec.tasks[task].after.iter().filter(|before| !swarm.task_runs[**before].state.is_final());
    open.map(|before| format!("`{}`", swarm.spec.tasks[*before].alias)).collect::<Vec<_>>().join(", ")
}
