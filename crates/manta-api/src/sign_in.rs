//! Signing in at an issuer of identities (OpenID Connect), as the public API takes and shows it.
use serde::{Deserialize, Serialize};

use crate::NewTokenView;

/// How people sign in at this manager.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SignInView {
    /// The issuer's address.
    pub issuer: String,
    /// Where a browser is sent back to: an address of loopback. Where it names no port, any will do.
    pub redirect: String,
    /// Whether one may sign in on another device.
    pub device: bool,
    /// Why nobody can sign in now; absent where the issuer answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A sign-in that is to begin.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignInRequest {
    /// Where the browser is to be sent back to, with its port; absent: signing in on another device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect: Option<String>,
}

/// A sign-in that began.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SignInBegun {
    /// What proves, at the end, who began it; a secret.
    pub ticket: String,
    /// The page that the person is to open.
    pub url: String,
    /// What the browser brings back beside the code; absent on another device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// What the person is to type on that page; only on another device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_code: Option<String>,
    /// Seconds until it is too late.
    pub expires_s: u64,
    /// Seconds between two questions whether it is over; only on another device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_s: Option<u64>,
}

impl std::fmt::Debug for SignInBegun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignInBegun").field("expires_s", &self.expires_s).finish_non_exhaustive()
    }
}

/// The end of a sign-in: what the browser brought back, or whether the person is done on the other device.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignInAnswer {
    /// The ticket with which it began.
    pub ticket: String,
    /// What the browser brought back; absent on another device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returned: Option<SignInReturned>,
}

impl std::fmt::Debug for SignInAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignInAnswer").finish_non_exhaustive()
    }
}

/// What a browser brought back from the issuer.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignInReturned {
    /// Where it was sent back to, as the sign-in began with it.
    pub redirect: String,
    /// The state with which it began.
    pub state: String,
    /// The issuer's code, which counts once.
    pub code: String,
}

/// What became of a sign-in: a token, or seconds to wait before one asks again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SignInOutcome {
    /// The token, which is shown this once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<NewTokenView>,
    /// Seconds after which to ask again: the person is not done yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_s: Option<u64>,
}
