//! Memory of the host that nobody uses: what may wait for tasks depends on it.

use std::fs;
use std::time::{Duration, Instant};

/// How long an answer counts.
const FRESH: Duration = Duration::from_millis(250);

/// Bytes that could be used without swapping; none where the kernel does not tell, which hinders nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Free(Option<u64>);

impl Free {
    pub(super) fn is_less_than(self, wanted: u64) -> bool {
        self.0.is_some_and(|free| free < wanted)
    }

    /// Why nothing waits.
    pub(super) fn too_little(self, wanted: u64) -> String {
        let mib = |bytes: u64| bytes >> 20;
        format!("{} MiB of memory are free, and nothing waits below {}", mib(self.0.unwrap_or(0)), mib(wanted))
    }
}

/// The last answer.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    last: Option<(Instant, Free)>,
}

impl Gauge {
    /// What was free when it was last looked at.
    pub(super) fn last(&self) -> Option<Free> {
        self.last.map(|(_, free)| free)
    }

    /// What is free, as of a moment ago.
    pub(super) fn read(&mut self, now: Instant) -> Free {
        match self.last {
            Some((at, free)) if now.duration_since(at) < FRESH => free,
            _ => {
                let free = Free(available(&fs::read_to_string("/proc/meminfo").unwrap_or_default()));
                self.last = Some((now, free));
                free
            }
        }
    }
}

fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_does_not_tell_hinders_nothing() {
        assert_eq!(available("MemTotal: 9 kB\nMemAvailable:    3072 kB\n"), Some(3 << 20));
        assert_eq!(available("MemTotal: 9 kB\n"), None);
        assert!(!Free(None).is_less_than(u64::MAX));
        assert!(Free(Some(1 << 20)).is_less_than(2 << 20) && !Free(Some(2 << 20)).is_less_than(2 << 20));
        assert_eq!(Free(Some(3 << 20)).too_little(1 << 30), "3 MiB of memory are free, and nothing waits below 1024");
    }
}
