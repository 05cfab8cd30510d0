//! The engine: inputs in, events and commands out.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use manta_types::event::{AttemptStateName, Failure, SwarmEvent as E};
use manta_types::state::DutyChange;
use manta_types::{
    AttemptFailure, AttemptId, AttemptState, Cause, Event, NodeDuty, NodeName, NodeState, SwarmId, SwarmSpec,
    SwarmState, TaskRunState, Timestamp, limits,
};

use crate::node::Node;
use crate::placement::Nodes;
use crate::random::{Random, hash};
use crate::swarm::{Attempt, SwarmRun, TaskRun};
use crate::{Command, DutyChanged, Held, Input, NodeDescription, Now, Offer, Step, rules};

/// A stored history that this build cannot follow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the history of swarm `{swarm}` cannot be followed: {problem}")]
pub struct RestoreError {
    swarm: SwarmId,
    problem: String,
}

impl RestoreError {
    /// Refuses an event that is not the next of a swarm's history.
    pub(crate) fn unless_next(swarm: &SwarmRun, event: &Event) -> Result<(), Self> {
        if event.swarm == swarm.id && event.seq == swarm.seq + 1 {
            return Ok(());
        }
        let problem = format!("event {} does not follow event {}", event.seq, swarm.seq);
        Err(Self { swarm: swarm.id, problem })
    }
}

/// A report of an attempt's end or progress, as a node names it.
struct Report {
    node: NodeName,
    attempt: AttemptId,
    epoch: u32,
}

/// All that is decided about a cluster.
#[derive(Debug)]
pub struct Engine {
    pub(crate) nodes: Nodes,
    pub(crate) swarms: BTreeMap<SwarmId, SwarmRun>,
    random: Random,
    /// When the last step was: what was due by then has been looked at.
    stepped: Timestamp,
    /// What the step at hand follows from.
    cause: Cause,
    #[cfg(feature = "planted-bugs")]
    /// Skips the fencing check, so that the simulation can show that it finds this.
    pub accept_stale_attempts: bool,
}

impl Engine {
    /// An engine that knows nothing; ids and ties come from the seed.
    pub fn new(seed: u64) -> Self {
        Self {
            nodes: BTreeMap::new(),
            swarms: BTreeMap::new(),
            random: Random::new(seed),
            stepped: Timestamp::default(),
            cause: Cause::Unknown,
            #[cfg(feature = "planted-bugs")]
            accept_stale_attempts: false,
        }
    }

    /// Rebuilds a swarm from its history; its waits go on from the last event.
    ///
    /// # Errors
    /// When events are missing, out of order or of another swarm.
    pub fn restore_swarm(
        &mut self,
        now: Now,
        id: SwarmId,
        spec: Arc<SwarmSpec>,
        created_ms: u64,
        events: &[Event],
    ) -> Result<(), RestoreError> {
        let mut swarm = SwarmRun::new(id, spec, created_ms);
        let last_ms = events.last().map_or(created_ms, |event| event.time_ms);
        for event in events {
            RestoreError::unless_next(&swarm, event)?;
            let age = Duration::from_millis(last_ms.saturating_sub(event.time_ms));
            let at = Timestamp::from_ms(now.monotonic.ms().saturating_sub(u64::try_from(age.as_millis()).unwrap_or(0)));
            swarm.apply(event, at);
        }
        self.swarms.insert(id, swarm);
        Ok(())
    }

    /// Makes a node known that joined before a restart; its lease, and what is left of its drain, start in full.
    pub fn restore_node(
        &mut self,
        now: Now,
        description: NodeDescription,
        duty: NodeDuty,
        drain_left: Option<Duration>,
    ) {
        let mut node = Node::joining(description, now.monotonic);
        (node.duty, node.drain_deadline) = (duty, drain_left.map(|left| now.monotonic + left));
        self.nodes.insert(node.name().clone(), node);
    }

    /// After the caller itself stood still: leases that lapsed meanwhile prove nothing, so all are extended.
    pub fn extend_leases(&mut self, pause: Duration) {
        for node in self.nodes.values_mut() {
            node.last_heard = node.last_heard + pause;
        }
    }

    /// Takes one input at one time.
    pub fn step(&mut self, now: Now, input: Input) -> Step {
        let mut step = Step::default();
        self.stepped = now.monotonic;
        self.cause = input.cause();
        let mut judged = false;
        if let Input::NodeHeard { node } | Input::NodeConnected { node: NodeDescription { name: node, .. }, .. } =
            &input
            && let Some(known) = self.nodes.get_mut(node).filter(|known| known.duty != NodeDuty::Revoked)
        {
            judged = known.state() != NodeState::Online;
            known.heard(now.monotonic);
        }
        for node in self.nodes.values_mut() {
            judged |= node.judge(now.monotonic);
        }
        let touched = self.take(now, input, &mut step);
        self.count_load();
        match touched {
            Touched::Swarm(id) if !judged => self.settle(now, id, &mut step),
            Touched::Nothing if !judged => {}
            _ => self.settle_all(now, &mut step),
        }
        self.count_load();
        self.finish_drains(&mut step);
        step
    }

    /// When a [`Input::Tick`] is due at the latest.
    pub fn next_wake(&self) -> Option<Timestamp> {
        let nodes = self.nodes.values().filter_map(Node::next_judgement);
        let swarms = self.swarms.values().flat_map(SwarmRun::wakes);
        let drains = self.nodes.values().filter_map(|node| node.drain_deadline);
        nodes.chain(swarms).chain(drains).filter(|due| *due > self.stepped).min()
    }

    /// A swarm by id.
    pub fn swarm(&self, id: SwarmId) -> Option<&SwarmRun> {
        self.swarms.get(&id)
    }

    /// All swarms, oldest first.
    pub fn swarms(&self) -> impl Iterator<Item = &SwarmRun> {
        self.swarms.values()
    }

    /// All nodes, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// The swarm that an attempt belongs to, while the attempt is remembered.
    pub fn swarm_of(&self, attempt: AttemptId) -> Option<&SwarmRun> {
        self.swarms.values().find(|swarm| swarm.attempts.contains_key(&attempt))
    }

    fn take(&mut self, now: Now, input: Input, step: &mut Step) -> Touched {
        match input {
            Input::Submit(submit) => {
                let swarm = SwarmRun::new(submit.id, submit.spec, now.wall_ms);
                let before = self.swarms.insert(submit.id, swarm);
                assert!(before.is_none(), "a swarm's id is new");
                self.emit(now, submit.id, E::SwarmAdmitted, step);
                if let Some(checkpoint) = submit.continues {
                    self.emit(now, submit.id, E::SwarmContinued { checkpoint }, step);
                }
                Touched::Swarm(submit.id)
            }
            Input::Stop { swarm, reason } => {
                self.stop(now, swarm, reason, step);
                Touched::All
            }
            Input::Pause { swarm, reason } => {
                self.pause(now, swarm, reason, step);
                Touched::Nothing
            }
            Input::Resume { swarm, reason } => {
                self.resume(now, swarm, reason, step);
                Touched::Swarm(swarm)
            }
            Input::Drain { node, deadline, reason } => {
                self.change_duty(now, &node, DutyChange::Drain, deadline, reason, step);
                Touched::All
            }
            Input::ResumeNode { node, reason } => {
                self.change_duty(now, &node, DutyChange::Resume, None, reason, step);
                Touched::All
            }
            Input::Revoke { node, reason } => {
                if self.change_duty(now, &node, DutyChange::Revoke, None, reason, step)
                    && let Some(node) = self.nodes.get_mut(&node)
                {
                    node.leave();
                }
                Touched::All
            }
            Input::NodeConnected { node, held } => {
                self.connect(now, node, &held, step);
                Touched::All
            }
            Input::NodeDisconnected { node } => {
                if let Some(node) = self.nodes.get_mut(&node) {
                    node.connected = false;
                }
                Touched::Nothing
            }
            Input::NodeLeft { node, reason } => {
                self.leave(now, &node, &reason, step);
                Touched::All
            }
            Input::NodeHeard { node } => {
                self.revive(now, &node, step);
                Touched::Nothing
            }
            Input::Progressed { node, attempt, epoch, phase } => {
                self.progress(now, &Report { node, attempt, epoch }, phase, step)
            }
            Input::Succeeded { node, attempt, epoch, outputs, timings } => {
                let event = E::AttemptAccepted { attempt, outputs, timings };
                self.finish(now, Report { node, attempt, epoch }, |_, _| event, step)
            }
            Input::Failed { node, attempt, epoch, failure, results, timings } => {
                let event = |run: &TaskRun, swarm: &SwarmRun| {
                    let retry_after_ms = retry_after(swarm, run, attempt, &failure);
                    E::AttemptFailed { attempt, failure: Failure::from(failure), results, timings, retry_after_ms }
                };
                self.finish(now, Report { node, attempt, epoch }, event, step)
            }
            Input::Tick => Touched::All,
        }
    }

    /// Makes an event happen: applies it, keeps it for the caller, and adds the command that follows from it.
    fn emit(&mut self, now: Now, id: SwarmId, what: E, step: &mut Step) {
        let swarm = self.swarms.get_mut(&id).expect("events are emitted for known swarms");
        let before = step.events.iter().rfind(|event| event.swarm == id);
        let cause = before.map_or_else(|| self.cause.clone(), |event| Cause::Event { seq: event.seq });
        let subject = swarm.subject(&what);
        let event = Event { swarm: id, seq: swarm.seq + 1, time_ms: now.wall_ms, subject, cause, what };
        let withdrawn = match &event.what {
            E::AttemptLost { attempt, reason } | E::AttemptCancelled { attempt, reason } => {
                swarm.attempt(*attempt).map(|(_, attempt)| Command::Cancel {
                    node: attempt.node.clone(),
                    attempt: attempt.id,
                    epoch: attempt.epoch,
                    reason: reason.clone(),
                })
            }
            _ => None,
        };
        swarm.apply(&event, now.monotonic);
        step.commands.extend(withdrawn);
        if let E::AttemptOffered { attempt, .. } = &event.what {
            let (run, attempt) = swarm.attempt(*attempt).expect("an offered attempt is known");
            step.commands.push(offer(swarm, run, attempt));
            if let Some(node) = self.nodes.get_mut(&attempt.node) {
                node.load += 1;
            }
        }
        step.events.push(event);
    }

    fn settle(&mut self, now: Now, id: SwarmId, step: &mut Step) {
        while let Some(swarm) = self.swarms.get(&id)
            && let Some(what) = rules::next_event(swarm, &self.nodes, now, &mut self.random)
        {
            self.emit(now, id, what, step);
        }
    }

    fn settle_all(&mut self, now: Now, step: &mut Step) {
        let active: Vec<_> = self.swarms.values().filter(|swarm| !swarm.is_over()).map(SwarmRun::id).collect();
        for id in active {
            self.settle(now, id, step);
        }
    }

    fn count_load(&mut self) {
        for node in self.nodes.values_mut() {
            node.load = 0;
        }
        for attempt in self.swarms.values().filter(|swarm| !swarm.is_over()).flat_map(SwarmRun::live_attempts) {
            if let Some(node) = self.nodes.get_mut(&attempt.node) {
                node.load += 1;
            }
        }
    }

    fn stop(&mut self, now: Now, id: SwarmId, reason: String, step: &mut Step) {
        let Some(swarm) = self.swarms.get(&id).filter(|swarm| !swarm.is_over()) else { return };
        let live: Vec<_> = swarm.live_attempts().map(|attempt| attempt.id).collect();
        for attempt in live {
            self.emit(now, id, E::AttemptCancelled { attempt, reason: reason.clone() }, step);
        }
        self.emit(now, id, E::SwarmStopped { reason }, step);
    }

    fn pause(&mut self, now: Now, id: SwarmId, reason: String, step: &mut Step) {
        if self.swarms.get(&id).is_some_and(|swarm| swarm.state == SwarmState::Running) {
            self.emit(now, id, E::SwarmPaused { reason }, step);
        }
    }

    fn resume(&mut self, now: Now, id: SwarmId, reason: String, step: &mut Step) {
        let Some(swarm) = self.swarms.get(&id).filter(|swarm| swarm.state == SwarmState::Paused) else { return };
        let paused_ms = swarm.paused_at.map_or(0, |at| (now.monotonic - at).as_millis());
        let paused_ms = u64::try_from(paused_ms).unwrap_or(u64::MAX);
        self.emit(now, id, E::SwarmResumed { reason, paused_ms }, step);
    }

    fn change_duty(
        &mut self,
        now: Now,
        name: &NodeName,
        change: DutyChange,
        limit: Option<Duration>,
        reason: String,
        step: &mut Step,
    ) -> bool {
        let Some(node) = self.nodes.get_mut(name).filter(|node| node.duty.next(change).is_ok()) else { return false };
        node.change_duty(change);
        node.drain_deadline = limit.map(|limit| now.monotonic + limit);
        step.duties.push(DutyChanged { node: name.clone(), duty: node.duty, drain_left: limit, reason });
        true
    }

    /// A node that drains and has nothing left is drained.
    fn finish_drains(&mut self, step: &mut Step) {
        for node in self.nodes.values_mut() {
            if node.duty == NodeDuty::Draining && node.load == 0 {
                node.change_duty(DutyChange::FinishDrain);
                let reason = "nothing runs there any more".to_owned();
                let (node, duty) = (node.name().clone(), node.duty);
                step.duties.push(DutyChanged { node, duty, drain_left: None, reason });
            }
        }
    }

    fn connect(&mut self, now: Now, description: NodeDescription, held: &[Held], step: &mut Step) {
        let name = description.name.clone();
        if self.nodes.get(&name).is_some_and(|node| node.duty == NodeDuty::Revoked) {
            let reason = format!("{name} is revoked");
            let cancel = |held: &Held| Command::Cancel {
                node: name.clone(),
                attempt: held.attempt,
                epoch: held.epoch,
                reason: reason.clone(),
            };
            step.commands.extend(held.iter().map(cancel));
            return;
        }
        let node = self.nodes.entry(name.clone()).or_insert_with(|| Node::joining(description.clone(), now.monotonic));
        (node.description, node.connected) = (description, true);
        node.heard(now.monotonic);
        for (id, attempt) in self.live_on(&name) {
            let is_held = held.iter().any(|held| held.attempt == attempt.id && held.epoch == attempt.epoch);
            if is_held {
                continue;
            }
            if attempt.state == AttemptState::Offered {
                let swarm = &self.swarms[&id];
                let (run, attempt) = swarm.attempt(attempt.id).expect("live attempts are known");
                step.commands.push(offer(swarm, run, attempt));
            } else {
                let reason = format!("{name} came back without it");
                self.emit(now, id, E::AttemptLost { attempt: attempt.id, reason }, step);
            }
        }
        self.revive(now, &name, step);
        for stale in held.iter().filter(|held| self.current(&name, held.attempt, held.epoch).is_none()) {
            let reason = "it is no longer wanted".to_owned();
            let (attempt, epoch) = (stale.attempt, stale.epoch);
            step.commands.push(Command::Cancel { node: name.clone(), attempt, epoch, reason });
        }
    }

    /// Attempts on a node that fell silent are alive again.
    fn revive(&mut self, now: Now, name: &NodeName, step: &mut Step) {
        if self.nodes.get(name).is_none_or(|node| node.state() != NodeState::Online) {
            return;
        }
        for (id, attempt) in self.live_on(name) {
            if attempt.state == AttemptState::Silent {
                self.emit(
                    now,
                    id,
                    E::AttemptProgressed { attempt: attempt.id, state: AttemptStateName::Running },
                    step,
                );
            }
        }
    }

    fn leave(&mut self, now: Now, name: &NodeName, reason: &str, step: &mut Step) {
        if let Some(node) = self.nodes.get_mut(name) {
            node.leave();
            node.last_heard = now.monotonic;
        }
        for (id, attempt) in self.live_on(name) {
            let reason = format!("{name} left: {reason}");
            self.emit(now, id, E::AttemptLost { attempt: attempt.id, reason }, step);
        }
    }

    fn live_on(&self, name: &NodeName) -> Vec<(SwarmId, Attempt)> {
        let live = self.swarms.values().filter(|swarm| !swarm.is_over()).flat_map(|swarm| {
            swarm.live_attempts().filter(|attempt| attempt.node == *name).map(|attempt| (swarm.id, attempt.clone()))
        });
        live.collect()
    }

    /// The fence: the attempt as it stands, if this node holds it under this epoch and it may still count.
    fn current(&self, node: &NodeName, attempt: AttemptId, epoch: u32) -> Option<(&SwarmRun, &TaskRun, &Attempt)> {
        let swarm = self.swarm_of(attempt)?;
        let (run, found) = swarm.attempt(attempt)?;
        #[cfg(feature = "planted-bugs")]
        if self.accept_stale_attempts && run.state == TaskRunState::Running && !swarm.is_over() {
            return Some((swarm, run, found));
        }
        let place = swarm.attempts[&attempt];
        let slot = &run.slots[place.slot];
        let is_current = found.node == *node && found.epoch == epoch && slot.epoch == epoch;
        let may_count = !found.state.is_final() && run.state == TaskRunState::Running && !swarm.is_over();
        (is_current && may_count).then_some((swarm, run, found))
    }

    fn progress(&mut self, now: Now, report: &Report, phase: AttemptStateName, step: &mut Step) -> Touched {
        let Some((swarm, _, found)) = self.current(&report.node, report.attempt, report.epoch) else {
            let Report { node, attempt, epoch } = report;
            let reason = "it is no longer wanted".to_owned();
            step.commands.push(Command::Cancel { node: node.clone(), attempt: *attempt, epoch: *epoch, reason });
            return Touched::Nothing;
        };
        let id = swarm.id;
        if found.state.next(phase.change()).is_err() {
            return Touched::Nothing;
        }
        self.emit(now, id, E::AttemptProgressed { attempt: report.attempt, state: phase }, step);
        Touched::Swarm(id)
    }

    /// Ends an attempt, unless the fence refuses it, and answers the node in every case.
    fn finish(
        &mut self,
        now: Now,
        report: Report,
        event: impl FnOnce(&TaskRun, &SwarmRun) -> E,
        step: &mut Step,
    ) -> Touched {
        let Report { node, attempt, epoch } = report;
        let fenced = self.current(&node, attempt, epoch).map(|(swarm, run, _)| (swarm.id, event(run, swarm)));
        let Some((id, what)) = fenced else {
            let (accepted, reason) = self.verdict_again(&node, attempt, epoch);
            step.commands.push(Command::Verdict { node, attempt, epoch, accepted, reason });
            return Touched::Nothing;
        };
        let accepted = matches!(what, E::AttemptAccepted { .. });
        self.emit(now, id, what, step);
        let reason = if accepted { "accepted" } else { "recorded as failed" }.to_owned();
        step.commands.push(Command::Verdict { node, attempt, epoch, accepted, reason });
        Touched::Swarm(id)
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

enum Touched {
    Nothing,
    Swarm(SwarmId),
    All,
}

/// How long to wait before the next attempt of a slot, or nothing where there will be none.
fn retry_after(swarm: &SwarmRun, run: &TaskRun, attempt: AttemptId, failure: &AttemptFailure) -> Option<u64> {
    let slot = &run.slots[swarm.attempts[&attempt].slot];
    let (made, allowed) = if failure.class.counts_as_try() {
        (slot.tries + 1, swarm.spec.tasks[run.task].policy.retries)
    } else {
        (slot.lost + 1, limits::LOST_ATTEMPTS_MAX - 1)
    };
    if made > allowed {
        return None;
    }
    let doubled = limits::RETRY_BACKOFF.saturating_mul(1 << (made - 1).min(16));
    u64::try_from(doubled.min(limits::RETRY_BACKOFF_MAX).as_millis()).ok()
}

fn offer(swarm: &SwarmRun, run: &TaskRun, attempt: &Attempt) -> Command {
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
        spec: Arc::clone(&swarm.spec),
    }
}
