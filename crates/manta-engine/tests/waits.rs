//! What waits is never forgotten, and never waits for what cannot come.
mod cluster;

use cluster::{Cluster, name, outputs, swarm, task};
use manta_engine::Input;
use manta_types::{Method, NodeName, OnFailure, OutcomeClass, SwarmState};

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
