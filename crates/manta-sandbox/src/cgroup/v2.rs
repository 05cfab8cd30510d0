//! File names and values of the unified hierarchy, and how to get its controllers below a directory.

use std::fs;
use std::io;
use std::path::Path;

use super::{CPU_PERIOD_US, Controller, Readings, Setting, cpu_quota_us, keyed_number, read_pids, weight};
use crate::Limits;

/// What to write, in order, so that `controller` holds `limits`.
pub(super) fn settings(controller: Controller, limits: &Limits) -> Vec<Setting> {
    let setting = |file, value: String, optional| Setting { file, value, optional };
    match controller {
        Controller::Memory => vec![
            setting("memory.max", limits.memory_bytes.to_string(), false),
            setting("memory.swap.max", "0".to_owned(), true),
            setting("memory.oom.group", "1".to_owned(), true),
        ],
        Controller::Pids => vec![setting("pids.max", limits.pids.to_string(), false)],
        Controller::Cpu => vec![
            setting("cpu.max", format!("{} {CPU_PERIOD_US}", cpu_quota_us(limits.cpu)), false),
            setting(WEIGHT, shares(limits.cpu).to_string(), true),
        ],
    }
}

/// The file of a group's weight against those beside it.
pub(super) const WEIGHT: &str = "cpu.weight";

/// The weight of so many cores' worth: as much as so many groups of which nobody said anything.
pub(super) fn shares(cores: f64) -> u64 {
    weight(cores, 100.0, 1, 10_000)
}

/// What makes a tree die at once: CPU time to die in, and no new processes.
pub(super) const PREPARE_END: [(Controller, &str, &str); 2] =
    [(Controller::Cpu, "cpu.max", "max"), (Controller::Pids, "pids.max", "0")];

/// Where a process enters by writing `0`.
pub(super) const DOOR: &str = "cgroup.procs";

/// Kills every process of a group at once (kernel 5.14).
pub(super) const KILL: (&str, &str) = ("cgroup.kill", "1");

/// Where memory in use stands, and the lines about that part of it which the kernel takes back when it has to.
pub(super) const IN_USE: (&str, [&str; 2]) = ("memory.current", ["inactive_file", "active_file"]);

/// Adds what the files of `dir` tell about `controller`.
pub(super) fn read(controller: Controller, dir: &Path, readings: &mut Readings) {
    let text = |file: &str| fs::read_to_string(dir.join(file)).unwrap_or_default();
    match controller {
        Controller::Memory => {
            readings.oom_kills += keyed_number(&text("memory.events"), "oom_kill");
            readings.peak_memory_bytes = text("memory.peak").trim().parse().ok();
        }
        Controller::Pids => read_pids(dir, readings),
        Controller::Cpu => {}
    }
}

/// The controllers that groups below `dir` could be given.
pub(super) fn available(dir: &Path) -> Vec<Controller> {
    let text = fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
    let has = |controller: &Controller| text.split_whitespace().any(|name| name == controller.name());
    Controller::ALL.into_iter().filter(has).collect()
}

/// Passes `controllers` on to the groups directly below `dir`.
///
/// A group that holds processes cannot pass controllers on (outside the root). If those processes are only this launcher and its
/// agent, as in a delegated service, they are moved to a leaf beside the tasks first.
pub(super) fn pass_on(dir: &Path, controllers: &[Controller]) -> io::Result<()> {
    let line = controllers.iter().map(|controller| format!("+{}", controller.name())).collect::<Vec<_>>().join(" ");
    let control = dir.join("cgroup.subtree_control");
    match fs::write(&control, &line) {
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
            move_own_processes(dir)?;
            fs::write(&control, &line)
        }
        result => result,
    }
}

fn move_own_processes(dir: &Path) -> io::Result<()> {
    let own = [std::process::id(), std::os::unix::process::parent_id()];
    let inside = fs::read_to_string(dir.join("cgroup.procs"))?;
    let pids: Vec<u32> = inside.lines().filter_map(|line| line.parse().ok()).collect();
    if !pids.iter().all(|pid| own.contains(pid)) {
        return Err(io::Error::other("the agent's control group holds other processes too"));
    }
    let leaf = dir.join("manta-agent");
    fs::create_dir_all(&leaf)?;
    pids.iter().try_for_each(|pid| fs::write(leaf.join("cgroup.procs"), pid.to_string()))
}
