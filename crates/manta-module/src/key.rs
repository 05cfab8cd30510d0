//! Publisher keys: Ed25519, as text and by fingerprint.
use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use manta_types::{Digest, Fingerprint};

/// What a public key's text begins with.
const PREFIX: &str = "manta-ed25519:";
/// What sets the digest of a key apart from the digest of anything else.
const FINGERPRINT_DOMAIN: &[u8] = b"manta publisher key 1\n";

/// A text that is no public key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not of the form.
    #[error("`{0}` is no public key: `{PREFIX}` and 64 lower-case hexadecimal digits are needed")]
    Form(String),
    /// A text of the form, which no key has.
    #[error("`{0}` is no public key: its digits are none that a key can have")]
    NoPoint(String),
    /// One of the few keys under which anybody can sign.
    #[error("`{0}` is a weak key, under which anybody can sign")]
    Weak(String),
}

/// The half of a publisher's key that is handed out; [`fmt::Display`] and [`FromStr`] are its text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// The key's name.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hasher = blake3::Hasher::new();
        hasher.update(FINGERPRINT_DOMAIN).update(self.0.as_bytes());
        Fingerprint::new(Digest::from_bytes(*hasher.finalize().as_bytes()))
    }

    /// Whether the key's other half signed these bytes; strict, so that no second signature can be made of one.
    pub(crate) fn signed(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0.verify_strict(message, &ed25519_dalek::Signature::from_bytes(signature)).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        write_hex(f, self.0.as_bytes())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let shown = || manta_types::name::printable(text, 96);
        let bytes = text.strip_prefix(PREFIX).and_then(read_hex).ok_or_else(|| KeyError::Form(shown()))?;
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| KeyError::NoPoint(shown()))?;
        if key.is_weak() { Err(KeyError::Weak(shown())) } else { Ok(Self(key)) }
    }
}

/// The half of a publisher's key that signs; wiped from memory when it is dropped, and printed by nothing.
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// The key of a seed: 32 bytes that nobody can guess.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The secret, as 64 hexadecimal digits; for the file that keeps it.
    pub fn secret_text(&self) -> String {
        let mut text = String::with_capacity(64);
        write_hex(&mut text, self.0.as_bytes()).expect("text takes text");
        text
    }

    /// The key of a secret's text.
    pub fn from_secret_text(text: &str) -> Option<Self> {
        Some(Self::from_seed(&read_hex(text)?))
    }

    /// The half that is handed out.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({})", self.public().fingerprint().short())
    }
}

pub(crate) fn write_hex(out: &mut impl fmt::Write, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
}

/// So many bytes of lower-case hexadecimal digits, and nothing else.
pub(crate) fn read_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let is_hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if text.len() != 2 * N || !is_hex {
        return None;
    }
    let mut bytes = [0; N];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back_and_have_names_of_their_own() {
        let key = SecretKey::from_seed(&[1; 32]);
        let public = key.public();
        assert_eq!(public.to_string().parse(), Ok(public));
        assert_eq!(SecretKey::from_secret_text(&key.secret_text()).unwrap().public(), public);
        assert_ne!(public.fingerprint(), SecretKey::from_seed(&[2; 32]).public().fingerprint());
        assert!(!format!("{key:?}").contains(&key.secret_text()));
    }

    #[test]
    fn texts_that_are_no_key_are_refused() {
        let digits = "ab".repeat(32);
        for bad in ["", PREFIX, &digits, &format!("{PREFIX}{}", &digits[1..]), &format!("ssh-ed25519:{digits}")] {
            assert!(matches!(bad.parse::<PublicKey>(), Err(KeyError::Form(_))), "{bad}");
        }
        let mut identity = [0_u8; 32];
        identity[0] = 1;
        let mut text = PREFIX.to_owned();
        write_hex(&mut text, &identity).unwrap();
        assert!(matches!(text.parse::<PublicKey>(), Err(KeyError::Weak(_))), "the neutral element");
        let none = format!("{PREFIX}02{}", "0".repeat(62));
        assert!(matches!(none.parse::<PublicKey>(), Err(KeyError::NoPoint(_))), "no point of the curve");
    }
}
