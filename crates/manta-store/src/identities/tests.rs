//! Tokens are used once, certificates renewed once, and damage is named.
use super::*;

const NOW_MS: u64 = 1_800_000_000_000;

fn node(name: &str) -> NodeName {
    NodeName::new(name).unwrap()
}

fn new_token(id: u8) -> JoinTokenRecord {
    JoinTokenRecord {
        id: [id; 8],
        secret: [9; 32],
        name: None,
        labels: BTreeMap::from([("site".to_owned(), "ulm".to_owned())]),
        made_ms: NOW_MS,
        expires_ms: NOW_MS + 3_600_000,
        used: None,
    }
}

fn enrolled(name: &str, id: u128) -> Enrolment {
    let node_id = NodeId::from_uuid(uuid::Uuid::from_u128(id));
    Enrolment { node: node(name), node_id, labels: new_token(1).labels, joined_ms: NOW_MS + 5, flag: None }
}

fn issued(serial: u8, name: &str, key: u8, follows: Option<u8>) -> CertificateRecord {
    CertificateRecord {
        serial: vec![serial; 16],
        node: node(name),
        key: [key; 32],
        follows: follows.map(|serial| vec![serial; 16]),
        pem: format!("certificate {serial}"),
        issued_ms: NOW_MS + u64::from(serial),
        expires_ms: NOW_MS + 86_400_000,
    }
}

#[test]
fn a_token_lets_one_node_in_and_says_who_that_was() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = ClusterId::default();
    let mut store = IdentityStore::open(dir.path()).unwrap();
    store.add_token(&cluster, &new_token(1), 0).unwrap();
    let unknown = store.join(&cluster, [7; 8], &enrolled("a", 1), &issued(1, "a", 1, None)).unwrap();
    assert_eq!(unknown, Joined::UnknownToken);
    assert_eq!(store.join(&cluster, [1; 8], &enrolled("a", 1), &issued(1, "a", 1, None)).unwrap(), Joined::Done);
    drop(store);
    let mut store = IdentityStore::open(dir.path()).unwrap();
    let again = store.join(&cluster, [1; 8], &enrolled("b", 2), &issued(2, "b", 2, None)).unwrap();
    assert_eq!(again, Joined::TokenUsed { at_ms: NOW_MS + 5, by: "a".to_owned() });
    assert_eq!(store.enrolments(&cluster).unwrap(), [enrolled("a", 1)]);
    assert_eq!(store.token(&cluster, [1; 8]).unwrap().unwrap().used, Some((NOW_MS + 5, "a".to_owned())));
}

#[test]
fn a_token_says_its_cluster_and_one_that_goes_takes_its_nodes_along() {
    let (first, other) = (ClusterId::default(), ClusterId::new("other").unwrap());
    let mut store = IdentityStore::in_memory().unwrap();
    store.add_token(&first, &new_token(1), 0).unwrap();
    store.add_token(&other, &new_token(2), 0).unwrap();
    assert_eq!(store.cluster_of([1; 8]).unwrap(), Some(first.clone()));
    assert_eq!(store.cluster_of([2; 8]).unwrap(), Some(other.clone()));
    assert_eq!(store.cluster_of([3; 8]).unwrap(), None);
    let unknown = store.join(&first, [2; 8], &enrolled("a", 1), &issued(1, "a", 1, None)).unwrap();
    assert_eq!(unknown, Joined::UnknownToken, "it is the other cluster's");
    for (cluster, token) in [(&first, 1), (&other, 2)] {
        let joined = store.join(cluster, [token; 8], &enrolled("a", 1), &issued(1, "a", 1, None)).unwrap();
        assert_eq!(joined, Joined::Done, "a name is free in each");
    }
    store.forget(&other).unwrap();
    assert_eq!((store.enrolments(&other).unwrap(), store.cluster_of([2; 8]).unwrap()), (vec![], None));
    assert_eq!(store.enrolments(&first).unwrap(), [enrolled("a", 1)]);
}

#[test]
fn a_name_belongs_to_the_directory_that_joined_under_it() {
    let cluster = ClusterId::default();
    let mut store = IdentityStore::in_memory().unwrap();
    for id in 1..=3 {
        store.add_token(&cluster, &new_token(id), 0).unwrap();
    }
    store.join(&cluster, [1; 8], &enrolled("a", 1), &issued(1, "a", 1, None)).unwrap();
    let other = store.join(&cluster, [2; 8], &enrolled("a", 2), &issued(2, "a", 2, None)).unwrap();
    assert_eq!(other, Joined::NameTaken);
    assert!(store.token(&cluster, [2; 8]).unwrap().unwrap().used.is_none(), "a refused token is still good");
    let same = store.join(&cluster, [3; 8], &enrolled("a", 1), &issued(3, "a", 3, None)).unwrap();
    assert_eq!(same, Joined::Done, "it joins again");
}

#[test]
fn a_certificate_is_renewed_once_and_another_key_betrays_a_copy() {
    let cluster = ClusterId::default();
    let mut store = IdentityStore::in_memory().unwrap();
    store.add_token(&cluster, &new_token(1), 0).unwrap();
    store.join(&cluster, [1; 8], &enrolled("a", 1), &issued(1, "a", 1, None)).unwrap();
    let second = issued(2, "a", 2, Some(1));
    assert_eq!(store.renew(&cluster, &second, 0).unwrap(), Renewed::Done);
    let lost = CertificateRecord { serial: vec![3; 16], ..second.clone() };
    assert_eq!(store.renew(&cluster, &lost, 0).unwrap(), Renewed::Again(Box::new(second)));
    let copied = issued(4, "a", 4, Some(1));
    assert_eq!(store.renew(&cluster, &copied, 0).unwrap(), Renewed::WithAnotherKey);
    store.flag(&cluster, &node("a"), "it was copied").unwrap();
    store.flag(&cluster, &node("a"), "again").unwrap();
    assert_eq!(store.enrolments(&cluster).unwrap()[0].flag.as_deref(), Some("it was copied"));
    assert_eq!(store.renew(&cluster, &issued(5, "a", 5, Some(2)), NOW_MS).unwrap(), Renewed::Done);
}

#[test]
fn a_copy_holds_no_tokens_and_damage_is_named() {
    let (dir, backup) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let cluster = ClusterId::default();
    assert!(IdentityStore::check(dir.path()).unwrap().is_empty(), "nothing is there");
    let mut store = IdentityStore::open(dir.path()).unwrap();
    store.add_token(&cluster, &new_token(1), 0).unwrap();
    store.add_token(&cluster, &new_token(2), 0).unwrap();
    store.join(&cluster, [1; 8], &enrolled("a", 1), &issued(1, "a", 1, None)).unwrap();
    IdentityStore::copy(dir.path(), backup.path()).unwrap();
    let mut copy = IdentityStore::open(backup.path()).unwrap();
    assert_eq!(copy.token(&cluster, [2; 8]).unwrap(), None);
    assert_eq!(copy.enrolments(&cluster).unwrap(), [enrolled("a", 1)]);
    assert!(IdentityStore::check(dir.path()).unwrap().is_empty());
    store.connection.execute("UPDATE enrolments SET node_id = x'00'", []).unwrap();
    let damage = IdentityStore::check(dir.path()).unwrap();
    assert!(damage[0].to_string().contains("a node that joined"), "{damage:?}");
}
