//! What attempts do on a simulated node: fetch what they may read, run for a while, publish, end.
use std::sync::Arc;

use manta_api::node::{self as wire, AttemptFinished};
use manta_engine::Offer;
use manta_node::desk::{self, Left, Phase};
use manta_types::{AttemptId, Blob, Digest, OnDisconnect, OutcomeClass};

use super::World;
use super::bug::Bug;
use super::happening::{Answer, Asked, AtNode, Happening, Requester};
use super::rollouts;

/// How long an unanswered request waits before it is sent again.
const ASK_AGAIN_MS: u64 = 2_000;

/// An attempt at work.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) attempt: desk::Attempt,
    offer: Arc<Offer>,
    phase: Phase,
    /// Changes with every phase, so that what belongs to an earlier one is not mistaken.
    serial: u64,
    /// What user code will have done when it ends.
    will: Will,
}

/// How user code ends.
#[derive(Debug, Clone)]
struct Will {
    fails: Option<OutcomeClass>,
    published: AttemptFinished,
    state: Option<Blob>,
}

/// Names a value by who published it, and in which generation, so that the checker knows what belongs to whom.
pub(crate) fn value_of(attempt: &desk::Attempt, kind: u8) -> Blob {
    let mut bytes = [kind; 32];
    bytes[..16].copy_from_slice(&attempt.id.bytes());
    bytes[24..].copy_from_slice(&attempt.generation.unwrap_or_default().to_be_bytes());
    Blob { digest: Digest::from_bytes(bytes), size: 16 + u64::from(kind) }
}

/// The attempt that published a value, as 16 bytes.
pub(crate) fn publisher(value: &Blob) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&value.digest.bytes()[..16]);
    bytes
}

impl World {
    /// An attempt begins: it reads its state, and asks for the rest.
    pub(crate) fn begin(&mut self, node: usize, attempt: desk::Attempt, offer: Arc<Offer>) {
        let known = &mut self.nodes[node];
        let lane = (attempt.state_of, attempt.task.clone());
        let read = match self.bug {
            Some(Bug::OldState) => known.states_offered.get(&attempt.id).copied().flatten(),
            _ => known.kept.state.get(&lane).and_then(|state| state.get("state")).copied(),
        };
        let is_stale = known.stale.get(&attempt.id) == Some(&attempt.generation);
        self.checker.begins(&known.name, &attempt, read, is_stale);
        known.serial += 1;
        let (id, serial, life) = (attempt.id, known.serial, known.life);
        let will = self.draw_will(&attempt, &offer);
        self.nodes[node].runs.insert(id, Run { attempt, offer, phase: Phase::Preparing, serial, will });
        let after = self.chance.between(5, 400);
        self.agenda.put(self.now + after, Happening::Node(node, life, AtNode::Work(id, serial)));
    }

    fn draw_will(&mut self, attempt: &desk::Attempt, offer: &Offer) -> Will {
        let class = self.chance.pick(&[OutcomeClass::UserError, OutcomeClass::UserError, OutcomeClass::Platform]);
        let bundle = offer.spec.tasks[offer.task].bundle;
        let fails = self.chance.permille(self.options.user_error) || rollouts::fails(&mut self.chance, &bundle);
        let fails = fails.then_some(class);
        let named = |name: &str, kind: u8| {
            let Blob { digest, size } = value_of(attempt, kind);
            wire::Published { name: name.to_owned(), blob: Some(wire::Blob { digest: digest.to_string(), size }) }
        };
        let mut published = AttemptFinished {
            attempt: attempt.id.to_string(),
            epoch: attempt.epoch,
            results: vec![named("x", 1)],
            ..AttemptFinished::default()
        };
        if self.chance.one_in(2) {
            published.globals.push(named("g", 2));
        }
        if self.chance.one_in(3) {
            published.results.push(named("extra", 3));
        }
        if offer.spec.iterations_max.is_none() && offer.iteration < 3 && self.chance.one_in(3) {
            published.next_iterations.push(wire::NextIteration::default());
        }
        published.stop_swarm = self.chance.one_in(60);
        if self.options.rollouts > 0 {
            published.metrics.extend(rollouts::logs(&mut self.chance, &bundle));
        }
        let state = (!self.chance.one_in(4)).then(|| value_of(attempt, 4));
        Will { fails, published, state }
    }

    /// An attempt's work goes on.
    pub(crate) fn work(&mut self, node: usize, attempt: AttemptId, serial: u64) {
        let known = &self.nodes[node];
        let Some(run) = known.runs.get(&attempt).filter(|run| run.serial == serial) else { return };
        let asker = Requester { node, life: known.life, attempt, generation: run.attempt.generation };
        match run.phase {
            Phase::Preparing => {
                self.ask(node, Asked::Inputs(asker));
                self.work_later(node, attempt, ASK_AGAIN_MS);
            }
            Phase::Running => match run.will.fails {
                Some(class) => self.finish(node, attempt, Some((class, "ValueError: drawn by chance"))),
                None => self.enter(node, attempt, Phase::Uploading, 0),
            },
            Phase::Uploading => {
                let report = &run.will.published;
                let values = report.results.iter().chain(&report.globals).filter_map(|value| value.blob.as_ref());
                let values = values.map(|blob| blob.digest.parse().expect("a digest")).collect();
                self.ask(node, Asked::Upload(asker, values));
                self.work_later(node, attempt, ASK_AGAIN_MS);
            }
        }
    }

    fn work_later(&mut self, node: usize, attempt: AttemptId, after: u64) {
        let known = &self.nodes[node];
        if let Some(run) = known.runs.get(&attempt) {
            self.agenda.put(self.now + after, Happening::Node(node, known.life, AtNode::Work(attempt, run.serial)));
        }
    }

    fn enter(&mut self, node: usize, attempt: AttemptId, phase: Phase, after: u64) {
        let known = &mut self.nodes[node];
        known.serial += 1;
        let serial = known.serial;
        let Some(run) = known.runs.get_mut(&attempt) else { return };
        (run.phase, run.serial) = (phase, serial);
        self.work_later(node, attempt, after);
        self.desk(node, desk::Input::Entered { attempt, phase });
    }

    /// The manager answered what an attempt asked for.
    pub(crate) fn answered(&mut self, asker: Requester, answer: Answer) {
        let Requester { node, attempt, generation, .. } = asker;
        let run = self.nodes[node].runs.get(&attempt);
        let Some(run) = run.filter(|run| run.attempt.generation == generation) else { return };
        match (run.phase, answer) {
            (Phase::Preparing, Answer::Inputs(Some(_))) => {
                let policy = &run.offer.spec.tasks[run.offer.task].policy;
                let limit = policy.timeout.and_then(|limit| u64::try_from(limit.as_millis()).ok());
                let takes = if self.chance.one_in(10) {
                    self.chance.between(5_000, 30_000)
                } else {
                    self.chance.between(20, 5_000)
                };
                if let Some(limit) = limit.filter(|limit| *limit < takes) {
                    if let Some(run) = self.nodes[node].runs.get_mut(&attempt) {
                        run.will.fails = Some(OutcomeClass::Timeout);
                    }
                    return self.enter(node, attempt, Phase::Running, limit);
                }
                self.enter(node, attempt, Phase::Running, takes);
            }
            (Phase::Preparing, Answer::Inputs(None)) => {
                self.finish(node, attempt, Some((OutcomeClass::Platform, "its inputs cannot be fetched")));
            }
            (Phase::Uploading, Answer::Stored) => self.finish(node, attempt, None),
            _ => {}
        }
    }

    /// An attempt ends by itself, well or with a failure.
    fn finish(&mut self, node: usize, attempt: AttemptId, failed: Option<(OutcomeClass, &str)>) {
        let Some(Run { attempt: order, will, .. }) = self.nodes[node].runs.remove(&attempt) else { return };
        let Will { mut published, state, .. } = will;
        let mut kept = std::collections::BTreeMap::new();
        match failed {
            Some((class, message)) => {
                (published.globals, published.results, published.next_iterations) =
                    (Vec::new(), Vec::new(), Vec::new());
                published.stop_swarm = false;
                let (class, message) = (class.name().to_owned(), message.to_owned());
                published.failure = Some(wire::Failure { class, message, ..wire::Failure::default() });
            }
            None => kept.extend(state.map(|state| ("state".to_owned(), state))),
        }
        let left = Left { report: published, state: kept };
        self.checker.ended(&order, &left);
        self.desk(node, desk::Input::Ended { attempt, left: Some(Box::new(left)) });
    }

    /// A node was cut off: attempts that may go on only for a time are watched.
    pub(crate) fn watch_cut_off(&mut self, node: usize) {
        let known = &self.nodes[node];
        for (attempt, run) in &known.runs {
            if let OnDisconnect::StopAfter(wait) = run.offer.spec.tasks[run.offer.task].policy.on_disconnect {
                let at = self.now + u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                self.agenda.put(at, Happening::Node(node, known.life, AtNode::StopAfter(*attempt, known.cuts)));
            }
        }
    }

    /// An attempt may go on no longer, if its node is cut off still.
    pub(crate) fn stop_after(&mut self, node: usize, attempt: AttemptId, cut: u64) {
        let known = &self.nodes[node];
        let is_running = known.runs.get(&attempt).is_some_and(|run| run.phase == Phase::Running);
        if is_running && known.cuts == cut && !known.is_welcome {
            self.finish(
                node,
                attempt,
                Some((OutcomeClass::LostNode, "stopped: the node was cut off from the manager")),
            );
        }
    }
}
