//! The manager's doors, as simulated: what nodes say and what is asked over HTTP becomes messages to the service loop.
use manta_api::node as wire;
use manta_engine::{Held, Input};
use manta_manager::orchestrator::{ConnectRefusal, Joining, NodeProfile, SessionId};
use manta_node::desk::{self, Journal, Phase};
use manta_types::event::{AttemptStateName, NextIteration, Outputs, Published};
use manta_types::{AttemptFailure, Blob, Digest, NodeId, NodeName, OutcomeClass};
use uuid::Uuid;

use super::World;
use super::bug::Bug;
use super::happening::{Answer, Asked, AtManager, Happening, LinkId, Message, Requester, Said, Told};
use super::rollouts::RARE;

impl World {
    /// A node said something.
    pub(crate) fn hear(&mut self, link: LinkId, said: Said) {
        let Some(known) = self.links.get(&link).filter(|link| !link.is_broken) else { return };
        let (node, is_open) = (known.node, known.manager_end);
        let name = self.nodes[node].name.clone();
        if let Said::Hello { id, held } = said {
            self.trace
                .line(self.now, || format!("manager is greeted by {name} in session {link}, which holds {held:?}"));
            let fresh = NodeId::from_uuid(Uuid::from_u128(u128::from(self.chance.number()) << 64 | u128::from(link)));
            let generation = Some(self.disk.generation).filter(|_| self.bug != Some(Bug::BelieveUndone));
            let counts = |held: &desk::Held| generation.is_none_or(|now| held.generation.is_none_or(|own| own == now));
            let held = held.into_iter().filter(counts);
            let held = held.map(|held| Held { attempt: held.attempt, epoch: held.epoch }).collect();
            let (profile, session) = (self.nodes[node].profile(), SessionId(link));
            let joining = Joining { name, id, fresh, profile, held, greeting: None, session };
            return self.post(Message::Connect(link, Box::new(joining)));
        }
        if !is_open {
            return;
        }
        self.manager.heard.insert(name.clone());
        match said {
            Said::Hello { .. } => {}
            Said::Beat => self.tell(link, Told::Beat),
            Said::Progress { attempt, epoch, phase } => {
                let phase = match phase {
                    Phase::Preparing => AttemptStateName::Preparing,
                    Phase::Running => AttemptStateName::Running,
                    Phase::Uploading => AttemptStateName::Uploading,
                };
                let input = Input::Progressed { node: name, attempt, epoch, phase };
                self.post(Message::Step(Box::new(input)));
            }
            // It is said again, and taken when there is space.
            Said::Finished(_) if self.now < self.disk.low_until => {}
            Said::Finished(journal) => {
                self.trace.line(self.now, || format!("{name} reports the end of {}", journal.attempt.id));
                let input = self.judge(&name, &journal);
                self.judged(input);
            }
            Said::Refused { attempt, epoch, reason } => {
                let failure = failure(OutcomeClass::Platform, &reason);
                let (results, timings) = (Vec::new(), Default::default());
                let input = Input::Failed { node: name, attempt, epoch, failure, results, timings };
                self.post(Message::Step(Box::new(input)));
            }
            Said::Goodbye => {
                self.post(Message::Leave(name, SessionId(link)));
                self.end_session(link);
            }
        }
        self.wake_manager(self.now);
    }

    fn judge(&mut self, name: &NodeName, journal: &Journal) -> Input {
        let (node, attempt, epoch) = (name.clone(), journal.attempt.id, journal.attempt.epoch);
        let (outputs, timings) = (outputs(&journal.left.report), Default::default());
        let values = outputs.results.iter().chain(&outputs.globals);
        if let Some(missing) = values.clone().find(|value| !self.blobs.contains(&value.blob.digest)) {
            self.checker
                .breaks("I1", || format!("{name} reports `{}` of {attempt}, which is not stored", missing.name));
        }
        match &journal.left.report.failure {
            None => Input::Succeeded { node, attempt, epoch, outputs, timings },
            Some(said) => {
                let class = OutcomeClass::from_name(&said.class).unwrap_or(OutcomeClass::Platform);
                let failure = failure(class, &said.message);
                Input::Failed { node, attempt, epoch, failure, results: outputs.results, timings }
            }
        }
    }

    /// A session that ended is found to have.
    pub(crate) fn notice(&mut self, link: LinkId) {
        let Some(known) = self.links.get_mut(&link) else { return };
        let was_open = known.manager_end;
        (known.is_gone, known.manager_end) = (true, false);
        if was_open {
            let name = self.nodes[known.node].name.clone();
            self.post(Message::Disconnect(name, SessionId(link)));
        }
    }

    /// A node that wanted to join is answered.
    pub(crate) fn connected(&mut self, name: &NodeName, link: LinkId, outcome: Result<NodeId, ConnectRefusal>) {
        let Some(known) = self.links.get_mut(&link) else { return };
        match outcome {
            Ok(_) if known.is_gone => {
                if let Some(core) = &mut self.manager.core {
                    core.close(name, SessionId(link));
                }
            }
            Ok(id) => {
                known.manager_end = true;
                let generation = self.disk.generation;
                self.trace.line(self.now, || format!("manager welcomes {name} in session {link}"));
                self.tell(link, Told::Welcome { id, generation });
            }
            Err(refusal) => {
                self.trace.line(self.now, || format!("manager turns {name} away: {refusal}"));
                self.tell(link, Told::TurnedAway);
            }
        }
    }

    /// Something is asked over HTTP.
    pub(crate) fn asked(&mut self, asked: Asked) {
        if self.manager.core.is_none() {
            return;
        }
        match asked {
            Asked::Inputs(asker) => self.post(Message::Inputs(asker)),
            Asked::Upload(..) | Asked::Submit(_) if self.now < self.disk.low_until => {}
            Asked::Upload(asker, values) => {
                if self.bug == Some(Bug::StoredTooEarly) {
                    self.answer(asker, Answer::Stored);
                }
                let slow = self.chance.permille(self.options.slow_disk);
                let takes = if slow { self.chance.between(500, 6_000) } else { self.chance.between(0, 6) };
                let stored = AtManager::Stored(asker, values);
                self.agenda.put(self.now + takes, Happening::Manager(self.manager.run, stored));
            }
            Asked::Submit(submitter) => self.take_submission(submitter),
            Asked::Look { swarm } => self.post(Message::Look(swarm)),
            Asked::Change(change, key) => self.take_change(change, key),
            Asked::Revoke(node) => {
                let reason = "a user said so".to_owned();
                self.post(Message::Step(Box::new(Input::Revoke { node, reason })));
            }
        }
    }
}

impl World {
    /// Values are on the disk and may be named from now on, unless it failed or the manager dies.
    pub(crate) fn stored(&mut self, asker: Requester, values: Vec<Digest>) {
        if self.now < self.disk.full_until || self.chance.permille(self.options.failing_disk) {
            return;
        }
        self.blobs.extend(values);
        if !self.manager_dies("after it stored values") && self.bug != Some(Bug::StoredTooEarly) {
            self.answer(asker, Answer::Stored);
        }
    }
}

/// A report's values in the engine's form.
pub(crate) fn outputs(report: &wire::AttemptFinished) -> Outputs {
    let published = |sent: &wire::Published| {
        let blob = sent.blob.as_ref().expect("simulated reports name their values");
        let digest = blob.digest.parse().expect("simulated digests are digests");
        Published { name: sent.name.clone(), blob: Blob { digest, size: blob.size } }
    };
    let next = |sent: &wire::NextIteration| {
        let nodes = sent.nodes.iter().map(|name| NodeName::new(name).expect("simulated names are names"));
        let nodes = sent.has_nodes.then(|| nodes.collect());
        NextIteration { task: Some(sent.task.clone()).filter(|task| !task.is_empty()), nodes }
    };
    Outputs {
        results: report.results.iter().map(published).collect(),
        globals: report.globals.iter().map(published).collect(),
        metrics: report.metrics.iter().map(|metric| (metric.name.clone(), metric.value)).collect(),
        next_iterations: report.next_iterations.iter().map(next).collect(),
        stop_swarm: report.stop_swarm,
    }
}

fn failure(class: OutcomeClass, message: &str) -> AttemptFailure {
    AttemptFailure::new(class, message.to_owned())
}

/// What a simulated node offers.
pub(crate) fn profile(slots: u32) -> NodeProfile {
    // Larger nodes have a dataset that some versions of modules ask for.
    let datasets = ["digits", RARE].into_iter().take(if slots > 1 { 2 } else { 1 });
    NodeProfile {
        datasets: datasets.map(|name| (name.to_owned(), "file".to_owned())).collect(),
        images: vec!["latest".to_owned()],
        slots,
        cpu_count: f64::from(slots),
        memory_bytes: 8 << 30,
        ..NodeProfile::default()
    }
}
