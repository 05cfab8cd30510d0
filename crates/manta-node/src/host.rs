//! What the host has, and how busy it is, as `/proc` tells.
use std::fs;
use std::num::NonZeroU32;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Mutex, PoisonError};

use manta_types::limits::{self, PIDS_DEFAULT, TMP_BYTES_DEFAULT};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Bounds;

/// What an attempt may use.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Resources {
    /// Processor cores.
    pub(crate) cpu: f64,
    /// Bytes.
    pub(crate) memory_bytes: u64,
    /// Bytes.
    pub(crate) tmp_bytes: u64,
    /// Processes and threads.
    pub(crate) pids: u32,
    /// What no module asks for.
    pub(crate) bounds: Bounds,
}

impl Resources {
    /// What an attempt gets that asks for nothing: an even share of the memory, one core.
    pub(crate) fn defaults(memory_bytes: Option<u64>, slots: NonZeroU32, bounds: Bounds) -> Self {
        let memory_bytes = limits::memory_share(memory_bytes.unwrap_or(0), slots.get());
        Self { cpu: 1.0, memory_bytes, tmp_bytes: TMP_BYTES_DEFAULT, pids: PIDS_DEFAULT, bounds }
    }
}

/// What tells the program that runs here from any other.
pub(crate) fn own_program() -> String {
    fs::metadata("/proc/self/exe").map_or_else(
        |_| String::new(),
        |file| format!("{:x}-{}-{}-{}.{}", file.dev(), file.ino(), file.size(), file.mtime(), file.mtime_nsec()),
    )
}

/// Cores that this process may use.
pub(crate) fn cpu_count() -> f64 {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    f64::from(u32::try_from(cores).unwrap_or(u32::MAX))
}

/// Memory that this process may use, where that can be told: the machine's, or less in a container.
pub(crate) fn memory_bytes() -> Option<u64> {
    let machine = memory_field(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")?;
    let limits = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let limit = limits.iter().find_map(|path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok());
    Some(limit.map_or(machine, |limit| limit.min(machine)))
}

/// Memory that could be used without swapping, where that can be told.
pub(crate) fn available_bytes() -> Option<u64> {
    memory_field(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")
}

/// A field of `/proc/meminfo`, in bytes.
fn memory_field(meminfo: &str, field: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// How busy the node is.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    last: Mutex<Option<CpuTimes>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CpuTimes {
    busy: u64,
    all: u64,
}

impl Usage {
    /// Shares in [0, 1] of processors (since the last question, or since boot) and memory in use, how busy the GPUs are, and the
    /// load average.
    pub(crate) fn now(&self, gpus: f64) -> Value {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let load = read("/proc/loadavg").split(' ').next().and_then(|text| text.parse::<f64>().ok());
        let meminfo = read("/proc/meminfo");
        let memory = memory_field(&meminfo, "MemTotal:").zip(memory_field(&meminfo, "MemAvailable:"));
        json!({
            "cpu_usage": self.cpu_since_last(&read("/proc/stat")),
            "memory_usage": memory.map_or(0.0, |(total, free)| share(total.saturating_sub(free), total)),
            "gpu_usage": gpus,
            "load": load.unwrap_or(0.0),
        })
    }

    fn cpu_since_last(&self, stat: &str) -> f64 {
        let Some(now) = cpu_times(stat) else { return 0.0 };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let before = last.replace(now).filter(|before| before.all < now.all).unwrap_or(CpuTimes { busy: 0, all: 0 });
        share(now.busy.saturating_sub(before.busy), now.all - before.all)
    }
}

fn cpu_times(stat: &str) -> Option<CpuTimes> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
    let times: Vec<u64> = fields.take(8).map_while(|field| field.parse().ok()).collect();
    let all = times.iter().sum();
    let idle = times.get(3)? + times.get(4)?;
    Some(CpuTimes { busy: all - idle, all })
}

#[expect(clippy::cast_precision_loss, reason = "a share needs no more digits")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 / whole as f64).clamp(0.0, 1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_shared_evenly_after_what_the_system_keeps() {
        let four = NonZeroU32::new(4).unwrap();
        assert_eq!(Resources::defaults(Some(9 << 30), four, Bounds::default()).memory_bytes, 2 << 30);
        assert_eq!(
            Resources::defaults(Some(1 << 29), four, Bounds::default()).memory_bytes,
            limits::MEMORY_BYTES_DEFAULT
        );
        assert_eq!(Resources::defaults(None, four, Bounds::default()).memory_bytes, limits::MEMORY_BYTES_DEFAULT);
    }

    #[test]
    fn processor_use_is_told_since_the_last_question() {
        let usage = Usage::default();
        assert!((usage.cpu_since_last("cpu  10 0 10 80 0 0 0 0 0 0\n") - 0.2).abs() < 1e-9);
        assert!((usage.cpu_since_last("cpu  60 0 10 130 0 0 0 0 0 0\n") - 0.5).abs() < 1e-9);
        assert!(memory_bytes().is_some_and(|bytes| bytes > 0));
    }
}
