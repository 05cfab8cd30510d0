//! What an agent and its launcher hold: nothing of it may grow with the attempts that were run.
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::nodes::Abused;
use crate::wait::until;

/// Descriptors that an idle agent may hold beyond what it held first: connections that are kept for a while.
const DESCRIPTORS_MORE_MAX: usize = 12;
/// Bytes of memory that an agent may have needed at most; its queues are bounded, whatever tasks send.
const MEMORY_BYTES_MAX: u64 = 512 << 20;
/// How long what an attempt left may take to be gone.
const SETTLE: Duration = Duration::from_secs(10);

/// What an agent holds while no attempt runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Footprint {
    descriptors: usize,
    threads: usize,
    memory_bytes_most: u64,
    /// The launcher's own processes.
    launchers: Vec<u32>,
}

impl std::fmt::Display for Footprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { descriptors, threads, memory_bytes_most, .. } = self;
        write!(
            f,
            "the agent holds {descriptors} descriptors, {threads} threads, and needed {} MiB at most",
            memory_bytes_most >> 20
        )
    }
}

impl Footprint {
    /// What this agent holds now.
    pub(crate) fn of(agent: u32) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{agent}/status")).context("the agent lives")?;
        let field = |name: &str| -> Option<u64> {
            status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
        };
        Ok(Self {
            descriptors: fs::read_dir(format!("/proc/{agent}/fd"))?.count(),
            threads: usize::try_from(field("Threads:").context("a process has threads")?)?,
            memory_bytes_most: field("VmHWM:").context("a process has memory")? * 1024,
            launchers: children(agent).into_iter().flat_map(children).collect(),
        })
    }

    /// What is wrong with an agent that held this before, a sentence each; waits a while for it to be well.
    pub(crate) async fn check(&self, agent: u32, node: &Abused) -> Result<Vec<String>> {
        let mut wrong = Vec::new();
        let settled = until(SETTLE, "what attempts left being gone", async || {
            wrong = self.wrong(agent)?;
            Ok((!wrong.is_empty()).then(|| wrong.join("; ")))
        });
        match settled.await {
            Err(error) if wrong.is_empty() => Err(error),
            _ => Ok(wrong.into_iter().map(|what| format!("{}: {what}", node.tier())).collect()),
        }
    }

    fn wrong(&self, agent: u32) -> Result<Vec<String>> {
        let now = Self::of(agent)?;
        let mut wrong = Vec::new();
        if now.descriptors > self.descriptors + DESCRIPTORS_MORE_MAX {
            wrong.push(format!("{} descriptors became {}", self.descriptors, now.descriptors));
        }
        if now.memory_bytes_most > MEMORY_BYTES_MAX {
            wrong.push(format!("the agent needed {} MiB", now.memory_bytes_most >> 20));
        }
        let is_new = |pid: &&u32| !self.launchers.contains(pid);
        wrong.extend(now.launchers.iter().filter(is_new).map(|pid| format!("process {pid} of the launcher lives")));
        for launcher in children(agent) {
            wrong.extend(groups(launcher).into_iter().map(|dir| format!("control group {} is there", dir.display())));
            wrong.extend(scratches(launcher).into_iter().map(|dir| format!("scratch {} is there", dir.display())));
        }
        Ok(wrong)
    }
}

/// Children of a process, of all its threads.
fn children(parent: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
    let listed = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    listed.flat_map(|text| text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
}

/// Groups of a launcher's sandboxes: those below its own, in every hierarchy.
fn groups(launcher: u32) -> Vec<PathBuf> {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mounts = mountinfo.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        after.starts_with("cgroup").then(|| PathBuf::from(before.split(' ').nth(4).unwrap_or_default()).join("manta"))
    });
    let own = |shared: PathBuf| below(&shared, &format!("{launcher}-"));
    mounts.flat_map(own).flat_map(|dir| subdirs(&dir)).collect()
}

/// Temporary directories of a launcher's sandboxes.
fn scratches(launcher: u32) -> Vec<PathBuf> {
    let environment = fs::read(format!("/proc/{launcher}/environ")).unwrap_or_default();
    let place = environment.split(|byte| *byte == 0).find_map(|entry| entry.strip_prefix(b"TMPDIR="));
    let place = place.map(|place| PathBuf::from(String::from_utf8_lossy(place).into_owned()));
    place.map(|place| below(&place, &format!("manta-task-{launcher}-"))).unwrap_or_default()
}

fn below(dir: &Path, prefix: &str) -> Vec<PathBuf> {
    let named = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix));
    subdirs(dir).into_iter().filter(named).collect()
}

fn subdirs(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}
