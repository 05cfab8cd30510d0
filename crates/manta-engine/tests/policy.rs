//! Nodes whose policy refuses a module: foreseen where it can be, remembered where it could not.
mod cluster;

use cluster::{Cluster, any, name, outputs, swarm, task};
use manta_engine::{Input, NodeDescription};
use manta_types::policy::{Hours, ModuleRule};
use manta_types::{Digest, Fingerprint, OutcomeClass, Policy, SignedBy, Signer, SwarmState, VersionRange};

const BUNDLE: Digest = Digest::from_bytes([1; 32]);

fn key(number: u8) -> Fingerprint {
    Fingerprint::new(Digest::from_bytes([number; 32]))
}

fn strict(node: &str) -> NodeDescription {
    let signer = Signer { name: "ada".to_owned(), key: key(1), expires_ms: None, is_revoked: false, line: 2 };
    let policy = Policy {
        file: "policy.toml".to_owned(),
        require_signature: Some(1),
        signers: vec![signer],
        ..Policy::default()
    };
    NodeDescription { policy, ..Cluster::describe(node) }
}

fn signed(number: u8) -> Input {
    Input::Signed { bundle: BUNDLE, signatures: vec![SignedBy { key: key(number), expires_ms: None }] }
}

#[test]
fn a_task_goes_where_a_policy_takes_it_and_waits_with_the_rule_until_it_is_signed() {
    let mut cluster = Cluster::new(0);
    cluster.input(Input::NodeConnected { node: strict("node-1"), held: Vec::new() });
    let spec = swarm(vec![any(task("worker", &[]))]);
    let refusals = cluster.engine.validate(&spec).unwrap_err();
    let words =
        "node-1 refuses module `worker` 1.0.0 by its policy: nobody signed it (policy.toml:1, `require_signature`)";
    assert!(refusals[0].message.contains(words), "{refusals:?}");
    let id = cluster.submit(spec);
    assert!(cluster.take_offers().is_empty());
    let waiting = cluster.engine.waiting(cluster.now.monotonic, id);
    assert!(waiting[0].nodes[0].cause.contains("policy.toml:1"), "{waiting:?}");
    assert!(waiting[0].would_change.iter().any(|change| change.contains("ada signs it")), "{waiting:?}");
    cluster.input(signed(9));
    assert!(cluster.take_offers().is_empty(), "a stranger's signature changes nothing");
    cluster.input(signed(1));
    assert_eq!(cluster.take_offers().len(), 1);
}

#[test]
fn a_version_that_a_site_does_not_allow_is_foreseen_and_runs_once_it_does() {
    let least = |versions: &str| {
        let rule = ModuleRule { line: 5, versions: VersionRange::parse(versions).unwrap() };
        let modules = [("worker".to_owned(), rule)].into();
        let policy = Policy { file: "policy.toml".to_owned(), modules, ..Policy::default() };
        NodeDescription { policy, ..Cluster::describe("node-1") }
    };
    let mut cluster = Cluster::new(0);
    cluster.input(Input::NodeConnected { node: least(">=1.2"), held: Vec::new() });
    let spec = swarm(vec![any(task("worker", &[]))]);
    let refusals = cluster.engine.validate(&spec).unwrap_err();
    let words = "node-1 refuses module `worker` 1.0.0 by its policy: of `worker` only a version that is >=1.2 runs here \
                 (policy.toml:5, `modules.worker.version`)";
    assert!(refusals[0].message.contains(words), "{refusals:?}");
    let id = cluster.submit(spec);
    assert!(cluster.take_offers().is_empty());
    let waiting = cluster.engine.waiting(cluster.now.monotonic, id);
    let change = "the swarm uses a version of it that is >=1.2, or the site allows 1.0.0";
    assert!(waiting[0].would_change.iter().any(|would| would.contains(change)), "{waiting:?}");
    cluster.input(Input::NodeDescribed { node: least(">=1") });
    assert_eq!(cluster.take_offers().len(), 1);
}

#[test]
fn of_several_nodes_those_that_take_it_run_it() {
    let mut cluster = Cluster::new(2);
    cluster.input(Input::NodeConnected { node: strict("node-3"), held: Vec::new() });
    cluster.submit(swarm(vec![task("worker", &[])]));
    let nodes: Vec<_> = cluster.take_offers().into_iter().map(|offer| offer.node).collect();
    assert_eq!(nodes, [name("node-1"), name("node-2")]);
}

#[test]
fn what_runs_on_one_node_only_ends_with_the_refusal_of_its_site() {
    let mut cluster = Cluster::new(1);
    let id = cluster.submit(swarm(vec![task("worker", &[])]));
    let only = cluster.take_offers().remove(0);
    cluster.fail(&only, OutcomeClass::Policy);
    assert!(cluster.take_offers().is_empty(), "its site has the last word");
    assert_eq!(cluster.state(id), SwarmState::Failed);
}

#[test]
fn a_node_that_refuses_by_itself_is_passed_over_until_it_connects_again() {
    let mut cluster = Cluster::new(2);
    let id = cluster.submit(swarm(vec![any(task("worker", &[]))]));
    let first = cluster.take_offers().remove(0);
    cluster.fail(&first, OutcomeClass::Policy);
    let second = cluster.take_offers().remove(0);
    assert_ne!(second.node, first.node, "another node first");
    cluster.fail(&second, OutcomeClass::Policy);
    cluster.pass(5, &["node-1", "node-2"]);
    assert!(cluster.take_offers().is_empty(), "both said no");
    let waiting = cluster.engine.waiting(cluster.now.monotonic, id);
    assert!(waiting[0].nodes[0].cause.contains("refused it"), "{waiting:?}");
    assert_eq!(second.number, 0, "no try of the user's code");
    cluster.connect(first.node.as_str());
    let again = cluster.take_offers();
    assert_eq!(again.iter().map(|offer| &offer.node).collect::<Vec<_>>(), [&first.node]);
    cluster.finish_all();
}

#[test]
fn closed_hours_let_a_swarm_wait_and_it_begins_when_the_node_says_that_they_are_open() {
    let hours = |is_open| {
        let hours = Hours { line: 4, from_minute: 0, until_minute: 60, zone: "UTC".to_owned(), is_open };
        let policy = Policy { file: "policy.toml".to_owned(), hours: Some(hours), ..Policy::default() };
        NodeDescription { policy, ..Cluster::describe("node-1") }
    };
    let mut cluster = Cluster::new(0);
    cluster.input(Input::NodeConnected { node: hours(false), held: Vec::new() });
    let spec = swarm(vec![any(task("worker", &[]))]);
    assert!(cluster.engine.validate(&spec).is_ok(), "they open by themselves");
    let id = cluster.submit(spec);
    assert!(cluster.take_offers().is_empty());
    let waiting = cluster.engine.waiting(cluster.now.monotonic, id);
    assert!(waiting[0].nodes[0].cause.contains("(policy.toml:4, `allow_hours`)"), "{waiting:?}");
    cluster.input(Input::NodeDescribed { node: hours(true) });
    assert_eq!(cluster.take_offers().len(), 1);
}

#[test]
fn what_a_node_offers_later_is_used_at_once_and_a_node_that_is_away_can_be_let_go_of() {
    let with = |datasets: &[&str]| NodeDescription {
        datasets: datasets.iter().map(|name| (*name).to_owned()).collect(),
        ..Cluster::describe("node-1")
    };
    let mut cluster = Cluster::new(0);
    cluster.input(Input::NodeConnected { node: with(&[]), held: Vec::new() });
    let mut worker = any(task("worker", &[]));
    worker.datasets = vec!["mnist".to_owned()];
    cluster.submit(swarm(vec![worker]));
    assert!(cluster.take_offers().is_empty());
    cluster.input(Input::NodeDescribed { node: with(&["mnist"]) });
    let offers = cluster.take_offers();
    assert_eq!(offers.len(), 1);
    cluster.input(Input::NodeRemoved { node: name("node-1") });
    assert!(cluster.engine.node(&name("node-1")).is_some(), "it is here, and at work");
    cluster.succeed(&offers[0], outputs(&[], &[]));
    cluster.input(Input::NodeLeft { node: name("node-1"), reason: "bye".to_owned() });
    cluster.input(Input::NodeRemoved { node: name("node-1") });
    assert!(cluster.engine.node(&name("node-1")).is_none() && cluster.engine.nodes().count() == 0);
    cluster.input(Input::NodeConnected { node: with(&[]), held: Vec::new() });
    assert_eq!(cluster.engine.nodes().count(), 1, "its agent brings it back");
}
