//! What waits is never forgotten, and never waits for what cannot come.
mod cluster;

use std::num::NonZeroU32;

use cluster::{Cluster, any, name, outputs, swarm, task};
use manta_engine::Input;
use manta_types::event::Outputs;
use manta_types::{Method, NodeLimit, NodeName, OnFailure, OutcomeClass, Quorum, SwarmSpec, SwarmState, TaskSpec};

fn on(nodes: &[&str], mut task: TaskSpec) -> TaskSpec {
    task.specified = Some(nodes.iter().map(|node| name(node)).collect());
    task
}

fn revoke(node: &str) -> Input {
    Input::Revoke { node: name(node), reason: "stolen".to_owned() }
}

fn leave(node: &str) -> Input {
    Input::NodeLeft { node: name(node), reason: "stopped".to_owned() }
}

#[test]
fn a_wait_that_ends_while_something_else_happens_is_due_still() {
    let mut cluster = Cluster::new(1);
    cluster.submit(swarm(vec![task("worker", &[])]));
    let offer = cluster.take_offers().remove(0);
    cluster.fail(&offer, OutcomeClass::UserError);
    let due = cluster.engine.next_wake().expect("it is tried again");
    cluster.now.monotonic = due;
    // A heartbeat comes just then, and says nothing about the swarm.
    cluster.input(Input::NodeHeard { node: name("node-1") });
    if cluster.take_offers().is_empty() {
        assert!(cluster.engine.next_wake().is_some_and(|wake| wake <= due), "it is due still");
        cluster.input(Input::Tick);
        assert_eq!(cluster.take_offers().len(), 1);
    }
}

#[test]
fn what_fails_in_a_long_pause_is_tried_again_as_soon_as_what_failed_before_it() {
    let mut cluster = Cluster::new(1);
    let id = cluster.submit(swarm(vec![task("worker", &[])]));
    let offer = cluster.take_offers().remove(0);
    cluster.input(Input::Pause { swarm: id, reason: "paused by a user".to_owned() });
    cluster.pass(3600, &["node-1"]);
    cluster.fail(&offer, OutcomeClass::UserError);
    cluster.input(Input::Resume { swarm: id, reason: "resumed by a user".to_owned() });
    cluster.pass(2, &["node-1"]);
    assert_eq!(cluster.take_offers().len(), 1, "after its half second, not after another hour");
}

#[test]
fn a_tag_that_nobody_published_skips_the_task() {
    let mut cluster = Cluster::new(2);
    let mut worker = task("worker", &[]);
    worker.policy.on_failure = OnFailure::Continue;
    let mut tagged = task("tagged", &[0]);
    tagged.method = Method::Tag("x".to_owned());
    let id = cluster.submit(swarm(vec![worker, tagged]));
    for offer in cluster.take_offers() {
        cluster.succeed(&offer, outputs(&[("y", 1)], &[]));
    }
    assert_eq!(cluster.state(id), SwarmState::Succeeded);
    let skipped = cluster.swarm(id).task_runs()[1].reason.clone();
    assert_eq!(skipped, "no node published `x` in this iteration");
}

#[test]
fn a_tag_that_somebody_may_still_publish_is_waited_for() {
    let mut cluster = Cluster::new(2);
    let mut tagged = task("tagged", &[]);
    tagged.method = Method::Tag("x".to_owned());
    let id = cluster.submit(swarm(vec![task("worker", &[]), tagged]));
    assert_eq!(cluster.offers.len(), 2, "only the workers");
    let offers = cluster.take_offers();
    cluster.succeed(&offers[0], outputs(&[("x", 1)], &[]));
    assert!(cluster.take_offers().is_empty(), "a result counts when its task run has closed");
    cluster.succeed(&offers[1], outputs(&[], &[]));
    let nodes: Vec<NodeName> = cluster.take_offers().into_iter().map(|offer| offer.node).collect();
    assert_eq!(nodes, [offers[0].node.clone()]);
    assert_eq!(cluster.state(id), SwarmState::Running);
}

#[test]
fn a_swarm_below_its_limit_is_served_wherever_it_was_passed_over() {
    let mut cluster = Cluster::new(3);
    let mut pair = on(&["node-1", "node-2"], task("pair", &[]));
    pair.policy.quorum = Quorum::Count(NonZeroU32::new(2).unwrap());
    (pair.policy.on_failure, pair.policy.retries) = (OnFailure::Continue, 0);
    let single = on(&["node-3"], task("single", &[]));
    let id = cluster.submit(SwarmSpec { attempts_max: NonZeroU32::new(1), ..swarm(vec![pair, single]) });
    let first = cluster.take_offers().remove(0);
    assert_eq!(first.node, name("node-1"));
    // Its turn goes to node-2, where nothing waits any more once the pair has closed.
    cluster.fail(&first, OutcomeClass::UserError);
    let nodes: Vec<NodeName> = cluster.offers.iter().map(|offer| offer.node.clone()).collect();
    assert_eq!(nodes, [name("node-3")]);
    cluster.finish_all();
    assert_eq!(cluster.state(id), SwarmState::Succeeded);
}

#[test]
fn a_task_whose_only_nodes_are_revoked_fails_saying_so() {
    let mut cluster = Cluster::new(2);
    let (first, mut fixed) = (on(&["node-2"], task("first", &[])), on(&["node-1"], task("second", &[0])));
    fixed.fixed = true;
    let spec = SwarmSpec { iterations_max: NonZeroU32::new(2), ..swarm(vec![first, fixed]) };
    let (one, other) = (cluster.submit(spec.clone()), cluster.submit(spec));
    for _ in 0..2 {
        for offer in cluster.take_offers() {
            cluster.succeed(&offer, Outputs::default());
        }
    }
    let offers = cluster.take_offers();
    assert_eq!((offers.len(), offers[0].iteration), (2, 1));
    cluster.input(leave("node-1"));
    cluster.succeed(&offers[0], Outputs::default());
    assert_eq!(cluster.state(offers[0].swarm), SwarmState::Running, "node-1 may come back");
    cluster.input(revoke("node-1"));
    assert_eq!(cluster.state(offers[0].swarm), SwarmState::Failed, "nobody will");
    cluster.succeed(&offers[1], Outputs::default());
    for id in [one, other] {
        assert_eq!(cluster.swarm(id).reason(), "task `second` failed in iteration 1: node-1 revoked");
    }
}

#[test]
fn a_tag_of_revoked_nodes_alone_fails_saying_so() {
    let mut cluster = Cluster::new(2);
    let mut tagged = task("tagged", &[0]);
    tagged.method = Method::Tag("x".to_owned());
    let id = cluster.submit(swarm(vec![task("worker", &[]), tagged]));
    let offers = cluster.take_offers();
    cluster.succeed(&offers[0], outputs(&[("x", 1)], &[]));
    cluster.input(leave("node-1"));
    cluster.succeed(&offers[1], outputs(&[], &[]));
    assert_eq!(cluster.state(id), SwarmState::Running, "node-1 may come back");
    cluster.input(revoke("node-1"));
    assert_eq!(cluster.swarm(id).reason(), "task `tagged` failed in iteration 0: node-1 revoked");
}

#[test]
fn all_that_wait_are_told_that_the_last_free_node_is_revoked() {
    let mut cluster = Cluster::new(4);
    let mut three = any(task("three", &[]));
    three.maximum = NodeLimit::Count(NonZeroU32::new(3).unwrap());
    let id = cluster.submit(swarm(vec![three]));
    let offers = cluster.take_offers();
    let spare = (1..=4).map(|node| name(&format!("node-{node}"))).find(|node| offers.iter().all(|o| o.node != *node));
    let spare = spare.unwrap();
    cluster.input(leave(spare.as_str()));
    cluster.input(revoke(offers[0].node.as_str()));
    cluster.input(revoke(offers[1].node.as_str()));
    cluster.succeed(&offers[2], Outputs::default());
    assert_eq!(cluster.state(id), SwarmState::Running, "{spare} may come back");
    cluster.input(revoke(spare.as_str()));
    let gone = |node: &NodeName| format!("{node} revoked, and no other is left");
    let reason = format!("closed 1/3: {}, {}", gone(&offers[0].node), gone(&offers[1].node));
    assert_eq!((cluster.state(id), cluster.closing_reasons()), (SwarmState::Succeeded, vec![reason]));
}
