//! Takes inputs: what people ask for, and what nodes say.
use std::time::Duration;

use manta_types::event::{AttemptStateName, Failure, SwarmEvent as E};
use manta_types::state::DutyChange;
use manta_types::{
    AttemptId, AttemptState, NodeDuty, NodeName, NodeState, OutcomeClass, SwarmId, SwarmState, TaskRunState, Timestamp,
};

use crate::engine::Work;
use crate::node::Node;
use crate::offers::{command, retry_after};
use crate::swarm::{Attempt, SwarmRun, TaskRun};
use crate::timers::Alarm;
use crate::{Command, DutyChanged, Engine, Held, Input, NodeDescription, Submit};

/// A report of an attempt's end or progress, as a node names it.
struct Report {
    node: NodeName,
    attempt: AttemptId,
    epoch: u32,
}

impl Report {
    fn withdrawn(self) -> Command {
        let Self { node, attempt, epoch } = self;
        Command::Cancel { node, attempt, epoch, reason: "it is no longer wanted".to_owned() }
    }
}

impl Engine {
    /// A node that speaks lives, before anything else is judged.
    pub(crate) fn hear(&mut self, input: &Input, now: Timestamp) {
        let (Input::NodeHeard { node } | Input::NodeConnected { node: NodeDescription { name: node, .. }, .. }) = input
        else {
            return;
        };
        if self.fleet.note_heard(node, now) {
            return;
        }
        let came_back = self.fleet.change(node, |node| {
            let may_come = node.duty() != NodeDuty::Revoked;
            if may_come {
                node.heard(now);
            }
            may_come
        });
        if came_back == Some(true) {
            self.watch_lease(node);
            self.look_at_node(node, &input.cause());
        }
    }

    pub(crate) fn take(&mut self, input: Input, work: &mut Work) {
        match input {
            Input::Submit(submit) => self.submit(submit, work),
            Input::Stop { swarm, reason } => self.stop(swarm, reason, work),
            Input::Pause { swarm, reason } => {
                if self.state_of(swarm) == Some(SwarmState::Running) {
                    self.emit(swarm, E::SwarmPaused { reason }, work);
                }
            }
            Input::Resume { swarm, reason } => self.resume(swarm, reason, work),
            Input::Rollout { swarm, task, order } => self.order_rollout(swarm, task, order, work),
            Input::Drain { node, deadline, reason } => {
                self.change_duty(&node, DutyChange::Drain, deadline, reason, work);
            }
            Input::ResumeNode { node, reason } => self.change_duty(&node, DutyChange::Resume, None, reason, work),
            Input::Revoke { node, reason } => self.change_duty(&node, DutyChange::Revoke, None, reason, work),
            Input::NodeConnected { node, held } => self.connect(node, &held, work),
            Input::NodeDescribed { node } => self.describe_node(node, work),
            Input::NodeRemoved { node } => self.remove_node(&node),
            Input::NodeDisconnected { node } => {
                self.fleet.change(&node, |node| node.connected = false);
            }
            Input::NodeLeft { node, reason } => self.leave(&node, &reason, work),
            Input::NodeHeard { node } => self.revive(&node, work),
            Input::Progressed { node, attempt, epoch, phase } => {
                self.progress(Report { node, attempt, epoch }, phase, work);
            }
            Input::Succeeded { node, attempt, epoch, outputs, timings } => {
                let event = E::AttemptAccepted { attempt, outputs, timings };
                self.finish(Report { node, attempt, epoch }, |_, _| event, work);
            }
            Input::Failed { node, attempt, epoch, failure, results, timings } => {
                if failure.class == OutcomeClass::Policy {
                    self.note_refusal(&node, attempt, &failure.message);
                }
                let event = |run: &TaskRun, swarm: &SwarmRun| {
                    let retry_after_ms = retry_after(swarm, run, attempt, &failure);
                    E::AttemptFailed { attempt, failure: Failure::from(failure), results, timings, retry_after_ms }
                };
                self.finish(Report { node, attempt, epoch }, event, work);
            }
            Input::Signed { bundle, signatures } => self.note_signed(bundle, signatures, &work.cause),
            Input::Tick => {}
        }
    }

    fn state_of(&self, id: SwarmId) -> Option<SwarmState> {
        self.swarms.get(&id).map(SwarmRun::state)
    }

    fn submit(&mut self, submit: Submit, work: &mut Work) {
        let Submit { id, spec, continues } = submit;
        let fits = continues.as_ref().is_none_or(|checkpoint| checkpoint.fits(spec.tasks.len()));
        assert!(fits, "a swarm goes on by the graph of the one that it continues");
        let before = self.swarms.insert(id, SwarmRun::new(id, spec, work.now.wall_ms));
        assert!(before.is_none(), "a swarm's id is new");
        self.emit(id, E::SwarmAdmitted, work);
        if let Some(checkpoint) = continues {
            self.emit(id, E::SwarmContinued { checkpoint }, work);
        }
    }

    fn stop(&mut self, id: SwarmId, reason: String, work: &mut Work) {
        let Some(swarm) = self.swarms.get(&id).filter(|swarm| !swarm.is_over()) else { return };
        let live: Vec<_> = swarm.live_attempts().map(|attempt| attempt.id).collect();
        for attempt in live {
            self.emit(id, E::AttemptCancelled { attempt, reason: reason.clone() }, work);
        }
        self.emit(id, E::SwarmStopped { reason }, work);
    }

    fn resume(&mut self, id: SwarmId, reason: String, work: &mut Work) {
        let Some(swarm) = self.swarms.get(&id).filter(|swarm| swarm.state == SwarmState::Paused) else { return };
        let paused = swarm.paused_at.map_or(Duration::ZERO, |at| work.now.monotonic - at);
        let paused_ms = u64::try_from(paused.as_millis()).unwrap_or(u64::MAX);
        self.emit(id, E::SwarmResumed { reason, paused_ms }, work);
    }

    fn change_duty(
        &mut self,
        name: &NodeName,
        change: DutyChange,
        limit: Option<Duration>,
        reason: String,
        work: &mut Work,
    ) {
        let due = limit.map(|limit| work.now.monotonic + limit);
        let changed = self.fleet.change(name, |node| {
            let known = node.change_duty(change, due);
            if node.duty() == NodeDuty::Revoked {
                node.leave();
            }
            known.then(|| node.duty())
        });
        let Some(duty) = changed.flatten() else { return };
        work.step.duties.push(DutyChanged { node: name.clone(), duty, drain_left: limit, reason });
        if duty == NodeDuty::Draining {
            self.draining.insert(name.clone());
        } else {
            self.draining.remove(name);
        }
        if let Some(due) = due {
            self.timers.set(due, Alarm::Drain(name.clone()));
        }
        #[cfg(feature = "planted-bugs")]
        if self.bugs.trust_revoked && duty == NodeDuty::Revoked {
            return;
        }
        self.look_at_node(name, &work.cause);
    }

    fn connect(&mut self, description: NodeDescription, held: &[Held], work: &mut Work) {
        let (name, now) = (description.name.clone(), work.now.monotonic);
        if self.fleet.get(&name).is_some_and(|node| node.duty() == NodeDuty::Revoked) {
            let withdrawn = |held: &Held| Report { node: name.clone(), attempt: held.attempt, epoch: held.epoch };
            work.step.commands.extend(held.iter().map(|held| withdrawn(held).withdrawn()));
            return;
        }
        if !self.fleet.contains(&name) {
            self.fleet.insert(Node::joining(description.clone(), now));
        }
        self.fleet.change(&name, |node| {
            (node.description, node.connected) = (description, true);
            node.refused.clear();
            node.heard(now);
        });
        self.fleet.note_news();
        self.watch_lease(&name);
        for (id, attempt) in self.live_on(&name, |_| true) {
            let is_held = held.iter().any(|held| held.attempt == attempt.id && held.epoch == attempt.epoch);
            if is_held {
                continue;
            }
            if attempt.state == AttemptState::Offered {
                let swarm = &self.swarms[&id];
                let (run, attempt) = swarm.attempt(attempt.id).expect("live attempts are known");
                work.step.commands.push(command(swarm, run, attempt));
            } else {
                let reason = format!("{name} came back without it");
                self.emit(id, E::AttemptLost { attempt: attempt.id, reason }, work);
            }
        }
        self.revive(&name, work);
        for held in held {
            if self.current(&name, held.attempt, held.epoch).is_none() {
                let stale = Report { node: name.clone(), attempt: held.attempt, epoch: held.epoch };
                work.step.commands.push(stale.withdrawn());
            }
        }
        self.look_at_node(&name, &work.cause);
    }

    /// What a node offers is another thing from now on: what it refused may be allowed, and what waits is looked at again.
    fn describe_node(&mut self, description: NodeDescription, work: &Work) {
        let name = description.name.clone();
        self.fleet.change(&name, |node| {
            node.description = description;
            node.refused.clear();
        });
        self.fleet.note_news();
        self.look_at_node(&name, &work.cause);
    }

    /// Lets go of a node, where nothing can follow from that.
    fn remove_node(&mut self, name: &NodeName) {
        if self.fleet.get(name).is_some_and(Node::is_removable) {
            self.fleet.remove(name);
            self.draining.remove(name);
            self.vacant.remove(name);
        }
    }

    /// A node refused an attempt by its policy: its bundle is not offered to it again before something changed.
    fn note_refusal(&mut self, name: &NodeName, attempt: AttemptId, words: &str) {
        let Some(swarm) = self.swarm_of(attempt) else { return };
        let bundle = swarm.attempts.get(&attempt).map(|place| swarm.spec.tasks[place.task].bundle);
        let is_its_own = swarm.attempt(attempt).is_some_and(|(_, found)| found.node == *name);
        if let Some(bundle) = bundle.filter(|_| is_its_own) {
            self.fleet.change(name, |node| node.refused.insert(bundle, words.to_owned()));
        }
    }

    /// Attempts on a node that fell silent are alive again, in the phase in which they were last heard.
    fn revive(&mut self, name: &NodeName, work: &mut Work) {
        if self.fleet.get(name).is_none_or(|node| node.state() != NodeState::Online) {
            return;
        }
        for (id, attempt) in self.live_on(name, |attempt| attempt.state == AttemptState::Silent) {
            let state = match attempt.phase {
                AttemptState::Offered | AttemptState::Preparing => AttemptStateName::Preparing,
                AttemptState::Uploading => AttemptStateName::Uploading,
                _ => AttemptStateName::Running,
            };
            self.emit(id, E::AttemptProgressed { attempt: attempt.id, state }, work);
        }
    }

    fn leave(&mut self, name: &NodeName, reason: &str, work: &mut Work) {
        self.fleet.change(name, |node| {
            node.leave();
            node.last_heard = work.now.monotonic;
        });
        for (id, attempt) in self.live_on(name, |_| true) {
            let reason = format!("{name} left: {reason}");
            self.emit(id, E::AttemptLost { attempt: attempt.id, reason }, work);
        }
        self.look_at_node(name, &work.cause);
    }

    /// The live attempts on a node that pass, with their swarms.
    fn live_on(&self, name: &NodeName, passes: impl Fn(&Attempt) -> bool) -> Vec<(SwarmId, Attempt)> {
        let live = self.fleet.get(name).into_iter().flat_map(|node| &node.live);
        let known = live.filter_map(|(attempt, id)| Some((*id, self.swarms.get(id)?.attempt(*attempt)?.1)));
        known.filter(|(_, attempt)| passes(attempt)).map(|(id, attempt)| (id, attempt.clone())).collect()
    }

    /// The fence: the attempt as it stands, if this node holds it under this epoch and it may still count.
    fn current(&self, node: &NodeName, attempt: AttemptId, epoch: u32) -> Option<(&SwarmRun, &TaskRun, &Attempt)> {
        let swarm = self.swarm_of(attempt)?;
        let (run, found) = swarm.attempt(attempt)?;
        #[cfg(feature = "planted-bugs")]
        if self.bugs.accept_stale_attempts && run.state == TaskRunState::Running && !swarm.is_over() {
            return Some((swarm, run, found));
        }
        let place = swarm.attempts[&attempt];
        let slot = &run.slots[place.slot];
        let is_current = found.node == *node && found.epoch == epoch && slot.epoch == epoch;
        let may_count = !found.state.is_final() && run.state == TaskRunState::Running && !swarm.is_over();
        (is_current && may_count).then_some((swarm, run, found))
    }

    fn progress(&mut self, report: Report, phase: AttemptStateName, work: &mut Work) {
        let Some((swarm, _, found)) = self.current(&report.node, report.attempt, report.epoch) else {
            work.step.commands.push(report.withdrawn());
            return;
        };
        let id = swarm.id;
        if found.state.next(phase.change()).is_ok() {
            self.emit(id, E::AttemptProgressed { attempt: report.attempt, state: phase }, work);
        }
    }

    /// Ends an attempt, unless the fence refuses it, and answers the node in every case.
    fn finish(&mut self, report: Report, event: impl FnOnce(&TaskRun, &SwarmRun) -> E, work: &mut Work) {
        let Report { node, attempt, epoch } = report;
        let fenced = self.current(&node, attempt, epoch).map(|(swarm, run, _)| (swarm.id, event(run, swarm)));
        let Some((id, what)) = fenced else {
            let (accepted, reason) = self.verdict_again(&node, attempt, epoch);
            work.step.commands.push(Command::Verdict { node, attempt, epoch, accepted, reason });
            return;
        };
        let accepted = matches!(what, E::AttemptAccepted { .. });
        self.emit(id, what, work);
        let reason = if accepted { "accepted" } else { "recorded as failed" }.to_owned();
        work.step.commands.push(Command::Verdict { node, attempt, epoch, accepted, reason });
    }

    /// The answer to a report that changes nothing: the same as before, or why it comes too late.
    fn verdict_again(&self, node: &NodeName, attempt: AttemptId, epoch: u32) -> (bool, String) {
        let known = self.swarm_of(attempt).and_then(|swarm| swarm.attempt(attempt));
        match known {
            Some((_, found)) if found.node != *node || found.epoch != epoch => {
                (false, "it is another node's".to_owned())
            }
            Some((_, found)) if found.state == AttemptState::Accepted => (true, "accepted before".to_owned()),
            Some((_, found)) => (false, format!("it is {} already", found.state)),
            None => (false, "nobody waits for it".to_owned()),
        }
    }
}
