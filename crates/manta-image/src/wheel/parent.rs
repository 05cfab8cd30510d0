//! Starts an installing process, names the wheels to it, and hears what it made.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::answer::{Answer, Installed, WheelFile};

/// Bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Why wheels are not installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// A wheel is not what it should be.
    #[error("{0}")]
    Refused(String),
    /// The installing process did not do its work.
    #[error("the installer of packages failed: {0}")]
    Installer(String),
}

/// A program that calls [`crate::installer_main`].
#[derive(Debug, Clone)]
pub struct Installer {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Installer {
    /// A program, and what is to be said to it so that it becomes the installer.
    pub fn new(program: PathBuf, arguments: Vec<OsString>) -> Self {
        Self { program, arguments }
    }

    /// Installs wheels into an empty directory, which tasks then find first among their packages. Blocks.
    ///
    /// # Errors
    /// The wheel that is refused and why, or what kept the process from its work; what is in the directory is of no use then.
    pub fn install(&self, wheels: &[WheelFile], into: &Path) -> Result<Installed, InstallError> {
        let failed = |problem: String| InstallError::Installer(problem);
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).env_clear().current_dir(into);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process =
            command.spawn().map_err(|error| failed(format!("`{}` does not start: {error}", self.program.display())))?;
        let request = serde_json::to_vec(wheels).map_err(|error| failed(error.to_string()))?;
        // Where it ended early, its status and words tell more than the broken pipe.
        let _ = process.stdin.take().expect("piped above").write_all(&request);
        let mut said = Vec::new();
        let heard = process.stdout.take().expect("piped above").take(ANSWER_BYTES_MAX).read_to_end(&mut said);
        let status = process.wait().map_err(|error| failed(error.to_string()))?;
        heard.map_err(|error| failed(error.to_string()))?;
        if !status.success() {
            return Err(failed(format!("it ended early ({status})")));
        }
        match serde_json::from_slice(&said).map_err(|error| failed(format!("it cannot be understood: {error}")))? {
            Answer::Done(installed) => Ok(installed),
            Answer::Refused(problem) => Err(InstallError::Refused(problem)),
        }
    }
}
