//! The node protocol: who may open a session, and what a session may say.
use manta_api::node::{self as wire, node_message};
use manta_types::Blob;
use serde_json::{Value, json};
use tonic::Code;

use crate::harness::{Manager, chain, tcp};
use crate::node::{connect, connect_as, finished, hello, hello_with};

async fn refusal(manager: &Manager, hello: wire::Hello) -> (Code, String) {
    let status = connect_as(manager, &manager.node, hello).await.err().expect("it is refused");
    (status.code(), status.message().to_owned())
}

#[tokio::test]
async fn a_node_that_was_turned_away_for_its_release_is_listed_with_why_until_it_is_let_in() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let seen = async || {
        let node = manager.get("/nodes/node-1").await.json();
        let notes = node["node"]["notes"].as_array().unwrap().iter().map(|note| note.as_str().unwrap().to_owned());
        let is_told = |text: &str| text.contains("upgrade the manager first");
        let events =
            node["events"].as_array().unwrap().iter().filter(|event| is_told(event["message"].as_str().unwrap()));
        (notes.filter(|note| note.starts_with(manta_api::TURNED_AWAY) && is_told(note)).count(), events.count())
    };
    drop(connect(&manager, hello("node-1")).await);
    let id = manager.get("/nodes/node-1").await.json()["node"]["id"].as_str().unwrap().to_owned();
    assert_eq!(seen().await, (0, 0));
    for _ in 0..2 {
        refusal(&manager, wire::Hello { protocol: 99, ..hello("node-1") }).await;
    }
    assert_eq!(seen().await, (1, 1), "said once");
    let _session = connect(&manager, wire::Hello { node_id: id, ..hello("node-1") }).await;
    assert_eq!(seen().await, (0, 1));
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn a_newer_node_is_refused_naming_both_versions() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let (code, message) = refusal(&manager, wire::Hello { protocol: 99, ..hello("node-1") }).await;
    assert_eq!(code, Code::FailedPrecondition);
    assert!(
        message.contains("99") && message.contains("9.9.9") && message.contains(manta_api::version::PRODUCT),
        "{message}"
    );
    let (code, _) = refusal(&manager, wire::Hello { protocol: 0, ..hello("node-1") }).await;
    assert_eq!(code, Code::FailedPrecondition);
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn a_name_belongs_to_one_node_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let mut node = connect(&manager, hello("node-1")).await;
    node.is_quiet().await;
    let (code, message) = refusal(&manager, hello("node-1")).await;
    assert_eq!(code, Code::AlreadyExists);
    assert!(message.contains("`node-1`") && message.contains("choose another name"), "{message}");
    let (code, _) = refusal(&manager, wire::Hello { node_id: node.id.clone(), ..hello("node-2") }).await;
    assert_eq!(code, Code::InvalidArgument, "a name does not change");
    let (code, message) = refusal(&manager, hello("Node 1")).await;
    assert_eq!(code, Code::InvalidArgument);
    assert!(message.contains("`Node 1`"), "{message}");
    manager.stop().await.unwrap();

    let manager = Manager::start(dir.path(), tcp()).await;
    assert_eq!(refusal(&manager, hello("node-1")).await.0, Code::AlreadyExists, "after a restart too");
    let again = connect(&manager, wire::Hello { node_id: node.id.clone(), ..hello("node-1") }).await;
    assert_eq!(again.id, node.id);
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn a_second_session_of_a_node_takes_the_place_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let mut first = connect(&manager, hello("node-1")).await;
    first.is_quiet().await;
    let mut second = connect(&manager, wire::Hello { node_id: first.id.clone(), ..hello("node-1") }).await;
    assert_eq!(first.try_next().await, None, "the first ends");
    second.is_quiet().await;
    let module = manager.put_module("worker", &[]).await;
    let id = manager.submit(&chain("s", &[module])).await.json()["id"].as_str().unwrap().to_owned();
    let offer = second.offer().await;
    second.run(&offer, &[]).await;
    manager.wait_for_swarm(&id, "succeeded").await;
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn a_report_of_values_that_are_not_stored_does_not_count() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let mut node = connect(&manager, hello("node-1")).await;
    let module = manager.put_module("worker", &[]).await;
    let id = manager.submit(&chain("s", &[module])).await.json()["id"].as_str().unwrap().to_owned();
    let offer = node.offer().await;
    let invented = Blob { digest: manta_module::digest_of(b"invented"), size: 8 };
    node.finish(&offer, &[("update", invented)]).await;
    assert!(!node.verdict().await.accepted);
    let offer = node.offer().await;
    let stored = manager.put_blob(b"stored").await;
    node.finish(&offer, &[("update", Blob { size: 7, ..stored })]).await;
    assert!(!node.verdict().await.accepted, "another size");
    let offer = node.offer().await;
    node.say(node_message::Kind::Finished(finished(&offer, &[("update", stored), ("update", stored)]))).await;
    assert!(!node.verdict().await.accepted, "twice the same name");
    let failures = manager.get(&format!("/swarms/{id}/events")).await.json();
    let failed = |event: &&Value| event["event"]["kind"] == "attempt_failed";
    let messages: Vec<_> =
        failures.as_array().unwrap().iter().filter(failed).map(|e| e["message"].to_string()).collect();
    assert_eq!(messages.len(), 3, "{messages:?}");
    assert!(messages[0].contains("`update` is not stored"), "{messages:?}");
    assert_eq!(manager.get(&format!("/swarms/{id}/results")).await.json(), json!([]));
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn a_node_cannot_speak_for_the_attempts_of_another() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let mut owner = connect(&manager, hello_with("node-1", &["digits"])).await;
    let mut thief = connect(&manager, hello("node-2")).await;
    let module = manager.put_module("worker", &["digits"]).await;
    let id = manager.submit(&chain("s", &[module])).await.json()["id"].as_str().unwrap().to_owned();
    let offer = owner.offer().await;
    thief.log(&offer, "forged").await;
    thief.progress(&offer, "running").await;
    assert_eq!(thief.cancel().await.attempt, offer.attempt);
    thief.finish(&offer, &[]).await;
    assert!(!thief.verdict().await.accepted);
    assert_eq!(manager.get(&format!("/swarms/{id}/logs")).await.json(), json!([]));
    owner.run(&offer, &[]).await;
    manager.wait_for_swarm(&id, "succeeded").await;
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn an_attempt_that_nobody_knows_is_cancelled_or_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let attempt = manta_types::AttemptId::from_uuid(uuid::Uuid::now_v7()).to_string();
    let held = wire::Held { attempt: attempt.clone(), epoch: 1, phase: "running".to_owned(), generation: 0 };
    let mut node = connect(&manager, wire::Hello { held: vec![held], ..hello("node-1") }).await;
    assert_eq!(node.cancel().await.attempt, attempt);
    let report = wire::AttemptFinished { attempt: attempt.clone(), epoch: 1, ..wire::AttemptFinished::default() };
    node.say(node_message::Kind::Finished(report)).await;
    let verdict = node.verdict().await;
    assert!(!verdict.accepted && verdict.attempt == attempt);
    node.is_quiet().await;
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn a_node_that_says_goodbye_is_gone_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let node = connect(&manager, hello("node-1")).await;
    assert_eq!(manager.get("/nodes").await.json()[0]["state"], "online");
    node.leave().await;
    let nodes = manager.wait_until("/nodes", |nodes| nodes[0]["state"] == "gone").await;
    assert_eq!((&nodes[0]["name"], &nodes[0]["tier"]), (&json!("node-1"), &json!("full")));
    assert_eq!(nodes[0]["engine"], "builtin");
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn what_a_swarm_needs_is_sent_for_by_every_node_that_may_run_it_and_told_until_it_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let mut able = connect(&manager, hello_with("node-1", &["digits"])).await;
    let mut other = connect(&manager, hello("node-2")).await;
    let modules = [manager.put_module("a", &["digits"]).await, manager.put_module("b", &["digits"]).await];
    let swarm = manager.submit(&chain("s", &modules)).await.json();
    assert_eq!(swarm["distribution"], json!({"nodes": 1, "ready": 0, "failed": []}));
    let order = able.distribution().await;
    assert_eq!(order.swarm, swarm["id"]);
    assert_eq!(order.images, ["manta_light:latest"]);
    let mut bundles: Vec<_> = modules.iter().map(|module| module["bundle"].as_str().unwrap().to_owned()).collect();
    bundles.sort();
    assert_eq!(order.bundles, bundles);
    other.is_quiet().await;

    let path = format!("/swarms/{}", order.swarm);
    let told = |ready, failure: &str| {
        node_message::Kind::Distributed(wire::Distributed {
            swarm: order.swarm.clone(),
            ready,
            failure: failure.to_owned(),
        })
    };
    able.say(told(1, "the disk is full")).await;
    let failed = json!([{"node": "node-1", "cause": "the disk is full"}]);
    manager.wait_until(&path, |swarm| swarm["distribution"] == json!({"nodes": 1, "ready": 0, "failed": failed})).await;
    other.say(told(3, "")).await;
    able.say(told(3, "")).await;
    manager.wait_until(&path, |swarm| swarm["distribution"] == json!({"nodes": 1, "ready": 1, "failed": []})).await;
    manager.stop().await.unwrap();
}
