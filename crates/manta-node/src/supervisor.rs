//! The one place where loops are spawned: each has a name, and a kind that fixes what its end means.
use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What the end of a loop means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The agent cannot do without it: its panic stops the agent.
    Essential,
    /// It stands for itself: its panic is logged.
    Contained,
}

/// Spawns loops, stops them, and knows which essential one broke.
#[derive(Debug, Clone, Default)]
pub(crate) struct Supervisor {
    tracker: TaskTracker,
    stop: CancellationToken,
    broken: Arc<Mutex<Option<&'static str>>>,
}

impl Supervisor {
    /// Resolves when the loops shall end.
    pub(crate) fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Runs a loop until it ends by itself; it is expected to watch [`Supervisor::stopping`].
    pub(crate) fn spawn(&self, name: &'static str, kind: Kind, work: impl Future<Output = ()> + Send + 'static) {
        let supervisor = self.clone();
        self.tracker.spawn(async move {
            let Err(panic) = AssertUnwindSafe(work).catch_unwind().await else { return };
            tracing::error!(name, error = panic_text(panic.as_ref()), "a service loop broke");
            if kind == Kind::Essential {
                *supervisor.broken.lock().unwrap_or_else(PoisonError::into_inner) = Some(name);
                supervisor.stop.cancel();
            }
        });
    }

    /// Asks every loop to end and waits for them, at most so long. Answers whether all ended.
    pub(crate) async fn stop(&self, limit: Duration) -> bool {
        self.stop.cancel();
        self.tracker.close();
        tokio::time::timeout(limit, self.tracker.wait()).await.is_ok()
    }

    /// The essential loop that broke, if one did.
    pub(crate) fn broken(&self) -> Option<&'static str> {
        *self.broken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The words of a panic.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// Runs what blocks (files, digests) beside the loops.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Blocking work is only cancelled when the whole runtime goes; nobody is left to read an answer.
            Err(_) => std::future::pending().await,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_broken_essential_loop_stops_the_agent_and_a_contained_one_does_not() {
        let supervisor = Supervisor::default();
        supervisor.spawn("attempt", Kind::Contained, async { panic!("one attempt") });
        supervisor.spawn("waiter", Kind::Contained, {
            let stop = supervisor.stopping();
            async move { stop.cancelled().await }
        });
        assert_eq!(supervisor.broken(), None);
        supervisor.spawn("session", Kind::Essential, async { panic!("the session") });
        supervisor.stopping().cancelled().await;
        assert_eq!(supervisor.broken(), Some("session"));
        assert!(supervisor.stop(Duration::from_secs(5)).await);
    }
}
