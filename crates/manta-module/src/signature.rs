//! Detached signatures: a key's owner says that a bundle is what it is, under its name and version.
use std::ops::Deref;

use manta_types::limits::{SIGNATURE_BYTES_MAX, SIGNATURES_PER_VERSION_MAX};
use manta_types::{Digest, Fingerprint, SignedBy};
use serde::{Deserialize, Serialize};

use crate::key::{PublicKey, SecretKey, read_hex, write_hex};
use crate::{Bundle, BundleManifest};

/// The version of a signature's form.
const SIGNATURE_VERSION: u32 = 1;
/// What goes before a statement when it is signed, so that nothing else that a key signs can pass for one.
const DOMAIN: &[u8] = b"manta module signature 1\n";

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// Digest of the bundle's manifest, which names every file by its digest.
    pub bundle: Digest,
    /// From when on the signature counts no more; wall clock, ms since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    /// The module's name.
    pub module: String,
    /// When it was signed, by the signer's clock; ms since 1970.
    pub signed_ms: u64,
    /// The key that signs.
    pub signer: Fingerprint,
    /// The module's version.
    pub version: String,
}

/// A statement with its signature, as it is kept and sent; nothing in it is proved before [`Signature::verify`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    key: String,
    signature: String,
    signature_version: u32,
    statement: Statement,
}

/// Something of a signature that was checked: only [`Signature::verify`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T>(T);

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// Why a signature is none, or none of this module.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// More than a signature has.
    #[error("the signature has {0} bytes; {SIGNATURE_BYTES_MAX} are the limit")]
    TooLong(usize),
    /// Not JSON of this form.
    #[error("the signature cannot be read: {0}")]
    Form(#[from] serde_json::Error),
    /// Made by a later Manta.
    #[error("the signature has version {0}; this build reads version {SIGNATURE_VERSION}")]
    Version(u32),
    /// Another way of writing the same.
    #[error("the signature is not in its canonical form (RFC 8785)")]
    NotCanonical,
    /// Its key is none.
    #[error("the signature's key: {0}")]
    Key(#[from] crate::KeyError),
    /// It names another key than it brings.
    #[error("the signature names the key {named} and brings the key {brought}")]
    OtherKey {
        /// By the statement.
        named: String,
        /// By the key beside it.
        brought: String,
    },
    /// It ends before it begins.
    #[error("the signature expires before it was made")]
    Never,
    /// The bytes were not signed by the key.
    #[error("the signature was tampered with: the key {0} did not sign this")]
    Forged(String),
    /// As many as a version may have.
    #[error("there are {SIGNATURES_PER_VERSION_MAX} signatures already, which is the limit")]
    TooMany,
    /// A sound signature of something else.
    #[error("the signature is for {signed}, not for {asked}")]
    OtherModule {
        /// What was signed.
        signed: String,
        /// What it was brought for.
        asked: String,
    },
}

/// What a signature has to be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signed<'a> {
    /// The module's name.
    pub module: &'a str,
    /// Its version.
    pub version: &'a str,
    /// Its bundle.
    pub bundle: Digest,
}

impl<'a> From<&'a Bundle> for Signed<'a> {
    fn from(bundle: &'a Bundle) -> Self {
        Self::new(&bundle.manifest, bundle.blob.digest)
    }
}

impl<'a> Signed<'a> {
    /// The module of a manifest, whose digest is known already.
    pub fn new(manifest: &'a BundleManifest, bundle: Digest) -> Self {
        Self { module: &manifest.name, version: &manifest.version, bundle }
    }
}

impl Signature {
    /// Signs a module at that time; what expires must expire later.
    pub fn make(key: &SecretKey, module: Signed<'_>, signed_ms: u64, expires_ms: Option<u64>) -> Self {
        let public = key.public();
        let statement = Statement {
            bundle: module.bundle,
            expires_ms,
            module: module.module.to_owned(),
            signed_ms,
            signer: public.fingerprint(),
            version: module.version.to_owned(),
        };
        let mut signature = String::with_capacity(128);
        write_hex(&mut signature, &key.sign(&message(&statement))).expect("text takes text");
        Self { key: public.to_string(), signature, signature_version: SIGNATURE_VERSION, statement }
    }

    /// Reads a signature; only its form is checked.
    ///
    /// # Errors
    /// When it is longer than any signature, or not of this form.
    pub fn parse(text: &str) -> Result<Self, SignatureError> {
        if text.len() > SIGNATURE_BYTES_MAX {
            return Err(SignatureError::TooLong(text.len()));
        }
        let signature: Self = serde_json::from_str(text)?;
        if signature.signature_version != SIGNATURE_VERSION {
            return Err(SignatureError::Version(signature.signature_version));
        }
        if signature.text() != text { Err(SignatureError::NotCanonical) } else { Ok(signature) }
    }

    /// The signature as RFC 8785 writes it.
    pub fn text(&self) -> String {
        serde_json_canonicalizer::to_string(self).expect("numbers below 2^53 and text: always JSON")
    }

    /// Checks that the key it brings is the one it names, that this key signed it, and that it is about that module. Whose key
    /// that is, and whether its time is over, is not asked here.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn verify(self, module: Signed<'_>) -> Result<Verified<Self>, SignatureError> {
        let statement = &self.statement;
        let key: PublicKey = self.key.parse()?;
        let brought = key.fingerprint();
        if brought != statement.signer {
            let (named, brought) = (statement.signer.short(), brought.short());
            return Err(SignatureError::OtherKey { named, brought });
        }
        let signature = read_hex(&self.signature).ok_or_else(|| SignatureError::Forged(brought.short()))?;
        if !key.signed(&message(statement), &signature) {
            return Err(SignatureError::Forged(brought.short()));
        }
        if statement.expires_ms.is_some_and(|end| end <= statement.signed_ms) {
            return Err(SignatureError::Never);
        }
        let signed = Signed { module: &statement.module, version: &statement.version, bundle: statement.bundle };
        if signed != module {
            return Err(SignatureError::OtherModule { signed: in_words(signed), asked: in_words(module) });
        }
        Ok(Verified(self))
    }

    /// What it says.
    pub const fn statement(&self) -> &Statement {
        &self.statement
    }
}

impl Verified<Signature> {
    /// By which key, and until when.
    pub const fn signed_by(&self) -> SignedBy {
        let statement = &self.0.statement;
        SignedBy { key: statement.signer, expires_ms: statement.expires_ms }
    }
}

/// Adds a signature to those that are kept of a version; of one key the newest stays. Whether anything changed.
///
/// # Errors
/// [`SignatureError::TooMany`].
pub fn keep(kept: &mut Vec<String>, fresh: &Verified<Signature>) -> Result<bool, SignatureError> {
    let (signer, signed_ms) = (fresh.statement().signer, fresh.statement().signed_ms);
    for one in kept.iter_mut() {
        let Some(known) = Signature::parse(one).ok().filter(|known| known.statement.signer == signer) else { continue };
        let is_newer = signed_ms > known.statement.signed_ms;
        if is_newer {
            *one = fresh.text();
        }
        return Ok(is_newer);
    }
    if kept.len() >= SIGNATURES_PER_VERSION_MAX {
        return Err(SignatureError::TooMany);
    }
    kept.push(fresh.text());
    Ok(true)
}

/// The bytes that are signed.
fn message(statement: &Statement) -> Vec<u8> {
    let text = serde_json_canonicalizer::to_vec(statement).expect("numbers below 2^53 and text: always JSON");
    [DOMAIN, &text].concat()
}

fn in_words(signed: Signed<'_>) -> String {
    let (module, version) =
        (manta_types::name::printable(signed.module, 64), manta_types::name::printable(signed.version, 64));
    format!("`{module}` {version} (bundle {})", signed.bundle.short())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> SecretKey {
        SecretKey::from_seed(&[number; 32])
    }

    const WORKER: Signed<'_> = Signed { module: "worker", version: "1.0.0", bundle: Digest::from_bytes([7; 32]) };

    fn refused(text: &str, module: Signed<'_>) -> String {
        Signature::parse(text).and_then(|signature| signature.verify(module)).unwrap_err().to_string()
    }

    #[test]
    fn what_was_signed_is_verified_and_reads_back() {
        for expires in [None, Some(10)] {
            let made = Signature::make(&key(1), WORKER, 9, expires);
            let read = Signature::parse(&made.text()).unwrap();
            assert_eq!(read, made);
            let by = SignedBy { key: key(1).public().fingerprint(), expires_ms: expires };
            assert_eq!(read.verify(WORKER).unwrap().signed_by(), by);
        }
    }

    #[test]
    fn a_signature_counts_for_no_other_name_version_or_bundle() {
        let text = Signature::make(&key(1), WORKER, 9, None).text();
        let others = [
            Signed { module: "other", ..WORKER },
            Signed { version: "0.9.0", ..WORKER },
            Signed { bundle: Digest::from_bytes([8; 32]), ..WORKER },
        ];
        for other in others {
            let told = refused(&text, other);
            assert!(told.contains("is for `worker` 1.0.0 (bundle 070707070707), not for"), "{told}");
        }
    }

    #[test]
    fn no_part_of_a_signature_can_be_changed() {
        let made = Signature::make(&key(1), WORKER, 9, Some(20));
        let text = made.text();
        let eve = Signature::make(&key(2), WORKER, 9, Some(20));
        let change = |from: &str, to: &str| {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text);
            refused(&changed, WORKER)
        };
        for (from, to) in [
            ("\"expires_ms\":20", "\"expires_ms\":21"),
            (",\"expires_ms\":20", ""),
            ("\"signed_ms\":9", "\"signed_ms\":8"),
            ("\"version\":\"1.0.0\"", "\"version\":\"1.0.1\""),
            ("\"module\":\"worker\"", "\"module\":\"workers\""),
            (&made.signature, &eve.signature),
            (&made.signature, &made.signature[2..]),
        ] {
            let told = change(from, to);
            assert!(told.contains("tampered with"), "{to}: {told}");
        }
        assert!(change(&made.key, &eve.key).contains("and brings the key"));
        let both = text
            .replace(&made.key, &eve.key)
            .replace(&made.statement.signer.to_string(), &eve.statement.signer.to_string());
        assert!(refused(&both, WORKER).contains("tampered with"));
        assert!(change("\"signature_version\":1", "\"signature_version\":2").contains("version 2"));
        assert!(change(":", ": ").contains("canonical"));
        assert!(change("{", "{\"x\":1,").contains("unknown field `x`"));
        for field in ["key", "signature", "signature_version", "statement"] {
            let mut document: serde_json::Value = serde_json::from_str(&text).unwrap();
            document.as_object_mut().unwrap().remove(field);
            assert!(refused(&document.to_string(), WORKER).contains("missing field"), "{field}");
        }
        for field in ["bundle", "module", "signed_ms", "signer", "version"] {
            let mut document: serde_json::Value = serde_json::from_str(&text).unwrap();
            document["statement"].as_object_mut().unwrap().remove(field);
            assert!(refused(&document.to_string(), WORKER).contains("missing field"), "{field}");
        }
    }

    #[test]
    fn the_other_form_of_a_signatures_scalar_is_no_second_signature() {
        // s + L, where L is the order of the group, satisfies the same equation.
        let order = [
            0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0,
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10_u8,
        ];
        let made = Signature::make(&key(1), WORKER, 9, None);
        let mut bytes: [u8; 64] = read_hex(&made.signature).unwrap();
        let mut carry = 0_u16;
        for (byte, more) in bytes[32..].iter_mut().zip(order) {
            carry += u16::from(*byte) + u16::from(more);
            *byte = carry.to_le_bytes()[0];
            carry >>= 8;
        }
        let mut other = String::new();
        write_hex(&mut other, &bytes).unwrap();
        assert!(refused(&made.text().replace(&made.signature, &other), WORKER).contains("tampered with"));
    }

    #[test]
    fn a_signature_that_never_held_and_garbage_are_refused() {
        let never = Signature::make(&key(1), WORKER, 9, Some(9));
        assert!(refused(&never.text(), WORKER).contains("before it was made"));
        assert!(refused(&"x".repeat(64 << 10), WORKER).contains("65536 bytes; 4096 are the limit"));
        for garbage in ["", "{}", "[1]", "\u{0}", "null"] {
            assert!(refused(garbage, WORKER).contains("cannot be read"), "{garbage}");
        }
        let statement = Signature::make(&key(1), WORKER, 9, None).statement;
        assert!(message(&statement).starts_with(b"manta module signature 1\n{\"bundle\":"));
    }
}
