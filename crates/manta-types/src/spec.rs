//! What a user asks for: a swarm's graph of tasks, checked once and then trusted.
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Blob, Digest, NodeName, PythonRange, Runtime, TraceParent};

/// Position of a task in [`SwarmSpec::tasks`].
pub type TaskIndex = usize;

/// How the nodes of a task are picked among the eligible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Method {
    /// Every eligible node, at most `maximum`.
    All,
    /// `maximum` nodes (one by default): state holders first, then least loaded.
    Any,
    /// A seeded sample, a new one each iteration unless `fixed`.
    Random,
    /// The nodes with most free resources.
    BestResources,
    /// The nodes that published this result name earlier in the iteration.
    Tag(String),
}

/// How many nodes a task may use. From Python: -1, a positive int, or a fraction in (0, 1].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum NodeLimit {
    /// As many as the method gives.
    Unlimited,
    /// At most this many.
    Count(NonZeroU32),
    /// This share of the eligible nodes, in (0, 1], at least one.
    Share(f64),
}

/// How many successes close a task run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Quorum {
    /// All but the excused.
    All,
    /// At least this many.
    Count(NonZeroU32),
    /// This share of the chosen nodes, in (0, 1], rounded up.
    Share(f64),
}

/// What a failed task run does to the swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// The swarm fails.
    Fail,
    /// Successors run on what succeeded.
    Continue,
}

/// What a node that is cut off does with a running attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDisconnect {
    /// Goes on and delivers when it is back.
    Keep,
    /// Stops after this long.
    StopAfter(Duration),
}

/// What a task tolerates.
#[derive(Debug, Clone, PartialEq)]
pub struct FailurePolicy {
    /// Further attempts after one that ran user code failed.
    pub retries: u32,
    /// Wall time of one attempt's user code.
    pub timeout: Option<Duration>,
    /// Successes that are enough.
    pub quorum: Quorum,
    /// Time from the task run's start after which it closes with what it has.
    pub deadline: Option<Duration>,
    /// What its failure does.
    pub on_failure: OnFailure,
    /// What a cut-off node does.
    pub on_disconnect: OnDisconnect,
}

impl Default for FailurePolicy {
    fn default() -> Self {
        Self {
            retries: 1,
            timeout: None,
            quorum: Quorum::All,
            deadline: None,
            on_failure: OnFailure::Fail,
            on_disconnect: OnDisconnect::Keep,
        }
    }
}

/// What an attempt may use; `None` takes the node's default.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Processor cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
    /// Memory in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Scratch in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tmp_bytes: Option<u64>,
    /// Processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
    /// GPUs.
    pub gpu_count: u32,
    /// Bytes on each of them that it may use, beside others; `None`: it has them alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_memory_bytes: Option<u64>,
}

/// One vertex of the graph: module and placement.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskSpec {
    /// Unique in the swarm; what results and logs name.
    pub alias: String,
    /// Digest of the module's bundle manifest.
    pub bundle: Digest,
    /// The module's name, for people.
    pub module: String,
    /// The module's version, for people.
    pub version: String,
    /// The environment that the module asks for.
    pub image: String,
    /// What the module's dependencies are locked for, one of which a node must have; none: it has no dependencies.
    pub runtimes: Vec<Runtime>,
    /// The Pythons that the module works with, one of which its image must have; `None`: all.
    pub requires_python: Option<PythonRange>,
    /// The processors that the module works with, one of which a node must have; none: all.
    pub architectures: Vec<String>,
    /// Datasets that the module may open; a node must offer all of them.
    pub datasets: Vec<String>,
    /// What an attempt needs and may use.
    pub resources: Resources,
    /// Tasks that must have closed before this one starts.
    pub after: Vec<TaskIndex>,
    /// How nodes are picked.
    pub method: Method,
    /// How many.
    pub maximum: NodeLimit,
    /// Whether the choice of iteration 0 stays.
    pub fixed: bool,
    /// Nodes left out.
    pub excepted: Vec<NodeName>,
    /// If given, only these nodes.
    pub specified: Option<Vec<NodeName>>,
    /// Labels that a node must carry.
    pub labels: BTreeMap<String, String>,
    /// What it tolerates.
    pub policy: FailurePolicy,
}

/// A user's algorithm before it runs: a graph of tasks plus globals.
#[derive(Debug, Clone, PartialEq)]
pub struct SwarmSpec {
    /// The swarm's name, for people.
    pub name: String,
    /// Iterations to loop to; `None` runs once and again only on request.
    pub iterations_max: Option<NonZeroU32>,
    /// Before swarms of lower priority wherever both wait, in [-100, 100].
    pub priority: i32,
    /// Attempts of it that may be live at once over all nodes; `None` as many as there is room for.
    pub attempts_max: Option<NonZeroU32>,
    /// The graph, predecessors before successors.
    pub tasks: Vec<TaskSpec>,
    /// Values that exist before the first iteration.
    pub globals: BTreeMap<String, Blob>,
    /// The span of whoever submitted it, under which its own are put.
    pub trace_parent: Option<TraceParent>,
}

impl SwarmSpec {
    /// The position of the task with that alias.
    pub fn task_named(&self, alias: &str) -> Option<TaskIndex> {
        self.tasks.iter().position(|task| task.alias == alias)
    }

    /// All ancestors of a task, nearest first; equally near ones in the order of the graph.
    pub fn ancestors(&self, task: TaskIndex) -> Vec<(TaskIndex, u32)> {
        let mut depth: BTreeMap<TaskIndex, u32> = BTreeMap::new();
        let mut front: Vec<TaskIndex> = self.tasks[task].after.clone();
        let mut distance = 1;
        while !front.is_empty() {
            let mut next = Vec::new();
            for ancestor in front {
                if let std::collections::btree_map::Entry::Vacant(new) = depth.entry(ancestor) {
                    new.insert(distance);
                    next.extend(&self.tasks[ancestor].after);
                }
            }
            front = next;
            distance += 1;
        }
        let mut nearest_first: Vec<_> = depth.into_iter().collect();
        nearest_first.sort_by_key(|(ancestor, distance)| (*distance, *ancestor));
        nearest_first
    }
}
