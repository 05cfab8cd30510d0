//! What an agent and the entry of a container say to each other, over the one socket that leads into it.

use serde::{Deserialize, Serialize};

use crate::Limits;
use crate::rlimits::Enforced;

/// Descriptors beside [`ToEntry::Run`]: light, stdout, stderr.
pub(super) const RUN_FDS: usize = 3;

/// What the agent orders. When it closes the socket, everything in the container ends.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ToEntry {
    /// Become the task; three descriptors ride along.
    Run(Box<Program>),
    /// End every process but the entry.
    Kill,
}

/// The program of a task, and what its container does not limit.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Program {
    pub(super) argv: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    /// Where it begins, if not in its scratch.
    pub(super) directory: Option<String>,
    /// What it may read, directories with all that is below them.
    pub(super) readable: Vec<String>,
    pub(super) limits: Limits,
    pub(super) enforced: Enforced,
}

/// What the entry tells.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FromEntry {
    /// The program was entered, fenced by Landlock of this version; 0 where the container has none.
    Started { landlock_abi: u32 },
    /// It was not.
    Failed { step: String, cause: String },
    /// The program has ended, and so has all that it left; the entry waits until the agent closes the socket.
    Ended {
        /// As `wait` tells it.
        status: i32,
        cpu_ms: u64,
        /// Of the largest process.
        peak_memory_bytes: u64,
    },
}
