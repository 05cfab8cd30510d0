//! The site's word on what runs here: its policy is judged before anything of a module is fetched but its manifest.
mod file;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use manta_module::{BundleManifest, Signature, Signed};
use manta_types::limits::SIGNATURES_PER_VERSION_MAX;
use manta_types::policy::{Code, Policy, PolicyRefusal, SignedBy};
use manta_types::{AttemptFailure, Digest, OutcomeClass};

pub use file::{POLICY_FILE, read as read_policy};

use crate::agent::Node;
use crate::attempt::Order;

/// Bundles whose signatures are remembered; beyond, they are asked for again.
const REMEMBERED_MAX: usize = 10_000;

/// The site's policy, and the signatures that were verified here.
pub(crate) struct Site {
    policy: Policy,
    verified: Mutex<BTreeMap<Digest, Vec<SignedBy>>>,
}

/// A bundle of which nothing is here but its manifest.
#[derive(Debug)]
pub(crate) struct Described {
    pub(crate) digest: Digest,
    pub(crate) manifest: BundleManifest,
}

/// A bundle that the site allows: only [`Site`] makes one, and nothing else can be laid out.
#[derive(Debug)]
pub(crate) struct Admitted(Described);

impl Admitted {
    /// The bundle.
    pub(crate) fn into_bundle(self) -> Described {
        self.0
    }

    /// A bundle that nobody judged.
    #[cfg(test)]
    pub(crate) const fn unjudged(described: Described) -> Self {
        Self(described)
    }
}

impl Site {
    pub(crate) fn new(policy: Policy) -> Self {
        Self { policy, verified: Mutex::default() }
    }

    /// The rules.
    pub(crate) const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Judges what an attempt is to run: by the manifest, which its digest proves, by signatures that are verified here, and
    /// by what the manager offers with it, which must be what the manifest asks for.
    ///
    /// # Errors
    /// The refusal, which names rule and line; or that the manager does not give the signatures.
    pub(crate) async fn admit(
        &self,
        node: &Node,
        described: Described,
        order: &Order,
    ) -> Result<Admitted, AttemptFailure> {
        let manifest = &described.manifest;
        let is_as_asked =
            order.image == manifest.image && order.datasets.iter().all(|name| manifest.datasets.contains(name));
        if !self.policy.is_empty() && !is_as_asked {
            let why = "the offer asks for another image or more datasets than the module itself";
            let change = "the manager offers what the module asks for";
            return Err(refusal(node, &described, why, change, self.policy.file.clone()));
        }
        self.allow(node, described).await
    }

    /// Judges a bundle as such, for whatever attempt: by its manifest and its signatures.
    ///
    /// # Errors
    /// As those of [`Site::admit`].
    pub(crate) async fn allow(&self, node: &Node, described: Described) -> Result<Admitted, AttemptFailure> {
        if self.policy.is_empty() {
            return Ok(Admitted(described));
        }
        let Described { digest, manifest } = &described;
        let judge = |signatures: &[SignedBy]| self.judge(manifest, *digest, signatures);
        let known = self.known(digest);
        let mut judged = judge(known.as_deref().unwrap_or_default());
        if judged.is_err() && self.policy.asks_for_signatures() {
            let signatures = self.fetch(node, manifest, *digest).await?;
            judged = judge(&signatures);
            if judged.is_ok() {
                self.remember(*digest, signatures);
            }
        }
        match judged {
            Ok(()) => Ok(Admitted(described)),
            Err(found) => Err(refusal(node, &described, &found.to_string(), &found.change, found.place)),
        }
    }

    fn judge(&self, manifest: &BundleManifest, bundle: Digest, signatures: &[SignedBy]) -> Result<(), PolicyRefusal> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let code = Code {
            name: &manifest.name,
            version: &manifest.version,
            bundle,
            image: &manifest.image,
            datasets: &manifest.datasets,
            signatures,
        };
        self.policy.judge(&code, Some(now_ms))
    }

    /// The signatures that the manager has of a bundle, as far as they are sound.
    async fn fetch(
        &self,
        node: &Node,
        manifest: &BundleManifest,
        bundle: Digest,
    ) -> Result<Vec<SignedBy>, AttemptFailure> {
        let told = node.remote.signatures(bundle).await.map_err(|error| {
            AttemptFailure::new(OutcomeClass::Platform, format!("the module's signatures cannot be fetched: {error}"))
        })?;
        Ok(sound(&told, Signed::new(manifest, bundle)))
    }

    fn known(&self, bundle: &Digest) -> Option<Vec<SignedBy>> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner).get(bundle).cloned()
    }

    fn remember(&self, bundle: Digest, signatures: Vec<SignedBy>) {
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if verified.len() >= REMEMBERED_MAX {
            verified.clear();
        }
        verified.insert(bundle, signatures);
    }
}

/// Those of the signatures that are signatures of that module; whoever sent them is not believed.
fn sound(told: &[String], module: Signed<'_>) -> Vec<SignedBy> {
    let verified = told.iter().take(SIGNATURES_PER_VERSION_MAX).filter_map(|text| {
        let verified = Signature::parse(text).and_then(|signature| signature.verify(module));
        verified.inspect_err(|error| tracing::warn!(module = module.module, %error, "a signature is none")).ok()
    });
    verified.map(|signature| signature.signed_by()).collect()
}

/// What the policy does not allow, and with which change it would.
fn refusal(node: &Node, module: &Described, why: &str, change: &str, place: String) -> AttemptFailure {
    let (name, version) = (&module.manifest.name, &module.manifest.version);
    let message =
        format!("`{}` refuses module `{name}` {version} by its policy: {why}; it runs here where {change}", node.name);
    tracing::warn!(module = name, version, bundle = %module.digest, place, why, "the policy refused a module");
    AttemptFailure { location: Some(place), ..AttemptFailure::new(OutcomeClass::Policy, message) }
}

#[cfg(test)]
mod tests {
    use manta_module::SecretKey;

    use super::*;

    #[test]
    fn only_sound_signatures_of_the_module_count_however_many_are_sent() {
        let module = Signed { module: "worker", version: "1.0.0", bundle: Digest::from_bytes([7; 32]) };
        let key = |number| SecretKey::from_seed(&[number; 32]);
        let good = Signature::make(&key(1), module, 5, None).text();
        let replayed = Signature::make(&key(1), Signed { version: "0.9.0", ..module }, 5, None).text();
        let told = [replayed, good.replace("\"signed_ms\":5", "\"signed_ms\":6"), "x".repeat(1 << 16), good.clone()];
        let found = sound(&told, module);
        assert_eq!(found, [SignedBy { key: key(1).public().fingerprint(), expires_ms: None }]);
        assert_eq!(sound(&vec![good; 1000], module).len(), SIGNATURES_PER_VERSION_MAX);
    }
}
