//! What the engine does with rollouts, told as small stories.
mod cluster;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::time::Duration;

use cluster::{Cluster, any, pin, swarm, task};
use manta_engine::{Input, Offer, Rollout, RolloutOrder, RolloutRefusal};
use manta_types::event::{Outputs, SwarmEvent};
use manta_types::{
    Cause, Gate, Holder, OnFailure, OutcomeClass, RolloutPlan, RolloutState, SwarmId, SwarmSpec, SwarmState,
};

const WORKER: usize = 0;

fn looping(iterations: u32) -> SwarmSpec {
    SwarmSpec { iterations_max: NonZeroU32::new(iterations), ..swarm(vec![task("worker", &[])]) }
}

fn plan(steps: &[f64], gates: &[&str]) -> RolloutPlan {
    let gates = gates.iter().map(|gate| gate.parse::<Gate>().expect("a gate")).collect();
    RolloutPlan { steps: steps.to_vec(), gates, ..RolloutPlan::at_once() }
}

fn start(cluster: &mut Cluster, id: SwarmId, version: u8, plan: RolloutPlan) {
    let to = Box::new(pin(&cluster.swarm(id).spec().tasks[WORKER], version));
    order(cluster, id, RolloutOrder::Start { to, plan: Box::new(plan) });
}

fn order(cluster: &mut Cluster, id: SwarmId, order: RolloutOrder) {
    cluster.engine.check_rollout(id, WORKER, &order).expect("it may begin");
    cluster.input(Input::Rollout { swarm: id, task: WORKER, order });
}

fn last(cluster: &Cluster, id: SwarmId) -> &Rollout {
    cluster.swarm(id).rollouts().last().expect("a rollout")
}

fn version(offer: &Offer) -> &str {
    &offer.spec.tasks[offer.task].version
}

/// Ends one iteration: a metric of 1 from the old version, and of `new` from the others. Answers who ran what.
fn iterate(cluster: &mut Cluster, new: f64) -> BTreeMap<String, BTreeSet<String>> {
    let mut ran: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for offer in cluster.take_offers() {
        let version = version(&offer).to_owned();
        let value = if version == "1.0.0" { 1.0 } else { new };
        ran.entry(version).or_default().insert(offer.node.to_string());
        cluster.succeed(&offer, Outputs { metrics: BTreeMap::from([("acc".to_owned(), value)]), ..Outputs::default() });
    }
    ran
}

#[test]
fn shares_grow_step_by_step_at_the_boundaries_and_keep_who_they_have() {
    let mut cluster = Cluster::new(10);
    let id = cluster.submit(looping(20));
    start(&mut cluster, id, 2, plan(&[0.1, 0.5, 1.0], &["failures<=0%", "metric:acc>=-0.01"]));
    let ran = iterate(&mut cluster, 1.0);
    assert_eq!(ran.keys().collect::<Vec<_>>(), ["1.0.0"], "what runs is not touched");
    let first = iterate(&mut cluster, 1.0);
    let second = iterate(&mut cluster, 1.0);
    assert_eq!((first["2.0.0"].len(), second["2.0.0"].len()), (1, 5));
    assert!(first["2.0.0"].is_subset(&second["2.0.0"]), "{first:?} {second:?}");
    assert!(second["1.0.0"].is_disjoint(&second["2.0.0"]) && second["1.0.0"].len() == 5);
    assert_eq!(iterate(&mut cluster, 1.0).keys().collect::<Vec<_>>(), ["2.0.0"]);
    assert_eq!(last(&cluster, id).state, RolloutState::Completed, "{:?}", last(&cluster, id));
    assert_eq!(iterate(&mut cluster, 1.0)["2.0.0"].len(), 10);
    assert_eq!(cluster.swarm(id).spec().tasks[WORKER].version, "2.0.0");
    let stepped = cluster.events.iter().find(|event| event.what.kind() == "rollout_stepped").unwrap();
    assert_eq!(stepped.subject.task, Some(WORKER));
    let started = cluster.events.iter().find(|event| event.what.kind() == "rollout_started").unwrap();
    assert_eq!(started.cause, Cause::User { action: "rollout".to_owned() });
}

#[test]
fn a_rollback_goes_to_the_version_before_and_then_to_the_one_before_that() {
    let mut cluster = Cluster::new(2);
    let id = cluster.submit(looping(30));
    for version in [2, 3] {
        start(&mut cluster, id, version, plan(&[1.0], &[]));
        iterate(&mut cluster, 1.0);
        iterate(&mut cluster, 1.0);
        assert_eq!(last(&cluster, id).state, RolloutState::Completed);
    }
    for before in ["2.0.0", "1.0.0"] {
        assert_eq!(cluster.swarm(id).way_back(None).unwrap().pin.version, before);
        order(&mut cluster, id, RolloutOrder::Back);
        iterate(&mut cluster, 1.0);
        assert_eq!(iterate(&mut cluster, 1.0).keys().collect::<Vec<_>>(), [before]);
        assert!(last(&cluster, id).back && last(&cluster, id).state == RolloutState::Completed);
    }
    let refused = cluster.engine.check_rollout(id, WORKER, &RolloutOrder::Back);
    assert_eq!(refused, Err(RolloutRefusal::NoWayBack));
}

#[test]
fn a_version_that_crashes_reverts_by_itself_and_the_swarm_goes_on() {
    for policy in [OnFailure::Fail, OnFailure::Continue] {
        let mut cluster = Cluster::new(4);
        let mut spec = looping(5);
        spec.tasks[WORKER].policy.on_failure = policy;
        spec.tasks[WORKER].policy.retries = 0;
        let id = cluster.submit(spec);
        // Without a gate, and with one that tolerates it: what would fail the task takes the version back.
        start(&mut cluster, id, 2, plan(&[0.5, 1.0], &["failures<=60%"]));
        iterate(&mut cluster, 1.0);
        let offers = cluster.take_offers();
        for offer in &offers {
            if version(offer) == "2.0.0" {
                cluster.fail(offer, OutcomeClass::UserError);
            } else {
                cluster.succeed(offer, Outputs::default());
            }
        }
        let again = cluster.take_offers();
        assert!(!again.is_empty() && again.iter().all(|offer| version(offer) == "1.0.0" && offer.iteration == 1));
        again.iter().for_each(|offer| drop(cluster.succeed(offer, Outputs::default())));
        cluster.finish_all();
        assert_eq!((cluster.state(id), last(&cluster, id).state), (SwarmState::Succeeded, RolloutState::Reverted));
        let accepted = cluster.kinds().iter().filter(|kind| **kind == "attempt_accepted").count();
        assert_eq!(accepted, 4 * 5, "every node has its part in every iteration, once");
    }
}

#[test]
fn a_gate_of_failures_that_cannot_be_kept_to_any_more_reverts_at_once() {
    let mut cluster = Cluster::new(4);
    let id = cluster.submit(looping(5));
    start(&mut cluster, id, 2, plan(&[0.25, 1.0], &["failures<=1%"]));
    iterate(&mut cluster, 1.0);
    let offers = cluster.take_offers();
    let new = offers.iter().find(|offer| version(offer) == "2.0.0").unwrap();
    cluster.fail(new, OutcomeClass::Platform);
    assert_eq!(last(&cluster, id).state, RolloutState::Running, "the platform's trouble is not the version's");
    cluster.pass(1, &["node-1", "node-2", "node-3", "node-4"]);
    let again = cluster.take_offers().remove(0);
    assert_eq!(version(&again), "2.0.0", "a retry runs what its iteration assigned");
    cluster.fail(&again, OutcomeClass::UserError);
    let rollout = last(&cluster, id);
    assert_eq!(rollout.state, RolloutState::Reverted);
    assert_eq!(rollout.reason, "failures<=1% failed (100% of 1 attempts)");
    assert_eq!(version(&cluster.take_offers()[0]), "1.0.0", "it goes on at once");
}

#[test]
fn a_metric_that_is_lost_reverts_and_one_that_nobody_logs_holds_until_the_deadline() {
    let mut cluster = Cluster::new(4);
    let id = cluster.submit(looping(30));
    start(&mut cluster, id, 2, plan(&[0.5, 1.0], &["metric:acc>=-0.01"]));
    iterate(&mut cluster, 0.9);
    iterate(&mut cluster, 0.9);
    assert_eq!(last(&cluster, id).state, RolloutState::Reverted);
    assert!(
        last(&cluster, id).reason.starts_with("metric:acc>=-0.01 failed (-0.1 = 0.9 - 1"),
        "{}",
        last(&cluster, id).reason
    );
    assert_eq!(iterate(&mut cluster, 0.9).keys().collect::<Vec<_>>(), ["1.0.0"]);

    let unjudged = RolloutPlan { deadline_ms: Some(30_000), ..plan(&[0.5, 1.0], &["metric:other>=0"]) };
    start(&mut cluster, id, 3, unjudged);
    iterate(&mut cluster, 1.0);
    iterate(&mut cluster, 1.0);
    let rollout = last(&cluster, id);
    assert_eq!((rollout.state, rollout.holder), (RolloutState::Held, Some(Holder::Gate)));
    assert!(rollout.reason.contains("no attempt of the new version logged it"), "{}", rollout.reason);
    assert_eq!(iterate(&mut cluster, 1.0)["3.0.0"].len(), 2, "it stays at its step");
    cluster.pass(31, &["node-1", "node-2", "node-3", "node-4"]);
    assert_eq!(last(&cluster, id).state, RolloutState::Reverted);
    assert!(
        last(&cluster, id).reason.contains("not done with within 30 s; it was held"),
        "{}",
        last(&cluster, id).reason
    );
}

#[test]
fn the_last_step_is_measured_by_what_the_old_version_showed_last() {
    let mut cluster = Cluster::new(3);
    let id = cluster.submit(looping(30));
    start(&mut cluster, id, 2, plan(&[1.0], &["metric:acc>=-0.01"]));
    iterate(&mut cluster, 0.5);
    iterate(&mut cluster, 0.5);
    assert_eq!(last(&cluster, id).state, RolloutState::Reverted);
}

#[test]
fn a_person_holds_promotes_and_reverts() {
    let mut cluster = Cluster::new(4);
    let id = cluster.submit(looping(30));
    start(&mut cluster, id, 2, RolloutPlan { hold_each: true, ..plan(&[0.25, 0.5, 1.0], &[]) });
    iterate(&mut cluster, 1.0);
    assert_eq!(iterate(&mut cluster, 1.0)["2.0.0"].len(), 1);
    assert_eq!(last(&cluster, id).holder, Some(Holder::Plan));
    assert_eq!(iterate(&mut cluster, 1.0)["2.0.0"].len(), 1);
    order(&mut cluster, id, RolloutOrder::Promote { full: false });
    assert_eq!(iterate(&mut cluster, 1.0)["2.0.0"].len(), 1, "only at the boundary");
    order(&mut cluster, id, RolloutOrder::Hold);
    assert_eq!(iterate(&mut cluster, 1.0)["2.0.0"].len(), 2);
    assert_eq!(iterate(&mut cluster, 1.0)["2.0.0"].len(), 2);
    order(&mut cluster, id, RolloutOrder::Promote { full: true });
    iterate(&mut cluster, 1.0);
    assert_eq!(iterate(&mut cluster, 1.0)["2.0.0"].len(), 4);
    order(&mut cluster, id, RolloutOrder::Revert);
    assert_eq!(last(&cluster, id).state, RolloutState::Reverted);
    // What runs may end, and counts.
    assert_eq!(iterate(&mut cluster, 1.0)["2.0.0"].len(), 4);
    assert_eq!(iterate(&mut cluster, 1.0).keys().collect::<Vec<_>>(), ["1.0.0"]);
    let refused = cluster.engine.check_rollout(id, WORKER, &RolloutOrder::Hold);
    assert_eq!(refused, Err(RolloutRefusal::NotGoing));
}

#[test]
fn a_step_lasts_as_long_as_it_is_to_and_a_last_step_below_all_stays() {
    let mut cluster = Cluster::new(5);
    let id = cluster.submit(looping(30));
    start(&mut cluster, id, 2, RolloutPlan { every: 2, ..plan(&[0.2, 0.8], &[]) });
    iterate(&mut cluster, 1.0);
    let counts: Vec<_> = (0..5).map(|_| iterate(&mut cluster, 1.0)["2.0.0"].len()).collect();
    assert_eq!(counts, [1, 1, 4, 4, 4]);
    let rollout = last(&cluster, id);
    assert_eq!((rollout.state, rollout.holder), (RolloutState::Held, Some(Holder::Plan)));
    order(&mut cluster, id, RolloutOrder::Promote { full: false });
    iterate(&mut cluster, 1.0);
    assert_eq!(iterate(&mut cluster, 1.0)["2.0.0"].len(), 5);
}

#[test]
fn a_task_on_one_node_goes_in_one_step() {
    let mut cluster = Cluster::new(3);
    let spec = SwarmSpec { iterations_max: NonZeroU32::new(9), ..swarm(vec![any(task("aggregator", &[]))]) };
    let id = cluster.submit(spec);
    start(&mut cluster, id, 2, plan(&[0.05, 0.2, 1.0], &[]));
    assert_eq!(last(&cluster, id).plan.steps, [1.0]);
    iterate(&mut cluster, 1.0);
    iterate(&mut cluster, 1.0);
    assert_eq!(last(&cluster, id).state, RolloutState::Completed);
}

#[test]
fn a_version_that_hangs_is_taken_back_at_the_deadline_of_its_task() {
    let mut cluster = Cluster::new(2);
    let mut spec = looping(3);
    spec.tasks[WORKER].policy.deadline = Some(Duration::from_secs(10));
    let id = cluster.submit(spec);
    start(&mut cluster, id, 2, plan(&[0.5, 1.0], &[]));
    iterate(&mut cluster, 1.0);
    for offer in cluster.take_offers().iter().filter(|offer| version(offer) == "1.0.0") {
        cluster.succeed(offer, Outputs::default());
    }
    cluster.pass(11, &["node-1", "node-2"]);
    assert_eq!(last(&cluster, id).state, RolloutState::Reverted, "{:?}", cluster.swarm(id).reason());
    let again = cluster.take_offers();
    assert_eq!((again.len(), version(&again[0])), (1, "1.0.0"));
    cluster.succeed(&again[0], Outputs::default());
    cluster.finish_all();
    assert_eq!(cluster.state(id), SwarmState::Succeeded);
}

#[test]
fn a_node_that_cannot_run_the_new_version_keeps_the_old_one_and_is_named() {
    let mut cluster = Cluster::new(2);
    let described = Cluster::describe("node-3");
    let node = manta_engine::NodeDescription { datasets: vec!["more".to_owned()], ..described };
    cluster.input(Input::NodeConnected { node, held: Vec::new() });
    let id = cluster.submit(looping(9));
    let mut to = pin(&cluster.swarm(id).spec().tasks[WORKER], 2);
    to.datasets = vec!["digits".to_owned()];
    order(&mut cluster, id, RolloutOrder::Start { to: Box::new(to.clone()), plan: Box::new(plan(&[1.0], &[])) });
    iterate(&mut cluster, 1.0);
    let ran = iterate(&mut cluster, 1.0);
    assert_eq!((ran["2.0.0"].len(), ran["1.0.0"].iter().next().unwrap().as_str()), (2, "node-3"));
    let told = cluster.events.iter().find_map(|event| match &event.what {
        SwarmEvent::RolloutStepped { unfit, .. } => Some(unfit.clone()),
        _ => None,
    });
    assert_eq!(told.unwrap()[0].cause, "does not offer dataset `digits` (it offers: more)");
    to.datasets = vec!["none".to_owned()];
    to.bundle = manta_types::Digest::from_bytes([9; 32]);
    let order = RolloutOrder::Start { to: Box::new(to), plan: Box::new(plan(&[1.0], &[])) };
    assert!(matches!(cluster.engine.check_rollout(id, WORKER, &order), Err(RolloutRefusal::Placement(_))));
}

#[test]
fn a_rollout_ends_with_its_swarm_and_what_continues_it_runs_what_was_completed() {
    let mut cluster = Cluster::new(2);
    let mut spec = looping(30);
    spec.tasks[WORKER].policy.retries = 0;
    let id = cluster.submit(spec.clone());
    start(&mut cluster, id, 2, plan(&[1.0], &[]));
    iterate(&mut cluster, 1.0);
    iterate(&mut cluster, 1.0);
    start(&mut cluster, id, 3, plan(&[0.5, 1.0], &["metric:acc>=-9"]));
    for offer in cluster.take_offers() {
        cluster.fail(&offer, OutcomeClass::UserError);
    }
    assert_eq!((cluster.state(id), last(&cluster, id).state), (SwarmState::Failed, RolloutState::Abandoned));
    let checkpoint = cluster.swarm(id).checkpoint().unwrap();
    let next = cluster.submit_continuing(spec, checkpoint);
    let offers = cluster.take_offers();
    assert!(offers.iter().all(|offer| version(offer) == "2.0.0" && offer.swarm == next));
    assert_eq!(cluster.swarm(next).way_back(Some(WORKER)).unwrap().pin.version, "1.0.0");
    let stopped = cluster.submit(looping(3));
    start(&mut cluster, stopped, 2, plan(&[1.0], &[]));
    cluster.input(Input::Stop { swarm: stopped, reason: "enough".to_owned() });
    assert_eq!(last(&cluster, stopped).reason, "the swarm ended first: enough");
    assert_eq!(cluster.events.last().unwrap().what.kind(), "swarm_stopped", "the end comes last");
}

#[test]
fn what_cannot_begin_is_refused_with_the_reason() {
    let mut cluster = Cluster::new(2);
    let id = cluster.submit(looping(9));
    let begin = |version| RolloutOrder::Start {
        to: Box::new(pin(&task("worker", &[]), version)),
        plan: Box::new(plan(&[1.0], &[])),
    };
    let check = |cluster: &Cluster, task, order: &RolloutOrder| cluster.engine.check_rollout(id, task, order);
    assert_eq!(check(&cluster, 7, &begin(2)), Err(RolloutRefusal::Unknown));
    assert_eq!(check(&cluster, WORKER, &begin(1)), Err(RolloutRefusal::Same("1.0.0".to_owned())));
    let falling =
        RolloutOrder::Start { to: Box::new(pin(&task("worker", &[]), 2)), plan: Box::new(plan(&[1.0, 0.5], &[])) };
    assert!(matches!(check(&cluster, WORKER, &falling), Err(RolloutRefusal::Plan(_))));
    order(&mut cluster, id, begin(2));
    assert_eq!(check(&cluster, WORKER, &begin(3)), Err(RolloutRefusal::Going(1)));
    cluster.input(Input::Stop { swarm: id, reason: "enough".to_owned() });
    assert_eq!(check(&cluster, WORKER, &begin(3)), Err(RolloutRefusal::Over(SwarmState::Stopped)));
}

#[test]
fn a_rollout_goes_on_after_a_restart_and_stands_still_in_a_pause() {
    let mut cluster = Cluster::new(4);
    let id = cluster.submit(looping(30));
    let slow = RolloutPlan { deadline_ms: Some(60_000), every: 2, ..plan(&[0.25, 1.0], &["failures<=0%"]) };
    start(&mut cluster, id, 2, slow);
    iterate(&mut cluster, 1.0);
    let first = iterate(&mut cluster, 1.0);
    cluster.input(Input::Pause { swarm: id, reason: "wait".to_owned() });
    let all = ["node-1", "node-2", "node-3", "node-4"];
    cluster.pass(100, &all);
    cluster.input(Input::Resume { swarm: id, reason: "go on".to_owned() });
    assert_eq!(last(&cluster, id).state, RolloutState::Running, "a pause does not count");
    let running = cluster.offers.clone();
    cluster.restart();
    for offer in &running {
        let held = vec![manta_engine::Held { attempt: offer.attempt, epoch: offer.epoch }];
        cluster.input(Input::NodeConnected { node: Cluster::describe(offer.node.as_str()), held });
    }
    cluster.offers = running;
    assert_eq!(iterate(&mut cluster, 1.0), first, "the same nodes run the same versions");
    assert_eq!(iterate(&mut cluster, 1.0)["2.0.0"].len(), 4, "its second iteration was the step's last");
    cluster.pass(61, &all);
    assert_eq!(last(&cluster, id).state, RolloutState::Reverted);
}
