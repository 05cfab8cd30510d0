//! Whom an event concerns.
use manta_types::event::SwarmEvent as E;
use manta_types::{AttemptId, NodeName, Subject, TaskIndex};

use super::SwarmRun;

impl SwarmRun {
    /// Whom an event that is about to happen concerns, as far down as it goes.
    pub(crate) fn subject(&self, what: &E) -> Subject {
        match what {
            E::IterationStarted { iteration, .. } | E::IterationFinished { iteration, .. } => {
                Subject { iteration: Some(*iteration), ..Subject::default() }
            }
            E::TaskRunReady { iteration, task }
            | E::TaskRunSkipped { iteration, task, .. }
            | E::TaskRunStarted { iteration, task, .. }
            | E::TaskRunClosed { iteration, task, .. } => of_run(*iteration, *task),
            E::NodeExcused { iteration, task, node, .. } => {
                Subject { node: Some(node.clone()), ..of_run(*iteration, *task) }
            }
            E::AttemptOffered { attempt, iteration, task, node, .. } => {
                of_attempt(*iteration, *task, node.clone(), *attempt)
            }
            E::AttemptProgressed { attempt, .. }
            | E::AttemptAccepted { attempt, .. }
            | E::AttemptFailed { attempt, .. }
            | E::AttemptLost { attempt, .. }
            | E::AttemptCancelled { attempt, .. }
            | E::SwarmFailed { attempt: Some(attempt), .. } => self.subject_of(*attempt),
            E::RolloutStarted { task, .. }
            | E::RolloutStepped { task, .. }
            | E::RolloutHeld { task, .. }
            | E::RolloutResumed { task, .. }
            | E::RolloutPromoted { task, .. }
            | E::RolloutEnded { task, .. } => {
                Subject { iteration: self.iteration, task: Some(*task), ..Subject::default() }
            }
            E::SwarmContinued { checkpoint } => Subject { iteration: Some(checkpoint.iteration), ..Subject::default() },
            E::SwarmAdmitted
            | E::SwarmSucceeded { .. }
            | E::SwarmFailed { attempt: None, .. }
            | E::SwarmStopped { .. }
            | E::SwarmPaused { .. }
            | E::SwarmResumed { .. } => Subject { iteration: self.iteration, ..Subject::default() },
        }
    }

    fn subject_of(&self, id: AttemptId) -> Subject {
        match self.attempt(id) {
            Some((run, attempt)) => of_attempt(run.iteration, run.task, attempt.node.clone(), id),
            None => Subject { attempt: Some(id), ..Subject::default() },
        }
    }
}

fn of_run(iteration: u32, task: TaskIndex) -> Subject {
    Subject { iteration: Some(iteration), task: Some(task), ..Subject::default() }
}

fn of_attempt(iteration: u32, task: TaskIndex, node: NodeName, attempt: AttemptId) -> Subject {
    Subject { node: Some(node), attempt: Some(attempt), ..of_run(iteration, task) }
}
