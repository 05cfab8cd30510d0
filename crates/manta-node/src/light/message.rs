//! What a task can say, and what it is answered.
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use manta_types::AttemptLimit;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// One message of a task.
#[derive(Debug, Deserialize)]
pub(crate) struct Message {
    /// Rises with each request; absent in notices.
    pub(crate) id: Option<u64>,
    /// What it says.
    #[serde(flatten)]
    pub(crate) call: Call,
}

/// Requests, which are answered, and notices, which are not.
#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub(crate) enum Call {
    Hello,
    Dataset {
        name: String,
    },
    GlobalGet {
        name: String,
    },
    GlobalSet {
        name: String,
    },
    GlobalKeys,
    ResultAdd {
        name: String,
    },
    Select {
        name: String,
        task: Option<String>,
        iteration: Option<i64>,
    },
    Fetch {
        r#ref: usize,
    },
    StateGet {
        name: String,
    },
    StateSet {
        name: String,
    },
    /// Asks for memory to write the next value into, from where no descriptor can be sent.
    Memory,
    ScheduleNextIter {
        node_ids: Option<Vec<String>>,
        task: Option<String>,
    },
    StopSwarm,
    MetricsNow,
    NetworkQuality,
    Finished {
        ok: bool,
        error: Option<TaskError>,
    },
    Started,
    Log {
        level: String,
        message: String,
        time_ms: f64,
    },
    Metrics {
        values: BTreeMap<String, Option<f64>>,
        step: Option<i64>,
    },
    Progress {
        done: f64,
        total: Option<f64>,
    },
}

impl Call {
    /// Whether it expects no answer.
    pub(crate) const fn is_notice(&self) -> bool {
        matches!(self, Self::Started | Self::Log { .. } | Self::Metrics { .. } | Self::Progress { .. })
    }

    /// Whether a descriptor comes with it.
    pub(crate) const fn carries_value(&self) -> bool {
        matches!(self, Self::GlobalSet { .. } | Self::ResultAdd { .. } | Self::StateSet { .. })
    }
}

/// How the user's code failed, in Python's words.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct TaskError {
    /// The exception's class.
    pub(crate) r#type: String,
    /// Its text.
    #[serde(default)]
    pub(crate) message: String,
    /// Frames, the user's first.
    #[serde(default)]
    pub(crate) traceback: String,
    /// The user's file and line.
    #[serde(default)]
    pub(crate) r#where: Option<String>,
    /// The limit that it ran into, where it can tell.
    #[serde(default, deserialize_with = "known_limit")]
    pub(crate) limit: Option<AttemptLimit>,
    /// Whether it repeats what this node said that it could not do: the server's word, never the task's.
    #[serde(skip)]
    pub(crate) is_nodes_fault: bool,
}

/// The limit that a task names; nothing where it names what is none.
fn known_limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<AttemptLimit>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.and_then(|name| AttemptLimit::from_name(&name)))
}

/// A good answer: fields, and maybe a value's descriptor.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    pub(crate) fields: Map<String, Value>,
    pub(crate) fd: Option<Arc<OwnedFd>>,
}

impl Reply {
    /// An answer of these fields.
    pub(crate) fn of(fields: Value) -> Self {
        let Value::Object(fields) = fields else { panic!("answers are objects: {fields}") };
        Self { fields, fd: None }
    }
}

/// A request that cannot be granted: an exception in the caller, who may go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Denied {
    pub(crate) kind: &'static str,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    /// The limit that stands in the way.
    pub(crate) limit: Option<AttemptLimit>,
    /// Whether the request was good, and the node could not do it.
    pub(crate) is_nodes_fault: bool,
}

impl Denied {
    pub(crate) fn new(kind: &'static str, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, limit: None, is_nodes_fault: false }
    }

    /// A good request that this node cannot carry out.
    pub(crate) fn by_node(kind: &'static str, message: impl Into<String>) -> Self {
        Self { is_nodes_fault: true, ..Self::new(kind, message) }
    }

    /// A request that a limit of the attempt stands in the way of.
    pub(crate) fn exhausted(limit: AttemptLimit, message: impl Into<String>) -> Self {
        Self { limit: Some(limit), ..Self::new("resource_exhausted", message) }
    }

    pub(crate) fn hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }
}
