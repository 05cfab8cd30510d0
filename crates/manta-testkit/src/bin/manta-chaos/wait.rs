//! Waiting for a state with a limit; what was seen last is in the error.
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a state is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Looks again and again until nothing is lacking.
///
/// # Errors
/// What is lacking still when the time is over; whatever a look itself fails with.
pub(crate) async fn until(
    limit: Duration,
    what: &str,
    mut lacking: impl AsyncFnMut() -> Result<Option<String>>,
) -> Result<Duration> {
    let begun = Instant::now();
    loop {
        let Some(lack) = lacking().await? else { return Ok(begun.elapsed()) };
        if begun.elapsed() > limit {
            bail!("{what} took longer than {} s; seen last: {lack}", limit.as_secs());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
