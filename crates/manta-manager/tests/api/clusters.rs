//! Clusters beyond the first: each its own world, made and removed by the administrator alone, and kept across restarts.
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::{Method, StatusCode};
use manta_api::node::node_message;
use manta_api::{JoinRequest, JoinToken, JoinTokenRequest};
use manta_client::{Client, Connector, Endpoint, Tls, Token};
use manta_manager::{backup, restore, scrub};
use manta_store::{
    AccessStore, ClusterChange, ClusterRecord, NewSwarm, SqliteStore, StateReader, StateStore, Transaction,
};
use manta_types::{ClusterId, NodeId, SwarmId};
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

use crate::harness::{Answer, Manager, chain, settings, tcp};
use crate::node::{Node, connect, first_says_over, hello};

/// A cluster's name.
fn named(name: &str) -> ClusterId {
    ClusterId::new(name).unwrap()
}

/// One request to a manager with that token.
pub(crate) async fn ask(manager: &Manager, token: &str, method: Method, path: &str, body: impl Into<Bytes>) -> Answer {
    let bearer = format!("Bearer {token}");
    manager.raw(method, path, &[("authorization", &bearer)], body).await
}

/// Adds a cluster.
pub(crate) async fn add(manager: &Manager, name: &str) {
    let body = json!({"name": name}).to_string();
    let added = ask(manager, &manager.user, Method::POST, "/v1/clusters", body).await;
    assert_eq!(added.status, StatusCode::CREATED, "{added:?}");
}

/// Makes a user of a cluster, and a token of theirs.
pub(crate) async fn user_of(manager: &Manager, cluster: &str, name: &str, role: &str) -> String {
    let base = format!("/v1/clusters/{cluster}");
    let body = json!({"name": name, "role": role}).to_string();
    let added = ask(manager, &manager.user, Method::POST, &format!("{base}/users"), body).await;
    assert_eq!(added.status, StatusCode::OK, "{added:?}");
    let body = json!({"user": name}).to_string();
    let made = ask(manager, &manager.user, Method::POST, &format!("{base}/tokens"), body).await;
    made.json()["secret"].as_str().unwrap().to_owned()
}

/// A node that joined a cluster over TLS.
pub(crate) struct Member {
    pub(crate) id: NodeId,
    pub(crate) tls: Tls,
}

/// The manager's address over TLS.
pub(crate) fn secure(manager: &Manager) -> Endpoint {
    manager.endpoint.to_string().replace("http://", "https://").parse().unwrap()
}

/// Lets a node join a cluster.
pub(crate) async fn join(manager: &Manager, cluster: &str, name: &str) -> Member {
    let client = Client::new(manager.endpoint.clone(), Token::new(manager.user.clone()), named(cluster));
    let token = client.make_join_token(&JoinTokenRequest::default()).await.unwrap().token;
    let key = KeyPair::generate().unwrap();
    let request = CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
    let authority = token.parse::<JoinToken>().unwrap().authority;
    let joining = Client::with_tls(secure(manager), &Tls::with_fingerprint(authority), None, &ClusterId::default());
    let id = NodeId::from_uuid(uuid::Uuid::now_v7());
    let asked = JoinRequest { token, name: name.to_owned(), node_id: id.to_string(), request };
    let given = joining.join(&asked).await.unwrap();
    assert_eq!(given.cluster, cluster, "the token says where to");
    let tls = Tls::with_authorities(given.authorities.as_bytes()).unwrap();
    tls.show(&given.certificate, &key.serialize_pem()).unwrap();
    Member { id, tls }
}

async fn greet(manager: &Manager, member: &Member, name: &str) -> Result<Node, tonic::Status> {
    let hello = manta_api::node::Hello { node_id: member.id.to_string(), ..hello(name) };
    let connector = Connector::with_tls(&secure(manager), &member.tls);
    first_says_over(manager, connector, None, node_message::Kind::Hello(hello)).await
}

async fn get(manager: &Manager, path: &str) -> Value {
    ask(manager, &manager.user, Method::GET, path, Bytes::new()).await.json()
}

async fn remove(manager: &Manager, name: &str) -> Answer {
    ask(manager, &manager.user, Method::POST, &format!("/v1/clusters/{name}/remove"), Bytes::new()).await
}

/// Removes a cluster though it is damaged.
async fn remove_damaged(manager: &Manager, name: &str) -> Answer {
    let path = format!("/v1/clusters/{name}/remove?damaged=true");
    ask(manager, &manager.user, Method::POST, &path, Bytes::new()).await
}

#[tokio::test]
async fn clusters_are_made_by_the_administrator_once_under_a_key_and_outlive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let bearer = format!("Bearer {}", manager.user);
    let say = async |key: &str, name: &str| {
        let headers = [("authorization", bearer.as_str()), ("idempotency-key", key)];
        manager.raw(Method::POST, "/v1/clusters", &headers, json!({"name": name}).to_string()).await
    };
    let (first, again) = (say("k1", "ulm").await, say("k1", "ulm").await);
    assert_eq!((first.status, again.status), (StatusCode::CREATED, StatusCode::OK), "{again:?}");
    assert_eq!(first.json(), again.json());
    assert_eq!(say("k1", "bonn").await.status, StatusCode::CONFLICT, "the key was used for another");
    let taken = say("k2", "ulm").await;
    assert_eq!((taken.status, taken.code().as_str()), (StatusCode::CONFLICT, "MANTA-0502"), "{taken:?}");
    assert_eq!(say("k3", "default").await.status, StatusCode::CONFLICT);
    for bad in ["", "Ulm", "../x", "a b", &"x".repeat(64)] {
        assert_eq!(say("k4", bad).await.status, StatusCode::BAD_REQUEST, "{bad}");
    }
    for admin in [user_of(&manager, "default", "ada", "admin").await, user_of(&manager, "ulm", "ada", "admin").await] {
        let refused = ask(&manager, &admin, Method::POST, "/v1/clusters", json!({"name": "x"}).to_string()).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{refused:?}");
        assert!(refused.json()["hint"].as_str().unwrap().contains("file `token`"), "{refused:?}");
    }
    manager.stop().await.unwrap();

    let manager = Manager::start(dir.path(), tcp()).await;
    let listed = get(&manager, "/v1/clusters").await;
    let told: Vec<_> =
        listed.as_array().unwrap().iter().map(|one| (one["name"].as_str(), one["state"].as_str())).collect();
    assert_eq!(told, [(Some("default"), Some("open")), (Some("ulm"), Some("open"))]);
    let near = ask(&manager, &manager.user, Method::GET, "/v1/clusters/ulmm/nodes", Bytes::new()).await;
    assert_eq!((near.status, near.json()["hint"].as_str()), (StatusCode::NOT_FOUND, Some("did you mean `ulm`?")));
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn nothing_of_one_cluster_is_there_for_another() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    add(&manager, "ulm").await;
    let (ada, bob) =
        (user_of(&manager, "default", "ada", "admin").await, user_of(&manager, "ulm", "bob", "admin").await);
    let mut node = connect(&manager, hello("node-1")).await;
    let module = manager.put_module("worker", &[]).await;
    let secret = manager.put_blob(b"weights of the first").await;
    let id = manager.submit(&chain("s", &[module])).await.json()["id"].as_str().unwrap().to_owned();
    let offer = node.offer().await;
    node.run(&offer, &[("w", secret)]).await;
    manager.wait_for_swarm(&id, "succeeded").await;

    for path in ["swarms", "modules", "nodes", "rollouts"] {
        let seen = ask(&manager, &bob, Method::GET, &format!("/v1/clusters/ulm/{path}"), Bytes::new()).await;
        assert_eq!((seen.status, seen.json()), (StatusCode::OK, json!([])), "{path}");
    }
    for path in ["", "/events", "/logs", "/results", "/globals", "/why"] {
        let seen = ask(&manager, &bob, Method::GET, &format!("/v1/clusters/ulm/swarms/{id}{path}"), Bytes::new()).await;
        assert_eq!(seen.status, StatusCode::NOT_FOUND, "{path}: {seen:?}");
    }
    for cluster in ["default", "elsewhere"] {
        let seen = ask(&manager, &bob, Method::GET, &format!("/v1/clusters/{cluster}/swarms"), Bytes::new()).await;
        let hint = seen.json()["hint"].as_str().unwrap().to_owned();
        assert_eq!(seen.status, StatusCode::NOT_FOUND);
        assert!(hint.contains("your token is for the cluster `ulm`") && !hint.contains("default"), "{hint}");
    }
    let blob = format!("/v1/clusters/ulm/blobs/{}", secret.digest);
    for method in [Method::GET, Method::HEAD] {
        assert_eq!(ask(&manager, &bob, method, &blob, Bytes::new()).await.status, StatusCode::NOT_FOUND);
    }
    let asked = json!({"digests": [secret.digest]}).to_string();
    let missing = ask(&manager, &bob, Method::POST, "/v1/clusters/ulm/blobs/missing", asked).await.json();
    assert_eq!(missing["missing"], json!([secret.digest]), "not even that it is stored elsewhere is told");
    let put = ask(&manager, &bob, Method::PUT, &blob, "weights of the first").await;
    assert_eq!(put.status, StatusCode::CREATED, "who has the bytes brings them, and stores them anew");
    let users = ask(&manager, &bob, Method::GET, "/v1/clusters/ulm/users", Bytes::new()).await.json();
    assert_eq!(users.as_array().unwrap().len(), 1, "{users}");
    let noted = ask(&manager, &bob, Method::GET, "/v1/clusters/ulm/audit", Bytes::new()).await;
    // Not the bare name: a digest may hold it.
    assert!(!String::from_utf8_lossy(&noted.body).contains("users ada"), "{noted:?}");
    let knocked = String::from_utf8_lossy(&noted.body).contains("/v1/clusters/default/swarms");
    let elsewhere = manager.get("/audit").await.json();
    assert!(knocked && elsewhere.as_array().unwrap().iter().all(|record| record["who"] != "bob"), "{elsewhere}");

    let mine = ask(&manager, &bob, Method::GET, "/metrics", Bytes::new()).await;
    let mine = String::from_utf8_lossy(&mine.body).into_owned();
    assert!(mine.contains(r#"cluster="ulm""#) && !mine.contains(r#"cluster="default""#), "{mine}");
    let all = ask(&manager, &manager.user, Method::GET, "/metrics", Bytes::new()).await;
    let all = String::from_utf8_lossy(&all.body).into_owned();
    assert!(all.contains(r#"manta_nodes{cluster="default",state="online"} 1"#), "{all}");
    assert!(all.contains(r#"manta_nodes{cluster="ulm",state="online"} 0"#), "{all}");

    let quota = json!({"name": "stored-bytes", "limit": 1}).to_string();
    assert_eq!(ask(&manager, &bob, Method::POST, "/v1/clusters/ulm/quotas", quota).await.status, StatusCode::OK);
    assert_eq!(manager.put_blob(b"the first cluster has no quota").await.size, 30);
    let digest = "0".repeat(64);
    let full = ask(&manager, &bob, Method::PUT, &format!("/v1/clusters/ulm/blobs/{digest}"), "two").await;
    assert_eq!(full.status, StatusCode::TOO_MANY_REQUESTS, "{full:?}");
    let ready = manager.raw(Method::GET, "/readyz", &[], Bytes::new()).await;
    assert_eq!(ready.status, StatusCode::OK, "{ready:?}");
    let who = ask(&manager, &ada, Method::GET, "/v1/clusters/default/whoami", Bytes::new()).await.json();
    assert_eq!(who["cluster"], "default");
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn a_node_of_one_cluster_speaks_for_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    add(&manager, "ulm").await;
    let (here, there) = (join(&manager, "default", "n1").await, join(&manager, "ulm", "n1").await);
    let (_here, _there) = (greet(&manager, &here, "n1").await.unwrap(), greet(&manager, &there, "n1").await.unwrap());
    for cluster in ["default", "ulm"] {
        let nodes = get(&manager, &format!("/v1/clusters/{cluster}/nodes")).await;
        assert_eq!(nodes.as_array().unwrap().len(), 1, "the same name, two nodes: {nodes}");
    }
    let over = |member: &Member, cluster: &str| Client::with_tls(secure(&manager), &member.tls, None, &named(cluster));
    let digests = [manta_module::digest_of(b"x")];
    assert_eq!(over(&there, "ulm").blobs_missing(&digests).await.unwrap(), digests);
    for (member, cluster) in [(&there, "default"), (&here, "ulm")] {
        let refused = over(member, cluster).blobs_missing(&digests).await.err().unwrap().to_string();
        assert!(refused.contains(&format!("no cluster `{cluster}`")), "{refused}");
    }
    let shared = ask(&manager, &manager.node, Method::POST, "/v1/clusters/ulm/blobs/missing", "{}").await;
    assert_eq!(shared.status, StatusCode::NOT_FOUND, "the token that nodes share is for the first cluster alone");
    let client = Client::new(manager.endpoint.clone(), Token::new(manager.user.clone()), named("ulm"));
    client.revoke_node("n1", &Client::new_key()).await.unwrap();
    let refused = greet(&manager, &there, "n1").await.err().unwrap();
    assert!(refused.message().contains("was revoked"), "{refused:?}");
    greet(&manager, &here, "n1").await.expect("the other of that name is another");
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn a_cluster_in_use_stays_and_one_that_goes_leaves_nothing_but_its_record() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let manager = Manager::start(dir.path(), tcp()).await;
    add(&manager, "ulm").await;
    let bob = user_of(&manager, "ulm", "bob", "admin").await;
    let member = join(&manager, "ulm", "n1").await;
    let session = greet(&manager, &member, "n1").await.unwrap();
    ask(&manager, &bob, Method::PUT, &format!("/v1/clusters/ulm/blobs/{}", manta_module::digest_of(b"x")), "x").await;
    let quota = json!({"name": "nodes", "limit": 9}).to_string();
    ask(&manager, &bob, Method::POST, "/v1/clusters/ulm/quotas", quota).await;
    let refused = remove(&manager, "ulm").await;
    let said = refused.json()["detail"].as_str().unwrap().to_owned();
    assert_eq!(
        (refused.status, said.contains("neither revoked nor removed: `n1`")),
        (StatusCode::CONFLICT, true),
        "{said}"
    );
    assert_eq!(remove(&manager, "default").await.status, StatusCode::CONFLICT, "the first stays");
    let client = Client::new(manager.endpoint.clone(), Token::new(manager.user.clone()), named("ulm"));
    client.revoke_node("n1", &Client::new_key()).await.unwrap();
    let removed = remove(&manager, "ulm").await;
    assert_eq!((removed.status, removed.json()), (StatusCode::OK, json!({"name": "ulm"})));
    drop(session);

    assert_eq!(remove(&manager, "ulm").await.status, StatusCode::NOT_FOUND, "under another key it is another wish");
    let gone = ask(&manager, &bob, Method::GET, "/v1/clusters/ulm/swarms", Bytes::new()).await;
    assert_eq!(gone.status, StatusCode::UNAUTHORIZED, "its users are gone: {gone:?}");
    add(&manager, "ulm").await;
    let refused = greet(&manager, &member, "n1").await.err().unwrap();
    assert!(refused.message().contains("another manager or cluster"), "a name is no identity: {refused:?}");
    for path in ["users", "tokens", "nodes", "audit"] {
        let left = get(&manager, &format!("/v1/clusters/ulm/{path}")).await;
        assert_eq!(left, json!([]), "{path}");
    }
    assert_eq!(get(&manager, "/v1/clusters/ulm/quotas").await[1]["limit"], Value::Null);
    assert_eq!(remove(&manager, "ulm").await.status, StatusCode::OK);
    let noted = get(&manager, "/v1/clusters/default/audit").await.to_string();
    assert!(noted.contains("/v1/clusters/ulm/remove"), "{noted}");
    manager.stop().await.unwrap();
    assert_eq!(StateReader::open(&data).unwrap().clusters().unwrap(), []);
    assert_eq!(std::fs::read_dir(data.join("clusters")).unwrap().count(), 0, "no folder of it is left");
    assert_eq!(AccessStore::open(&data).unwrap().users().unwrap(), []);
}

/// Cuts off the removal of the only cluster beyond the first, as soon as it is durable that it goes.
fn going(data: &Path) {
    let mut store = SqliteStore::open(data).unwrap();
    let record = ClusterRecord { is_removing: true, ..store.clusters().unwrap().remove(0) };
    let clusters = vec![ClusterChange::Put(record)];
    store.commit(&ClusterId::default(), &Transaction { clusters, ..Transaction::default() }).unwrap();
}

#[tokio::test]
async fn a_removal_that_was_cut_off_is_finished_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let manager = Manager::start(dir.path(), tcp()).await;
    add(&manager, "ulm").await;
    user_of(&manager, "ulm", "bob", "admin").await;
    manager.stop().await.unwrap();
    going(&data);
    assert_eq!(scrub(&data).unwrap().damage, Vec::<String>::new());
    let manager = Manager::start(dir.path(), tcp()).await;
    assert_eq!(get(&manager, "/v1/clusters").await.as_array().unwrap().len(), 1);
    manager.stop().await.unwrap();
    assert_eq!(StateReader::open(&data).unwrap().clusters().unwrap(), []);
    assert_eq!(AccessStore::open(&data).unwrap().users().unwrap(), []);
}

/// Stores a swarm of a cluster that no manager can follow.
fn damage(data: &Path, cluster: &str) {
    let (id, name) = (SwarmId::from_uuid(uuid::Uuid::now_v7()), "s".to_owned());
    let swarm = NewSwarm { id, name, submission: "{}".to_owned(), idempotency: None, created_ms: 1 };
    let transaction = Transaction { swarms: vec![swarm], ..Transaction::default() };
    SqliteStore::open(data).unwrap().commit(&named(cluster), &transaction).unwrap();
}

#[tokio::test]
async fn a_cluster_that_cannot_be_recovered_is_told_of_and_the_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let manager = Manager::start(dir.path(), tcp()).await;
    add(&manager, "ulm").await;
    let bob = user_of(&manager, "ulm", "bob", "admin").await;
    let member = join(&manager, "ulm", "n1").await;
    manager.stop().await.unwrap();
    damage(&data, "ulm");

    let manager = Manager::start(dir.path(), tcp()).await;
    assert_eq!(manager.get("/swarms").await.status, StatusCode::OK);
    for token in [&bob, &manager.user] {
        let told = ask(&manager, token, Method::GET, "/v1/clusters/ulm/swarms", Bytes::new()).await;
        assert_eq!((told.status, told.code().as_str()), (StatusCode::INTERNAL_SERVER_ERROR, "MANTA-0702"), "{told:?}");
        assert!(told.json()["detail"].as_str().unwrap().contains("`ulm` cannot be recovered: "), "{told:?}");
    }
    let ready = manager.raw(Method::GET, "/readyz", &[], Bytes::new()).await;
    let said = String::from_utf8_lossy(&ready.body).into_owned();
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(said.contains("1 of 2 clusters cannot be recovered") && !said.contains("ulm"), "{said}");
    let listed = get(&manager, "/v1/clusters").await;
    assert_eq!((&listed[1]["name"], &listed[1]["state"]), (&json!("ulm"), &json!("damaged")), "{listed}");
    let away = greet(&manager, &member, "n1").await.err().unwrap();
    assert_eq!(away.code(), tonic::Code::Unavailable, "its nodes go on dialling: {away:?}");
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn a_damaged_cluster_goes_where_that_is_asked_for_and_what_is_lost_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let manager = Manager::start(dir.path(), tcp()).await;
    for name in ["bonn", "ulm", "wien"] {
        add(&manager, name).await;
    }
    let bob = user_of(&manager, "ulm", "bob", "admin").await;
    user_of(&manager, "wien", "eve", "viewer").await;
    let member = join(&manager, "ulm", "n1").await;
    greet(&manager, &member, "n1").await.unwrap().leave().await;
    let other = join(&manager, "wien", "n2").await;
    let session = greet(&manager, &other, "n2").await.unwrap();
    let kept = deploy(&manager, "wien", "kept").await;
    drop(session);
    manager.stop().await.unwrap();
    damage(&data, "ulm");
    let blobs = folder(&data, "bonn");
    std::fs::remove_dir_all(&blobs).unwrap();
    std::fs::write(&blobs, "no folder").unwrap();

    let manager = Manager::start(dir.path(), tcp()).await;
    for (name, lost) in
        [("bonn", "0 swarms (0 not over), 0 nodes and 0 users"), ("ulm", "1 swarm (1 not over), 1 node and 1 user")]
    {
        let refused = remove(&manager, name).await;
        let (said, hint) = (refused.json()["detail"].to_string(), refused.json()["hint"].to_string());
        assert_eq!(refused.code(), "MANTA-0702", "what is damaged is not thrown away unasked: {refused:?}");
        assert!(said.contains("cannot be recovered: ") && said.contains(&format!("would be {lost}")), "{said}");
        assert!(hint.contains(&format!("manta cluster rm {name} --damaged")), "{hint}");
    }
    assert_eq!(get(&manager, "/v1/clusters").await.as_array().unwrap().len(), 4, "nothing is gone yet");
    let removed = remove_damaged(&manager, "ulm").await;
    let lost = json!({"swarms": 1, "swarms_live": 1, "nodes": 1, "users": 1});
    assert_eq!((removed.status, removed.json()), (StatusCode::OK, json!({"name": "ulm", "lost": lost})));
    assert_eq!(remove_damaged(&manager, "bonn").await.status, StatusCode::OK);
    let healthy = remove_damaged(&manager, "wien").await;
    assert_eq!(healthy.status, StatusCode::CONFLICT, "what is in use stays, whatever is asked: {healthy:?}");
    assert_eq!(get(&manager, &format!("/v1/clusters/wien/swarms/{kept}")).await["state"], "running");
    let ready = manager.raw(Method::GET, "/readyz", &[], Bytes::new()).await;
    assert_eq!(ready.status, StatusCode::OK, "{ready:?}");
    let gone = ask(&manager, &bob, Method::GET, "/v1/clusters/ulm/swarms", Bytes::new()).await;
    assert_eq!(gone.status, StatusCode::UNAUTHORIZED, "{gone:?}");
    add(&manager, "ulm").await;
    let refused = greet(&manager, &member, "n1").await.err().unwrap();
    assert!(refused.message().contains("another manager or cluster"), "{refused:?}");
    assert_eq!(get(&manager, "/v1/clusters/ulm/swarms").await, json!([]));
    manager.stop().await.unwrap();
    assert_eq!(scrub(&data).unwrap().damage, Vec::<String>::new());
    let left = StateReader::open(&data).unwrap().clusters().unwrap();
    assert_eq!(left.iter().map(|record| record.name.as_str()).collect::<Vec<_>>(), ["ulm", "wien"]);
    let users = AccessStore::open(&data).unwrap().users().unwrap();
    assert_eq!(users.iter().map(|user| user.name.as_str()).collect::<Vec<_>>(), ["eve"]);
}

/// Where a cluster beyond the first keeps its blobs.
fn folder(data: &Path, cluster: &str) -> PathBuf {
    let all = std::fs::read_dir(data.join("clusters")).unwrap().map(|entry| entry.unwrap().path());
    let is_its = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(&format!("{cluster}@"));
    all.into_iter().find(is_its).unwrap()
}

#[tokio::test]
async fn a_removal_that_cannot_be_finished_keeps_nobody_else_from_starting_and_goes_on_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let manager = Manager::start(dir.path(), tcp()).await;
    add(&manager, "ulm").await;
    manager.stop().await.unwrap();
    going(&data);
    let (folders, aside) = (data.join("clusters"), data.join("aside"));
    std::fs::rename(&folders, &aside).unwrap();
    std::fs::write(&folders, "in the way").unwrap();

    let manager = Manager::start(dir.path(), tcp()).await;
    let listed = get(&manager, "/v1/clusters").await;
    assert_eq!((&listed[1]["name"], &listed[1]["state"]), (&json!("ulm"), &json!("removing")), "{listed}");
    assert!(listed[1]["reason"].as_str().unwrap().contains("cannot use `"), "{listed}");
    let body = json!({"name": "ulm"}).to_string();
    for path in ["/v1/clusters", "/v1/clusters/ulm/quotas"] {
        let refused = ask(&manager, &manager.user, Method::POST, path, body.clone()).await;
        let said = refused.json().to_string();
        assert_eq!(refused.status, StatusCode::CONFLICT, "{refused:?}");
        assert!(said.contains("`ulm` is being removed, and not all of it is gone"), "{said}");
    }
    let ready = manager.raw(Method::GET, "/readyz", &[], Bytes::new()).await;
    assert_eq!(ready.status, StatusCode::OK, "{ready:?}");
    let bearer = format!("Bearer {}", manager.user);
    let again = async || {
        let headers = [("authorization", bearer.as_str()), ("idempotency-key", "k")];
        manager.raw(Method::POST, "/v1/clusters/ulm/remove", &headers, Bytes::new()).await
    };
    assert_eq!(again().await.status, StatusCode::INSUFFICIENT_STORAGE);
    std::fs::remove_file(&folders).unwrap();
    std::fs::rename(&aside, &folders).unwrap();
    let done = again().await;
    assert_eq!(done.status, StatusCode::OK, "the same key does not hide that it is not done: {done:?}");
    assert_eq!(get(&manager, "/v1/clusters").await.as_array().unwrap().len(), 1);
    add(&manager, "ulm").await;
    manager.stop().await.unwrap();
    assert_eq!(std::fs::read_dir(&folders).unwrap().count(), 1);
}

/// Deploys a swarm of one task into a cluster.
async fn deploy(manager: &Manager, cluster: &str, name: &str) -> String {
    let base = format!("/v1/clusters/{cluster}");
    let (file, manifest, module) = crate::harness::module_of(name);
    for bytes in [file, manifest] {
        let path = format!("{base}/blobs/{}", manta_module::digest_of(&bytes));
        assert!(ask(manager, &manager.user, Method::PUT, &path, bytes).await.status.is_success());
    }
    let body = chain(name, &[module]).to_string();
    let made = ask(manager, &manager.user, Method::POST, &format!("{base}/swarms"), body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    made.json()["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_backup_brings_every_cluster_back_with_its_own_blobs() {
    let dir = tempfile::tempdir().unwrap();
    let (data, copy, again) = (dir.path().join("data"), dir.path().join("copy"), dir.path().join("again"));
    let manager = Manager::start(dir.path(), tcp()).await;
    add(&manager, "ulm").await;
    let member = join(&manager, "ulm", "n1").await;
    let _session = greet(&manager, &member, "n1").await.unwrap();
    let id = deploy(&manager, "ulm", "s").await;
    assert_eq!(scrub(&data).unwrap().damage, Vec::<String>::new());
    let made = backup(&data, &copy).unwrap();
    assert_eq!((made.blobs.len(), made.clusters["ulm"].len(), made.missing.len()), (0, 2, 0));
    manager.stop().await.unwrap();
    restore(&copy, &again).unwrap();
    assert_eq!(scrub(&again).unwrap().damage, Vec::<String>::new());
    let manager = Manager::with(settings(again, tcp())).await;
    let shown = get(&manager, &format!("/v1/clusters/ulm/swarms/{id}")).await;
    assert_eq!(shown["name"], "s", "{shown}");
    let (file, ..) = crate::harness::module_of("s");
    let blob = format!("/v1/clusters/ulm/blobs/{}", manta_module::digest_of(&file));
    assert_eq!(ask(&manager, &manager.user, Method::GET, &blob, Bytes::new()).await.body, file);
    manager.stop().await.unwrap();
}
