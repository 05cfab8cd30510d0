//! The rules that a submission keeps, whatever nodes and blobs there are.
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::time::Duration;

use manta_types::name::{check_component, check_name, nearest};
use manta_types::{
    FailurePolicy, Method, NodeLimit, NodeName, OnDisconnect, OnFailure, Quorum, Resources, SwarmSpec, TaskSpec, limits,
};

use super::{Amount, ModuleRef, SwarmSubmission, TaskSubmission};

/// The shortest and the longest span that a task may name, in seconds.
const SPAN_S: std::ops::RangeInclusive<f64> = 0.001..=31_536_000.0;

/// A submission that breaks a rule: where, and which.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct InvalidSubmission {
    /// `swarm "FedAvg"` or `task "worker"`.
    pub place: String,
    /// The rule, with the value.
    pub problem: String,
}

impl SwarmSubmission {
    /// Checks every rule that needs no knowledge of nodes or blobs.
    ///
    /// # Errors
    /// The first broken rule, with its place: names, counts, a module or predecessor that is not there, aliases that
    /// are the same or look so, a quorum that can never hold.
    pub fn check(&self) -> Result<SwarmSpec, InvalidSubmission> {
        let here = |problem: String| InvalidSubmission { place: format!("swarm `{}`", clip(&self.name)), problem };
        self.check_counts().map_err(here)?;
        let iterations_max = self.max_iteration.map(iterations).transpose().map_err(here)?;
        let attempts_max = self.attempts_max.map(|count| positive("attempts_max", count)).transpose().map_err(here)?;
        for module in &self.modules {
            let place = format!("module `{}`", clip(&module.name));
            module.check().map_err(|problem| InvalidSubmission { place, problem })?;
        }
        let mut seen = BTreeMap::new();
        let mut tasks = Vec::with_capacity(self.tasks.len());
        for (index, task) in self.tasks.iter().enumerate() {
            let there = |problem| InvalidSubmission { place: format!("task `{}`", clip(&task.alias)), problem };
            tasks.push(task.check(index, &self.modules).map_err(there)?);
            match seen.insert(task.alias.to_lowercase(), &task.alias) {
                Some(same) if *same == task.alias => return Err(there("two tasks have this alias".to_owned())),
                Some(other) => {
                    let problem = format!("its alias differs from that of task `{}` in case only", clip(other));
                    return Err(there(problem));
                }
                None => {}
            }
        }
        Ok(SwarmSpec {
            name: self.name.clone(),
            iterations_max,
            priority: self.priority,
            attempts_max,
            tasks,
            globals: self.globals.clone(),
        })
    }

    /// The swarm's own name and all that is counted over the whole of it.
    fn check_counts(&self) -> Result<(), String> {
        check_name("swarm", &self.name).map_err(words)?;
        if self.tasks.is_empty() {
            return Err("it has no tasks; `execute()` must call at least one".to_owned());
        }
        at_most("tasks", self.tasks.len(), limits::TASKS_PER_SWARM_MAX)?;
        at_most("modules", self.modules.len(), limits::TASKS_PER_SWARM_MAX)?;
        let edges = self.tasks.iter().map(|task| task.after.len()).sum();
        at_most("edges between tasks", edges, limits::EDGES_PER_SWARM_MAX)?;
        at_most("globals", self.globals.len(), limits::GLOBALS_PER_SWARM_MAX)?;
        self.globals.keys().try_for_each(|name| check_name("global", name).map_err(words))?;
        let (is, most) = (self.priority, limits::PRIORITY_MAX);
        if (-most..=most).contains(&is) {
            return Ok(());
        }
        Err(format!("its priority is {is}; -{most} to {most} are allowed"))
    }
}

impl ModuleRef {
    fn check(&self) -> Result<(), String> {
        check_component("module", &self.name).map_err(words)?;
        check_name("image", &self.image).map_err(words)?;
        at_most("datasets", self.datasets.len(), limits::DATASETS_PER_MODULE_MAX)?;
        self.datasets.iter().try_for_each(|dataset| check_component("dataset", dataset).map_err(words))
    }
}

impl TaskSubmission {
    fn check(&self, index: usize, modules: &[ModuleRef]) -> Result<TaskSpec, String> {
        check_component("task", &self.alias).map_err(words)?;
        let module =
            modules.get(self.module).ok_or_else(|| format!("module {} is not in the submission", self.module))?;
        let (after, labels) = (self.predecessors(index)?, self.labels()?);
        let (excepted, specified) =
            (nodes("excepted", &self.excepted)?, self.specified.as_deref().map(|list| nodes("specified", list)));
        let task = TaskSpec {
            alias: self.alias.clone(),
            bundle: module.bundle,
            module: module.name.clone(),
            version: module.version.clone(),
            image: module.image.clone(),
            datasets: module.datasets.clone(),
            resources: self.resources(module)?,
            after,
            method: method(&self.method)?,
            maximum: node_limit(self.maximum)?,
            fixed: self.fixed,
            excepted,
            specified: specified.transpose()?,
            labels,
            policy: self.policy()?,
        };
        check_nodes(&task)?;
        Ok(task)
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

    fn labels(&self) -> Result<BTreeMap<String, String>, String> {
        at_most("labels", self.labels.len(), limits::LABELS_PER_TASK_MAX)?;
        for (key, value) in &self.labels {
            check_name("label", key).and_then(|()| check_name("label value", value)).map_err(words)?;
        }
        Ok(self.labels.clone())
    }

    fn resources(&self, module: &ModuleRef) -> Result<Resources, String> {
        let asked = module.resources;
        if let Some(cpu) = asked.cpu
            && !(cpu > 0.0 && cpu <= 4096.0)
        {
            return Err(format!("resources: cpu is {cpu}; more than 0 and at most 4096 is needed"));
        }
        if let Some(memory) = asked.memory_bytes.filter(|memory| *memory < 16 << 20) {
            return Err(format!("resources: memory is {memory} bytes; Python needs at least 16 MiB"));
        }
        if asked.pids == Some(0) {
            return Err("resources: pids is 0; a task is at least one process".to_owned());
        }
        if asked.tmp_bytes == Some(0) {
            return Err("resources: tmp is 0 bytes; leave it out for the node's default".to_owned());
        }
        Ok(Resources {
            cpu: asked.cpu,
            memory_bytes: asked.memory_bytes,
            tmp_bytes: asked.tmp_bytes,
            pids: asked.pids,
            gpu_count: asked.gpu.unwrap_or(u32::from(self.gpu)),
        })
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
        if self.retries > limits::RETRIES_MAX {
            return Err(format!("retries is {}; at most {} are allowed", self.retries, limits::RETRIES_MAX));
        }
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

/// A broken rule of names, in words.
fn words(error: manta_types::name::NameError) -> String {
    error.to_string()
}

fn at_most(what: &str, has: usize, most: usize) -> Result<(), String> {
    if has <= most { Ok(()) } else { Err(format!("it has {has} {what}; at most {most} are allowed")) }
}

fn iterations(count: u32) -> Result<NonZeroU32, String> {
    let within = NonZeroU32::new(count).filter(|count| count.get() <= limits::ITERATIONS_MAX);
    within.ok_or_else(|| format!("max_iteration is {count}; 1 to {} are allowed", limits::ITERATIONS_MAX))
}

fn nodes(what: &str, list: &[String]) -> Result<Vec<NodeName>, String> {
    at_most(&format!("{what} nodes"), list.len(), limits::NODES_PER_TASK_MAX)?;
    list.iter().map(|name| NodeName::new(name).map_err(words)).collect()
}

/// Refuses what no cluster could satisfy: no node left to run on, or a quorum beyond all that are ever chosen.
fn check_nodes(task: &TaskSpec) -> Result<(), String> {
    let by_method = match (&task.method, task.maximum) {
        (_, NodeLimit::Count(count)) => count.get(),
        (Method::Any | Method::BestResources, NodeLimit::Unlimited) => 1,
        _ => u32::MAX,
    };
    let named = task.specified.as_ref().map(|list| {
        let excepted: BTreeSet<_> = task.excepted.iter().collect();
        list.iter().filter(|name| !excepted.contains(name)).collect::<BTreeSet<_>>().len()
    });
    if named == Some(0) {
        return Err("its `specified` nodes, without the excepted ones, are none".to_owned());
    }
    let most = named.and_then(|count| u32::try_from(count).ok()).map_or(by_method, |count| count.min(by_method));
    match task.policy.quorum {
        Quorum::Count(count) if count.get() > most => {
            Err(format!("its quorum is {count}, but at most {most} can be chosen by its method, maximum and nodes"))
        }
        _ => Ok(()),
    }
}

fn method(name: &str) -> Result<Method, String> {
    const METHODS: [&str; 4] = ["all", "any", "random", "best_resources"];
    Ok(match name {
        "all" => Method::All,
        "any" => Method::Any,
        "random" => Method::Random,
        "best_resources" => Method::BestResources,
        other => match other.strip_prefix("tag-") {
            Some(tag) => {
                check_name("result", tag).map_err(|error| format!("method: {error}"))?;
                Method::Tag(tag.to_owned())
            }
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
    let within = seconds.filter(|seconds| SPAN_S.contains(seconds)).map(Duration::from_secs_f64);
    within.ok_or_else(|| format!("{what} must be at least a millisecond and at most a year, in seconds"))
}

fn clip(text: &str) -> String {
    text.chars().take(64).flat_map(char::escape_debug).collect()
}
