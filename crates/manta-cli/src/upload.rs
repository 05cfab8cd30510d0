//! From a traced swarm to a submitted one: pack its modules, send what the manager lacks, submit.
use std::collections::BTreeMap;
use std::path::PathBuf;

use futures_util::TryStreamExt;
use manta_api::submission::ResourcesWire;
use manta_api::{ErrorCode, ModuleRef, PlanRequest, SwarmSubmission, SwarmView};
use manta_client::Client;
use manta_types::{Blob, Digest};

use crate::bundle::{PackedModule, name_file, pack_module};
use crate::dependencies::resolve;
use crate::package::Package;
use crate::report::Failure;
use crate::trace::{TraceDocument, Traced, TracedCode};

/// Blobs sent side by side.
const SENT_AT_ONCE: usize = 4;

/// A submission and where the bytes that it names lie.
#[derive(Debug)]
pub(crate) struct Packed {
    /// What is submitted.
    pub(crate) submission: SwarmSubmission,
    sources: BTreeMap<Digest, (u64, Source)>,
}

#[derive(Debug, Clone)]
enum Source {
    File(PathBuf),
    Bytes(Vec<u8>),
}

/// Packs every module and names every global: reads files, resolves and fetches what modules depend on, sends nothing.
pub(crate) async fn pack_swarm(traced: &Traced) -> Result<Packed, Failure> {
    let TraceDocument { name, max_iteration, globals, modules, tasks, interpreter, .. } = traced.document.clone();
    let mut sources = BTreeMap::new();
    let mut refs = Vec::with_capacity(modules.len());
    for module in &modules {
        let packed = match module {
            TracedCode::Source(module) => {
                let (declared, network) = (module.dependencies.as_ref(), traced.network);
                pack_module(module, resolve(&module.name, declared, interpreter.as_ref(), network).await?)?
            }
            TracedCode::Published(module) => module.packed()?.clone(),
        };
        refs.push(reference(&packed.bundle));
        sources.extend(blobs(&packed));
    }
    let mut values = BTreeMap::new();
    for global in globals {
        let path = traced.folder.join(&global.file);
        let blob = name_file(&path)?;
        sources.insert(blob.digest, (blob.size, Source::File(path)));
        values.insert(global.name, blob);
    }
    let tasks = tasks.into_iter().map(Into::into).collect();
    let submission = SwarmSubmission {
        name,
        max_iteration,
        priority: 0,
        attempts_max: None,
        traceparent: trace_parent(),
        globals: values,
        modules: refs,
        tasks,
    };
    if let Err(error) = submission.check() {
        return Err(Failure::new(ErrorCode::InvalidSwarm, error.to_string()));
    }
    Ok(Packed { submission, sources })
}

/// The blobs of a module, with where they are; those of a published one may be at the manager alone.
fn blobs(packed: &PackedModule) -> impl Iterator<Item = (Digest, (u64, Source))> {
    let PackedModule { bundle, sources } = packed;
    let source =
        |(_, blob): (&str, Blob)| Some((blob.digest, (blob.size, Source::File(sources.get(&blob.digest)?.clone()))));
    let manifest = (bundle.blob.digest, (bundle.blob.size, Source::Bytes(bundle.bytes.clone())));
    bundle.manifest.blobs().filter_map(source).chain([manifest])
}

/// Sends what the manager lacks of a package.
pub(crate) async fn send_package(client: &Client, package: &Package) -> Result<(), Failure> {
    send_missing(client, &blobs(&package.packed).collect()).await
}

impl Packed {
    /// The question what it would do; the manifests go with it, so that nothing has to be stored first.
    pub(crate) fn plan_request(&self) -> PlanRequest {
        let manifests = self.sources.values().filter_map(|(_, source)| match source {
            Source::Bytes(bytes) => String::from_utf8(bytes.clone()).ok(),
            Source::File(_) => None,
        });
        PlanRequest { submission: self.submission.clone(), manifests: manifests.collect() }
    }
}

fn reference(bundle: &manta_module::Bundle) -> ModuleRef {
    let manifest = &bundle.manifest;
    let asked = manifest.resources;
    ModuleRef {
        bundle: bundle.blob.digest,
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        image: manifest.image.clone(),
        datasets: manifest.datasets.clone(),
        runtimes: manifest.dependencies.iter().map(manta_module::Locked::runtime).collect(),
        requires_python: manifest.requires_python.clone(),
        architectures: manifest.architectures.clone(),
        resources: ResourcesWire {
            cpu: asked.cpu,
            memory_bytes: asked.memory_bytes,
            tmp_bytes: asked.tmp_bytes,
            pids: asked.pids,
            gpu: asked.gpu,
            gpu_memory_bytes: asked.gpu_memory_bytes,
        },
    }
}

/// Sends the blobs that the manager lacks, then submits.
pub(crate) async fn submit(client: &Client, packed: &Packed) -> Result<SwarmView, Failure> {
    send_missing(client, &packed.sources).await?;
    Ok(client.submit(&packed.submission, &Client::new_key()).await?)
}

async fn send_missing(client: &Client, sources: &BTreeMap<Digest, (u64, Source)>) -> Result<(), Failure> {
    let digests: Vec<Digest> = sources.keys().copied().collect();
    let missing = client.blobs_missing(&digests).await?;
    futures_util::stream::iter(missing.into_iter().map(Ok))
        .try_for_each_concurrent(SENT_AT_ONCE, |digest| send(client, sources, digest))
        .await
}

async fn send(client: &Client, sources: &BTreeMap<Digest, (u64, Source)>, digest: Digest) -> Result<(), Failure> {
    let Some((size, source)) = sources.get(&digest) else {
        return Err(Failure::internal(format!("the manager asks for blob `{digest}`, which is not ours")));
    };
    match source {
        Source::Bytes(bytes) => client.put_blob_bytes(bytes.clone()).await.map(drop)?,
        Source::File(path) => {
            client.put_blob_path(&Blob { digest, size: *size }, path).await?;
        }
    }
    Ok(())
}

/// The span under which this program was started, as programs that trace tell it to those that they start.
fn trace_parent() -> Option<String> {
    let told = crate::connection::variable("TRACEPARENT")?;
    match told.parse::<manta_types::TraceParent>() {
        Ok(parent) => Some(parent.to_string()),
        Err(error) => {
            crate::out::say(&format!("TRACEPARENT is ignored: {error}"));
            None
        }
    }
}
