//! Control groups: limits of whole process trees, on the v1 hierarchies, the unified one, or a mix of both.
//!
//! Groups lie at `<mount>/manta/<launcher>/<sandbox id>`. The launcher part of the name tells a later launcher whether the
//! one that made it still lives, so that what a killed launcher left behind is swept at the next start.

mod detect;
mod entry;
mod found;
mod group;
mod v1;
mod v2;

use std::fs;
use std::path::Path;

pub(crate) use detect::Manager;
pub(crate) use entry::Entry;
pub(crate) use group::{Alarm, Group};

/// A resource controller that limits need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Controller {
    Memory,
    Pids,
    Cpu,
}

impl Controller {
    pub(crate) const ALL: [Self; 3] = [Self::Memory, Self::Pids, Self::Cpu];

    /// The kernel's name for it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
        }
    }
}

/// Which interface a hierarchy speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    V1,
    V2,
}

/// A file of a group and what to write there; `optional` files may be missing.
#[derive(Debug, PartialEq, Eq)]
struct Setting {
    file: &'static str,
    value: String,
    optional: bool,
}

/// What a group's files tell at one moment.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Readings {
    /// Processes killed for want of memory.
    pub(crate) oom_kills: u64,
    /// Refused attempts to make a process.
    pub(crate) pids_refused: u64,
    /// Highest memory use, where the kernel tells.
    pub(crate) peak_memory_bytes: Option<u64>,
    /// Most processes and threads at one time, where the kernel tells.
    pub(crate) peak_pids: Option<u32>,
}

/// How near a tree is to its memory limit, not counting what the kernel can take back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nearness {
    /// Below eight tenths.
    Far,
    /// Between the two.
    Between,
    /// At nine tenths or above.
    Near,
}

/// How near a tree is to its memory limit, and what is left until it is [`Nearness::Near`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Headroom {
    pub(crate) nearness: Nearness,
    pub(crate) bytes: u64,
}

impl Headroom {
    /// With so many bytes in use, `reclaimable` of which are asked for only if it matters.
    fn of(in_use: u64, limit: u64, reclaimable: impl FnOnce() -> u64) -> Self {
        let held = if in_use < far_below(limit) { in_use } else { in_use.saturating_sub(reclaimable()) };
        let nearness = match held {
            held if held >= near(limit) => Nearness::Near,
            held if held >= far_below(limit) => Nearness::Between,
            _ => Nearness::Far,
        };
        Self { nearness, bytes: near(limit).saturating_sub(held) }
    }
}

/// Nine tenths of a limit.
const fn near(limit: u64) -> u64 {
    limit / 10 * 9
}

/// Eight tenths of a limit.
const fn far_below(limit: u64) -> u64 {
    limit / 10 * 8
}

/// Scheduler period against which CPU quotas count, in microseconds.
const CPU_PERIOD_US: u32 = 100_000;

/// Quota for a number of cores, in microseconds each period; the kernel takes no less than 1000.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "float to int casts saturate")]
pub(crate) fn cpu_quota_us(cores: f64) -> u64 {
    ((cores * f64::from(CPU_PERIOD_US)).round() as u64).max(1000)
}

/// A weight of so much for each core, within what the kernel takes.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "float to int casts saturate")]
fn weight(cores: f64, one: f64, least: u64, most: u64) -> u64 {
    ((cores * one).round() as u64).clamp(least, most)
}

/// What the files of the pids controller in `dir` tell, which are the same in both interfaces.
fn read_pids(dir: &Path, readings: &mut Readings) {
    let text = |file: &str| fs::read_to_string(dir.join(file)).unwrap_or_default();
    readings.pids_refused += keyed_number(&text("pids.events"), "max");
    // Kernel 6.1.
    readings.peak_pids = text("pids.peak").trim().parse().ok();
}

/// The number after `key` in a file of `key number` lines.
fn keyed_number(text: &str, key: &str) -> u64 {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(name, _)| *name == key)
        .and_then(|(_, number)| number.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quota_is_cores_times_period_and_never_too_small() {
        assert_eq!(cpu_quota_us(1.5), 150_000);
        assert_eq!(cpu_quota_us(0.000_1), 1000);
    }

    #[test]
    fn weight_is_in_proportion_to_cores_within_the_kernel_s_range() {
        assert_eq!([0.000_1, 0.5, 2.0, 4096.0].map(v1::shares), [2, 512, 2048, 262_144]);
        assert_eq!([0.000_1, 0.5, 2.0, 4096.0].map(v2::shares), [1, 50, 200, 10_000]);
    }

    #[test]
    fn what_the_kernel_can_take_back_brings_no_task_near_its_limit() {
        let of = |in_use, reclaimable| Headroom::of(in_use, 1000, || reclaimable).nearness;
        assert_eq!(
            [of(799, 0), of(800, 0), of(899, 0), of(900, 0)],
            [Nearness::Far, Nearness::Between, Nearness::Between, Nearness::Near]
        );
        assert_eq!([of(1000, 250), of(1000, 150), of(1000, 50)], [Nearness::Far, Nearness::Between, Nearness::Near]);
    }

    #[test]
    fn headroom_is_what_is_left_to_nine_tenths() {
        let of = |in_use, reclaimable| Headroom::of(in_use, 1000, || reclaimable).bytes;
        assert_eq!([of(0, 0), of(700, 500), of(850, 0), of(850, 100), of(950, 0)], [900, 200, 50, 150, 0]);
    }

    #[test]
    fn keyed_numbers_are_found_by_whole_name() {
        assert_eq!(keyed_number("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", "oom_kill"), 3);
        assert_eq!(keyed_number("", "max"), 0);
    }
}
