//! Whoever rolls versions out: they start rollouts of every plan, hold, promote and revert them, and take versions back.
//!
//! A version is a number, and so are its bundle's digest and what its code does: one in four fails often, and each logs a
//! metric of its own.
use manta_api::node::Metric;
use manta_engine::RolloutOrder;
use manta_manager::orchestrator::Change;
use manta_types::{Comparison, Digest, Gate, Pin, RolloutPlan, TaskSpec};

use super::World;
use super::chance::Chance;
use super::happening::Happening;

/// A dataset that not every node has.
pub(crate) const RARE: &str = "rare";
/// The metric that attempts log.
const METRIC: &str = "score";
/// Versions that there are, beside the first.
const VERSIONS: u64 = 8;

impl World {
    /// Somebody does something about a rollout of some task.
    pub(crate) fn roll_out(&mut self) {
        let Some(core) = &self.manager.core else { return };
        let running: Vec<_> = core.engine().swarms().filter(|swarm| !swarm.is_over()).collect();
        if running.is_empty() {
            return;
        }
        let swarm = running[self.chance.index(running.len())];
        let task = self.chance.index(swarm.spec().tasks.len());
        let order = match (self.chance.between(0, 12), swarm.rollout_of(task).is_some()) {
            (0..=6, false) => start(&mut self.chance, &swarm.spec().tasks[task]),
            (7, _) => RolloutOrder::Back,
            (8, _) => RolloutOrder::Hold,
            (9, _) => RolloutOrder::Resume,
            (10, _) => RolloutOrder::Promote { full: self.chance.one_in(2) },
            (11, _) => RolloutOrder::Revert,
            _ => return,
        };
        let change = Change::Rollout(swarm.id(), task, order);
        let key = self.ask_for(change.clone());
        for _ in 0..self.chance.between(0, 2) {
            let at = self.now + self.chance.between(50, 10_000);
            self.agenda.put(at, Happening::Again(change.clone(), key.clone()));
        }
    }
}

fn start(chance: &mut Chance, task: &TaskSpec) -> RolloutOrder {
    let version = chance.between(1, VERSIONS + 1);
    let mut to = Pin { bundle: bundle(version), version: format!("{}.0.0", version + 1), ..task.pin() };
    to.datasets = if version.is_multiple_of(3) { vec![RARE.to_owned()] } else { Vec::new() };
    let metric = |test, bound| Gate::Metric { name: METRIC.to_owned(), test, bound };
    let mut gates = vec![
        Gate::Failures { most: chance.pick(&[0.0, 0.3]) },
        metric(Comparison::AtLeast, -1.0),
        metric(Comparison::AtMost, 1.0),
    ];
    gates.retain(|_| chance.one_in(2));
    let plan = RolloutPlan {
        steps: chance.pick(&[&[1.0][..], &[0.3, 1.0], &[0.1, 0.5, 1.0], &[0.5]]).to_vec(),
        gates,
        every: u32::from(chance.one_in(4)) + 1,
        hold_each: chance.one_in(8),
        deadline_ms: if chance.one_in(3) { Some(chance.pick(&[4_000, 15_000, 60_000])) } else { None },
    };
    RolloutOrder::Start { to: Box::new(to), plan: Box::new(plan) }
}

fn bundle(version: u64) -> Digest {
    Digest::from_bytes([u8::try_from(version).expect("a few versions"); 32])
}

/// Whether this attempt of a version fails by its own doing.
pub(crate) fn fails(chance: &mut Chance, bundle: &Digest) -> bool {
    let version = bundle.bytes()[0];
    version % 4 == 3 && chance.one_in(2)
}

/// What an attempt of a version logs, if anything.
pub(crate) fn logs(chance: &mut Chance, bundle: &Digest) -> Option<Metric> {
    let value = f64::from(bundle.bytes()[0] % 3);
    (!chance.one_in(4)).then(|| Metric { name: METRIC.to_owned(), value })
}
