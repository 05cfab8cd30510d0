//! The site's word on what runs here: its policy is judged before anything of a module is fetched but its manifest.
mod file;
mod hours;
mod watch;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use manta_module::{BundleManifest, Signature, Signed};
use manta_types::limits::SIGNATURES_PER_VERSION_MAX;
use manta_types::policy::{Code, Policy, PolicyRefusal, SignedBy};
use manta_types::{AttemptFailure, Digest, OutcomeClass};

pub use file::{POLICY_FILE, read as read_policy};
pub(crate) use watch::{record as record_policy, watch};

use crate::agent::Node;
use crate::attempt::Order;
use crate::audit::Watched;

/// Bundles whose signatures are remembered; beyond, they are asked for again.
const REMEMBERED_MAX: usize = 10_000;

/// The site's policy, and the signatures that were verified here.
pub(crate) struct Site {
    /// The file that the policy is read from, whether or not it is there.
    file: PathBuf,
    policy: RwLock<Arc<Policy>>,
    /// Why the file as it is now cannot be used.
    broken: Mutex<Option<String>>,
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
pub(crate) struct Admitted {
    described: Described,
    /// Who vouches for it, as the policy names them.
    pub(crate) signers: Vec<String>,
}

impl Admitted {
    /// The bundle.
    pub(crate) fn into_bundle(self) -> Described {
        self.described
    }

    /// What it is.
    pub(crate) const fn manifest(&self) -> &BundleManifest {
        &self.described.manifest
    }

    /// A bundle that nobody judged.
    #[cfg(test)]
    pub(crate) const fn unjudged(described: Described) -> Self {
        Self { described, signers: Vec::new() }
    }
}

impl Site {
    pub(crate) fn new(policy: Policy, file: PathBuf) -> Self {
        Self { file, policy: RwLock::new(Arc::new(policy)), broken: Mutex::default(), verified: Mutex::default() }
    }

    /// The rules, with what of them changes by itself as it was found last.
    pub(crate) fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What a person should know of it.
    pub(crate) fn note(&self) -> Option<String> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How much may leave of each of these datasets.
    pub(crate) fn watched(&self, datasets: &[String]) -> Vec<Watched> {
        let policy = self.policy();
        let budget = |name: &String| policy.datasets.get(name)?.egress.map(|budget| budget.bytes_per_day);
        datasets.iter().map(|name| Watched { dataset: name.clone(), budget: budget(name) }).collect()
    }

    /// Why no more of a dataset leaves today.
    pub(crate) fn keeps(&self, node: &Node, dataset: &str) -> AttemptFailure {
        let policy = self.policy();
        let Some(found) = policy.egress_refusal(dataset) else {
            let message = format!("`{}` lets no more leave of the dataset `{dataset}`", node.name);
            return AttemptFailure::new(OutcomeClass::Policy, message);
        };
        let message = format!(
            "`{}` keeps what this attempt made by its policy: {found}; it leaves where {}",
            node.name, found.change
        );
        AttemptFailure { location: Some(found.place), ..AttemptFailure::new(OutcomeClass::Policy, message) }
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
        let (manifest, policy) = (&described.manifest, self.policy());
        let is_as_asked =
            order.image == manifest.image && order.datasets.iter().all(|name| manifest.datasets.contains(name));
        if !policy.is_empty() && !is_as_asked {
            let why = "the offer asks for another image or more datasets than the module itself";
            let change = "the manager offers what the module asks for";
            return Err(refusal(node, &described, why, change, policy.file.clone()));
        }
        if let Err(found) = policy.judge_moment(&order.datasets) {
            return Err(refusal(node, &described, &found.to_string(), &found.change, found.place));
        }
        self.allow(node, described).await
    }

    /// Judges a bundle as such, for whatever attempt: by its manifest and its signatures.
    ///
    /// # Errors
    /// As those of [`Site::admit`].
    pub(crate) async fn allow(&self, node: &Node, described: Described) -> Result<Admitted, AttemptFailure> {
        let policy = self.policy();
        if policy.is_empty() {
            return Ok(Admitted { described, signers: Vec::new() });
        }
        let Described { digest, manifest } = &described;
        let now_ms = crate::clock::now_ms();
        let judge = |signatures: &[SignedBy]| judge(&policy, manifest, *digest, signatures, now_ms);
        let mut signatures = self.known(digest).unwrap_or_default();
        let mut judged = judge(&signatures);
        if judged.is_err() && policy.asks_for_signatures() {
            signatures = self.fetch(node, manifest, *digest).await?;
            judged = judge(&signatures);
            if judged.is_ok() {
                self.remember(*digest, signatures.clone());
            }
        }
        match judged {
            Ok(()) => Ok(Admitted { described, signers: policy.vouching(&signatures, Some(now_ms)) }),
            Err(found) => Err(refusal(node, &described, &found.to_string(), &found.change, found.place)),
        }
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

fn judge(
    policy: &Policy,
    manifest: &BundleManifest,
    bundle: Digest,
    signatures: &[SignedBy],
    now_ms: u64,
) -> Result<(), PolicyRefusal> {
    let code = Code {
        name: &manifest.name,
        version: &manifest.version,
        bundle,
        image: &manifest.image,
        datasets: &manifest.datasets,
        signatures,
    };
    policy.judge(&code, Some(now_ms))
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
