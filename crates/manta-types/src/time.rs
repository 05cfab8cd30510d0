//! Monotonic time as the engine sees it.
use std::ops::{Add, Sub};
use std::time::Duration;

/// Milliseconds on a clock that never goes back; only differences mean anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The reading with which the clock of a process begins: what happened before it, a century ago or less, has one too.
    pub const START: Self = Self(100 * 365 * 24 * 60 * 60 * 1000);

    /// Wraps a reading of the caller's monotonic clock.
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// The reading, in milliseconds.
    pub const fn ms(self) -> u64 {
        self.0
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl Sub for Timestamp {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}
