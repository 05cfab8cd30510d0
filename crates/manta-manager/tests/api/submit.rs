//! What is taken, what is refused, and in which words.
use bytes::Bytes;
use futures_util::future::join_all;
use http::{Method, StatusCode};
use manta_api::node as wire;
use serde_json::{Value, json};

use crate::harness::{Answer, BASE, Manager, chain, tcp, unstored_module};
use crate::node::{connect, hello, hello_with};

fn refused(answer: &Answer, status: u16, code: &str, words: &[&str]) {
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{answer:?}");
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    for word in words {
        assert!(detail.contains(word), "`{word}` in {detail}");
    }
}

#[tokio::test]
async fn a_dataset_that_no_node_offers_is_refused_with_what_each_offers() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let _first = connect(&manager, hello_with("node-1", &["digits"])).await;
    let _second = connect(&manager, hello("node-2")).await;
    let module = manager.put_module("worker", &["digit"]).await;
    let answer = manager.submit(&chain("s", &[module])).await;
    refused(&answer, 422, "MANTA-0201", &["`digit`", "node-1 offers digits", "node-2 offers none"]);
    assert!(answer.json()["hint"].as_str().unwrap().contains("`digits`"));
    assert_eq!(manager.get("/swarms").await.json(), json!([]), "nothing was stored");
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn a_swarm_is_refused_while_no_node_has_joined() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let module = manager.put_module("worker", &[]).await;
    refused(&manager.submit(&chain("s", &[module])).await, 422, "MANTA-0202", &["no node has joined"]);
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn bundles_and_values_must_be_stored_and_agree() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let _node = connect(&manager, hello("node-1")).await;
    let absent = chain("s", &[unstored_module("lost").0]);
    refused(&manager.submit(&absent).await, 422, "MANTA-0204", &["the bundle of module `lost`"]);
    let module = manager.put_module("worker", &[]).await;
    let mut with_global = chain("s", std::slice::from_ref(&module));
    with_global["globals"] = json!({"rate": {"digest": "0".repeat(64), "size": 3}});
    refused(&manager.submit(&with_global).await, 422, "MANTA-0204", &["global `rate`"]);
    let value = manager.put_blob(b"value").await;
    with_global["globals"] = json!({"rate": {"digest": value.digest, "size": 99}});
    refused(&manager.submit(&with_global).await, 422, "MANTA-0203", &["has 5 bytes", "99"]);
    let mut other = module.clone();
    other["datasets"] = json!(["secrets"]);
    refused(&manager.submit(&chain("s", &[other])).await, 422, "MANTA-0203", &["`datasets`", "manifest"]);
    let mut not_a_bundle = module;
    not_a_bundle["bundle"] = json!(value.digest);
    refused(&manager.submit(&chain("s", &[not_a_bundle])).await, 422, "MANTA-0203", &["module `worker`", "manifest"]);
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn what_breaks_a_rule_or_cannot_be_read_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let empty = json!({"name": "s", "modules": [], "tasks": []});
    refused(&manager.submit(&empty).await, 422, "MANTA-0203", &["no tasks"]);
    refused(&manager.call(Method::POST, "/swarms", "{").await, 400, "MANTA-0501", &["cannot be read"]);
    refused(&manager.submit(&json!({"nam": "s"})).await, 400, "MANTA-0501", &["`nam`"]);
    let huge = manager.call(Method::POST, "/swarms", vec![b' '; (16 << 20) + 1]).await;
    refused(&huge, 413, "MANTA-0503", &["16777216"]);
    refused(&manager.get("/swarms?limit=3").await, 400, "MANTA-0501", &["`limit`"]);
    manager.stop().await.unwrap();
}

async fn submit_with_key(manager: &Manager, key: &str, submission: &Value) -> Answer {
    let bearer = format!("Bearer {}", manager.user);
    let headers = [("authorization", bearer.as_str()), ("idempotency-key", key)];
    manager.raw(Method::POST, &format!("{BASE}/swarms"), &headers, submission.to_string()).await
}

#[tokio::test]
async fn the_same_key_makes_one_swarm_whenever_it_is_sent_again() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let _node = connect(&manager, hello("node-1")).await;
    let module = manager.put_module("worker", &[]).await;
    let submission = chain("s", &[module]);
    let answers = join_all((0..8).map(|_| submit_with_key(&manager, "k1", &submission))).await;
    let created = answers.iter().filter(|answer| answer.status == StatusCode::CREATED).count();
    assert_eq!(created, 1, "{answers:?}");
    let id = answers[0].json()["id"].clone();
    assert!(answers.iter().all(|answer| answer.status.is_success() && answer.json()["id"] == id), "{answers:?}");
    let mut other = submission.clone();
    other["name"] = json!("t");
    refused(&submit_with_key(&manager, "k1", &other).await, 409, "MANTA-0502", &["another request"]);
    manager.stop().await.unwrap();

    let manager = Manager::start(dir.path(), tcp()).await;
    let again = submit_with_key(&manager, "k1", &submission).await;
    assert_eq!((again.status, &again.json()["id"]), (StatusCode::OK, &id), "after a restart too");
    refused(&submit_with_key(&manager, "k1", &other).await, 409, "MANTA-0502", &["another request"]);
    assert_eq!(manager.get("/swarms").await.json().as_array().unwrap().len(), 1);
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn a_swarm_is_found_by_id_beginning_or_name() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let _node = connect(&manager, hello("node-1")).await;
    let module = manager.put_module("worker", &[]).await;
    let submission = chain("FedAvg", std::slice::from_ref(&module));
    let id = manager.submit(&submission).await.json()["id"].as_str().unwrap().to_owned();
    for name in [id.as_str(), &id[..26], "FedAvg"] {
        assert_eq!(manager.get(&format!("/swarms/{name}")).await.json()["id"], id.as_str(), "{name}");
    }
    let slip = manager.get("/swarms/FedAgv").await;
    refused(&slip, 404, "MANTA-0301", &["`FedAgv`"]);
    assert!(slip.json()["hint"].as_str().unwrap().contains("`FedAvg`"));
    manager.submit(&submission).await;
    refused(&manager.get("/swarms/FedAvg").await, 409, "MANTA-0502", &["2 swarms"]);
    let stopped = manager.call(Method::POST, &format!("/swarms/{id}/stop"), Bytes::new()).await;
    assert_eq!(stopped.json()["state"], "stopped");
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn a_swarm_is_put_under_the_span_that_it_is_sent_under_where_it_names_none() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let mut node = connect(&manager, wire::Hello { slots: 16, ..hello("node-1") }).await;
    let module = manager.put_module("worker", &[]).await;
    let (sent, named) = ("4bf92f3577b34da6a3ce929d0e0e4736", "0af7651916cd43dd8448eb211c80319c");
    let span = |trace: &str| format!("00-{trace}-00f067aa0ba902b7-01");
    let cases = [
        (vec![span(sent)], None, Some(sent)),
        (vec![span(sent).replace("00-", "cc-") + "-more"], None, Some(sent)),
        (vec![span(sent)], Some(span(named)), Some(named)),
        (vec![], Some(span(named)), Some(named)),
        (vec![], None, None),
        (vec!["none".to_owned()], None, None),
        (vec![span(&sent.to_uppercase())], None, None),
        (vec![span(sent), span(named)], None, None),
    ];
    let bearer = format!("Bearer {}", manager.user);
    for (number, (spans, named, wanted)) in cases.into_iter().enumerate() {
        let mut submission = chain(&format!("s{number}"), std::slice::from_ref(&module));
        submission["traceparent"] = json!(named);
        let key = format!("key-{number}");
        let mut headers = vec![("authorization", bearer.as_str()), ("idempotency-key", key.as_str())];
        headers.extend(spans.iter().map(|span| ("traceparent", span.as_str())));
        let body = submission.to_string();
        let answer = manager.raw(Method::POST, &format!("{BASE}/swarms"), &headers, body.clone()).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{spans:?}: {answer:?}");
        let told = node.offer().await.traceparent;
        let trace = told.split('-').nth(1);
        assert_eq!(trace, wanted, "{spans:?}, {named:?}: {told}");
        let again = manager.raw(Method::POST, &format!("{BASE}/swarms"), &headers[..2], body).await;
        assert_eq!(again.status, StatusCode::OK, "the span is no part of what makes it the same request");
    }
    manager.stop().await.unwrap();
}
