//! A submission's way in: read, checked, everything it names found, and only then handed to the engine.
use std::collections::BTreeSet;
use std::sync::Arc;

use manta_api::{ErrorCode, ModuleRef, Problem, SwarmSubmission};
use manta_engine::{Refusal, RefusalKind};
use manta_module::{BundleManifest, ModuleResources};
use manta_store::{BlobError, BlobStore, KeyRecord, NewSwarm};
use manta_types::{Blob, SwarmId, crash_point};

use crate::ManagerError;
use crate::app::App;
use crate::http::{internal, parse, set_aside};
use crate::orchestrator::Refused;

/// Bytes of a bundle's manifest.
pub(crate) const MANIFEST_BYTES_MAX: u64 = 16 << 20;
/// Missing blobs that a refusal names.
const MISSING_NAMED_MAX: usize = 5;
/// Bytes of an idempotency key.
const KEY_BYTES_MAX: usize = 255;

/// A submission that was taken, now or before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken {
    pub(crate) swarm: SwarmId,
    pub(crate) is_new: bool,
}

/// Takes a submission, or says everything that speaks against it.
///
/// # Errors
/// A problem for the client; nothing was stored.
pub(crate) async fn submit(app: &App, body: &[u8], key: Option<String>) -> Result<Taken, Problem> {
    let idempotency =
        key.map(|key| check_key(key).map(|key| (key, blake3::hash(body).to_hex().to_string()))).transpose()?;
    if let Some((key, digest)) = idempotency.clone()
        && let Some(taken) = taken_before(app, key, &digest).await?
    {
        return Ok(taken);
    }
    app.space.admit(body.len() as u64)?;
    let submission: SwarmSubmission = parse("submission", body)?;
    let invalid = |error: manta_api::InvalidSubmission| Problem::new(ErrorCode::InvalidSwarm, error.to_string());
    let spec = Arc::new(submission.check().map_err(invalid)?);
    let blobs = Arc::clone(&app.blobs);
    let (submission, checked) = tokio::task::spawn_blocking(move || {
        let checked = check_content(&submission, blobs.as_ref());
        (submission, checked)
    })
    .await
    .map_err(internal)?;
    checked?;
    crash_point!("manager.submit.validated");
    let new = NewSwarm {
        id: SwarmId::from_uuid(uuid::Uuid::now_v7()),
        name: submission.name.clone(),
        submission: serde_json::to_string(&submission).map_err(internal)?,
        idempotency,
        created_ms: app.clock.now().wall_ms,
    };
    match app.handle.submit(new, spec).await? {
        Ok(swarm) => Ok(Taken { swarm, is_new: true }),
        Err(Refused::KeyUsed { swarm, same_request: true }) => Ok(Taken { swarm, is_new: false }),
        Err(Refused::KeyUsed { swarm, same_request: false }) => Err(key_conflict(swarm)),
        Err(Refused::Placement(refusals)) => Err(placement(refusals)),
    }
}

fn check_key(key: String) -> Result<String, Problem> {
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        let sentence = format!("the idempotency key has {} bytes; 1 to {KEY_BYTES_MAX} are allowed", key.len());
        return Err(Problem::new(ErrorCode::BadRequest, sentence));
    }
    Ok(key)
}

async fn taken_before(app: &App, key: String, digest: &str) -> Result<Option<Taken>, Problem> {
    let cluster = app.cluster.clone();
    let known = app.store.run(move |store| store.idempotency(&cluster, &key)).await?.map_err(ManagerError::from)?;
    match known {
        None => Ok(None),
        Some(KeyRecord { request, swarm: Some(swarm), .. }) if request == digest => {
            Ok(Some(Taken { swarm, is_new: false }))
        }
        Some(KeyRecord { swarm: Some(swarm), .. }) => Err(key_conflict(swarm)),
        Some(KeyRecord { .. }) => {
            Err(Problem::new(ErrorCode::Conflict, "the idempotency key was used for another request")
                .hint("send a new key with a new request"))
        }
    }
}

fn key_conflict(swarm: SwarmId) -> Problem {
    let sentence = format!("the idempotency key made swarm `{swarm}` from another request");
    Problem::new(ErrorCode::Conflict, sentence).hint("send a new key with a new request")
}

/// All reasons as one problem, whose code is that of the first.
fn placement(refusals: Vec<Refusal>) -> Problem {
    let code = match refusals.first().map(|refusal| refusal.kind) {
        Some(RefusalKind::NoDataset) => ErrorCode::NoDataset,
        _ => ErrorCode::NoNode,
    };
    let messages: Vec<_> = refusals.iter().map(|refusal| refusal.message.as_str()).collect();
    let problem = Problem::new(code, messages.join("; "));
    match refusals.into_iter().find_map(|refusal| refusal.hint) {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

/// Checks that every bundle is stored, is what the submission says of it, and that all values are stored.
fn check_content(submission: &SwarmSubmission, blobs: &dyn BlobStore) -> Result<(), Problem> {
    let mut missing = Vec::new();
    let mut wanted: BTreeSet<(Blob, String)> =
        submission.globals.iter().map(|(name, blob)| (*blob, format!("global `{name}`"))).collect();
    for module in &submission.modules {
        let Some(manifest) = read_manifest(module, blobs)? else {
            missing.push(format!("the bundle of module `{}`", module.name));
            continue;
        };
        agree(module, &manifest)?;
        let files = manifest.files.iter();
        wanted.extend(files.map(|(path, blob)| (*blob, format!("`{path}` of module `{}`", module.name))));
    }
    for (blob, what) in wanted {
        match blobs.hold(&blob.digest).map_err(ManagerError::from)? {
            Some(size) if size == blob.size => {}
            Some(size) => {
                let sentence = format!("{what} has {size} bytes, the submission says {}", blob.size);
                return Err(Problem::new(ErrorCode::InvalidSwarm, sentence));
            }
            None => missing.push(what),
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let more = missing.len().saturating_sub(MISSING_NAMED_MAX);
    let named = missing[..missing.len() - more].join(", ");
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    let problem = Problem::new(ErrorCode::MissingBlob, format!("not stored at the manager: {named}{rest}"));
    Err(problem.hint("ask `blobs/missing` and upload what it names, then submit again"))
}

/// The manifest of a module's bundle, if that is stored; a damaged one is set aside, so that sound bytes can take its place.
fn read_manifest(module: &ModuleRef, blobs: &dyn BlobStore) -> Result<Option<BundleManifest>, Problem> {
    blobs.hold(&module.bundle).map_err(ManagerError::from)?;
    let bytes = match blobs.read(&module.bundle, MANIFEST_BYTES_MAX) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(None),
        Err(error @ BlobError::Damaged { .. }) => match set_aside(blobs, error) {
            BlobError::Damaged { .. } => return Ok(None),
            other => return Err(ManagerError::from(other).into()),
        },
        Err(error) => return Err(ManagerError::from(error).into()),
    };
    let invalid = |error| {
        let sentence = format!("the bundle of module `{}` cannot be used: {error}", module.name);
        Problem::new(ErrorCode::InvalidSwarm, sentence)
    };
    BundleManifest::parse(&bytes).map(Some).map_err(invalid)
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
    ];
    match differs.into_iter().find(|(_, differs)| *differs) {
        None => Ok(()),
        Some((field, _)) => {
            let sentence = format!("module `{}`: its `{field}` is not what its bundle's manifest says", module.name);
            Err(Problem::new(ErrorCode::InvalidSwarm, sentence))
        }
    }
}
