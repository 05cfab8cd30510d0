//! Whether an ID token may be believed, and in words why not.
use std::error::Error;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use manta_api::{ErrorCode, Problem};
use manta_types::limits;
use manta_types::name::printable;
use openidconnect::core::{CoreIdToken, CoreJwsSigningAlgorithm};
use openidconnect::{ClaimsVerificationError, ErrorResponse, Nonce, RequestTokenError, SignatureVerificationError};

use super::Client;
use crate::error::chain;

/// Characters of what an issuer says that are passed on.
const TOLD_CHARS_MAX: usize = 200;
/// The ways of signing that are accepted: those with a public key, and with nothing that is broken.
const ALGORITHMS: [CoreJwsSigningAlgorithm; 5] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

/// Why an ID token is not believed.
pub(super) struct Doubt {
    /// In one sentence.
    pub(super) sentence: String,
    /// Whether other keys of the issuer could change that.
    pub(super) is_of_keys: bool,
}

/// Whom an ID token is about, where it is the issuer's, for this client, for this sign-in, and of this time.
pub(super) fn verdict(
    client: &Client,
    token: &CoreIdToken,
    nonce: Option<&Nonce>,
    now_ms: u64,
) -> Result<String, Doubt> {
    let apart = limits::ISSUER_CLOCK_APART_MAX;
    let now = UNIX_EPOCH + Duration::from_millis(now_ms);
    let (late, early): (SystemTime, SystemTime) = (now - apart, now + apart);
    let verifier = client
        .id_token_verifier()
        .set_allowed_algs(ALGORITHMS)
        .set_time_fn(move || late.into())
        .set_issue_time_verifier_fn(move |issued| {
            let is_past = SystemTime::from(issued) <= early;
            is_past.then_some(()).ok_or_else(|| "it says that it is made in times to come".to_owned())
        });
    let of_this_sign_in = |told: Option<&Nonce>| match nonce {
        Some(nonce) => openidconnect::NonceVerifier::verify(nonce, told),
        None => Ok(()),
    };
    let claims = token.claims(&verifier, of_this_sign_in).map_err(|error| doubt(&error))?;
    Ok(claims.subject().to_string())
}

fn doubt(error: &ClaimsVerificationError) -> Doubt {
    use ClaimsVerificationError as E;
    use SignatureVerificationError as S;
    let (why, is_of_keys) = match error {
        E::InvalidAudience(why) => (format!("it is not for this client: {why}"), false),
        E::InvalidIssuer(why) => (format!("it is another issuer's: {why}"), false),
        E::InvalidNonce(why) => (format!("it belongs to another sign-in: {why}"), false),
        E::Expired(why) => (format!("it is over: {why}"), false),
        E::SignatureVerification(S::NoSignature) => ("it is not signed".to_owned(), false),
        E::SignatureVerification(S::DisallowedAlg(why) | S::UnsupportedAlg(why)) => {
            (format!("it is signed in a way that is not accepted: {why}"), false)
        }
        E::SignatureVerification(S::NoMatchingKey) => {
            ("it is signed with a key that is not the issuer's".to_owned(), true)
        }
        E::SignatureVerification(S::CryptoError(_)) => ("its signature does not hold".to_owned(), true),
        other => (chain(other), false),
    };
    Doubt { sentence: format!("the ID token is not believed: {}", printable(&why, TOLD_CHARS_MAX)), is_of_keys }
}

/// A sign-in that comes to nothing, in one sentence.
pub(super) fn refused(sentence: &str) -> Problem {
    Problem::new(ErrorCode::SignInRefused, sentence).hint("`manta login` begins another")
}

/// An issuer that does not answer, or not as one.
pub(super) fn away(issuer: &str, why: &str) -> Problem {
    let sentence = format!("the issuer `{issuer}` does not answer as it should: {}", printable(why, TOLD_CHARS_MAX));
    Problem::new(ErrorCode::IssuerAway, sentence)
        .hint("all else goes on: try again later, or use a token that you have; `manta doctor` tells when it is back")
}

/// What the issuer answered in place of a token.
pub(super) fn token<E: Error + 'static, T: ErrorResponse + 'static>(
    issuer: &str,
    error: RequestTokenError<E, T>,
) -> Problem {
    match error {
        RequestTokenError::ServerResponse(told) => {
            refused(&format!("the issuer refused: {}", printable(&told.to_string(), TOLD_CHARS_MAX)))
        }
        other => away(issuer, &chain(&other)),
    }
}
