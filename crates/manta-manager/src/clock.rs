//! Where the manager's time comes from: a clock that never goes back for decisions, the wall clock for people.
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use manta_engine::Now;
use manta_types::Timestamp;

/// The time of a step.
pub trait Clock: Send + Sync + 'static {
    /// Both clocks, read together.
    fn now(&self) -> Now;
}

/// The machine's own clocks.
#[derive(Debug, Clone, Copy)]
pub struct RealClock {
    started: Instant,
}

impl RealClock {
    /// A clock whose monotonic reading begins at [`Timestamp::START`].
    #[must_use]
    pub fn new() -> Self {
        Self { started: Instant::now() }
    }
}

impl Default for RealClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for RealClock {
    fn now(&self) -> Now {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        Now {
            monotonic: Timestamp::START + self.started.elapsed(),
            wall_ms: u64::try_from(since_1970).unwrap_or(u64::MAX),
        }
    }
}
