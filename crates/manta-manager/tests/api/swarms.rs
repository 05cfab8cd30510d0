//! Swarms from submission to result, with nodes that do as they are told.
use bytes::Bytes;
use http::{Method, StatusCode};
use manta_api::node::{self as wire, node_message};
use serde_json::{Value, json};

use crate::harness::{BASE, Manager, chain, settings, tcp, unix};
use crate::node::{Node, connect, finished, hello, hello_with};

async fn two_tasks(manager: &Manager) -> String {
    let modules = [manager.put_module("worker", &["digits"]).await, manager.put_module("aggregator", &[]).await];
    let mut submission = chain("FedAvg", &modules);
    submission["tasks"][1]["method"] = json!("any");
    let rate = manager.put_blob(b"rate").await;
    submission["globals"] = json!({"rate": rate});
    let answer = manager.submit(&submission).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    answer.json()["id"].as_str().unwrap().to_owned()
}

async fn inputs_as(manager: &Manager, node: &str, attempt: &str) -> crate::harness::Answer {
    let bearer = format!("Bearer {}", manager.node);
    let headers = [("authorization", bearer.as_str()), ("x-manta-node", node)];
    manager.raw(Method::GET, &format!("{BASE}/attempts/{attempt}/inputs"), &headers, Bytes::new()).await
}

async fn kinds(manager: &Manager, id: &str) -> Vec<String> {
    let events = manager.get(&format!("/swarms/{id}/events")).await.json();
    let kind = |event: &Value| event["event"]["kind"].as_str().unwrap().to_owned();
    events.as_array().unwrap().iter().map(kind).collect()
}

/// Runs a swarm of two tasks on two nodes to its end.
async fn run_to_success(manager: &Manager) {
    let mut first = connect(manager, hello_with("node-1", &["digits"])).await;
    let mut second = connect(manager, hello_with("node-2", &["digits"])).await;
    let id = two_tasks(manager).await;
    let offers = [first.offer().await, second.offer().await];
    assert!(offers.iter().all(|offer| offer.task == "worker" && offer.datasets == ["digits"] && offer.swarm == id));
    let inputs = inputs_as(manager, "node-1", &offers[0].attempt).await.json();
    assert_eq!((&inputs["globals"][0]["name"], &inputs["results"]), (&json!("rate"), &json!([])));
    let values = [manager.put_blob(b"one").await, manager.put_blob(b"two").await];
    first.log(&offers[0], "hello").await;
    first.run(&offers[0], &[("update", values[0])]).await;
    second.run(&offers[1], &[("update", values[1])]).await;

    let (aggregator, offer) = tokio::select! {
        offer = first.offer() => (&mut first, offer),
        offer = second.offer() => (&mut second, offer),
    };
    assert_eq!(offer.task, "aggregator");
    let inputs = inputs_as(manager, &aggregator.name, &offer.attempt).await.json();
    let nodes: Vec<_> = inputs["results"].as_array().unwrap().iter().map(|result| result["node"].clone()).collect();
    assert_eq!(nodes, ["node-1", "node-2"]);
    let total = manager.put_blob(b"sum").await;
    let mut report = finished(&offer, &[("total", total)]);
    report.globals = vec![wire::Published {
        name: "weights".to_owned(),
        blob: Some(wire::Blob { digest: total.digest.to_string(), size: total.size }),
    }];
    aggregator.progress(&offer, "running").await;
    aggregator.say(node_message::Kind::Finished(report)).await;
    assert!(aggregator.verdict().await.accepted);

    let swarm = manager.wait_for_swarm(&id, "succeeded").await;
    assert_eq!((&swarm["iteration"], &swarm["tasks"]), (&json!(0), &json!(["worker", "aggregator"])));
    left_behind(manager, &id).await;
}

async fn left_behind(manager: &Manager, id: &str) {
    let results = manager.get(&format!("/swarms/{id}/results")).await.json();
    let named = |result: &Value| format!("{}/{}/{}", result["task"], result["node"], result["name"]).replace('"', "");
    let names: Vec<_> = results.as_array().unwrap().iter().map(named).collect();
    assert_eq!(names[..2], ["worker/node-1/update", "worker/node-2/update"]);
    assert!(names[2].starts_with("aggregator/") && names.len() == 3, "{names:?}");
    assert!(results.as_array().unwrap().iter().all(|result| result["accepted"] == true));
    let globals = manager.get(&format!("/swarms/{id}/globals")).await.json();
    assert_eq!((&globals[0]["name"], &globals[0]["revision"]), (&json!("rate"), &json!(0)));
    assert_eq!((&globals[1]["name"], &globals[1]["revision"]), (&json!("weights"), &json!(1)));
    let logs = manager.get(&format!("/swarms/{id}/logs?task=worker&level=warning")).await.json();
    assert_eq!((&logs[0]["text"], &logs[0]["node"], &logs[0]["seq"]), (&json!("hello"), &json!("node-1"), &json!(1)));
    assert_eq!(manager.get(&format!("/swarms/{id}/logs?level=error")).await.json(), json!([]));
    let events = manager.get(&format!("/swarms/{id}/events")).await.json();
    let seqs: Vec<_> = events.as_array().unwrap().iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
    let offered = events.as_array().unwrap().iter().find(|event| event["event"]["kind"] == "attempt_offered").unwrap();
    assert_eq!((&offered["task_name"], &offered["node_name"]), (&json!("worker"), &json!("node-1")));
    assert_eq!(events.as_array().unwrap().last().unwrap()["event"]["kind"], "swarm_succeeded");
}

#[tokio::test]
async fn two_tasks_run_to_success_over_tcp() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    run_to_success(&manager).await;
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn two_tasks_run_to_success_over_a_unix_socket() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), unix(dir.path())).await;
    run_to_success(&manager).await;
    manager.stop().await.unwrap();
    assert!(!dir.path().join("manager.sock").exists(), "the socket file goes with it");
}

#[tokio::test]
async fn a_restart_in_the_middle_of_an_iteration_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let mut node = connect(&manager, hello_with("node-1", &["digits"])).await;
    let id = two_tasks(&manager).await;
    let offer = node.offer().await;
    node.progress(&offer, "running").await;
    let running = |swarm: &Value| swarm["task_runs"][0]["state"] == "running";
    manager.wait_until(&format!("/swarms/{id}"), running).await;
    manager
        .wait_until(&format!("/swarms/{id}/events"), |events| {
            events.as_array().unwrap().iter().any(|event| event["event"]["kind"] == "attempt_progressed")
        })
        .await;
    let before = kinds(&manager, &id).await;
    manager.stop().await.unwrap();

    let manager = Manager::start(dir.path(), tcp()).await;
    assert_eq!(kinds(&manager, &id).await, before, "no event is lost or made up");
    assert_eq!(manager.get("/nodes").await.json()[0]["state"], "joining");
    let held =
        wire::Held { attempt: offer.attempt.clone(), epoch: offer.epoch, phase: "running".to_owned(), generation: 0 };
    let mut node = connect(&manager, back(&node, held)).await;
    node.is_quiet().await;
    let value = manager.put_blob(b"update").await;
    node.finish(&offer, &[("update", value)]).await;
    assert!(node.verdict().await.accepted, "the attempt of before the restart counts");
    let offer = node.offer().await;
    node.run(&offer, &[]).await;
    manager.wait_for_swarm(&id, "succeeded").await;
    let offers = kinds(&manager, &id).await.iter().filter(|kind| *kind == "attempt_offered").count();
    assert_eq!(offers, 2, "nothing ran twice");
    manager.stop().await.unwrap();
}

fn back(node: &Node, held: wire::Held) -> wire::Hello {
    wire::Hello { node_id: node.id.clone(), held: vec![held], ..hello_with(&node.name, &["digits"]) }
}

#[tokio::test]
async fn stopping_a_swarm_cancels_what_runs_and_is_final() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let mut node = connect(&manager, hello_with("node-1", &["digits"])).await;
    let id = two_tasks(&manager).await;
    let offer = node.offer().await;
    let stop = format!("/swarms/{id}/stop");
    assert_eq!(manager.call(Method::POST, &stop, Bytes::new()).await.json()["state"], "stopped");
    assert_eq!(node.cancel().await.attempt, offer.attempt);
    node.finish(&offer, &[]).await;
    assert!(!node.verdict().await.accepted, "it comes too late");
    assert_eq!(
        manager.call(Method::POST, &stop, Bytes::new()).await.status,
        StatusCode::OK,
        "stopping twice is one stop"
    );
    assert_eq!(inputs_as(&manager, "node-1", &offer.attempt).await.status, StatusCode::NOT_FOUND);
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn inputs_are_for_the_node_that_holds_the_attempt() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let mut node = connect(&manager, hello_with("node-1", &["digits"])).await;
    let _other = connect(&manager, hello("node-2")).await;
    two_tasks(&manager).await;
    let offer = node.offer().await;
    assert_eq!(inputs_as(&manager, "node-1", &offer.attempt).await.status, StatusCode::OK);
    assert_eq!(inputs_as(&manager, "node-2", &offer.attempt).await.status, StatusCode::NOT_FOUND);
    assert_eq!(inputs_as(&manager, "No Node", &offer.attempt).await.status, StatusCode::BAD_REQUEST);
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn an_ephemeral_manager_leaves_nothing_and_another_cannot_take_its_directory() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(dir.path().join("data"), tcp());
    settings.ephemeral = true;
    let manager = Manager::with(settings.clone()).await;
    let second = manta_manager::open(&settings).unwrap_err();
    assert_eq!(second.code().code(), "MANTA-0603", "{second}");
    assert!(second.to_string().contains(&std::process::id().to_string()), "{second}");
    assert_eq!(manager.raw(Method::GET, "/healthz", &[], Bytes::new()).await.status, StatusCode::OK);
    manager.stop().await.unwrap();
    assert!(!settings.data_dir.exists());
}
