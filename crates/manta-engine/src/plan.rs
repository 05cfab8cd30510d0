//! What a swarm would do on the nodes as they are, told before anything runs.
use std::sync::Arc;

use manta_types::event::SwarmEvent as E;
use manta_types::{Cause, Event, Method, NodeLimit, NodeName, Subject, SwarmId, SwarmSpec, TaskIndex, Timestamp};
use uuid::Uuid;

use crate::placement::{self, Placement};
use crate::swarm::{SwarmRun, count};
use crate::{Engine, NodeReason, Refusal};

/// What is expected of one task, were it to start now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskPlan {
    /// Position in the spec.
    pub task: TaskIndex,
    /// Which nodes it would use, in words: `the least loaded of 5 eligible nodes`.
    pub placement: String,
    /// How many, where that can be told before it starts.
    pub count: Option<usize>,
    /// Which, where that can be told before it starts.
    pub nodes: Vec<NodeName>,
    /// The nodes among which it would choose.
    pub eligible: Vec<NodeName>,
    /// Every other node, with the cause.
    pub ineligible: Vec<NodeReason>,
    /// Why it would have to wait, where no node can take it now though some could.
    pub waits: Option<String>,
}

/// What is expected of a swarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// In the order of the spec.
    pub tasks: Vec<TaskPlan>,
    /// Why it would be refused; empty where it would be taken.
    pub refusals: Vec<Refusal>,
}

impl Engine {
    /// What a swarm would do on the nodes as they are; nothing is changed.
    pub fn plan(&self, now: Timestamp, spec: &Arc<SwarmSpec>) -> Plan {
        let swarm = foreseen(spec, now);
        let tasks = (0..spec.tasks.len()).map(|task| self.plan_task(&swarm, task, now)).collect();
        Plan { tasks, refusals: self.validate(spec).err().unwrap_or_default() }
    }

    fn plan_task(&self, swarm: &SwarmRun, task: TaskIndex, now: Timestamp) -> TaskPlan {
        let spec = &swarm.spec.tasks[task];
        let (mut eligible, mut ineligible) = (Vec::new(), Vec::new());
        for node in self.fleet.iter() {
            match placement::cause(spec, node, now) {
                None => eligible.push(node.name().clone()),
                Some(placement::Obstacle { why, change }) => {
                    ineligible.push(NodeReason { node: node.name().clone(), cause: why, change });
                }
            }
        }
        let plan = TaskPlan {
            task,
            placement: String::new(),
            count: None,
            nodes: Vec::new(),
            eligible,
            ineligible,
            waits: None,
        };
        if let Method::Tag(name) = &spec.method {
            let among = of_eligible(plan.eligible.len());
            return TaskPlan { placement: format!("those {among} that publish `{name}` before it"), ..plan };
        }
        match placement::place(swarm, task, &self.fleet) {
            Placement::Wait { .. } => {
                let waits = Some(placement::why(swarm, task, &self.fleet, now).0);
                TaskPlan { placement: "none now".to_owned(), waits, count: Some(0), ..plan }
            }
            Placement::Skipped(reason) => {
                TaskPlan { placement: format!("none, it would be skipped: {reason}"), count: Some(0), ..plan }
            }
            Placement::Chosen { nodes, .. } => {
                let all = nodes.len() == plan.eligible.len();
                let placement = words(swarm, task, nodes.len(), plan.eligible.len());
                let count = Some(nodes.len());
                TaskPlan { placement, count, nodes: if all { nodes } else { Vec::new() }, ..plan }
            }
        }
    }
}

/// The swarm as it would be when its first iteration begins.
fn foreseen(spec: &Arc<SwarmSpec>, now: Timestamp) -> SwarmRun {
    let id = SwarmId::from_uuid(Uuid::nil());
    let mut swarm = SwarmRun::new(id, Arc::clone(spec), 0);
    let beginning = [E::SwarmAdmitted, E::IterationStarted { iteration: 0, requests: Vec::new() }];
    for (seq, what) in (1..).zip(beginning) {
        let (subject, cause) = (Subject::default(), Cause::Unknown);
        swarm.apply(&Event { swarm: id, seq, time_ms: 0, subject, cause, what }, now);
    }
    swarm
}

fn of_eligible(eligible: usize) -> String {
    format!("of {}", count(eligible, "eligible node"))
}

/// How a task picks `chosen` of the eligible nodes, in words.
fn words(swarm: &SwarmRun, task: TaskIndex, chosen: usize, eligible: usize) -> String {
    let spec = &swarm.spec.tasks[task];
    let among = of_eligible(eligible);
    let the =
        |what: &str| if chosen == 1 { format!("the {what} {among}") } else { format!("the {chosen} {what} {among}") };
    let division = placement::shares(swarm, task);
    if division.len() > 1 {
        return format!("{chosen} {among}, by the {} division", division.join("/"));
    }
    if chosen == eligible {
        return match eligible {
            1 => "the only eligible node".to_owned(),
            _ => format!("all {}", count(eligible, "eligible node")),
        };
    }
    match spec.method {
        Method::Any => the("least loaded"),
        Method::BestResources if chosen == 1 => format!("the one with most free memory {among}"),
        Method::BestResources => format!("the {chosen} with most free memory {among}"),
        Method::Random if spec.fixed => format!("{chosen} {among} at random, the same in every iteration"),
        Method::Random => format!("{chosen} {among} at random, drawn anew in every iteration"),
        Method::All | Method::Tag(_) => match spec.maximum {
            NodeLimit::Share(share) => format!("{chosen} {among}, {} % of them", (share * 100.0).round()),
            _ => format!("{chosen} {among}, its maximum"),
        },
    }
}
