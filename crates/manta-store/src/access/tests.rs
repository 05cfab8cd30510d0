//! Users, tokens and the chain: kept across restarts, and every damage named.
use super::*;

fn user(name: &str, role: Role) -> UserRecord {
    let (name, subject) = (name.to_owned(), Some(format!("https://id.example#{name}")));
    UserRecord { cluster: ClusterId::default(), name, role, created_ms: 7, subject, role_from: RoleFrom::Issuer }
}

fn token(id: &str, user: &str) -> TokenRecord {
    TokenRecord {
        cluster: ClusterId::default(),
        id: id.to_owned(),
        user: user.to_owned(),
        role: Role::Developer,
        digest: [7; 32],
        created_ms: 1,
        expires_ms: 2,
        used_ms: None,
        revoked_ms: Some(3),
    }
}

fn entry(object: &str) -> AuditEntry {
    AuditEntry {
        time_ms: 5,
        cluster: ClusterId::default(),
        who: "ada".to_owned(),
        token: Some("t1".to_owned()),
        source: "127.0.0.1:9".to_owned(),
        method: "POST".to_owned(),
        route: "/v1/clusters/{cluster}/swarms".to_owned(),
        object: object.to_owned(),
        outcome: "done".to_owned(),
        key: None,
    }
}

/// A log of six records.
fn logged() -> AccessStore {
    let mut store = AccessStore::in_memory().unwrap();
    store.append(&[entry("a"), entry("b"), entry("c")]).unwrap();
    store.append(&[entry("d"), entry("e"), entry("f")]).unwrap();
    store
}

fn damage_after(sql: &str) -> Vec<String> {
    let store = logged();
    store.connection.execute_batch(sql).unwrap();
    store.audit_verdict().unwrap().damage
}

#[test]
fn a_cluster_goes_with_its_users_and_its_record_stays() {
    let mut store = logged();
    let other = ClusterId::new("other").unwrap();
    let there = UserRecord { cluster: other.clone(), ..user("ada", Role::Admin) };
    let key =
        AccessKey { cluster: other.clone(), key: "k".into(), request: "r".into(), answer: "{}".into(), used_ms: 1 };
    let changes = [
        AccessChange::User(user("ada", Role::Developer)),
        AccessChange::Token(token("t1", "ada")),
        AccessChange::User(there),
        AccessChange::Token(TokenRecord { cluster: other.clone(), ..token("t2", "ada") }),
        AccessChange::Quota(other.clone(), Quota::Nodes, Some(1)),
        AccessChange::Key(key),
        AccessChange::UserGone(other.clone(), "eve".to_owned(), 9),
        AccessChange::ClusterGone(other.clone()),
    ];
    store.apply(&changes).unwrap();
    assert_eq!(store.users().unwrap(), [user("ada", Role::Developer)]);
    assert_eq!(store.tokens().unwrap(), [token("t1", "ada")]);
    assert_eq!(store.users_removed().unwrap(), []);
    assert_eq!((store.quotas().unwrap(), store.key(&other, "k").unwrap()), (vec![], None));
    assert_eq!(store.audit_verdict().unwrap().records, 6);
}

#[test]
fn users_and_tokens_outlive_a_restart_and_go_together() {
    let dir = tempfile::tempdir().unwrap();
    let changes = [
        AccessChange::User(user("ada", Role::Developer)),
        AccessChange::User(user("bob", Role::Viewer)),
        AccessChange::Token(token("t1", "ada")),
        AccessChange::Token(token("t2", "bob")),
    ];
    AccessStore::open(dir.path()).unwrap().apply(&changes).unwrap();
    let mut store = AccessStore::open(dir.path()).unwrap();
    assert_eq!(store.users().unwrap(), [user("ada", Role::Developer), user("bob", Role::Viewer)]);
    assert_eq!(store.tokens().unwrap(), [token("t1", "ada"), token("t2", "bob")]);
    let gone = AccessChange::UserGone(ClusterId::default(), "ada".to_owned(), 9);
    store.apply(&[gone, AccessChange::User(user("bob", Role::Admin))]).unwrap();
    assert_eq!(store.users().unwrap(), [user("bob", Role::Admin)]);
    assert_eq!(store.tokens().unwrap(), [token("t2", "bob")], "another role takes no token away");
}

#[test]
fn who_was_removed_is_known_until_they_are_added_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = AccessStore::open(dir.path()).unwrap();
    let gone = || AccessChange::UserGone(ClusterId::default(), "ada".to_owned(), 9);
    store.apply(&[AccessChange::User(user("ada", Role::Viewer)), gone(), gone()]).unwrap();
    assert_eq!(store.users_removed().unwrap(), [(ClusterId::default(), "ada".to_owned())]);
    store.connection.execute_batch("UPDATE users_removed SET name = 'bob'").unwrap();
    assert_eq!(AccessStore::check(dir.path()).unwrap().len(), 1, "nobody takes a name out of it unseen");
    store.apply(&[gone(), AccessChange::User(user("ada", Role::Viewer))]).unwrap();
    store.connection.execute_batch("DELETE FROM users_removed WHERE name = 'bob'").unwrap();
    assert_eq!(store.users_removed().unwrap(), []);
}

#[test]
fn users_of_the_first_format_stay_and_damage_is_not_healed() {
    let dir = tempfile::tempdir().unwrap();
    let first = Format { version: 1, schema: include_str!("../sqlite/schema/access-1.sql"), migrations: &[], ..ACCESS };
    let old = database::open(&dir.path().join(ACCESS_FILE), &first).unwrap();
    let add = "INSERT INTO users VALUES ('default', 'ada', 'developer', 7, \
               checksum_of('users', 'default', 'ada', 'developer', 7))";
    old.execute_batch(add).unwrap();
    drop(old);
    let store = AccessStore::open(dir.path()).unwrap();
    let kept = UserRecord { subject: None, role_from: RoleFrom::Admin, ..user("ada", Role::Developer) };
    assert_eq!(store.users().unwrap(), [kept]);
    drop(store);

    let other = tempfile::tempdir().unwrap();
    let old = database::open(&other.path().join(ACCESS_FILE), &first).unwrap();
    old.execute_batch(&format!("{add}; UPDATE users SET role = 'admin'")).unwrap();
    drop(old);
    assert!(matches!(AccessStore::open(other.path()).unwrap().users(), Err(StoreError::Corrupt { .. })));
}

#[test]
fn a_token_of_nobody_is_not_stored() {
    let mut store = AccessStore::in_memory().unwrap();
    assert!(store.apply(&[AccessChange::Token(token("t1", "ada"))]).is_err());
    assert!(!format!("{:?}", token("t1", "ada")).contains('7'), "nor is its digest printed");
}

#[test]
fn a_row_that_changed_on_the_disk_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = AccessStore::open(dir.path()).unwrap();
    store.apply(&[AccessChange::User(user("ada", Role::Viewer)), AccessChange::Token(token("t1", "ada"))]).unwrap();
    assert_eq!(AccessStore::check(dir.path()).unwrap().len(), 0);
    store.connection.execute_batch("UPDATE users SET role = 'admin'; UPDATE tokens SET expires_ms = 9").unwrap();
    assert!(matches!(store.users(), Err(StoreError::Corrupt { .. })));
    assert!(matches!(store.tokens(), Err(StoreError::Corrupt { .. })));
    assert_eq!(AccessStore::check(dir.path()).unwrap().len(), 2);
}

#[test]
fn quotas_are_kept_until_they_are_lifted() {
    let mut store = AccessStore::in_memory().unwrap();
    let set = |value| AccessChange::Quota(ClusterId::default(), Quota::Nodes, value);
    store.apply(&[set(Some(3)), set(Some(4))]).unwrap();
    assert_eq!(store.quotas().unwrap(), [(ClusterId::default(), Quota::Nodes, 4)]);
    store.connection.execute_batch("UPDATE quotas SET value = 5").unwrap();
    assert!(matches!(store.quotas(), Err(StoreError::Corrupt { .. })));
    store.apply(&[set(None)]).unwrap();
    assert_eq!(store.quotas().unwrap(), []);
}

#[test]
fn keys_are_kept_until_they_are_old() {
    let mut store = AccessStore::in_memory().unwrap();
    let (key, request, answer) = ("k".to_owned(), "r".to_owned(), "made `ada`".to_owned());
    let key = AccessKey { cluster: ClusterId::default(), key, request, answer, used_ms: 10 };
    store.apply(&[AccessChange::Key(key.clone())]).unwrap();
    assert_eq!(store.key(&key.cluster, "k").unwrap(), Some(key.clone()));
    assert!(store.apply(&[AccessChange::Key(key.clone())]).is_err(), "a key is used once");
    store.apply(&[AccessChange::KeysBefore(11)]).unwrap();
    assert_eq!(store.key(&key.cluster, "k").unwrap(), None);
}

#[test]
fn a_log_that_nobody_touched_is_whole_and_is_read_from_its_end() {
    let store = logged();
    let verdict = store.audit_verdict().unwrap();
    assert_eq!((verdict.records, verdict.head.seq, verdict.damage.len()), (6, 6, 0), "{verdict:?}");
    let newest = store.audit(&AuditFilter::default(), 2).unwrap();
    assert_eq!(newest.iter().map(|record| record.entry.object.as_str()).collect::<Vec<_>>(), ["e", "f"]);
    assert_eq!(newest[1].digest, verdict.head.digest);
    let of = |who: &str| AuditFilter { who: Some(who.to_owned()), ..AuditFilter::default() };
    assert_eq!((store.audit(&of("ada"), 9).unwrap().len(), store.audit(&of("bob"), 9).unwrap().len()), (6, 0));
    let late = AuditFilter { since_ms: 6, ..AuditFilter::default() };
    assert_eq!(store.audit(&late, 9).unwrap(), []);
}

#[test]
fn a_changed_record_is_named_whatever_changed_in_it() {
    for change in [
        "time_ms = 6",
        "cluster_id = 'other'",
        "who = 'eve'",
        "token = NULL",
        "source = 'unix'",
        "method = 'GET'",
        "route = '/'",
        "object = 'z'",
        "outcome = 'denied'",
        "key = 'k'",
    ] {
        let damage = damage_after(&format!("UPDATE audit SET {change} WHERE seq = 3"));
        assert_eq!(damage, ["record 3 is not what was written after record 2"], "{change}");
    }
    let damage = damage_after("UPDATE audit SET digest = zeroblob(32) WHERE seq = 3");
    assert_eq!(damage.len(), 2, "it and the one that follows from it: {damage:?}");
    assert!(damage[0].starts_with("record 3 ") && damage[1].starts_with("record 4 "));
}

#[test]
fn removed_records_are_named_wherever_they_stood() {
    assert_eq!(damage_after("DELETE FROM audit WHERE seq = 1"), ["record 1 is missing"]);
    assert_eq!(damage_after("DELETE FROM audit WHERE seq IN (3, 4)"), ["records 3 to 4 are missing"]);
    assert_eq!(damage_after("DELETE FROM audit WHERE seq > 4"), ["records 5 to 6 are missing"]);
    assert_eq!(damage_after("DELETE FROM audit"), ["records 1 to 6 are missing"]);
}

#[test]
fn records_that_changed_places_are_named() {
    let damage = damage_after(
        "UPDATE audit SET seq = 100 WHERE seq = 3; UPDATE audit SET seq = 3 WHERE seq = 4; UPDATE audit SET seq = 4 WHERE seq = 100",
    );
    let named: Vec<_> = damage.iter().filter_map(|problem| problem.split(' ').nth(1)).collect();
    assert_eq!(named, ["3", "4", "5"], "{damage:?}");
}

#[test]
fn an_end_that_was_put_back_is_noticed() {
    let damage = damage_after("DELETE FROM audit WHERE seq = 6; UPDATE audit_ends SET last_seq = 5");
    assert!(damage.iter().any(|problem| problem.contains("how far the audit log goes")), "{damage:?}");
    let damage = damage_after("DELETE FROM audit_ends");
    assert!(damage.iter().any(|problem| problem.contains("how far the audit log goes")), "{damage:?}");
}

#[test]
fn the_oldest_records_go_beyond_the_limit_and_the_chain_holds() {
    let mut store = logged();
    let bytes = entry("a").bytes();
    store.append_within(&[entry("g")], 3 * bytes).unwrap();
    let verdict = store.audit_verdict().unwrap();
    assert_eq!((verdict.records, verdict.head.first_seq, verdict.head.seq), (3, 5, 7));
    assert_eq!(verdict.damage, [""; 0]);
    store.append_within(&[entry("h")], 0).unwrap();
    assert_eq!(store.audit_verdict().unwrap().records, 1, "the newest stays");
    store.connection.execute_batch("UPDATE audit SET who = 'eve'").unwrap();
    assert_eq!(store.audit_verdict().unwrap().damage, ["record 8 is not what was written after record 7"]);
}
