//! Why things are as they are, what a swarm was at each of its events, and the verbs that hold one and let it go on.
use bytes::Bytes;
use http::{Method, StatusCode};
use manta_api::node::{self as wire, node_message};
use serde_json::{Value, json};

use crate::harness::{Manager, chain, tcp};
use crate::node::{Node, connect, finished, hello_with};

async fn worker_and_collect(manager: &Manager) -> String {
    let modules = [manager.put_module("worker", &["digits"]).await, manager.put_module("collect", &[]).await];
    let mut submission = chain("FedAvg", &modules);
    submission["tasks"][0]["retries"] = json!(0);
    submission["tasks"][1]["method"] = json!("any");
    let answer = manager.submit(&submission).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    answer.json()["id"].as_str().unwrap().to_owned()
}

async fn fail(node: &mut Node, offer: &wire::Offer) {
    let failure = wire::Failure {
        class: "user_error".to_owned(),
        message: "ValueError: shapes differ".to_owned(),
        traceback: "Traceback: …".to_owned(),
        location: "worker.py:12".to_owned(),
        ..wire::Failure::default()
    };
    let report = wire::AttemptFinished { failure: Some(failure), ..finished(offer, &[]) };
    node.say(node_message::Kind::Finished(report)).await;
    assert!(!node.verdict().await.accepted);
}

async fn post(manager: &Manager, path: &str) -> crate::harness::Answer {
    manager.call(Method::POST, path, Bytes::new()).await
}

#[tokio::test]
async fn a_failed_swarm_its_task_and_its_attempt_say_what_closed_them() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let mut node = connect(&manager, hello_with("node-1", &["digits"])).await;
    let id = worker_and_collect(&manager).await;
    let offer = node.offer().await;

    let waits = manager.get(&format!("/swarms/{id}/why?task=collect")).await.json();
    assert_eq!((&waits["state"], &waits["reason"]), (&json!("waiting"), &json!("waits for `worker`")));
    assert_eq!(waits["would_change"], json!(["task `worker` closes"]));

    fail(&mut node, &offer).await;
    manager.wait_for_swarm(&id, "failed").await;
    let why = manager.get(&format!("/swarms/{id}/why")).await.json();
    assert_eq!((&why["schema_version"], &why["state"]), (&json!(1), &json!("failed")));
    assert_eq!(why["failure"]["location"], "worker.py:12");
    let chain = why["chain"].as_array().unwrap();
    assert_eq!(chain.last().unwrap()["cause"], "node-1: report");
    let text = why["text"].as_str().unwrap();
    for part in ["swarm `FedAvg` failed", "ValueError: shapes differ", "worker.py:12", "node-1", "manta retry"] {
        assert!(text.contains(part), "`{part}` in {text}");
    }
    let task = manager.get(&format!("/swarms/{id}/why?task=worker")).await.json();
    assert_eq!((&task["state"], &task["iteration"]), (&json!("failed"), &json!(0)));
    assert_eq!(task["nodes"][0]["cause"], "failed: ValueError: shapes differ (attempt 1 of 1)");
    assert_eq!(task, manager.get(&format!("/swarms/{id}/why?task=worker&iteration=0")).await.json());
    let attempt = manager.get(&format!("/attempts/{}/why", offer.attempt)).await.json();
    assert_eq!((&attempt["state"], &attempt["node"]), (&json!("failed"), &json!("node-1")));
    assert_eq!(attempt, manager.get(&format!("/attempts/{}/why", &offer.attempt[..12])).await.json());
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_not_there_is_named_with_the_nearest() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let _node = connect(&manager, hello_with("node-1", &["digits"])).await;
    let id = worker_and_collect(&manager).await;
    let cases = [
        (format!("/swarms/{id}/why?task=worcer"), 404, "did you mean `worker`?"),
        (format!("/swarms/{id}/why?task=worker&iteration=7"), 404, "iterations are counted from 0"),
        (format!("/swarms/{id}/why?iteration=0"), 400, ""),
        (format!("/swarms/{id}?at=0"), 404, "`manta events` lists them"),
        (format!("/swarms/{id}?at=999"), 404, "`manta events` lists them"),
        ("/attempts/at_00000000000000000000000000/why".to_owned(), 404, "`manta events SWARM` names"),
        ("/attempts/at_/why".to_owned(), 404, "`manta events SWARM` names"),
    ];
    for (path, status, hint) in cases {
        let answer = manager.get(&path).await;
        assert_eq!(answer.status.as_u16(), status, "{path}: {answer:?}");
        assert!(answer.json()["hint"].as_str().unwrap_or_default().contains(hint), "{path}: {answer:?}");
    }
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn an_attempt_of_an_iteration_that_is_long_over_is_found_in_the_history() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let mut node = connect(&manager, hello_with("node-1", &["digits"])).await;
    let mut submission = chain("loop", &[manager.put_module("worker", &["digits"]).await]);
    submission["max_iteration"] = json!(4);
    let id = manager.submit(&submission).await.json()["id"].as_str().unwrap().to_owned();
    let first = node.offer().await;
    node.run(&first, &[]).await;
    for _ in 1..4 {
        let offer = node.offer().await;
        node.run(&offer, &[]).await;
    }
    manager.wait_for_swarm(&id, "succeeded").await;
    let why = manager.get(&format!("/attempts/{}/why", first.attempt)).await.json();
    assert_eq!((&why["state"], &why["iteration"]), (&json!("accepted"), &json!(0)), "{why:#}");
    let task = manager.get(&format!("/swarms/{id}/why?task=worker&iteration=1")).await.json();
    assert_eq!((&task["state"], &task["iteration"]), (&json!("succeeded"), &json!(1)), "{task:#}");
    assert!(task["chain"][0]["message"].as_str().unwrap().contains("closed 1/1"), "{task:#}");
    manager.stop().await.unwrap();
}

/// What the log alone can tell of a swarm: all of its view but what waits for nodes.
fn without_waits(view: &Value) -> Value {
    let mut view = view.clone();
    view["waiting"] = json!([]);
    view.as_object_mut().unwrap().remove("distribution");
    view
}

#[tokio::test]
async fn a_swarm_at_each_event_is_what_was_shown_then() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let mut first = connect(&manager, hello_with("node-1", &["digits"])).await;
    let mut second = connect(&manager, hello_with("node-2", &["digits"])).await;
    let id = worker_and_collect(&manager).await;
    let path = format!("/swarms/{id}");
    let mut shown = vec![manager.get(&path).await.json()];
    let offers = [first.offer().await, second.offer().await];
    for (node, offer) in [(&mut first, &offers[0]), (&mut second, &offers[1])] {
        let before = shown.last().unwrap()["seq"].as_u64().unwrap();
        node.progress(offer, "running").await;
        let goes_on = |view: &Value| view["seq"].as_u64().unwrap() > before;
        shown.push(manager.wait_until(&path, goes_on).await);
        node.finish(offer, &[]).await;
        assert!(node.verdict().await.accepted);
        shown.push(manager.get(&path).await.json());
    }
    post(&manager, &format!("{path}/pause")).await;
    shown.push(manager.get(&path).await.json());
    post(&manager, &format!("{path}/resume")).await;
    shown.push(manager.get(&path).await.json());
    post(&manager, &format!("{path}/stop")).await;
    shown.push(manager.get(&path).await.json());
    for live in &shown {
        let then = manager.get(&format!("{path}?at={}", live["seq"])).await.json();
        assert_eq!(then, without_waits(live), "at event {}", live["seq"]);
    }
    let last = shown.last().unwrap()["seq"].as_u64().unwrap();
    for at in 1..=last {
        let then = manager.get(&format!("{path}?at={at}")).await.json();
        assert_eq!(then["seq"], at, "every event has its state");
    }
    manager.stop().await.unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    for live in &shown {
        let then = manager.get(&format!("{path}?at={}", live["seq"])).await.json();
        assert_eq!(then, without_waits(live), "at event {} after a restart", live["seq"]);
    }
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn a_paused_swarm_starts_nothing_until_it_is_let_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let mut node = connect(&manager, hello_with("node-1", &["digits"])).await;
    let id = worker_and_collect(&manager).await;
    let offer = node.offer().await;
    let paused = post(&manager, &format!("/swarms/{id}/pause")).await;
    assert_eq!((paused.status, &paused.json()["state"]), (StatusCode::OK, &json!("paused")));
    assert_eq!(post(&manager, &format!("/swarms/{id}/pause")).await.status, StatusCode::OK, "twice is once");
    let why = manager.get(&format!("/swarms/{id}/why")).await.json();
    assert_eq!(why["chain"][0]["cause"], "pause by a user");
    assert!(why["would_change"][0].as_str().unwrap().contains(&format!("manta resume {id}")), "{why:#}");
    node.run(&offer, &[]).await;
    node.is_quiet().await;
    let resumed = post(&manager, &format!("/swarms/{id}/resume")).await;
    assert_eq!(resumed.json()["state"], "running");
    let offer = node.offer().await;
    assert_eq!(offer.task, "collect");
    node.run(&offer, &[]).await;
    manager.wait_for_swarm(&id, "succeeded").await;
    for verb in ["pause", "resume", "stop"] {
        let refused = post(&manager, &format!("/swarms/{id}/{verb}")).await;
        assert_eq!((refused.status, refused.code().as_str()), (StatusCode::CONFLICT, "MANTA-0502"), "{verb}");
    }
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn the_events_of_a_swarm_that_is_over_end_wherever_a_client_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let _node = connect(&manager, hello_with("node-1", &["digits"])).await;
    let id = worker_and_collect(&manager).await;
    let last = post(&manager, &format!("/swarms/{id}/stop")).await.json()["seq"].as_u64().unwrap();
    for after in [0, last - 1, last] {
        let token = format!("Bearer {}", manager.user);
        let path = format!("{}/swarms/{id}/events?after={after}", crate::harness::BASE);
        let headers = [("authorization", token.as_str()), ("accept", "text/event-stream")];
        let stream = manager.raw(Method::GET, &path, &headers, Bytes::new()).await;
        let told = String::from_utf8_lossy(&stream.body).matches("data:").count();
        assert_eq!(told as u64, last - after, "after {after}");
    }
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn a_failed_swarm_goes_on_as_a_new_one_and_the_same_key_makes_no_second() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let mut node = connect(&manager, hello_with("node-1", &["digits"])).await;
    let id = worker_and_collect(&manager).await;
    let offer = node.offer().await;
    node.run(&offer, &[]).await;
    let offer = node.offer().await;
    let early = post(&manager, &format!("/swarms/{id}/retry")).await;
    assert_eq!((early.status, early.code().as_str()), (StatusCode::CONFLICT, "MANTA-0502"), "it has not failed");
    fail(&mut node, &offer).await;
    let again = node.offer().await;
    fail(&mut node, &again).await;
    manager.wait_for_swarm(&id, "failed").await;
    let token = format!("Bearer {}", manager.user);
    let path = format!("{}/swarms/{id}/retry", crate::harness::BASE);
    let headers = [("authorization", token.as_str()), ("idempotency-key", "again")];
    let first = manager.raw(Method::POST, &path, &headers, Bytes::new()).await;
    let second = manager.raw(Method::POST, &path, &headers, Bytes::new()).await;
    assert_eq!((first.status, second.status), (StatusCode::CREATED, StatusCode::OK));
    assert_eq!(first.json()["id"], second.json()["id"]);
    let offer = node.offer().await;
    assert_eq!(offer.task, "collect", "what had closed well is not run again");
    node.run(&offer, &[]).await;
    manager.wait_for_swarm(first.json()["id"].as_str().unwrap(), "succeeded").await;
    assert_eq!(manager.get("/swarms").await.json().as_array().unwrap().len(), 2);
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn a_retry_holds_what_it_takes_over_and_is_refused_where_that_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let mut node = connect(&manager, hello_with("node-1", &["digits"])).await;
    let id = worker_and_collect(&manager).await;
    let offer = node.offer().await;
    let value = manager.put_blob(b"half the work").await;
    node.run(&offer, &[("part", value)]).await;
    for _ in 0..2 {
        let offer = node.offer().await;
        fail(&mut node, &offer).await;
    }
    manager.wait_for_swarm(&id, "failed").await;
    let name = value.digest.to_string();
    let file = dir.path().join("data/blobs").join(&name[..2]).join(&name);
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(3 * 24 * 60 * 60);
    std::fs::File::open(&file).unwrap().set_modified(old).unwrap();
    let first = post(&manager, &format!("/swarms/{id}/retry")).await;
    assert_eq!(first.status, StatusCode::CREATED, "{first:?}");
    let held = std::fs::metadata(&file).unwrap().modified().unwrap();
    assert!(held > old + std::time::Duration::from_secs(24 * 60 * 60), "a sweep would leave it now");
    std::fs::remove_file(&file).unwrap();
    let refused = post(&manager, &format!("/swarms/{id}/retry")).await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (422, "MANTA-0204"), "{refused:?}");
    assert!(refused.json()["detail"].as_str().unwrap().contains("value `part`"), "{refused:?}");
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn a_drained_node_gets_nothing_until_it_is_taken_into_use_again() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let mut node = connect(&manager, hello_with("node-1", &["digits"])).await;
    let drained = post(&manager, "/nodes/node-1/drain?deadline_ms=60000").await;
    assert_eq!((drained.status, &drained.json()["duty"]), (StatusCode::OK, &json!("drained")), "{drained:?}");
    let id = worker_and_collect(&manager).await;
    node.is_quiet().await;
    let why = manager.get(&format!("/swarms/{id}/why?task=worker")).await.json();
    assert_eq!(why["nodes"][0]["cause"], "is drained");
    assert_eq!(why["would_change"][0], "node-1 takes work again (manta node resume node-1)");
    assert_eq!(post(&manager, "/nodes/node-1/resume").await.json()["duty"], "active");
    assert_eq!(node.offer().await.task, "worker");
    let unknown = post(&manager, "/nodes/node-2/drain").await;
    assert_eq!((unknown.status, &unknown.json()["hint"]), (StatusCode::NOT_FOUND, &json!("did you mean `node-1`?")));
    manager.stop().await.unwrap();
}
