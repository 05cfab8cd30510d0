//! What a manager is told of its issuer of identities, and what of that can be used.
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use manta_types::{Role, limits};
use reqwest::Url;

use super::fetch::{is_fit, is_loopback};

/// An issuer of identities (OpenID Connect), and what its word is worth here.
#[derive(Clone, PartialEq, Eq)]
pub struct OidcSettings {
    /// The issuer's address, exactly as it calls itself.
    pub issuer: String,
    /// What the manager is called there.
    pub client_id: String,
    /// What it proves that with; absent for a public client.
    pub client_secret: Option<String>,
    /// The certificates that the issuer's is checked against, in PEM form; what this machine trusts where absent.
    pub authorities: Option<Vec<u8>>,
    /// What is asked for beside `openid`.
    pub scopes: Vec<String>,
    /// The claim that names the user.
    pub user_claim: String,
    /// The domain of the addresses that name users, where they are named by `email`: what is before the `@` is the name.
    pub email_domain: Option<String>,
    /// The claim that lists the user's groups.
    pub groups_claim: String,
    /// Which role a group gives; of several, the greatest counts.
    pub roles: BTreeMap<String, Role>,
    /// The role of those whose groups give none; absent, only users that exist may sign in.
    pub default_role: Option<Role>,
    /// How long a token counts that a sign-in gives.
    pub token_life: Duration,
    /// Where browsers are sent back to, without a port for any.
    pub redirect: String,
    /// Whether one may sign in on another device.
    pub device: bool,
}

impl fmt::Debug for OidcSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OidcSettings").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

impl OidcSettings {
    /// Those of that issuer, with all else as it is unless told otherwise.
    #[must_use]
    pub fn new(issuer: String, client_id: String) -> Self {
        Self {
            issuer,
            client_id,
            client_secret: None,
            authorities: None,
            scopes: vec!["profile".to_owned()],
            user_claim: "preferred_username".to_owned(),
            email_domain: None,
            groups_claim: "groups".to_owned(),
            roles: BTreeMap::new(),
            default_role: None,
            token_life: limits::SIGN_IN_LIFE,
            redirect: "http://127.0.0.1/".to_owned(),
            device: false,
        }
    }

    /// Which key cannot be used, and why; nothing where all can.
    ///
    /// # Errors
    /// The key, and a sentence about it.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        match self.issuer.parse::<Url>() {
            Ok(url) if !is_fit(&url) => {
                return Err((
                    "issuer",
                    "the issuer's address begins with https://, unless it is on loopback".to_owned(),
                ));
            }
            Ok(url) if url.query().is_some() || url.fragment().is_some() => {
                return Err(("issuer", "the issuer's address has neither `?` nor `#`".to_owned()));
            }
            Ok(_) => {}
            Err(error) => return Err(("issuer", format!("`{}` is no address: {error}", self.issuer))),
        }
        match self.redirect.parse::<Url>() {
            Ok(url)
                if url.scheme() == "http" && is_loopback(&url) && url.query().is_none() && url.fragment().is_none() => {
            }
            _ => {
                let sentence = "browsers are sent back to loopback, as http://127.0.0.1/ or http://localhost:8765/back";
                return Err(("redirect", sentence.to_owned()));
            }
        }
        if (self.user_claim == "email") != self.email_domain.is_some() {
            let sentence = "`user_claim = \"email\"` and `email_domain` go together: what is before the `@` names a user, \
                            which two domains would give twice";
            return Err(("user_claim", sentence.to_owned()));
        }
        let most = limits::TOKEN_LIFE_MAX;
        if !(Duration::from_secs(1)..=most).contains(&self.token_life) {
            let sentence = format!("a token counts for 1 second to {} days (token_life_max)", most.as_secs() / 86_400);
            return Err(("token_life", sentence));
        }
        Ok(())
    }
}
