//! A cluster's beginning: what is stored of it is replayed, and its service loops start.
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use manta_engine::Engine;
use manta_store::{BlobStore, ClusterRecord, DirBlobs};
use manta_types::{ClusterId, NodeDuty};

use super::clear::sweep;
use super::{Clusters, Inner, Place, Shared};
use crate::ManagerError;
use crate::app::{App, Parts};
use crate::distribution::Distributions;
use crate::http::Partials;
use crate::identity::Identities;
use crate::links::Links;
use crate::logs::Logs;
use crate::metrics::Metrics;
use crate::open::{BLOBS, CLUSTERS};
use crate::orchestrator::{Orchestrator, recover};
use crate::quotas::Quotas;
use crate::ready::Readiness;
use crate::refusals::Refusals;
use crate::supervisor::Kind;
use crate::traces::Traces;

impl Clusters {
    /// Starts all clusters of a manager whose first one has that name, and ends what a removal left that was cut off.
    ///
    /// # Errors
    /// When the first cluster cannot be recovered, or a store fails. Another cluster that cannot be recovered, or whose folder
    /// cannot be removed, is told of wherever somebody asks.
    pub(crate) async fn start(shared: Shared, first: ClusterId) -> Result<Self, ManagerError> {
        let records = shared.store.run(|store| store.clusters()).await??;
        if records.iter().any(|record| record.name == first) {
            return Err(ManagerError::NotFirst(first));
        }
        sweep(&shared, &records).await?;
        let blobs = Arc::clone(&shared.blobs);
        let first = open(&shared, first, None, blobs).await?;
        manta_types::crash_point!("manager.recovered");
        let clusters = Self(Arc::new(Inner {
            shared,
            first,
            others: RwLock::new(BTreeMap::new()),
            changing: tokio::sync::Mutex::default(),
        }));
        for record in records {
            if record.is_removing {
                match clusters.clear(&record).await {
                    Ok(()) => {}
                    Err(error @ ManagerError::DataDir { .. }) => {
                        clusters.close(record, &error, "what is left of a removed cluster cannot be removed");
                    }
                    Err(error) => return Err(error),
                }
                continue;
            }
            match open_other(clusters.shared(), &record).await {
                Ok(app) => clusters.put(record.name, Place::Open(app)),
                Err(error) => {
                    clusters.close(record, &error, "a cluster cannot be recovered; the others go on without it")
                }
            }
        }
        Ok(clusters)
    }

    fn close(&self, record: ClusterRecord, error: &ManagerError, what: &'static str) {
        tracing::error!(cluster = record.name.as_str(), %error, "{what}");
        self.put(record.name.clone(), Place::Closed { record, why: error.to_string() });
    }

    pub(super) fn put(&self, name: ClusterId, place: Place) {
        self.0.others.write().unwrap_or_else(std::sync::PoisonError::into_inner).insert(name, place);
    }
}

/// Where a cluster beyond the first keeps what is no row of a store. With its time in the name: nothing that is still under way
/// for a cluster that is gone ends up in another of the same name.
pub(crate) fn folder_of(data_dir: &Path, record: &ClusterRecord) -> PathBuf {
    data_dir.join(CLUSTERS).join(format!("{}@{}", record.name, record.created_ms))
}

/// Opens the blobs of a cluster beyond the first.
pub(super) async fn blobs_of(data_dir: &Path, record: &ClusterRecord) -> Result<Arc<dyn BlobStore>, ManagerError> {
    let (data_dir, folder) = (data_dir.to_owned(), folder_of(data_dir, record));
    let opened = tokio::task::spawn_blocking(move || {
        let blobs = DirBlobs::open(&folder.join(BLOBS))?;
        // The folders above are on the disk before anything is kept in them.
        for dir in [data_dir.join(CLUSTERS), data_dir] {
            let synced = File::open(&dir).and_then(|dir| dir.sync_all());
            synced.map_err(|source| ManagerError::DataDir { path: dir, source })?;
        }
        Ok::<_, ManagerError>(blobs)
    });
    Ok(Arc::new(opened.await.map_err(|error| ManagerError::Internal(error.to_string()))??))
}

async fn open_other(shared: &Shared, record: &ClusterRecord) -> Result<App, ManagerError> {
    let blobs = blobs_of(&shared.data_dir, record).await?;
    open(shared, record.name.clone(), Some(record.created_ms), blobs).await
}

/// Replays what is stored of a cluster, and lets it go on. All but the first were made at a time.
pub(super) async fn open(
    shared: &Shared,
    cluster: ClusterId,
    made_ms: Option<u64>,
    blobs: Arc<dyn BlobStore>,
) -> Result<App, ManagerError> {
    let created_ms = made_ms.unwrap_or(0);
    let Shared { store, supervisor, clock, .. } = shared;
    let (name, now) = (cluster.clone(), clock.now());
    let engine = Engine::new(seed()?).with_swarms_running_max(shared.swarms_running_max);
    let recovered = store.run(move |store| recover(store.as_mut(), &name, now, engine)).await??;
    let identities = match &shared.registrar {
        Some(registrar) => Some(Identities::of(Arc::clone(registrar), cluster.clone(), created_ms).await?),
        None => None,
    };
    let stop = supervisor.stopping().child_token();
    let metrics = Arc::new(Metrics::of(&cluster));
    let (orchestrator, handle, remembering) = Orchestrator::new(
        recovered,
        store.clone(),
        cluster.clone(),
        Arc::clone(clock),
        Arc::clone(&metrics),
        stop.clone(),
    );
    if let Some(collector) = shared.collector.clone() {
        let (ended, stop) = (handle.watches().subscribe_ended(), stop.clone());
        let traces = Traces { collector, ended, store: store.clone(), cluster: cluster.clone(), stop };
        supervisor.spawn("traces", Kind::Session, traces.serve());
    }
    supervisor.spawn("orchestrator", Kind::Essential, orchestrator.serve());
    supervisor.spawn("remembering", Kind::Session, remembering.serve());
    if let Some(identities) = &identities {
        let revoked = handle.ask(|view| {
            // Also those that were let go of since.
            let revoked = view.nodes.iter().filter(|(_, node)| node.duty == NodeDuty::Revoked);
            revoked.map(|(name, _)| name.clone()).collect::<Vec<_>>()
        });
        revoked.await?.iter().for_each(|node| identities.members.revoke(node));
    }
    Ok(App::new(Parts {
        generation: shared.generation,
        people: Arc::clone(&shared.people),
        quotas: Quotas::default(),
        identities,
        issuer: shared.issuer.clone(),
        handle,
        store: store.clone(),
        blobs,
        links: Links::default(),
        refusals: Refusals::default(),
        readiness: Readiness::default(),
        logs: Logs::new(shared.logs.clone(), cluster.clone(), Arc::clone(&shared.space)),
        space: Arc::clone(&shared.space),
        metrics,
        replays: Arc::default(),
        distributions: Distributions::default(),
        clock: Arc::clone(clock),
        supervisor: supervisor.clone(),
        stop,
        uploads: Arc::clone(&shared.uploads),
        partials: Partials::default(),
        cluster,
        is_first: made_ms.is_none(),
        created_ms,
    }))
}

/// Seeds the engine's ids and ties: never twice the same.
fn seed() -> Result<u64, ManagerError> {
    getrandom::u64().map_err(|error| ManagerError::Internal(format!("no random numbers: {error}")))
}
