//! Clusters that are added, and clusters that go with all that is theirs.
use std::collections::BTreeSet;
use std::io;
use std::sync::PoisonError;

use manta_api::{ClusterView, ErrorCode, Problem};
use manta_store::{ClusterChange, ClusterRecord, Transaction};
use manta_types::{ClusterId, SwarmId, limits};

use super::found::{damaged, view};
use super::start::{blobs_of, folder_of, open};
use super::{Clusters, Place};
use crate::ManagerError;
use crate::keys::{self, Idempotency};
use crate::orchestrator::{Change, InUse, Refused};

/// Swarms that are removed in one transaction.
const SWARMS_AT_ONCE: usize = 100;
/// Swarms or nodes that a refusal names.
const NAMED_MAX: usize = 3;

impl Clusters {
    /// Makes a cluster, once under its key; whether it is new.
    ///
    /// # Errors
    /// A problem for the client; nothing was made.
    pub(crate) async fn add(
        &self,
        name: ClusterId,
        idempotency: Option<Idempotency>,
    ) -> Result<(ClusterView, bool), Problem> {
        let _changing = self.0.changing.lock().await;
        let is_done = keys::done_before(self.first(), idempotency.as_ref()).await?.is_some();
        match self.get(name.as_str()) {
            Some(app) if is_done => return Ok((view(&app).await?, false)),
            Some(_) => {
                let problem = Problem::new(ErrorCode::Conflict, format!("there is a cluster `{name}` already"));
                return Err(problem.hint("`manta cluster ls` lists them"));
            }
            None if is_done => return Err(self.unserved(name.as_str())),
            None => {}
        }
        if let Some(Place::Damaged { why, .. }) = self.place(name.as_str()) {
            return Err(damaged(name.as_str(), &why));
        }
        self.room()?;
        let shared = self.shared();
        shared.space.admit(0)?;
        let created_ms = shared.clock.now().wall_ms;
        let record = ClusterRecord { name: name.clone(), created_ms, is_removing: false };
        let blobs = blobs_of(&shared.data_dir, &record).await?;
        self.make(ClusterChange::Put(record), idempotency).await?;
        let app = open(shared, name.clone(), Some(created_ms), blobs).await?;
        let view = view(&app).await?;
        self.put(name, Place::Open(app));
        tracing::info!(cluster = view.name, "a cluster was added");
        Ok((view, true))
    }

    /// Lets a cluster go with all that is stored of it, unless it is in use.
    ///
    /// # Errors
    /// A problem for the client that names what is in use; then the cluster is as it was.
    pub(crate) async fn remove(&self, name: &str, idempotency: Option<Idempotency>) -> Result<(), Problem> {
        let _changing = self.0.changing.lock().await;
        if keys::done_before(self.first(), idempotency.as_ref()).await?.is_some() {
            return Ok(());
        }
        if name == self.first().cluster.as_str() {
            let sentence = format!("`{name}` is the manager's first cluster, which stays");
            return Err(Problem::new(ErrorCode::Conflict, sentence));
        }
        let app = self.get(name).ok_or_else(|| self.unserved(name))?;
        if let Some(held) = app.handle.close().await? {
            return Err(in_use(&app.cluster, &held));
        }
        let record = ClusterRecord { name: app.cluster.clone(), created_ms: app.created_ms, is_removing: true };
        self.make(ClusterChange::Put(record.clone()), idempotency).await?;
        self.0.others.write().unwrap_or_else(PoisonError::into_inner).remove(&app.cluster);
        app.stop.cancel();
        drop(app);
        self.clear(&record).await?;
        tracing::info!(cluster = record.name.as_str(), "a cluster was removed");
        Ok(())
    }

    fn room(&self) -> Result<(), Problem> {
        let most = limits::CLUSTERS_MAX;
        if self.0.others.read().unwrap_or_else(PoisonError::into_inner).len() + 1 < most {
            return Ok(());
        }
        let sentence = format!("the manager has {most} clusters, and no more are kept (clusters_max)");
        Err(Problem::new(ErrorCode::TooLarge, sentence).hint("`manta cluster rm` removes one"))
    }

    /// Makes a change durable, with its key, in the first cluster's loop: keys of changes are one cluster's.
    async fn make(&self, change: ClusterChange, idempotency: Option<Idempotency>) -> Result<(), Problem> {
        match self.first().handle.change(Change::Cluster(change), idempotency).await? {
            Ok(()) => Ok(()),
            Err(Refused::KeyUsed { earlier, .. }) => Err(keys::used(&earlier)),
            Err(other) => Err(crate::http::internal(format!("a cluster's change was refused: {other:?}"))),
        }
    }

    /// Removes all that is left of a cluster that is going, its row last: what is cut off goes on at the next start.
    pub(super) async fn clear(&self, record: &ClusterRecord) -> Result<(), ManagerError> {
        let (shared, name) = (self.shared(), &record.name);
        shared.people.forget(name).await?;
        if let Some(registrar) = &shared.registrar {
            registrar.forget(name).await?;
        }
        let of = name.clone();
        let swarms = shared.store.run(move |store| store.swarms(&of)).await??;
        let swarms: Vec<SwarmId> = swarms.into_iter().map(|swarm| swarm.id).collect();
        for purged in swarms.chunks(SWARMS_AT_ONCE) {
            let transaction = Transaction { purged: purged.to_vec(), ..Transaction::default() };
            let of = name.clone();
            shared.store.run(move |store| store.commit(&of, &transaction)).await??;
        }
        let of = name.clone();
        shared.logs.run(move |store| store.forget(&of)).await??;
        let folder = folder_of(&shared.data_dir, record);
        let removed = tokio::task::spawn_blocking(move || match std::fs::remove_dir_all(&folder) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(ManagerError::DataDir { path: folder, source })
            }
            _ => Ok(()),
        });
        removed.await.map_err(|error| ManagerError::Internal(error.to_string()))??;
        let transaction = Transaction { clusters: vec![ClusterChange::Gone(name.clone())], ..Transaction::default() };
        let first = self.first().cluster.clone();
        Ok(shared.store.run(move |store| store.commit(&first, &transaction)).await??)
    }
}

fn in_use(cluster: &ClusterId, held: &InUse) -> Problem {
    let named = |what: &str, all: &BTreeSet<String>| {
        let first: Vec<_> = all.iter().take(NAMED_MAX).map(|name| format!("`{name}`")).collect();
        let more = all.len() - first.len();
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        (!all.is_empty()).then(|| format!("{what} {}{rest}", first.join(", ")))
    };
    let parts = [
        named("swarms that are not over:", &held.swarms),
        named("nodes that are neither revoked nor removed:", &held.nodes),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    let sentence = format!("the cluster `{cluster}` is in use and stays; it has {}", parts.join(", and "));
    Problem::new(ErrorCode::Conflict, sentence).hint(format!(
        "stop the swarms with `manta stop`, let go of the nodes with `manta node revoke`, both with `--cluster {cluster}`"
    ))
}
