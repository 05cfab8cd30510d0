//! A Docker daemon of the bench's own, where it may start one and none answers.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long it may take until it answers.
const START_MAX: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Ends with its value, and with this process.
pub(super) struct Dockerd {
    process: Child,
    dir: TempDir,
}

impl Dockerd {
    /// Starts one that answers on a socket of its own; nothing where that cannot be done, which is said.
    pub(super) fn start(client: &Path) -> Result<Option<Self>> {
        let dir = tempfile::Builder::new().prefix("manta-bench-docker-").tempdir()?;
        let option = |name: &str, file: &str| format!("--{name}={}", dir.path().join(file).display());
        let log = File::create(dir.path().join("log"))?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "dockerd", "--iptables=false", "--ip6tables=false", "--bridge=none"]);
        command.args([option("data-root", "root"), option("exec-root", "exec"), option("pidfile", "pid")]);
        command.arg(format!("--host={}", address(dir.path()))).current_dir(dir.path());
        let started = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn();
        let Ok(process) = started else { return Ok(None) };
        let mut daemon = Self { process, dir };
        let deadline = Instant::now() + START_MAX;
        while !answers(client, Some(&daemon.host())) {
            if daemon.process.try_wait()?.is_some() || Instant::now() > deadline {
                let log = fs::read_to_string(daemon.dir.path().join("log")).unwrap_or_default();
                eprintln!("dockerd does not start: {}", log.lines().last().unwrap_or("it said nothing"));
                return Ok(None);
            }
            thread::sleep(LOOK_EVERY);
        }
        Ok(Some(daemon))
    }

    /// What `DOCKER_HOST` has to be for it.
    pub(super) fn host(&self) -> PathBuf {
        address(self.dir.path()).into()
    }
}

/// Whether a daemon answers: the one named, or the client's own choice.
pub(super) fn answers(client: &Path, host: Option<&Path>) -> bool {
    let mut command = Command::new(client);
    command.arg("version").envs(host.map(|host| ("DOCKER_HOST", host))).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn address(dir: &Path) -> String {
    format!("unix://{}", dir.join("socket").display())
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        // Asked first, so that it takes its helpers down; both fail only for one that is gone.
        let _ = kill_process(Pid::from_child(&self.process), Signal::TERM);
        let _ = self.process.wait();
    }
}
