//! One turn of the manager's service loop: what waits is taken, committed, and only then let known.
use manta_manager::orchestrator::{Effect, Sealed, SessionId};
use manta_store::{CommitError, StateStore};

use super::{InFlight, short};
use crate::sim::World;
use crate::sim::bug::Bug;
use crate::sim::disk::Failing;
use crate::sim::happening::{Answer, Asking, AtManager, Found, Happening, Message, Told};

impl World {
    pub(super) fn turn(&mut self) {
        let now = self.clock();
        let Some(core) = &mut self.manager.core else { return };
        self.manager.began = self.now;
        self.checker.turns += 1;
        let mut turn = core.begin(now);
        core.hear(std::mem::take(&mut self.manager.heard), &mut turn);
        while let Some(message) = self.manager.inbox.pop_front() {
            match message {
                Message::Submit(submitter, new, spec) => match submitter.continues {
                    None => core.submit(*new, spec, submitter, &mut turn),
                    Some(failed) => core.retry(*new, failed, submitter, &mut turn),
                },
                Message::Purge(swarms) => drop(core.purge(&swarms, (), &mut turn)),
                Message::Connect(link, joining) => {
                    let name = joining.name.clone();
                    let former = core.session_of(&name);
                    if let Some(former) = former.filter(|former| self.links[&former.0].is_gone) {
                        core.close(&name, former);
                    }
                    core.connect(*joining, (name, link), &mut turn);
                }
                Message::Disconnect(node, session) => {
                    core.disconnect(node, session, &mut turn);
                }
                Message::Leave(node, session) => {
                    core.leave(node, session, "the agent was stopped".to_owned(), &mut turn);
                }
                Message::Step(input) => core.step(*input, (), &mut turn),
                Message::Change(change, key) => {
                    let idempotency = Some((key.clone(), super::REQUEST.to_owned()));
                    core.change(change.clone(), idempotency, (change, key), &mut turn);
                }
                Message::Inputs(asker) => {
                    let inputs = core.engine().inputs(asker.attempt).map(Box::new);
                    turn.tell(Found::Inputs(asker, inputs));
                }
                Message::Look(swarm) => {
                    if let Some(found) = core.engine().swarm(swarm) {
                        let seq = found.seq();
                        turn.tell(Found::Seen { swarm, seq });
                    }
                }
            }
        }
        let sealed = core.seal(turn);
        self.commit(sealed);
    }

    fn commit(&mut self, mut sealed: Sealed<Asking>) {
        if self.manager_dies("before its commit") {
            return;
        }
        let Some(transaction) = &mut sealed.transaction else {
            self.let_all_know(sealed.effects);
            return;
        };
        if self.bug == Some(Bug::ForgetDuties) {
            for node in &mut transaction.nodes {
                (node.duty, node.drain_left_ms) = (manta_types::NodeDuty::Active, None);
            }
        }
        if self.bug == Some(Bug::UnkeyedChanges) {
            transaction.keys.clear();
        }
        let early = match self.bug {
            Some(Bug::AcknowledgeBeforeSync) => std::mem::take(&mut sealed.effects),
            Some(Bug::SendBeforeSync) => {
                let is_command = |effect: &Effect<Asking>| matches!(effect, Effect::Send { .. });
                let (early, late) = std::mem::take(&mut sealed.effects).into_iter().partition(is_command);
                sealed.effects = late;
                early
            }
            _ => Vec::new(),
        };
        self.manager.committing = Some(InFlight(sealed));
        let run = self.manager.run;
        if !self.let_know(early) {
            return;
        }
        let slow = self.chance.permille(self.options.slow_disk);
        let takes = if slow { self.chance.between(500, 6_000) } else { self.chance.between(0, 6) };
        self.agenda.put(self.now + takes, Happening::Manager(run, AtManager::Committed));
    }

    pub(super) fn committed(&mut self) {
        if self.manager_dies("while the disk commits") {
            return;
        }
        let Some(InFlight(sealed)) = self.manager.committing.take() else { return };
        let transaction = sealed.transaction.expect("only what changes something is committed");
        let full = self.now < self.disk.full_until;
        let fails = if full {
            Some(Failing::Before)
        } else if self.chance.permille(self.options.failing_disk) {
            Some(self.chance.pick(&[Failing::Before, Failing::After]))
        } else {
            None
        };
        self.trace.line(self.now, || {
            let kinds = transaction.events.iter().map(|event| event.what.kind());
            format!("manager commits {:?}", kinds.collect::<Vec<_>>())
        });
        match self.disk.commit(&transaction, fails) {
            Ok(()) => self.checker.durable(&transaction),
            Err(CommitError::Store(error)) => {
                if fails == Some(Failing::After) {
                    self.checker.durable(&transaction);
                }
                if self.bug != Some(Bug::IgnoreFailedCommit) {
                    self.kill_manager(&format!("of a failed commit: {error}"));
                    return;
                }
            }
            Err(error) => {
                self.checker.breaks("store", || format!("the store refuses what the manager decided: {error}"));
                return;
            }
        }
        if !self.manager_dies("after its commit") {
            self.let_all_know(sealed.effects);
        }
    }

    /// Lets everything be known, and sleeps.
    fn let_all_know(&mut self, effects: Vec<Effect<Asking>>) {
        if !self.let_know(effects) {
            return;
        }
        if let Some(core) = &self.manager.core {
            self.checker.settled(core, &mut self.disk);
            self.checker.judged(core, super::EPOCH_MS + self.manager.started, super::EPOCH_MS + self.manager.began);
        }
        let now = self.clock();
        let Some(core) = &mut self.manager.core else { return };
        let sleep = u64::try_from(core.rest(now).as_millis()).unwrap_or(u64::MAX);
        let waits = !(self.manager.inbox.is_empty() && self.manager.heard.is_empty());
        self.wake_manager(self.now + if waits { 0 } else { sleep });
    }

    /// Lets effects be known one by one; false where it died in between.
    fn let_know(&mut self, effects: Vec<Effect<Asking>>) -> bool {
        for effect in effects {
            self.release(effect);
            if self.manager_dies("between two effects") {
                return false;
            }
        }
        true
    }

    fn release(&mut self, effect: Effect<Asking>) {
        match effect {
            Effect::News { swarm, seq } => self.checker.shown(swarm, seq),
            Effect::Submitted { asker, outcome } => self.submitted(asker, outcome),
            Effect::Connected { asker: (name, link), outcome } => self.connected(&name, link, outcome),
            Effect::Changed { asker: (change, key), outcome } => self.changed(&change, &key, outcome),
            Effect::Done(()) => {}
            Effect::Told(Found::Seen { swarm, seq }) => self.checker.shown(swarm, seq),
            Effect::Told(Found::Inputs(asker, inputs)) => {
                if let Some(inputs) = &inputs {
                    self.checker.handed_out(asker.attempt, inputs);
                }
                self.answer(asker, Answer::Inputs(inputs));
            }
            Effect::Send { session: SessionId(link), command } => self.send(link, command),
            Effect::Recall(recall) => {
                let stored = self.disk.read(|store, cluster| store.attempt(cluster, recall.attempt));
                let SessionId(link) = recall.session;
                self.send(link, recall.answer(stored.as_ref()));
            }
            Effect::End { session: SessionId(link), .. } => self.end_session(link),
        }
    }

    fn send(&mut self, link: u64, command: manta_engine::Command) {
        self.checker.sent(&command);
        if self.bug == Some(Bug::AnswerOnce)
            && let manta_engine::Command::Verdict { attempt, .. } = &command
            && !self.manager.answered.insert(*attempt)
        {
            return;
        }
        if self.links.get(&link).is_some_and(|link| link.manager_end) {
            self.trace.line(self.now, || format!("manager tells {}: {}", command.node(), short(&command)));
            self.tell(link, Told::Command(command));
        }
    }
}
