//! Clusters that are added, and clusters that are to go.
use std::collections::BTreeSet;
use std::sync::PoisonError;

use manta_api::{ClusterLostView, ClusterView, ErrorCode, Problem};
use manta_store::{ClusterChange, ClusterRecord, StoreError};
use manta_types::{ClusterId, crash_point, limits};

use super::found::view;
use super::start::{blobs_of, open};
use super::{Clusters, Place};
use crate::ManagerError;
use crate::keys::{self, Idempotency};
use crate::orchestrator::{Change, InUse, Refused};

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
        if self.place(name.as_str()).is_some() {
            return Err(self.unserved(name.as_str()));
        }
        self.room()?;
        let shared = self.shared();
        shared.space.admit(0)?;
        let created_ms = shared.clock.now().wall_ms;
        let record = ClusterRecord { name: name.clone(), created_ms, is_removing: false };
        let blobs = blobs_of(&shared.data_dir, &record).await?;
        crash_point!("manager.cluster.foldered");
        self.make(ClusterChange::Put(record.clone()), idempotency).await?;
        crash_point!("manager.cluster.kept");
        let app = match open(shared, name.clone(), Some(created_ms), blobs).await {
            Ok(app) => app,
            Err(error) => {
                self.put(name, Place::Closed { record, why: error.to_string() });
                return Err(error.into());
            }
        };
        let view = view(&app).await?;
        self.put(name, Place::Open(app));
        crash_point!("manager.cluster.served");
        tracing::info!(cluster = view.name, "a cluster was added");
        Ok((view, true))
    }

    /// Lets a cluster go with all that is stored of it, unless it is in use. One that cannot be recovered may be in use, which
    /// nobody can tell: it goes where that is asked for, and what is lost with it is said.
    ///
    /// # Errors
    /// A problem for the client that names what is in use, or would be lost; then the cluster is as it was.
    pub(crate) async fn remove(
        &self,
        name: &str,
        is_damaged_too: bool,
        idempotency: Option<Idempotency>,
    ) -> Result<Option<ClusterLostView>, Problem> {
        let _changing = self.0.changing.lock().await;
        let is_asked_again = keys::done_before(self.first(), idempotency.as_ref()).await?.is_some();
        let place = self.place(name);
        let is_leaving = matches!(&place, Some(Place::Closed { record, .. }) if record.is_removing);
        if is_asked_again && !is_leaving {
            return Ok(None);
        }
        if name == self.first().cluster.as_str() {
            let sentence = format!("`{name}` is the manager's first cluster, which stays");
            return Err(Problem::new(ErrorCode::Conflict, sentence));
        }
        let (record, lost) = match &place {
            None => return Err(self.unserved(name)),
            Some(Place::Open(app)) => {
                if let Some(held) = app.handle.close().await? {
                    return Err(in_use(&app.cluster, &held));
                }
                crash_point!("manager.cluster.closed");
                (ClusterRecord { name: app.cluster.clone(), created_ms: app.created_ms, is_removing: true }, None)
            }
            Some(Place::Closed { record, .. }) if is_leaving => (record.clone(), None),
            Some(Place::Closed { record, why }) => {
                let lost = self.lost(&record.name).await?;
                if !is_damaged_too {
                    return Err(would_be_lost(&record.name, why, &lost));
                }
                (ClusterRecord { is_removing: true, ..record.clone() }, Some(lost))
            }
        };
        if !is_asked_again {
            self.make(ClusterChange::Put(record.clone()), idempotency).await?;
            crash_point!("manager.cluster.leaving");
        }
        let name = record.name.clone();
        self.put(name.clone(), Place::Closed { record: record.clone(), why: "it is under way".to_owned() });
        if let Some(Place::Open(app)) = place {
            app.stop.cancel();
        }
        if let Err(error) = self.clear(&record).await {
            self.put(name, Place::Closed { record, why: error.to_string() });
            return Err(error.into());
        }
        self.0.others.write().unwrap_or_else(PoisonError::into_inner).remove(&name);
        tracing::info!(cluster = name.as_str(), "a cluster was removed");
        Ok(lost)
    }

    /// What is stored of a cluster that cannot be recovered.
    async fn lost(&self, cluster: &ClusterId) -> Result<ClusterLostView, ManagerError> {
        let (shared, of) = (self.shared(), cluster.clone());
        let stored = shared.store.run(move |store| Ok::<_, StoreError>((store.swarms(&of)?, store.nodes(&of)?)));
        let (swarms, nodes) = stored.await??;
        Ok(ClusterLostView {
            swarms: swarms.len() as u64,
            swarms_live: swarms.iter().filter(|swarm| swarm.ended_ms.is_none()).count() as u64,
            nodes: nodes.len() as u64,
            users: shared.people.ask(|known| known.users_of(cluster).count()) as u64,
        })
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

fn would_be_lost(cluster: &ClusterId, why: &str, lost: &ClusterLostView) -> Problem {
    let count = |number: u64, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    let ClusterLostView { swarms, swarms_live, nodes, users } = lost;
    let sentence = format!(
        "the cluster `{cluster}` cannot be recovered: {why}; lost with it would be {} ({swarms_live} not over), {} and {}",
        count(*swarms, "swarm"),
        count(*nodes, "node"),
        count(*users, "user")
    );
    Problem::new(ErrorCode::Corrupt, sentence).hint(format!(
        "bring a backup into a new directory with `manta manager restore`, or give it up for good: manta cluster rm {cluster} \
         --damaged"
    ))
}
