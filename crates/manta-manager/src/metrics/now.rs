//! What is so at the moment of a question: how many nodes, swarms, tasks and attempts are in which state.
use std::collections::BTreeMap;

use manta_api::version::PRODUCT;
use manta_types::{AttemptState, NodeState, SwarmState, TaskRunState};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::NODES_MAX;
use crate::orchestrator::View;

/// How many are in which state, every state that there is with its number.
type Counts = BTreeMap<&'static str, i64>;
type Gauges = Family<[(&'static str, String); 1], Gauge>;

/// A moment's numbers, taken from the engine in one look and told outside of its turn.
pub(crate) struct Now {
    nodes: Counts,
    swarms: Counts,
    tasks: Counts,
    attempts: Counts,
    /// Memory by node, bytes; the first nodes by name.
    memory: Vec<(String, u64)>,
}

impl Now {
    /// Looks at all swarms once, and at the current iteration of those that are not over.
    pub(crate) fn of(view: &View<'_>) -> Self {
        let mut now = Self {
            nodes: NodeState::ALL.iter().map(|state| (state.name(), 0)).collect(),
            swarms: SwarmState::ALL.iter().map(|state| (state.name(), 0)).collect(),
            tasks: open(TaskRunState::ALL.iter().map(|state| (state.name(), state.is_final()))),
            attempts: open(AttemptState::ALL.iter().map(|state| (state.name(), state.is_final()))),
            memory: Vec::new(),
        };
        for node in view.engine.nodes() {
            count(&mut now.nodes, node.state().name());
            if now.memory.len() < NODES_MAX {
                now.memory.push((node.name().to_string(), node.description().memory_bytes));
            }
        }
        for swarm in view.engine.swarms() {
            count(&mut now.swarms, swarm.state().name());
            for run in swarm.task_runs().iter().filter(|_| !swarm.is_over()) {
                count(&mut now.tasks, run.state.name());
                for attempt in run.slots.iter().filter_map(|slot| slot.attempts.last()) {
                    count(&mut now.attempts, attempt.state.name());
                }
            }
        }
        now
    }

    /// The numbers, under their names, in an empty registry.
    pub(super) fn registry(&self, mut registry: Registry) -> Registry {
        let mut add = |name, help, counts: &Counts| registry.register(name, help, gauges("state", counts.iter()));
        add("nodes", "Nodes that ever joined, by state", &self.nodes);
        add("swarms", "Swarms that are kept, by state", &self.swarms);
        add("tasks", "Tasks in the current iteration of swarms that are not over, by state", &self.tasks);
        add("attempts_open", "Attempts that may still deliver, by state", &self.attempts);
        let memory = self.memory.iter().map(|(node, bytes)| (node, i64::try_from(*bytes).unwrap_or(i64::MAX)));
        let memory = gauges("node", memory.collect::<Vec<_>>().iter().map(|(node, bytes)| (node, bytes)));
        registry.register_with_unit("node_memory", "Memory that a node offers to tasks", Unit::Bytes, memory);
        registry
    }
}

/// What is so of the manager, whatever its clusters: its release, and the bytes that may still be written to its file system.
pub(super) fn of_manager(free_bytes: u64) -> Registry {
    let mut registry = Registry::with_prefix("manta");
    registry.register("build", "This manager's release", Info::new([("version", PRODUCT)]));
    let free = Gauge::<i64>::default();
    free.set(i64::try_from(free_bytes).unwrap_or(i64::MAX));
    let help = "Space that is left on the file system of the manager's data";
    registry.register_with_unit("storage_free", help, Unit::Bytes, free);
    registry
}

/// The states in which something is not over, each with zero.
fn open(states: impl Iterator<Item = (&'static str, bool)>) -> Counts {
    states.filter(|(_, is_final)| !is_final).map(|(name, _)| (name, 0)).collect()
}

/// One more in a state, where that state is told at all.
fn count(counts: &mut Counts, state: &'static str) {
    if let Some(count) = counts.get_mut(state) {
        *count += 1;
    }
}

fn gauges<'a, N: ToString>(label: &'static str, counts: impl Iterator<Item = (N, &'a i64)>) -> Gauges {
    let family = Gauges::default();
    for (name, count) in counts {
        family.get_or_create(&[(label, name.to_string())]).set(*count);
    }
    family
}
