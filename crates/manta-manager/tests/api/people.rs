//! Users and tokens over the API: what each may do changes at once, is kept across restarts, and is in the audit log.
use std::io::Write;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Answer, BASE, Manager, chain, tcp};
use crate::node::{connect_as, hello};

/// Makes a user and a token of theirs.
pub(crate) async fn token_of(manager: &Manager, name: &str, role: &str) -> String {
    let added = manager.call(Method::POST, "/users", json!({"name": name, "role": role}).to_string()).await;
    assert_eq!(added.status, StatusCode::OK, "{added:?}");
    let made = manager.call(Method::POST, "/tokens", json!({"user": name}).to_string()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    made.json()["secret"].as_str().unwrap().to_owned()
}

/// One request with that token.
async fn as_bearer(manager: &Manager, token: &str, method: Method, path: &str, body: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    manager.raw(method, &format!("{BASE}{path}"), &[("authorization", &bearer)], body.to_owned()).await
}

async fn audit(manager: &Manager) -> Vec<Value> {
    manager.get("/audit").await.json().as_array().unwrap().clone()
}

#[tokio::test]
async fn what_a_token_may_do_changes_at_once_and_outlives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let token = token_of(&manager, "ada", "viewer").await;
    assert!(token.starts_with("mnt_u_") && token.len() == 95, "{token}");
    let who = as_bearer(&manager, &token, Method::GET, "/whoami", "").await.json();
    assert_eq!((who["name"].as_str(), who["role"].as_str()), (Some("ada"), Some("viewer")), "{who}");
    let refused = as_bearer(&manager, &token, Method::POST, "/swarms", "{}").await;
    assert_eq!((refused.status, refused.code().as_str()), (StatusCode::FORBIDDEN, "MANTA-0402"));
    assert_eq!(refused.json()["detail"], "your token is a viewer's here, and that takes a developer");

    let role = manager.call(Method::POST, "/users/ada/role", r#"{"role": "developer"}"#).await;
    assert_eq!(role.status, StatusCode::OK, "{role:?}");
    let let_in = as_bearer(&manager, &token, Method::POST, "/swarms", "{}").await;
    assert_eq!(let_in.status, StatusCode::BAD_REQUEST, "let in, and not a swarm: {let_in:?}");
    manager.stop().await.unwrap();

    let manager = Manager::start(dir.path(), tcp()).await;
    assert_eq!(as_bearer(&manager, &token, Method::GET, "/swarms", "").await.status, StatusCode::OK);
    let removed = manager.call(Method::POST, "/users/ada/remove", Bytes::new()).await;
    assert_eq!(removed.status, StatusCode::OK, "{removed:?}");
    assert_eq!(as_bearer(&manager, &token, Method::GET, "/swarms", "").await.status, StatusCode::UNAUTHORIZED);
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn a_token_says_why_it_counts_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let token = token_of(&manager, "ada", "developer").await;
    let id = as_bearer(&manager, &token, Method::GET, "/whoami", "").await.json()["token"].as_str().unwrap().to_owned();
    let listed = as_bearer(&manager, &token, Method::GET, "/tokens", "").await.json();
    assert!(listed[0]["used_ms"].is_number() && listed[0]["state"] == "active", "{listed}");

    let rotated = as_bearer(&manager, &token, Method::POST, &format!("/tokens/{id}/rotate"), "").await;
    assert_eq!((rotated.status, rotated.headers["cache-control"].as_bytes()), (StatusCode::CREATED, &b"no-store"[..]));
    let next = rotated.json()["secret"].as_str().unwrap().to_owned();
    let old = as_bearer(&manager, &token, Method::GET, "/swarms", "").await;
    assert_eq!(old.json()["detail"], format!("the token `{id}` is revoked"));
    let cut = as_bearer(&manager, &next[..80], Method::GET, "/swarms", "").await;
    assert!(cut.json()["detail"].as_str().unwrap().contains("not copied whole"), "{cut:?}");
    let guessed = next.replace(&next[70..72], if &next[70..72] == "00" { "11" } else { "00" });
    assert_eq!(as_bearer(&manager, &guessed, Method::GET, "/swarms", "").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(as_bearer(&manager, &next, Method::GET, "/swarms", "").await.status, StatusCode::OK);
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_said_twice_under_a_key_is_done_once_and_a_secret_is_shown_once() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let bearer = format!("Bearer {}", manager.user);
    let say = async |path: &str, key: &str, body: Value| {
        let headers = [("authorization", bearer.as_str()), ("idempotency-key", key)];
        manager.raw(Method::POST, &format!("{BASE}{path}"), &headers, body.to_string()).await
    };
    let ada = json!({"name": "ada", "role": "viewer"});
    let (first, again) = (say("/users", "k1", ada.clone()).await, say("/users", "k1", ada.clone()).await);
    assert_eq!((first.status, again.status, first.json()), (StatusCode::OK, StatusCode::OK, again.json()));
    assert_eq!(say("/users", "k2", ada).await.status, StatusCode::CONFLICT, "another key is another wish");
    assert_eq!(say("/users", "k1", json!({"name": "bob", "role": "viewer"})).await.status, StatusCode::CONFLICT);
    let wish = json!({"user": "ada"});
    assert_eq!(say("/tokens", "k3", wish.clone()).await.status, StatusCode::CREATED);
    let again = say("/tokens", "k3", wish).await;
    assert_eq!((again.status, again.json()["secret"].is_null()), (StatusCode::CONFLICT, true));
    assert_eq!(manager.get("/tokens").await.json().as_array().unwrap().len(), 1);
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn changes_and_denials_are_in_the_audit_log_and_no_secret_is() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let token = token_of(&manager, "ada", "viewer").await;
    let denied = as_bearer(&manager, &token, Method::POST, "/nodes/n1/drain", "").await;
    assert_eq!(denied.status, StatusCode::FORBIDDEN);
    let stranger = manager.raw(Method::GET, &format!("{BASE}/swarms"), &[], Bytes::new()).await;
    assert_eq!(stranger.status, StatusCode::UNAUTHORIZED);
    assert_eq!(as_bearer(&manager, &token, Method::GET, "/swarms", "").await.status, StatusCode::OK);

    let records = audit(&manager).await;
    let told =
        |record: &Value| ["who", "method", "object", "outcome"].map(|part| record[part].as_str().unwrap().to_owned());
    let told: Vec<_> = records.iter().map(told).collect();
    let id = records[2]["token"].as_str().unwrap();
    let expected = [
        ["administrator", "POST", "/v1/clusters/default/users ada", "done"].map(str::to_owned),
        [
            "administrator".to_owned(),
            "POST".to_owned(),
            format!("/v1/clusters/default/tokens {id} of ada as viewer"),
            "done".to_owned(),
        ],
        ["ada", "POST", "/v1/clusters/default/nodes/n1/drain", "MANTA-0402"].map(str::to_owned),
        ["nobody", "GET", "/v1/clusters/default/swarms", "MANTA-0401"].map(str::to_owned),
    ];
    assert_eq!(told, expected, "what only looks is not noted");
    assert!(records.iter().all(|record| record["source"].as_str().unwrap().starts_with("127.0.0.1:")));
    assert_eq!(manager.get("/audit?user=ada").await.json().as_array().unwrap().len(), 1);
    let verdict = manager.get("/audit/verdict?seq=4").await.json();
    assert_eq!((verdict["records"].as_u64(), verdict["damage"].as_array().map(Vec::len)), (Some(4), Some(0)));
    assert_eq!(verdict["noted"], verdict["head"]);
    let admin = manager.user.clone();
    manager.stop().await.unwrap();
    for file in ["access.db", "access.db-wal", "state.db", "logs.db"] {
        let bytes = std::fs::read(dir.path().join("data").join(file)).unwrap_or_default();
        for secret in [&token, &admin] {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "a token stands in {file}");
        }
    }
}

#[tokio::test]
async fn who_goes_away_over_the_answer_is_on_record() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let address = manager.endpoint.origin().replace("http://", "");
    for number in 0..20 {
        let body = json!({"name": format!("user-{number}"), "role": "viewer"}).to_string();
        let head =
            format!("POST {BASE}/users HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\n", manager.user);
        let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        drop(stream);
    }
    manager.wait_until("/users", |users| users.as_array().is_some_and(|users| users.len() == 20)).await;
    manager.wait_until("/audit", |records| records.as_array().is_some_and(|records| records.len() == 20)).await;
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn a_flood_of_strangers_is_counted_and_leaves_room_for_others() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    for _ in 0..200 {
        assert_eq!(
            manager.raw(Method::GET, &format!("{BASE}/nodes"), &[], Bytes::new()).await.status,
            StatusCode::UNAUTHORIZED
        );
    }
    let named = audit(&manager).await.len();
    assert!((1..=121).contains(&named), "{named} of 200 in at most two minutes");
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn of_many_who_ask_for_the_last_place_one_gets_it() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let _node = connect_as(&manager, &manager.node, hello("node-1")).await.expect("the first node joins");
    let set = async |name: &str, limit: Value| {
        let answer = manager.call(Method::POST, "/quotas", json!({"name": name, "limit": limit}).to_string()).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    };
    set("swarms-live", json!(1)).await;
    let module = manager.put_module("m", &[]).await;
    let (one, other) = (chain("one", std::slice::from_ref(&module)), chain("other", &[module]));
    let answers = futures_util::future::join(manager.submit(&one), manager.submit(&other)).await;
    let mut statuses = [answers.0.status.as_u16(), answers.1.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 429], "{answers:?}");
    set("swarms-live", Value::Null).await;
    assert_eq!(manager.submit(&other).await.status.as_u16() / 100, 2);

    set("nodes", json!(1)).await;
    let refused = connect_as(&manager, &manager.node, hello("node-2")).await.err().expect("it is one too many");
    assert!(refused.message().contains("quota of 1 (nodes)"), "{refused:?}");
    set("stored-bytes", json!(1)).await;
    let digest = "0".repeat(64);
    let full = manager.call(Method::PUT, &format!("/blobs/{digest}"), "more than a byte").await;
    assert_eq!((full.status.as_u16(), full.code().as_str()), (429, "MANTA-0504"), "{full:?}");
    let token = token_of(&manager, "ada", "viewer").await;
    set("calls-per-second", json!(0)).await;
    let refused = as_bearer(&manager, &token, Method::GET, "/swarms", "").await;
    assert!(refused.json()["detail"].as_str().unwrap().contains("(calls-per-second)"), "{refused:?}");
    set("calls-per-second", Value::Null).await;
    assert_eq!(as_bearer(&manager, &token, Method::GET, "/swarms", "").await.status, StatusCode::OK);
    manager.stop().await.unwrap();
}
