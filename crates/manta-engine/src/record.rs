//! Makes events happen: each is applied, kept for the caller, and followed by its commands and by what the indices know.
use std::cmp::Reverse;

use manta_types::event::SwarmEvent as E;
use manta_types::{AttemptId, Cause, Event, NodeName, SwarmId};

use crate::engine::Work;
use crate::swarm::SlotPlace;
use crate::timers::Alarm;
use crate::{Command, Engine, closing, offers};

impl Engine {
    pub(crate) fn emit(&mut self, id: SwarmId, what: E, work: &mut Work) {
        self.abandon_rollouts(id, &what, work);
        self.prepare(id, &what);
        let swarm = self.swarms.get_mut(&id).expect("events are emitted for known swarms");
        let cause = work.links.get(&id).map_or_else(|| work.cause.clone(), |seq| Cause::Event { seq: *seq });
        let subject = swarm.subject(&what);
        let event = Event { swarm: id, seq: swarm.seq + 1, time_ms: work.now.wall_ms, subject, cause, what };
        let before = swarm.state;
        swarm.apply(&event, work.now.monotonic);
        self.turns.note(swarm, before);
        let marks = swarm.has_work() || swarm.state != before;
        if marks && !swarm.is_over() {
            self.dirty.entry(id).or_insert_with(|| event.cause.clone());
        }
        // Nothing in a step follows from an offer or a withdrawal.
        if !matches!(event.what, E::AttemptOffered { .. } | E::AttemptCancelled { .. }) {
            work.links.insert(id, event.seq);
        }
        self.follow(id, &event.what, work);
        work.step.events.push(event);
    }

    /// What has to be undone before an event happens.
    fn prepare(&mut self, id: SwarmId, what: &E) {
        let swarm = &self.swarms[&id];
        match what {
            E::IterationStarted { iteration, .. } => {
                let forgotten = swarm.attempts.iter().filter(|(_, place)| place.iteration + 1 < *iteration);
                for (attempt, _) in forgotten {
                    self.attempts.remove(attempt);
                }
            }
            E::TaskRunClosed { task, .. } => {
                if let Some(due) = closing::deadline(swarm, &swarm.task_runs[*task]) {
                    self.timers.cancel(due, Alarm::Deadline(id, *task));
                }
                let queued = swarm.agenda.queued.range((*task, 0)..(*task + 1, 0)).copied();
                for slot in queued.collect::<Vec<_>>() {
                    self.dequeue(id, slot);
                }
                self.seekers.remove(&(id, *task));
            }
            E::TaskRunSkipped { task, .. } | E::TaskRunStarted { task, .. } => {
                self.seekers.remove(&(id, *task));
            }
            E::NodeExcused { task, slot, .. } => self.dequeue(id, (*task, *slot)),
            E::SwarmPaused { .. } | E::SwarmStopped { .. } | E::SwarmFailed { .. } | E::SwarmSucceeded { .. } => {
                self.withdraw(id)
            }
            _ => {}
        }
    }

    /// Takes all that waits in a swarm off the lists of nodes.
    fn withdraw(&mut self, id: SwarmId) {
        for slot in self.swarms[&id].agenda.queued.iter().copied().collect::<Vec<_>>() {
            self.dequeue(id, slot);
        }
        let seeking = self.seekers.range((id, 0)..=(id, usize::MAX)).map(|(key, _)| *key);
        for key in seeking.collect::<Vec<_>>() {
            self.seekers.remove(&key);
        }
        self.passed.remove(&id);
    }

    fn follow(&mut self, id: SwarmId, what: &E, work: &mut Work) {
        match what {
            E::AttemptOffered { attempt, node, .. } => {
                self.attempts.insert(*attempt, id);
                self.fleet.change(node, |node| node.live.insert(*attempt, id));
                let swarm = &self.swarms[&id];
                let (run, attempt) = swarm.attempt(*attempt).expect("an offered attempt is known");
                let command = offers::command(swarm, run, attempt);
                #[cfg(feature = "planted-bugs")]
                let command = self.bugs.repinned(swarm, command);
                work.step.commands.push(command);
            }
            E::AttemptAccepted { attempt, .. } | E::AttemptFailed { attempt, .. } => {
                self.release(id, *attempt);
            }
            E::AttemptLost { attempt, reason } | E::AttemptCancelled { attempt, reason } => {
                if let Some((node, epoch)) = self.release(id, *attempt) {
                    let (attempt, reason) = (*attempt, reason.clone());
                    work.step.commands.push(Command::Cancel { node, attempt, epoch, reason });
                }
            }
            _ => {}
        }
    }

    /// An attempt ended: its node has room, and its swarm may have another.
    fn release(&mut self, id: SwarmId, attempt: AttemptId) -> Option<(NodeName, u32)> {
        let swarm = &self.swarms[&id];
        let (_, ended) = swarm.attempt(attempt)?;
        let (node, epoch) = (ended.node.clone(), ended.epoch);
        self.fleet.change(&node, |node| node.live.remove(&attempt));
        self.vacant.insert(node.clone());
        self.take_in_again(id);
        Some((node, epoch))
    }

    /// A swarm that may have more attempts at once is served again at as many nodes where it was passed over. Others may
    /// be served there before it, or what waited there be withdrawn, so it is looked at again once all nodes are filled:
    /// a swarm below its limit is passed over nowhere.
    pub(crate) fn take_in_again(&mut self, id: SwarmId) {
        let swarm = &self.swarms[&id];
        let Some(most) = swarm.spec.attempts_max else { return };
        let mut spare = (most.get() as usize).saturating_sub(swarm.agenda.live.len());
        while spare > 0
            && let Some(name) = self.passed.get_mut(&id).and_then(|nodes| nodes.pop_first())
        {
            let has_room = self.fleet.change(&name, |node| {
                // What it waited for here may have moved on meanwhile; then another node is served in its place.
                node.queue.restore(id) && node.has_room() && node.is_usable()
            });
            spare -= usize::from(has_room == Some(true));
            self.vacant.insert(name);
            self.spared.insert(id);
        }
    }

    /// Lets a slot wait for a place at a node, wherever it waited before.
    pub(crate) fn enqueue(&mut self, id: SwarmId, slot: SlotPlace, name: &NodeName) {
        let swarm = self.swarms.get_mut(&id).expect("slots wait in known swarms");
        let run = &mut swarm.task_runs[slot.0];
        if run.slots[slot.1].waits_at.as_ref() == Some(name) {
            return;
        }
        self.dequeue(id, slot);
        let swarm = self.swarms.get_mut(&id).expect("slots wait in known swarms");
        let priority = swarm.spec.priority;
        let run = &mut swarm.task_runs[slot.0];
        run.occupy(slot.1, name);
        run.slots[slot.1].waits_at = Some(name.clone());
        swarm.agenda.queued.insert(slot);
        if run.movable {
            self.movers.insert((Reverse(priority), id, slot));
        }
        self.fleet.change(name, |node| node.queue.push(id, priority, slot));
        self.vacant.insert(name.clone());
    }

    /// Takes a slot off the list of the node at which it waits.
    pub(crate) fn dequeue(&mut self, id: SwarmId, slot: SlotPlace) {
        let swarm = self.swarms.get_mut(&id).expect("slots wait in known swarms");
        if !swarm.agenda.queued.remove(&slot) {
            return;
        }
        self.movers.remove(&(Reverse(swarm.spec.priority), id, slot));
        let run = &mut swarm.task_runs[slot.0];
        let Some(name) = run.slots[slot.1].waits_at.clone() else { return };
        run.vacate(slot.1);
        self.fleet.change(&name, |node| node.queue.remove(id, slot));
    }

    /// Notes that a swarm is to be looked at.
    pub(crate) fn mark(&mut self, id: SwarmId, cause: &Cause) {
        if self.swarms.get(&id).is_some_and(|swarm| !swarm.is_over()) {
            self.dirty.entry(id).or_insert_with(|| cause.clone());
        }
    }

    /// Notes that a slot is to be looked at.
    pub(crate) fn mark_slot(&mut self, id: SwarmId, slot: SlotPlace, cause: &Cause) {
        if let Some(swarm) = self.swarms.get_mut(&id).filter(|swarm| swarm.iteration.is_some()) {
            swarm.agenda.slots.insert(slot);
            self.mark(id, cause);
        }
    }
}
