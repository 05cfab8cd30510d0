//! Who may do what: every route, with every kind of token.
use bytes::Bytes;
use http::{Method, StatusCode};
use tonic::Code;

use crate::harness::{Manager, tcp, unix};
use crate::node::{connect_as, hello};

/// Every route of the document: who gets past the guard.
const MATRIX: [(&str, &str, &[&str]); 48] = [
    ("GET", "/healthz", &["nobody", "wrong", "user", "node"]),
    ("GET", "/readyz", &["nobody", "wrong", "user", "node"]),
    ("GET", "/metrics", &["user"]),
    ("POST", "/v1/clusters/{cluster}/blobs/missing", &["user", "node"]),
    ("PUT", "/v1/clusters/{cluster}/blobs/{digest}", &["user", "node"]),
    ("GET", "/v1/clusters/{cluster}/blobs/{digest}", &["user", "node"]),
    ("HEAD", "/v1/clusters/{cluster}/blobs/{digest}", &["user", "node"]),
    ("GET", "/v1/clusters/{cluster}/blobs/{digest}/received", &["user", "node"]),
    ("POST", "/v1/clusters/{cluster}/modules", &["user"]),
    ("GET", "/v1/clusters/{cluster}/modules", &["user"]),
    ("GET", "/v1/clusters/{cluster}/modules/{name}", &["user"]),
    ("GET", "/v1/clusters/{cluster}/modules/{name}/chosen", &["user"]),
    ("GET", "/v1/clusters/{cluster}/modules/{name}/users", &["user"]),
    ("POST", "/v1/clusters/{cluster}/modules/{name}/marks", &["user"]),
    ("GET", "/v1/clusters/{cluster}/signatures/{bundle}", &["node"]),
    ("POST", "/v1/clusters/{cluster}/swarms", &["user"]),
    ("POST", "/v1/clusters/{cluster}/swarms/plan", &["user"]),
    ("GET", "/v1/clusters/{cluster}/swarms", &["user"]),
    ("GET", "/v1/clusters/{cluster}/swarms/{id}", &["user"]),
    ("POST", "/v1/clusters/{cluster}/swarms/{id}/stop", &["user"]),
    ("POST", "/v1/clusters/{cluster}/swarms/{id}/retry", &["user"]),
    ("POST", "/v1/clusters/{cluster}/nodes/{name}/drain", &["user"]),
    ("POST", "/v1/clusters/{cluster}/nodes/{name}/resume", &["user"]),
    ("POST", "/v1/clusters/{cluster}/nodes/{name}/revoke", &["user"]),
    ("POST", "/v1/clusters/{cluster}/swarms/{id}/pause", &["user"]),
    ("POST", "/v1/clusters/{cluster}/swarms/{id}/resume", &["user"]),
    ("GET", "/v1/clusters/{cluster}/swarms/{id}/why", &["user"]),
    ("GET", "/v1/clusters/{cluster}/swarms/{id}/events", &["user"]),
    ("GET", "/v1/clusters/{cluster}/swarms/{id}/logs", &["user"]),
    ("GET", "/v1/clusters/{cluster}/swarms/{id}/results", &["user"]),
    ("GET", "/v1/clusters/{cluster}/swarms/{id}/globals", &["user"]),
    ("POST", "/v1/clusters/{cluster}/swarms/{id}/rollouts", &["user"]),
    ("GET", "/v1/clusters/{cluster}/swarms/{id}/rollouts", &["user"]),
    ("POST", "/v1/clusters/{cluster}/swarms/{id}/rollouts/{task}/hold", &["user"]),
    ("POST", "/v1/clusters/{cluster}/swarms/{id}/rollouts/{task}/resume", &["user"]),
    ("POST", "/v1/clusters/{cluster}/swarms/{id}/rollouts/{task}/promote", &["user"]),
    ("POST", "/v1/clusters/{cluster}/swarms/{id}/rollouts/{task}/revert", &["user"]),
    ("POST", "/v1/clusters/{cluster}/swarms/{id}/rollback", &["user"]),
    ("GET", "/v1/clusters/{cluster}/rollouts", &["user"]),
    ("GET", "/v1/clusters/{cluster}/nodes", &["user"]),
    ("GET", "/v1/clusters/{cluster}/attempts/{id}", &["user"]),
    ("POST", "/v1/clusters/{cluster}/attempts/{id}/replay", &["user"]),
    ("GET", "/v1/clusters/{cluster}/attempts/{id}/inputs", &["node"]),
    ("GET", "/v1/clusters/{cluster}/attempts/{id}/why", &["user"]),
    ("GET", "/v1/clusters/{cluster}/replays/{id}", &["user"]),
    ("POST", "/v1/clusters/{cluster}/replays/{id}/stop", &["user"]),
    ("GET", "/v1/clusters/{cluster}/replays/{id}/events", &["user"]),
    ("GET", "/v1/clusters/{cluster}/replays/{id}/inputs", &["node"]),
];

#[test]
fn the_matrix_has_every_documented_route() {
    let document: serde_json::Value = serde_json::from_str(&manta_manager::openapi()).unwrap();
    let mut documented = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        documented.extend(methods.as_object().unwrap().keys().map(|method| (method.to_uppercase(), path.clone())));
    }
    let mut tested: Vec<_> =
        MATRIX.iter().map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned())).collect();
    documented.sort();
    tested.sort();
    assert_eq!(documented, tested);
}

#[tokio::test]
async fn every_route_lets_in_only_whom_the_table_names() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let tokens = [
        ("nobody", None),
        ("wrong", Some("0".repeat(64))),
        ("user", Some(manager.user.clone())),
        ("node", Some(manager.node.clone())),
    ];
    for (method, path, allowed) in MATRIX {
        let digest = "0".repeat(64);
        let path = path.replace("{cluster}", "default").replace("{digest}", &digest).replace("{bundle}", &digest);
        let path = path.replace("{id}", "none");
        for (who, token) in &tokens {
            let bearer = token.as_ref().map(|token| format!("Bearer {token}"));
            let headers: Vec<_> = bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
            let answer = manager.raw(method.parse().unwrap(), &path, &headers, Bytes::new()).await;
            let (is_known, is_allowed) = (matches!(*who, "user" | "node"), allowed.contains(who));
            match answer.status {
                StatusCode::UNAUTHORIZED => assert!(!is_known && !is_allowed, "{method} {path} as {who}"),
                StatusCode::FORBIDDEN => assert!(is_known && !is_allowed, "{method} {path} as {who}"),
                _ => assert!(is_allowed, "{method} {path} as {who}: {answer:?}"),
            }
        }
    }
    manager.stop().await.unwrap();
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
