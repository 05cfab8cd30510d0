//! What the engine does with a swarm, told as small stories.
mod cluster;

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use cluster::{Cluster, any, blob, name, outputs, swarm, task};
use manta_engine::{Command, Held, Input, RefusalKind};
use manta_types::event::{AttemptStateName, NextIteration, Outputs, SwarmEvent};
use manta_types::{Cause, Method, NodeDuty, NodeLimit, OnFailure, OutcomeClass, Quorum, Subject, SwarmState};

#[test]
fn a_swarm_without_a_cap_runs_its_graph_once() {
    let mut cluster = Cluster::new(3);
    let id = cluster.submit(swarm(vec![task("worker", &[]), any(task("aggregator", &[0]))]));
    assert_eq!(cluster.offers.len(), 3, "the aggregator waits for the workers");
    cluster.finish_all();
    assert_eq!(cluster.state(id), SwarmState::Succeeded);
    assert_eq!(cluster.swarm(id).reason(), "done after 1 iteration");
    assert_eq!(cluster.closing_reasons(), ["closed 3/3", "closed 1/1"]);
}

#[test]
fn a_cap_loops_to_it_and_stop_swarm_ends_it_sooner() {
    let mut cluster = Cluster::new(1);
    let mut spec = swarm(vec![task("worker", &[])]);
    spec.iterations_max = NonZeroU32::new(10);
    let id = cluster.submit(spec.clone());
    cluster.finish_all();
    assert_eq!(cluster.swarm(id).reason(), "done after 10 iterations");
    let id = cluster.submit(spec);
    for turn in 0..3 {
        let offer = cluster.take_offers().remove(0);
        cluster.succeed(&offer, Outputs { stop_swarm: turn == 2, ..Outputs::default() });
    }
    assert_eq!(cluster.swarm(id).reason(), "stopped by task `worker` after 3 iterations");
}

#[test]
fn a_request_brings_one_more_iteration_on_the_named_nodes() {
    let mut cluster = Cluster::new(3);
    let id = cluster.submit(swarm(vec![task("worker", &[])]));
    for (turn, offer) in cluster.take_offers().into_iter().enumerate() {
        let request = NextIteration { task: Some("worker".into()), nodes: Some(vec![name("node-2")]) };
        let next_iterations = if turn == 0 { vec![request] } else { Vec::new() };
        cluster.succeed(&offer, Outputs { next_iterations, ..Outputs::default() });
    }
    let offers = cluster.take_offers();
    assert_eq!(offers.iter().map(|offer| offer.node.as_str()).collect::<Vec<_>>(), ["node-2"]);
    cluster.succeed(&offers[0], Outputs::default());
    assert_eq!(cluster.state(id), SwarmState::Succeeded);
}

#[test]
fn code_that_fails_is_tried_again_and_then_fails_the_swarm_saying_why() {
    let mut cluster = Cluster::new(1);
    let id = cluster.submit(swarm(vec![task("worker", &[])]));
    let first = cluster.take_offers().remove(0);
    cluster.fail(&first, OutcomeClass::UserError);
    assert!(cluster.offers.is_empty(), "it backs off first");
    cluster.pass(1, &["node-1"]);
    let second = cluster.take_offers().remove(0);
    assert_eq!((second.epoch, second.number), (2, 1));
    cluster.fail(&second, OutcomeClass::UserError);
    assert_eq!(cluster.state(id), SwarmState::Failed);
    assert_eq!(
        cluster.swarm(id).reason(),
        "task `worker` failed in iteration 0: ValueError: no on node-1 after 2 attempts"
    );
}

#[test]
fn platform_trouble_is_not_the_codes_fault_and_is_tried_up_to_five_times() {
    let mut cluster = Cluster::new(1);
    let id = cluster.submit(swarm(vec![task("worker", &[])]));
    let mut made = 0;
    while cluster.state(id) == SwarmState::Running {
        for offer in cluster.take_offers() {
            made += 1;
            cluster.fail(&offer, OutcomeClass::Platform);
        }
        cluster.pass(1, &["node-1"]);
    }
    assert_eq!((made, cluster.state(id)), (5, SwarmState::Failed));
}

#[test]
fn continue_lets_successors_run_on_what_succeeded_and_skips_those_with_nothing() {
    let mut cluster = Cluster::new(2);
    let mut worker = task("worker", &[]);
    worker.policy.on_failure = OnFailure::Continue;
    worker.policy.retries = 0;
    let id = cluster.submit(swarm(vec![worker.clone(), any(task("next", &[0]))]));
    let offers = cluster.take_offers();
    cluster.fail(&offers[0], OutcomeClass::UserError);
    assert!(!cluster.kinds().contains(&"task_run_closed"), "the other node may still succeed");
    cluster.succeed(&offers[1], outputs(&[("x", 1)], &[]));
    cluster.finish_all();
    assert_eq!(cluster.state(id), SwarmState::Succeeded);
    let before = cluster.events.len();
    cluster.submit(swarm(vec![worker, any(task("next", &[0]))]));
    for offer in cluster.take_offers() {
        cluster.fail(&offer, OutcomeClass::UserError);
    }
    assert!(cluster.kinds()[before..].contains(&"task_run_skipped"));
}

#[test]
fn a_quorum_closes_at_the_deadline_and_cancels_stragglers() {
    let mut cluster = Cluster::new(5);
    let mut worker = task("worker", &[]);
    worker.policy.quorum = Quorum::Share(0.5);
    worker.policy.deadline = Some(Duration::from_secs(10));
    let id = cluster.submit(swarm(vec![worker]));
    let offers = cluster.take_offers();
    for offer in &offers[..3] {
        cluster.succeed(offer, Outputs::default());
    }
    assert_eq!(cluster.state(id), SwarmState::Running);
    cluster.pass(11, &["node-1", "node-2", "node-3", "node-4", "node-5"]);
    assert_eq!(cluster.state(id), SwarmState::Succeeded);
    assert_eq!(cluster.closing_reasons(), ["3/5 by its deadline"]);
    assert_eq!(cluster.kinds().iter().filter(|kind| **kind == "attempt_cancelled").count(), 2);
}

#[test]
fn an_impossible_quorum_closes_at_once() {
    let mut cluster = Cluster::new(3);
    let mut worker = task("worker", &[]);
    worker.policy.quorum = Quorum::Count(NonZeroU32::new(2).unwrap());
    worker.policy.retries = 0;
    let id = cluster.submit(swarm(vec![worker]));
    let offers = cluster.take_offers();
    cluster.fail(&offers[0], OutcomeClass::UserError);
    assert_eq!(cluster.state(id), SwarmState::Running);
    cluster.fail(&offers[1], OutcomeClass::UserError);
    assert_eq!(cluster.state(id), SwarmState::Failed);
    assert!(cluster.closing_reasons()[0].starts_with("its quorum of 2/3 became impossible: ValueError: no on node-1"));
}

#[test]
fn a_node_that_stays_away_is_excused_from_a_task_that_must_run_on_it() {
    let mut cluster = Cluster::new(3);
    let id = cluster.submit(swarm(vec![task("worker", &[])]));
    let offers = cluster.take_offers();
    cluster.succeed(&offers[0], Outputs::default());
    cluster.succeed(&offers[1], Outputs::default());
    cluster.pass(7, &["node-1", "node-2"]);
    assert!(cluster.kinds().contains(&"attempt_progressed"), "it is silent first");
    assert_eq!(cluster.state(id), SwarmState::Running);
    cluster.pass(15, &["node-1", "node-2"]);
    assert_eq!(cluster.state(id), SwarmState::Succeeded);
    assert_eq!(cluster.closing_reasons(), ["closed 2/3: node-3 lost 21 s ago"]);
}

#[test]
fn the_last_node_is_never_excused() {
    let mut cluster = Cluster::new(1);
    let id = cluster.submit(swarm(vec![task("worker", &[])]));
    cluster.take_offers();
    cluster.pass(60, &[]);
    assert_eq!(cluster.state(id), SwarmState::Running);
    let waiting = cluster.engine.waiting(cluster.now.monotonic, id);
    let told: Vec<_> = waiting[0].nodes.iter().map(|reason| (reason.node.as_str(), reason.cause.as_str())).collect();
    assert_eq!(told, [("node-1", "has not been heard for 60 s")]);
    assert_eq!(waiting[0].would_change[0], "node-1 comes back");
}

#[test]
fn movable_work_of_a_silent_node_goes_elsewhere_and_the_old_attempt_is_fenced() {
    let mut cluster = Cluster::new(2);
    let id = cluster.submit(swarm(vec![any(task("aggregator", &[]))]));
    let old = cluster.take_offers().remove(0);
    let other = if old.node == name("node-1") { "node-2" } else { "node-1" };
    cluster.progress(&old, AttemptStateName::Running);
    cluster.pass(7, &[other]);
    let new = cluster.take_offers().remove(0);
    assert_eq!((new.node.as_str(), new.epoch), (other, 2));
    let late = cluster.succeed(&old, outputs(&[("x", 1)], &[]));
    assert!(late.events.is_empty());
    assert!(matches!(&late.commands[0], Command::Verdict { accepted: false, .. }));
    cluster.succeed(&new, outputs(&[("x", 2)], &[]));
    assert_eq!(cluster.state(id), SwarmState::Succeeded);
}

#[test]
fn a_silent_node_that_comes_back_first_delivers_and_counts() {
    let mut cluster = Cluster::new(1);
    let id = cluster.submit(swarm(vec![any(task("aggregator", &[]))]));
    let offer = cluster.take_offers().remove(0);
    cluster.progress(&offer, AttemptStateName::Running);
    cluster.pass(9, &[]);
    let held = vec![Held { attempt: offer.attempt, epoch: offer.epoch }];
    cluster.input(Input::NodeConnected { node: Cluster::describe("node-1"), held });
    cluster.succeed(&offer, Outputs::default());
    assert_eq!(cluster.state(id), SwarmState::Succeeded);
}

#[test]
fn an_agent_that_restarts_loses_what_ran_and_is_offered_it_again() {
    let mut cluster = Cluster::new(1);
    let id = cluster.submit(swarm(vec![task("worker", &[])]));
    let first = cluster.take_offers().remove(0);
    cluster.progress(&first, AttemptStateName::Running);
    cluster.input(Input::NodeDisconnected { node: name("node-1") });
    cluster.connect("node-1");
    let second = cluster.take_offers().remove(0);
    assert_eq!((second.epoch, second.number), (2, 0), "a lost attempt is not a try");
    cluster.succeed(&second, Outputs::default());
    assert_eq!(cluster.state(id), SwarmState::Succeeded);
}

#[test]
fn a_report_that_is_sent_twice_counts_once_and_is_answered_twice() {
    let mut cluster = Cluster::new(2);
    cluster.submit(swarm(vec![task("worker", &[])]));
    let offer = cluster.take_offers().remove(0);
    let first = cluster.succeed(&offer, Outputs::default());
    let again = cluster.succeed(&offer, Outputs::default());
    assert_eq!((first.events.len(), again.events.len()), (1, 0));
    assert!(matches!(&again.commands[0], Command::Verdict { accepted: true, .. }));
}

#[test]
fn a_report_for_another_nodes_attempt_is_refused() {
    let mut cluster = Cluster::new(2);
    cluster.submit(swarm(vec![task("worker", &[])]));
    let mut stolen = cluster.take_offers().remove(0);
    stolen.node = name("node-2");
    let step = cluster.succeed(&stolen, Outputs::default());
    assert!(step.events.is_empty());
    assert!(matches!(&step.commands[0], Command::Verdict { accepted: false, .. }));
}

#[test]
fn globals_become_visible_when_the_task_run_closes_in_node_order() {
    let mut cluster = Cluster::new(2);
    let id = cluster.submit(swarm(vec![task("worker", &[]), any(task("reader", &[0]))]));
    let offers = cluster.take_offers();
    cluster.succeed(&offers[1], outputs(&[], &[("model", 2)]));
    assert!(cluster.swarm(id).globals().is_empty(), "staged until the task run closes");
    cluster.succeed(&offers[0], outputs(&[], &[("model", 1)]));
    let model = &cluster.swarm(id).globals()["model"];
    assert_eq!((model.blob, model.writer.clone()), (blob(2), Some(name("node-2"))));
    let conflict = cluster.events.iter().find_map(|event| match &event.what {
        SwarmEvent::TaskRunClosed { conflicts, .. } => Some(conflicts.clone()),
        _ => None,
    });
    assert_eq!(conflict.unwrap(), ["GlobalConflict: global `model`: node-1, node-2 wrote different values"]);
}

#[test]
fn select_sees_all_ancestors_nearest_first_and_a_root_sees_the_iteration_before() {
    let mut cluster = Cluster::new(2);
    let mut spec = swarm(vec![task("a", &[]), any(task("b", &[0])), any(task("c", &[1]))]);
    spec.iterations_max = NonZeroU32::new(2);
    cluster.submit(spec);
    for offer in cluster.take_offers() {
        cluster.succeed(&offer, outputs(&[("x", 1)], &[]));
    }
    let offer = cluster.take_offers().remove(0);
    cluster.succeed(&offer, outputs(&[("y", 2)], &[]));
    let last = cluster.take_offers().remove(0);
    let seen = cluster.engine.inputs(last.attempt).unwrap().results;
    let seen: Vec<_> =
        seen.iter().map(|result| (result.name.as_str(), result.task.as_str(), result.distance)).collect();
    assert_eq!(seen, [("y", "b", 1), ("x", "a", 2), ("x", "a", 2)]);
    cluster.succeed(&last, outputs(&[("z", 3)], &[]));
    let root = cluster.take_offers().remove(0);
    let seen = cluster.engine.inputs(root.attempt).unwrap().results;
    assert!(seen.iter().any(|result| result.name == "z" && result.iteration == 0));
}

#[test]
fn the_80_20_division_is_disjoint_and_whole() {
    let share = |nodes: usize| {
        let mut cluster = Cluster::new(nodes);
        let side = |alias, share| {
            let mut task = task(alias, &[]);
            (task.method, task.maximum) = (Method::Random, NodeLimit::Share(share));
            task
        };
        let id = cluster.submit(swarm(vec![side("stable", 0.8), side("experimental", 0.2)]));
        let offers = cluster.take_offers();
        let of = |task| offers.iter().filter(|o| o.task == task).map(|o| o.node.clone()).collect::<BTreeSet<_>>();
        let (stable, experimental) = (of(0), of(1));
        assert!(stable.is_disjoint(&experimental));
        for offer in offers {
            cluster.succeed(&offer, Outputs::default());
        }
        assert_eq!(cluster.state(id), SwarmState::Succeeded);
        (stable.len(), experimental.len(), cluster.closing_reasons().last().unwrap().clone())
    };
    assert_eq!(share(10).1, 2);
    assert_eq!((share(3).0, share(3).1), (2, 1));
    let alone = share(1);
    assert_eq!((alone.0, alone.1), (1, 0));
}

#[test]
fn any_takes_one_node_and_prefers_the_one_that_ran_it_before() {
    let mut cluster = Cluster::new(4);
    let mut spec = swarm(vec![any(task("aggregator", &[]))]);
    spec.iterations_max = NonZeroU32::new(3);
    cluster.submit(spec);
    let mut nodes = BTreeSet::new();
    for _ in 0..3 {
        let offers = cluster.take_offers();
        assert_eq!(offers.len(), 1);
        nodes.insert(offers[0].node.clone());
        cluster.succeed(&offers[0], Outputs::default());
    }
    assert_eq!(nodes.len(), 1);
}

#[test]
fn stop_cancels_what_runs_and_is_final() {
    let mut cluster = Cluster::new(2);
    let id = cluster.submit(swarm(vec![task("worker", &[])]));
    let offers = cluster.take_offers();
    let step = cluster.input(Input::Stop { swarm: id, reason: "stopped by a person".to_owned() });
    assert_eq!(step.commands.iter().filter(|command| matches!(command, Command::Cancel { .. })).count(), 2);
    assert_eq!(cluster.state(id), SwarmState::Stopped);
    let late = cluster.succeed(&offers[0], Outputs::default());
    assert!(late.events.is_empty());
}

#[test]
fn a_dataset_that_nobody_offers_is_refused_with_what_each_node_has() {
    let cluster = Cluster::new(2);
    let mut worker = task("worker", &[]);
    worker.datasets = vec!["digit".to_owned()];
    let refusals = cluster.engine.validate(&swarm(vec![worker])).unwrap_err();
    assert_eq!(refusals[0].kind, RefusalKind::NoDataset);
    assert_eq!(
        refusals[0].message,
        "task `worker` needs dataset `digit`, which no node offers (node-1 offers digits; node-2 offers digits)"
    );
    assert_eq!(refusals[0].hint.as_deref(), Some("did you mean `digits`?"));
}

#[test]
fn an_image_that_nobody_has_and_an_unknown_node_are_refused() {
    let cluster = Cluster::new(1);
    let mut worker = task("worker", &[]);
    worker.image = "manta_light:pytorch".to_owned();
    let refusal = &cluster.engine.validate(&swarm(vec![worker])).unwrap_err()[0];
    assert!(
        refusal.message.ends_with("node-1 has no image `manta_light:pytorch` (it has: latest)"),
        "{}",
        refusal.message
    );
    let mut worker = task("worker", &[]);
    worker.specified = Some(vec![name("node-7")]);
    let refusal = &cluster.engine.validate(&swarm(vec![worker])).unwrap_err()[0];
    assert_eq!(refusal.hint.as_deref(), Some("did you mean `node-1`?"));
}

#[test]
fn a_pause_of_the_manager_itself_loses_nobody() {
    let mut cluster = Cluster::new(2);
    cluster.submit(swarm(vec![task("worker", &[])]));
    let before = cluster.events.len();
    let pause = Duration::from_secs(30);
    cluster.now.monotonic = cluster.now.monotonic + pause;
    cluster.engine.extend_leases(pause);
    cluster.input(Input::Tick);
    assert_eq!(cluster.events.len(), before);
}

#[test]
fn a_paused_swarm_takes_what_ends_and_starts_nothing_until_it_goes_on() {
    let mut cluster = Cluster::new(1);
    let id = cluster.submit(swarm(vec![task("worker", &[]), any(task("aggregator", &[0]))]));
    let offer = cluster.take_offers().remove(0);
    cluster.input(Input::Pause { swarm: id, reason: "paused by a user".to_owned() });
    assert_eq!(cluster.state(id), SwarmState::Paused);
    cluster.succeed(&offer, Outputs::default());
    assert!(cluster.take_offers().is_empty(), "nothing new starts");
    cluster.pass(5, &["node-1"]);
    cluster.input(Input::Resume { swarm: id, reason: "resumed by a user".to_owned() });
    cluster.finish_all();
    assert_eq!(cluster.state(id), SwarmState::Succeeded);
    let paused = cluster.events.iter().find_map(|event| match event.what {
        SwarmEvent::SwarmResumed { paused_ms, .. } => Some(paused_ms),
        _ => None,
    });
    assert_eq!(paused, Some(5000));
}

#[test]
fn an_event_names_whom_it_concerns_and_what_it_follows_from() {
    let mut cluster = Cluster::new(1);
    cluster.submit(swarm(vec![task("worker", &[])]));
    let offer = cluster.take_offers().remove(0);
    cluster.succeed(&offer, Outputs::default());
    let accepted = cluster.events.iter().position(|event| event.what.kind() == "attempt_accepted").unwrap();
    let (accepted, closed) = (&cluster.events[accepted], &cluster.events[accepted + 1]);
    let subject =
        Subject { iteration: Some(0), task: Some(0), node: Some(name("node-1")), attempt: Some(offer.attempt) };
    assert_eq!(accepted.subject, subject);
    assert_eq!(accepted.cause, Cause::Node { node: name("node-1"), action: "report".to_owned() });
    assert_eq!((closed.what.kind(), &closed.cause), ("task_run_closed", &Cause::Event { seq: accepted.seq }));
}

#[test]
fn a_node_that_drains_finishes_what_it_has_and_gets_nothing_new() {
    let mut cluster = Cluster::new(2);
    let mut spec = swarm(vec![task("worker", &[])]);
    spec.iterations_max = NonZeroU32::new(2);
    let id = cluster.submit(spec);
    let offers = cluster.take_offers();
    let step = cluster.input(cluster::drain("node-2", None));
    assert_eq!((step.duties[0].duty, step.duties[0].node.as_str()), (NodeDuty::Draining, "node-2"));
    cluster.succeed(&offers[0], Outputs::default());
    let step = cluster.succeed(&offers[1], Outputs::default());
    assert_eq!(step.duties[0].duty, NodeDuty::Drained);
    let next = cluster.take_offers();
    assert_eq!(next.iter().map(|offer| offer.node.as_str()).collect::<Vec<_>>(), ["node-1"]);
    let step = cluster.input(Input::ResumeNode { node: name("node-2"), reason: "resumed".to_owned() });
    assert_eq!(step.duties[0].duty, NodeDuty::Active);
    cluster.succeed(&next[0], Outputs::default());
    assert_eq!(cluster.state(id), SwarmState::Succeeded);
}

#[test]
fn what_still_runs_at_a_drains_deadline_is_lost_and_its_task_goes_on_without_the_node() {
    let mut cluster = Cluster::new(3);
    let id = cluster.submit(swarm(vec![task("worker", &[])]));
    let offers = cluster.take_offers();
    cluster.input(cluster::drain("node-3", Some(Duration::from_secs(5))));
    cluster.succeed(&offers[0], Outputs::default());
    cluster.succeed(&offers[1], Outputs::default());
    assert_eq!(cluster.state(id), SwarmState::Running, "it may go on until the deadline");
    cluster.pass(6, &["node-1", "node-2", "node-3"]);
    assert_eq!(cluster.closing_reasons(), ["closed 2/3: node-3 drained"]);
    assert_eq!(cluster.duties.last().unwrap().duty, NodeDuty::Drained);
}

#[test]
fn a_node_that_drains_already_is_given_another_deadline_or_none() {
    let mut cluster = Cluster::new(2);
    let id = cluster.submit(swarm(vec![task("worker", &[])]));
    let offers = cluster.take_offers();
    cluster.input(cluster::drain("node-2", Some(Duration::from_secs(5))));
    let step = cluster.input(cluster::drain("node-2", None));
    assert_eq!((step.duties[0].duty, step.duties[0].drain_left), (NodeDuty::Draining, None));
    cluster.succeed(&offers[0], Outputs::default());
    cluster.pass(10, &["node-1", "node-2"]);
    assert_eq!(cluster.state(id), SwarmState::Running, "the first deadline counts no longer");
    let soon = Some(Duration::from_secs(3));
    let step = cluster.input(cluster::drain("node-2", soon));
    assert_eq!((step.duties[0].duty, step.duties[0].drain_left), (NodeDuty::Draining, soon));
    cluster.pass(4, &["node-1", "node-2"]);
    assert_eq!(cluster.closing_reasons(), ["closed 1/2: node-2 drained"]);
    assert_eq!(cluster.duties.last().unwrap().duty, NodeDuty::Drained);
}

#[test]
fn movable_work_leaves_a_node_whose_identity_is_taken_away() {
    let mut cluster = Cluster::new(2);
    let id = cluster.submit(swarm(vec![any(task("aggregator", &[]))]));
    let old = cluster.take_offers().remove(0);
    cluster.input(Input::Revoke { node: old.node.clone(), reason: "stolen".to_owned() });
    let new = cluster.take_offers().remove(0);
    assert_ne!(new.node, old.node);
    cluster.connect(old.node.as_str());
    assert_eq!(cluster.engine.nodes().find(|node| *node.name() == old.node).unwrap().duty(), NodeDuty::Revoked);
    cluster.succeed(&old, Outputs::default());
    assert_eq!(cluster.state(id), SwarmState::Running, "its report is fenced");
    cluster.succeed(&new, Outputs::default());
    assert_eq!(cluster.state(id), SwarmState::Succeeded);
}

#[test]
fn movable_work_of_a_revoked_node_is_not_waited_for_where_all_others_have_theirs() {
    let mut cluster = Cluster::new(2);
    let mut pair = any(task("pair", &[]));
    pair.maximum = NodeLimit::Count(NonZeroU32::new(2).unwrap());
    let id = cluster.submit(swarm(vec![pair]));
    let offers = cluster.take_offers();
    cluster.input(Input::Revoke { node: offers[0].node.clone(), reason: "stolen".to_owned() });
    cluster.succeed(&offers[1], Outputs::default());
    assert_eq!(cluster.state(id), SwarmState::Succeeded);
}

#[test]
fn a_failed_swarm_goes_on_in_a_new_one_from_the_task_that_failed() {
    let mut cluster = Cluster::new(2);
    let mut last = any(task("last", &[1]));
    last.policy.retries = 0;
    let mut spec = swarm(vec![task("first", &[]), any(task("middle", &[0])), last]);
    spec.iterations_max = NonZeroU32::new(2);
    let failed = cluster.submit(spec.clone());
    for offer in cluster.take_offers() {
        cluster.succeed(&offer, outputs(&[("x", 1)], &[("g", 1)]));
    }
    let middle = cluster.take_offers().remove(0);
    cluster.succeed(&middle, outputs(&[("y", 2)], &[("g", 2)]));
    let offer = cluster.take_offers().remove(0);
    cluster.fail(&offer, OutcomeClass::UserError);
    assert_eq!(cluster.state(failed), SwarmState::Failed);
    let checkpoint = cluster.swarm(failed).checkpoint().unwrap();
    let id = cluster.submit_continuing(spec, checkpoint);
    let again = cluster.take_offers();
    assert_eq!(again.iter().map(|offer| (offer.task, offer.state_of)).collect::<Vec<_>>(), [(2, failed)]);
    let seen = cluster.engine.inputs(again[0].attempt).unwrap();
    assert_eq!(seen.globals["g"].blob, blob(2));
    let seen: Vec<_> = seen.results.iter().map(|result| (result.name.as_str(), result.task.as_str())).collect();
    assert_eq!(seen, [("y", "middle"), ("x", "first"), ("x", "first")]);
    cluster.succeed(&again[0], Outputs::default());
    assert_eq!(cluster.take_offers()[0].iteration, 1);
    assert_eq!(cluster.swarm(id).continues(), Some(failed));
    cluster.input(Input::Stop { swarm: id, reason: "enough".to_owned() });
    for part in [failed, id] {
        assert_eq!(cluster.engine.forget_lines(&[part].into()), [], "the state of both is kept under one id");
    }
    let mut both = [failed, id];
    both.sort();
    assert_eq!(cluster.engine.forget_lines(&both.into()), both);
}
