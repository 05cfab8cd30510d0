//! First step: everything that user code needs is on this node, or the attempt ends here.
use manta_api::AttemptInputs;
use manta_types::{AttemptFailure, OutcomeClass};

use super::Order;
use super::outcome::failure;
use crate::agent::Node;
use crate::bundle::{Bundle, BundleError};
use crate::cache::CacheError;
use crate::dataset::Dataset;
use crate::gpu::Claim;
use crate::image::Environment;
use crate::logs::AttemptLog;

/// What an attempt runs on.
pub(crate) struct Prepared<'a> {
    pub(crate) environment: Environment<'a>,
    pub(crate) bundle: Bundle,
    pub(crate) inputs: AttemptInputs,
    /// Those that the task may open.
    pub(crate) datasets: Vec<&'a Dataset>,
    /// Those that are the attempt's, while it lasts.
    pub(crate) gpus: Option<Claim>,
}

/// Fetches what is missing and checks what must be there.
pub(crate) async fn prepare<'a>(
    node: &'a Node,
    order: &Order,
    log: &AttemptLog,
) -> Result<Prepared<'a>, AttemptFailure> {
    let environment = node.images.resolve(&order.image).await.map_err(|words| failure(OutcomeClass::Image, words))?;
    let gpus = gpus(node, order, log).await?;
    let datasets = order.datasets.iter().map(|name| dataset(node, name)).collect::<Result<_, _>>()?;
    let inputs = async {
        let inputs = match order.replay {
            None => node.remote.inputs(order.attempt).await,
            Some(replay) => node.remote.replay_inputs(replay).await,
        };
        inputs.map_err(|error| {
            failure(OutcomeClass::Platform, format!("the attempt's inputs cannot be fetched: {error}"))
        })
    };
    let bundle = async { node.bundles.get(order.bundle).await.map_err(|error| bundle_failure(&error)) };
    let (bundle, inputs) = tokio::try_join!(bundle, inputs)?;
    Ok(Prepared { environment, bundle, inputs, datasets, gpus })
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

fn dataset<'a>(node: &'a Node, name: &str) -> Result<&'a Dataset, AttemptFailure> {
    let offered = node.datasets.get(name);
    offered.ok_or_else(|| {
        failure(OutcomeClass::Dataset, format!("the node `{}` does not offer the dataset `{name}`", node.name))
    })
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
