//! Which engine runs the sandboxes of a node: the launcher, or a container engine that the site has.
use std::path::PathBuf;
use std::sync::Arc;

use manta_sandbox::{ContainerEngine, ContainerSettings, Containers, Engine, Launcher};
use rustix::fs::Mode;

use crate::NodeError;

/// What is to run the sandboxes of a node.
#[derive(Debug)]
pub enum EngineChoice {
    /// The launcher, spawned before there are threads.
    Builtin(Launcher),
    /// Containers of an engine.
    Containers {
        /// Which engine.
        engine: ContainerEngine,
        /// Its API's socket; none: where such engines have theirs.
        socket: Option<PathBuf>,
        /// A program that calls [`manta_sandbox::entry_main`] with its last argument.
        program: PathBuf,
        /// The arguments before that.
        args: Vec<String>,
    },
}

impl EngineChoice {
    /// Makes the engine ready; what it keeps on disk is in `dir`.
    ///
    /// # Errors
    /// When a container engine is not there, or refuses.
    pub(crate) async fn open(self, dir: PathBuf) -> Result<Arc<dyn Engine>, NodeError> {
        // A task in a container has a uid that owns nothing here, and reads what everybody may, also of what an agent left that
        // ran sandboxes of its own. The data directory stays closed.
        rustix::process::umask(Mode::from_raw_mode(0o022));
        let (engine, socket, program, args) = match self {
            Self::Builtin(launcher) => return Ok(Arc::new(launcher)),
            Self::Containers { engine, socket, program, args } => (engine, socket, program, args),
        };
        let socket = match socket {
            Some(socket) => socket,
            None => find(engine)?,
        };
        let settings = ContainerSettings { engine, socket, dir, program, args };
        let containers = Containers::open(settings).await;
        Ok(Arc::new(containers.map_err(|error| failed(engine, error.to_string()))?))
    }
}

/// The socket of an engine that is not named.
fn find(engine: ContainerEngine) -> Result<PathBuf, NodeError> {
    let places = engine.sockets();
    let looked = places.iter().map(|place| format!("`{}`", place.display())).collect::<Vec<_>>().join(", ");
    places
        .into_iter()
        .find(|place| place.exists())
        .ok_or_else(|| failed(engine, format!("no socket of {} was found; looked at {looked}", engine.api_name())))
}

fn failed(engine: ContainerEngine, why: String) -> NodeError {
    NodeError::Engine { engine: engine.name(), service: engine.api_name(), why }
}
