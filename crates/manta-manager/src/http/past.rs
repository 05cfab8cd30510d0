//! Attempts of the past, rebuilt from the stored history alone.
use std::collections::BTreeMap;

use manta_api::{AttemptInputs, AttemptLimits, AttemptOutcome, AttemptView, Problem};
use manta_engine::{PastAttempt, PastEnd, PastReader};
use manta_types::SwarmId;

use super::stream::PAGE;
use super::why::{find_attempt, no_attempt};
use crate::ManagerError;
use crate::app::App;
use crate::replays::outcome;
use crate::view;

/// An attempt that was found, and what is to be known of its surroundings today.
pub(super) struct Past {
    pub(super) attempt: PastAttempt,
    /// Every node name of the cluster.
    nodes: Vec<String>,
}

/// Finds an attempt by its id, or by the beginning of it where it is remembered, and rebuilds it.
pub(super) async fn find(app: &App, wanted: &str) -> Result<Past, Problem> {
    let (swarm, id) = find_attempt(app, wanted).await?;
    let labels = app.handle.ask(|view| {
        let of = |node: &manta_engine::Node| (node.name().clone(), node.description().labels.clone());
        view.engine.nodes().map(of).collect::<BTreeMap<_, _>>()
    });
    let labels = labels.await?;
    let nodes = labels.keys().map(ToString::to_string).collect();
    let reader = PastReader::new(swarm.id, swarm.spec, swarm.created_ms, id, labels);
    let attempt = read(app, swarm.id, reader).await?.ok_or_else(|| no_attempt(wanted))?;
    Ok(Past { attempt, nodes })
}

async fn read(app: &App, swarm: SwarmId, mut reader: PastReader) -> Result<Option<PastAttempt>, ManagerError> {
    let mut after = 0;
    loop {
        let cluster = app.cluster.clone();
        let page = app.store.run(move |store| store.events(&cluster, swarm, after, PAGE)).await??;
        for event in &page {
            reader.read(event)?;
            after = event.seq;
        }
        if page.len() < PAGE {
            return Ok(reader.finish());
        }
    }
}

impl Past {
    /// What the attempt could read.
    pub(super) fn inputs(&self) -> AttemptInputs {
        view::readable(&self.attempt.offer.spec, self.attempt.inputs.clone(), self.nodes.clone())
    }

    /// The attempt as the API shows it.
    pub(super) fn view(&self) -> AttemptView {
        let PastAttempt { offer, reason, offered_ms, end, accepted_since, .. } = &self.attempt;
        let task = &offer.spec.tasks[offer.task];
        let resources = task.resources;
        AttemptView {
            id: offer.attempt,
            swarm: offer.swarm,
            swarm_name: offer.spec.name.clone(),
            task: task.alias.clone(),
            node: offer.node.to_string(),
            iteration: offer.iteration,
            epoch: offer.epoch,
            number: offer.number,
            seed: offer.seed,
            reason: reason.clone(),
            module: task.module.clone(),
            version: task.version.clone(),
            bundle: task.bundle,
            image: task.image.clone(),
            datasets: task.datasets.clone(),
            limits: AttemptLimits {
                cpu: resources.cpu,
                memory_bytes: resources.memory_bytes,
                tmp_bytes: resources.tmp_bytes,
                pids: resources.pids,
                gpu_count: resources.gpu_count,
                gpu_memory_bytes: resources.gpu_memory_bytes,
            },
            timeout_ms: task.policy.timeout.map(|limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)),
            offered_ms: *offered_ms,
            ended_ms: end.as_ref().map(|(_, at)| *at),
            state: self.state().to_owned(),
            ended_because: match end {
                Some((PastEnd::Lost(reason) | PastEnd::Cancelled(reason), _)) => Some(reason.clone()),
                _ => None,
            },
            outcome: end.as_ref().and_then(|(end, _)| left(end)),
            accepted_since: *accepted_since,
            inputs: self.inputs(),
        }
    }

    /// `live`, or how it ended.
    pub(super) fn state(&self) -> &'static str {
        match self.attempt.end {
            None => "live",
            Some((PastEnd::Accepted { .. }, _)) => "accepted",
            Some((PastEnd::Failed { .. }, _)) => "failed",
            Some((PastEnd::Lost(_), _)) => "lost",
            Some((PastEnd::Cancelled(_), _)) => "cancelled",
        }
    }
}

fn left(end: &PastEnd) -> Option<AttemptOutcome> {
    Some(match end {
        PastEnd::Accepted { outputs, timings } => outcome(outputs.clone(), None, timings.clone()),
        PastEnd::Failed { failure, results, timings } => AttemptOutcome {
            results: results.clone(),
            failure: Some(failure.clone()),
            timings: timings.clone(),
            ..AttemptOutcome::default()
        },
        PastEnd::Lost(_) | PastEnd::Cancelled(_) => return None,
    })
}
