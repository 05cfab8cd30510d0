//! A sandbox's spec as an engine's API takes it: everything off that can be off, and every limit set.

use std::path::Path;

use serde_json::{Value, json};

use super::ContainerEngine;
use super::api::AGENT_LABEL;
use super::program::TARGET;
use crate::launcher::LauncherName;
use crate::{Mount, SandboxSpec};

/// Where a container has the socket that its entry comes in by.
pub(super) const DOOR: &str = "/.manta/door";
/// What tells about the host or its kernel: an empty place takes its place.
const MASKED: [&str; 23] = [
    "/etc/hostname",
    "/etc/hosts",
    "/etc/resolv.conf",
    "/sys",
    "/proc/acpi",
    "/proc/asound",
    "/proc/bus",
    "/proc/config.gz",
    "/proc/driver",
    "/proc/interrupts",
    "/proc/iomem",
    "/proc/ioports",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/keys",
    "/proc/key-users",
    "/proc/kmsg",
    "/proc/latency_stats",
    "/proc/modules",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/sysrq-trigger",
    "/proc/timer_list",
];
/// Directories of switches: they stay readable.
const READ_ONLY: [&str; 3] = ["/proc/fs", "/proc/irq", "/proc/sys"];
/// Open descriptors of each process.
const OPEN_FILES: u64 = 1024;
/// Processes of the task's uid, which none of them reaches: the container's own limit is lower.
const PROCESSES: u64 = 4096;
/// Threads of a host that gVisor's own kernel may have beside those of a task.
const GVISOR_THREADS: u64 = 512;
/// Scheduler period against which CPU quotas count, in microseconds.
const CPU_PERIOD_US: u32 = 100_000;

/// What a container is made from besides its spec.
pub(super) struct Parts<'a> {
    pub(super) engine: ContainerEngine,
    pub(super) image: &'a str,
    pub(super) mounts: &'a [&'a Mount],
    /// The entry's directory, its command, and the socket that it comes in by.
    pub(super) entry: (&'a Path, &'a [String], &'a Path),
    pub(super) uid: u32,
    pub(super) agent: LauncherName,
    /// The filter's profile: its text, or for Podman the file that holds it.
    pub(super) seccomp: &'a str,
}

/// The body of a request to create a container.
pub(super) fn describe(spec: &SandboxSpec, parts: &Parts<'_>) -> Value {
    let (entry_dir, entry_argv, door) = parts.entry;
    let bind =
        |source: &Path, target: &str| json!({ "Type": "bind", "Source": source, "Target": target, "ReadOnly": true });
    let mut mounts: Vec<Value> =
        parts.mounts.iter().map(|mount| bind(&mount.source, &mount.target.display().to_string())).collect();
    mounts.push(bind(entry_dir, TARGET));
    mounts.push(bind(door, DOOR));
    let entrypoint: Vec<&str> = entry_argv.iter().map(String::as_str).chain([DOOR]).collect();
    let mut security = vec!["no-new-privileges".to_owned(), format!("seccomp={}", parts.seccomp)];
    let mut inodes = String::new();
    // The entry is one more.
    let mut pids = u64::from(spec.limits.pids) + 1;
    match parts.engine {
        ContainerEngine::Docker => inodes = format!(",nr_inodes={}", spec.tmp.inodes),
        // Its API knows masks as security options only, and takes no limit on files.
        ContainerEngine::Podman => security.push(format!("mask={}", MASKED.join(":"))),
        // Processes are limited inside, by the resource limit that the entry sets; out here its own threads count.
        ContainerEngine::Gvisor => pids += GVISOR_THREADS,
    }
    let tmp = format!("rw,nosuid,nodev,exec,mode=1777,size={}{inodes}", spec.tmp.bytes);
    let mut described = json!({
        "Image": parts.image,
        "Entrypoint": entrypoint,
        "Env": [],
        "User": format!("{0}:{0}", parts.uid),
        "Hostname": spec.hostname,
        "WorkingDir": "/",
        "NetworkDisabled": true,
        "Labels": { AGENT_LABEL: parts.agent.to_string() },
        "HostConfig": {
            "AutoRemove": true,
            "NetworkMode": "none",
            "IpcMode": "private",
            "CgroupnsMode": "private",
            "ReadonlyRootfs": true,
            "CapDrop": ["ALL"],
            "SecurityOpt": security,
            "MaskedPaths": MASKED,
            "ReadonlyPaths": READ_ONLY,
            "LogConfig": { "Type": "none" },
            "Mounts": mounts,
            "Tmpfs": { "/tmp": tmp },
            "ShmSize": spec.tmp.bytes,
            "Memory": spec.limits.memory_bytes,
            "MemorySwap": spec.limits.memory_bytes,
            "PidsLimit": pids,
            "CpuPeriod": CPU_PERIOD_US,
            "CpuQuota": crate::cgroup::cpu_quota_us(spec.limits.cpu),
            "Ulimits": [
                { "Name": "core", "Soft": 0, "Hard": 0 },
                { "Name": "nofile", "Soft": OPEN_FILES, "Hard": OPEN_FILES },
                { "Name": "nproc", "Soft": PROCESSES, "Hard": PROCESSES },
            ],
        },
    });
    if let Some(runtime) = parts.engine.runtime() {
        described["HostConfig"]["Runtime"] = runtime.into();
    }
    described
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Limits, Tier, TmpLimits};

    fn described(engine: ContainerEngine) -> Value {
        let spec = SandboxSpec {
            id: "at_1".to_owned(),
            tier: Tier::Full,
            argv: vec!["/usr/bin/python3".to_owned()],
            env: vec![("SECRET".to_owned(), "x".to_owned())],
            mounts: Vec::new(),
            directory: None,
            devices: Vec::new(),
            links: Vec::new(),
            tmp: TmpLimits { bytes: 1 << 20, inodes: 64 },
            limits: Limits { memory_bytes: 1 << 28, pids: 7, cpu: 0.5 },
            hostname: "task".to_owned(),
            template: None,
        };
        let argv = ["/x".to_owned()];
        let parts = Parts {
            engine,
            image: "root",
            mounts: &[],
            entry: (Path::new("/e"), &argv, Path::new("/d")),
            uid: 2_000_000_001,
            agent: LauncherName::own(),
            seccomp: "{}",
        };
        describe(&spec, &parts)
    }

    #[test]
    fn a_container_has_every_limit_and_nothing_of_the_tasks() {
        for engine in [ContainerEngine::Docker, ContainerEngine::Podman, ContainerEngine::Gvisor] {
            let described = described(engine);
            let host = &described["HostConfig"];
            assert_eq!((&host["Memory"], &host["MemorySwap"]), (&json!(1 << 28), &json!(1 << 28)));
            let gvisor = engine == ContainerEngine::Gvisor;
            assert_eq!(host["PidsLimit"], if gvisor { 520 } else { 8 });
            assert_eq!((&host["CpuQuota"], &host["Runtime"]), (&json!(50_000), &engine.runtime().into()));
            assert_eq!(described["User"], "2000000001:2000000001");
            assert_eq!((&host["CapDrop"], &host["ReadonlyRootfs"]), (&json!(["ALL"]), &json!(true)));
            let text = described.to_string();
            assert!(!text.contains("SECRET") && !text.contains("python3"), "what runs is told over the socket alone");
            assert!(host["Mounts"].as_array().unwrap().iter().all(|mount| mount["ReadOnly"] == true));
            assert_eq!(
                host["Tmpfs"]["/tmp"].as_str().unwrap().contains("nr_inodes=64"),
                engine == ContainerEngine::Docker
            );
        }
    }
}
