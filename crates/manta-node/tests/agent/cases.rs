//! What the agent promises.
use manta_api::control::{ControlAnswer, ControlRequest};
use manta_api::node::manager_message::Kind as Said;
use manta_api::node::node_message::Kind;
use manta_api::node::{Cancel, Offer, ReplayCancel, ReplayFinished, ReplayOrder, StateUnneeded, Verdict};
use manta_api::{ErrorCode, InputResult};
use manta_node::{OnAllowedProbe, Settings};
use manta_types::{Blob, ReplayId};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::module::{attempt, offer, publish, tree, value};
use crate::node::Bench;

/// A test: its claim, and what checks it.
pub(crate) type Case = (&'static str, fn());

/// What one agent promises, from its start to its end.
pub(crate) const ALL: &[Case] = &[
    ("an_attempt_reads_its_inputs_and_what_it_publishes_is_delivered", || on_runtime(reads_and_publishes())),
    ("state_survives_iterations_only_where_the_attempt_was_accepted", || on_runtime(keeps_state())),
    ("state_that_nobody_will_read_is_forgotten", || on_runtime(forgets_state())),
    ("every_way_to_die_has_its_class_and_sentence", || on_runtime(ways_to_die())),
    ("a_cancelled_attempt_is_killed_and_its_slot_is_free", || on_runtime(cancel_frees_the_slot())),
    ("an_attempt_outlives_its_session_and_is_reported_until_answered", || on_runtime(outlives_its_session())),
    ("a_task_that_may_not_run_unwatched_is_stopped_when_its_node_is_cut_off", || on_runtime(stops_when_cut_off())),
    ("a_replay_is_the_attempt_once_more_and_keeps_nothing", || on_runtime(replays())),
    ("sets_are_in_one_order_in_every_attempt", || on_runtime(orders_sets())),
    ("a_replay_waits_for_a_slot_and_dies_with_its_session", || on_runtime(replays_in_turn())),
    ("a_node_whose_containment_does_not_hold_runs_no_task_unless_told_to", || on_runtime(refuses_uncontained())),
    ("an_agent_without_its_launcher_ends", || on_runtime(launcher_dies())),
    ("a_wrong_token_ends_the_agent_with_the_cure", || on_runtime(wrong_token())),
    ("a_node_of_a_release_that_is_not_served_dials_on_until_it_is", || on_runtime(turned_away())),
    ("a_stopped_agent_says_goodbye_and_takes_its_tasks_with_it", || on_runtime(stops_in_time())),
];

pub(crate) fn on_runtime(case: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(case);
}

async fn turned_away() {
    let mut bench = Bench::start(1);
    let door = bench.door().await;
    let why = "the node is too old for the manager; upgrade the node";
    bench.manager.mismatch.send_replace(Some(why.to_owned()));
    drop(door);
    bench.manager.turned_away.subscribe().wait_for(|times| *times >= 2).await.unwrap();
    let told = manta_node::ask(&bench.dir.path().join("node"), &ControlRequest::Status).await.unwrap();
    let ControlAnswer::Status(status) = told else { panic!("{told:?}") };
    assert_eq!((status.is_connected, status.problem.as_deref()), (false, Some(why)));
    bench.manager.mismatch.send_replace(None);
    bench.door().await;
    bench.stop().await;
}

fn result(blob: Blob) -> InputResult {
    let (task, node, name) = ("gather".to_owned(), "node-2".to_owned(), "model".to_owned());
    InputResult { task, iteration: 0, node, labels: BTreeMap::new(), name, blob, distance: 1 }
}

async fn reads_and_publishes() {
    let mut bench = Bench::start(1);
    let model = value(&bench.manager, "[1,2,3]");
    bench.manager.inputs.lock().unwrap().results.push(result(model));
    let bundle = publish(
        &bench.manager,
        "print('hello from', self.node)
self.logger.info('logged')
rows = open(self.local.get_dataset('digits').path).read()
[(key, model)] = self.world.results.select('model').items()
self.world.results.add('sum', {'from': str(key), 'sum': sum(model), 'rows': len(rows)})
self.world.globals['rate'] = 0.5
self.metrics.log({'loss': 0.25})",
    );
    let mut door = bench.door().await;
    println!("on tier {}", door.hello.tier);
    assert_eq!((door.hello.name.as_str(), door.hello.datasets[0].form.as_str()), ("node-1", "file"));
    door.offer(offer(1, &bundle));
    let report = door.finished().await;
    assert_eq!(report.failure, None);
    assert_eq!(
        door.phases.iter().map(|(_, phase)| phase.as_str()).collect::<Vec<_>>(),
        ["preparing", "running", "uploading"]
    );
    assert_eq!(door.logged("stdout"), ["hello from node-1"]);
    assert_eq!(door.logged("log"), ["logged"]);
    assert_eq!(
        door.logs.iter().find(|line| line.source == "metrics").unwrap().data,
        r#"{"step":null,"values":{"loss":0.25}}"#
    );
    let blob = report.results[0].blob.as_ref().unwrap();
    assert_eq!(tree(&bench.manager, &blob.digest), serde_json::json!({"from": "node-2", "sum": 6, "rows": 8}));
    assert_eq!(tree(&bench.manager, &report.globals[0].blob.as_ref().unwrap().digest), 0.5);
    door.accept(&report);
    bench.stop().await;
}

async fn refuses_uncontained() {
    let machine = tempfile::tempdir().unwrap();
    let keep_there = |settings: &mut Settings| settings.machine_cache = Some(machine.path().to_owned());
    let mut bench = Bench::with(1, keep_there);
    bench.door().await.noted("containment holds: all ").await;
    bench.stop().await;

    // The next agent takes the verdict that this one kept; in the meantime a probe was allowed.
    let entries = std::fs::read_dir(machine.path().join("containment")).unwrap().flatten().map(|entry| entry.path());
    let kept = entries.into_iter().find(|path| path.extension().is_some_and(|end| end == "json")).unwrap();
    let mut checked: serde_json::Value = serde_json::from_slice(&std::fs::read(&kept).unwrap()).unwrap();
    let finding =
        serde_json::json!({"name": "files: read it", "state": "allowed", "outcome": "got", "detail": "", "heard": ""});
    checked["verdict"]["allowed"] = serde_json::json!([finding]);
    std::fs::write(&kept, checked.to_string()).unwrap();

    let mut bench = Bench::with(1, keep_there);
    let mut door = bench.door().await;
    door.noted("containment does not hold: of ").await;
    let bundle = publish(&bench.manager, "print('ran')");
    door.offer(offer(1, &bundle));
    match door.next().await {
        Some(Kind::Refused(refused)) => assert!(refused.reason.contains("`files: read it` was allowed"), "{refused:?}"),
        other => panic!("{other:?}"),
    }
    bench.stop().await;

    let mut bench = Bench::with(1, |settings| {
        keep_there(settings);
        settings.on_allowed_probe = OnAllowedProbe::Warn;
    });
    let bundle = publish(&bench.manager, "print('ran')");
    let mut door = bench.door().await;
    door.offer(offer(1, &bundle));
    assert_eq!(door.finished().await.failure, None);
    door.noted("containment does not hold: of ").await;
    bench.stop().await;
}

async fn keeps_state() {
    let mut bench = Bench::start(1);
    let bundle = publish(
        &bench.manager,
        "seen = self.local.get_state('seen', 0)
self.local.set_state('seen', seen + 1)
self.world.results.add('seen', seen)
if seen == 1 and self.iteration == 1:
    raise ValueError('shapes differ')",
    );
    let mut door = bench.door().await;
    let mut seen = Vec::new();
    for n in 0..4 {
        door.offer(Offer { iteration: n, ..offer(u128::from(n) + 1, &bundle) });
        let report = door.finished().await;
        seen.push(tree(&bench.manager, &report.results[0].blob.as_ref().unwrap().digest));
        let accepted = report.failure.is_none();
        door.say(Said::Verdict(Verdict { attempt: report.attempt, epoch: 1, accepted, reason: String::new() }));
    }
    assert_eq!(seen, [0, 1, 1, 2]);
    bench.stop().await;
}

async fn forgets_state() {
    let mut bench = Bench::start(1);
    let bundle = publish(
        &bench.manager,
        "seen = self.local.get_state('seen', 0)
self.local.set_state('seen', seen + 1)
self.world.results.add('seen', seen)",
    );
    let mut door = bench.door().await;
    let first = offer(1, &bundle);
    door.offer(first.clone());
    let report = door.finished().await;
    door.accept(&report);
    let kept = door.names_state().await;
    assert_eq!(kept, [first.swarm]);
    door.say(Said::StateUnneeded(StateUnneeded { swarms: kept }));
    door.offer(offer(2, &bundle));
    let report = door.finished().await;
    assert_eq!(tree(&bench.manager, &report.results[0].blob.as_ref().unwrap().digest), 0, "it found no state");
    bench.stop().await;
}

async fn orders_sets() {
    let mut bench = Bench::start(1);
    let bundle = publish(&bench.manager, "self.world.results.add('order', list({str(n) for n in range(100)}))");
    let mut door = bench.door().await;
    let mut orders = Vec::new();
    for (n, seed) in [(1, 42), (2, 43)] {
        door.offer(Offer { seed, ..offer(n, &bundle) });
        let report = door.finished_and_refused().await;
        orders.push(report.results[0].blob.clone().unwrap().digest);
    }
    let replay = ReplayId::from_uuid(uuid::Uuid::from_u128(1)).to_string();
    door.say(Said::Replay(ReplayOrder { replay, offer: Some(offer(1, &bundle)) }));
    let replayed = door.replayed().await.report.unwrap().results[0].blob.clone().unwrap().digest;
    assert_eq!(orders[1], orders[0], "another seed");
    assert_eq!(replayed, orders[0], "replayed");
    bench.stop().await;
}

async fn ways_to_die() {
    let mut bench = Bench::start(1);
    let mut door = bench.door().await;
    let cases = [
        ("raise ValueError('shapes differ')", "user_error", "ValueError: shapes differ"),
        ("os._exit(3)", "user_error", "exited with status 3 before run() ended"),
        ("import ctypes; ctypes.string_at(0)", "user_error", "killed by signal 11 (SIGSEGV)"),
        (
            "os.write(3, b'garbage'); time.sleep(60)",
            "user_error",
            "the task sent a frame larger than 4 MiB, which breaks the protocol with its node",
        ),
        ("while True: time.sleep(1)", "timeout", "did not end within its timeout of 2 s"),
    ];
    for (n, (code, class, message)) in (1..).zip(cases) {
        let bundle = publish(&bench.manager, &format!("print('before')\n{code}"));
        door.offer(Offer { timeout_ms: 2000, ..offer(n, &bundle) });
        let report = door.finished().await;
        door.accept(&report);
        let failure = report.failure.unwrap_or_else(|| panic!("`{code}` should fail"));
        assert_eq!((failure.class.as_str(), failure.message.as_str()), (class, message));
        assert!(failure.log_tail.contains(&"before".to_owned()), "{code}: {:?}", failure.log_tail);
        if class == "user_error" && message.starts_with("ValueError") {
            assert_eq!(failure.location, "worker.py:7");
            assert!(failure.traceback.contains("raise ValueError"), "{}", failure.traceback);
        }
    }
    let bundle = publish(&bench.manager, "hog = bytearray(2 << 30); print(len(hog))");
    door.offer(offer(20, &bundle));
    assert_eq!(door.finished_and_refused().await.failure.unwrap().class, "resource_limit");
    door.offer(Offer { image: "quantum:latest".to_owned(), ..offer(21, &bundle) });
    assert_eq!(door.finished_and_refused().await.failure.unwrap().class, "image");
    door.offer(Offer { datasets: vec!["mnist".to_owned()], ..offer(22, &bundle) });
    assert_eq!(door.finished_and_refused().await.failure.unwrap().class, "dataset");
    door.offer(Offer { bundle: "no digest".to_owned(), ..offer(23, &bundle) });
    assert!(matches!(door.next().await, Some(Kind::Refused(refused)) if refused.reason.contains("no digest")));
    bench.stop().await;
}

async fn cancel_frees_the_slot() {
    let mut bench = Bench::start(1);
    let (endless, short) = (publish(&bench.manager, "time.sleep(600)"), publish(&bench.manager, "pass"));
    let mut door = bench.door().await;
    door.offer(offer(1, &endless));
    door.offer(offer(2, &short));
    door.phase(&attempt(1), "running").await;
    door.say(Said::Cancel(Cancel { attempt: attempt(1), epoch: 1, reason: "the task run closed".to_owned() }));
    let report = door.finished().await;
    assert_eq!((report.attempt, report.failure), (attempt(2), None));
    bench.stop().await;
}

async fn outlives_its_session() {
    let mut bench = Bench::start(2);
    let quick = publish(&bench.manager, "self.world.results.add('x', 1)");
    let endless = publish(&bench.manager, "time.sleep(600)");
    let mut first = bench.door().await;
    assert!(first.hello.node_id.starts_with("nd_") && first.hello.held.is_empty());
    first.offer(offer(1, &endless));
    first.phase(&attempt(1), "running").await;
    first.offer(Offer { task: "other".to_owned(), ..offer(2, &quick) });
    let report = first.finished().await;
    drop(first);

    let mut second = bench.door().await;
    assert!(second.hello.node_id.starts_with("nd_"));
    let held: Vec<_> = second.hello.held.iter().map(|held| (held.attempt.clone(), held.phase.as_str())).collect();
    assert_eq!(held, [(attempt(1), "running"), (attempt(2), "finished")]);
    second.offer(offer(1, &endless));
    second.phase(&attempt(1), "running").await;
    assert_eq!(second.finished().await, report);
    second.accept(&report);
    second.offer(Offer { task: "other".to_owned(), ..offer(3, &quick) });
    assert_eq!(second.finished().await.attempt, attempt(3));
    drop(second);

    let mut third = bench.door().await;
    assert_eq!(third.hello.held.len(), 2, "an answered attempt is forgotten");
    assert_eq!(third.finished().await.attempt, attempt(3));
    bench.stop().await;
}

async fn stops_when_cut_off() {
    let mut bench = Bench::start(1);
    let endless = publish(&bench.manager, "time.sleep(600)");
    let mut first = bench.door().await;
    first.offer(Offer { stop_after_ms: 1, ..offer(1, &endless) });
    first.phase(&attempt(1), "running").await;
    drop(first);
    let failure = bench.door().await.finished().await.failure.unwrap();
    assert_eq!((failure.class.as_str(), failure.message.contains("cut off from the manager")), ("lost_node", true));
    bench.stop().await;
}

fn replay(n: u128, offer: Offer) -> ReplayOrder {
    ReplayOrder { replay: replay_id(n), offer: Some(offer) }
}

fn replay_id(n: u128) -> String {
    ReplayId::from_uuid(uuid::Uuid::from_u128(n)).to_string()
}

async fn replays() {
    let mut bench = Bench::start(1);
    let bundle = publish(
        &bench.manager,
        "import random
seen = self.local.get_state('seen', 0)
self.local.set_state('seen', seen + 1)
print('run number', seen)
self.world.results.add('drawn', random.random())
self.world.results.add('seen', seen)
self.world.globals['rate'] = 0.5
self.world.stop_swarm()",
    );
    let mut door = bench.door().await;
    door.offer(offer(1, &bundle));
    let original = door.finished().await;
    assert_eq!(original.failure, None);
    door.accept(&original);

    door.say(Said::Replay(replay(1, offer(1, &bundle))));
    let ReplayFinished { report, state_read } = door.replayed().await;
    let report = report.unwrap();
    assert_eq!((report.attempt.as_str(), &report.failure, report.stop_swarm), (&*replay_id(1), &None, true));
    assert_eq!(report.results[0], original.results[0], "the same seed draws the same");
    assert_eq!(report.globals, original.globals);
    assert_eq!(tree(&bench.manager, &report.results[1].blob.as_ref().unwrap().digest), 1);
    assert_eq!(state_read, ["seen"], "it reads what the node keeps now, and says so");
    let phases: Vec<_> = door.phases.iter().filter(|(id, _)| *id == replay_id(1)).map(|(_, phase)| phase).collect();
    assert_eq!(phases, ["preparing", "running", "uploading"]);
    let line = door.logs.iter().find(|line| line.attempt == replay_id(1)).unwrap();
    assert_eq!((line.source.as_str(), line.text.as_str()), ("stdout", "run number 1"));

    door.offer(offer(2, &bundle));
    let next = door.finished().await;
    assert_eq!(tree(&bench.manager, &next.results[1].blob.as_ref().unwrap().digest), 1, "the replay kept no state");
    door.say(Said::Replay(ReplayOrder { replay: replay_id(2), offer: None }));
    let refused = door.replayed().await.report.unwrap().failure.unwrap();
    assert!(refused.message.contains("says nothing of the attempt"), "{refused:?}");
    bench.stop().await;
}

async fn replays_in_turn() {
    let mut bench = Bench::start(1);
    let (endless, quick) = (publish(&bench.manager, "time.sleep(600)"), publish(&bench.manager, "pass"));
    let mut door = bench.door().await;
    door.offer(offer(1, &endless));
    door.phase(&attempt(1), "running").await;
    door.say(Said::Replay(replay(1, offer(2, &quick))));
    door.phase(&replay_id(1), "preparing").await;
    assert!(!door.phases.contains(&(replay_id(1), "running".to_owned())), "the slot is taken");
    door.say(Said::Cancel(Cancel { attempt: attempt(1), epoch: 1, reason: "no longer wanted".to_owned() }));
    assert_eq!(door.replayed().await.report.unwrap().failure, None);

    door.say(Said::Replay(replay(2, offer(3, &endless))));
    door.phase(&replay_id(2), "running").await;
    door.offer(offer(4, &quick));
    let cancel = ReplayCancel { replay: replay_id(2), reason: "stopped by a user".to_owned() };
    door.say(Said::ReplayCancel(cancel));
    assert_eq!(door.finished().await.attempt, attempt(4), "an attempt waits for a replay as for an attempt");

    door.say(Said::Replay(replay(3, offer(5, &endless))));
    door.phase(&replay_id(3), "running").await;
    drop(door);
    let mut door = bench.door().await;
    assert!(door.hello.held.iter().all(|held| held.attempt == attempt(4)), "a replay is nothing to be held");
    door.offer(offer(6, &quick));
    loop {
        let report = door.finished().await;
        door.accept(&report);
        if report.attempt == attempt(6) {
            break;
        }
    }
    bench.stop().await;
}

async fn launcher_dies() {
    let mut bench = Bench::start(1);
    let endless = publish(&bench.manager, "time.sleep(600)");
    let mut door = bench.door().await;
    door.offer(offer(1, &endless));
    door.phase(&attempt(1), "running").await;
    // The shell's own: minimal systems have no program of that name.
    let kill = format!("kill -KILL {}", bench.launcher_pid);
    let killed = std::process::Command::new("sh").args(["-c", &kill]).status().unwrap();
    assert!(killed.success());
    let error = bench.ended().await.unwrap_err();
    assert!(error.to_string().contains("launcher"), "{error}");
}

async fn wrong_token() {
    let bench = Bench::with_token(1, "another-token");
    let error = bench.ended().await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Unauthorized, "{error}");
    assert!(error.to_string().contains("the node token is wrong"), "{error}");
    assert!(error.hint().is_some());
}

async fn stops_in_time() {
    let mut bench = Bench::start(1);
    let endless = publish(&bench.manager, "time.sleep(600)");
    let mut door = bench.door().await;
    door.offer(offer(1, &endless));
    door.phase(&attempt(1), "running").await;
    let begun = Instant::now();
    let heard = tokio::spawn(async move { door.next().await });
    bench.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert!(matches!(heard.await.unwrap(), Some(Kind::Goodbye(_))));
}
