//! Users, tokens, and the audit log.
use manta_api::{
    AuditVerdictView, AuditView, NewTokenView, QuotaRequest, QuotaView, RoleRequest, TokenRequest, TokenView,
    UserRequest, UserView, WhoView,
};
use manta_types::{Quota, Role};

use crate::swarms::encode;
use crate::{Client, ClientError};

/// Which records of the audit log are wanted; all of them by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Only those from this moment on; wall clock, ms since 1970.
    pub since_ms: Option<u64>,
    /// Only those after this number.
    pub after: Option<u64>,
    /// Only those of this person.
    pub user: Option<String>,
    /// At most so many, the newest.
    pub limit: Option<usize>,
}

/// Each of these fails when the manager refuses, cannot be reached, or answers what this client cannot read.
impl Client {
    /// Whose token this client has, and what it may do.
    ///
    /// # Errors
    /// As for every call.
    pub async fn whoami(&self) -> Result<WhoView, ClientError> {
        self.get_json("/whoami").await
    }

    /// All users of the cluster, by name.
    ///
    /// # Errors
    /// As for every call.
    pub async fn users(&self) -> Result<Vec<UserView>, ClientError> {
        self.get_json("/users").await
    }

    /// Adds a user; who is there already is a conflict.
    ///
    /// # Errors
    /// As for every call.
    pub async fn add_user(&self, name: &str, role: Role, key: &str) -> Result<UserView, ClientError> {
        self.change_json("/users", &UserRequest { name: name.to_owned(), role }, key).await
    }

    /// Gives a user another role, at once for all their tokens.
    ///
    /// # Errors
    /// As for every call.
    pub async fn set_role(&self, name: &str, role: Role, key: &str) -> Result<UserView, ClientError> {
        self.change_json(&format!("/users/{}/role", encode(name)), &RoleRequest { role }, key).await
    }

    /// Removes a user with all their tokens; gives what was removed.
    ///
    /// # Errors
    /// As for every call.
    pub async fn remove_user(&self, name: &str, key: &str) -> Result<UserView, ClientError> {
        self.change_json(&format!("/users/{}/remove", encode(name)), &(), key).await
    }

    /// The tokens that this client's user may see, the oldest first: their own, and for an admin everybody's.
    ///
    /// # Errors
    /// As for every call.
    pub async fn tokens(&self) -> Result<Vec<TokenView>, ClientError> {
        self.get_json("/tokens").await
    }

    /// Makes a token; its secret is in this answer and nowhere else.
    ///
    /// # Errors
    /// As for every call; under a key that was used already, a conflict.
    pub async fn new_token(&self, request: &TokenRequest, key: &str) -> Result<NewTokenView, ClientError> {
        self.change_json("/tokens", request, key).await
    }

    /// Ends a token at once.
    ///
    /// # Errors
    /// As for every call.
    pub async fn revoke_token(&self, id: &str, key: &str) -> Result<TokenView, ClientError> {
        self.change_json(&format!("/tokens/{}/revoke", encode(id)), &(), key).await
    }

    /// Makes a token in the place of another, which ends at once.
    ///
    /// # Errors
    /// As for [`Self::new_token`].
    pub async fn rotate_token(&self, id: &str, key: &str) -> Result<NewTokenView, ClientError> {
        self.change_json(&format!("/tokens/{}/rotate", encode(id)), &(), key).await
    }

    /// All quotas of the cluster, and what is used of each.
    ///
    /// # Errors
    /// As for every call.
    pub async fn quotas(&self) -> Result<Vec<QuotaView>, ClientError> {
        self.get_json("/quotas").await
    }

    /// Sets a quota, or lifts it; gives all of them.
    ///
    /// # Errors
    /// As for every call.
    pub async fn set_quota(&self, name: Quota, limit: Option<u64>, key: &str) -> Result<Vec<QuotaView>, ClientError> {
        self.change_json("/quotas", &QuotaRequest { name, limit }, key).await
    }

    /// The newest records of the audit log that pass the filter, in order.
    ///
    /// # Errors
    /// As for every call.
    pub async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditView>, ClientError> {
        let (since_ms, after) = (filter.since_ms.unwrap_or(0), filter.after.unwrap_or(0));
        let mut query = format!("/audit?since_ms={since_ms}&after={after}");
        if let Some(user) = &filter.user {
            query.push_str(&format!("&user={}", encode(user)));
        }
        if let Some(limit) = filter.limit {
            query.push_str(&format!("&limit={limit}"));
        }
        self.get_json(&query).await
    }

    /// Whether every record of the audit log is what was written; with the digest of one, where it is asked for.
    ///
    /// # Errors
    /// As for every call.
    pub async fn audit_verdict(&self, seq: Option<u64>) -> Result<AuditVerdictView, ClientError> {
        let query = seq.map(|seq| format!("?seq={seq}")).unwrap_or_default();
        self.get_json(&format!("/audit/verdict{query}")).await
    }
}
