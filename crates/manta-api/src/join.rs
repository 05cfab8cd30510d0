//! Joining a node: the token that lets it in, and what it and the manager say to each other for a certificate.
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What every token begins with, so that it is found where it should not be.
const PREFIX: &str = "manta_join_";
const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;
const AUTHORITY_BYTES: usize = 32;
const CHECK_BYTES: usize = 4;
const BYTES: usize = ID_BYTES + SECRET_BYTES + AUTHORITY_BYTES + CHECK_BYTES;

/// A token that lets one node join, once. As text it is `manta_join_` and hexadecimal digits: id, secret, fingerprint of the
/// manager's authority, and a checksum, so that one that was cut short is told from one that is not known.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// What the manager knows it by.
    pub id: [u8; ID_BYTES],
    /// What only its bearer knows.
    pub secret: [u8; SECRET_BYTES],
    /// SHA-256 of the SPKI of the certificate by which the manager is recognised.
    pub authority: [u8; AUTHORITY_BYTES],
}

/// A text that is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It begins otherwise.
    #[error("the text is no token to join with: those begin with `{PREFIX}`")]
    Foreign,
    /// Characters are missing, or there are too many.
    #[error("the token was cut short or is longer than it was: it has {found} characters of {wanted}")]
    Length {
        /// Characters after the prefix.
        found: usize,
        /// As many as there should be.
        wanted: usize,
    },
    /// A character is not the one that was printed.
    #[error("the token was changed on its way: its checksum does not fit")]
    Changed,
}

impl TokenError {
    /// What a whole token looks like, and what to do.
    pub fn hint(&self) -> String {
        format!(
            "a whole one is `{PREFIX}` and {} digits from 0 to f, in one line; copy it again, or make another with `manta node \
             token`",
            2 * BYTES
        )
    }
}

impl JoinToken {
    fn check(bytes: &[u8]) -> [u8; CHECK_BYTES] {
        let hash = blake3::hash(bytes);
        let (check, _) = hash.as_bytes().split_first_chunk().expect("a hash is longer than a checksum");
        *check
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&self.id[..], &self.secret, &self.authority].concat();
        f.write_str(PREFIX)?;
        bytes.iter().chain(&Self::check(&bytes)).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinToken(***)")
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let digits = text.trim().strip_prefix(PREFIX).ok_or(TokenError::Foreign)?;
        if digits.len() != 2 * BYTES {
            return Err(TokenError::Length { found: digits.chars().count(), wanted: 2 * BYTES });
        }
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let pairs = digits.as_bytes().chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?));
        let bytes = pairs.collect::<Option<Vec<u8>>>().ok_or(TokenError::Changed)?;
        let (content, check) = bytes.split_at(BYTES - CHECK_BYTES);
        if Self::check(content) != check {
            return Err(TokenError::Changed);
        }
        let part = |from: usize| content.get(from..).expect("as long as it should be");
        Ok(Self { id: first(part(0)), secret: first(part(ID_BYTES)), authority: first(part(ID_BYTES + SECRET_BYTES)) })
    }
}

fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    *bytes.first_chunk().expect("as long as it should be")
}

/// What `POST …/join-tokens` takes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JoinTokenRequest {
    /// The only node that may use it; absent: the node that does names itself.
    #[serde(default)]
    pub name: Option<String>,
    /// What the node is labelled with, whatever it says of itself.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Milliseconds for which it lets a node in, at most a week; absent: an hour.
    #[serde(default)]
    pub ttl_ms: Option<u64>,
}

/// A token that was made; it is shown this once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct JoinTokenView {
    /// The token.
    pub token: String,
    /// Where the node finds the manager.
    pub url: String,
    /// From then on it lets nobody in; wall clock, ms since 1970.
    pub expires_ms: u64,
}

/// What `POST /v1/join` takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JoinRequest {
    /// The token.
    pub token: String,
    /// The node's name, for ever.
    pub name: String,
    /// The id that the node's directory has, `nd_…`.
    pub node_id: String,
    /// A PKCS #10 request in PEM form; only its public key counts.
    pub request: String,
}

/// What `POST /v1/renew` takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RenewRequest {
    /// A PKCS #10 request in PEM form with a key that is new; only its public key counts.
    pub request: String,
}

/// What a node that joined is given, and again when it renews.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CertificateView {
    /// Its certificate, in PEM form.
    pub certificate: String,
    /// The certificates by which it recognises the manager from now on, in PEM form.
    pub authorities: String,
    /// The cluster that it joined.
    pub cluster: String,
    /// The node's name.
    pub name: String,
    /// What the node is labelled with.
    pub labels: BTreeMap<String, String>,
    /// Wall clock of the manager, ms since 1970.
    pub issued_ms: u64,
    /// Wall clock of the manager, ms since 1970.
    pub expires_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_and_what_became_of_another_text_is_said() {
        let token = JoinToken { id: [1; 8], secret: [2; 32], authority: [3; 32] };
        let text = token.to_string();
        assert!(text.starts_with("manta_join_0101") && text.len() == PREFIX.len() + 152, "{text}");
        assert_eq!(format!(" {text}\n").parse(), Ok(token.clone()));
        assert_eq!(format!("{token:?}"), "JoinToken(***)");
        let cut = text[..text.len() - 3].parse::<JoinToken>().unwrap_err();
        assert_eq!(cut, TokenError::Length { found: 149, wanted: 152 });
        let changed = text.replacen("0202", "0203", 1).parse::<JoinToken>().unwrap_err();
        assert_eq!(changed, TokenError::Changed);
        assert_eq!(text.replacen("0202", "02ü", 1).parse::<JoinToken>(), Err(TokenError::Changed));
        assert_eq!("s3cret".parse::<JoinToken>(), Err(TokenError::Foreign));
    }
}
