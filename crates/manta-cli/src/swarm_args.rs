//! Which swarm a command is about: a file to trace, or a folder with what was traced before.
use std::path::{Path, PathBuf};

use manta_client::Client;

use crate::dependencies::Network;
use crate::python;
use crate::registry::pin;
use crate::report::Failure;
use crate::trace::{self, Traced};

/// Options of the commands that take a swarm's file.
#[derive(Debug, clap::Args)]
pub(crate) struct SwarmArgs {
    /// The swarm: a Python file, and the class where it holds several.
    #[arg(value_name = "PATH[:CLASS]", required_unless_present = "traced")]
    target: Option<String>,

    /// Another value for one of the swarm's globals.
    #[arg(long, value_name = "GLOBAL=VALUE")]
    set: Vec<String>,

    /// The Python interpreter [default: MANTA_PYTHON, the active environment, python3 on PATH].
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,

    /// Where published modules are: a directory, or a manager's address [default: MANTA_REGISTRY, else the manager].
    #[arg(long, value_name = "DIR|URL")]
    registry: Option<String>,

    /// Resolve and fetch the modules' dependencies from caches alone.
    #[arg(long)]
    offline: bool,

    /// Take a swarm that was traced before.
    #[arg(long, value_name = "DIR", hide = true, conflicts_with_all = ["target", "set"])]
    traced: Option<PathBuf>,
}

impl SwarmArgs {
    /// The interpreter that traces, and that nodes of this machine run tasks with.
    pub(crate) fn python(&self) -> Result<PathBuf, Failure> {
        python::find(self.python.as_deref())
    }

    /// Traces the swarm into a folder, unless it was traced before, and pins the published modules that it names: those of
    /// the registry, else of the manager that the swarm is for.
    pub(crate) async fn trace(&self, folder: &Path, manager: Option<&Client>) -> Result<Traced, Failure> {
        let mut traced = match (&self.traced, &self.target) {
            (Some(traced), _) => trace::read(traced)?,
            (None, Some(target)) => trace::trace(&self.python()?, target, &self.set, folder).await?,
            (None, None) => return Err(Failure::usage("no swarm is given")),
        };
        pin(&mut traced, self.registry.as_deref(), manager).await?;
        if self.offline {
            traced.network = Network::Closed;
        }
        Ok(traced)
    }
}
