//! Who a request comes from, and from where.
use std::fmt;
use std::sync::Arc;

use manta_types::{ClusterId, Role};

/// What the bearer of the token in the data directory is called; no user can have the name.
pub(crate) const ADMINISTRATOR: &str = "administrator";

/// Who a request comes from; the guard puts it into the request's extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Identity {
    /// Nobody whom this manager knows.
    Nobody,
    /// A node's agent.
    Node,
    /// A person or a program.
    User(User),
}

/// A person or a program, and what their token lets them do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    /// Unique in the cluster.
    pub(crate) name: String,
    /// The lesser of what the user and the token may.
    pub(crate) role: Role,
    /// Where; absent for the first administrator, who may enter every cluster.
    pub(crate) cluster: Option<ClusterId>,
    /// The token's id; absent for the first administrator.
    pub(crate) token: Option<String>,
    /// From when on the token counts no more; wall clock, ms since 1970.
    pub(crate) expires_ms: Option<u64>,
}

impl User {
    /// The bearer of the token in the data directory.
    pub(crate) fn administrator() -> Self {
        Self { name: ADMINISTRATOR.to_owned(), role: Role::Admin, cluster: None, token: None, expires_ms: None }
    }
}

impl Identity {
    /// The id of the token that was shown, where it has one.
    pub(crate) fn token(&self) -> Option<&str> {
        match self {
            Self::User(user) => user.token.as_deref(),
            Self::Nobody | Self::Node => None,
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody => f.write_str("nobody"),
            Self::Node => f.write_str("node"),
            Self::User(user) => f.write_str(&user.name),
        }
    }
}

/// Where a connection comes from: an address, or `unix`; in the extensions of its requests.
#[derive(Debug, Clone)]
pub(crate) struct Source(pub(crate) Arc<str>);
