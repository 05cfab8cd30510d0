//! Attempts of the past: shown as they were, run again by their node, and nothing of it in the swarm's history.
use std::path::Path;

use bytes::Bytes;
use http::Method;
use manta_api::node::{self as wire, node_message};
use serde_json::{Value, json};

use crate::harness::{BASE, Manager, chain, tcp};
use crate::node::{Node, connect, finished, hello, hello_with};

/// A manager whose swarm of two tasks and two iterations has run on one node.
struct Ran {
    manager: Manager,
    node: Node,
    swarm: String,
    /// Every offer, with the inputs that were served while it was live.
    offers: Vec<(wire::Offer, Value)>,
}

async fn inputs(manager: &Manager, path: &str, node: &str) -> (u16, Value) {
    let token = format!("Bearer {}", manager.node);
    let headers = [("authorization", token.as_str()), ("x-manta-node", node)];
    let answer = manager.raw(Method::GET, &format!("{BASE}{path}"), &headers, Bytes::new()).await;
    (answer.status.as_u16(), answer.json())
}

async fn ran(dir: &Path) -> Ran {
    let manager = Manager::start(dir, tcp()).await;
    let mut node = connect(&manager, hello("node-1")).await;
    let modules = [manager.put_module("worker", &[]).await, manager.put_module("sum", &[]).await];
    let mut submission = chain("s", &modules);
    submission["max_iteration"] = json!(2);
    let swarm = manager.submit(&submission).await.json()["id"].as_str().unwrap().to_owned();
    let mut offers = Vec::new();
    for index in 0..4u8 {
        let offer = node.offer().await;
        let (status, read) = inputs(&manager, &format!("/attempts/{}/inputs", offer.attempt), "node-1").await;
        assert_eq!(status, 200, "{read}");
        let value = manager.put_blob(&[index]).await;
        let mut report = finished(&offer, &[("x", value)]);
        report.globals = report.results.clone();
        node.say(node_message::Kind::Finished(report)).await;
        assert!(node.verdict().await.accepted);
        offers.push((offer, read));
    }
    manager.wait_for_swarm(&swarm, "succeeded").await;
    Ran { manager, node, swarm, offers }
}

async fn order(manager: &Manager, attempt: &str) -> (u16, Value) {
    let answer = manager.call(Method::POST, &format!("/attempts/{attempt}/replay"), Bytes::new()).await;
    (answer.status.as_u16(), answer.json())
}

fn report(replay: &str, offer: &wire::Offer, results: &[(&str, manta_types::Blob)]) -> node_message::Kind {
    let report = wire::AttemptFinished { attempt: replay.to_owned(), ..finished(offer, results) };
    let state_read = vec!["momentum".to_owned()];
    node_message::Kind::ReplayFinished(wire::ReplayFinished { report: Some(report), state_read })
}

#[tokio::test]
async fn every_attempt_is_shown_as_it_was_even_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let Ran { manager, offers, .. } = ran(dir.path()).await;
    let mut before = Vec::new();
    for (index, (offer, read)) in offers.iter().enumerate() {
        let shown = manager.get(&format!("/attempts/{}", offer.attempt)).await.json();
        assert_eq!(shown["inputs"], *read, "what it read is rebuilt");
        assert_eq!((&shown["task"], &shown["seed"]), (&json!(offer.task), &json!(offer.seed)));
        assert_eq!((&shown["iteration"], &shown["bundle"]), (&json!(offer.iteration), &json!(offer.bundle)));
        assert_eq!((&shown["state"], &shown["node"]), (&json!("accepted"), &json!("node-1")));
        let digest = manta_module::digest_of(&[u8::try_from(index).unwrap()]);
        assert_eq!(shown["outcome"]["results"][0]["blob"]["digest"], json!(digest));
        before.push(shown);
    }
    manager.stop().await.unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    for ((offer, _), before) in offers.iter().zip(before) {
        assert_eq!(manager.get(&format!("/attempts/{}", offer.attempt)).await.json(), before);
    }
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn a_replay_is_the_same_order_again_and_leaves_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let Ran { manager, mut node, swarm, offers } = ran(dir.path()).await;
    let history = manager.get(&format!("/swarms/{swarm}/events")).await.json();
    let (offer, read) = &offers[1];
    let (status, view) = order(&manager, &offer.attempt).await;
    assert_eq!((status, &view["state"]), (201, &json!("ordered")));
    let replay = view["id"].as_str().unwrap().to_owned();
    let ordered = node.replay().await;
    assert_eq!((ordered.replay.as_str(), ordered.offer.as_ref()), (replay.as_str(), Some(offer)));
    let path = format!("/replays/{replay}");
    assert_eq!(inputs(&manager, &format!("{path}/inputs"), "node-1").await, (200, read.clone()));
    assert_eq!(inputs(&manager, &format!("{path}/inputs"), "node-2").await.0, 404);

    let phase = wire::ReplayProgress { replay: replay.clone(), phase: "running".to_owned() };
    node.say(node_message::Kind::ReplayProgress(phase)).await;
    let named = wire::Offer { attempt: replay.clone(), ..offer.clone() };
    node.log(&named, "said again").await;
    let other = manager.put_blob(b"another value").await;
    node.say(report(&replay, offer, &[("x", other)])).await;
    let over = manager.wait_until(&path, |replay| replay["state"] == "finished").await;
    assert_eq!(over["attempt"], json!(offer.attempt));
    let told = manager.get(&format!("{path}/events")).await.json();
    let kinds: Vec<_> = told.as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["phase", "log", "finished"]);
    assert_eq!((&told[1]["line"]["text"], &told[1]["line"]["attempt"]), (&json!("said again"), &json!(offer.attempt)));
    assert_eq!(told[2]["outcome"]["results"][0]["blob"]["digest"], json!(other.digest));
    assert_eq!(told[2]["state_read"], json!(["momentum"]));

    node.is_quiet().await;
    assert_eq!(manager.get(&format!("/swarms/{swarm}/events")).await.json(), history);
    assert_eq!(manager.get(&format!("/swarms/{swarm}/logs")).await.json(), json!([]));
    let results = manager.get(&format!("/swarms/{swarm}/results")).await.json();
    assert_eq!(results.as_array().unwrap().len(), 4);
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_run_again_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let Ran { manager, node, offers, .. } = ran(dir.path()).await;
    let unknown = manta_types::AttemptId::from_uuid(uuid::Uuid::now_v7());
    assert_eq!(order(&manager, &unknown.to_string()).await.0, 404);
    assert_eq!(order(&manager, "at_x").await.0, 404);
    let mut second = connect(&manager, hello_with("node-2", &["digits"])).await;
    let module = manager.put_module("reader", &["digits"]).await;
    manager.submit(&chain("t", &[module])).await;
    let live = second.offer().await;
    let (status, problem) = order(&manager, &live.attempt).await;
    assert_eq!(status, 409);
    assert!(problem["detail"].as_str().unwrap().contains("is not over"), "{problem}");
    second.run(&live, &[]).await;

    let id = second.id.clone();
    second.leave().await;
    let mut poorer = connect(&manager, wire::Hello { node_id: id, ..hello("node-2") }).await;
    let (status, problem) = order(&manager, &live.attempt).await;
    assert_eq!((status, problem["code"].as_str()), (409, Some("MANTA-0502")));
    assert!(problem["detail"].as_str().unwrap().contains("no longer offers the dataset `digits`"), "{problem}");
    assert!(problem["hint"].as_str().unwrap().contains("--local"), "{problem}");
    poorer.is_quiet().await;

    node.leave().await;
    let (status, problem) = order(&manager, &offers[0].0.attempt).await;
    assert_eq!(status, 409);
    assert!(problem["detail"].as_str().unwrap().contains("`node-1` is gone"), "{problem}");
    assert!(problem["hint"].as_str().unwrap().contains("--local"), "{problem}");
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn a_replay_ends_with_its_session_by_command_or_with_a_report_that_cannot_be_used() {
    let dir = tempfile::tempdir().unwrap();
    let Ran { manager, mut node, offers, .. } = ran(dir.path()).await;
    let (offer, _) = &offers[0];
    let last = async |id: &str| {
        let told = manager.get(&format!("/replays/{id}/events")).await.json();
        told.as_array().unwrap().last().unwrap().clone()
    };

    let (_, view) = order(&manager, &offer.attempt).await;
    let id = view["id"].as_str().unwrap();
    node.replay().await;
    let stopped = manager.call(Method::POST, &format!("/replays/{id}/stop"), Bytes::new()).await.json();
    assert_eq!(stopped["state"], "stopped");
    let cancelled = node.next().await;
    let expected = wire::ReplayCancel { replay: id.to_owned(), reason: "stopped by a user".to_owned() };
    assert_eq!(cancelled, wire::manager_message::Kind::ReplayCancel(expected));
    assert_eq!(last(id).await["reason"], "stopped by a user");

    let (_, view) = order(&manager, &offer.attempt).await;
    let id = view["id"].as_str().unwrap();
    node.replay().await;
    let invented = manta_types::Blob { digest: manta_module::digest_of(b"invented"), size: 8 };
    node.say(report(id, offer, &[("x", invented)])).await;
    manager.wait_until(&format!("/replays/{id}"), |replay| replay["state"] == "finished").await;
    let failure = last(id).await["outcome"]["failure"].clone();
    assert_eq!(failure["class"], "platform");
    assert!(failure["message"].as_str().unwrap().contains("`x` is not stored"), "{failure}");

    let (_, view) = order(&manager, &offer.attempt).await;
    let id = view["id"].as_str().unwrap();
    node.replay().await;
    node.leave().await;
    let lost = manager.wait_until(&format!("/replays/{id}"), |replay| replay["state"] == "lost").await;
    assert_eq!(lost["node"], "node-1");
    assert!(last(id).await["reason"].as_str().unwrap().contains("the connection of node `node-1` ended"));
    manager.stop().await.unwrap();
}
