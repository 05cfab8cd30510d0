//! Where a swarm that failed can be taken up again: all that closed well, and nothing of what has to run again.
use serde::{Deserialize, Serialize};

use crate::event::{Failure, GlobalWrite, NextIteration, Outputs, Timings};
use crate::{AttemptId, Blob, NodeName, Pin, SwarmId, TaskIndex, TaskRunState};

/// What a swarm takes over from the one that it continues, complete in itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The swarm that failed.
    pub from: SwarmId,
    /// The first swarm of the line: nodes keep task state under this id, and seeds and samples come from it.
    pub state_of: SwarmId,
    /// The iteration that goes on.
    pub iteration: u32,
    /// The swarm-wide revision that the globals had reached.
    pub revision: u64,
    /// Globals as they were.
    pub globals: Vec<CarriedGlobal>,
    /// Task runs of this iteration that need not run again.
    pub closed: Vec<CarriedRun>,
    /// Task runs of the iteration before, which tasks without predecessors read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub previous: Vec<CarriedRun>,
    /// What was asked for this iteration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub granted: Vec<NextIteration>,
    /// What the carried task runs asked for the next.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<NextIteration>,
    /// The task that asked that the swarm end after this iteration, by alias.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_asked: Option<String>,
    /// The choice of iteration 0 of tasks that are `fixed`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fixed: Vec<FixedChoice>,
    /// The versions that rollouts brought, where they are not those of the submission.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pins: Vec<CarriedPin>,
    /// The versions to which rollouts can be taken back, latest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<CarriedPin>,
}

/// A version of a task's module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CarriedPin {
    /// The task's position in the graph.
    pub task: TaskIndex,
    /// The version.
    pub pin: Pin,
}

impl Checkpoint {
    /// Whether it can be taken up by a swarm of so many tasks: all that it names is there, and what it carries has closed.
    pub fn fits(&self, tasks: usize) -> bool {
        let mut runs = self.closed.iter().chain(&self.previous);
        runs.all(|run| run.task < tasks && run.state.is_final())
            && self.fixed.iter().all(|choice| choice.task < tasks)
            && self.pins.iter().chain(&self.before).all(|carried| carried.task < tasks)
    }

    /// The values that it names, each with its name.
    pub fn values(&self) -> impl Iterator<Item = (&str, Blob)> {
        let slots = self.closed.iter().chain(&self.previous).flat_map(|run| &run.slots);
        let outputs = slots.filter_map(|slot| match &slot.outcome {
            CarriedOutcome::Accepted { outputs, .. } => Some(outputs),
            _ => None,
        });
        let published = outputs.flat_map(|outputs| outputs.results.iter().chain(&outputs.globals));
        let globals = self.globals.iter().map(|global| (global.name.as_str(), global.blob));
        globals.chain(published.map(|published| (published.name.as_str(), published.blob)))
    }

    /// The globals that tasks wrote; the others are in the submission.
    pub fn written(&self) -> impl Iterator<Item = GlobalWrite> {
        self.globals.iter().filter_map(|global| {
            let (name, blob, revision) = (global.name.clone(), global.blob, global.revision);
            global.writer.clone().map(|writer| GlobalWrite { name, blob, revision, writer })
        })
    }
}

/// The nodes of a task that keeps its choice of iteration 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FixedChoice {
    /// The task's position in the graph.
    pub task: TaskIndex,
    /// Its nodes.
    pub nodes: Vec<NodeName>,
}

/// A global as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CarriedGlobal {
    /// The global's name.
    pub name: String,
    /// The encoded value.
    pub blob: Blob,
    /// The revision at which it became visible; 0 for values of the submission.
    pub revision: u64,
    /// Who wrote it; absent for values of the submission.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writer: Option<NodeName>,
}

/// A task run that closed and need not run again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CarriedRun {
    /// The task's position in the graph.
    pub task: TaskIndex,
    /// How it closed.
    pub state: TaskRunState,
    /// The rule that closed it, in words.
    pub reason: String,
    /// One per node that was chosen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slots: Vec<CarriedSlot>,
}

/// What became of one node of a carried task run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CarriedSlot {
    /// The node.
    pub node: NodeName,
    /// How it ended there.
    #[serde(flatten)]
    pub outcome: CarriedOutcome,
}

/// How a slot of a carried task run ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum CarriedOutcome {
    /// With an attempt, of the swarm that failed or of one before it, whose outputs count.
    Accepted {
        /// The attempt.
        attempt: AttemptId,
        /// Its lease epoch.
        epoch: u32,
        /// What it left.
        outputs: Outputs,
        /// How long it took.
        timings: Timings,
    },
    /// Without outputs that count.
    Failed {
        /// The last attempt that failed.
        attempt: AttemptId,
        /// Its lease epoch.
        epoch: u32,
        /// How, without traceback and log.
        failure: Failure,
    },
    /// Its node was excused.
    Excused {
        /// Why.
        reason: String,
    },
    /// Cancelled when the task run closed.
    Cancelled,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SwarmEvent;

    #[test]
    fn a_checkpoint_reads_back_as_part_of_an_event() {
        let node = NodeName::new("node-1").unwrap();
        let swarm = SwarmId::from_uuid(uuid::Uuid::from_u128(7));
        let attempt = AttemptId::from_uuid(uuid::Uuid::from_u128(8));
        let (outputs, timings) = (Outputs::default(), Timings::default());
        let outcomes = [
            CarriedOutcome::Accepted { attempt, epoch: 2, outputs, timings },
            CarriedOutcome::Failed { attempt, epoch: 1, failure: Failure::default() },
            CarriedOutcome::Excused { reason: "drained".to_owned() },
            CarriedOutcome::Cancelled,
        ];
        let slots = outcomes.map(|outcome| CarriedSlot { node: node.clone(), outcome }).to_vec();
        let run = CarriedRun { task: 3, state: TaskRunState::Succeeded, reason: "closed 1/4".to_owned(), slots };
        let checkpoint = Checkpoint {
            from: swarm,
            state_of: swarm,
            iteration: 4,
            revision: 9,
            globals: Vec::new(),
            closed: vec![run.clone()],
            previous: vec![run],
            granted: Vec::new(),
            requests: vec![NextIteration { task: None, nodes: None }],
            stop_asked: Some("a".to_owned()),
            fixed: vec![FixedChoice { task: 0, nodes: vec![node] }],
            pins: Vec::new(),
            before: Vec::new(),
        };
        let event = SwarmEvent::SwarmContinued { checkpoint: Box::new(checkpoint) };
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<SwarmEvent>(&text).unwrap(), event);
    }
}
