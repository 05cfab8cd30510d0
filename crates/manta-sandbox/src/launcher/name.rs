//! The name a launcher writes on what it makes outside itself, so that others can tell whether it still lives.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;

/// Identifies one launcher process for as long as the machine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LauncherName {
    pid: u32,
    /// Start of the process in clock ticks since boot: pids are used again, pairs are not.
    started: u64,
    /// The process namespace that `pid` counts in: launchers in containers may share a cgroup tree.
    pid_namespace: u64,
}

impl LauncherName {
    /// The calling process's own name.
    pub(crate) fn own() -> Self {
        let pid = std::process::id();
        Self { pid, started: start_of(pid).unwrap_or(0), pid_namespace: pid_namespace() }
    }

    /// Reads the form that [`fmt::Display`] writes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let name = Self {
            pid: parts.next()?.parse().ok()?,
            started: parts.next()?.parse().ok()?,
            pid_namespace: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(name)
    }

    /// Whether the process has certainly ended; one that cannot be seen from here counts as alive.
    pub(crate) fn is_dead(&self) -> bool {
        self.pid_namespace == pid_namespace() && start_of(self.pid) != Some(self.started)
    }
}

impl fmt::Display for LauncherName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.pid, self.started, self.pid_namespace)
    }
}

/// Field 22 of proc(5)'s stat; `None` if there is no such process.
fn start_of(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace();
    // A process that has ended but was not waited for is dead.
    if matches!(fields.next(), Some("Z" | "X")) {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

fn pid_namespace() -> u64 {
    fs::metadata("/proc/self/ns/pid").map_or(0, |metadata| metadata.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_name_survives_its_text_and_is_alive() {
        let own = LauncherName::own();
        assert_eq!(LauncherName::parse(&own.to_string()), Some(own));
        assert!(own.started > 0);
        assert!(!own.is_dead());
    }

    #[test]
    fn reused_pid_is_dead_and_foreign_namespace_is_not() {
        let own = LauncherName::own();
        assert!(LauncherName { started: own.started - 1, ..own }.is_dead());
        assert!(!LauncherName { started: 1, pid_namespace: 1, ..own }.is_dead());
        assert_eq!(LauncherName::parse("manta"), None);
    }
}
