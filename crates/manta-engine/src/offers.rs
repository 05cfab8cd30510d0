//! What a node is told of an attempt, and when the next one follows.
use std::sync::Arc;

use manta_types::{AttemptFailure, AttemptId, OutcomeClass, limits};

use crate::random::hash;
use crate::swarm::{Attempt, SwarmRun, TaskRun};
use crate::{Command, Offer};

pub(crate) fn command(swarm: &SwarmRun, run: &TaskRun, attempt: &Attempt) -> Command {
    Command::Offer(Box::new(offered(swarm, run, attempt)))
}

/// What a node is told of an attempt.
pub(crate) fn offered(swarm: &SwarmRun, run: &TaskRun, attempt: &Attempt) -> Offer {
    let task = &swarm.spec.tasks[run.task];
    let parts: [&[u8]; 4] = [
        &swarm.state_of.bytes(),
        &run.iteration.to_le_bytes(),
        task.alias.as_bytes(),
        attempt.node.as_str().as_bytes(),
    ];
    let slot = &run.slots[swarm.attempts[&attempt.id].slot];
    let spec = run.spec_of(attempt.is_renewed);
    Offer {
        node: attempt.node.clone(),
        attempt: attempt.id,
        epoch: attempt.epoch,
        swarm: swarm.id,
        state_of: swarm.state_of,
        task: run.task,
        iteration: run.iteration,
        number: slot.tries,
        seed: hash(&parts) >> 1,
        spec: Arc::clone(spec),
    }
}

/// How long to wait before the next attempt of a slot, in milliseconds, or nothing where there will be none.
pub(crate) fn retry_after(
    swarm: &SwarmRun,
    run: &TaskRun,
    attempt: AttemptId,
    failure: &AttemptFailure,
) -> Option<u64> {
    let slot = &run.slots[swarm.attempts[&attempt].slot];
    if failure.class == OutcomeClass::Policy && !run.movable {
        // It runs on that node or nowhere, and the site has the last word.
        return None;
    }
    let (made, allowed) = if failure.class.counts_as_try() {
        (slot.tries + 1 - slot.pardoned, swarm.spec.tasks[run.task].policy.retries)
    } else {
        (slot.lost + 1, limits::LOST_ATTEMPTS_MAX - 1)
    };
    if made > allowed {
        return None;
    }
    if failure.class == OutcomeClass::Policy {
        // That node is not asked again before something changed, so there is nothing to wait for.
        return Some(0);
    }
    let doubled = limits::RETRY_BACKOFF.saturating_mul(1 << (made - 1).min(16));
    u64::try_from(doubled.min(limits::RETRY_BACKOFF_MAX).as_millis()).ok()
}
