//! Idempotency keys: whatever changes something is done once under its key, and answered alike however often it is said.
use bytes::Bytes;
use futures_util::future::join_all;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Answer, BASE, Manager, chain, tcp};
use crate::node::{Node, connect, connect_as, hello};

/// Asks for a change under a key.
async fn post(manager: &Manager, path: &str, key: &str) -> Answer {
    let bearer = format!("Bearer {}", manager.user);
    let headers = [("authorization", bearer.as_str()), ("idempotency-key", key)];
    manager.raw(Method::POST, &format!("{BASE}{path}"), &headers, Bytes::new()).await
}

fn refused(answer: &Answer, status: u16, words: &str) {
    assert_eq!(answer.status.as_u16(), status, "{answer:?}");
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains(words), "`{words}` in {detail}");
}

async fn running(manager: &Manager) -> (Node, String) {
    let node = connect(manager, hello("node-1")).await;
    let module = manager.put_module("worker", &[]).await;
    let id = manager.submit(&chain("s", &[module])).await.json()["id"].as_str().unwrap().to_owned();
    (node, id)
}

async fn kinds(manager: &Manager, id: &str) -> Vec<String> {
    let events = manager.get(&format!("/swarms/{id}/events")).await.json();
    let kind = |event: &Value| event["event"]["kind"].as_str().unwrap().to_owned();
    events.as_array().unwrap().iter().map(kind).collect()
}

#[tokio::test]
async fn a_change_that_is_said_again_is_not_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let (_node, id) = running(&manager).await;
    let (pause, resume) = (format!("/swarms/{id}/pause"), format!("/swarms/{id}/resume"));
    assert_eq!(post(&manager, &pause, "k1").await.json()["state"], "paused");
    assert_eq!(post(&manager, &resume, "k2").await.json()["state"], "running");
    let late = post(&manager, &pause, "k1").await;
    assert_eq!(
        (late.status, &late.json()["state"]),
        (StatusCode::OK, &json!("running")),
        "it was done, and undone since"
    );
    refused(&post(&manager, &resume, "k1").await, 409, &format!("another request, which paused swarm `{id}`"));
    refused(&post(&manager, &format!("/swarms/{id}/retry"), "k1").await, 409, "another request");
    refused(&post(&manager, "/nodes/node-1/drain", "k1").await, 409, "another request");
    manager.stop().await.unwrap();

    let manager = Manager::start(dir.path(), tcp()).await;
    assert_eq!(post(&manager, &pause, "k1").await.json()["state"], "running", "after a restart too");
    refused(&post(&manager, &resume, "k1").await, 409, "another request");
    let told = kinds(&manager, &id).await;
    let count = |wanted| told.iter().filter(|kind| *kind == wanted).count();
    assert_eq!((count("swarm_paused"), count("swarm_resumed")), (1, 1), "{told:?}");
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn a_change_that_ended_its_swarm_is_answered_again_and_a_refusal_uses_no_key() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let (mut node, id) = running(&manager).await;
    let offer = node.offer().await;
    let pause = format!("/swarms/{id}/pause");
    assert_eq!(post(&manager, &pause, "held").await.status, StatusCode::OK);
    assert_eq!(post(&manager, &format!("/swarms/{id}/resume"), "free").await.status, StatusCode::OK);
    node.run(&offer, &[]).await;
    manager.wait_for_swarm(&id, "succeeded").await;
    assert_eq!(post(&manager, &pause, "held").await.json()["state"], "succeeded", "it was held when that was asked");
    refused(&post(&manager, &pause, "late").await, 409, "is succeeded, so it cannot become paused");
    let drained = post(&manager, "/nodes/node-1/drain", "late").await;
    assert_eq!(drained.status, StatusCode::OK, "what is refused leaves its key unused: {drained:?}");
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn a_node_is_drained_once_per_key_also_by_many_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let _node = connect(&manager, hello("node-1")).await;
    let drain = "/nodes/node-1/drain?deadline_ms=60000";
    let answers = join_all((0..8).map(|_| post(&manager, drain, "d1"))).await;
    assert!(answers.iter().all(|answer| answer.json()["duty"] == "drained"), "{answers:?}");
    assert_eq!(post(&manager, "/nodes/node-1/resume", "r1").await.json()["duty"], "active");
    assert_eq!(post(&manager, drain, "d1").await.json()["duty"], "active", "it is not drained a second time");
    refused(&post(&manager, "/nodes/node-1/drain", "d1").await, 409, "another request, which drained node `node-1`");
    manager.stop().await.unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    assert_eq!(post(&manager, drain, "d1").await.json()["duty"], "active", "after a restart too");
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn a_revoked_node_stays_so_whoever_asks_again_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let (mut node, id) = running(&manager).await;
    node.offer().await;
    let revoke = "/nodes/node-1/revoke";
    for key in ["v1", "v1", "v2"] {
        let revoked = post(&manager, revoke, key).await;
        assert_eq!((revoked.status, revoked.json()["duty"].as_str()), (StatusCode::OK, Some("revoked")), "{key}");
    }
    let (id_of_node, farewell) = (node.id.clone(), node.farewell().await);
    assert_eq!(farewell.message(), "this node was revoked");
    let mut again = hello("node-1");
    again.node_id = id_of_node;
    for hello in [again, hello("node-1")] {
        let refusal = connect_as(&manager, &manager.node, hello).await.err().expect("it is refused");
        assert_eq!(refusal.code(), tonic::Code::AlreadyExists, "{refusal:?}");
        assert!(refusal.message().starts_with("node `node-1` was revoked, and stays so"), "{refusal:?}");
    }
    manager.wait_for_swarm(&id, "failed").await;
    refused(&post(&manager, "/nodes/node-1/resume", "r1").await, 409, "node `node-1` is revoked, and stays so");
    refused(&post(&manager, "/nodes/node-1/drain", "v1").await, 409, "another request, which revoked node `node-1`");
    manager.stop().await.unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    assert_eq!(post(&manager, revoke, "v1").await.json()["duty"], "revoked");
    refused(&post(&manager, "/nodes/node-2/revoke", "v3").await, 404, "there is no node `node-2`");
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn of_different_requests_at_once_under_one_key_one_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let (_node, id) = running(&manager).await;
    for round in 0..4 {
        let key = format!("k{round}");
        let paths = [format!("/swarms/{id}/pause"), "/nodes/node-1/drain".to_owned()];
        let answers = join_all((0..8).map(|index| post(&manager, &paths[index % 2], &key))).await;
        let done =
            |which| answers.iter().skip(which).step_by(2).filter(|answer| answer.status == StatusCode::OK).count();
        assert!(matches!((done(0), done(1)), (4, 0) | (0, 4)), "{answers:?}");
        let conflicts = answers.iter().filter(|answer| answer.status == StatusCode::CONFLICT).count();
        assert_eq!(conflicts, 4, "{answers:?}");
        assert!(manager.call(Method::POST, &format!("/swarms/{id}/resume"), Bytes::new()).await.status.is_success());
        assert!(manager.call(Method::POST, "/nodes/node-1/resume", Bytes::new()).await.status.is_success());
    }
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn every_change_refuses_a_key_that_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let api: Value = serde_json::from_str(&manta_manager::openapi()).unwrap();
    let takes_key = |path: &Value| {
        let parameters = path["post"]["parameters"].as_array().cloned().unwrap_or_default();
        parameters.iter().any(|parameter| parameter["name"] == "idempotency-key")
    };
    let paths = api["paths"].as_object().unwrap().iter().filter(|(_, path)| takes_key(path));
    let paths: Vec<_> = paths.map(|(path, _)| path.replace("{cluster}", "default")).collect();
    assert!(paths.len() >= 26, "{paths:?}");
    let (long, bearer) = ("x".repeat(256), format!("Bearer {}", manager.user));
    for path in paths {
        for (key, words) in [("", "0 bytes; 1 to 255"), (&long, "256 bytes; 1 to 255"), ("schlüssel", "plain ASCII")] {
            let named = path.replace("{id}", "sw_00000000000000000000000000").replace("{name}", "node-1");
            let headers = [("authorization", bearer.as_str()), ("idempotency-key", key)];
            refused(&manager.raw(Method::POST, &named, &headers, Bytes::new()).await, 400, words);
        }
    }
    manager.stop().await.unwrap();
}
