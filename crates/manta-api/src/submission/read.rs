//! What a submission says, in the engine's words. Reading asks for structure alone: whoever admitted the submission has
//! seen to the rules, and a rule made since must not lock out what is stored.
use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use manta_types::name::nearest;
use manta_types::{
    FailurePolicy, Method, NoTraceParent, NodeLimit, NodeName, OnDisconnect, OnFailure, PythonRange, Quorum, Resources,
    RuntimeError, SwarmSpec, TaskSpec, limits,
};

use super::{Amount, ModuleRef, SwarmSubmission, TaskSubmission};

/// What a span must be, after its name.
pub(super) const SPAN_RULE: &str = "must be at least a millisecond and at most a year, in seconds";

/// A submission that is refused: where, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct InvalidSubmission {
    /// `swarm "FedAvg"` or `task "worker"`.
    pub place: String,
    /// The rule, with the value.
    pub problem: String,
}

impl SwarmSubmission {
    /// What was submitted, as the engine takes it. No rule of admission is asked: see [`SwarmSubmission::check`].
    ///
    /// # Errors
    /// What the engine could not run at all: no tasks, a module or predecessor that is not there, a cycle, a method that is
    /// unknown, a number that counts or measures nothing, a node name that cannot be one.
    pub fn spec(&self) -> Result<SwarmSpec, InvalidSubmission> {
        if self.tasks.is_empty() {
            return Err(self.refused("it has no tasks; `execute()` must call at least one".to_owned()));
        }
        let here = |problem| self.refused(problem);
        let iterations_max = self.max_iteration.map(iterations).transpose().map_err(here)?;
        let attempts_max = self.attempts_max.map(|count| positive("attempts_max", count)).transpose().map_err(here)?;
        let trace_parent = self.traceparent.as_deref().map(str::parse).transpose();
        let trace_parent = trace_parent.map_err(|error: NoTraceParent| here(error.to_string()))?;
        let mut tasks = Vec::with_capacity(self.tasks.len());
        for (index, task) in self.tasks.iter().enumerate() {
            tasks.push(task.spec(index, &self.modules).map_err(|problem| task.refused(problem))?);
        }
        Ok(SwarmSpec {
            name: self.name.clone(),
            iterations_max,
            priority: self.priority,
            attempts_max,
            tasks,
            globals: self.globals.clone(),
            trace_parent,
        })
    }

    pub(super) fn refused(&self, problem: String) -> InvalidSubmission {
        InvalidSubmission { place: format!("swarm `{}`", clip(&self.name)), problem }
    }
}

impl ModuleRef {
    /// The Pythons that it works with.
    pub(super) fn python_range(&self) -> Result<Option<PythonRange>, String> {
        let read = self.requires_python.as_deref().map(str::parse).transpose();
        read.map_err(|error: RuntimeError| format!("requires_python: {error}"))
    }

    pub(super) fn refused(&self, problem: String) -> InvalidSubmission {
        InvalidSubmission { place: format!("module `{}`", clip(&self.name)), problem }
    }
}

impl TaskSubmission {
    pub(super) fn refused(&self, problem: String) -> InvalidSubmission {
        InvalidSubmission { place: format!("task `{}`", clip(&self.alias)), problem }
    }

    fn spec(&self, index: usize, modules: &[ModuleRef]) -> Result<TaskSpec, String> {
        let module =
            modules.get(self.module).ok_or_else(|| format!("module {} is not in the submission", self.module))?;
        Ok(TaskSpec {
            alias: self.alias.clone(),
            bundle: module.bundle,
            module: module.name.clone(),
            version: module.version.clone(),
            image: module.image.clone(),
            runtimes: module.runtimes.clone(),
            requires_python: module.python_range()?,
            architectures: module.architectures.clone(),
            datasets: module.datasets.clone(),
            resources: self.resources(module),
            after: self.predecessors(index)?,
            method: method(&self.method)?,
            maximum: node_limit(self.maximum)?,
            fixed: self.fixed,
            excepted: nodes(&self.excepted)?,
            specified: self.specified.as_deref().map(nodes).transpose()?,
            labels: self.labels.clone(),
            policy: self.policy()?,
        })
    }

    /// Its predecessors, each once; a graph whose edges all lead back has no cycle.
    fn predecessors(&self, index: usize) -> Result<Vec<usize>, String> {
        match self.after.iter().find(|before| **before >= index) {
            Some(late) if *late == index => {
                return Err("it is its own predecessor, so the graph has a cycle".to_owned());
            }
            Some(late) => {
                return Err(format!("its predecessor {late} does not stand before it, so the graph has a cycle"));
            }
            None => {}
        }
        let distinct: BTreeSet<usize> = self.after.iter().copied().collect();
        Ok(distinct.into_iter().collect())
    }

    fn resources(&self, module: &ModuleRef) -> Resources {
        let asked = module.resources;
        Resources {
            cpu: asked.cpu,
            memory_bytes: asked.memory_bytes,
            tmp_bytes: asked.tmp_bytes,
            pids: asked.pids,
            gpu_count: asked.gpu.unwrap_or(u32::from(self.gpu)),
            gpu_memory_bytes: asked.gpu_memory_bytes,
        }
    }

    fn policy(&self) -> Result<FailurePolicy, String> {
        let on_failure = match self.on_failure.as_str() {
            "fail" => OnFailure::Fail,
            "continue" => OnFailure::Continue,
            other => return Err(format!("on_failure is `{}`; `fail` or `continue` is needed", clip(other))),
        };
        let on_disconnect = match self.on_disconnect.strip_prefix("stop:") {
            Some(seconds) => OnDisconnect::StopAfter(duration("on_disconnect", seconds.parse().ok())?),
            None if self.on_disconnect == "keep" => OnDisconnect::Keep,
            None => return Err(format!("on_disconnect is `{}`; `keep` is needed", clip(&self.on_disconnect))),
        };
        let span = |what, seconds: Option<f64>| seconds.map(|s| duration(what, Some(s))).transpose();
        Ok(FailurePolicy {
            retries: self.retries,
            timeout: span("timeout", self.timeout_s)?,
            quorum: match self.quorum.unwrap_or_default() {
                Amount::Unlimited => Quorum::All,
                Amount::Count { count } => Quorum::Count(positive("quorum", count)?),
                Amount::Share { share } => Quorum::Share(part("quorum", share)?),
            },
            deadline: span("deadline", self.deadline_s)?,
            on_failure,
            on_disconnect,
        })
    }
}

fn iterations(count: u32) -> Result<NonZeroU32, String> {
    NonZeroU32::new(count)
        .ok_or_else(|| format!("max_iteration is {count}; 1 to {} are allowed", limits::ITERATIONS_MAX))
}

fn nodes(list: &[String]) -> Result<Vec<NodeName>, String> {
    list.iter().map(|name| NodeName::new(name).map_err(|error| error.to_string())).collect()
}

fn method(name: &str) -> Result<Method, String> {
    const METHODS: [&str; 4] = ["all", "any", "random", "best_resources"];
    Ok(match name {
        "all" => Method::All,
        "any" => Method::Any,
        "random" => Method::Random,
        "best_resources" => Method::BestResources,
        other => match other.strip_prefix("tag-") {
            Some(tag) => Method::Tag(tag.to_owned()),
            None => {
                let near = nearest(other, METHODS).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
                return Err(format!("method `{}` is unknown{near}", clip(other)));
            }
        },
    })
}

fn node_limit(amount: Amount) -> Result<NodeLimit, String> {
    Ok(match amount {
        Amount::Unlimited => NodeLimit::Unlimited,
        Amount::Count { count } => NodeLimit::Count(positive("maximum", count)?),
        Amount::Share { share } => NodeLimit::Share(part("maximum", share)?),
    })
}

fn positive(what: &str, count: u32) -> Result<NonZeroU32, String> {
    NonZeroU32::new(count).ok_or_else(|| format!("{what} is 0; at least 1 is needed"))
}

fn part(what: &str, share: f64) -> Result<f64, String> {
    if share > 0.0 && share <= 1.0 { Ok(share) } else { Err(format!("{what} is {share}; a share lies in (0, 1]")) }
}

fn duration(what: &str, seconds: Option<f64>) -> Result<Duration, String> {
    let span = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    span.ok_or_else(|| format!("{what} {SPAN_RULE}"))
}

/// The beginning of a text from outside, fit to stand in a sentence.
pub(super) fn clip(text: &str) -> String {
    text.chars().take(64).flat_map(char::escape_debug).collect()
}
