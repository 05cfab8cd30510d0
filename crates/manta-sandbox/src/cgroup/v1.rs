//! File names and values of the v1 controllers.

use std::fs;
use std::path::Path;

use super::{CPU_PERIOD_US, Controller, Readings, Setting, cpu_quota_us, keyed_number, read_pids, weight};
use crate::Limits;

const fn must(file: &'static str, value: String) -> Setting {
    Setting { file, value, optional: false }
}

/// What to write, in order, so that `controller` holds `limits`.
pub(super) fn settings(controller: Controller, limits: &Limits) -> Vec<Setting> {
    match controller {
        Controller::Memory => vec![
            must("memory.limit_in_bytes", limits.memory_bytes.to_string()),
            // Only where swap is accounted; without it swap could hold what memory may not.
            Setting { file: "memory.memsw.limit_in_bytes", value: limits.memory_bytes.to_string(), optional: true },
        ],
        Controller::Pids => vec![must("pids.max", limits.pids.to_string())],
        Controller::Cpu => vec![
            must("cpu.cfs_period_us", CPU_PERIOD_US.to_string()),
            must("cpu.cfs_quota_us", cpu_quota_us(limits.cpu).to_string()),
            must("cpu.shares", shares(limits.cpu).to_string()),
        ],
    }
}

/// The file of a group's weight against those beside it.
pub(super) const WEIGHT: &str = "cpu.shares";

/// The weight of so many cores' worth: as much as so many threads that are in no group.
pub(super) fn shares(cores: f64) -> u64 {
    weight(cores, 1024.0, 2, 262_144)
}

/// What makes a tree die at once: CPU time to die in, and no new processes.
pub(super) const PREPARE_END: [(Controller, &str, &str); 2] =
    [(Controller::Cpu, "cpu.cfs_quota_us", "-1"), (Controller::Pids, "pids.max", "0")];

/// Where memory in use stands, and the lines about that part of it which the kernel takes back when it has to.
pub(super) const IN_USE: (&str, [&str; 2]) = ("memory.usage_in_bytes", ["total_inactive_file", "total_active_file"]);

/// Where a process with one thread enters by writing `0`.
pub(super) const DOOR: &str = "tasks";

/// Where the kernel is asked to tell of something that happens in a group.
pub(super) const EVENTS: &str = "cgroup.event_control";

/// Adds what the files of `dir` tell about `controller`.
pub(super) fn read(controller: Controller, dir: &Path, readings: &mut Readings) {
    let text = |file: &str| fs::read_to_string(dir.join(file)).unwrap_or_default();
    match controller {
        Controller::Memory => {
            readings.oom_kills += keyed_number(&text("memory.oom_control"), "oom_kill");
            readings.peak_memory_bytes = text("memory.max_usage_in_bytes").trim().parse().ok();
        }
        Controller::Pids => read_pids(dir, readings),
        Controller::Cpu => {}
    }
}
