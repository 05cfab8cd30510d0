//! An agent in a process of its own, which a test kills and starts again.
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use manta_sandbox::Launcher;

use crate::manager::{Door, Manager};
use crate::node::settings;

/// A manager, and an agent that dials it and does not live long.
pub(crate) struct Victim {
    pub(crate) manager: Manager,
    dir: tempfile::TempDir,
    slots: u32,
    agent: Child,
}

impl Victim {
    /// Starts both.
    pub(crate) fn start(slots: u32) -> Self {
        let dir = tempfile::Builder::new().prefix("manta-").tempdir_in("/tmp").unwrap();
        let manager = Manager::serve(&dir.path().join("manager.sock"));
        let agent = spawn(dir.path(), slots);
        Self { manager, dir, slots, agent }
    }

    /// The next session.
    pub(crate) async fn door(&mut self) -> Door {
        self.manager.door().await
    }

    /// Kills the agent as the kernel does, waits until it is gone, and starts it again.
    pub(crate) async fn restart(&mut self, door: Door) -> Door {
        self.agent.kill().unwrap();
        self.agent.wait().unwrap();
        door.closed().await;
        self.agent = spawn(self.dir.path(), self.slots);
        self.door().await
    }

    /// A place in the agent's data directory.
    pub(crate) fn place(&self, path: &str) -> PathBuf {
        self.dir.path().join("node").join(path)
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.agent.kill();
        let _ = self.agent.wait();
    }
}

fn spawn(dir: &Path, slots: u32) -> Child {
    let mut agent = Command::new(std::env::current_exe().unwrap());
    agent.arg("__agent").arg(dir).arg(slots.to_string()).stdin(Stdio::null());
    agent.spawn().unwrap()
}

/// What the process does that a test started as an agent.
pub(crate) fn agent_main(dir: &Path, slots: u32) -> ExitCode {
    // Before there are threads.
    let launcher = Launcher::spawn(&std::env::current_exe().unwrap(), &["__launcher"]).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let ended = runtime.block_on(manta_node::run(
        settings(dir, slots),
        manta_node::EngineChoice::Builtin(launcher),
        &mut None,
        std::future::pending(),
    ));
    eprintln!("the agent ended: {ended:?}");
    ExitCode::FAILURE
}
