//! Swarms that ended before the start. They take no part in what is decided, so work goes on before their histories are read
//! again: however many there are, a start takes no longer for them. Who asks about them waits until they are known.
use manta_engine::SwarmRun;
use manta_store::{StateStore, SwarmRecord};
use manta_types::ClusterId;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::handle::Handle;
use super::recover::{EVENTS_PAGE, stored_spec};
use crate::ManagerError;
use crate::threads::Owned;

/// What a swarm costs beside its events, in events.
const SWARM_COSTS: usize = 8;

/// Swarms that ended, the newest last, and how far the last one is read.
#[derive(Debug, Default)]
pub struct Ended {
    left: Vec<SwarmRecord>,
    begun: Option<SwarmRun>,
}

impl Ended {
    pub(super) const fn new(left: Vec<SwarmRecord>) -> Self {
        Self { left, begun: None }
    }

    /// Whether all are read.
    pub const fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    /// Reads on, the newest first, for about as long as a page of events takes. Gives the swarms that are whole by now, and
    /// why one cannot be rebuilt, which is then passed over.
    pub fn read(&mut self, store: &mut dyn StateStore, cluster: &ClusterId) -> Vec<Result<SwarmRun, ManagerError>> {
        let mut read = Vec::new();
        let mut budget = EVENTS_PAGE;
        while budget > 0
            && let Some(record) = self.left.last()
        {
            let swarm = follow(record, self.begun.take(), store, cluster, &mut budget);
            match swarm {
                Ok(swarm) if swarm.seq() < record.seq => self.begun = Some(swarm),
                outcome => {
                    read.push(outcome.and_then(|swarm| over(record, swarm)));
                    self.left.pop();
                }
            }
        }
        read
    }
}

/// Follows a swarm's history by as many events as the budget has, and takes them off it.
fn follow(
    record: &SwarmRecord,
    begun: Option<SwarmRun>,
    store: &mut dyn StateStore,
    cluster: &ClusterId,
    budget: &mut usize,
) -> Result<SwarmRun, ManagerError> {
    let mut swarm = match begun {
        Some(swarm) => swarm,
        None => SwarmRun::before_history(record.id, stored_spec(record)?, record.created_ms),
    };
    let page = store.events(cluster, record.id, swarm.seq(), *budget)?;
    *budget = budget.saturating_sub(page.len() + SWARM_COSTS);
    page.iter().try_for_each(|event| swarm.follow(event))?;
    Ok(swarm)
}

fn over(record: &SwarmRecord, swarm: SwarmRun) -> Result<SwarmRun, ManagerError> {
    if swarm.is_over() {
        return Ok(swarm);
    }
    let what = format!("history of swarm `{}`", record.id);
    Err(ManagerError::Unreadable { what, problem: "its row says that it ended, its events do not".to_owned() })
}

/// How much is known again of the swarms that ended before the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Memory {
    /// Some are yet to be read.
    #[default]
    Partial,
    /// All of them.
    Whole,
    /// All but some; the newest of these, and why.
    Damaged(String),
}

/// Resolves when the swarms that ended before the start are known again.
///
/// # Errors
/// When one of them cannot be read: a list without it would not be true.
pub(super) async fn known(memory: watch::Receiver<Memory>) -> Result<(), ManagerError> {
    match read(memory).await? {
        Memory::Damaged(problem) => {
            Err(ManagerError::Unreadable { what: "history of a swarm that has ended".to_owned(), problem })
        }
        Memory::Partial | Memory::Whole => Ok(()),
    }
}

/// Resolves when all that ended before the start has been read, and says how much of it is known again.
pub(super) async fn read(mut memory: watch::Receiver<Memory>) -> Result<Memory, ManagerError> {
    let known = memory.wait_for(|memory| *memory != Memory::Partial).await;
    known.map(|memory| memory.clone()).map_err(|_| ManagerError::Stopping)
}

/// Reads what ended while the manager serves, and hands it to the service loop.
pub(crate) struct Remembering {
    pub(super) ended: Ended,
    pub(super) memory: watch::Sender<Memory>,
    pub(super) handle: Handle,
    pub(super) store: Owned<Box<dyn StateStore>>,
    pub(super) cluster: ClusterId,
    pub(super) stop: CancellationToken,
}

impl Remembering {
    /// Serves until all is known or the manager stops.
    ///
    /// # Errors
    /// When the manager is on its way down.
    pub(crate) async fn serve(self) -> Result<(), ManagerError> {
        let Self { mut ended, memory, handle, store, cluster, stop } = self;
        let mut outcome = Memory::Whole;
        while !ended.is_empty() {
            if stop.is_cancelled() {
                return Ok(());
            }
            let cluster = cluster.clone();
            let read = store.run(move |store| {
                let read = ended.read(store.as_mut(), &cluster);
                (ended, read)
            });
            let (left, read) = read.await?;
            ended = left;
            let (swarms, damaged): (Vec<_>, Vec<_>) = read.into_iter().partition(Result::is_ok);
            for error in damaged.into_iter().filter_map(Result::err) {
                tracing::error!(%error, "a swarm that has ended cannot be shown; bring a backup back with `manta manager restore`");
                if outcome == Memory::Whole {
                    outcome = Memory::Damaged(error.to_string());
                }
            }
            handle.remember(swarms.into_iter().flatten().collect()).await?;
        }
        memory.send_replace(outcome);
        Ok(())
    }
}
