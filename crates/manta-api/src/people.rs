//! Users, tokens and the audit log, as the public API takes and shows them.
use manta_types::{Quota, Role};
use serde::{Deserialize, Serialize};

/// A user who is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserRequest {
    /// 1 to 63 lower-case letters, digits, `.`, `_` and `-`; unique in the cluster.
    pub name: String,
    /// `viewer`, `developer`, `operator` or `admin`.
    #[schema(value_type = String)]
    pub role: Role,
}

/// The role that a user is to have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RoleRequest {
    /// `viewer`, `developer`, `operator` or `admin`.
    #[schema(value_type = String)]
    pub role: Role,
}

/// A user of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct UserView {
    /// Unique in the cluster.
    pub name: String,
    /// The most that any token of theirs may do.
    #[schema(value_type = String)]
    pub role: Role,
    /// Wall clock, ms since 1970.
    pub created_ms: u64,
    /// Tokens of theirs that count now.
    pub tokens: u64,
}

/// A token that is to be.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// Whose it is; absent, whoever asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The most that it may do; absent, as much as its user and whoever asks may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub role: Option<Role>,
    /// Seconds for which it counts; absent, 90 days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_s: Option<u64>,
}

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TokenView {
    /// What names it.
    pub id: String,
    /// Whose it is.
    pub user: String,
    /// The most that it may do.
    #[schema(value_type = String)]
    pub role: Role,
    /// `active`, `expired` or `revoked`.
    pub state: String,
    /// Wall clock, ms since 1970.
    pub created_ms: u64,
    /// From when on it counts no more; wall clock, ms since 1970.
    pub expires_ms: u64,
    /// When it was last used, to the minute.
    pub used_ms: Option<u64>,
}

/// A token that was just made; its secret is shown this once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NewTokenView {
    /// What is kept of it.
    #[serde(flatten)]
    pub token: TokenView,
    /// The token itself.
    pub secret: String,
}

impl std::fmt::Debug for NewTokenView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewTokenView").field("token", &self.token).finish_non_exhaustive()
    }
}

/// Who a request comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct WhoView {
    /// The user's name; `administrator` for the token in the manager's data directory.
    pub name: String,
    /// What the request's token may do.
    #[schema(value_type = String)]
    pub role: Role,
    /// In this cluster.
    pub cluster: String,
    /// The token's id; absent for the token in the data directory.
    pub token: Option<String>,
    /// From when on the token counts no more; absent where it does not expire.
    pub expires_ms: Option<u64>,
    /// The manager's release; empty from one that does not tell.
    #[serde(default)]
    pub manager_version: String,
}

/// A record of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AuditView {
    /// From 1, without gaps in the whole log; those of other clusters are not shown.
    pub seq: u64,
    /// Wall clock, ms since 1970.
    pub time_ms: u64,
    /// Who asked.
    pub who: String,
    /// The id of their token.
    pub token: Option<String>,
    /// Where the request came from.
    pub source: String,
    /// The HTTP method.
    pub method: String,
    /// The route.
    pub route: String,
    /// What was asked for, or was made.
    pub object: String,
    /// What came of it: `done`, or the code of the error.
    pub outcome: String,
    /// The idempotency key.
    pub key: Option<String>,
    /// BLAKE3 of the digest before it and of all that it says.
    pub digest: String,
}

/// Whether the audit log is what was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AuditVerdictView {
    /// How many records were read.
    pub records: u64,
    /// The number of the oldest record that is kept.
    pub first_seq: u64,
    /// The number of the newest record; 0 before the first.
    pub head_seq: u64,
    /// Its digest; keep it elsewhere, and nobody can write the log anew unseen.
    pub head: String,
    /// The digest of the record that was asked for, where the log has it.
    pub noted: Option<String>,
    /// What is wrong, one sentence each.
    pub damage: Vec<String>,
}

/// A quota of the cluster, and what is used of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct QuotaView {
    /// `swarms-live`, `nodes`, `stored-bytes` or `calls-per-second`.
    #[schema(value_type = String)]
    pub name: Quota,
    /// The most that the cluster may have; absent: no limit.
    pub limit: Option<u64>,
    /// What it has now, where that is counted; bytes as of the last 30 seconds.
    pub used: Option<u64>,
    /// What it counts.
    pub about: String,
}

/// A quota that is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QuotaRequest {
    /// `swarms-live`, `nodes`, `stored-bytes` or `calls-per-second`.
    #[schema(value_type = String)]
    pub name: Quota,
    /// The most that the cluster may have; absent: no limit.
    #[serde(default)]
    pub limit: Option<u64>,
}
