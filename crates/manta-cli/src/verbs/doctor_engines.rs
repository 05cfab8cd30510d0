//! The container engines of this machine, as `manta doctor` tells of them.
use std::path::{Path, PathBuf};

use manta_sandbox::{ContainerEngine, ContainerSettings, Containers, Engine as _, HostReport, Tier};
use serde_json::{Value, json};

use crate::report::Failure;

/// A container engine, as far as it was found.
pub(super) struct Found {
    engine: ContainerEngine,
    socket: PathBuf,
    /// What it is and what its containers hold, or why they hold nothing.
    what: Result<(String, HostReport), String>,
}

/// Asks every engine whose socket is there, by running a container that does nothing.
pub(super) fn examine(program: &Path) -> Result<Vec<Found>, Failure> {
    let engines = [ContainerEngine::Docker, ContainerEngine::Podman, ContainerEngine::Gvisor];
    let sockets = engines.into_iter().filter_map(|engine| {
        let socket = engine.sockets().into_iter().find(|socket| socket.exists())?;
        Some((engine, socket))
    });
    let sockets: Vec<_> = sockets.collect();
    if sockets.is_empty() {
        return Ok(Vec::new());
    }
    super::block_on(async move {
        let mut found = Vec::new();
        for (engine, socket) in sockets {
            let what = ask(engine, &socket, program).await;
            found.push(Found { engine, socket, what });
        }
        Ok(found)
    })
}

async fn ask(engine: ContainerEngine, socket: &Path, program: &Path) -> Result<(String, HostReport), String> {
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    let settings = ContainerSettings {
        engine,
        socket: socket.to_owned(),
        dir: dir.path().to_owned(),
        program: program.to_owned(),
        args: vec![crate::ENTRY.to_owned()],
    };
    let containers = Containers::open(settings).await.map_err(|error| error.to_string())?;
    let report = containers.probe().await.map_err(|error| error.to_string())?;
    Ok((containers.describe(), report))
}

impl Found {
    /// A line for people, and what is missing below it.
    pub(super) fn as_text(&self) -> String {
        match &self.what {
            Ok((what, report)) => {
                let tier = report.tier.map_or("none", Tier::name);
                let missing = report.shortcomings.iter().map(|short| format!("\n  {}", short.what));
                format!("engine       {what}, tier {tier}{}", missing.collect::<String>())
            }
            Err(why) => format!("engine       {} cannot be used: {why}", self.engine.name()),
        }
    }

    pub(super) fn as_json(&self) -> Value {
        let (what, why) = (self.what.as_ref().ok(), self.what.as_ref().err());
        json!({
            "engine": self.engine.name(),
            "socket": self.socket,
            "what": what.map(|(what, _)| what),
            "report": what.map(|(_, report)| report),
            "problem": why,
        })
    }
}
