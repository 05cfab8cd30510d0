//! Who a token belongs to, and what one user may do to others.
use manta_api::{RoleRequest, TokenRequest, UserRequest};
use manta_types::{ClusterId, Role, limits};

use super::*;
use crate::oidc::{OidcSettings, Person};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Users and tokens of one cluster, changed as a manager would.
#[derive(Default)]
struct Cluster {
    known: Known,
    id: ClusterId,
    now_ms: u64,
}

impl Cluster {
    fn follow<T>(&mut self, decided: Decided<T>) -> Result<T, Problem> {
        let (changes, view) = decided?;
        changes.into_iter().for_each(|change| self.known.follow(change));
        Ok(view)
    }

    fn asker<'a>(&'a self, user: &'a User) -> Asker<'a> {
        Asker { user, cluster: &self.id, now_ms: self.now_ms }
    }

    fn add(&mut self, by: &User, name: &str, role: Role) -> Result<manta_api::UserView, Problem> {
        let request = UserRequest { name: name.to_owned(), role };
        let decided = self.known.add_user(self.asker(by), &request);
        self.follow(decided)
    }

    fn token(&mut self, by: &User, request: &TokenRequest) -> Result<manta_api::TokenView, Problem> {
        let fresh = make().unwrap();
        let decided = self.known.add_token(self.asker(by), request, &fresh);
        self.follow(decided)
    }
}

fn named(name: &str, role: Role) -> User {
    User { name: name.to_owned(), role, ..User::administrator() }
}

fn of(user: &str, role: Option<Role>) -> TokenRequest {
    TokenRequest { user: Some(user.to_owned()), role, expires_s: None }
}

#[test]
fn a_role_never_hands_out_more_than_it_has() {
    let mut cluster = Cluster::default();
    let root = User::administrator();
    for role in Role::ALL {
        cluster.add(&root, &format!("a-{role}"), role).unwrap();
    }
    for own in Role::ALL {
        let me = named(&format!("a-{own}"), own);
        for wanted in Role::ALL {
            let mine = cluster.token(&me, &TokenRequest { role: Some(wanted), ..TokenRequest::default() });
            assert_eq!(mine.is_ok(), wanted <= own, "{own} for itself: {wanted}");
            let other = cluster.token(&me, &of(&format!("a-{wanted}"), None));
            assert_eq!(other.is_ok(), own == Role::Admin || own == wanted, "{own} for the {wanted}");
            assert!(other.is_ok_and(|token| token.role <= own) || own != wanted);
            let added = cluster.add(&me, &format!("b-{own}-{wanted}"), wanted);
            assert_eq!(added.is_ok(), wanted <= own, "{own} adds {wanted}");
            let decided = cluster.known.set_role(cluster.asker(&me), "a-viewer", &RoleRequest { role: wanted });
            assert_eq!(decided.is_ok(), wanted <= own, "{own} makes the viewer {wanted}");
            let removed = cluster.known.remove_user(cluster.asker(&me), &format!("a-{wanted}"));
            assert_eq!(removed.is_ok(), wanted <= own, "{own} removes the {wanted}");
        }
    }
}

#[test]
fn a_token_is_no_more_than_its_user_also_after_the_user_became_less() {
    let mut cluster = Cluster::default();
    let root = User::administrator();
    cluster.add(&root, "ada", Role::Operator).unwrap();
    let refused = cluster.token(&root, &of("ada", Some(Role::Admin))).unwrap_err();
    assert!(refused.message.contains("user `ada` is an operator"), "{refused}");
    let token = cluster.token(&root, &of("ada", Some(Role::Operator))).unwrap();
    let decided = cluster.known.set_role(cluster.asker(&root), "ada", &RoleRequest { role: Role::Viewer });
    cluster.follow(decided).unwrap();
    let (token, user) = cluster.known.token(&token.id).unwrap();
    assert_eq!(token.role.min(user.role), Role::Viewer);
}

#[test]
fn tokens_of_others_are_not_there_for_who_is_no_admin() {
    let mut cluster = Cluster::default();
    let root = User::administrator();
    cluster.add(&root, "ada", Role::Developer).unwrap();
    cluster.add(&root, "bob", Role::Developer).unwrap();
    let hers = cluster.token(&root, &of("ada", None)).unwrap().id;
    let bob = named("bob", Role::Developer);
    assert_eq!(cluster.known.tokens(cluster.asker(&bob)), []);
    assert_eq!(cluster.known.revoke(cluster.asker(&bob), &hers).unwrap_err().status, 404);
    let fresh = make().unwrap();
    assert_eq!(cluster.known.rotate(cluster.asker(&bob), &hers, &fresh).unwrap_err().status, 404);
    let ada = named("ada", Role::Developer);
    assert_eq!(cluster.known.tokens(cluster.asker(&ada)).len(), 1);
    assert!(cluster.known.revoke(cluster.asker(&ada), &hers[..6]).is_ok(), "a beginning of it is enough");
    assert_eq!(cluster.known.revoke(cluster.asker(&ada), "").unwrap_err().status, 404);
}

#[test]
fn another_cluster_is_another_world() {
    let mut cluster = Cluster::default();
    let root = User::administrator();
    cluster.add(&root, "ada", Role::Developer).unwrap();
    let id = cluster.token(&root, &of("ada", None)).unwrap().id;
    let other = ClusterId::new("other").unwrap();
    let there = Asker { cluster: &other, ..cluster.asker(&root) };
    assert_eq!((cluster.known.users(there), cluster.known.tokens(there)), (vec![], vec![]));
    assert_eq!(cluster.known.revoke(there, &id).unwrap_err().status, 404);
    assert_eq!(cluster.known.remove_user(there, "ada").unwrap_err().status, 404);
}

#[test]
fn a_token_lives_for_a_while_and_a_rotated_one_is_replaced() {
    let mut cluster = Cluster { now_ms: 1, ..Cluster::default() };
    let root = User::administrator();
    cluster.add(&root, "ada", Role::Developer).unwrap();
    let token = cluster.token(&root, &of("ada", None)).unwrap();
    assert_eq!(token.expires_ms, 1 + 90 * DAY_MS);
    for wrong in [0, 367 * 24 * 60 * 60, u64::MAX] {
        let refused = cluster.token(&root, &TokenRequest { expires_s: Some(wrong), ..of("ada", None) }).unwrap_err();
        assert!(refused.message.contains("token_life_max"), "{refused}");
    }
    cluster.now_ms = 90 * DAY_MS;
    let fresh = make().unwrap();
    let decided = cluster.known.rotate(cluster.asker(&root), &token.id, &fresh);
    let next = cluster.follow(decided).unwrap();
    assert_eq!((next.id, next.expires_ms), (fresh.id.clone(), 180 * DAY_MS));
    let states: Vec<_> = cluster.known.tokens(cluster.asker(&root)).into_iter().map(|token| token.state).collect();
    assert_eq!(states, ["revoked", "active"]);
    let again = cluster.known.rotate(cluster.asker(&root), &token.id, &fresh).unwrap_err();
    assert!(again.status == 409 && again.message.contains("is revoked"), "{again}");
    cluster.now_ms = 180 * DAY_MS;
    assert_eq!(cluster.known.tokens(cluster.asker(&root))[1].state, "expired");
}

#[test]
fn names_that_stand_for_others_or_are_taken_are_refused() {
    let mut cluster = Cluster::default();
    let root = User::administrator();
    for name in ["administrator", "nobody", "node", "", "Ada", "a b", "../x"] {
        assert_eq!(cluster.add(&root, name, Role::Viewer).unwrap_err().status, 400, "{name}");
    }
    cluster.add(&root, "ada", Role::Viewer).unwrap();
    assert_eq!(cluster.add(&root, "ada", Role::Viewer).unwrap_err().status, 409);
    let typo = cluster.known.remove_user(cluster.asker(&root), "adda").unwrap_err();
    assert!(typo.hint.unwrap().contains("`ada`"));
}

#[test]
fn users_have_a_limit_that_is_named() {
    let mut cluster = Cluster::default();
    let root = User::administrator();
    for number in 0..limits::USERS_PER_CLUSTER_MAX {
        cluster.add(&root, &format!("user-{number}"), Role::Viewer).unwrap();
    }
    let refused = cluster.add(&root, "one-more", Role::Viewer).unwrap_err();
    assert!(refused.message.contains("users_per_cluster_max"), "{refused}");
}

/// Ada, as the issuer knows her under a number.
fn ada(subject: &str, role: Option<Role>) -> Person {
    Person { name: "ada".to_owned(), subject: subject.to_owned(), role }
}

impl Cluster {
    fn sign_in(&mut self, person: &Person, default_role: Option<Role>) -> Result<manta_api::TokenView, Problem> {
        let mut settings = OidcSettings::new("https://id.example".to_owned(), "manta".to_owned());
        settings.default_role = default_role;
        let (nobody, fresh) = (named("ada", Role::Viewer), make().unwrap());
        let decided = self.known.sign_in(self.asker(&nobody), person, &settings, &fresh);
        self.follow(decided)
    }

    fn role(&self) -> Role {
        self.known.users(self.asker(&User::administrator()))[0].role
    }
}

#[test]
fn a_sign_in_lets_in_whom_groups_an_admin_or_a_default_give_a_role() {
    let mut cluster = Cluster::default();
    assert!(cluster.sign_in(&ada("1", None), None).unwrap_err().message.contains("there is no user `ada` here"));
    let token = cluster.sign_in(&ada("1", Some(Role::Operator)), None).unwrap();
    assert_eq!((token.role, cluster.role(), token.expires_ms), (Role::Operator, Role::Operator, DAY_MS / 2));
    assert_eq!(cluster.sign_in(&ada("1", Some(Role::Viewer)), None).unwrap().role, Role::Viewer);
    assert!(cluster.sign_in(&ada("1", None), None).unwrap_err().message.contains("any more"));
    assert_eq!(cluster.sign_in(&ada("1", None), Some(Role::Developer)).unwrap().role, Role::Developer);

    let request = RoleRequest { role: Role::Admin };
    let decided = cluster.known.set_role(cluster.asker(&User::administrator()), "ada", &request);
    cluster.follow(decided).unwrap();
    assert_eq!(cluster.sign_in(&ada("1", None), Some(Role::Viewer)).unwrap().role, Role::Admin, "by hand it stays");
}

#[test]
fn nobody_signs_in_as_somebody_else_or_after_they_were_removed() {
    let mut cluster = Cluster::default();
    let root = User::administrator();
    cluster.add(&root, "ada", Role::Viewer).unwrap();
    cluster.sign_in(&ada("1", None), None).unwrap();
    let other = cluster.sign_in(&ada("2", Some(Role::Admin)), Some(Role::Admin)).unwrap_err();
    assert!(other.message.contains("is another person"), "{other}");
    let decided = cluster.known.remove_user(cluster.asker(&root), "ada");
    cluster.follow(decided).unwrap();
    let gone = cluster.sign_in(&ada("1", Some(Role::Admin)), Some(Role::Admin)).unwrap_err();
    assert!(gone.message.contains("was removed"), "{gone}");
    cluster.add(&root, "ada", Role::Viewer).unwrap();
    cluster.sign_in(&ada("2", None), None).expect("whoever is added again may be another");
    for name in ["administrator", "node", "Ada", "a b", ""] {
        let person = Person { name: name.to_owned(), ..ada("3", Some(Role::Admin)) };
        let refused = cluster.sign_in(&person, Some(Role::Admin)).unwrap_err();
        assert_eq!(refused.code, ErrorCode::SignInRefused.code(), "{name}");
    }
}

#[test]
fn a_token_of_a_sign_in_may_what_its_user_may() {
    let mut cluster = Cluster::default();
    let token = cluster.sign_in(&ada("1", Some(Role::Viewer)), None).unwrap();
    cluster.sign_in(&ada("1", Some(Role::Operator)), None).unwrap();
    let (kept, user) = cluster.known.token(&token.id).unwrap();
    assert_eq!(kept.role.min(user.role), Role::Operator);
}
