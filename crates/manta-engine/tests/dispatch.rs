//! Who gets a node's free place, and who waits for it and why.
mod cluster;

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use cluster::{Cluster, any, name, swarm, task};
use manta_engine::{Engine, Input};
use manta_types::event::Outputs;
use manta_types::{Method, NodeLimit, OutcomeClass, SwarmId, SwarmSpec, SwarmState, TaskSpec};

/// A swarm of tasks side by side, all on the only node.
fn wide(tasks: usize) -> SwarmSpec {
    swarm((0..tasks).map(|index| task(&format!("task-{index}"), &[])).collect())
}

/// Ends the oldest offer, and names the swarms of those that follow.
fn end_one(cluster: &mut Cluster) -> Vec<SwarmId> {
    let offer = cluster.offers.remove(0);
    let before = cluster.offers.len();
    cluster.succeed(&offer, Outputs::default());
    cluster.offers[before..].iter().map(|offer| offer.swarm).collect()
}

#[test]
fn a_node_holds_two_attempts_per_slot_and_the_rest_waits_saying_for_what() {
    let mut cluster = Cluster::new(1);
    let id = cluster.submit(wide(10));
    assert_eq!(cluster.offers.len(), 4, "two slots, and one more for each");
    let waiting = cluster.engine.waiting(cluster.now.monotonic, id);
    let waits =
        waiting.iter().filter(|waiting| waiting.nodes[0].cause.starts_with("has no free slot")).collect::<Vec<_>>();
    assert_eq!(waits.len(), 6);
    let reason = &waits[0].nodes[0];
    assert_eq!((reason.node.as_str(), reason.cause.as_str()), ("node-1", "has no free slot: 2 of 2 busy"));
    assert_eq!(reason.change.as_deref(), Some("a slot of node-1 becomes free"));
    let node = cluster.engine.node(&name("node-1")).unwrap();
    assert_eq!((node.load(), node.waiting()), (4, 6));
    cluster.finish_all();
    assert_eq!(cluster.state(id), SwarmState::Succeeded);
}

#[test]
fn swarms_of_one_priority_share_a_node_in_turn() {
    let mut cluster = Cluster::new(1);
    let first = cluster.submit(wide(12));
    let second = cluster.submit(wide(12));
    let served: Vec<SwarmId> = (0..8).flat_map(|_| end_one(&mut cluster)).collect();
    assert_eq!(served.iter().filter(|id| **id == first).count(), 4);
    assert_eq!(served.iter().filter(|id| **id == second).count(), 4);
}

#[test]
fn a_swarm_of_higher_priority_gets_every_place_that_becomes_free() {
    let mut cluster = Cluster::new(1);
    let low = cluster.submit(wide(12));
    let high = cluster.submit(SwarmSpec { priority: 1, ..wide(3) });
    let served: Vec<SwarmId> = (0..4).flat_map(|_| end_one(&mut cluster)).collect();
    assert_eq!(served, [high, high, high, low]);
}

#[test]
fn a_swarm_has_no_more_attempts_at_once_than_it_may() {
    let mut cluster = Cluster::new(3);
    let id = cluster.submit(SwarmSpec { attempts_max: NonZeroU32::new(2), ..wide(2) });
    let other = cluster.submit(wide(1));
    assert_eq!(cluster.offers.iter().filter(|offer| offer.swarm == id).count(), 2);
    assert_eq!(cluster.offers.iter().filter(|offer| offer.swarm == other).count(), 3, "others are not held up");
    let waiting = cluster.engine.waiting(cluster.now.monotonic, id);
    let causes: Vec<&str> = waiting.iter().flat_map(|waiting| &waiting.nodes).map(|node| node.cause.as_str()).collect();
    assert!(causes.contains(&"waits because the swarm may have 2 attempts at once"), "{causes:?}");
    let mut most = 0;
    while let Some(at) = cluster.offers.iter().position(|offer| offer.swarm == id) {
        most = most.max(cluster.offers.iter().filter(|offer| offer.swarm == id).count());
        let offer = cluster.offers.remove(at);
        cluster.succeed(&offer, Outputs::default());
    }
    assert_eq!((most, cluster.state(id)), (2, SwarmState::Succeeded));
}

#[test]
fn so_many_swarms_run_at_once_and_the_others_wait_for_their_turn() {
    let mut cluster = Cluster::empty(Engine::new(7).with_swarms_running_max(2));
    cluster.connect("node-1");
    let ids: Vec<SwarmId> = (0..4).map(|_| cluster.submit(wide(1))).collect();
    let urgent = cluster.submit(SwarmSpec { priority: 7, ..wide(1) });
    let states: Vec<SwarmState> = ids.iter().map(|id| cluster.state(*id)).collect();
    assert_eq!(states[..3], [SwarmState::Running, SwarmState::Running, SwarmState::Pending]);
    let turn = cluster.engine.turn(ids[3]).unwrap();
    assert_eq!(turn, "waits for its turn: 2 swarms run, 2 are ahead of it");
    let first = cluster.offers.remove(0);
    cluster.succeed(&first, Outputs::default());
    assert_eq!((cluster.state(urgent), cluster.state(ids[2])), (SwarmState::Running, SwarmState::Pending));
    cluster.input(Input::Pause { swarm: urgent, reason: "paused by a user".to_owned() });
    assert_eq!(cluster.state(ids[2]), SwarmState::Running, "a swarm that is paused gives up its turn");
    cluster.input(Input::Stop { swarm: ids[3], reason: "stopped by a user".to_owned() });
    cluster.input(Input::Resume { swarm: urgent, reason: "resumed by a user".to_owned() });
    cluster.finish_all();
    assert!(ids[..3].iter().chain([&urgent]).all(|id| cluster.state(*id) == SwarmState::Succeeded));
}

#[test]
fn movable_work_prefers_a_node_with_room() {
    let mut cluster = Cluster::new(2);
    let tasks: Vec<TaskSpec> = (0..8).map(|index| any(task(&format!("task-{index}"), &[]))).collect();
    cluster.submit(swarm(tasks));
    let mut loads: BTreeMap<&str, usize> = BTreeMap::new();
    for offer in &cluster.offers {
        *loads.entry(offer.node.as_str()).or_default() += 1;
    }
    assert_eq!(loads, BTreeMap::from([("node-1", 4), ("node-2", 4)]));
}

#[test]
fn a_node_that_has_done_its_work_takes_over_what_waits_elsewhere_and_may_move() {
    let mut cluster = Cluster::new(2);
    let tasks: Vec<TaskSpec> = (0..12).map(|index| any(task(&format!("task-{index}"), &[]))).collect();
    cluster.submit(swarm(tasks));
    while let Some(at) = cluster.offers.iter().position(|offer| offer.node == name("node-1")) {
        let offer = cluster.offers.remove(at);
        cluster.succeed(&offer, Outputs::default());
    }
    assert_eq!(cluster.offers.len(), 4, "node-2 did nothing, and node-1 all but what node-2 has");
    assert_eq!(cluster.engine.nodes().map(manta_engine::Node::waiting).sum::<u32>(), 0);
}

#[test]
fn code_that_fails_is_tried_again_on_another_node_where_it_may_move() {
    let mut cluster = Cluster::new(3);
    cluster.submit(swarm(vec![any(task("aggregator", &[]))]));
    let first = cluster.take_offers().remove(0);
    cluster.fail(&first, OutcomeClass::UserError);
    cluster.pass(1, &["node-1", "node-2", "node-3"]);
    assert_ne!(cluster.take_offers()[0].node, first.node);
}

#[test]
fn movable_work_of_a_node_that_falls_silent_is_offered_elsewhere_within_ten_seconds() {
    let mut cluster = Cluster::new(2);
    cluster.submit(swarm(vec![any(task("aggregator", &[]))]));
    let old = cluster.take_offers().remove(0);
    let other = if old.node == name("node-1") { "node-2" } else { "node-1" };
    let silent_since = cluster.now.monotonic;
    while cluster.offers.is_empty() {
        cluster.pass(1, &[other]);
        assert!((cluster.now.monotonic - silent_since).as_secs() <= 10);
    }
    assert_eq!(cluster.offers[0].node.as_str(), other);
}

#[test]
fn a_slot_that_no_node_can_take_waits_for_one_to_join() {
    let mut cluster = Cluster::new(2);
    let mut pair = task("pair", &[]);
    (pair.method, pair.maximum) = (Method::Any, NodeLimit::Count(NonZeroU32::new(2).unwrap()));
    let id = cluster.submit(swarm(vec![pair]));
    cluster.take_offers();
    cluster.pass(8, &["node-1"]);
    assert!(cluster.offers.is_empty(), "the other node has the other slot");
    cluster.connect("node-3");
    let offers = cluster.take_offers();
    assert_eq!(offers.iter().map(|offer| offer.node.as_str()).collect::<Vec<_>>(), ["node-3"]);
    assert_eq!(cluster.state(id), SwarmState::Running);
}

#[test]
fn a_restart_goes_on_with_what_waits_and_forgets_nobody() {
    let mut cluster = Cluster::new(2);
    let spec = SwarmSpec { iterations_max: NonZeroU32::new(2), ..wide(6) };
    let id = cluster.submit(spec);
    let waiting = cluster.submit(wide(1));
    cluster.restart();
    for node in ["node-1", "node-2"] {
        cluster.connect(node);
    }
    cluster.finish_all();
    assert_eq!((cluster.state(id), cluster.state(waiting)), (SwarmState::Succeeded, SwarmState::Succeeded));
}
