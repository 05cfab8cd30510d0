//! Whatever waits or is over says why, and what would change it, in words that a person can act on.
#![expect(clippy::unwrap_used, reason = "tests")]
mod cluster;

use std::num::NonZeroU32;

use cluster::{Cluster, any, name, swarm, task};
use manta_engine::{Explanation, Input, SwarmRun, chain};
use manta_types::event::{AttemptStateName, Outputs};
use manta_types::{Cause, OutcomeClass, Quorum, SwarmId};

fn of_swarm(cluster: &Cluster, id: SwarmId) -> Explanation {
    cluster.engine.explain_swarm(cluster.now.monotonic, cluster.swarm(id))
}

fn of_task(cluster: &Cluster, id: SwarmId, task: usize) -> Explanation {
    cluster.engine.explain_task(cluster.now.monotonic, cluster.swarm(id), task).unwrap()
}

#[test]
fn a_task_without_nodes_names_each_cause_and_what_would_change_it() {
    let mut cluster = Cluster::new(2);
    let mut needy = any(task("worker", &[]));
    needy.datasets = vec!["digits".to_owned()];
    needy.excepted = vec![name("node-2")];
    cluster.pass(10, &["node-2"]);
    let id = cluster.submit(swarm(vec![needy]));
    let why = of_task(&cluster, id, 0);
    assert_eq!((why.state, why.reason.as_str()), ("ready", "none of 2 nodes can run it now"));
    let told: Vec<_> = why.nodes.iter().map(|reason| format!("{} {}", reason.node, reason.cause)).collect();
    assert_eq!(told, ["node-1 has not been heard for 10 s", "node-2 left out by `excepted_ids`"]);
    assert_eq!(why.would_change, ["node-1 comes back", "another node offers dataset `digits`"]);
    let text = of_swarm(&cluster, id).to_string();
    assert_eq!(
        text,
        "\
swarm `test` is running: iteration 0: `worker` none of 2 nodes can run it now
  `worker` none of 2 nodes can run it now
    node-1 has not been heard for 10 s
    node-2 left out by `excepted_ids`
would change it: node-1 comes back; or another node offers dataset `digits`"
    );
}

#[test]
fn a_task_behind_a_silent_node_says_which_task_and_node_it_waits_for() {
    let mut cluster = Cluster::new(2);
    let id = cluster.submit(swarm(vec![task("worker", &[]), any(task("collect", &[0]))]));
    let offers = cluster.take_offers();
    offers.iter().for_each(|offer| cluster.progress(offer, AttemptStateName::Running));
    cluster.succeed(&offers[0], Outputs::default());
    cluster.pass(10, &["node-1"]);
    let why = of_task(&cluster, id, 1);
    assert_eq!((why.state, why.reason.as_str()), ("waiting", "waits for `worker`"));
    assert_eq!(why.waiting[0].reason, "waits for 1 of 2 nodes");
    assert_eq!(why.waiting[0].would_change, ["node-2 comes back; silent for more than 20 s it is excused"]);
    let attempt = cluster.engine.explain_attempt(cluster.now.monotonic, cluster.swarm(id), offers[1].attempt).unwrap();
    assert_eq!((attempt.state, attempt.reason.as_str()), ("silent", "node-2 has not been heard for 10 s"));
}

#[test]
fn a_failed_swarm_tells_the_failure_the_tries_and_the_chain_of_causes() {
    let mut cluster = Cluster::new(2);
    let id = cluster.submit(swarm(vec![task("worker", &[])]));
    for _ in 0..2 {
        for offer in cluster.take_offers().iter().filter(|offer| offer.node == name("node-1")) {
            cluster.fail(offer, OutcomeClass::UserError);
        }
        cluster.pass(1, &["node-1", "node-2"]);
    }
    let why = of_swarm(&cluster, id).because(chain(cluster.swarm(id).spec(), &cluster.events));
    assert_eq!(why.state, "failed");
    assert_eq!(why.failure.as_ref().unwrap().message, "ValueError: no");
    let messages: Vec<_> = why.chain.iter().map(|link| link.message.as_str()).collect();
    assert!(messages[0].starts_with("failed: task `worker` failed in iteration 0"), "{messages:?}");
    assert_eq!(*messages.last().unwrap(), "worker on node-1 failed: ValueError: no");
    assert_eq!(why.chain.last().unwrap().cause, "node-1: report");
    let text = why.to_string();
    assert!(text.contains("which follows from node-1: report"), "{text}");
    assert!(text.contains("\n  node-2 was no longer wanted"), "{text}");
    assert!(!text.contains("about to be offered"), "nothing is awaited of a swarm that is over: {text}");
    assert!(text.contains("would change it: a new swarm goes on from the failed task: manta retry"), "{text}");
    let attempts = of_task(&cluster, id, 0).tries;
    let failed: Vec<_> = attempts.iter().filter(|tried| tried.failure.is_some()).map(|tried| tried.epoch).collect();
    assert_eq!(failed, [1, 2]);
}

#[test]
fn a_silent_node_that_is_the_last_of_its_task_is_not_said_to_be_excused_one_day() {
    let mut cluster = Cluster::new(2);
    let id = cluster.submit(swarm(vec![task("worker", &[])]));
    cluster.take_offers().iter().for_each(|offer| cluster.progress(offer, AttemptStateName::Running));
    cluster.pass(25, &[]);
    let why = of_task(&cluster, id, 0);
    let told: Vec<_> = why.nodes.iter().map(|reason| format!("{} {}", reason.node, reason.cause)).collect();
    assert_eq!(told, ["node-2 has not been heard for 25 s", "node-1 was excused: lost 21 s ago"]);
    let change = "node-2 comes back; it is the last of its task's nodes, which is not excused";
    assert_eq!(why.would_change, [change]);
}

#[test]
fn a_node_that_was_left_out_is_told_while_its_task_runs_and_when_the_swarm_is_over() {
    let mut cluster = Cluster::new(2);
    let mut spec = swarm(vec![task("slow", &[])]);
    spec.iterations_max = NonZeroU32::new(2);
    let id = cluster.submit(spec);
    let first = cluster.take_offers();
    cluster.progress(&first[0], AttemptStateName::Running);
    cluster.input(Input::Revoke { node: name("node-2"), reason: "stolen".to_owned() });
    assert_eq!(of_task(&cluster, id, 0).reason, "runs on 1 of 2 nodes; node-2 excused: revoked");
    assert_eq!(
        of_swarm(&cluster, id).to_string(),
        "\
swarm `test` is running: iteration 0: `slow` runs
  iteration 0, task `slow`: without node-2: revoked"
    );
    cluster.succeed(&first[0], Outputs::default());
    cluster.finish_all();
    assert_eq!(
        of_swarm(&cluster, id).to_string(),
        "\
swarm `test` succeeded: done after 2 iterations; 1 task run left nodes out
  iteration 0, task `slow`: without node-2: revoked"
    );
}

#[test]
fn of_many_task_runs_that_left_nodes_out_the_latest_are_told_and_the_others_counted() {
    let mut cluster = Cluster::new(2);
    let mut worker = task("worker", &[]);
    worker.policy.quorum = Quorum::Count(NonZeroU32::MIN);
    worker.policy.retries = 0;
    let mut spec = swarm(vec![worker]);
    spec.iterations_max = NonZeroU32::new(7);
    let id = cluster.submit(spec);
    for _ in 0..7 {
        let offers = cluster.take_offers();
        cluster.fail(&offers[1], OutcomeClass::UserError);
        cluster.succeed(&offers[0], Outputs::default());
    }
    let why = of_swarm(&cluster, id);
    assert_eq!(why.reason, "done after 7 iterations; 7 task runs left nodes out");
    let iterations: Vec<_> = why.short_runs.iter().map(|short| short.iteration).collect();
    assert_eq!((iterations, why.short_runs_earlier), (vec![2, 3, 4, 5, 6], 2));
    let text = why.to_string();
    assert!(text.contains("\n  iteration 6, task `worker`: without node-2: failed: ValueError: no"), "{text}");
    assert!(text.ends_with("\n  and 2 task runs before that left nodes out"), "{text}");
}

#[test]
fn a_paused_swarm_says_how_it_goes_on() {
    let mut cluster = Cluster::new(1);
    let id = cluster.submit(swarm(vec![task("worker", &[])]));
    cluster.input(Input::Pause { swarm: id, reason: "paused by a user".to_owned() });
    let why = of_swarm(&cluster, id);
    assert_eq!((why.state, why.reason.as_str()), ("paused", "paused by a user"));
    assert_eq!(why.would_change, [format!("somebody lets it go on: manta resume {id}")]);
}

#[test]
fn events_of_one_kind_are_one_link_of_the_chain() {
    let mut cluster = Cluster::new(5);
    let id = cluster.submit(swarm(vec![task("worker", &[])]));
    cluster.input(Input::Stop { swarm: id, reason: "stopped by a user".to_owned() });
    let links = chain(cluster.swarm(id).spec(), &cluster.events);
    assert_eq!((links.len(), links[0].cause.as_str()), (1, "stop by a user"));
    // A history in which each withdrawal follows from the one before.
    let first = cluster.events.iter().position(|event| event.what.kind() == "attempt_cancelled").unwrap();
    for event in &mut cluster.events[first + 1..] {
        event.cause = Cause::Event { seq: event.seq - 1 };
    }
    let links = chain(cluster.swarm(id).spec(), &cluster.events);
    assert_eq!(links.len(), 2, "{links:?}");
    assert_eq!(links[0].message, "stopped: stopped by a user");
    assert!(links[1].message.ends_with("(and 4 events like it before)"), "{links:?}");
    assert_eq!(links[1].cause, "stop by a user");
}

#[test]
fn a_history_is_followed_event_by_event_and_nothing_else() {
    let mut cluster = Cluster::new(2);
    let id = cluster.submit(swarm(vec![task("worker", &[]), any(task("collect", &[0]))]));
    cluster.finish_all();
    let live = cluster.swarm(id);
    let mut rebuilt = SwarmRun::before_history(id, live.spec().clone(), live.created_ms());
    assert!(rebuilt.follow(&cluster.events[1]).is_err(), "the first event is missing");
    cluster.events.iter().for_each(|event| rebuilt.follow(event).unwrap());
    assert!(rebuilt.follow(&cluster.events[0]).is_err(), "it has been followed already");
    assert_eq!((rebuilt.state(), rebuilt.seq(), rebuilt.reason()), (live.state(), live.seq(), live.reason()));
}
