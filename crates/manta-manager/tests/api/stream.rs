//! Live streams: nothing lost, nothing doubled, whenever a client comes back.
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use manta_client::LogFilter;
use serde_json::{Value, json};

use crate::clusters::user_of;
use crate::harness::{BASE, LIMIT, Manager, chain, tcp};
use crate::node::{Node, connect, hello};

async fn one_task(manager: &Manager) -> String {
    let module = manager.put_module("worker", &[]).await;
    manager.submit(&chain("s", &[module])).await.json()["id"].as_str().unwrap().to_owned()
}

/// The ids of a finished swarm's stream of events, after a last event id.
async fn ids_after(manager: &Manager, id: &str, last: &str) -> Vec<String> {
    let bearer = format!("Bearer {}", manager.user);
    let headers = [("authorization", bearer.as_str()), ("accept", "text/event-stream"), ("last-event-id", last)];
    let answer = manager.raw(Method::GET, &format!("{BASE}/swarms/{id}/events"), &headers, "").await;
    assert_eq!(answer.headers["content-type"], "text/event-stream");
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    text.lines().filter_map(|line| line.strip_prefix("id: ").or(line.strip_prefix("id:"))).map(str::to_owned).collect()
}

#[tokio::test]
async fn a_stream_of_events_ends_with_the_swarm_and_goes_on_after_any_event() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let mut node = connect(&manager, hello("node-1")).await;
    let id = one_task(&manager).await;
    let followed = follow(&manager, &id);
    let offer = node.offer().await;
    node.run(&offer, &[]).await;
    let live = tokio::time::timeout(LIMIT, followed).await.expect("the stream ends").unwrap();
    assert_eq!(live, (1..=live.len() as u64).collect::<Vec<_>>(), "followed from the first to the last");
    let whole: Vec<_> = live.iter().map(|seq| format!("{id}:{seq}")).collect();
    for from in 0..=live.len() {
        assert_eq!(ids_after(&manager, &id, &format!("{id}:{from}")).await, whole[from..], "after {from}");
    }
    assert_eq!(ids_after(&manager, &id, "").await, whole);
    manager.stop().await.unwrap();
}

fn follow(manager: &Manager, id: &str) -> tokio::task::JoinHandle<Vec<u64>> {
    let mut stream = manager.client().events_stream(id.parse().unwrap(), 0);
    tokio::spawn(async move {
        let mut seqs = Vec::new();
        while let Some(event) = stream.next().await {
            seqs.push(event.unwrap().seq);
        }
        seqs
    })
}

#[tokio::test]
async fn many_followers_of_many_swarms_see_every_event_once() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let mut node = connect(&manager, hello("node-1")).await;
    let mut followers = Vec::new();
    for _ in 0..5 {
        let id = one_task(&manager).await;
        followers.extend((0..4).map(|_| follow(&manager, &id)));
        serve_one(&mut node).await;
    }
    for follower in followers {
        let seqs = tokio::time::timeout(LIMIT, follower).await.expect("the stream ends").unwrap();
        assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
        assert!(seqs.len() >= 8, "{seqs:?}");
    }
    manager.stop().await.unwrap();
}

async fn serve_one(node: &mut Node) {
    let offer = node.offer().await;
    node.run(&offer, &[]).await;
}

#[tokio::test]
async fn a_stream_of_log_lines_is_live_and_ends_with_the_swarm() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let mut node = connect(&manager, hello("node-1")).await;
    let id = one_task(&manager).await;
    let mut stream = manager.client().logs_stream(id.parse().unwrap(), LogFilter::default());
    let offer = node.offer().await;
    for number in 0..3 {
        node.log(&offer, &format!("line {number}")).await;
        let line = tokio::time::timeout(LIMIT, stream.next()).await.expect("a line comes").unwrap().unwrap();
        assert_eq!((line.seq, line.text.as_str()), (number + 1, format!("line {number}").as_str()));
    }
    node.log(&offer, "last").await;
    node.run(&offer, &[]).await;
    let rest = tokio::time::timeout(LIMIT, stream.collect::<Vec<_>>()).await.expect("the stream ends");
    assert_eq!(rest.len(), 1, "what was sent before the end is there: {rest:?}");
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn an_event_id_of_another_swarm_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let _node = connect(&manager, hello("node-1")).await;
    let id = one_task(&manager).await;
    let bearer = format!("Bearer {}", manager.user);
    for last in ["sw_other:1", "nonsense", &format!("{id}:x")] {
        let headers = [("authorization", bearer.as_str()), ("last-event-id", last)];
        let answer = manager.raw(Method::GET, &format!("{BASE}/swarms/{id}/events"), &headers, "").await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{last}");
    }
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn stopping_the_manager_ends_open_streams() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let mut node = connect(&manager, hello("node-1")).await;
    let id = one_task(&manager).await;
    let mut stream = manager.client().events_stream(id.parse().unwrap(), 0);
    stream.next().await.unwrap().unwrap();
    node.offer().await;
    manager.stop().await.unwrap();
    assert_eq!(node.try_next().await, None, "the node's session too");
}

#[tokio::test]
async fn a_stream_is_cut_within_five_seconds_when_its_follower_counts_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let _node = connect(&manager, hello("node-1")).await;
    let module = manager.put_module("worker", &[]).await;
    let id = manager.submit(&chain("s", &[module])).await.json()["id"].as_str().unwrap().to_owned();
    let follow = async |token: &str, what: &str| {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("accept", "text/event-stream")];
        let path = format!("/v1/clusters/default/swarms/{id}/{what}");
        let followed = manager.open(Method::GET, &path, &headers, Bytes::new()).await;
        assert_eq!(followed.status(), StatusCode::OK);
        followed
    };
    let brief = json!({"user": "eve", "expires_s": 2}).to_string();
    let removed = user_of(&manager, "default", "ada", "viewer").await;
    let revoked = user_of(&manager, "default", "bob", "viewer").await;
    let kept = user_of(&manager, "default", "eve", "viewer").await;
    let expiring = manager.call(Method::POST, "/tokens", brief).await.json()["secret"].as_str().unwrap().to_owned();
    let stays = follow(&kept, "events").await;
    let mut cut = Vec::new();
    for token in [&removed, &revoked, &expiring] {
        cut.push(follow(token, "events").await);
        cut.push(follow(token, "logs").await);
    }
    let ended = Instant::now();
    assert_eq!(manager.call(Method::POST, "/users/ada/remove", Bytes::new()).await.status, StatusCode::OK);
    let tokens = manager.get("/tokens").await.json();
    let bobs = tokens.as_array().unwrap().iter().find(|token| token["user"] == "bob").unwrap()["id"].as_str().unwrap();
    let answer = manager.call(Method::POST, &format!("/tokens/{bobs}/revoke"), Bytes::new()).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let all = futures_util::future::join_all(cut.into_iter().map(|followed| followed.into_body().collect()));
    let bodies = tokio::time::timeout(Duration::from_secs(5), all).await.expect("all are cut in time");
    assert!(bodies.iter().all(Result::is_err), "broken off, not ended in order: {bodies:?}");
    assert!(ended.elapsed() < Duration::from_secs(5));
    let swarm = manager.get(&format!("/swarms/{id}")).await.json();
    assert_eq!(swarm["finished_ms"], Value::Null, "it goes on: {swarm}");
    let stays = tokio::spawn(stays.into_body().collect());
    manager.call(Method::POST, &format!("/swarms/{id}/stop"), Bytes::new()).await;
    let seen = tokio::time::timeout(LIMIT, stays).await.unwrap().unwrap().unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&seen).contains("swarm_stopped"), "who counts sees all of it");
    manager.stop().await.unwrap();
}
