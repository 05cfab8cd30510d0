//! The live log of each swarm: appended by nodes' sessions, read by clients, outside the event history.
use std::sync::Arc;

use manta_api::LogLine;
use manta_store::{LogFilter, LogStore};
use manta_types::{ClusterId, SwarmId};
use tokio::sync::watch;

use crate::ManagerError;
use crate::orchestrator::Watches;
use crate::space::Space;
use crate::threads::Owned;

/// The log store on its thread, and word of what is new in it.
#[derive(Clone)]
pub(crate) struct Logs {
    store: Owned<LogStore>,
    news: Arc<Watches>,
    cluster: ClusterId,
    space: Arc<Space>,
}

impl Logs {
    pub(crate) fn new(store: Owned<LogStore>, cluster: ClusterId, space: Arc<Space>) -> Self {
        Self { store, news: Arc::default(), cluster, space }
    }

    /// Appends lines, in order, and tells those who follow the swarm's log. On a full disk they are dropped: what is left
    /// of it is for what must be durable.
    pub(crate) async fn append(&self, swarm: SwarmId, mut lines: Vec<LogLine>) -> Result<(), ManagerError> {
        if self.space.shortage().is_some() {
            tracing::debug!(%swarm, lines = lines.len(), "log lines are dropped: the disk is full");
            return Ok(());
        }
        let cluster = self.cluster.clone();
        let appended = self.store.run(move |store| {
            store.append(&cluster, swarm, &mut lines)?;
            Ok::<_, ManagerError>(lines.last().map_or(0, |line| line.seq))
        });
        let last = appended.await??;
        self.news.raise(swarm, last);
        Ok(())
    }

    /// Removes the log of a swarm that is gone.
    pub(crate) async fn purge(&self, swarm: SwarmId) -> Result<(), ManagerError> {
        let cluster = self.cluster.clone();
        self.news.forget([swarm]);
        Ok(self.store.run(move |store| store.purge(&cluster, swarm)).await??)
    }

    /// Lines after a sequence, oldest first.
    pub(crate) async fn read(
        &self,
        swarm: SwarmId,
        after: u64,
        filter: LogFilter,
        limit: usize,
    ) -> Result<Vec<LogLine>, ManagerError> {
        let cluster = self.cluster.clone();
        Ok(self.store.run(move |store| store.query(&cluster, swarm, after, &filter, limit)).await??)
    }

    /// Resolves when the store takes its turns.
    pub(crate) async fn answer(&self) -> Result<(), ManagerError> {
        self.store.run(|_| ()).await
    }

    /// Resolves whenever lines are new.
    pub(crate) fn follow(&self, swarm: SwarmId) -> watch::Receiver<u64> {
        self.news.subscribe(swarm)
    }
}
