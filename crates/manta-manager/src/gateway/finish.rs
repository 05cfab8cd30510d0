//! The end of an attempt, as a node reports it: taken at its word only where every value is stored and every rule is kept.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use manta_api::node as wire;
use manta_engine::Input;
use manta_store::{BlobError, BlobStore};
use manta_types::event::{NextIteration, Outputs, Published};
use manta_types::name::check_name;
use manta_types::{AttemptFailure, Blob, NodeName, OutcomeClass, limits};

use super::convert;
use crate::ManagerError;

/// Turns a report into what the engine takes. A report that breaks a rule is a failure of the platform, so that the
/// attempt ends in any case.
pub(super) async fn judge(
    node: &NodeName,
    mut report: wire::AttemptFinished,
    blobs: &Arc<dyn BlobStore>,
) -> Result<Input, ManagerError> {
    let attempt = convert::attempt(&report.attempt).map_err(ManagerError::Internal)?;
    let (epoch, timings) = (report.epoch, convert::timings(report.timings.take()));
    let failed = report.failure.clone().map(convert::failure);
    let checked = check(report, blobs).await?;
    let node = node.clone();
    Ok(match (checked, failed) {
        (Ok(outputs), None) => Input::Succeeded { node, attempt, epoch, outputs, timings },
        (Ok(outputs), Some(failure)) => {
            Input::Failed { node, attempt, epoch, failure, results: outputs.results, timings }
        }
        (Err(problem), failed) => {
            let failure = failed.unwrap_or_else(|| platform(format!("the node's report cannot be used: {problem}")));
            Input::Failed { node, attempt, epoch, failure, results: Vec::new(), timings }
        }
    })
}

/// What a report says was left, where every value is stored and every rule is kept; else what is wrong with it.
pub(super) async fn check(
    report: wire::AttemptFinished,
    blobs: &Arc<dyn BlobStore>,
) -> Result<Result<Outputs, String>, ManagerError> {
    match outputs(report) {
        Err(problem) => Ok(Err(problem)),
        Ok(outputs) => Ok(stored(&outputs, blobs).await?.map(|()| outputs)),
    }
}

/// A failure that is nobody's but ours.
pub(super) const fn platform(message: String) -> AttemptFailure {
    AttemptFailure::new(OutcomeClass::Platform, message)
}

fn outputs(report: wire::AttemptFinished) -> Result<Outputs, String> {
    Ok(Outputs {
        results: published("result", report.results, limits::RESULTS_PER_ATTEMPT_MAX)?,
        globals: published("global", report.globals, limits::GLOBALS_PER_SWARM_MAX)?,
        next_iterations: report.next_iterations.into_iter().map(next_iteration).collect::<Result<_, _>>()?,
        stop_swarm: report.stop_swarm,
        metrics: metrics(report.metrics)?,
    })
}

fn metrics(sent: Vec<wire::Metric>) -> Result<BTreeMap<String, f64>, String> {
    const MOST: usize = limits::METRICS_PER_ATTEMPT_MAX;
    if sent.len() > MOST {
        return Err(format!("{} metrics, {MOST} are the limit", sent.len()));
    }
    let bad = |metric: &&wire::Metric| !metric.value.is_finite() || metric.name.len() > limits::NAME_BYTES_MAX;
    if sent.iter().any(|metric| bad(&metric)) {
        return Err("a metric has no finite value, or too long a name".to_owned());
    }
    Ok(sent.into_iter().map(|metric| (metric.name, metric.value)).collect())
}

fn published(what: &'static str, sent: Vec<wire::Published>, most: usize) -> Result<Vec<Published>, String> {
    if sent.len() > most {
        return Err(format!("{} {what}s, {most} are the limit", sent.len()));
    }
    let mut seen = BTreeSet::new();
    let one = |sent: wire::Published| {
        check_name(what, &sent.name).map_err(|error| error.to_string())?;
        if !seen.insert(sent.name.clone()) {
            return Err(format!("{what} `{}` is there twice", sent.name));
        }
        let blob = sent.blob.ok_or_else(|| format!("{what} `{}` has no value", sent.name))?;
        let digest = blob.digest.parse().map_err(|error: manta_types::digest::DigestError| error.to_string())?;
        Ok(Published { name: sent.name, blob: Blob { digest, size: blob.size } })
    };
    sent.into_iter().map(one).collect()
}

fn next_iteration(sent: wire::NextIteration) -> Result<NextIteration, String> {
    let nodes = sent.nodes.iter().map(|name| NodeName::new(name).map_err(|error| error.to_string()));
    let nodes = nodes.collect::<Result<Vec<_>, _>>()?;
    Ok(NextIteration { task: Some(sent.task).filter(|task| !task.is_empty()), nodes: sent.has_nodes.then_some(nodes) })
}

/// Whether every value is stored, in the size that was said.
async fn stored(outputs: &Outputs, blobs: &Arc<dyn BlobStore>) -> Result<Result<(), String>, ManagerError> {
    let wanted: Vec<Published> = outputs.results.iter().chain(&outputs.globals).cloned().collect();
    if wanted.is_empty() {
        return Ok(Ok(()));
    }
    let blobs = Arc::clone(blobs);
    let look = move || -> Result<Result<(), String>, BlobError> {
        for value in wanted {
            match blobs.hold(&value.blob.digest)? {
                None => return Ok(Err(format!("the value of `{}` is not stored", value.name))),
                Some(size) if size != value.blob.size => {
                    let said = value.blob.size;
                    return Ok(Err(format!("the value of `{}` has {size} bytes, not {said}", value.name)));
                }
                Some(_) => {}
            }
        }
        Ok(Ok(()))
    };
    let looked = tokio::task::spawn_blocking(look).await;
    Ok(looked.map_err(|error| ManagerError::Internal(error.to_string()))??)
}
