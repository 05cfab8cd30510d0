//! Who may do what: every route, with every kind of token.
use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use http::{Method, StatusCode};
use manta_store::{AccessChange, AccessStore, TokenRecord};
use tonic::Code;

use crate::clusters::{add, ask, join, user_of};
use crate::harness::{Manager, tcp, unix};
use crate::node::{connect_as, hello};
use crate::people::token_of;

/// The committed table, which `cargo xtask gen` writes.
const TABLE: &str = include_str!("../../../../docs/reference/access.md");

/// A row of the table: method, path, and the answer to each column.
struct Row {
    method: String,
    path: String,
    cells: Vec<String>,
}

/// The table: who asks, and what each route answers.
fn table() -> (Vec<String>, Vec<Row>) {
    let mut lines = TABLE.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let mut split = || Some(lines.next()?.split(" | ").map(str::to_owned).collect::<Vec<_>>());
    let who = split().expect("the table has a head").split_off(2);
    let mut rows = Vec::new();
    while let Some(mut cells) = split() {
        let answers = cells.split_off(2);
        assert_eq!(answers.len(), who.len(), "{cells:?}");
        rows.push(Row { method: cells[0].clone(), path: cells[1].trim_matches('`').to_owned(), cells: answers });
    }
    (who, rows)
}

#[test]
fn the_table_has_every_documented_route_and_the_nodes_gateway() {
    let document: serde_json::Value = serde_json::from_str(&manta_manager::openapi()).unwrap();
    let mut documented = vec![("POST".to_owned(), "/manta.node.v1.NodeGateway/{*rest}".to_owned())];
    for (path, methods) in document["paths"].as_object().unwrap() {
        documented.extend(methods.as_object().unwrap().keys().map(|method| (method.to_uppercase(), path.clone())));
    }
    let mut tabled: Vec<_> = table().1.into_iter().map(|row| (row.method, row.path)).collect();
    documented.sort();
    tabled.sort();
    assert_eq!(documented, tabled);
}

#[tokio::test]
async fn every_route_answers_everybody_as_the_table_says() {
    let dir = tempfile::tempdir().unwrap();
    let mut people = everybody(dir.path()).await;
    let manager = Manager::start(dir.path(), tcp()).await;
    people.insert("administrator".to_owned(), manager.user.clone());
    people.insert("node".to_owned(), manager.node.clone());
    people.insert("wrong token".to_owned(), "0".repeat(64));
    let elsewhere = join(&manager, "elsewhere", "none").await;
    let (who, rows) = table();
    let (mut asked, mut misled) = (0, 0);
    for Row { method, path, cells } in rows {
        let digest = "0".repeat(64);
        let path = path.replace("{cluster}", "default").replace("{digest}", &digest).replace("{bundle}", &digest);
        let path = ["{id}", "{name}", "{task}"].iter().fold(path, |path, part| path.replace(part, "none"));
        let path = path.replace("{*rest}", "Session");
        for (who, cell) in who.iter().zip(&cells) {
            let method: Method = method.parse().unwrap();
            let answer = match who.as_str() {
                "node of another cluster" => manager.shown(&elsewhere.tls, method.clone(), &path).await,
                "nobody" => manager.raw(method.clone(), &path, &[], Bytes::new()).await,
                who => ask(&manager, &people[who], method.clone(), &path, Bytes::new()).await,
            };
            let said = String::from_utf8_lossy(&answer.body);
            let found = match answer.status.as_u16() {
                401 => "401",
                403 => "403",
                // Where the body may not be read, as to HEAD, a user of the cluster is told the same of what is not there.
                404 if said.contains("no cluster") || (method == Method::HEAD && cell == "404") => "404",
                _ => "yes",
            };
            assert_eq!(found, cell, "{method} {path} as {who}: {answer:?}");
            if who == "node" && said.contains("a node may not do that") {
                assert!(said.contains("the file `token` "), "{method} {path}: {said}");
                misled += 1;
            }
            asked += 1;
        }
    }
    assert!(asked > 700, "{asked} cells");
    assert!(misled > 0, "whoever takes the nodes' token for a user's is told");
    manager.stop().await.unwrap();
}

/// A user of each role, one of another cluster that is there too, and tokens that count no more, in a data directory that a
/// manager leaves behind.
async fn everybody(dir: &Path) -> BTreeMap<String, String> {
    let manager = Manager::start(dir, tcp()).await;
    add(&manager, "elsewhere").await;
    let mut people = BTreeMap::new();
    let names = [("expired", "admin"), ("revoked", "admin")];
    for (name, role) in names.into_iter().chain(["viewer", "developer", "operator", "admin"].map(|role| (role, role))) {
        people.insert(name.to_owned(), token_of(&manager, name, role).await);
    }
    people.insert("admin of another cluster".to_owned(), user_of(&manager, "elsewhere", "admin", "admin").await);
    manager.stop().await.unwrap();
    let mut store = AccessStore::open(&dir.join("data")).unwrap();
    for token in store.tokens().unwrap() {
        let changes = match token.user.as_str() {
            "expired" => vec![AccessChange::Token(TokenRecord { expires_ms: token.created_ms, ..token })],
            "revoked" => vec![AccessChange::Token(TokenRecord { revoked_ms: Some(token.created_ms), ..token })],
            _ => continue,
        };
        store.apply(&changes).unwrap();
    }
    people
}

#[tokio::test]
async fn the_node_gateway_wants_the_node_token() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    for (token, code) in
        [("", Code::Unauthenticated), ("x", Code::Unauthenticated), (&manager.user, Code::PermissionDenied)]
    {
        let refusal = connect_as(&manager, token, hello("node-1")).await.err().expect("it is refused");
        assert_eq!(refusal.code(), code, "{refusal:?}");
    }
    connect_as(&manager, &manager.node, hello("node-1")).await.expect("the node token opens it");
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn unknown_routes_tell_nothing_to_strangers() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let bearer = format!("Bearer {}", manager.user);
    for path in ["/", "/v1", "/v1/clusters/default/secrets", "/manta.node.v1.Other/Call", "/v1/clusters/other/nodes"] {
        let stranger = manager.raw(Method::GET, path, &[], Bytes::new()).await;
        assert_eq!((stranger.status, stranger.code().as_str()), (StatusCode::UNAUTHORIZED, "MANTA-0401"), "{path}");
        assert_eq!(stranger.headers["www-authenticate"], "Bearer");
        assert_eq!(stranger.headers["content-type"], "application/problem+json");
        let user = manager.raw(Method::GET, path, &[("authorization", &bearer)], Bytes::new()).await;
        assert_eq!((user.status, user.code().as_str()), (StatusCode::NOT_FOUND, "MANTA-0301"), "{path}");
    }
    let wrong_method = manager.call(Method::DELETE, "/nodes", Bytes::new()).await;
    assert_eq!(wrong_method.status, StatusCode::METHOD_NOT_ALLOWED);
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn a_request_that_names_another_host_is_refused_even_with_a_token() {
    let dir = tempfile::tempdir().unwrap();
    for listen in [tcp(), unix(dir.path())] {
        let manager = Manager::start(dir.path(), listen).await;
        let bearer = format!("Bearer {}", manager.user);
        for host in ["evil.example", "evil.example:80", "127.0.0.1:1", "localhost:1"] {
            let headers = [("authorization", bearer.as_str()), ("host", host)];
            let answer = manager.raw(Method::GET, "/v1/clusters/default/nodes", &headers, Bytes::new()).await;
            assert_eq!((answer.status, answer.code().as_str()), (StatusCode::FORBIDDEN, "MANTA-0403"), "{host}");
        }
        assert_eq!(manager.get("/nodes").await.status, StatusCode::OK);
        manager.stop().await.unwrap();
    }
}
