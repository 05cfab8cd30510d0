//! A manager's life: recover, serve, stop in order.
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use manta_engine::Engine;
use manta_types::NodeDuty;

use crate::ManagerError;
use crate::app::{App, Parts};
use crate::clock::Clock;
use crate::distribution::Distributions;
use crate::http;
use crate::identity::Identities;
use crate::links::Links;
use crate::logs::Logs;
use crate::metrics::Metrics;
use crate::open::Opened;
use crate::orchestrator::{Orchestrator, recover};
use crate::people::People;
use crate::quotas::Quotas;
use crate::serve::{self, Door};
use crate::settings::{Bound, Listen, Settings};
use crate::space::Space;
use crate::supervisor::{Kind, Supervisor};
use crate::threads::{Ended, Owned};
use crate::traces::Traces;
use crate::upkeep::Upkeep;

/// How long connections may take to end in order.
const ENDING_WITHIN: Duration = Duration::from_millis(1500);
/// How long the stores may take to close.
const CLOSING_WITHIN: Duration = Duration::from_secs(5);

/// Runs a manager until `shutdown` resolves.
///
/// # Errors
/// When what is stored cannot be followed, or when a change could not be made durable: the manager then stops rather
/// than acknowledge anything more.
pub async fn run(
    settings: Settings,
    bound: Bound,
    opened: Opened,
    clock: Arc<dyn Clock>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ManagerError> {
    let outcome = serve_until(&settings, bound, opened, clock, shutdown).await;
    if settings.ephemeral
        && let Err(error) = std::fs::remove_dir_all(&settings.data_dir)
    {
        tracing::warn!(path = %settings.data_dir.display(), %error, "the data directory could not be removed");
    }
    outcome
}

async fn serve_until(
    settings: &Settings,
    bound: Bound,
    opened: Opened,
    clock: Arc<dyn Clock>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ManagerError> {
    let Opened { state, blobs, logs, tokens, access, identities } = opened;
    let supervisor = Supervisor::new();
    let (store, state_closed) = Owned::start("manta-state", state)?;
    let (logs, logs_closed) = Owned::start("manta-logs", logs)?;
    let (access, access_closed) = Owned::start("manta-access", access)?;
    let people = People::open(tokens, access, supervisor.clone()).await?;
    let (cluster, now) = (settings.cluster.clone(), clock.now());
    let engine = Engine::new(seed()?).with_swarms_running_max(settings.swarms_running_max);
    let generation = store.run(|store| store.generation()).await??;
    let recovered = store.run(move |store| recover(store.as_mut(), &cluster, now, engine)).await??;
    let metrics: Arc<Metrics> = Arc::default();
    let (orchestrator, handle, remembering) = Orchestrator::new(
        recovered,
        store.clone(),
        settings.cluster.clone(),
        Arc::clone(&clock),
        Arc::clone(&metrics),
        supervisor.stopping(),
    );
    manta_types::crash_point!("manager.recovered");
    let space = Arc::new(Space::new(settings.data_dir.clone(), Arc::clone(&clock)));
    let address = bound.address().clone();
    let (identities, identities_closed) = match identities {
        Some(opened) => {
            let (identities, closed) = Identities::start(opened, settings, bound.public_url(&settings.tls)).await?;
            (Some(identities), Some(closed))
        }
        None => (None, None),
    };
    let app = App::new(Parts {
        cluster: settings.cluster.clone(),
        generation,
        address: address.clone(),
        people,
        quotas: Quotas::default(),
        public_names: settings.tls.public_names.clone(),
        identities: identities.clone(),
        handle,
        store,
        blobs,
        links: Links::default(),
        logs: Logs::new(logs, settings.cluster.clone(), Arc::clone(&space)),
        space,
        metrics,
        replays: Arc::default(),
        distributions: Distributions::default(),
        clock,
        supervisor: supervisor.clone(),
        uploads: App::upload_permits(),
        partials: http::Partials::default(),
    });
    if let Some(collector) = settings.collector.clone() {
        let (ended, stop) = (app.handle.watches().subscribe_ended(), supervisor.stopping());
        let traces = Traces { collector, ended, store: app.store.clone(), cluster: settings.cluster.clone(), stop };
        supervisor.spawn("traces", Kind::Session, traces.serve());
    }
    supervisor.spawn("orchestrator", Kind::Essential, orchestrator.serve());
    supervisor.spawn("remembering", Kind::Session, remembering.serve());
    let upkeep = Upkeep {
        dir: settings.data_dir.clone(),
        keep: settings.keep,
        handle: app.handle.clone(),
        blobs: Arc::clone(&app.blobs),
        logs: app.logs.clone(),
        clock: Arc::clone(&app.clock),
        stop: supervisor.stopping(),
    };
    supervisor.spawn("upkeep", Kind::Session, upkeep.serve());
    if let Some(identities) = &identities {
        let revoked = app.handle.ask(|view| {
            let revoked = view.engine.nodes().filter(|node| node.duty() == NodeDuty::Revoked);
            revoked.map(|node| node.name().clone()).collect::<Vec<_>>()
        });
        revoked.await?.iter().for_each(|node| identities.members.revoke(node));
        let keeping = Arc::clone(identities).keep(Arc::clone(&app.clock), supervisor.stopping());
        supervisor.spawn("certificates", Kind::Essential, keeping);
    }
    let router = http::router(&app);
    drop(app);
    tracing::info!(address = bound.url(), cluster = settings.cluster.as_str(), "manager serves");
    let door = Door { router, supervisor: supervisor.clone(), identities, is_remote: address.is_remote() };
    supervisor.spawn("listener", Kind::Essential, serve::accept(bound.socket, door));
    let stopping = supervisor.stopping();
    tokio::select! {
        () = shutdown => supervisor.stop(),
        () = stopping.cancelled() => {}
    }
    let closed = [Some(state_closed), Some(logs_closed), Some(access_closed), identities_closed];
    end(&supervisor, closed.into_iter().flatten()).await;
    if let Listen::Unix(path) = &address {
        remove_socket(path);
    }
    match supervisor.take_failure() {
        None => Ok(()),
        Some(error) => {
            tracing::error!(%error, "the manager stopped");
            Err(error)
        }
    }
}

/// Waits for what is under way, and for the stores to close.
async fn end(supervisor: &Supervisor, closed: impl Iterator<Item = Ended>) {
    if tokio::time::timeout(ENDING_WITHIN, supervisor.ended()).await.is_err() {
        tracing::debug!("connections that do not end are dropped");
        supervisor.abort();
        supervisor.ended().await;
    }
    // A thread that panicked has closed its store too.
    if tokio::time::timeout(CLOSING_WITHIN, futures_util::future::join_all(closed)).await.is_err() {
        tracing::warn!("the stores did not close in time");
    }
}

fn remove_socket(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::debug!(path = %path.display(), %error, "the socket file was gone");
    }
}

/// Seeds the engine's ids and ties: never twice the same.
fn seed() -> Result<u64, ManagerError> {
    getrandom::u64().map_err(|error| ManagerError::Internal(format!("no random numbers: {error}")))
}
