//! Blocking stores on threads of their own, spoken to from async code: one for the state, one for the logs.
//!
//! Jobs run in the order in which they were sent, one at a time. A thread whose handles are all gone ends after its last job.
use std::thread;

use tokio::sync::{mpsc, oneshot};

use crate::ManagerError;

/// Jobs that may wait for a store; senders wait beyond that.
const JOBS_WAITING_MAX: usize = 256;

type Job<S> = Box<dyn FnOnce(&mut S) + Send>;

/// A handle on a store that lives on its own thread.
pub(crate) struct Owned<S> {
    jobs: mpsc::Sender<Job<S>>,
    name: &'static str,
}

impl<S> Clone for Owned<S> {
    fn clone(&self) -> Self {
        Self { jobs: self.jobs.clone(), name: self.name }
    }
}

/// Resolves when the thread has ended and its store is closed.
pub(crate) type Ended = oneshot::Receiver<()>;

impl<S: Send + 'static> Owned<S> {
    /// Moves a store to a new thread.
    pub(crate) fn start(name: &'static str, mut store: S) -> Result<(Self, Ended), ManagerError> {
        let (jobs, mut waiting) = mpsc::channel::<Job<S>>(JOBS_WAITING_MAX);
        let (ending, ended) = oneshot::channel();
        let serve = move || {
            while let Some(job) = waiting.blocking_recv() {
                job(&mut store);
            }
            drop(store);
            // Nobody may be waiting for the end.
            let _ = ending.send(());
        };
        let started = thread::Builder::new().name(name.to_owned()).spawn(serve);
        started.map_err(|error| ManagerError::Internal(format!("the thread `{name}` cannot start: {error}")))?;
        Ok((Self { jobs, name }, ended))
    }

    /// Runs one job and gives what it returns.
    pub(crate) async fn run<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut S) -> R + Send + 'static,
    ) -> Result<R, ManagerError> {
        let (answer, answered) = oneshot::channel();
        let job: Job<S> = Box::new(move |store| {
            // The asker may have gone away; the job is done all the same.
            let _ = answer.send(job(store));
        });
        let gone = || ManagerError::Internal(format!("the thread `{}` has ended", self.name));
        self.jobs.send(job).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())
    }
}
