//! The groups that somebody else put a process into: read, never changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::process::Pid;

use super::detect::mounted_hierarchies;
use super::group::Part;
use super::{Controller, Group, Version, v2};

impl Group {
    /// The groups that a process is in, as far as they can be seen from here.
    pub(crate) fn of_process(pid: Pid) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let number = pid.as_raw_nonzero();
        let mut parts = parts(&read("/proc/self/mountinfo"), &read(&format!("/proc/{number}/cgroup")));
        parts.retain(|part| part.dir.is_dir() && !part.controllers.is_empty());
        Self::of_parts(parts)
    }
}

/// The directories of a process's groups, from `mountinfo` and its `cgroup` file (cgroups(7)).
fn parts(mountinfo: &str, own: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    for mounted in mounted_hierarchies(mountinfo) {
        let path = own.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (number, names, path) = (fields.next()?, fields.next()?, fields.next()?);
            let ours = match mounted.version {
                Version::V1 => names.split(',').any(|name| {
                    Controller::ALL.iter().any(|known| known.name() == name)
                        && mounted.options.iter().any(|o| o == name)
                }),
                Version::V2 => number == "0" && names.is_empty(),
            };
            ours.then(|| path.trim_start_matches('/').to_owned())
        });
        let Some(dir) = path.map(|path| mounted.dir.join(path)) else { continue };
        let controllers = match mounted.version {
            Version::V1 => Controller::ALL
                .into_iter()
                .filter(|controller| mounted.options.iter().any(|option| option == controller.name()))
                .collect(),
            Version::V2 => v2::available(&dir),
        };
        parts.push(Part { version: mounted.version, controllers, dir, threshold: OnceLock::new() });
    }
    parts
}

/// Whether a group's files hold a controller to a limit; the root of a hierarchy holds nothing to anything.
pub(super) fn is_limited(version: Version, controller: Controller, dir: &Path) -> bool {
    let file = match (version, controller) {
        (Version::V1, Controller::Memory) => "memory.limit_in_bytes",
        (Version::V2, Controller::Memory) => "memory.max",
        (_, Controller::Pids) => "pids.max",
        (Version::V1, Controller::Cpu) => "cpu.cfs_quota_us",
        (Version::V2, Controller::Cpu) => "cpu.max",
    };
    let text = fs::read_to_string(PathBuf::from(dir).join(file)).unwrap_or_default();
    // No limit is `max`, -1, or on v1 the largest number of whole pages.
    let first = text.split_whitespace().next().and_then(|word| word.parse::<i64>().ok());
    first.is_some_and(|limit| limit > 0 && limit < i64::MAX - (1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_a_process_are_found_on_either_interface() {
        let v1 = "32 31 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                  33 31 0:30 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n";
        let found = parts(v1, "9:name=systemd:/docker/ab\n4:memory:/docker/ab\n0::/\n");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].dir, Path::new("/sys/fs/cgroup/memory/docker/ab"));
        let v2 = "41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(
            parts(v2, "0::/system.slice/docker-ab.scope\n")[0].dir,
            Path::new("/sys/fs/cgroup/system.slice/docker-ab.scope")
        );
    }

    #[test]
    fn only_a_real_limit_counts() {
        let dir = tempfile::tempdir().unwrap();
        for (text, limited) in
            [("268435456\n", true), ("9223372036854771712\n", false), ("max\n", false), ("-1\n", false)]
        {
            for file in ["memory.limit_in_bytes", "memory.max", "pids.max"] {
                fs::write(dir.path().join(file), text).unwrap();
            }
            for version in [Version::V1, Version::V2] {
                assert_eq!(is_limited(version, Controller::Memory, dir.path()), limited, "{text}");
                assert_eq!(is_limited(version, Controller::Pids, dir.path()), limited, "{text}");
            }
        }
        fs::write(dir.path().join("cpu.max"), "50000 100000\n").unwrap();
        assert!(is_limited(Version::V2, Controller::Cpu, dir.path()));
    }
}
