//! An offer of the manager, checked: what to run, for whom, and within which limits.
use std::time::Duration;

use manta_api::node::{Allowance, Limits, Offer};
use manta_types::name::{check_component, check_name};
use manta_types::{AttemptId, Digest, NoTraceParent, ReplayId, SwarmId, TraceParent};
use serde::{Deserialize, Serialize};

use crate::clock::ms;
use crate::desk::Attempt;
use crate::gpu::Asked;
use crate::host::Resources;

/// An attempt that this node was asked to run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) attempt: AttemptId,
    /// Under which id the attempt is run once more, where nothing of it counts.
    pub(crate) replay: Option<ReplayId>,
    pub(crate) epoch: u32,
    pub(crate) swarm: SwarmId,
    /// Under whose name the task's state is kept: another swarm's where this one continues it.
    pub(crate) state_of: SwarmId,
    pub(crate) swarm_name: String,
    /// The task's alias.
    pub(crate) task: String,
    pub(crate) iteration: u32,
    /// Attempts that ran before, 0 for the first.
    pub(crate) number: u32,
    pub(crate) seed: u64,
    /// Digest of the bundle's manifest.
    pub(crate) bundle: Digest,
    /// Datasets that the task may open.
    pub(crate) datasets: Vec<String>,
    pub(crate) image: String,
    pub(crate) resources: Resources,
    /// GPUs that it asks for.
    pub(crate) gpus: Asked,
    /// How long user code may take.
    pub(crate) timeout: Option<Duration>,
    /// How long it goes on without the manager; for ever where nothing is given.
    pub(crate) stop_after: Option<Duration>,
    /// Its span, for a task that traces what it does; nothing where it is part of no trace.
    pub(crate) trace_parent: Option<TraceParent>,
}

impl Order {
    /// Reads an offer.
    ///
    /// # Errors
    /// One sentence: what in it cannot be used.
    pub(crate) fn read(offer: Offer, defaults: Resources) -> Result<Self, String> {
        let words = |error: &dyn std::fmt::Display| format!("the offer cannot be used: {error}");
        check_name("task", &offer.task).map_err(|e| words(&e))?;
        for dataset in &offer.datasets {
            check_component("dataset", dataset).map_err(|e| words(&e))?;
        }
        let limits = offer.limits.unwrap_or_default();
        let swarm: SwarmId = offer.swarm.parse().map_err(|e| words(&e))?;
        let state_of = match offer.state_of.as_str() {
            "" => swarm,
            other => other.parse().map_err(|e| words(&e))?,
        };
        Ok(Self {
            attempt: offer.attempt.parse().map_err(|e| words(&e))?,
            replay: None,
            epoch: offer.epoch,
            swarm,
            state_of,
            swarm_name: offer.swarm_name,
            task: offer.task,
            iteration: offer.iteration,
            number: offer.number,
            seed: offer.seed,
            bundle: offer.bundle.parse().map_err(|e| words(&e))?,
            datasets: offer.datasets,
            image: offer.image,
            resources: resources(limits, defaults),
            gpus: Asked {
                count: limits.gpu_count,
                memory_bytes: Some(limits.gpu_memory_bytes).filter(|bytes| *bytes > 0),
            },
            timeout: span(offer.timeout_ms),
            stop_after: span(offer.stop_after_ms),
            trace_parent: Some(offer.traceparent.as_str())
                .filter(|text| !text.is_empty())
                .map(str::parse)
                .transpose()
                .map_err(|error: NoTraceParent| words(&error))?,
        })
    }

    /// The attempt, as the desk knows it.
    pub(crate) fn named(&self) -> Attempt {
        Attempt {
            id: self.attempt,
            epoch: self.epoch,
            swarm: self.swarm,
            state_of: self.state_of,
            task: self.task.clone(),
            iteration: self.iteration,
            generation: None,
        }
    }

    /// What its sandbox, log lines and report are named by.
    pub(crate) fn name(&self) -> String {
        self.replay.map_or_else(|| self.attempt.to_string(), |replay| replay.to_string())
    }

    /// What it may use, for people.
    pub(crate) fn allowance(&self) -> Allowance {
        let Resources { cpu, memory_bytes, tmp_bytes, pids, bounds } = self.resources;
        Allowance {
            cpu,
            memory_bytes,
            tmp_bytes,
            tmp_files: bounds.tmp_files,
            pids,
            published_bytes: bounds.published_bytes,
            log_bytes: bounds.log_bytes,
            timeout_ms: self.timeout.map_or(0, ms),
        }
    }

    /// What a task sees as its id: the same for every attempt at it.
    pub(crate) fn task_id(&self) -> String {
        format!("{}/{}", self.swarm, self.task)
    }
}

/// What was asked for, and the node's own defaults for the rest.
fn resources(asked: Limits, defaults: Resources) -> Resources {
    let or = |asked: u64, default: u64| if asked == 0 { default } else { asked };
    Resources {
        cpu: if asked.cpu > 0.0 { asked.cpu } else { defaults.cpu },
        memory_bytes: or(asked.memory_bytes, defaults.memory_bytes),
        tmp_bytes: or(asked.tmp_bytes, defaults.tmp_bytes),
        pids: if asked.pids == 0 { defaults.pids } else { asked.pids },
        bounds: defaults.bounds,
    }
}

fn span(ms: u64) -> Option<Duration> {
    (ms > 0).then(|| Duration::from_millis(ms))
}
