//! Why a sandbox could not be made, in sentences a person can act on.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What can go wrong between an agent and its launcher.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The launcher process could not be started.
    #[error("the sandbox launcher `{exe}` could not be started")]
    Spawn {
        /// The program that was to become the launcher.
        exe: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The launcher is dead; every task it ran is dead too.
    #[error("the sandbox launcher is gone; restart the agent")]
    LauncherGone,
    /// The request is larger than one message.
    #[error(
        "the sandbox description takes {bytes} bytes; at most {max} fit: mount fewer paths or pass fewer arguments"
    )]
    TooLarge {
        /// Size of the request.
        bytes: usize,
        /// Largest size that fits.
        max: usize,
    },
    /// A path is not UTF-8, or the request has no wire form for another reason.
    #[error("the sandbox description cannot be sent to the launcher")]
    Encode(#[source] serde_json::Error),
    /// A sandbox with this id is running already.
    #[error("a sandbox named `{id}` is running already")]
    Duplicate {
        /// The id.
        id: String,
    },
    /// A container engine could not be asked, or refused.
    #[error("{engine} at `{}` cannot {doing}: {cause}", socket.display())]
    Engine {
        /// Its name.
        engine: &'static str,
        /// Its API's socket.
        socket: PathBuf,
        /// What it was asked.
        doing: String,
        /// In its words.
        cause: String,
    },
    /// The launcher could not make the sandbox.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Why the launcher could not make a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartError {
    /// The description makes no sense.
    #[error("the sandbox description is wrong: {problem}")]
    Spec {
        /// What is wrong with it.
        problem: String,
    },
    /// The tier does not work here.
    #[error("the `{tier}` tier cannot be used here: {problem}")]
    Tier {
        /// The tier's name.
        tier: String,
        /// Why not.
        problem: String,
    },
    /// Something to be mounted cannot be opened or mounted.
    #[error("`{}` cannot be given to a task: {problem}", path.display())]
    Mount {
        /// The source path.
        path: PathBuf,
        /// Why not.
        problem: String,
    },
    /// Something to be mounted exists, but a task may not read it.
    #[error("`{}` (mode {mode:04o}, owner {owner}) cannot be read by a task: {cure}", path.display())]
    Unreadable {
        /// The source path.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Its owner's uid.
        owner: u32,
        /// What would help.
        cure: String,
    },
    /// All was ready, and the program cannot be run.
    #[error("the sandbox failed to start the program `{program}`: {cause}")]
    Program {
        /// Its path inside.
        program: String,
        /// The system's reason.
        cause: String,
    },
    /// A step on the way failed.
    #[error("the sandbox failed to {step}: {cause}")]
    Step {
        /// What was being done.
        step: String,
        /// The system's reason.
        cause: String,
    },
}

impl StartError {
    /// A failed step and the system's reason.
    pub(crate) fn step(step: impl Into<String>, cause: impl std::fmt::Display) -> Self {
        Self::Step { step: step.into(), cause: cause.to_string() }
    }
}
