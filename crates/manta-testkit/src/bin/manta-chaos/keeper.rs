//! A process that outlives the harness, in whatever way that ends, and leaves nothing of its clusters behind: it waits at the
//! end of a pipe that only the harness holds, in a process group of its own, so that no signal for the harness reaches it.
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::leaks::{Leaks, command_of};

/// The word that makes this program a keeper: `__keeper PID`, with the process id of its harness.
pub(crate) const KEEPER: &str = "__keeper";
/// How long it tries to end what is left.
const GONE_WITHIN: Duration = Duration::from_secs(10);
/// Where `ip` keeps the names of network namespaces.
const NAMESPACES: &str = "/run/netns";

/// The keeper of this process.
#[derive(Debug)]
pub(crate) struct Keeper(Child);

impl Keeper {
    /// Starts it.
    ///
    /// # Errors
    /// When this program cannot be started again.
    pub(crate) fn start() -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([KEEPER, &std::process::id().to_string()]).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        Ok(Self(command.spawn().context("starting the keeper")?))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // What it could not end it has said.
        let _ = self.0.wait();
    }
}

/// The id of each cluster of a harness begins with this.
pub(crate) fn prefix(harness: &str) -> String {
    format!("mc-{harness}-")
}

/// Waits for the end of a harness, and ends what is left of its clusters.
///
/// # Errors
/// Names what is still there when the time is over.
pub(crate) fn keep(harness: &str) -> Result<()> {
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    let mut leaks = Leaks::of_harness(harness);
    leaks.note_launchers();
    let begun = Instant::now();
    loop {
        let left = leaks.processes();
        if left.is_empty() {
            break;
        }
        if begun.elapsed() > GONE_WITHIN {
            let words: Vec<_> = left.iter().map(|pid| format!("{pid} ({})", command_of(*pid))).collect();
            bail!("processes outlive their harness: {}", words.join(", "));
        }
        for pid in left {
            // It may have ended since.
            let _ = i32::try_from(pid).ok().and_then(Pid::from_raw).map(|pid| kill_process(pid, Signal::KILL));
        }
        std::thread::yield_now();
    }
    // Tasks end with their launchers, and their groups can go when they have.
    leaks.groups().iter().for_each(|group| remove_groups(group));
    remove_namespaces(harness)
}

/// Removes control groups, the innermost first; one that is still in use stays.
fn remove_groups(group: &Path) {
    let entries = std::fs::read_dir(group).into_iter().flatten().flatten();
    let inner: Vec<PathBuf> =
        entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect();
    inner.iter().for_each(|inner| remove_groups(inner));
    let _ = std::fs::remove_dir(group);
}

/// Removes the network namespaces of a harness; their interfaces go with them.
fn remove_namespaces(harness: &str) -> Result<()> {
    let prefix = crate::netns::prefix(harness.parse()?);
    for entry in std::fs::read_dir(NAMESPACES).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.to_string_lossy().starts_with(&prefix) {
            crate::disk::run("ip", &["netns", "delete", &name.to_string_lossy()])?;
        }
    }
    Ok(())
}
