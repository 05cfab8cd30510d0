//! By which rule a task run closes, and what its event says of it.
mod cluster;

use std::num::NonZeroU32;
use std::time::Duration;

use cluster::{Cluster, any, drain, name, outputs, swarm, task};
use manta_engine::{Command, Input};
use manta_types::event::{AttemptStateName, Outputs, SwarmEvent};
use manta_types::{
    AttemptState, IterationState, LeaseState, OnFailure, OutcomeClass, Quorum, SwarmId, SwarmState, TaskRunState,
    TaskSpec, Timestamp, limits,
};

fn with_quorum(count: u32) -> TaskSpec {
    let mut worker = task("worker", &[]);
    worker.policy.quorum = NonZeroU32::new(count).map_or(Quorum::All, Quorum::Count);
    worker.policy.retries = 0;
    worker
}

#[test]
fn a_quorum_that_closes_names_the_node_that_was_lost() {
    let mut cluster = Cluster::new(5);
    let id = cluster.submit(swarm(vec![with_quorum(4)]));
    for offer in cluster.take_offers().iter().filter(|offer| offer.node != name("node-3")) {
        cluster.succeed(offer, Outputs::default());
    }
    assert_eq!(cluster.state(id), SwarmState::Running, "without a deadline it waits for all");
    cluster.pass(21, &["node-1", "node-2", "node-4", "node-5"]);
    assert_eq!(cluster.closing_reasons(), ["closed by quorum 4/5: node-3 lost 21 s ago"]);
    assert_eq!(cluster.state(id), SwarmState::Succeeded);
}

#[test]
fn a_quorum_that_closes_names_the_code_that_failed() {
    let mut cluster = Cluster::new(3);
    cluster.submit(swarm(vec![with_quorum(2)]));
    let offers = cluster.take_offers();
    cluster.fail(&offers[0], OutcomeClass::UserError);
    cluster.succeed(&offers[1], Outputs::default());
    cluster.succeed(&offers[2], Outputs::default());
    assert_eq!(cluster.closing_reasons(), ["closed by quorum 2/3: ValueError: no on node-1"]);
}

#[test]
fn a_deadline_without_its_quorum_fails_the_task_run() {
    let mut cluster = Cluster::new(5);
    let mut worker = with_quorum(3);
    worker.policy.deadline = Some(Duration::from_secs(5));
    let id = cluster.submit(swarm(vec![worker]));
    for offer in &cluster.take_offers()[..2] {
        cluster.succeed(offer, Outputs::default());
    }
    cluster.pass(6, &["node-1", "node-2", "node-3", "node-4", "node-5"]);
    assert_eq!(cluster.closing_reasons(), ["2/5 by its deadline"]);
    assert_eq!(cluster.state(id), SwarmState::Failed);
    assert_eq!(cluster.swarm(id).iteration_state(), Some(IterationState::Abandoned));
}

#[test]
fn a_deadline_stands_still_while_the_swarm_is_paused() {
    let mut cluster = Cluster::new(1);
    let mut worker = task("worker", &[]);
    worker.policy.deadline = Some(Duration::from_secs(10));
    let id = cluster.submit(swarm(vec![worker]));
    cluster.pass(6, &["node-1"]);
    cluster.input(Input::Pause { swarm: id, reason: "paused by a user".to_owned() });
    cluster.pass(30, &["node-1"]);
    cluster.input(Input::Resume { swarm: id, reason: "resumed by a user".to_owned() });
    cluster.pass(3, &["node-1"]);
    assert_eq!(cluster.state(id), SwarmState::Running);
    cluster.pass(2, &["node-1"]);
    assert_eq!(cluster.closing_reasons(), ["0/1 by its deadline"]);
}

#[test]
fn a_paused_swarm_loses_what_a_node_takes_with_it_and_starts_nothing_in_its_place() {
    let mut cluster = Cluster::new(2);
    let id = cluster.submit(swarm(vec![any(task("aggregator", &[]))]));
    let offer = cluster.take_offers().remove(0);
    cluster.input(Input::Pause { swarm: id, reason: "paused by a user".to_owned() });
    cluster.input(Input::NodeLeft { node: offer.node.clone(), reason: "shutting down".to_owned() });
    assert_eq!(cluster.events.last().unwrap().what.kind(), "attempt_lost");
    assert!(cluster.take_offers().is_empty());
    cluster.input(Input::Resume { swarm: id, reason: "resumed by a user".to_owned() });
    assert_ne!(cluster.take_offers()[0].node, offer.node);
}

#[test]
fn a_task_run_that_fails_its_swarm_makes_no_global_visible() {
    let mut cluster = Cluster::new(2);
    let mut worker = task("worker", &[]);
    worker.policy.retries = 0;
    let publish = |cluster: &mut Cluster| {
        let offers = cluster.take_offers();
        cluster.succeed(&offers[0], outputs(&[], &[("model", 1)]));
        cluster.fail(&offers[1], OutcomeClass::UserError);
    };
    let strict = cluster.submit(swarm(vec![worker.clone()]));
    publish(&mut cluster);
    assert_eq!((cluster.state(strict), cluster.swarm(strict).globals().len()), (SwarmState::Failed, 0));
    worker.policy.on_failure = OnFailure::Continue;
    let lenient = cluster.submit(swarm(vec![worker]));
    publish(&mut cluster);
    assert_eq!((cluster.state(lenient), cluster.swarm(lenient).globals().len()), (SwarmState::Succeeded, 1));
}

#[test]
fn a_failed_swarm_names_the_attempt_that_its_reason_is_about() {
    let mut cluster = Cluster::new(2);
    let mut worker = task("worker", &[]);
    worker.policy.retries = 1;
    let id = cluster.submit(swarm(vec![worker]));
    let offers = cluster.take_offers();
    cluster.fail(&offers[1], OutcomeClass::UserError);
    let mut again = Vec::new();
    for _ in 0..60 {
        cluster.pass(1, &["node-1", "node-2"]);
        again = cluster.take_offers();
        if !again.is_empty() {
            break;
        }
    }
    assert_eq!(again[0].node, name("node-2"));
    // The first slot is to be tried again when the second fails for good.
    cluster.fail(&offers[0], OutcomeClass::UserError);
    cluster.fail(&again[0], OutcomeClass::UserError);
    assert_eq!(cluster.closing_reasons(), ["ValueError: no on node-2 after 2 attempts"]);
    let ended_by = cluster.events.iter().find_map(|event| match &event.what {
        SwarmEvent::SwarmFailed { attempt, .. } => *attempt,
        _ => None,
    });
    assert_eq!(ended_by, Some(again[0].attempt), "{:?}", cluster.swarm(id).state());
}

#[test]
fn a_task_whose_only_node_is_revoked_fails_saying_so() {
    let mut cluster = Cluster::new(1);
    let id = cluster.submit(swarm(vec![task("worker", &[])]));
    cluster.input(Input::Revoke { node: name("node-1"), reason: "stolen".to_owned() });
    assert_eq!(cluster.swarm(id).reason(), "task `worker` failed in iteration 0: node-1 revoked");
}

#[test]
fn a_task_whose_only_node_is_drained_waits_for_it_and_says_what_would_change_that() {
    let mut cluster = Cluster::new(1);
    let id = cluster.submit(swarm(vec![task("worker", &[])]));
    cluster.input(drain("node-1", Some(Duration::ZERO)));
    assert_eq!(cluster.state(id), SwarmState::Running);
    let waiting = cluster.engine.waiting(cluster.now.monotonic, id);
    assert_eq!(waiting[0].nodes[0].cause, "is drained");
    cluster.input(Input::ResumeNode { node: name("node-1"), reason: "back".to_owned() });
    let again = cluster.offers.pop().unwrap();
    cluster.succeed(&again, Outputs::default());
    assert_eq!(cluster.state(id), SwarmState::Succeeded);
}

#[test]
fn a_node_that_loses_its_attempt_five_times_is_given_up() {
    let mut cluster = Cluster::new(2);
    cluster.submit(swarm(vec![task("worker", &[])]));
    for _ in 0..5 {
        let offers = cluster.take_offers();
        for offer in &offers {
            if offer.node == name("node-1") {
                cluster.succeed(offer, Outputs::default());
            } else {
                cluster.progress(offer, AttemptStateName::Running);
                cluster.connect("node-2");
            }
        }
    }
    assert_eq!(cluster.closing_reasons(), ["closed 1/2: node-2 given up after 5 lost attempts"]);
}

#[test]
fn a_lease_lives_and_ends_with_its_attempt() {
    let mut cluster = Cluster::new(2);
    let id = cluster.submit(swarm(vec![any(task("aggregator", &[]))]));
    let old = cluster.take_offers().remove(0);
    let lease = |cluster: &Cluster, attempt| cluster.swarm(id).attempt(attempt).unwrap().1.lease;
    cluster.progress(&old, AttemptStateName::Uploading);
    cluster.progress(&old, AttemptStateName::Running);
    assert_eq!(lease(&cluster, old.attempt), LeaseState::Held);
    cluster.pass(7, &[]);
    assert_eq!(lease(&cluster, old.attempt), LeaseState::Lapsed);
    cluster.input(Input::NodeHeard { node: old.node.clone() });
    assert_eq!(lease(&cluster, old.attempt), LeaseState::Held);
    assert_eq!(cluster.swarm(id).attempt(old.attempt).unwrap().1.state, AttemptState::Running);
    let other = if old.node == name("node-1") { "node-2" } else { "node-1" };
    cluster.input(Input::NodeHeard { node: name(other) });
    cluster.pass(7, &[other]);
    assert_eq!(lease(&cluster, old.attempt), LeaseState::Fenced);
    let new = cluster.take_offers().remove(0);
    cluster.succeed(&new, Outputs::default());
    assert_eq!(lease(&cluster, new.attempt), LeaseState::Released);
    assert_eq!(cluster.swarm(id).task_runs()[0].state, TaskRunState::Succeeded);
    assert_eq!(cluster.swarm(id).iteration_state(), Some(IterationState::Finished));
    let late = cluster.succeed(&old, Outputs::default());
    assert!(matches!(&late.commands[0], Command::Verdict { accepted: false, .. }));
}

/// A swarm of one task that runs on so many nodes and has a deadline.
fn with_deadline(nodes: usize, seconds: u64) -> (Cluster, SwarmId) {
    let mut cluster = Cluster::new(nodes);
    let mut worker = task("worker", &[]);
    worker.policy.deadline = Some(Duration::from_secs(seconds));
    let id = cluster.submit(swarm(vec![worker]));
    (cluster, id)
}

/// The manager is down for so long, by the wall clock, and starts as a process with a clock of its own.
fn restart_after(cluster: &mut Cluster, seconds: i64) {
    cluster.now.monotonic = Timestamp::START;
    cluster.now.wall_ms = cluster.now.wall_ms.saturating_add_signed(seconds * 1000);
    cluster.restart();
}

#[test]
fn a_deadline_goes_on_across_restarts() {
    let (mut cluster, id) = with_deadline(1, 60);
    cluster.pass(20, &["node-1"]);
    restart_after(&mut cluster, 10);
    cluster.pass(10, &["node-1"]);
    restart_after(&mut cluster, 5);
    cluster.pass(14, &["node-1"]);
    assert_eq!(cluster.state(id), SwarmState::Running);
    cluster.pass(1, &["node-1"]);
    assert_eq!(cluster.closing_reasons(), ["0/1 by its deadline"]);
}

#[test]
fn a_deadline_that_passed_while_the_manager_was_down_is_judged_when_nodes_could_report() {
    for wait in [3, 30] {
        let (mut cluster, id) = with_deadline(1, wait);
        cluster.pass(2, &["node-1"]);
        restart_after(&mut cluster, 3600);
        let heard = wait.min((limits::LEASE + limits::HEARTBEAT).as_secs());
        cluster.pass(heard - 1, &["node-1"]);
        assert_eq!(cluster.state(id), SwarmState::Running, "{wait} s");
        cluster.pass(1, &["node-1"]);
        assert_eq!(cluster.closing_reasons(), ["0/1 by its deadline"], "{wait} s");
    }
}

#[test]
fn a_wall_clock_that_was_put_back_takes_nothing_off_what_a_deadline_had_waited() {
    let (mut cluster, id) = with_deadline(2, 30);
    let offers = cluster.take_offers();
    cluster.pass(12, &["node-1", "node-2"]);
    cluster.succeed(&offers[0], Outputs::default());
    restart_after(&mut cluster, -86_400);
    cluster.pass(17, &["node-1", "node-2"]);
    assert_eq!(cluster.state(id), SwarmState::Running);
    cluster.pass(1, &["node-1", "node-2"]);
    assert_eq!(cluster.closing_reasons(), ["1/2 by its deadline"]);
}

#[test]
fn a_wall_clock_that_jumps_far_puts_no_wait_of_a_paused_swarm_off_as_far() {
    const YEARS: i64 = 10 * 365 * 86_400;
    for jumps in [[YEARS, -YEARS], [-YEARS, YEARS], [YEARS, 0], [0, -YEARS]] {
        let (mut cluster, id) = with_deadline(1, 20);
        cluster.pass(5, &["node-1"]);
        cluster.input(Input::Pause { swarm: id, reason: "paused by a user".to_owned() });
        restart_after(&mut cluster, jumps[0]);
        cluster.input(Input::Resume { swarm: id, reason: "resumed by a user".to_owned() });
        restart_after(&mut cluster, jumps[1]);
        cluster.pass(20, &["node-1"]);
        assert_eq!(cluster.closing_reasons(), ["0/1 by its deadline"], "{jumps:?}");
    }
}

#[test]
fn a_deadline_stands_still_while_a_manager_is_down_that_left_its_swarm_paused() {
    let (mut cluster, id) = with_deadline(1, 20);
    cluster.pass(6, &["node-1"]);
    cluster.input(Input::Pause { swarm: id, reason: "paused by a user".to_owned() });
    restart_after(&mut cluster, 500);
    cluster.pass(10, &["node-1"]);
    cluster.input(Input::Resume { swarm: id, reason: "resumed by a user".to_owned() });
    cluster.pass(13, &["node-1"]);
    assert_eq!(cluster.state(id), SwarmState::Running);
    cluster.pass(1, &["node-1"]);
    assert_eq!(cluster.closing_reasons(), ["0/1 by its deadline"]);
}
