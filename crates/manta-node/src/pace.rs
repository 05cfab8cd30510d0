//! A pace that a task is kept to: who spends faster than it is given waits.
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How far ahead somebody may spend who spent little before.
const AHEAD: Duration = Duration::from_secs(1);

/// So many units each second, and a second's worth at once.
#[derive(Debug)]
pub(crate) struct Pace {
    per_second: u64,
    /// When all that was spent will have been given.
    even: Mutex<Instant>,
}

impl Pace {
    /// A pace at which nothing was spent yet; `per_second` is at least 1.
    pub(crate) fn new(per_second: u64) -> Self {
        Self { per_second: per_second.max(1), even: Mutex::new(Instant::now()) }
    }

    /// Spends so many units, waiting until they are there; whether it had to wait.
    pub(crate) async fn spend(&self, units: u64) -> bool {
        let now = Instant::now();
        let until = {
            let mut even = self.even.lock().unwrap_or_else(PoisonError::into_inner);
            *even = (*even).max(now) + self.time_for(units);
            *even
        };
        let waits = until > now + AHEAD;
        if waits {
            tokio::time::sleep_until(until - AHEAD).await;
        }
        waits
    }

    #[expect(clippy::cast_precision_loss, reason = "a wait needs no more digits")]
    fn time_for(&self, units: u64) -> Duration {
        Duration::from_secs_f64(units as f64 / self.per_second as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_second_s_worth_is_there_at_once_and_the_rest_comes_at_its_pace() {
        let (pace, begun) = (Pace::new(100), Instant::now());
        assert!(!pace.spend(100).await);
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert!(pace.spend(250).await);
        assert_eq!(begun.elapsed().as_millis(), 2500);
    }

    #[tokio::test(start_paused = true)]
    async fn who_spent_nothing_for_long_saves_no_more_than_a_second_s_worth() {
        let pace = Pace::new(100);
        tokio::time::advance(Duration::from_secs(3600)).await;
        let begun = Instant::now();
        pace.spend(100).await;
        assert!(pace.spend(100).await);
        assert_eq!(begun.elapsed().as_millis(), 1000);
    }
}
