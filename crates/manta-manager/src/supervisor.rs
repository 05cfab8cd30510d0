//! The one place that starts service loops: each has a name and a kind, which fixes what its end means.
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::ManagerError;

/// What the end of a loop means for the manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The manager cannot go on without it: its failure stops everything.
    Essential,
    /// It serves one connection or request: its failure is its own.
    Session,
}

/// Starts service loops, ends them together, and keeps the first failure.
#[derive(Clone)]
pub(crate) struct Supervisor {
    tracker: TaskTracker,
    stop: CancellationToken,
    /// Drops sessions that did not end when they were told to.
    abort: CancellationToken,
    failure: Arc<Mutex<Option<ManagerError>>>,
}

impl Supervisor {
    pub(crate) fn new() -> Self {
        Self {
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
            abort: CancellationToken::new(),
            failure: Arc::default(),
        }
    }

    /// Resolves once everything is to stop.
    pub(crate) fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Ends every loop in order.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Ends every loop because of a failure; the first one is kept.
    pub(crate) fn fail(&self, error: ManagerError) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.stop.cancel();
    }

    /// Starts a loop.
    pub(crate) fn spawn<F>(&self, name: &'static str, kind: Kind, service: F)
    where
        F: Future<Output = Result<(), ManagerError>> + Send + 'static,
    {
        let supervisor = self.clone();
        // A future that another one awaits lies in it twice: where it was moved from, and where it is awaited.
        let service = Box::pin(service);
        let guarded = async move {
            let mut guard = PanicGuard { supervisor: supervisor.clone(), name, kind, ended: false };
            let outcome = service.await;
            guard.ended = true;
            match (outcome, kind) {
                (Ok(()), _) => tracing::trace!(name, "service loop ended"),
                (Err(error), Kind::Essential) => supervisor.fail(error),
                (Err(error), Kind::Session) => tracing::debug!(name, %error, "service loop failed"),
            }
        };
        self.track(kind, guarded);
    }

    fn track<F: Future<Output = ()> + Send + 'static>(&self, kind: Kind, service: F) {
        let abort = self.abort.clone();
        let abortable = async move {
            tokio::select! {
                () = service => {}
                () = abort.cancelled(), if kind == Kind::Session => {}
            }
        };
        self.tracker.spawn(abortable.in_current_span());
    }

    /// Drops every session that has not ended; what is essential ends in its own time.
    pub(crate) fn abort(&self) {
        self.abort.cancel();
    }

    /// Waits until every loop has ended.
    pub(crate) async fn ended(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// The failure that stopped the manager, if one did.
    pub(crate) fn take_failure(&self) -> Option<ManagerError> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Requests that share a connection are served side by side, each on a loop of its own.
impl<F> hyper::rt::Executor<F> for Supervisor
where
    F: Future + Send + 'static,
{
    fn execute(&self, request: F) {
        let request = Box::pin(request);
        self.track(Kind::Session, async move {
            request.await;
        });
    }
}

struct PanicGuard {
    supervisor: Supervisor,
    name: &'static str,
    kind: Kind,
    ended: bool,
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if self.ended || !std::thread::panicking() {
            return;
        }
        tracing::error!(name = self.name, "service loop panicked");
        if self.kind == Kind::Essential {
            self.supervisor.fail(ManagerError::Internal(format!("the service loop `{}` panicked", self.name)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn after(kind: Kind, service: impl Future<Output = Result<(), ManagerError>> + Send + 'static) -> Supervisor {
        let supervisor = Supervisor::new();
        supervisor.spawn("test", kind, service);
        supervisor.ended().await;
        supervisor
    }

    #[tokio::test]
    async fn the_failure_or_panic_of_an_essential_loop_stops_everything() {
        let failed = after(Kind::Essential, async { Err(ManagerError::Stopping) }).await;
        assert!(failed.stopping().is_cancelled());
        assert!(matches!(failed.take_failure(), Some(ManagerError::Stopping)));
        let panicked = after(Kind::Essential, async { panic!("on purpose") }).await;
        assert!(panicked.stopping().is_cancelled());
        assert!(matches!(panicked.take_failure(), Some(ManagerError::Internal(what)) if what.contains("`test`")));
    }

    #[tokio::test]
    async fn the_failure_or_panic_of_a_session_is_its_own() {
        let failed = after(Kind::Session, async { Err(ManagerError::Stopping) }).await;
        let panicked = after(Kind::Session, async { panic!("on purpose") }).await;
        assert!(!failed.stopping().is_cancelled() && !panicked.stopping().is_cancelled());
    }
}
