//! What a node may not say: forged ends, other nodes' attempts, other epochs, nonsense. Nothing of it changes anything.
use std::collections::BTreeSet;

use manta_api::node::{self as wire, node_message::Kind};
use manta_types::{AttemptId, Blob, limits};
use serde_json::{Value, json};
use tonic::Code;

use crate::harness::{Manager, chain, tcp};
use crate::node::{Node, connect, finished, first_says, hello, hello_with};

/// Forged messages that are sent.
const FORGED: u64 = 3000;
/// Messages that are sent before their answers are read.
const AT_ONCE: u64 = 100;

/// Numbers that follow from a seed, each from the one before.
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 27)
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        let at = usize::try_from(self.next()).unwrap() % from.len();
        &from[at]
    }
}

/// A swarm of two tasks, of which one attempt was accepted and one is at work on the owner.
struct Scene {
    manager: Manager,
    swarm: String,
    owner: Node,
    accepted: wire::Offer,
    live: wire::Offer,
    stored: Blob,
}

async fn scene(dir: &std::path::Path) -> Scene {
    let manager = Manager::start(dir, tcp()).await;
    let mut owner = connect(&manager, hello_with("node-1", &["digits"])).await;
    let (first, second) = (manager.put_module("a", &["digits"]).await, manager.put_module("b", &["digits"]).await);
    let answer = manager.submit(&chain("s", &[first, second])).await.json();
    let swarm = answer["id"].as_str().unwrap().to_owned();
    let stored = manager.put_blob(b"a value").await;
    let accepted = owner.offer().await;
    owner.run(&accepted, &[("update", stored)]).await;
    let live = owner.offer().await;
    owner.progress(&live, "running").await;
    owner.is_quiet().await;
    Scene { manager, swarm, owner, accepted, live, stored }
}

impl Scene {
    async fn history(&self) -> Value {
        self.manager.get(&format!("/swarms/{}/events", self.swarm)).await.json()
    }
}

#[tokio::test]
async fn forged_reports_are_answered_and_none_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let mut scene = scene(dir.path()).await;
    let mut thief = connect(&scene.manager, hello("node-2")).await;
    let before = scene.history().await;
    let mut draws = Draws(7);
    let (mut answers, mut accepted) = (0, 0);
    for batch in 0..FORGED / AT_ONCE {
        let mut asked = 0;
        for _ in 0..AT_ONCE {
            let guessed = AttemptId::from_uuid(uuid::Uuid::from_u64_pair(draws.next(), draws.next())).to_string();
            let attempts = [scene.live.attempt.clone(), scene.accepted.attempt.clone(), guessed];
            let attempt = draws.pick(&attempts).clone();
            let epoch = *draws.pick(&[0, 1, 2, u32::MAX]);
            let offer = wire::Offer { attempt: attempt.clone(), epoch, ..wire::Offer::default() };
            let kind = match draws.next() % 4 {
                0 => Kind::Progress(wire::AttemptProgress { attempt, epoch, phase: "uploading".to_owned() }),
                1 => Kind::Refused(wire::Refused { attempt, epoch, class: "user_error".into(), reason: "no".into() }),
                2 => {
                    let failure = Some(wire::Failure { class: "user_error".into(), ..wire::Failure::default() });
                    Kind::Finished(wire::AttemptFinished { failure, ..finished(&offer, &[]) })
                }
                _ => {
                    let report = finished(&offer, &[("update", scene.stored)]);
                    Kind::Finished(wire::AttemptFinished {
                        globals: report.results.clone(),
                        stop_swarm: true,
                        ..report
                    })
                }
            };
            thief.log(&offer, "forged").await;
            thief.say(kind).await;
            asked += 1;
        }
        for _ in 0..asked {
            match thief.next().await {
                wire::manager_message::Kind::Verdict(verdict) => accepted += u32::from(verdict.accepted),
                wire::manager_message::Kind::Cancel(_) => {}
                other => panic!("{other:?} in batch {batch}"),
            }
            answers += 1;
        }
    }
    println!("{answers} forged messages were answered, {accepted} accepted");
    assert_eq!((answers, accepted), (FORGED, 0));
    assert_eq!(scene.history().await, before, "nothing happened");
    assert_eq!(scene.manager.get(&format!("/swarms/{}/logs", scene.swarm)).await.json(), json!([]));
    scene.owner.finish(&scene.live, &[]).await;
    assert!(scene.owner.verdict().await.accepted);
    scene.manager.wait_for_swarm(&scene.swarm, "succeeded").await;
    scene.manager.stop().await.unwrap();
}

#[tokio::test]
async fn an_owner_gets_the_same_answer_again_and_none_under_another_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let mut scene = scene(dir.path()).await;
    let before = scene.history().await;
    for epoch in [0, 2, u32::MAX] {
        for offer in [&scene.accepted, &scene.live] {
            scene.owner.finish(&wire::Offer { epoch, ..offer.clone() }, &[("update", scene.stored)]).await;
            let verdict = scene.owner.verdict().await;
            assert!(!verdict.accepted && verdict.epoch == epoch, "{verdict:?}");
        }
    }
    let other = scene.manager.put_blob(b"another value").await;
    for _ in 0..3 {
        scene.owner.finish(&scene.accepted, &[("update", other)]).await;
        assert!(scene.owner.verdict().await.accepted, "it was accepted before");
    }
    assert_eq!(scene.history().await, before, "and its first values count");
    scene.manager.stop().await.unwrap();
}

#[tokio::test]
async fn messages_that_cannot_be_used_change_nothing_and_end_the_session_when_they_are_many() {
    let dir = tempfile::tempdir().unwrap();
    let mut scene = scene(dir.path()).await;
    let before = scene.history().await;
    let nonsense = |n: u64| {
        let attempt = ["", "at_", "sw_00000000000000000000000001", "at_0000000000000000000000000!", "../../etc"];
        let attempt = attempt[usize::try_from(n).unwrap() % attempt.len()].to_owned();
        match n % 4 {
            0 => Kind::Finished(wire::AttemptFinished { attempt, ..wire::AttemptFinished::default() }),
            1 => Kind::Progress(wire::AttemptProgress { attempt, epoch: 1, phase: "running".to_owned() }),
            2 => Kind::Refused(wire::Refused { attempt, ..wire::Refused::default() }),
            _ => Kind::Hello(hello("node-1")),
        }
    };
    for n in 0..100 {
        scene.owner.say(nonsense(n)).await;
    }
    let phase = "dancing".to_owned();
    scene.owner.is_quiet().await;
    let (attempt, epoch) = (scene.live.attempt.clone(), scene.live.epoch);
    scene.owner.say(Kind::Progress(wire::AttemptProgress { attempt, epoch, phase })).await;
    let farewell = scene.owner.farewell().await;
    assert_eq!(farewell.code(), Code::Aborted);
    let words = "more than 100 messages could not be used; the last: `dancing` is no phase of an attempt";
    assert_eq!(farewell.message(), words);
    assert_eq!(scene.history().await, before);
    scene.manager.stop().await.unwrap();
}

#[tokio::test]
async fn a_session_that_does_not_begin_with_a_hello_or_says_too_much_in_it_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    for first in [
        Kind::Heartbeat(wire::Heartbeat::default()),
        Kind::Finished(wire::AttemptFinished::default()),
        Kind::Logs(wire::LogBatch::default()),
    ] {
        let status = first_says(&manager, &manager.node, first).await.err().unwrap();
        assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "a session begins with a hello"));
    }
    let held = wire::Held { attempt: AttemptId::from_uuid(uuid::Uuid::nil()).to_string(), ..wire::Held::default() };
    let many = wire::Hello { held: vec![held; 100_001], ..hello("node-1") };
    let status = first_says(&manager, &manager.node, Kind::Hello(many)).await.err().unwrap();
    assert!(status.message().contains("holds 100001 attempts; 100000 are the limit"), "{status}");
    let huge = wire::Hello { notes: vec!["x".repeat(limits::NODE_MESSAGE_BYTES_MAX)], ..hello("node-1") };
    let status = first_says(&manager, &manager.node, Kind::Hello(huge)).await.err().unwrap();
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
    assert_eq!(manager.get("/nodes").await.json(), json!([]));
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn of_two_sessions_under_one_id_the_newest_stays_and_the_other_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let mut told = BTreeSet::new();
    let mut former = connect(&manager, hello("node-1")).await;
    former.is_quiet().await;
    for _ in 0..3 {
        let mut newer = connect(&manager, wire::Hello { node_id: former.id.clone(), ..hello("node-1") }).await;
        let farewell = former.farewell().await;
        assert_eq!(farewell.code(), Code::Aborted);
        told.insert(farewell.message().to_owned());
        newer.is_quiet().await;
        former = newer;
    }
    assert!(
        told.iter().all(|words| words.starts_with("another session under this node's id took its place")),
        "{told:?}"
    );
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn a_node_that_is_silent_for_a_lease_loses_its_session() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let mut node = connect(&manager, hello("node-1")).await;
    let begun = std::time::Instant::now();
    let farewell = node.farewell().await;
    assert_eq!((farewell.code(), farewell.message()), (Code::Aborted, "nothing was heard for 6 s"));
    assert!(begun.elapsed() < 2 * limits::LEASE, "{:?}", begun.elapsed());
    manager.stop().await.unwrap();
}
