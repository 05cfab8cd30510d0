//! Decides until nothing follows any more: swarms that have work, then those whose turn it is, then nodes with room.
use std::cmp::Reverse;
use std::collections::BTreeSet;

use manta_types::event::SwarmEvent as E;
use manta_types::state::DutyChange;
use manta_types::{Cause, Digest, NodeName, NodeState, SignedBy, SwarmId, TaskRunState, Timestamp};

use crate::engine::Work;
use crate::placement::is_eligible;
use crate::rules::Decision;
use crate::swarm::{Slot, SlotPlace, SwarmRun, TaskRun};
use crate::timers::Alarm;
use crate::{DutyChanged, Engine, rules, seating};

/// Slots that may move which a node with room looks at, at most, before it leaves them where they are.
const MOVERS_SEEN_MAX: usize = 32;

impl Engine {
    /// Sees to what has become due.
    pub(crate) fn ring(&mut self, now: Timestamp) {
        while let Some(alarm) = self.timers.take(now) {
            match alarm {
                Alarm::Lease(name) => {
                    let judged = self.fleet.change(&name, |node| {
                        node.alarm = None;
                        node.judge(now)
                    });
                    if judged == Some(true) {
                        self.look_at_node(&name, &Cause::Time);
                    }
                    self.watch_lease(&name);
                }
                Alarm::Drain(name) => self.look_at_node(&name, &Cause::Time),
                Alarm::Deadline(id, task) => {
                    if let Some(swarm) = self.swarms.get_mut(&id).filter(|swarm| task < swarm.task_runs.len()) {
                        swarm.agenda.runs.insert(task);
                        self.mark(id, &Cause::Time);
                    }
                }
                Alarm::Rollout(id, _) => self.mark(id, &Cause::Time),
                Alarm::Slot(id, task, slot) => self.mark_slot(id, (task, slot), &Cause::Time),
            }
        }
    }

    /// Notes who signed a bundle; whatever waits for a node that takes it is looked at again.
    pub(crate) fn note_signed(&mut self, bundle: Digest, signatures: Vec<SignedBy>, cause: &Cause) {
        self.fleet.note_signed(bundle, signatures);
        let names: Vec<NodeName> = self.fleet.names().cloned().collect();
        for name in names {
            self.look_at_node(&name, cause);
        }
    }

    /// A node changed: what it has, what waits for it and what looks for one like it is looked at again.
    pub(crate) fn look_at_node(&mut self, name: &NodeName, cause: &Cause) {
        let Some(node) = self.fleet.get(name) else { return };
        let live = node.live.iter().filter_map(|(attempt, id)| {
            let place = self.swarms.get(id)?.attempts.get(attempt)?;
            Some((*id, (place.task, place.slot)))
        });
        let (is_usable, is_awaited) = (node.is_usable(), node.state() != NodeState::Joining);
        let slots: Vec<(SwarmId, SlotPlace)> = live.chain(node.queue.slots()).collect();
        for (id, slot) in slots {
            self.mark_slot(id, slot, cause);
        }
        if is_usable {
            self.vacant.insert(name.clone());
        }
        if is_usable || is_awaited {
            self.tell_seekers(name, cause);
        }
    }

    /// Lets those who look for a node look at this one; all of them where it is revoked, for it may be what they waited for.
    fn tell_seekers(&mut self, name: &NodeName, cause: &Cause) {
        let Some(node) = self.fleet.get(name) else { return };
        let is_revoked = node.is_revoked();
        let mut found = Vec::new();
        for ((id, task), watch) in &self.seekers {
            let swarm = &self.swarms[id];
            let run = &swarm.task_runs[*task];
            let concerns = match watch {
                Some(watched) => watched == name,
                None => {
                    let specs = [Some(&run.spec), run.renewed.as_ref()];
                    is_revoked || specs.into_iter().flatten().any(|spec| is_eligible(&spec.tasks[*task], node))
                }
            };
            if concerns {
                let own = run.places.get(name).filter(|slot| run.stranded.contains(slot));
                let told = if is_revoked || run.renewed.is_some() { run.stranded.len() } else { 1 };
                let slots = own.into_iter().chain(&run.stranded).take(told).copied();
                found.push((*id, *task, slots.collect::<BTreeSet<_>>()));
            }
        }
        for (id, task, slots) in found {
            let swarm = self.swarms.get_mut(&id).expect("seekers are known swarms");
            let run = &mut swarm.task_runs[task];
            match run.state {
                TaskRunState::Running => {
                    run.stranded.retain(|slot| !slots.contains(slot));
                    if run.stranded.is_empty() {
                        self.seekers.remove(&(id, task));
                    }
                    slots.into_iter().for_each(|slot| self.mark_slot(id, (task, slot), cause));
                }
                TaskRunState::Ready => {
                    swarm.agenda.runs.insert(task);
                    self.mark(id, cause);
                }
                _ => {}
            }
        }
    }

    /// Decides until nothing follows.
    pub(crate) fn settle(&mut self, work: &mut Work) {
        let input = work.cause.clone();
        loop {
            if let Some((id, cause)) = self.dirty.pop_first() {
                work.cause = cause;
                self.settle_swarm(id, work);
                work.cause.clone_from(&input);
            } else if let Some(id) = self.turns.next() {
                let first = rules::begin(&self.swarms[&id]);
                self.emit(id, first, work);
            } else if let Some(name) = self.vacant.pop_first() {
                self.fill(&name, work);
                self.attract(&name);
            } else if let Some(id) = self.spared.pop_first() {
                self.take_in_again(id);
            } else {
                break;
            }
        }
        self.finish_drains(work);
    }

    fn settle_swarm(&mut self, id: SwarmId, work: &mut Work) {
        while let Some(swarm) = self.swarms.get_mut(&id)
            && let Some(decision) = rules::next(swarm, &self.fleet, work.now)
        {
            match decision {
                Decision::Happen(events) => events.into_iter().for_each(|event| self.emit(id, event, work)),
                Decision::Queue { slot, node, look_again } => {
                    self.enqueue(id, slot, &node);
                    if let Some(at) = look_again {
                        self.timers.set(at, Alarm::Slot(id, slot.0, slot.1));
                    }
                }
                Decision::Seek { task, slot, watch } => {
                    swarm.task_runs[task].stranded.extend(slot);
                    self.seekers.insert((id, task), watch);
                    if let Some(slot) = slot {
                        self.dequeue(id, (task, slot));
                    }
                }
                Decision::Wake(at, alarm) => self.timers.set(at, alarm),
            }
        }
    }

    /// Offers a node what waits for it, in turn, while it has room.
    fn fill(&mut self, name: &NodeName, work: &mut Work) {
        while let Some(node) = self.fleet.get(name).filter(|node| node.is_usable() && node.has_room())
            && let Some((id, slot)) = node.queue.first()
        {
            if self.swarms[&id].is_at_its_limit() {
                self.fleet.change(name, |node| node.queue.pass_over(id));
                self.passed.entry(id).or_default().insert(name.clone());
                continue;
            }
            self.fleet.change(name, |node| node.queue.serve(id, slot));
            let swarm = &self.swarms[&id];
            self.movers.remove(&(Reverse(swarm.spec.priority), id, slot));
            let run = &swarm.task_runs[slot.0];
            let offer = E::AttemptOffered {
                attempt: self.random.attempt_id(work.now.wall_ms),
                iteration: run.iteration,
                task: slot.0,
                slot: slot.1,
                node: name.clone(),
                epoch: run.slots[slot.1].epoch + 1,
                reason: seating::reason(&run.slots[slot.1]),
                version: brought(swarm, run, &run.slots[slot.1]),
            };
            self.emit(id, offer, work);
        }
    }

    /// A node with room to spare takes over work that waits elsewhere and may move.
    fn attract(&mut self, name: &NodeName) {
        let Some(node) = self.fleet.get(name).filter(|node| node.is_usable() && node.has_spare_room()) else { return };
        let suits = |(_, id, slot): &&(Reverse<i32>, SwarmId, SlotPlace)| {
            let swarm = &self.swarms[id];
            let run = &swarm.task_runs[slot.0];
            let waits_for_room = run.slots[slot.1].waits_at.as_ref().and_then(|at| self.fleet.get(at));
            waits_for_room.is_some_and(|at| !at.has_room())
                && !swarm.is_at_its_limit()
                && !run.places.contains_key(name)
                && is_eligible(run.task_of(&run.slots[slot.1]), node)
        };
        if let Some((_, id, slot)) = self.movers.iter().take(MOVERS_SEEN_MAX).find(suits).copied() {
            self.enqueue(id, slot, name);
        }
    }

    /// A node that drains and has nothing left is drained.
    fn finish_drains(&mut self, work: &mut Work) {
        let empty = |name: &&NodeName| self.fleet.get(name).is_none_or(|node| node.live.is_empty());
        let done: Vec<NodeName> = self.draining.iter().filter(empty).cloned().collect();
        for node in done {
            self.draining.remove(&node);
            if let Some(true) = self.fleet.change(&node, |node| node.change_duty(DutyChange::FinishDrain, None)) {
                let duty = self.fleet.get(&node).map(crate::Node::duty).unwrap_or_default();
                let reason = "nothing runs there any more".to_owned();
                work.step.duties.push(DutyChanged { node, duty, drain_left: None, reason });
            }
        }
    }
}

/// The version that a slot's next attempt runs, where a rollout brought it.
fn brought(swarm: &SwarmRun, run: &TaskRun, slot: &Slot) -> Option<String> {
    let task = run.task_of(slot);
    (task.bundle != swarm.submitted.tasks[run.task].bundle).then(|| task.version.clone())
}
