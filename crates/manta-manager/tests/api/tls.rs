//! Nodes that join over TLS: tokens that work once, certificates that say who asks, and identities that are taken away.
use std::path::Path;
use std::time::Duration;

use http::Method;
use manta_api::node::node_message;
use manta_api::{CertificateView, JoinRequest, JoinToken, JoinTokenRequest, RenewRequest};
use manta_client::{Client, ClientError, Connector, Endpoint, Tls, Token};
use manta_manager::{AUTHORITY_FILE, Settings, SiteCertificate, TlsSettings};
use manta_types::{ClusterId, NodeId};
use rcgen::{CertificateParams, KeyPair};
use tonic::Code;

use crate::harness::{Manager, settings, tcp};
use crate::node::{Node, first_says_over, hello};

/// A node with a certificate of its own.
struct Member {
    name: String,
    id: NodeId,
    tls: Tls,
    given: CertificateView,
}

fn secure(manager: &Manager) -> Endpoint {
    manager.endpoint.to_string().replace("http://", "https://").parse().unwrap()
}

fn over(manager: &Manager, tls: &Tls) -> Client {
    Client::with_tls(secure(manager), tls, None, &ClusterId::default())
}

fn request() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let request = CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
    (key.serialize_pem(), request)
}

fn new_id() -> NodeId {
    NodeId::from_uuid(uuid::Uuid::now_v7())
}

async fn token(manager: &Manager) -> String {
    manager.client().make_join_token(&JoinTokenRequest::default()).await.unwrap().token
}

/// Joins over TLS, trusting what the token says.
async fn try_join(manager: &Manager, token: &str, name: &str, id: NodeId) -> Result<Member, ClientError> {
    let (key, request) = request();
    let parsed: JoinToken = token.parse().unwrap();
    let (tls, node_id) = (Tls::with_fingerprint(parsed.authority), id.to_string());
    let asked = JoinRequest { token: token.to_owned(), name: name.to_owned(), node_id, request };
    let given = over(manager, &tls).join(&asked).await?;
    let tls = Tls::with_authorities(given.authorities.as_bytes()).unwrap();
    tls.show(&given.certificate, &key).unwrap();
    Ok(Member { name: name.to_owned(), id, tls, given })
}

async fn join(manager: &Manager, name: &str) -> Member {
    try_join(manager, &token(manager).await, name, new_id()).await.unwrap()
}

async fn greet(manager: &Manager, member: &Member, name: &str) -> Result<Node, tonic::Status> {
    let hello = manta_api::node::Hello { node_id: member.id.to_string(), ..hello(name) };
    let connector = Connector::with_tls(&secure(manager), &member.tls);
    first_says_over(manager, connector, None, node_message::Kind::Hello(hello)).await
}

fn refusal<T>(outcome: Result<T, ClientError>) -> (u8, String) {
    let error = outcome.err().expect("it is refused");
    (error.exit(), error.to_string())
}

async fn start(dir: &Path, change: impl FnOnce(&mut Settings)) -> Manager {
    let mut settings = settings(dir.join("data"), tcp());
    change(&mut settings);
    Manager::with(settings).await
}

#[tokio::test]
async fn a_node_that_joined_is_who_its_certificate_says_and_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let manager = start(dir.path(), |_| {}).await;
    let labels = [("site".to_owned(), "ulm".to_owned())].into();
    let wanted = JoinTokenRequest { name: Some("a".to_owned()), labels, ttl_ms: None };
    let made = manager.client().make_join_token(&wanted).await.unwrap();
    assert_eq!(made.url, secure(&manager).to_string());
    let (exit, words) = refusal(try_join(&manager, &made.token, "b", new_id()).await);
    assert_eq!((exit, words.contains("is for node `a`, and this one calls itself `b`")), (6, true), "{words}");
    let member = try_join(&manager, &made.token, "a", new_id()).await.unwrap();
    assert_eq!(member.given.labels["site"], "ulm");
    let _session = greet(&manager, &member, &member.name).await.unwrap();
    let nodes = manager.client().nodes().await.unwrap();
    assert_eq!((nodes[0].name.as_str(), nodes[0].labels["site"].as_str()), ("a", "ulm"));
    let other = greet(&manager, &member, "b").await.err().unwrap();
    assert_eq!(other.code(), Code::PermissionDenied, "{other:?}");
    assert!(other.message().contains("is of node `a`, and the greeting says `b`"), "{other:?}");
    let (exit, words) = refusal(over(&manager, &member.tls).nodes().await);
    assert_eq!((exit, words.contains("a node may not do that")), (6, true), "{words}");
    let user = Token::new(manager.user.clone());
    let with_token = Client::with_tls(secure(&manager), &member.tls, Some(&user), &ClusterId::default());
    assert_eq!(refusal(with_token.nodes().await).0, 6, "a token beside a certificate does not count");
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn a_token_lets_one_node_in_and_every_other_hears_why_not() {
    let dir = tempfile::tempdir().unwrap();
    let manager = start(dir.path(), |_| {}).await;
    let raced = token(&manager).await;
    let racing = (0..8).map(|n| {
        let (manager, raced) = (&manager, &raced);
        async move { try_join(manager, raced, &format!("n{n}"), new_id()).await }
    });
    let outcomes = futures_util::future::join_all(racing).await;
    let (won, lost): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 7));
    let winner = won.into_iter().next().unwrap().unwrap().name;
    for lost in lost {
        let (exit, words) = refusal(lost);
        assert_eq!(exit, 6, "{words}");
        assert!(words.contains(&format!("by node `{winner}`, and each lets one node in")), "{words}");
    }
    let (exit, words) = refusal(try_join(&manager, &token(&manager).await, &winner, new_id()).await);
    assert_eq!((exit, words.contains("belongs to another node")), (8, true), "{words}");
    let brief = JoinTokenRequest { ttl_ms: Some(1), ..JoinTokenRequest::default() };
    let expired = manager.client().make_join_token(&brief).await.unwrap();
    crate::harness::until(|| async { expired.expires_ms < now_ms() }).await;
    let (exit, words) = refusal(try_join(&manager, &expired.token, "late", new_id()).await);
    assert_eq!((exit, words.contains("the token was good until 2")), (6, true), "{words}");
    let mut guessed: JoinToken = token(&manager).await.parse().unwrap();
    guessed.secret[0] ^= 1;
    let (exit, words) = refusal(try_join(&manager, &guessed.to_string(), "guess", new_id()).await);
    assert_eq!((exit, words.contains("did not make that token")), (6, true), "{words}");
    let plain = manager.raw(Method::POST, "/v1/join", &[], "{}").await;
    assert!(plain.json()["detail"].as_str().unwrap().contains("nodes join over TLS"), "{plain:?}");
    manager.stop().await.unwrap();
}

fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

#[tokio::test]
async fn a_revoked_node_is_cut_off_in_time_and_stays_out_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let manager = start(dir.path(), |_| {}).await;
    let member = join(&manager, "a").await;
    let mut session = greet(&manager, &member, "a").await.unwrap();
    let revoking = manager.client();
    revoking.revoke_node("a", &Client::new_key()).await.unwrap();
    let ended = async { while session.try_next().await.is_some() {} };
    tokio::time::timeout(Duration::from_secs(5), ended).await.expect("the session ends within five seconds");
    for _ in 0..2 {
        let refused = greet(&manager, &member, "a").await.err().unwrap();
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
        assert!(refused.message().contains("was revoked, and stays so"), "{refused:?}");
    }
    let (_, request) = request();
    let (exit, _) = refusal(over(&manager, &member.tls).renew_certificate(&RenewRequest { request }).await);
    assert_eq!(exit, 6, "nor is it given another certificate");
    manager.stop().await.unwrap();
    let manager = start(dir.path(), |_| {}).await;
    let refused = greet(&manager, &member, "a").await.err().unwrap();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn a_node_that_joined_and_never_connected_is_shown_and_can_be_revoked() {
    let dir = tempfile::tempdir().unwrap();
    let manager = start(dir.path(), |_| {}).await;
    let labels = [("site".to_owned(), "ulm".to_owned())].into();
    let wanted = JoinTokenRequest { labels, ..JoinTokenRequest::default() };
    let made = manager.client().make_join_token(&wanted).await.unwrap();
    let member = try_join(&manager, &made.token, "b", new_id()).await.unwrap();
    let other = join(&manager, "a").await;
    let asking = manager.client();
    let seen = asking.nodes().await.unwrap();
    let told: Vec<_> =
        seen.iter().map(|node| (node.name.as_str(), node.state.as_str(), node.duty.as_str(), node.heard_s)).collect();
    assert_eq!(told, [("a", "joining", "active", None), ("b", "joining", "active", None)]);
    assert_eq!((seen[1].id.as_str(), seen[1].labels["site"].as_str()), (member.id.to_string().as_str(), "ulm"));
    let shown = asking.node("b").await.unwrap();
    assert_eq!(shown.node.notes, ["it joined and has never connected"]);
    assert!(shown.joined_ms.abs_diff(now_ms()) < 60_000, "{shown:?}");
    let (exit, words) = refusal(asking.drain_node("b", None, &Client::new_key()).await);
    assert_eq!((exit, words.contains("has never connected, so that it can only be revoked")), (8, true), "{words}");
    assert_eq!(refusal(asking.remove_node("b", &Client::new_key()).await).0, 8, "nor is it let go of");

    let key = Client::new_key();
    for _ in 0..2 {
        let revoked = asking.revoke_node("b", &key).await.unwrap();
        assert_eq!((revoked.duty.as_str(), revoked.heard_s, revoked.labels["site"].as_str()), ("revoked", None, "ulm"));
    }
    let refused = async |manager: &Manager| {
        let refused = greet(manager, &member, "b").await.err().unwrap();
        assert!(refused.message().contains("was revoked, and stays so"), "{refused:?}");
        let (exit, _) =
            refusal(over(manager, &member.tls).renew_certificate(&RenewRequest { request: request().1 }).await);
        assert_eq!(exit, 6, "nor is it given another certificate");
        let (exit, words) = refusal(try_join(manager, &token(manager).await, "b", member.id).await);
        assert_eq!((exit, words.contains("`b` was revoked, and stays so")), (8, true), "{words}");
    };
    refused(&manager).await;
    manager.stop().await.unwrap();
    let manager = start(dir.path(), |_| {}).await;
    refused(&manager).await;
    assert_eq!(manager.client().node("b").await.unwrap().node.duty, "revoked");
    manager.client().remove_node("b", &Client::new_key()).await.unwrap();
    greet(&manager, &other, "a").await.expect("the other connects as ever");
    let left: Vec<_> = manager.client().nodes().await.unwrap().into_iter().map(|node| node.name).collect();
    assert_eq!(left, ["a"]);
    manager.stop().await.unwrap();
    let manager = start(dir.path(), |_| {}).await;
    refused(&manager).await;
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn a_node_that_was_let_go_of_can_still_be_revoked() {
    let dir = tempfile::tempdir().unwrap();
    let manager = start(dir.path(), |_| {}).await;
    let member = join(&manager, "a").await;
    greet(&manager, &member, "a").await.unwrap().leave().await;
    let asking = manager.client();
    crate::harness::until(|| async { asking.nodes().await.unwrap()[0].state == "gone" }).await;
    asking.remove_node("a", &Client::new_key()).await.unwrap();
    assert!(asking.nodes().await.unwrap().is_empty(), "who was let go of is not taken for one that never came");
    assert_eq!(asking.revoke_node("a", &Client::new_key()).await.unwrap().duty, "revoked");
    let refused = greet(&manager, &member, "a").await.err().unwrap();
    assert!(refused.message().contains("was revoked, and stays so"), "{refused:?}");
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn a_certificate_is_renewed_once_and_a_copy_of_it_is_flagged() {
    let dir = tempfile::tempdir().unwrap();
    let manager = start(dir.path(), |_| {}).await;
    let member = join(&manager, "a").await;
    let _session = greet(&manager, &member, "a").await.unwrap();
    let asking = over(&manager, &member.tls);
    let renewal = RenewRequest { request: request().1 };
    let first = asking.renew_certificate(&renewal).await.unwrap();
    assert_ne!(first.certificate, member.given.certificate);
    let again = asking.renew_certificate(&renewal).await.unwrap();
    assert_eq!(again.certificate, first.certificate, "an answer that was lost is given again");
    let thief = RenewRequest { request: request().1 };
    let (exit, words) = refusal(asking.renew_certificate(&thief).await);
    assert_eq!((exit, words.contains("its data directory was copied")), (8, true), "{words}");
    let flagged = |nodes: Vec<manta_api::NodeView>| nodes[0].notes.first().cloned().unwrap_or_default();
    let note = flagged(manager.client().nodes().await.unwrap());
    assert!(note.starts_with("not to be believed: its certificate was renewed twice"), "{note}");
    manager.stop().await.unwrap();
    let manager = start(dir.path(), |_| {}).await;
    let note = flagged(manager.client().nodes().await.unwrap());
    assert!(note.starts_with("not to be believed"), "a restart forgets nothing: {note}");
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn two_sides_of_different_authorities_do_not_trust_each_other_and_say_so() {
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let manager = start(dir.path(), |_| {}).await;
    let other = start(elsewhere.path(), |_| {}).await;
    let foreign = join(&other, "a").await;
    let (exit, words) = refusal(over(&manager, &foreign.tls).health().await);
    assert_eq!((exit, words.contains("of an authority that is not trusted here")), (4, true), "{words}");
    let (exit, words) = refusal(try_join(&manager, &token(&other).await, "a", new_id()).await);
    assert_eq!((exit, words.contains("the token that this manager made")), (4, true), "{words}");
    let ours = std::fs::read(dir.path().join("data").join(AUTHORITY_FILE)).unwrap();
    let tls = Tls::with_authorities(&ours).unwrap();
    let (key, request) = request();
    let parsed: JoinToken = token(&other).await.parse().unwrap();
    let fresh = token(&other).await;
    let asked = JoinRequest { token: fresh, name: "b".to_owned(), node_id: new_id().to_string(), request };
    let given = over(&other, &Tls::with_fingerprint(parsed.authority)).join(&asked).await.unwrap();
    tls.show(&given.certificate, &key).unwrap();
    let (exit, words) = refusal(over(&manager, &tls).renew_certificate(&RenewRequest { request: String::new() }).await);
    assert_eq!((exit, words.contains("does not accept the certificate")), (4, true), "{words}");
    manager.stop().await.unwrap();
    other.stop().await.unwrap();
}

#[tokio::test]
async fn the_managers_certificate_is_renewed_under_open_sessions() {
    let dir = tempfile::tempdir().unwrap();
    let manager = start(dir.path(), |settings| settings.tls.certificates_for = Duration::from_secs(4)).await;
    let pem = std::fs::read(dir.path().join("data").join(AUTHORITY_FILE)).unwrap();
    let user = Token::new(manager.user.clone());
    let cluster = ClusterId::default();
    let fresh = || Client::with_tls(secure(&manager), &Tls::with_authorities(&pem).unwrap(), Some(&user), &cluster);
    let open = fresh();
    open.nodes().await.unwrap();
    let begun = std::time::Instant::now();
    crate::harness::until(|| async { begun.elapsed() > Duration::from_secs(5) }).await;
    open.nodes().await.unwrap();
    fresh().nodes().await.expect("the certificate of the start would have ended by now");
    manager.stop().await.unwrap();
}

fn site(dir: &Path, name: &str, change: impl FnOnce(&mut CertificateParams)) -> SiteCertificate {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    change(&mut params);
    let site = SiteCertificate { chain: dir.join(format!("{name}.pem")), key: dir.join(format!("{name}.key")) };
    std::fs::write(&site.chain, params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(&site.key, key.serialize_pem()).unwrap();
    site
}

#[tokio::test]
async fn the_sites_own_certificate_is_shown_and_read_again_when_it_changes() {
    let dir = tempfile::tempdir().unwrap();
    let given = site(dir.path(), "site", |_| {});
    let first = std::fs::read(&given.chain).unwrap();
    let manager = start(dir.path(), |settings| settings.tls.site = Some(given.clone())).await;
    let trusts = |pem: &[u8]| over(&manager, &Tls::with_authorities(pem).unwrap());
    trusts(&first).health().await.unwrap();
    let member = join(&manager, "a").await;
    greet(&manager, &member, "a").await.unwrap();
    std::fs::write(&given.key, "none").unwrap();
    let next = site(dir.path(), "next", |_| {});
    let second = std::fs::read(&next.chain).unwrap();
    trusts(&first).health().await.expect("half a change changes nothing");
    std::fs::rename(&next.key, &given.key).unwrap();
    std::fs::rename(&next.chain, &given.chain).unwrap();
    crate::harness::until(|| async { trusts(&second).health().await.is_ok() }).await;
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn a_wrong_pair_keeps_the_manager_from_starting_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (site(dir.path(), "one", |_| {}), site(dir.path(), "other", |_| {}));
    let mixed = SiteCertificate { chain: one.chain, key: other.key };
    let tls = TlsSettings { site: Some(mixed), ..TlsSettings::default() };
    let settings = Settings { tls, ..settings(dir.path().join("data"), tcp()) };
    let error = manta_manager::open(&settings).unwrap_err();
    let words = error.to_string();
    assert!(words.contains("one.pem") && words.contains("other.key") && words.contains("a pair"), "{words}");
    assert_eq!(error.code().exit(), 4);
    let nameless = Settings { listen: "0.0.0.0:0".parse().unwrap(), ..settings.clone() };
    let error = manta_manager::open(&nameless).unwrap_err();
    assert!(error.hint().unwrap().contains("--public-name"), "{error}");
}

#[tokio::test]
async fn a_clock_that_does_not_fit_the_managers_certificate_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let given = site(dir.path(), "later", |params| params.not_before = rcgen::date_time_ymd(2090, 1, 1));
    let pem = std::fs::read(&given.chain).unwrap();
    let manager = start(dir.path(), |settings| settings.tls.site = Some(given)).await;
    let (exit, words) = refusal(over(&manager, &Tls::with_authorities(&pem).unwrap()).health().await);
    assert_eq!(exit, 4);
    assert!(words.contains("this machine's clock says 2") && words.contains("is valid from 2090-01-01T"), "{words}");
    manager.stop().await.unwrap();
}
