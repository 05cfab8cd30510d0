//! An agent under test: its own directory, its own launcher, stopped by the test.
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::Command;

use manta_client::Token;
use manta_image::{Installer, Store, Unpacker};
use manta_node::{Bounds, NodeError, OnAllowedProbe, Proof, Settings, Warm};
use manta_sandbox::{Launcher, Tier};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::manager::{Door, Manager, TOKEN};

/// A manager, and an agent that dials it.
pub(crate) struct Bench {
    pub(crate) manager: Manager,
    pub(crate) dir: tempfile::TempDir,
    /// The launcher's process.
    pub(crate) launcher_pid: u32,
    agent: JoinHandle<Result<(), NodeError>>,
    stop: oneshot::Sender<()>,
}

impl Bench {
    /// Starts both.
    pub(crate) fn start(slots: u32) -> Self {
        Self::with_token(slots, TOKEN)
    }

    pub(crate) fn with_token(slots: u32, token: &str) -> Self {
        Self::with(slots, |settings| settings.proof = Proof::Token(Token::new(token)))
    }

    /// Starts both, the agent with other settings.
    pub(crate) fn with(slots: u32, change: impl FnOnce(&mut Settings)) -> Self {
        let dir = tempfile::Builder::new().prefix("manta-").tempdir_in("/tmp").unwrap();
        let socket = dir.path().join("manager.sock");
        let manager = Manager::serve(&socket);
        let mut settings = Settings { ephemeral: true, ..settings(dir.path(), slots) };
        change(&mut settings);
        let launcher = Launcher::spawn(&std::env::current_exe().unwrap(), &["__launcher"]).unwrap();
        let launcher_pid = launcher.pid();
        let (stop, stopped) = oneshot::channel();
        let agent = tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            manta_node::run(settings, manta_node::EngineChoice::Builtin(launcher), &mut None, stopped).await.map(drop)
        });
        Self { manager, dir, launcher_pid, agent, stop }
    }

    /// The next session; an agent that ends instead fails the test with its own words.
    pub(crate) async fn door(&mut self) -> Door {
        tokio::select! {
            door = self.manager.door() => door,
            ended = &mut self.agent => panic!("the agent ended: {:?}", ended.unwrap()),
        }
    }

    /// Waits for the agent's own end.
    pub(crate) async fn ended(self) -> Result<(), NodeError> {
        self.agent.await.unwrap()
    }

    /// Stops the agent and checks that it leaves nothing.
    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.agent.await.unwrap().unwrap();
        assert!(!self.dir.path().join("node").exists(), "an ephemeral node leaves nothing");
    }
}

/// What an agent is told that has all its files in a directory, beside the manager's socket.
pub(crate) fn settings(dir: &Path, slots: u32) -> Settings {
    let digits = dir.join("digits.csv");
    std::fs::write(&digits, "a,b\n1,2\n").unwrap();
    Settings {
        manager: format!("unix:{}", dir.join("manager.sock").display()).parse().unwrap(),
        proof: Proof::Token(Token::new(TOKEN)),
        cluster: "default".parse().unwrap(),
        name: "node-1".parse().unwrap(),
        data_dir: dir.join("node"),
        datasets: BTreeMap::from([("digits".to_owned(), digits)]),
        labels: BTreeMap::from([("site".to_owned(), "here".to_owned())]),
        gpus: manta_node::GpuSource::Auto,
        slots: NonZeroU32::new(slots).unwrap(),
        python: python(),
        images: Store::new(dir.join("images"), Unpacker::new("/nonexistent".into(), Vec::new())),
        installer: Installer::new("/nonexistent".into(), Vec::new()),
        image_names: BTreeMap::new(),
        isolation_min: Tier::Reduced,
        bounds: Bounds::default(),
        policy: manta_types::Policy::default(),
        policy_file: dir.join("policy.toml"),
        warm: Warm::Off,
        cache_bytes_max: 1 << 30,
        // One run of the suite serves all tests.
        machine_cache: Some(Path::new(env!("CARGO_TARGET_TMPDIR")).join("machine")),
        on_allowed_probe: OnAllowedProbe::Refuse,
        ephemeral: false,
        own: None,
    }
}

/// The interpreter itself, not a script that finds it.
fn python() -> PathBuf {
    let output = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().into()
}
