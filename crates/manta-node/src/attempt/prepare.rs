//! First step: everything that user code needs is on this node, or the attempt ends here.
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use manta_api::AttemptInputs;
use manta_api::audit::{AuditEntry, AuditWork};
use manta_image::Program;
use manta_module::{BundleManifest, Entry, Locked};
use manta_types::runtime::is_same_architecture;
use manta_types::{AttemptFailure, Digest, OutcomeClass, PythonRange};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::Order;
use super::outcome::failure;
use crate::agent::Node;
use crate::bundle::{Bundle, BundleError};
use crate::cache::CacheError;
use crate::dataset::{self, Dataset};
use crate::gpu::Claim;
use crate::image::Environment;
use crate::layer::{Layer, LayerError};
use crate::logs::AttemptLog;
use crate::policy::Admitted;

/// What an attempt runs on.
pub(crate) struct Prepared<'a> {
    pub(crate) environment: Environment<'a>,
    pub(crate) bundle: Bundle,
    pub(crate) begins: Begins,
    /// The packages of its lock, where it has any.
    pub(crate) layer: Option<Layer>,
    /// Those that the task may open.
    pub(crate) datasets: Vec<Arc<Dataset>>,
    /// The names of all that the node offers.
    pub(crate) node_datasets: Vec<String>,
    /// Those that are the attempt's, while it lasts.
    pub(crate) gpus: Option<Claim>,
}

/// What an attempt runs on, as one program leaves it to another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PreparedLeft {
    /// The digest of a stored image; nothing where it is the host's.
    image: Option<String>,
    /// The canonical manifest of the bundle.
    manifest: String,
    /// The digest of its packages.
    pub(crate) layer: Option<Digest>,
    /// Name and place of those that it may open.
    datasets: Vec<(String, PathBuf)>,
    /// The numbers of its GPUs.
    gpus: Option<Vec<usize>>,
}

/// What is started in the sandbox.
pub(crate) enum Begins {
    /// An interpreter of the image, which loads the bundle.
    Module {
        /// Where it is, as the task sees it.
        python: PathBuf,
    },
    /// The image's own program.
    Program(Program),
}

/// Fetches what is missing and checks what must be there.
pub(crate) async fn prepare<'a>(
    node: &'a Node,
    order: &Order,
    log: &AttemptLog,
) -> Result<Prepared<'a>, AttemptFailure> {
    let (admitted, environment) = tokio::join!(admit(node, order), node.images.resolve(&order.image));
    let admitted = admitted?;
    let environment = environment.map_err(|words| failure(OutcomeClass::Image, words))?;
    let gpus = gpus(node, order, log).await?;
    let datasets = order.datasets.iter().map(|name| offered(node, name)).collect::<Result<_, _>>()?;
    let began = AuditEntry::Began { work: work(order, admitted.manifest()), signers: admitted.signers.clone() };
    let bundle = node.bundles.get(admitted).await.map_err(|error| bundle_failure(&error))?;
    let begins = begins(order, &environment, &bundle).map_err(|words| failure(OutcomeClass::Image, words))?;
    let layer = layer(node, order, &environment, &bundle, log).await?;
    node.audit.record(began).map_err(|why| failure(OutcomeClass::Platform, why))?;
    Ok(Prepared { environment, bundle, begins, layer, datasets, node_datasets: node.datasets.names(), gpus })
}

/// Finds what an attempt runs on that another program prepared: its policy was asked then, and its sandbox has it all.
pub(super) async fn find<'a>(
    node: &'a Node,
    order: &Order,
    left: PreparedLeft,
) -> Result<Prepared<'a>, AttemptFailure> {
    let lost = |words: String| {
        let words = format!("the agent was upgraded while it ran, and cannot go on with it: {words}");
        failure(OutcomeClass::Platform, words)
    };
    let PreparedLeft { image, manifest, layer, datasets, gpus } = left;
    let bundle = node.bundles.take_over(order.bundle, &manifest).map_err(lost)?;
    let environment = node.images.take_over(&order.image, image).await.map_err(lost)?;
    let begins = begins(order, &environment, &bundle).map_err(lost)?;
    let layer = layer.map(|digest| node.layers.take_over(digest).ok_or_else(|| "its packages are gone".to_owned()));
    let layer = layer.transpose().map_err(lost)?;
    let mut found = Vec::new();
    for (name, path) in datasets {
        let offered = node.datasets.get(&name).filter(|dataset| dataset.source == path);
        found.push(match offered {
            Some(dataset) => dataset,
            // It is offered no more, and the attempt has it still.
            None => {
                let checked = dataset::check(&name, &path, &*node.engine).await;
                Arc::new(checked.map_err(|error| lost(error.to_string()))?)
            }
        });
    }
    let gpus = match gpus {
        Some(numbers) => {
            let claim = node.gpus.take_back(numbers, order.gpus.memory_bytes);
            Some(claim.ok_or_else(|| lost("its GPUs are not offered any more".to_owned()))?)
        }
        None => None,
    };
    let node_datasets = node.datasets.names();
    Ok(Prepared { environment, bundle, begins, layer, datasets: found, node_datasets, gpus })
}

impl Prepared<'_> {
    /// What another program needs to find it.
    pub(super) fn hand_over(&self) -> PreparedLeft {
        PreparedLeft {
            image: self.environment.digest(),
            manifest: String::from_utf8_lossy(&self.bundle.manifest.canonical_bytes()).into_owned(),
            layer: self.layer.as_ref().map(|layer| layer.digest),
            datasets: self.datasets.iter().map(|set| (set.name.clone(), set.source.clone())).collect(),
            gpus: self.gpus.as_ref().map(|claim| claim.numbers().to_vec()),
        }
    }
}

/// The attempt, as the node's audit names it.
fn work(order: &Order, manifest: &BundleManifest) -> AuditWork {
    AuditWork {
        attempt: order.name(),
        swarm: order.swarm,
        swarm_name: order.swarm_name.clone(),
        task: order.task.clone(),
        iteration: order.iteration,
        module: manifest.name.clone(),
        version: manifest.version.clone(),
        bundle: order.bundle,
        image: order.image.clone(),
        replay_of: order.replay.map(|_| order.attempt),
        datasets: order.datasets.clone(),
    }
}

/// What the task may read. Its first question waits for it, and no user code runs before: its sandbox may start meanwhile.
pub(super) async fn inputs(node: &Node, order: &Order) -> Result<AttemptInputs, AttemptFailure> {
    let inputs = match order.replay {
        None => node.remote.inputs(order.attempt).await,
        Some(replay) => node.remote.replay_inputs(replay).await,
    };
    inputs.map_err(|error| failure(OutcomeClass::Platform, format!("the attempt's inputs cannot be fetched: {error}")))
}

/// What of the image is started for that module.
fn begins(order: &Order, environment: &Environment<'_>, bundle: &Bundle) -> Result<Begins, String> {
    let manifest = &bundle.manifest;
    let begins = match manifest.entry {
        Entry::Code { .. } => environment.python().map(|python| Begins::Module { python: python.to_owned() }),
        Entry::Image => environment.program().cloned().map(Begins::Program),
    };
    let fits = || misfit(manifest, environment.python_version().as_deref(), std::env::consts::ARCH).map_or(Ok(()), Err);
    begins
        .and_then(|begins| fits().map(|()| begins))
        .map_err(|problem| format!("the image `{}` cannot be used: {problem}", order.image))
}

/// What of all that the module says it works with is not so here, to follow the image's name. The manager foresees most of it.
fn misfit(manifest: &BundleManifest, python: Option<&str>, architecture: &str) -> Option<String> {
    let BundleManifest { name, version, requires_python, architectures, .. } = manifest;
    let range = requires_python.as_deref().and_then(|range| range.parse::<PythonRange>().ok());
    if let (Some(range), Some(python)) = (range, python)
        && !range.may_hold(python)
    {
        return Some(format!("it has Python {python}, and module `{name}` {version} needs {range}"));
    }
    if architectures.is_empty() || architectures.iter().any(|wanted| is_same_architecture(wanted, architecture)) {
        return None;
    }
    let wanted = architectures.join(" or ");
    Some(format!("it is for {architecture}, and module `{name}` {version} needs {wanted}"))
}

/// The packages of the module's lock that is for this image, installed where this node lacks them.
async fn layer(
    node: &Node,
    order: &Order,
    environment: &Environment<'_>,
    bundle: &Bundle,
    log: &AttemptLog,
) -> Result<Option<Layer>, AttemptFailure> {
    let locks = &bundle.manifest.dependencies;
    if locks.is_empty() {
        return Ok(None);
    }
    let refuse = |words: String| failure(OutcomeClass::Image, words);
    let (image, name) = (&order.image, &node.name);
    let runtime = environment.runtime().ok_or_else(|| {
        refuse(format!("which Python and C library the image `{image}` on node `{name}` has cannot be told, so no lock can be chosen"))
    })?;
    let locked = Locked::fitting(locks, &runtime).ok_or_else(|| {
        let locked = locks.iter().map(|locked| locked.runtime().to_string()).collect::<Vec<_>>().join(" and ");
        refuse(format!(
            "the module's dependencies are locked for {locked}; the image `{image}` on node `{name}` is {runtime}"
        ))
    })?;
    let begun = Instant::now();
    let layer = node.layers.get(locked).await.map_err(|error| layer_failure(&error))?;
    if layer.is_new {
        log.platform("info", &installed(&layer, begun.elapsed())).await;
    }
    for (package, version) in environment.shadowed(&layer.installed) {
        let own = layer.installed.distributions.iter().find(|own| own.name == package).map_or("", |own| &own.version);
        let words =
            format!("`{package}` {own} of the module's lock takes the place of `{package}` {version} of the image");
        log.platform("info", &words).await;
    }
    Ok(Some(layer))
}

/// What was installed, for people.
fn installed(layer: &Layer, took: Duration) -> String {
    let named = layer.installed.distributions.iter().map(|own| format!("{} {}", own.name, own.version));
    let (named, count) = (named.collect::<Vec<_>>().join(", "), layer.installed.distributions.len());
    format!("installed {count} packages of the module's lock in {:.1} s: {named}", took.as_secs_f64())
}

/// The bundle, of which its manifest alone is fetched, once the site's policy allows it.
async fn admit(node: &Node, order: &Order) -> Result<Admitted, AttemptFailure> {
    let described = node.bundles.describe(order.bundle).await.map_err(|error| bundle_failure(&error))?;
    let work = work(order, &described.manifest);
    let judged = node.site.admit(node, described, order).await;
    if let Some(refused) = judged.as_ref().err().filter(|refused| refused.class == OutcomeClass::Policy) {
        // It is refused whether or not that can be written.
        if let Err(problem) = node.audit.record(AuditEntry::Refused { work, why: refused.message.clone() }) {
            tracing::warn!("{problem}");
        }
    }
    judged
}

/// The GPUs that the task asks for; who has to wait for them says so.
async fn gpus(node: &Node, order: &Order, log: &AttemptLog) -> Result<Option<Claim>, AttemptFailure> {
    if order.gpus.count == 0 {
        return Ok(None);
    }
    let waits =
        async || log.platform("info", "all GPUs that fit are taken; the attempt waits for one to be free").await;
    let claimed = node.gpus.claim(order.gpus, waits).await;
    claimed.map(Some).map_err(|words| failure(OutcomeClass::Image, words))
}

fn offered(node: &Node, name: &str) -> Result<Arc<Dataset>, AttemptFailure> {
    let dataset = node.datasets.get(name);
    dataset.ok_or_else(|| {
        failure(OutcomeClass::Dataset, format!("the node `{}` does not offer the dataset `{name}`", node.name))
    })
}

fn layer_failure(error: &LayerError) -> AttemptFailure {
    let doing = match error {
        LayerError::Blob(CacheError::Remote { .. }) => "a package of the module's lock cannot be fetched",
        LayerError::Lock(_) | LayerError::Disagreement(_) => "the module's lock cannot be used",
        LayerError::Install(_) | LayerError::Blob(CacheError::Disk(_)) | LayerError::Disk(_) => {
            "the packages of the module's lock cannot be installed on this node"
        }
    };
    failure(OutcomeClass::Platform, format!("{doing}: {error}"))
}

fn bundle_failure(error: &BundleError) -> AttemptFailure {
    let doing = match error {
        BundleError::Blob(CacheError::Remote { .. }) => "the module's bundle cannot be fetched",
        BundleError::Manifest(_) => "the module's bundle cannot be used",
        BundleError::Blob(CacheError::Disk(_)) | BundleError::Disk(_) => {
            "the module's bundle cannot be laid out on this node"
        }
    };
    failure(OutcomeClass::Platform, format!("{doing}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_for_another_python_or_processor_is_no_module_for_this_image() {
        let text = r#"{"datasets":[],"entry":{"image":true},"files":{},"image":"team/model:1","manifest_version":1,"name":"worker","resources":{},"version":"1.1.0"}"#;
        let any = BundleManifest::parse(text.as_bytes()).unwrap();
        assert_eq!(misfit(&any, Some("3.9"), "riscv64"), None);
        let newer = BundleManifest { requires_python: Some(">=3.10".to_owned()), ..any.clone() };
        assert_eq!((misfit(&newer, Some("3.11"), "x86_64"), misfit(&newer, None, "x86_64")), (None, None));
        let words = "it has Python 3.9.2, and module `worker` 1.1.0 needs >=3.10";
        assert_eq!(misfit(&newer, Some("3.9.2"), "x86_64").as_deref(), Some(words));
        let machine = BundleManifest { architectures: vec!["arm64".to_owned()], ..any };
        assert_eq!(misfit(&machine, None, "aarch64"), None);
        let words = "it is for x86_64, and module `worker` 1.1.0 needs arm64";
        assert_eq!(misfit(&machine, None, "x86_64").as_deref(), Some(words));
    }
}
