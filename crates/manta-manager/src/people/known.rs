//! Users and tokens as they are now, and what may become of them: decided here, stored by whoever asks.
use std::collections::{BTreeMap, BTreeSet};

use manta_api::{ErrorCode, Problem, QuotaRequest, RoleRequest, TokenRequest, TokenView, UserRequest, UserView};
use manta_store::{AccessChange, RoleFrom, TokenRecord, UserRecord};
use manta_types::name::{check_label, nearest, printable};
use manta_types::{ClusterId, Quota, Role, limits};

use super::secret::Fresh;
use crate::bearer::{ADMINISTRATOR, User};

/// Names that stand for somebody else in the audit log.
pub(super) const RESERVED: [&str; 3] = [ADMINISTRATOR, "nobody", "node"];

/// What is decided: the changes, and what whoever asked is shown.
pub(crate) type Decided<T> = Result<(Vec<AccessChange>, T), Problem>;

/// Who asks, in which cluster, and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asker<'a> {
    pub(crate) user: &'a User,
    pub(crate) cluster: &'a ClusterId,
    pub(crate) now_ms: u64,
}

/// All users and tokens.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(super) users: BTreeMap<(ClusterId, String), UserRecord>,
    /// Who was removed, and not added again.
    pub(super) removed: BTreeSet<(ClusterId, String)>,
    tokens: BTreeMap<String, TokenRecord>,
    quotas: BTreeMap<(ClusterId, Quota), u64>,
}

impl Known {
    pub(super) fn new(
        users: Vec<UserRecord>,
        removed: Vec<(ClusterId, String)>,
        tokens: Vec<TokenRecord>,
        quotas: Vec<(ClusterId, Quota, u64)>,
    ) -> Self {
        Self {
            removed: removed.into_iter().collect(),
            users: users.into_iter().map(|user| ((user.cluster.clone(), user.name.clone()), user)).collect(),
            tokens: tokens.into_iter().map(|token| (token.id.clone(), token)).collect(),
            quotas: quotas.into_iter().map(|(cluster, quota, value)| ((cluster, quota), value)).collect(),
        }
    }

    /// A token and its user.
    pub(super) fn token(&self, id: &str) -> Option<(&TokenRecord, &UserRecord)> {
        let token = self.tokens.get(id)?;
        Some((token, self.users.get(&(token.cluster.clone(), token.user.clone()))?))
    }

    /// Follows a change that is stored.
    pub(super) fn follow(&mut self, change: AccessChange) {
        match change {
            AccessChange::User(user) => {
                self.removed.remove(&(user.cluster.clone(), user.name.clone()));
                self.users.insert((user.cluster.clone(), user.name.clone()), user);
            }
            AccessChange::UserGone(cluster, name, _) => {
                self.tokens.retain(|_, token| token.cluster != cluster || token.user != name);
                let user = (cluster, name);
                self.users.remove(&user);
                self.removed.insert(user);
            }
            AccessChange::Token(token) => {
                self.tokens.insert(token.id.clone(), token);
            }
            AccessChange::TokenGone(_, id) => {
                self.tokens.remove(&id);
            }
            AccessChange::Quota(cluster, quota, Some(value)) => {
                self.quotas.insert((cluster, quota), value);
            }
            AccessChange::Quota(cluster, quota, None) => {
                self.quotas.remove(&(cluster, quota));
            }
            AccessChange::ClusterGone(cluster) => {
                self.users.retain(|(of, _), _| *of != cluster);
                self.removed.retain(|(of, _)| *of != cluster);
                self.tokens.retain(|_, token| token.cluster != cluster);
                self.quotas.retain(|(of, _), _| *of != cluster);
            }
            AccessChange::Key(_) | AccessChange::KeysBefore(_) => {}
        }
    }

    /// All users of a cluster, by name.
    pub(crate) fn users(&self, asker: Asker<'_>) -> Vec<UserView> {
        self.users_of(asker.cluster).map(|user| self.user_view(asker, user)).collect()
    }

    /// The tokens that may be seen, the oldest first.
    pub(crate) fn tokens(&self, asker: Asker<'_>) -> Vec<TokenView> {
        let mut seen: Vec<_> = self.tokens_of(asker.cluster).filter(|token| may_see(asker, token)).collect();
        seen.sort_by_key(|token| token.created_ms);
        seen.into_iter().map(|token| self.token_view(asker, token)).collect()
    }

    /// The most that a cluster may have of something, where that is limited.
    pub(crate) fn quota(&self, cluster: &ClusterId, quota: Quota) -> Option<u64> {
        // Asked at every call, and most managers have none.
        if self.quotas.is_empty() { None } else { self.quotas.get(&(cluster.clone(), quota)).copied() }
    }

    /// Sets a quota, or lifts it.
    pub(crate) fn set_quota(asker: Asker<'_>, request: &QuotaRequest) -> Decided<QuotaRequest> {
        if request.limit.is_some_and(|limit| i64::try_from(limit).is_err()) {
            let sentence = format!("a quota is at most {}", i64::MAX);
            return Err(Problem::new(ErrorCode::BadRequest, sentence));
        }
        Ok((vec![AccessChange::Quota(asker.cluster.clone(), request.name, request.limit)], request.clone()))
    }

    /// Adds a user.
    pub(crate) fn add_user(&self, asker: Asker<'_>, request: &UserRequest) -> Decided<UserView> {
        let UserRequest { name, role } = request;
        check_label("user", name).map_err(|error| Problem::new(ErrorCode::BadRequest, error.to_string()))?;
        if RESERVED.contains(&name.as_str()) {
            let sentence = format!("no user can be called `{name}`: the name stands for somebody else");
            return Err(Problem::new(ErrorCode::BadRequest, sentence));
        }
        if let Some(user) = self.users.get(&(asker.cluster.clone(), name.clone())) {
            let sentence = format!("there is a user `{name}` already, whose role is {}", user.role);
            return Err(Problem::new(ErrorCode::Conflict, sentence).hint("`manta user set-role` gives another role"));
        }
        if self.users_of(asker.cluster).count() >= limits::USERS_PER_CLUSTER_MAX {
            let most = limits::USERS_PER_CLUSTER_MAX;
            let sentence = format!("the cluster has {most} users, and no more are kept (users_per_cluster_max)");
            return Err(Problem::new(ErrorCode::TooLarge, sentence).hint("`manta user rm` removes one"));
        }
        hand_out(asker, *role)?;
        let (cluster, created_ms) = (asker.cluster.clone(), asker.now_ms);
        let (subject, role_from) = (None, RoleFrom::Admin);
        let user = UserRecord { cluster, name: name.clone(), role: *role, created_ms, subject, role_from };
        let view = self.user_view(asker, &user);
        Ok((vec![AccessChange::User(user)], view))
    }

    /// Gives a user another role.
    pub(crate) fn set_role(&self, asker: Asker<'_>, name: &str, request: &RoleRequest) -> Decided<UserView> {
        let user = self.find_user(asker, name)?;
        hand_out(asker, user.role)?;
        hand_out(asker, request.role)?;
        let user = UserRecord { role: request.role, role_from: RoleFrom::Admin, ..user.clone() };
        let view = self.user_view(asker, &user);
        Ok((vec![AccessChange::User(user)], view))
    }

    /// Removes a user with all their tokens.
    pub(crate) fn remove_user(&self, asker: Asker<'_>, name: &str) -> Decided<UserView> {
        let user = self.find_user(asker, name)?;
        hand_out(asker, user.role)?;
        let gone = AccessChange::UserGone(asker.cluster.clone(), user.name.clone(), asker.now_ms);
        Ok((vec![gone], UserView { tokens: 0, ..self.user_view(asker, user) }))
    }

    /// Keeps a token that was just made.
    pub(crate) fn add_token(&self, asker: Asker<'_>, request: &TokenRequest, fresh: &Fresh) -> Decided<TokenView> {
        let name = match &request.user {
            Some(name) => name,
            None if asker.user.name == ADMINISTRATOR => {
                let sentence = "the administrator's token belongs to no user, so the new one needs one";
                return Err(Problem::new(ErrorCode::BadRequest, sentence)
                    .hint("name whose it is to be: `manta token new --user NAME`"));
            }
            None => &asker.user.name,
        };
        if *name != asker.user.name && asker.user.role < Role::Admin {
            let sentence = "only an admin makes tokens for others";
            return Err(Problem::new(ErrorCode::Forbidden, sentence).hint("leave `user` away to make one of your own"));
        }
        let user = self.find_user(asker, name)?;
        if let Some(role) = request.role.filter(|role| *role > user.role) {
            let sentence = format!("user `{}` is {}, so no token of theirs can be {role}", user.name, a(user.role));
            return Err(Problem::new(ErrorCode::Forbidden, sentence));
        }
        // Unless it is told otherwise it may what its user may, also when that becomes more.
        let role = request.role.unwrap_or(asker.user.role);
        hand_out(asker, role)?;
        let life_ms = life_ms(request.expires_s)?;
        let mut changes = self.room_for_a_token(asker)?;
        let token = token_of(asker, user, role, life_ms, fresh);
        let view = self.token_view(asker, &token);
        changes.push(AccessChange::Token(token));
        Ok((changes, view))
    }

    /// Ends a token.
    pub(crate) fn revoke(&self, asker: Asker<'_>, id: &str) -> Decided<TokenView> {
        let found = self.find_token(asker, id)?;
        let revoked_ms = found.revoked_ms.or(Some(asker.now_ms));
        let token = TokenRecord { revoked_ms, ..found.clone() };
        let view = self.token_view(asker, &token);
        Ok((vec![AccessChange::Token(token)], view))
    }

    /// Keeps a token that was just made in the place of another.
    pub(crate) fn rotate(&self, asker: Asker<'_>, id: &str, fresh: &Fresh) -> Decided<TokenView> {
        let old = self.find_token(asker, id)?;
        let state = state_of(old, asker.now_ms);
        if state != "active" {
            let sentence = format!("token `{}` is {state}, so nothing takes its place", old.id);
            return Err(Problem::new(ErrorCode::Conflict, sentence).hint("`manta token new` makes another"));
        }
        let user = self.find_user(asker, &old.user)?;
        let role = old.role.min(asker.user.role);
        let life_ms = old.expires_ms.saturating_sub(old.created_ms);
        let mut changes = self.room_for_a_token(asker)?;
        let token = token_of(asker, user, role, life_ms, fresh);
        let view = self.token_view(asker, &token);
        changes.push(AccessChange::Token(TokenRecord { revoked_ms: Some(asker.now_ms), ..old.clone() }));
        changes.push(AccessChange::Token(token));
        Ok((changes, view))
    }

    pub(crate) fn users_of(&self, cluster: &ClusterId) -> impl Iterator<Item = &UserRecord> {
        self.users.values().filter(move |user| user.cluster == *cluster)
    }

    fn tokens_of(&self, cluster: &ClusterId) -> impl Iterator<Item = &TokenRecord> {
        self.tokens.values().filter(move |token| token.cluster == *cluster)
    }

    fn find_user(&self, asker: Asker<'_>, name: &str) -> Result<&UserRecord, Problem> {
        self.users.get(&(asker.cluster.clone(), name.to_owned())).ok_or_else(|| {
            let problem = Problem::new(ErrorCode::NotFound, format!("there is no user `{}`", printable(name, 64)));
            match nearest(name, self.users_of(asker.cluster).map(|user| user.name.as_str())) {
                Some(near) if asker.user.role == Role::Admin => problem.hint(format!("did you mean `{near}`?")),
                _ => problem.hint("`manta user ls` lists them"),
            }
        })
    }

    /// A token that may be seen, by its id or an unambiguous beginning of it.
    fn find_token(&self, asker: Asker<'_>, id: &str) -> Result<&TokenRecord, Problem> {
        let seen = self.tokens_of(asker.cluster).filter(|token| may_see(asker, token));
        let found: Vec<_> = seen.filter(|token| !id.is_empty() && token.id.starts_with(id)).take(2).collect();
        match found[..] {
            [token] => Ok(token),
            [] => {
                let problem = Problem::new(ErrorCode::NotFound, format!("there is no token `{}`", printable(id, 64)));
                Err(problem.hint("`manta token ls` lists them"))
            }
            _ => {
                let sentence = format!("more than one token begins with `{}`", printable(id, 64));
                Err(Problem::new(ErrorCode::BadRequest, sentence).hint("write more of it"))
            }
        }
    }

    /// Lets the oldest token that counts no more go, where there are too many.
    pub(super) fn room_for_a_token(&self, asker: Asker<'_>) -> Result<Vec<AccessChange>, Problem> {
        if self.tokens_of(asker.cluster).count() < limits::TOKENS_PER_CLUSTER_MAX {
            return Ok(Vec::new());
        }
        let dead = self.tokens_of(asker.cluster).filter(|token| state_of(token, asker.now_ms) != "active");
        match dead.min_by_key(|token| token.created_ms) {
            Some(oldest) => Ok(vec![AccessChange::TokenGone(asker.cluster.clone(), oldest.id.clone())]),
            None => {
                let most = limits::TOKENS_PER_CLUSTER_MAX;
                let sentence = format!("the cluster has {most} tokens that count (tokens_per_cluster_max)");
                Err(Problem::new(ErrorCode::TooLarge, sentence).hint("`manta token revoke` ends one"))
            }
        }
    }

    pub(super) fn token_view(&self, asker: Asker<'_>, token: &TokenRecord) -> TokenView {
        let user = self.users.get(&(token.cluster.clone(), token.user.clone()));
        TokenView {
            id: token.id.clone(),
            user: token.user.clone(),
            role: user.map_or(token.role, |user| user.role.min(token.role)),
            state: state_of(token, asker.now_ms).to_owned(),
            created_ms: token.created_ms,
            expires_ms: token.expires_ms,
            used_ms: token.used_ms,
        }
    }

    fn user_view(&self, asker: Asker<'_>, user: &UserRecord) -> UserView {
        let theirs = self.tokens_of(&user.cluster).filter(|token| token.user == user.name);
        let tokens = theirs.filter(|token| state_of(token, asker.now_ms) == "active").count() as u64;
        UserView { name: user.name.clone(), role: user.role, created_ms: user.created_ms, tokens }
    }
}

fn may_see(asker: Asker<'_>, token: &TokenRecord) -> bool {
    asker.user.role == Role::Admin || token.user == asker.user.name
}

/// Refuses to give, or take away, more than whoever asks has.
fn hand_out(asker: Asker<'_>, role: Role) -> Result<(), Problem> {
    if role <= asker.user.role {
        return Ok(());
    }
    let sentence = format!("your token is {}'s, which cannot hand out the role `{role}`", a(asker.user.role));
    Err(Problem::new(ErrorCode::Forbidden, sentence))
}

/// A role with its article.
pub(crate) fn a(role: Role) -> String {
    let article = if matches!(role, Role::Operator | Role::Admin) { "an" } else { "a" };
    format!("{article} {role}")
}

fn life_ms(asked_s: Option<u64>) -> Result<u64, Problem> {
    let seconds = asked_s.unwrap_or(limits::TOKEN_LIFE.as_secs());
    let most = limits::TOKEN_LIFE_MAX.as_secs();
    if (1..=most).contains(&seconds) {
        return Ok(seconds * 1000);
    }
    let sentence = format!("a token counts for 1 second to {} days (token_life_max), not {seconds} s", most / 86_400);
    Err(Problem::new(ErrorCode::BadRequest, sentence))
}

pub(super) fn token_of(asker: Asker<'_>, user: &UserRecord, role: Role, life_ms: u64, fresh: &Fresh) -> TokenRecord {
    TokenRecord {
        cluster: asker.cluster.clone(),
        id: fresh.id.clone(),
        user: user.name.clone(),
        role,
        digest: fresh.digest,
        created_ms: asker.now_ms,
        expires_ms: asker.now_ms.saturating_add(life_ms),
        used_ms: None,
        revoked_ms: None,
    }
}

/// `active`, `expired` or `revoked`.
pub(super) fn state_of(token: &TokenRecord, now_ms: u64) -> &'static str {
    if token.revoked_ms.is_some() {
        "revoked"
    } else if token.expires_ms <= now_ms {
        "expired"
    } else {
        "active"
    }
}
