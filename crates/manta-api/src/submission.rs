//! A swarm as the client submits it, and the one place where it is turned into a checked [`SwarmSpec`].
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::time::Duration;

use manta_types::name::{check_component, check_name, nearest};
use manta_types::{
    Blob, Digest, FailurePolicy, Method, NodeLimit, NodeName, OnDisconnect, OnFailure, Quorum, Resources, SwarmSpec,
    TaskSpec, limits,
};
use serde::{Deserialize, Serialize};

/// What `POST /v1/clusters/{cluster}/swarms` takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SwarmSubmission {
    /// The swarm's name.
    pub name: String,
    /// Iterations to loop to; absent: once, and again only on request.
    #[serde(default)]
    pub max_iteration: Option<u32>,
    /// Before swarms of lower priority wherever both wait, in [-100, 100].
    #[serde(default)]
    pub priority: i32,
    /// Attempts of it that may be live at once over all nodes; absent: as many as there is room for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts_max: Option<u32>,
    /// Values that exist before the first iteration: name → blob.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub globals: BTreeMap<String, Blob>,
    /// The modules that tasks point at.
    pub modules: Vec<ModuleRef>,
    /// The graph, predecessors before successors.
    pub tasks: Vec<TaskSubmission>,
}

/// A module of a submission; its bundle's manifest and files are stored blobs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ModuleRef {
    /// Digest of the bundle's manifest.
    #[schema(value_type = String)]
    pub bundle: Digest,
    /// As in the manifest.
    pub name: String,
    /// As in the manifest.
    pub version: String,
    /// As in the manifest.
    pub image: String,
    /// As in the manifest.
    #[serde(default)]
    pub datasets: Vec<String>,
    /// As in the manifest.
    #[serde(default)]
    pub resources: ResourcesWire,
}

/// Limits and needs of a module; what is absent takes the node's default.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResourcesWire {
    /// Processor cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tmp_bytes: Option<u64>,
    /// Processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
    /// Whole GPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<u32>,
    /// Bytes per GPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_memory_bytes: Option<u64>,
}

/// How many: of nodes for `maximum`, of successes for `quorum`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Amount {
    /// No limit.
    #[default]
    Unlimited,
    /// A number, at least 1.
    Count {
        /// The number.
        count: u32,
    },
    /// A share in (0, 1].
    Share {
        /// The share.
        share: f64,
    },
}

/// One task of a submission.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskSubmission {
    /// Unique in the swarm.
    pub alias: String,
    /// Position in `modules`.
    pub module: usize,
    /// Positions of the predecessors in `tasks`; each smaller than this task's own.
    #[serde(default)]
    pub after: Vec<usize>,
    /// `all`, `any`, `random`, `best_resources` or `tag-<result name>`.
    pub method: String,
    /// How many nodes.
    #[serde(default)]
    pub maximum: Amount,
    /// Whether it needs a GPU.
    #[serde(default)]
    pub gpu: bool,
    /// Whether the choice of iteration 0 stays.
    #[serde(default)]
    pub fixed: bool,
    /// Nodes left out.
    #[serde(default)]
    pub excepted: Vec<String>,
    /// If given, only these nodes.
    #[serde(default)]
    pub specified: Option<Vec<String>>,
    /// Labels that a node must carry.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Further attempts after one that ran user code failed.
    #[serde(default = "one")]
    pub retries: u32,
    /// Seconds of one attempt's user code.
    #[serde(default)]
    pub timeout_s: Option<f64>,
    /// Successes that are enough; absent: all but the excused.
    #[serde(default)]
    pub quorum: Option<Amount>,
    /// Seconds after which it closes with what it has.
    #[serde(default)]
    pub deadline_s: Option<f64>,
    /// `fail` or `continue`.
    #[serde(default = "fail")]
    pub on_failure: String,
    /// `keep`, or `stop:<seconds>`.
    #[serde(default = "keep")]
    pub on_disconnect: String,
}

fn one() -> u32 {
    1
}
fn fail() -> String {
    "fail".to_owned()
}
fn keep() -> String {
    "keep".to_owned()
}

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
    /// The first broken rule: names, counts, a module or predecessor that is not there, a repeated alias.
    pub fn check(&self) -> Result<SwarmSpec, InvalidSubmission> {
        let invalid = |problem: String| InvalidSubmission { place: format!("swarm `{}`", clip(&self.name)), problem };
        check_name("swarm", &self.name).map_err(|e| invalid(e.to_string()))?;
        if self.tasks.is_empty() {
            return Err(invalid("it has no tasks; `execute()` must call at least one".to_owned()));
        }
        if self.tasks.len() > limits::TASKS_PER_SWARM_MAX {
            let (has, most) = (self.tasks.len(), limits::TASKS_PER_SWARM_MAX);
            return Err(invalid(format!("it has {has} tasks, {most} are the limit")));
        }
        if self.globals.len() > limits::GLOBALS_PER_SWARM_MAX {
            return Err(invalid(format!("it has {} globals", self.globals.len())));
        }
        for name in self.globals.keys() {
            check_name("global", name).map_err(|e| invalid(e.to_string()))?;
        }
        let iterations_max = match self.max_iteration {
            None => None,
            Some(count) => {
                let within = NonZeroU32::new(count).filter(|n| n.get() <= limits::ITERATIONS_MAX);
                Some(within.ok_or_else(|| invalid(format!("max_iteration is {count}; 1 to 1000000 are allowed")))?)
            }
        };
        if !(-limits::PRIORITY_MAX..=limits::PRIORITY_MAX).contains(&self.priority) {
            let (is, most) = (self.priority, limits::PRIORITY_MAX);
            return Err(invalid(format!("its priority is {is}; -{most} to {most} are allowed")));
        }
        let attempts_max =
            self.attempts_max.map(|count| positive("attempts_max", count)).transpose().map_err(invalid)?;
        let mut seen = BTreeSet::new();
        let mut tasks = Vec::with_capacity(self.tasks.len());
        for (index, task) in self.tasks.iter().enumerate() {
            let place = || format!("task `{}`", clip(&task.alias));
            if !seen.insert(&task.alias) {
                return Err(InvalidSubmission { place: place(), problem: "two tasks have this alias".to_owned() });
            }
            tasks.push(
                task.check(index, &self.modules).map_err(|problem| InvalidSubmission { place: place(), problem })?,
            );
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
}

impl TaskSubmission {
    fn check(&self, index: usize, modules: &[ModuleRef]) -> Result<TaskSpec, String> {
        check_component("task", &self.alias).map_err(|e| e.to_string())?;
        let module =
            modules.get(self.module).ok_or_else(|| format!("module {} is not in the submission", self.module))?;
        check_name("module", &module.name).map_err(|e| e.to_string())?;
        for dataset in &module.datasets {
            check_component("dataset", dataset).map_err(|e| e.to_string())?;
        }
        if let Some(late) = self.after.iter().find(|before| **before >= index) {
            return Err(format!("its predecessor {late} does not stand before it, so the graph has a cycle"));
        }
        let mut after = self.after.clone();
        after.sort_unstable();
        after.dedup();
        let names = |list: &[String]| list.iter().map(|name| NodeName::new(name)).collect::<Result<Vec<_>, _>>();
        Ok(TaskSpec {
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
            excepted: names(&self.excepted).map_err(|e| e.to_string())?,
            specified: self.specified.as_deref().map(names).transpose().map_err(|e| e.to_string())?,
            labels: self.labels.clone(),
            policy: self.policy()?,
        })
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

fn method(name: &str) -> Result<Method, String> {
    const METHODS: [&str; 4] = ["all", "any", "random", "best_resources"];
    Ok(match name {
        "all" => Method::All,
        "any" => Method::Any,
        "random" => Method::Random,
        "best_resources" => Method::BestResources,
        other => match other.strip_prefix("tag-").filter(|tag| !tag.is_empty()) {
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
    seconds
        .filter(|s| *s > 0.0 && *s <= 31_536_000.0)
        .map(Duration::from_secs_f64)
        .ok_or_else(|| format!("{what} must be more than 0 and at most a year, in seconds"))
}

fn clip(text: &str) -> String {
    text.chars().take(64).flat_map(char::escape_debug).collect()
}
