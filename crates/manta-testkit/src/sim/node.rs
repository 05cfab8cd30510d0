//! A simulated agent: takes offers, works for a while, reports until it is answered, and forgets all when it crashes.
use std::collections::BTreeMap;

use manta_engine::{Command, Held, Input, NodeDescription};
use manta_types::event::{AttemptStateName, Outputs, Published};
use manta_types::{AttemptFailure, AttemptId, Blob, Digest, NodeName, OutcomeClass};

use super::chance::Chance;

/// What an attempt does on this node.
#[derive(Debug, Clone)]
enum Work {
    Running { until: u64 },
    Done { fails: bool, told_at: u64 },
}

/// A simulated agent.
#[derive(Debug)]
pub(crate) struct SimNode {
    pub(crate) name: NodeName,
    /// Messages pass only while this is in the past.
    pub(crate) cut_until: u64,
    pub(crate) down_until: u64,
    pub(crate) connected: bool,
    /// Rises with every connection; messages of older ones never arrive.
    pub(crate) session: u64,
    work: BTreeMap<(AttemptId, u32), Work>,
    next_heartbeat: u64,
}

/// How long an unanswered report waits before it is sent again.
const REPEAT_MS: u64 = 3_000;

impl SimNode {
    pub(crate) fn new(index: usize) -> Self {
        let name = NodeName::new(&format!("node-{index}")).expect("the name is a plain label");
        Self {
            name,
            cut_until: 0,
            down_until: 0,
            connected: false,
            session: 0,
            work: BTreeMap::new(),
            next_heartbeat: 0,
        }
    }

    pub(crate) fn description(&self) -> NodeDescription {
        NodeDescription {
            name: self.name.clone(),
            labels: BTreeMap::new(),
            datasets: vec!["digits".to_owned()],
            images: vec!["latest".to_owned()],
            slots: 2,
            cpu: 2.0,
            memory_bytes: 8 << 30,
            gpu_count: 0,
        }
    }

    pub(crate) fn crash(&mut self, until: u64) {
        self.work.clear();
        self.connected = false;
        self.down_until = until;
    }

    pub(crate) fn reachable(&self, now: u64) -> bool {
        now >= self.cut_until && now >= self.down_until
    }

    /// Opens a session, telling what it still holds.
    pub(crate) fn hello(&mut self, now: u64) -> Input {
        self.connected = true;
        self.session += 1;
        self.next_heartbeat = now;
        for work in self.work.values_mut() {
            if let Work::Done { told_at, .. } = work {
                *told_at = 0;
            }
        }
        let held = self.work.keys().map(|(attempt, epoch)| Held { attempt: *attempt, epoch: *epoch }).collect();
        Input::NodeConnected { node: self.description(), held }
    }

    /// Takes a command that reached it; a duplicate changes nothing.
    pub(crate) fn take(&mut self, command: &Command, now: u64, chance: &mut Chance) -> Option<Input> {
        match command {
            Command::Offer(offer) => {
                let key = (offer.attempt, offer.epoch);
                self.work.entry(key).or_insert_with(|| Work::Running { until: now + chance.between(50, 9_000) });
                let (node, (attempt, epoch)) = (self.name.clone(), key);
                Some(Input::Progressed { node, attempt, epoch, phase: AttemptStateName::Running })
            }
            Command::Cancel { attempt, epoch, .. } | Command::Verdict { attempt, epoch, .. } => {
                self.work.remove(&(*attempt, *epoch));
                None
            }
        }
    }

    /// What it says at this time: heartbeats, and reports of attempts that have ended.
    pub(crate) fn speak(&mut self, now: u64, chance: &mut Chance, may_fail: bool) -> Vec<Input> {
        let mut said = Vec::new();
        if now < self.down_until {
            return said;
        }
        let mut reports = Vec::new();
        for (key, work) in &mut self.work {
            if matches!(work, Work::Running { until } if *until <= now) {
                *work = Work::Done { fails: may_fail && chance.one_in(12), told_at: 0 };
            }
            if let Work::Done { fails, told_at } = work
                && self.connected
                && (*told_at == 0 || *told_at + REPEAT_MS <= now)
            {
                *told_at = now;
                reports.push((*key, *fails));
            }
        }
        if self.connected && self.next_heartbeat <= now {
            self.next_heartbeat = now + 2_000;
            said.push(Input::NodeHeard { node: self.name.clone() });
        }
        said.extend(reports.into_iter().map(|((attempt, epoch), fails)| self.report(attempt, epoch, fails)));
        said
    }

    fn report(&self, attempt: AttemptId, epoch: u32, fails: bool) -> Input {
        let (node, timings) = (self.name.clone(), Default::default());
        if fails {
            let failure = AttemptFailure {
                class: OutcomeClass::UserError,
                message: "ValueError: drawn by chance".to_owned(),
                traceback: String::new(),
                location: None,
                log_tail: Vec::new(),
            };
            return Input::Failed { node, attempt, epoch, failure, results: Vec::new(), timings };
        }
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&attempt.bytes());
        let blob = Blob { digest: Digest::from_bytes(bytes), size: 16 };
        let published = |name: &str| vec![Published { name: name.to_owned(), blob }];
        let outputs = Outputs { results: published("x"), globals: published("g"), ..Outputs::default() };
        Input::Succeeded { node, attempt, epoch, outputs, timings }
    }
}
