//! An attempt of the past, whether or not it is remembered: rebuilt from its swarm's history alone.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use manta_types::event::{Failure, Outputs, Published, SwarmEvent as E, Timings};
use manta_types::{AttemptId, Event, NodeName, SwarmId, SwarmSpec};

use crate::inputs::readable;
use crate::offers::offered;
use crate::swarm::SwarmRun;
use crate::{Inputs, Offer, RestoreError};

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub enum PastEnd {
    /// All that it published counts.
    Accepted {
        /// What it left.
        outputs: Outputs,
        /// How long its phases took.
        timings: Timings,
    },
    /// It ended badly.
    Failed {
        /// How.
        failure: Failure,
        /// What it had published, kept for people.
        results: Vec<Published>,
        /// How long its phases took.
        timings: Timings,
    },
    /// It will never count, and what it did is not known.
    Lost(String),
    /// It was no longer wanted.
    Cancelled(String),
}

/// An attempt as it was offered, and what became of it.
#[derive(Debug, Clone, PartialEq)]
pub struct PastAttempt {
    /// What its node was told.
    pub offer: Offer,
    /// Why it was made.
    pub reason: String,
    /// Wall clock of its offer, ms since 1970.
    pub offered_ms: u64,
    /// What it could read; the labels of nodes are those that the reader was given.
    pub inputs: Inputs,
    /// How it ended, and when by the wall clock in ms since 1970; nothing while it may still count.
    pub end: Option<(PastEnd, u64)>,
    /// Attempts at its task on its node that were accepted since its offer, itself among them: each may have changed
    /// the state that the node keeps for the task.
    pub accepted_since: u32,
}

/// Reads a swarm's history, from its first event on, for the sake of one attempt.
#[derive(Debug)]
pub struct PastReader {
    swarm: SwarmRun,
    attempt: AttemptId,
    labels: BTreeMap<NodeName, BTreeMap<String, String>>,
    found: Option<PastAttempt>,
    /// Attempts at the same task on the same node, since the offer.
    siblings: BTreeSet<AttemptId>,
}

impl PastReader {
    /// A reader that has read nothing yet. Histories do not hold the labels of nodes, so those of today are given.
    pub fn new(
        id: SwarmId,
        spec: Arc<SwarmSpec>,
        created_ms: u64,
        attempt: AttemptId,
        labels: BTreeMap<NodeName, BTreeMap<String, String>>,
    ) -> Self {
        let swarm = SwarmRun::new(id, spec, created_ms);
        Self { swarm, attempt, labels, found: None, siblings: BTreeSet::new() }
    }

    /// Reads the next event.
    ///
    /// # Errors
    /// When it is not the next one of the swarm's history.
    pub fn read(&mut self, event: &Event) -> Result<(), RestoreError> {
        match &mut self.found {
            Some(found) => after(found, &mut self.siblings, event),
            None => {
                self.swarm.follow(event)?;
                self.look(event);
            }
        }
        Ok(())
    }

    /// The attempt, if the history that was read has it.
    pub fn finish(self) -> Option<PastAttempt> {
        self.found
    }

    fn look(&mut self, event: &Event) {
        let E::AttemptOffered { attempt: id, reason, .. } = &event.what else { return };
        if *id != self.attempt {
            return;
        }
        let (run, attempt) = self.swarm.attempt(*id).expect("an offered attempt is known");
        self.siblings.insert(*id);
        self.found = Some(PastAttempt {
            offer: offered(&self.swarm, run, attempt),
            reason: reason.clone(),
            offered_ms: event.time_ms,
            inputs: readable(&self.swarm, run, |name| self.labels.get(name).cloned().unwrap_or_default()),
            end: None,
            accepted_since: 0,
        });
    }
}

/// Takes an event that came after the offer.
fn after(found: &mut PastAttempt, siblings: &mut BTreeSet<AttemptId>, event: &Event) {
    let own = found.offer.attempt;
    let end = match &event.what {
        E::AttemptOffered { attempt, task, node, .. } => {
            if *task == found.offer.task && *node == found.offer.node {
                siblings.insert(*attempt);
            }
            return;
        }
        E::AttemptAccepted { attempt, outputs, timings } => {
            found.accepted_since += u32::from(siblings.contains(attempt));
            (*attempt, PastEnd::Accepted { outputs: outputs.clone(), timings: timings.clone() })
        }
        E::AttemptFailed { attempt, failure, results, timings, .. } => {
            let (failure, results) = (failure.clone(), results.clone());
            (*attempt, PastEnd::Failed { failure, results, timings: timings.clone() })
        }
        E::AttemptLost { attempt, reason } => (*attempt, PastEnd::Lost(reason.clone())),
        E::AttemptCancelled { attempt, reason } => (*attempt, PastEnd::Cancelled(reason.clone())),
        _ => return,
    };
    if let (attempt, end) = end
        && attempt == own
    {
        found.end = Some((end, event.time_ms));
    }
}
