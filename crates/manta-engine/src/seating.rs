//! What a slot needs: a place at a node for its next attempt, or doubt about the attempt that it has.
use manta_types::event::{AttemptStateName, SwarmEvent as E};
use manta_types::{AttemptState, NodeDuty, NodeName, TaskIndex, TaskSpec, Timestamp, limits};

use crate::fleet::Fleet;
use crate::node::Node;
use crate::placement;
use crate::rules::Decision;
use crate::swarm::{Slot, SwarmRun, TaskRun};
use crate::timers::Alarm;

/// A slot that is open, and all that decides what becomes of it.
struct Seat<'a> {
    swarm: &'a SwarmRun,
    run: &'a TaskRun,
    index: usize,
    slot: &'a Slot,
    fleet: &'a Fleet,
    now: Timestamp,
}

/// What to do about a slot now; nothing where it is settled or has all it needs.
pub(crate) fn decide(
    swarm: &SwarmRun,
    (task, index): (TaskIndex, usize),
    fleet: &Fleet,
    now: Timestamp,
) -> Option<Decision> {
    let run = &swarm.task_runs[task];
    let slot = run.slots.get(index).filter(|slot| slot.is_open() && run.is_running())?;
    let seat = Seat { swarm, run, index, slot, fleet, now };
    match slot.live() {
        Some(_) => seat.doubt(),
        None if !swarm.may_start() => None,
        None => seat.find(),
    }
}

impl Seat<'_> {
    /// What to make of a live attempt whose node is not heard, or may not have it any more.
    fn doubt(&self) -> Option<Decision> {
        let attempt = self.slot.live()?;
        let node = self.fleet.get(&attempt.node);
        let lost = |reason: String| Decision::happen(E::AttemptLost { attempt: attempt.id, reason });
        if let Some(dismissed) = node.and_then(|node| node.dismissed(self.now)) {
            return Some(lost(format!("{} is {dismissed}", attempt.node)));
        }
        if node.is_some_and(Node::may_deliver) {
            return None;
        }
        if attempt.state != AttemptState::Silent {
            let state = AttemptStateName::Silent;
            return Some(Decision::happen(E::AttemptProgressed { attempt: attempt.id, state }));
        }
        let silent = node.map_or(limits::NODE_GRACE, |node| self.now - node.last_heard);
        let reason = format!("{} has not been heard for {} s", attempt.node, silent.as_secs());
        if self.run.movable {
            let other = self.elsewhere();
            return Some(if other.is_some() { lost(reason) } else { self.seek() });
        }
        if !self.others_remain() {
            return None;
        }
        match node.map(Node::grace_ends).filter(|end| self.now < *end) {
            Some(end) => Some(self.wake(end)),
            None => Some(lost(reason)),
        }
    }

    /// Where the next attempt is to wait for a place.
    fn find(&self) -> Option<Decision> {
        if self.slot.lost >= limits::LOST_ATTEMPTS_MAX {
            return Some(self.excuse(format!("given up after {} lost attempts", self.slot.lost)));
        }
        if let Some(due) = self.slot.retry_at.filter(|due| self.now < *due) {
            return Some(self.wake(due));
        }
        let spec = self.run.task_of(self.slot);
        let own = self.fleet.get(&self.slot.node);
        let is_free = self.run.places.get(&self.slot.node).is_none_or(|slot| *slot == self.index);
        let here = own.filter(|node| is_free && placement::is_eligible(spec, node));
        if self.run.movable {
            return Some(self.find_anywhere(here));
        }
        if here.is_some() {
            return Some(self.queue(self.slot.node.clone(), None));
        }
        Some(match away(spec, own, self.now) {
            Away::ForEver(reason) => self.excuse(reason.to_owned()),
            Away::Given(reason) if self.others_remain() => self.excuse(reason),
            Away::Given(_) => self.queue(self.slot.node.clone(), None),
            Away::Until(end) => self.queue(self.slot.node.clone(), Some(end)),
        })
    }

    /// Where it waits already; else another node first after an attempt, or where its own is full and the other is not.
    fn find_anywhere(&self, here: Option<&Node>) -> Decision {
        let spec = self.run.task_of(self.slot);
        let waits_at = self.slot.waits_at.as_ref().and_then(|name| self.fleet.get(name));
        if let Some(node) = waits_at.filter(|node| placement::is_eligible(spec, node)) {
            return self.queue(node.name().clone(), None);
        }
        let again = !self.slot.attempts.is_empty();
        let stays = here.filter(|node| !again && node.has_spare_room());
        let other = if stays.is_some() { None } else { self.elsewhere() };
        match (other, here) {
            (Some(other), None) => self.queue(other.name().clone(), None),
            (Some(other), Some(_)) if again || other.has_spare_room() => self.queue(other.name().clone(), None),
            (_, Some(here)) => self.queue(here.name().clone(), None),
            (None, None) if self.is_revoked_and_none_is_left() => {
                self.excuse("revoked, and no other is left".to_owned())
            }
            (None, None) => self.seek(),
        }
    }

    fn elsewhere(&self) -> Option<&Node> {
        // Where two versions run, what one looks for may be what the other has not found.
        if self.run.renewed.is_none() && self.run.nowhere == Some(self.fleet.version()) {
            return None;
        }
        placement::replacement(self.run.task_of(self.slot), self.run, self.fleet)
    }

    /// Whether some other slot may still succeed or has, so that this one, which is open, can be excused.
    const fn others_remain(&self) -> bool {
        self.run.counts.accepted + self.run.counts.open > 1
    }

    fn excuse(&self, reason: String) -> Decision {
        let (iteration, task, slot) = (self.run.iteration, self.run.task, self.index);
        Decision::happen(E::NodeExcused { iteration, task, slot, node: self.slot.node.clone(), reason })
    }

    fn queue(&self, node: NodeName, look_again: Option<Timestamp>) -> Decision {
        Decision::Queue { slot: (self.run.task, self.index), node, look_again }
    }

    /// Whether its node is gone for ever, and every other that is known and could run it has a slot of this task run
    /// already; not where all hangs on this slot, for another node may yet join.
    fn is_revoked_and_none_is_left(&self) -> bool {
        let spec = self.run.task_of(self.slot);
        let is_taken = |node: &Node| self.run.places.contains_key(node.name());
        let is_unfit = |node: &Node| placement::static_cause(spec, node).is_some();
        (self.others_remain() || self.run.counts.failed > 0)
            && self.fleet.get(&self.slot.node).is_some_and(Node::is_revoked)
            && self.fleet.iter().all(|node| node.is_revoked() || is_taken(node) || is_unfit(node))
    }

    const fn seek(&self) -> Decision {
        Decision::Seek { task: self.run.task, slot: Some(self.index), watch: None }
    }

    fn wake(&self, at: Timestamp) -> Decision {
        Decision::Wake(at, Alarm::Slot(self.swarm.id, self.run.task, self.index))
    }
}

/// How a node that cannot be used is away from a task that must run on it.
enum Away {
    /// It will never come back; there is nothing to wait for, even where no other remains.
    ForEver(&'static str),
    /// The task may go on without it, for this reason, if another remains.
    Given(String),
    /// It is waited for until then.
    Until(Timestamp),
}

fn away(spec: &TaskSpec, node: Option<&Node>, now: Timestamp) -> Away {
    let Some(node) = node else { return Away::ForEver("is not known any more") };
    match node.duty() {
        NodeDuty::Revoked => Away::ForEver("revoked"),
        NodeDuty::Draining | NodeDuty::Drained => Away::Given("drained".to_owned()),
        NodeDuty::Active if node.is_usable() => Away::Given(match placement::policy_cause(spec, node) {
            Some(obstacle) => obstacle.why,
            None => "does not offer what it needs any more".to_owned(),
        }),
        NodeDuty::Active if now < node.grace_ends() => Away::Until(node.grace_ends()),
        NodeDuty::Active => Away::Given(format!("lost {} s ago", (now - node.last_heard).as_secs())),
    }
}

/// Why the next attempt of a slot is made.
pub(crate) fn reason(slot: &Slot) -> String {
    match slot.attempts.last() {
        None => "first".to_owned(),
        Some(last) => match &last.failure {
            Some(failure) => format!("again after {}", failure.class),
            None => format!("again: {} was lost", last.node),
        },
    }
}
