//! What an attempt may read: pinned globals, and results of closed task runs in its scope.
use std::collections::BTreeMap;

use manta_types::{AttemptId, Blob, NodeName};

use crate::Engine;
use crate::swarm::{GlobalValue, SlotOutcome, SwarmRun, TaskRun};

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
    /// Nodes that ran the task in the iteration before, in order; each may keep state of it.
    pub ran_before: Vec<NodeName>,
}

impl Engine {
    /// What an attempt may read, while it may still count.
    pub fn inputs(&self, attempt: AttemptId) -> Option<Inputs> {
        let swarm = self.swarm_of(attempt)?;
        let (run, found) = swarm.attempt(attempt)?;
        if found.state.is_final() {
            return None;
        }
        let labels = |name: &NodeName| self.fleet.get(name).map(|node| node.description().labels.clone());
        Some(readable(swarm, run, |name| labels(name).unwrap_or_default()))
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
    let before = swarm.previous.get(run.task).filter(|_| Some(run.iteration) == swarm.iteration);
    inputs.ran_before = before.into_iter().flat_map(TaskRun::accepted).map(|attempt| attempt.node.clone()).collect();
    inputs.ran_before.sort();
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
