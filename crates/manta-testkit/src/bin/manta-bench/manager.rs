//! A manager as a process of its own, in a directory of its own, and what a client of it needs.
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use manta_client::{Client, Endpoint, Token};
use manta_types::ClusterId;
use tempfile::TempDir;

/// The longest wait for anything that a healthy manager does at once.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
/// Between two looks at something that another process does.
const LOOK: Duration = Duration::from_millis(1);

/// The optimised `manta` that is measured.
pub(crate) fn binary() -> Result<PathBuf> {
    Ok(PathBuf::from(std::env::var_os("MANTA_BINARY").context("MANTA_BINARY names no manta to measure")?))
}

/// Looks until something is there.
pub(crate) async fn wait_for<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> Result<T> {
    let started = Instant::now();
    loop {
        if let Some(found) = look().await {
            return Ok(found);
        }
        if started.elapsed() > LIMIT {
            bail!("{what} did not come within {} s", LIMIT.as_secs());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// A data directory and the process that serves it; both are gone when this is dropped.
pub(crate) struct Manager {
    dir: TempDir,
    /// What it listens on; a socket in its directory where nothing is said.
    listen: Option<String>,
    child: Option<Child>,
}

impl Manager {
    /// A directory without a process.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { dir: tempfile::Builder::new().prefix("manta-bench-").tempdir()?, listen: None, child: None })
    }

    /// One that listens on a free port of this machine, where it speaks TLS and plain.
    pub(crate) async fn serving_port() -> Result<Self> {
        let mut manager = Self::new()?;
        manager.listen = Some("127.0.0.1:0".to_owned());
        manager.start()?;
        manager.wait().await?;
        Ok(manager)
    }

    /// Starts the process and waits until it answers.
    pub(crate) async fn serving() -> Result<Self> {
        let mut manager = Self::new()?;
        manager.start()?;
        manager.wait().await?;
        Ok(manager)
    }

    /// Starts the process.
    pub(crate) fn start(&mut self) -> Result<()> {
        let manta = binary()?;
        let log = std::fs::File::options().append(true).create(true).open(self.path("manager.log"))?;
        let child = Command::new(&manta)
            .args(["manager", "run", "--data-dir"])
            .arg(self.path("data"))
            .arg("--listen")
            .arg(self.listen.clone().unwrap_or_else(|| self.socket()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting `{}`", manta.display()))?;
        self.child = Some(child);
        Ok(())
    }

    /// Ends the process as a power cut would, if it runs.
    pub(crate) fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Waits until the process answers.
    pub(crate) async fn wait(&mut self) -> Result<()> {
        let client = wait_for("the manager's token", async || self.client().ok()).await?;
        wait_for("the manager's first answer", async || client.health().await.ok()).await
    }

    pub(crate) fn pid(&self) -> Result<u32> {
        Ok(self.child.as_ref().context("the manager runs")?.id())
    }

    /// A client with the user's token and connections of its own.
    pub(crate) fn client(&self) -> Result<Client> {
        Ok(Client::new(self.endpoint()?, self.token("token")?, ClusterId::default()))
    }

    pub(crate) fn endpoint(&self) -> Result<Endpoint> {
        Ok(self.address()?.parse()?)
    }

    /// What it is reached by; an error until it listens on a port.
    pub(crate) fn address(&self) -> Result<String> {
        match self.listen {
            None => Ok(self.socket()),
            Some(_) => Ok(std::fs::read_to_string(self.path("data/address"))?.trim().to_owned()),
        }
    }

    fn socket(&self) -> String {
        format!("unix:{}", self.path("m.sock").display())
    }

    pub(crate) fn token(&self, file: &str) -> Result<Token> {
        Ok(Token::from_file(&self.path("data").join(file))?)
    }

    /// A path beside the data directory.
    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("the measured manager could not be ended: {error}");
        }
    }
}
