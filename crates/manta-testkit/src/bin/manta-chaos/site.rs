//! A directory of its own for each cluster, and what every process of it is given.
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result};

use crate::keeper::prefix;

/// Every process of a cluster carries the cluster's id in this variable, so that none can be left unseen.
pub(crate) const MARK: &str = "MANTA_CHAOS_ID";

/// The binaries, and a directory.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    binary: PathBuf,
    python: PathBuf,
    root: PathBuf,
    id: String,
}

impl Site {
    /// Makes a new directory directly below `/tmp`: the path of a Unix socket may have 107 bytes.
    pub(crate) fn new() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let part = |name: &str| -> Result<PathBuf> {
            let path = PathBuf::from(std::env::var_os(name).with_context(|| format!("{name} must name a file"))?);
            Ok(std::path::absolute(path)?)
        };
        let id = format!("{}{}", own_prefix(), NEXT.fetch_add(1, Ordering::Relaxed));
        let root = Path::new("/tmp").join(&id);
        std::fs::create_dir(&root).with_context(|| format!("making `{}`", root.display()))?;
        Ok(Self { binary: part("MANTA_BINARY")?, python: part("MANTA_PYTHON")?, root, id })
    }

    /// The `manta` with crash points.
    pub(crate) fn binary(&self) -> &Path {
        &self.binary
    }

    /// The interpreter of tasks.
    pub(crate) fn python(&self) -> &Path {
        &self.python
    }

    /// The directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// What every process carries.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Gives a command its environment, and no other.
    pub(crate) fn furnish(&self, command: &mut Command) {
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env_clear().env("PATH", path).env("MANTA_PYTHON", &self.python).env(MARK, &self.id);
        // Faults must find tasks at work, and what waits for tasks outlives them: each starts cold.
        command.env("MANTA_WARM", "off");
        command.env("HOME", &self.root).env("TMPDIR", &self.root).env("NO_COLOR", "1").current_dir(&self.root);
    }

    /// Runs `manta` with these arguments to its end, or to the first pass of a crash point.
    pub(crate) fn manta(&self, arguments: &[&str], crash: Option<&str>) -> Result<Output> {
        let mut command = Command::new(&self.binary);
        command.args(arguments);
        self.furnish(&mut command);
        command.envs(crash.map(|point| ("MANTA_CRASH", format!("{point}:1"))));
        command.stdin(Stdio::null()).output().with_context(|| format!("starting `manta {}`", arguments.join(" ")))
    }

    /// Removes the directory of a cluster that did well.
    pub(crate) fn remove(&self) -> Result<()> {
        std::fs::remove_dir_all(&self.root).with_context(|| format!("removing `{}`", self.root.display()))
    }
}

/// The beginning of the ids of this process's clusters.
pub(crate) fn own_prefix() -> String {
    prefix(&std::process::id().to_string())
}
