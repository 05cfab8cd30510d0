//! A node's policy as the node tells it to its manager, which foresees by it what the node will refuse.
use std::collections::BTreeMap;

use manta_types::policy::{Grant, Listed, Policy, Signer};
use manta_types::{Digest, Fingerprint};
use serde::{Deserialize, Serialize};

/// Bytes of a policy's form.
pub const POLICY_BYTES_MAX: usize = 4 << 20;

/// A [`Policy`] as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PolicyForm {
    file: String,
    require_signature: Option<u32>,
    signers: Vec<SignerForm>,
    allowed_digests: Option<ListForm<Digest>>,
    denied_digests: Option<ListForm<Digest>>,
    images: Option<ListForm<String>>,
    datasets: BTreeMap<String, GrantForm>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SignerForm {
    name: String,
    key: Fingerprint,
    expires_ms: Option<u64>,
    revoked: bool,
    line: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ListForm<T> {
    line: u32,
    all: Vec<T>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct GrantForm {
    line: u32,
    signers: Option<Vec<String>>,
    modules: Option<Vec<String>>,
}

impl<T> From<Listed<T>> for ListForm<T> {
    fn from(Listed { line, all }: Listed<T>) -> Self {
        Self { line, all }
    }
}

impl<T> From<ListForm<T>> for Listed<T> {
    fn from(ListForm { line, all }: ListForm<T>) -> Self {
        Self { line, all }
    }
}

impl From<Policy> for PolicyForm {
    fn from(policy: Policy) -> Self {
        let Policy { file, require_signature, signers, allowed_digests, denied_digests, images, datasets } = policy;
        let signer = |signer: Signer| {
            let Signer { name, key, expires_ms, is_revoked: revoked, line } = signer;
            SignerForm { name, key, expires_ms, revoked, line }
        };
        let grant = |Grant { line, signers, modules }: Grant| GrantForm { line, signers, modules };
        Self {
            file,
            require_signature,
            signers: signers.into_iter().map(signer).collect(),
            allowed_digests: allowed_digests.map(Into::into),
            denied_digests: denied_digests.map(Into::into),
            images: images.map(Into::into),
            datasets: datasets.into_iter().map(|(name, one)| (name, grant(one))).collect(),
        }
    }
}

impl From<PolicyForm> for Policy {
    fn from(form: PolicyForm) -> Self {
        let PolicyForm { file, require_signature, signers, allowed_digests, denied_digests, images, datasets } = form;
        let signer = |signer: SignerForm| {
            let SignerForm { name, key, expires_ms, revoked: is_revoked, line } = signer;
            Signer { name, key, expires_ms, is_revoked, line }
        };
        let grant = |GrantForm { line, signers, modules }: GrantForm| Grant { line, signers, modules };
        Self {
            file,
            require_signature,
            signers: signers.into_iter().map(signer).collect(),
            allowed_digests: allowed_digests.map(Into::into),
            denied_digests: denied_digests.map(Into::into),
            images: images.map(Into::into),
            datasets: datasets.into_iter().map(|(name, one)| (name, grant(one))).collect(),
        }
    }
}
