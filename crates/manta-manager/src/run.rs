//! A manager's life: recover, serve, stop in order.
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::ManagerError;
use crate::clock::Clock;
use crate::clusters::{Clusters, Shared};
use crate::http;
use crate::identity::Registrar;
use crate::oidc::Issuer;
use crate::open::Opened;
use crate::people::People;
use crate::serve::{self, Door};
use crate::settings::{Bound, Listen, Settings};
use crate::space::Space;
use crate::supervisor::{Kind, Supervisor};
use crate::threads::{Ended, Owned};
use crate::upkeep::{Tended, Upkeep};

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
    let people = Arc::new(People::open(tokens, access, supervisor.clone()).await?);
    let generation = store.run(|store| store.generation()).await??;
    let space = Arc::new(Space::new(settings.data_dir.clone(), Arc::clone(&clock)));
    let address = bound.address().clone();
    let (registrar, identities_closed) = match identities {
        Some(opened) => {
            let (registrar, closed) = Registrar::start(opened, settings, bound.public_url(&settings.tls))?;
            (Some(registrar), Some(closed))
        }
        None => (None, None),
    };
    let issuer = settings.oidc.clone().map(Issuer::new).transpose()?.map(Arc::new);
    let shared = Shared {
        data_dir: settings.data_dir.clone(),
        address: address.clone(),
        public_names: settings.tls.public_names.clone(),
        swarms_running_max: settings.swarms_running_max,
        collector: settings.collector.clone(),
        generation,
        people,
        registrar: registrar.clone(),
        issuer: issuer.clone(),
        store,
        logs,
        blobs,
        space,
        clock: Arc::clone(&clock),
        supervisor: supervisor.clone(),
        uploads: Shared::upload_permits(),
    };
    let clusters = Clusters::start(shared, settings.cluster.clone()).await.inspect_err(|_| supervisor.stop())?;
    if let Some(issuer) = issuer {
        let asking = issuer.ask_once(Arc::clone(&clock), supervisor.stopping());
        supervisor.spawn("issuer", Kind::Session, asking);
    }
    let upkeep = Upkeep {
        dir: settings.data_dir.clone(),
        keep: settings.keep,
        clusters: Box::new({
            let clusters = clusters.clone();
            move || clusters.all().iter().map(Tended::of).collect()
        }),
        clock: Arc::clone(&clock),
        stop: supervisor.stopping(),
    };
    supervisor.spawn("upkeep", Kind::Session, upkeep.serve());
    if let Some(registrar) = registrar {
        supervisor.spawn("certificates", Kind::Essential, registrar.keep(clock, supervisor.stopping()));
    }
    let router = http::router(&clusters);
    tracing::info!(address = bound.url(), cluster = settings.cluster.as_str(), "manager serves");
    let door = Door { router, supervisor: supervisor.clone(), clusters, is_remote: address.is_remote() };
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
