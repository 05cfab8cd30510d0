//! How an attempt ended when it did not succeed, and whose doing that was.
use std::fmt;

use crate::{Allowance, LimitReached};

/// The class of a failed attempt's outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OutcomeClass {
    /// The module's code raised or exited.
    UserError,
    /// A limit was hit: memory, processes, scratch, log or result volume.
    ResourceLimit,
    /// The task's `timeout` passed.
    Timeout,
    /// The runtime environment could not be made.
    Image,
    /// A dataset is missing, unreadable or corrupt.
    Dataset,
    /// The node's own policy does not allow it.
    Policy,
    /// The node went away or lost its agent.
    LostNode,
    /// Our own fault or the host's.
    Platform,
}

impl OutcomeClass {
    /// Every class, in the order of the documentation.
    pub const ALL: [Self; 8] = [
        Self::UserError,
        Self::ResourceLimit,
        Self::Timeout,
        Self::Image,
        Self::Dataset,
        Self::Policy,
        Self::LostNode,
        Self::Platform,
    ];

    /// The class's stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UserError => "user_error",
            Self::ResourceLimit => "resource_limit",
            Self::Timeout => "timeout",
            Self::Image => "image",
            Self::Dataset => "dataset",
            Self::Policy => "policy",
            Self::LostNode => "lost_node",
            Self::Platform => "platform",
        }
    }

    /// The class of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == name)
    }

    /// Whether the attempt ran user code and so counts against the task's `retries`.
    pub const fn counts_as_try(self) -> bool {
        matches!(self, Self::UserError | Self::ResourceLimit | Self::Timeout | Self::Dataset)
    }
}

impl fmt::Display for OutcomeClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why an attempt failed, with what a person needs to see.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptFailure {
    /// Whose doing it was.
    pub class: OutcomeClass,
    /// One sentence: `ValueError: shapes differ`, `killed at its memory limit of 2 GiB`.
    pub message: String,
    /// The Python traceback, user frames first; empty where there is none.
    pub traceback: String,
    /// The user's file and line, `worker.py:12`, where known.
    pub location: Option<String>,
    /// The last log lines of the attempt.
    pub log_tail: Vec<String>,
    /// The limit that it ran into, where it did.
    pub reached: Option<Box<LimitReached>>,
    /// What it could use, where it was started.
    pub limits: Option<Box<Allowance>>,
}

impl AttemptFailure {
    /// A failure of which no more is known than this sentence.
    pub const fn new(class: OutcomeClass, message: String) -> Self {
        Self {
            class,
            message,
            traceback: String::new(),
            location: None,
            log_tail: Vec::new(),
            reached: None,
            limits: None,
        }
    }
}
