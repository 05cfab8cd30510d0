//! Proves that a cluster left nothing behind: no process, mount or control group.
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::keeper::prefix;
use crate::site::MARK;
use crate::wait::until;

/// How long what was killed may take to be gone.
const SETTLE: Duration = Duration::from_secs(10);
/// Directories between a hierarchy's mount and a launcher's own.
const DEPTH_MAX: usize = 5;

/// What was there before, and what must be gone in the end.
#[derive(Debug)]
pub(crate) struct Leaks {
    /// Entries of an environment, or their beginnings where all clusters of a harness are meant.
    marks: [String; 2],
    is_whole: bool,
    mounts: BTreeSet<String>,
    /// The names that launchers of this cluster give their control groups, without the last part.
    launchers: BTreeSet<String>,
}

impl Leaks {
    /// Remembers what is there.
    pub(crate) fn remember(id: &str) -> Self {
        Self { marks: marks(id), is_whole: true, mounts: mounts(), launchers: BTreeSet::new() }
    }

    /// All clusters of a harness with that process id; nothing was there before.
    pub(crate) fn of_harness(harness: &str) -> Self {
        Self { marks: marks(&prefix(harness)), is_whole: false, mounts: BTreeSet::new(), launchers: BTreeSet::new() }
    }

    /// Notes the launchers that live now; called before an agent is killed, for its tasks run in its launcher's groups.
    pub(crate) fn note_launchers(&mut self) {
        let launchers = self.processes().into_iter().filter(|pid| command_of(*pid).contains("__launcher"));
        self.launchers.extend(launchers.filter_map(|pid| Some(format!("{pid}-{}-", started(pid)?))));
    }

    /// Waits until nothing of the cluster is left.
    ///
    /// # Errors
    /// All that is left when the time is over.
    pub(crate) async fn check(&self) -> Result<()> {
        until(SETTLE, "cleaning up", async || {
            let left = self.left();
            Ok((!left.is_empty()).then(|| left.join("; ")))
        })
        .await
        .map(drop)
    }

    fn left(&self) -> Vec<String> {
        let processes = self.processes();
        let mut left: Vec<_> = processes.iter().map(|pid| format!("process {pid} ({})", command_of(*pid))).collect();
        left.extend(mounts().difference(&self.mounts).map(|mount| format!("mount {mount}")));
        left.extend(self.groups().into_iter().map(|path| format!("control group {}", path.display())));
        left
    }

    /// Processes that carry the cluster's id; one that has ended and waits to be collected carries nothing.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let carries = |pid: &u32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let is_mark = |entry: &[u8], mark: &String| {
                entry.starts_with(mark.as_bytes()) && (!self.is_whole || entry.len() == mark.len())
            };
            environment.split(|byte| *byte == 0).any(|entry| self.marks.iter().any(|mark| is_mark(entry, mark)))
        };
        pids.filter(carries).collect()
    }

    /// Control groups of this cluster's launchers; tasks carry no mark, but they are in one of these.
    pub(crate) fn groups(&self) -> Vec<PathBuf> {
        let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let hierarchy = |line: &str| {
            let (before, after) = line.split_once(" - ")?;
            after.starts_with("cgroup").then(|| PathBuf::from(before.split(' ').nth(4).unwrap_or_default()))
        };
        let mut found = Vec::new();
        for mount in mountinfo.lines().filter_map(hierarchy) {
            self.groups_below(&mount, DEPTH_MAX, &mut found);
        }
        found
    }

    fn groups_below(&self, dir: &Path, depth: usize, found: &mut Vec<PathBuf>) {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            let name = entry.file_name().to_string_lossy().into_owned();
            if self.launchers.iter().any(|launcher| name.starts_with(launcher)) {
                found.push(entry.path());
            } else if depth > 1 {
                self.groups_below(&entry.path(), depth - 1, found);
            }
        }
    }
}

/// What processes of a cluster carry. A launcher keeps nothing of its agent's environment but the directory for temporary
/// files.
fn marks(id: &str) -> [String; 2] {
    [format!("{MARK}={id}"), format!("TMPDIR=/tmp/{id}")]
}

/// A process's command line.
pub(crate) fn command_of(pid: u32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).replace('\0', " ").trim_end().to_owned()
}

/// When a process started, in clock ticks since boot: field 22 of proc(5)'s stat.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// Mounts on or of a cluster's directory.
fn mounts() -> BTreeSet<String> {
    let text = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    text.lines().filter(|line| line.contains("/mc-")).map(str::to_owned).collect()
}
