//! Distribution: when a swarm is deployed, each node that may run a task of it is told to fetch what the task needs. The first
//! tasks are offered at the same time; every later offer, also after a move to another node, finds it there.
//!
//! How far that is, is kept in memory alone: nothing waits for it, and a node that was not told fetches with the offer.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use manta_api::node::{self as wire, manager_message};
use manta_api::{DistributionView, WaitingNode};
use manta_types::{NodeName, SwarmId};

use crate::ManagerError;
use crate::app::App;

/// Swarms whose distribution is known; the oldest makes room.
const SWARMS_MAX: usize = 1000;
/// Nodes that could not fetch all, and are named.
const NODES_NAMED_MAX: usize = 20;

/// How far the distribution of each swarm is.
#[derive(Debug, Default)]
pub(crate) struct Distributions {
    swarms: Mutex<BTreeMap<SwarmId, BTreeMap<NodeName, Share>>>,
}

/// What one node was told to fetch.
#[derive(Debug, Default)]
struct Share {
    parts: u32,
    ready: u32,
    failure: String,
}

impl Distributions {
    /// Notes what each node was told to fetch, in parts.
    fn begin(&self, swarm: SwarmId, shares: impl IntoIterator<Item = (NodeName, u32)>) {
        let shares = shares.into_iter().map(|(node, parts)| (node, Share { parts, ..Share::default() }));
        let mut swarms = self.swarms();
        swarms.insert(swarm, shares.collect());
        while swarms.len() > SWARMS_MAX {
            swarms.pop_first();
        }
    }

    /// Takes what a node says of what it was told; anything else is dropped.
    pub(crate) fn hear(&self, node: &NodeName, swarm: SwarmId, ready: u32, failure: String) {
        let mut swarms = self.swarms();
        if let Some(share) = swarms.get_mut(&swarm).and_then(|shares| shares.get_mut(node)) {
            share.ready = ready.min(share.parts).max(share.ready);
            share.failure = failure;
        }
    }

    /// How far a swarm's distribution is; nothing where it was deployed before this manager started.
    pub(crate) fn view(&self, swarm: SwarmId) -> Option<DistributionView> {
        let swarms = self.swarms();
        let shares = swarms.get(&swarm)?;
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let ready = shares.values().filter(|share| share.ready == share.parts);
        let failed = shares.iter().filter(|(_, share)| !share.failure.is_empty()).take(NODES_NAMED_MAX);
        let told = |(node, share): (&NodeName, &Share)| WaitingNode {
            node: node.to_string(),
            cause: share.failure.clone(),
            change: None,
        };
        Some(DistributionView {
            nodes: count(shares.len()),
            ready: count(ready.count()),
            failed: failed.map(told).collect(),
        })
    }

    fn swarms(&self) -> MutexGuard<'_, BTreeMap<SwarmId, BTreeMap<NodeName, Share>>> {
        self.swarms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a node fetches: bundles and images, each once.
#[derive(Debug, Default)]
struct Needed {
    bundles: BTreeSet<String>,
    images: BTreeSet<String>,
}

/// Tells every node that may run a task of a new swarm what to fetch.
///
/// # Errors
/// When the manager is stopping.
pub(crate) async fn distribute(app: &App, id: SwarmId) -> Result<(), ManagerError> {
    let needed = app.handle.ask(move |view| {
        let mut needed: BTreeMap<NodeName, Needed> = BTreeMap::new();
        let Some(swarm) = view.engine.swarm(id) else { return needed };
        for task in view.engine.plan(view.now.monotonic, swarm.spec()).tasks {
            let spec = &swarm.spec().tasks[task.task];
            for node in task.eligible {
                let parts = needed.entry(node).or_default();
                parts.bundles.insert(spec.bundle.to_string());
                parts.images.insert(spec.image.clone());
            }
        }
        needed
    });
    let mut needed = needed.await?;
    needed.retain(|node, _| app.replays.session(node).is_some());
    let parts = |needed: &Needed| u32::try_from(needed.bundles.len() + needed.images.len()).unwrap_or(u32::MAX);
    app.distributions.begin(id, needed.iter().map(|(node, needed)| (node.clone(), parts(needed))));
    for (node, Needed { bundles, images }) in needed {
        // One whose session has ended meanwhile fetches with its offers.
        let Some(session) = app.replays.session(&node) else { continue };
        let order = wire::Distribute {
            swarm: id.to_string(),
            bundles: bundles.into_iter().collect(),
            images: images.into_iter().collect(),
        };
        session.send(wire::ManagerMessage { kind: Some(manager_message::Kind::Distribute(order)) });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u128) -> SwarmId {
        SwarmId::from_uuid(uuid::Uuid::from_u128(number))
    }

    fn node(name: &str) -> NodeName {
        NodeName::new(name).unwrap()
    }

    #[test]
    fn a_node_is_ready_when_every_part_is_there_and_a_failure_is_named() {
        let told = Distributions::default();
        assert_eq!(told.view(id(1)), None);
        told.begin(id(1), [(node("a"), 2), (node("b"), 1), (node("c"), 1)]);
        told.hear(&node("a"), id(1), 1, String::new());
        told.hear(&node("b"), id(1), 9, String::new());
        told.hear(&node("c"), id(1), 0, "the disk is full".to_owned());
        told.hear(&node("stranger"), id(1), 1, String::new());
        told.hear(&node("a"), id(7), 1, String::new());
        let view = told.view(id(1)).unwrap();
        assert_eq!((view.nodes, view.ready), (3, 1), "one part of two is not all");
        assert_eq!(view.failed, [WaitingNode { node: "c".into(), cause: "the disk is full".into(), change: None }]);
        told.hear(&node("a"), id(1), 2, String::new());
        told.hear(&node("a"), id(1), 1, String::new());
        assert_eq!(told.view(id(1)).unwrap().ready, 2, "what came late takes nothing back");
    }

    #[test]
    fn the_oldest_swarm_makes_room() {
        let told = Distributions::default();
        for number in 0..=SWARMS_MAX as u128 {
            told.begin(id(number), [(node("a"), 1)]);
        }
        assert!(told.view(id(0)).is_none() && told.view(id(1)).is_some());
    }
}
