//! Runs the suite: in a sandbox through the launcher, or outside as a child of the caller.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};

use super::finding::{self, Finding};
use super::{ProbeSuite, Stage};
use crate::{Engine, Launcher, Running, SandboxError, SandboxSpec, Start};

/// How long a run may take: some hundred probes of a few milliseconds, and a machine that has other things to do.
const RUN_MAX: Duration = Duration::from_secs(600);
/// What a run may write; a finding takes a few hundred bytes.
const OUTPUT_BYTES_MAX: usize = 4 << 20;

/// Why a run of the suite gave no verdict.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The sandbox did not start.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The suite did not come to its end.
    #[error("the probes were cut short; the last that was heard: `{last}`")]
    CutShort {
        /// The end of its output.
        last: String,
    },
    /// The suite took too long.
    #[error("the probes were not done after {} s", RUN_MAX.as_secs())]
    TooLong,
    /// A pipe or a process failed.
    #[error("the probes could not be run")]
    System(#[from] io::Error),
}

impl ProbeSuite {
    /// Runs a [`ProbeSuite::spec`] to its end. Blocks; not for threads of an async runtime.
    ///
    /// # Errors
    /// When the sandbox does not start, or the suite does not come to its end.
    pub fn run_blocking(&self, launcher: &Launcher, spec: SandboxSpec) -> Result<Vec<Finding>, ProbeError> {
        let (ours, [light, stdout, stderr]) = Ends::make()?;
        let Running { id, exit, .. } = launcher.start_blocking(spec, light, stdout, stderr)?;
        let output = read_to_end(&ours.stdout, Instant::now() + RUN_MAX);
        // Ends what is left of it, in particular where it took too long.
        launcher.kill(&id);
        // A launcher that is gone has ended it as well.
        let _ = exit.blocking_recv();
        ours.findings(&output?)
    }

    /// [`ProbeSuite::run_blocking`] in a sandbox of any engine, for async runtimes; says how that was started as well.
    ///
    /// # Errors
    /// As [`ProbeSuite::run_blocking`].
    pub async fn run(&self, engine: &dyn Engine, mut spec: SandboxSpec) -> Result<(Start, Vec<Finding>), ProbeError> {
        if engine.runs_containers() {
            spec.argv.extend(["--container", engine.name()].map(str::to_owned));
        }
        let (ours, [light, stdout, stderr]) = Ends::make()?;
        let Running { id, exit, start } = engine.start(spec, light, stdout, stderr).await?;
        let reading = tokio::task::spawn_blocking(move || {
            let output = read_to_end(&ours.stdout, Instant::now() + RUN_MAX);
            (output, ours)
        });
        let (output, ours) = reading.await.map_err(io::Error::other)?;
        engine.kill(&id);
        // An engine that is gone has ended it as well.
        let _ = exit.await;
        Ok((start, ours.findings(&output?)?))
    }

    /// Runs the suite without a sandbox, by a command that ends with the interpreter, such as [`Stage::outside`].
    ///
    /// # Errors
    /// When the command does not start, or the suite does not come to its end.
    pub fn run_outside(&self, mut command: Command, stage: &mut Stage) -> Result<Vec<Finding>, ProbeError> {
        command.args(["-I", "-B"]).arg(&self.dir).args(["--tier", "outside", "--stage"]);
        command.arg(stage.targets().to_string()).stdin(Stdio::null());
        let output = command.output()?;
        let mut findings = finding::read(&String::from_utf8_lossy(&output.stdout)).map_err(|error| match error {
            ProbeError::CutShort { .. } => {
                ProbeError::CutShort { last: String::from_utf8_lossy(&output.stderr).trim_end().to_owned() }
            }
            other => other,
        })?;
        stage.judge(&mut findings)?;
        Ok(findings)
    }
}

/// The suite's output and its socket, at our end.
struct Ends {
    stdout: OwnedFd,
    stderr: OwnedFd,
    _platform: UnixStream,
}

impl Ends {
    /// Our ends, and light, stdout and stderr of the suite.
    fn make() -> io::Result<(Self, [OwnedFd; 3])> {
        let (stdout, task_stdout) = pipe_with(PipeFlags::CLOEXEC)?;
        let (stderr, task_stderr) = pipe_with(PipeFlags::CLOEXEC)?;
        let (platform, light) = UnixStream::pair()?;
        Ok((Self { stdout, stderr, _platform: platform }, [light.into(), task_stdout, task_stderr]))
    }

    /// What a suite that has ended found.
    fn findings(&self, output: &str) -> Result<Vec<Finding>, ProbeError> {
        let findings = finding::read(output);
        if let Err(ProbeError::CutShort { last }) = &findings
            && last.is_empty()
        {
            let said = read_to_end(&self.stderr, Instant::now() + RUN_MAX)?;
            return Err(ProbeError::CutShort { last: said.lines().last().unwrap_or_default().to_owned() });
        }
        findings
    }
}

/// Reads a pipe to its end, at most until `deadline`.
fn read_to_end(pipe: &OwnedFd, deadline: Instant) -> Result<String, ProbeError> {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 1 << 16]);
    while bytes.len() < OUTPUT_BYTES_MAX {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        let ready = rustix::io::retry_on_intr(|| poll(&mut [PollFd::new(pipe, PollFlags::IN)], Some(&timeout)));
        if ready.map_err(io::Error::from)? == 0 {
            return Err(ProbeError::TooLong);
        }
        match rustix::io::read(pipe, &mut chunk).map_err(io::Error::from)? {
            0 => break,
            count => bytes.extend_from_slice(&chunk[..count]),
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
