//! What a submission names, found: bundles are read and agree with it, and what is not stored is known by name and size.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use manta_api::{ErrorCode, InvalidSubmission, ModuleRef, Problem, SwarmSubmission};
use manta_module::{BundleManifest, Locked, ModuleResources, digest_of};
use manta_store::{BlobError, BlobStore};
use manta_types::{Blob, Checkpoint, Digest, SwarmSpec};

use crate::ManagerError;
use crate::app::App;
use crate::http::{internal, set_aside};
use crate::orchestrator::allows_this_release;

/// Bytes of a bundle's manifest.
pub(crate) const MANIFEST_BYTES_MAX: u64 = 16 << 20;
/// Missing blobs that an answer names.
pub(crate) const MISSING_NAMED_MAX: usize = 5;

/// A submission that keeps every rule which needs no knowledge of nodes.
pub(crate) struct Checked {
    pub(crate) submission: SwarmSubmission,
    pub(crate) spec: Arc<SwarmSpec>,
    pub(crate) content: Content,
}

/// Where the content of a submission is.
#[derive(Debug, Default)]
pub(crate) struct Content {
    /// Blobs that are not stored, each once, with what it is.
    pub(crate) missing: BTreeMap<Digest, Missing>,
    /// Why a module does not work with this release of Manta.
    unfit: Option<String>,
    /// Bytes of each module's bundle, by the manifest's digest; none where no manifest is known.
    pub(crate) bundle_bytes: BTreeMap<Digest, Option<u64>>,
}

/// A blob that is not stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing {
    /// ``global `rate` ``, `` `worker.py` of module `worker` ``.
    pub(crate) what: String,
    /// Bytes, where they are known.
    pub(crate) size: Option<u64>,
}

impl Content {
    /// Refuses what is not all stored.
    pub(crate) fn is_stored(&self) -> Result<(), Problem> {
        if self.missing.is_empty() {
            return Ok(());
        }
        let named: Vec<_> =
            self.missing.values().take(MISSING_NAMED_MAX).map(|missing| missing.what.as_str()).collect();
        let rest = match self.missing.len() - named.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let sentence = format!("not stored at the manager: {}{rest}", named.join(", "));
        let problem = Problem::new(ErrorCode::MissingBlob, sentence);
        Err(problem.hint("ask `blobs/missing` and upload what it names, then submit again"))
    }
}

/// Checks a submission; `manifests` may hold what is not stored yet.
///
/// # Errors
/// A problem for the client: a broken rule with its place, or a bundle that is not what the submission says of it.
pub(crate) async fn check(app: &App, submission: SwarmSubmission, manifests: Vec<String>) -> Result<Checked, Problem> {
    let invalid = |error: InvalidSubmission| Problem::new(ErrorCode::InvalidSwarm, error.to_string());
    let spec = Arc::new(submission.check().map_err(invalid)?);
    let blobs = Arc::clone(&app.blobs);
    let looked = tokio::task::spawn_blocking(move || {
        let given = manifests.into_iter().map(|text| (digest_of(text.as_bytes()), text)).collect();
        let content = look(&submission, &given, blobs.as_ref())?;
        Ok::<_, Problem>((submission, content))
    });
    let (submission, content) = looked.await.map_err(internal)??;
    if let Some(sentence) = content.unfit {
        let problem = Problem::new(ErrorCode::InvalidSwarm, sentence);
        return Err(problem.hint("deploy a version of the module for this release: `manta module compat` lists them"));
    }
    Ok(Checked { submission, spec, content })
}

/// Looks for everything that a swarm names which goes on from a checkpoint, and holds it, so that no sweep takes it before the
/// new swarm is stored. The rules of admission are not asked again.
///
/// # Errors
/// A problem for the client, where the storage fails.
pub(crate) async fn look_again(
    app: &App,
    submission: SwarmSubmission,
    checkpoint: Checkpoint,
) -> Result<Content, Problem> {
    let blobs = Arc::clone(&app.blobs);
    let looked = tokio::task::spawn_blocking(move || {
        let mut content = look(&submission, &BTreeMap::new(), blobs.as_ref())?;
        for (name, blob) in checkpoint.values() {
            if blobs.hold(&blob.digest).map_err(ManagerError::from)?.is_none() {
                let missing = Missing { what: format!("value `{name}`"), size: Some(blob.size) };
                content.missing.entry(blob.digest).or_insert(missing);
            }
        }
        Ok::<_, Problem>(content)
    });
    looked.await.map_err(internal)?
}

/// Looks for everything that the bundle of a module names, and holds it.
///
/// # Errors
/// A problem for the client, where something is not stored or the module is not for this release.
pub(crate) async fn look_for(app: &App, module: ModuleRef) -> Result<(), Problem> {
    let blobs = Arc::clone(&app.blobs);
    let modules = SwarmSubmission {
        name: String::new(),
        max_iteration: None,
        priority: 0,
        attempts_max: None,
        traceparent: None,
        globals: BTreeMap::new(),
        modules: vec![module],
        tasks: Vec::new(),
    };
    let looked = tokio::task::spawn_blocking(move || look(&modules, &BTreeMap::new(), blobs.as_ref()));
    let content = looked.await.map_err(internal)??;
    match &content.unfit {
        Some(sentence) => Err(Problem::new(ErrorCode::InvalidSwarm, sentence.clone())),
        None => content.is_stored(),
    }
}

/// Looks for everything that a submission names.
fn look(
    submission: &SwarmSubmission,
    given: &BTreeMap<Digest, String>,
    blobs: &dyn BlobStore,
) -> Result<Content, Problem> {
    let mut content = Content::default();
    let mut wanted: BTreeSet<(Blob, String)> =
        submission.globals.iter().map(|(name, blob)| (*blob, format!("global `{name}`"))).collect();
    for module in &submission.modules {
        let what = format!("the bundle of module `{}`", module.name);
        let (bytes, is_stored) = match (stored(&module.bundle, blobs)?, given.get(&module.bundle)) {
            (Some(bytes), _) => (bytes, true),
            (None, Some(text)) => (text.clone().into_bytes(), false),
            (None, None) => {
                content.missing.insert(module.bundle, Missing { what, size: None });
                content.bundle_bytes.insert(module.bundle, None);
                continue;
            }
        };
        let size = bytes.len() as u64;
        let manifest = BundleManifest::parse(&bytes)
            .map_err(|error| Problem::new(ErrorCode::InvalidSwarm, format!("{what} cannot be used: {error}")))?;
        agree(module, &manifest)?;
        if let Some(range) = manifest.requires_manta.as_deref().filter(|range| !allows_this_release(range)) {
            let (name, version, ours) = (&module.name, &module.version, manta_api::version::PRODUCT);
            content.unfit = Some(format!("module `{name}` {version} needs manta {range}, and this is manta {ours}"));
        }
        if !is_stored {
            content.missing.insert(module.bundle, Missing { what, size: Some(size) });
        }
        let all = manifest.blobs().map(|(_, blob)| blob.size).sum::<u64>();
        content.bundle_bytes.insert(module.bundle, Some(size + all));
        wanted.extend(manifest.blobs().map(|(name, blob)| (blob, format!("`{name}` of module `{}`", module.name))));
    }
    for (blob, what) in wanted {
        match blobs.hold(&blob.digest).map_err(ManagerError::from)? {
            Some(size) if size == blob.size => {}
            Some(size) => {
                let sentence = format!("{what} has {size} bytes, the submission says {}", blob.size);
                return Err(Problem::new(ErrorCode::InvalidSwarm, sentence));
            }
            None => {
                content.missing.entry(blob.digest).or_insert(Missing { what, size: Some(blob.size) });
            }
        }
    }
    Ok(content)
}

/// The bytes of a bundle's manifest, where they are stored; damaged ones are set aside, so that sound ones can take their
/// place.
pub(crate) fn stored(bundle: &Digest, blobs: &dyn BlobStore) -> Result<Option<Vec<u8>>, Problem> {
    blobs.hold(bundle).map_err(ManagerError::from)?;
    match blobs.read(bundle, MANIFEST_BYTES_MAX) {
        Ok(bytes) => Ok(bytes),
        Err(error @ BlobError::Damaged { .. }) => match set_aside(blobs, error) {
            BlobError::Damaged { .. } => Ok(None),
            other => Err(ManagerError::from(other).into()),
        },
        Err(error) => Err(ManagerError::from(error).into()),
    }
}

/// What the submission says of a module must be what its manifest says.
fn agree(module: &ModuleRef, manifest: &BundleManifest) -> Result<(), Problem> {
    let asked = module.resources;
    let resources = ModuleResources {
        cpu: asked.cpu,
        memory_bytes: asked.memory_bytes,
        gpu: asked.gpu,
        gpu_memory_bytes: asked.gpu_memory_bytes,
        tmp_bytes: asked.tmp_bytes,
        pids: asked.pids,
    };
    let differs = [
        ("name", module.name != manifest.name),
        ("version", module.version != manifest.version),
        ("image", module.image != manifest.image),
        ("datasets", module.datasets != manifest.datasets),
        ("resources", resources != manifest.resources),
        ("requires_python", module.requires_python != manifest.requires_python),
        ("architectures", module.architectures != manifest.architectures),
        ("runtimes", module.runtimes != manifest.dependencies.iter().map(Locked::runtime).collect::<Vec<_>>()),
    ];
    match differs.into_iter().find(|(_, differs)| *differs) {
        None => Ok(()),
        Some((field, _)) => {
            let sentence = format!("module `{}`: its `{field}` is not what its bundle's manifest says", module.name);
            Err(Problem::new(ErrorCode::InvalidSwarm, sentence))
        }
    }
}
