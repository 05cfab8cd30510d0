//! The agent: checks the host, makes its parts, and runs until it is told to stop.
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use manta_api::audit::AuditEntry;
use manta_api::version::PRODUCT;
use manta_sandbox::{Engine, HostReport, Tier};
use manta_types::{NodeId, NodeName};
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

use crate::attempt::{Attempts, Replays};
use crate::audit::{AUDIT_FILE, Audit};
use crate::bundle::Bundles;
use crate::cache::Cache;
use crate::containment::{Containment, Starts};
use crate::control;
use crate::dataset::{self, Offered};
use crate::distribution::Distribution;
use crate::engine::EngineChoice;
use crate::gpu::{GpuSource, Gpus};
use crate::home::Home;
use crate::host::{self, Resources, Usage};
use crate::identity::Credentials;
use crate::image::Images;
use crate::journals::{Journals, Loaded};
use crate::layer::Layers;
use crate::light::Values;
use crate::link::Link;
use crate::offering::Told;
use crate::outbox::Outbox;
use crate::policy::{self, Site};
use crate::remote::Remote;
use crate::session::Session;
use crate::state::StateStore;
use crate::supervisor::{Kind, Supervisor, blocking};
use crate::warm::Zygotes;
use crate::{NodeError, Settings, Warm, runtime};

/// How long attempts may take to be killed, and the session to end, when the agent stops.
const STOP_MAX: Duration = Duration::from_millis(1500);
/// How long the engine may take to end what still runs.
const ENGINE_STOP_MAX: Duration = Duration::from_millis(500);

/// The part of the cache, one in so many, that is for bundles as sandboxes mount them, and as much for layers of packages; the rest
/// is for blobs.
const MOUNTED_PART: u64 = 4;

/// What all attempts on this node share.
pub(crate) struct Node {
    pub(crate) name: NodeName,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) tier: Tier,
    /// What the host cannot enforce, a sentence each.
    pub(crate) notes: Vec<String>,
    pub(crate) containment: Containment,
    /// The same of warm starts, where there are any.
    pub(crate) warm_containment: Option<Containment>,
    pub(crate) datasets: Offered,
    /// What of datasets and policy the manager was told last.
    pub(crate) told: Told,
    /// What ran here, and what left.
    pub(crate) audit: Arc<Audit>,
    pub(crate) gpus: Gpus,
    pub(crate) images: Arc<Images>,
    pub(crate) zygotes: Zygotes,
    /// Where `manta.light` was written.
    pub(crate) runtime: PathBuf,
    /// What an attempt gets that asks for nothing.
    pub(crate) defaults: Resources,
    /// What the site allows here.
    pub(crate) site: Site,
    pub(crate) bundles: Bundles,
    pub(crate) layers: Layers,
    pub(crate) values: Values,
    pub(crate) remote: Remote,
    pub(crate) state: StateStore,
    pub(crate) journals: Journals,
    pub(crate) engine: Arc<dyn Engine>,
    /// Cancelled when the engine is found to be gone: without it nothing can run here.
    pub(crate) engine_lost: CancellationToken,
    pub(crate) link: Link,
    pub(crate) usage: Usage,
    pub(crate) outbox: Arc<Outbox>,
    /// One permit for each sandbox that may run at once, whether for an attempt or a replay.
    pub(crate) slots: Semaphore,
}

/// Runs a node until `shutdown` resolves.
///
/// A launcher is spawned by the caller before there are threads. While the manager cannot be reached, the agent
/// goes on dialling; attempts that run go on running.
///
/// # Errors
/// When the host cannot do what the settings ask for, when the manager refuses this node, or when the agent breaks.
pub async fn run(
    settings: Settings,
    engine: EngineChoice,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), NodeError> {
    let home = Arc::new(open_home(&settings).await?);
    let engine = engine.open(home.part("engine")).await?;
    let (supervisor, slots, ephemeral) = (Supervisor::default(), settings.slots, settings.ephemeral);
    let ended = {
        let credentials = Arc::new(Credentials::new(settings.proof.clone(), &settings.manager)?);
        let node = start_up(&settings, &home, Arc::clone(&engine), &supervisor, &credentials).await?;
        let (id, left) = load(&node, &home).await?;
        let attempts = Attempts::new(Arc::clone(&node), supervisor.clone(), slots, left);
        keep_containment(&attempts, &supervisor);
        supervisor.spawn("policy", Kind::Essential, policy::watch(Arc::clone(&attempts), supervisor.stopping()));
        open_door(&attempts, &home, &settings, &supervisor)?;
        let manager = settings.manager;
        let replays = Replays::new(Arc::clone(&node), supervisor.clone());
        let distribution = Distribution::new(Arc::clone(&node), &supervisor);
        let process = uuid::Uuid::now_v7();
        let slots = slots.get();
        let session = Session { id, node, attempts, replays, distribution, manager, credentials, slots, process };
        serve(session, &supervisor, shutdown).await
    };
    clean_up(&supervisor, engine, home, ephemeral).await;
    ended
}

/// Finds out in the background whether containment holds here.
fn keep_containment(attempts: &Arc<Attempts>, supervisor: &Supervisor) {
    let (attempts, stop) = (Arc::clone(attempts), supervisor.stopping());
    supervisor.spawn("containment", Kind::Essential, async move {
        let node = attempts.node();
        let told = || attempts.tell_notes();
        let cold = node.containment.keep(&node.engine, node.images.host(), &stop, told);
        let warm = async {
            if let Some(warm) = &node.warm_containment {
                warm.keep(&node.engine, node.images.host(), &stop, told).await;
            }
        };
        tokio::join!(cold, warm, node.zygotes.keep(&*node.engine, &stop));
    });
}

/// Lets people on this machine ask.
fn open_door(
    attempts: &Arc<Attempts>,
    home: &Home,
    settings: &Settings,
    supervisor: &Supervisor,
) -> Result<(), NodeError> {
    let (path, manager) = (home.part(""), settings.manager.to_string());
    let listener = control::bind(&path).map_err(|source| NodeError::DataDir { path, source })?;
    let door = control::serve(listener, Arc::clone(attempts), manager, supervisor.clone(), supervisor.stopping());
    supervisor.spawn("door", Kind::Essential, door);
    Ok(())
}

/// The datasets that the agent is started with, and those that were added before: one of these that cannot be offered now is
/// said, and does not keep the agent from starting.
async fn offered(settings: &Settings, home: &Home, engine: &dyn Engine) -> Result<(Offered, Vec<String>), NodeError> {
    let file = home.part("datasets.json");
    let kept = Offered::kept(&file)?;
    let offered = Offered::new(file, dataset::check_all(&settings.datasets, engine).await?);
    let mut notes = Vec::new();
    for (name, path) in kept.iter().filter(|(name, _)| !settings.datasets.contains_key(*name)) {
        match dataset::check(name, path, engine).await {
            Ok(dataset) => offered.take_back(dataset),
            Err(error) => {
                let note = format!("{error} (it was added with `manta node data add`)");
                tracing::warn!("{note}");
                notes.push(note);
            }
        }
    }
    Ok((offered, notes))
}

/// Opens the audit, which says that the agent started and under which rules.
async fn open_audit(settings: &Settings, home: &Home) -> Result<Arc<Audit>, NodeError> {
    let path = home.part(AUDIT_FILE);
    let (node, place) = (settings.name.to_string(), path.clone());
    let rules = settings.policy.clone();
    let opened = blocking(move || {
        let audit = Audit::open(&place)?;
        let started = AuditEntry::Started { agent_version: PRODUCT.to_owned(), node };
        audit.record(started).and_then(|()| policy::record_policy(&audit, &rules)).map_err(std::io::Error::other)?;
        Ok::<_, std::io::Error>(Arc::new(audit))
    });
    opened.await.map_err(|source| NodeError::DataDir { path, source })
}

/// Runs the session until it is refused, a part breaks, or the agent is told to stop.
async fn serve(session: Session, supervisor: &Supervisor, shutdown: impl Future<Output = ()>) -> Result<(), NodeError> {
    let (refuse, refused) = oneshot::channel();
    let (stop, engine_lost) = (supervisor.stopping(), session.node.engine_lost.clone());
    supervisor.spawn("session", Kind::Essential, {
        let stop = stop.clone();
        async move {
            if let Err(error) = session.keep(stop).await {
                // Nobody listens any more only when the agent is stopping anyway.
                let _ = refuse.send(error);
            }
        }
    });
    let broken =
        || NodeError::Internal(format!("the service loop `{}` broke", supervisor.broken().unwrap_or("session")));
    tokio::select! {
        () = shutdown => Ok(()),
        () = stop.cancelled() => Err(broken()),
        () = engine_lost.cancelled() => Err(NodeError::Launcher("it ended, and every task with it".to_owned())),
        error = refused => Err(error.unwrap_or_else(|_| broken())),
    }
}

async fn open_home(settings: &Settings) -> Result<Home, NodeError> {
    let root = settings.data_dir.clone();
    blocking(move || Home::open(&root)).await
}

/// Reads what an earlier agent left: the node's id, and the reports that were not answered.
async fn load(node: &Node, home: &Home) -> Result<(NodeId, Loaded), NodeError> {
    let id = home.node_id()?;
    let (journals, path) = (node.journals.clone(), home.part("outbox"));
    let loaded = blocking(move || journals.load()).await;
    Ok((id, loaded.map_err(|source| NodeError::DataDir { path, source })?))
}

/// Checks everything that can be checked before the manager is dialled.
async fn start_up(
    settings: &Settings,
    home: &Home,
    engine: Arc<dyn Engine>,
    supervisor: &Supervisor,
    credentials: &Credentials,
) -> Result<Arc<Node>, NodeError> {
    let report = engine.probe().await.map_err(|error| NodeError::Launcher(error.to_string()))?;
    let tier = check_tier(&report, settings.isolation_min)?;
    let warm = if engine.runs_containers() { Warm::Off } else { settings.warm };
    let zygotes = Zygotes::new(warm, tier, host::available_bytes().unwrap_or(0), supervisor);
    let mut notes: Vec<String> =
        report.shortcomings.iter().map(|short| format!("{} ({})", short.what, short.cure)).collect();
    notes.extend(zygotes.note());
    if engine.runs_containers() {
        notes.push(format!("tasks run in containers of {}", engine.describe()));
    }
    if tier != Tier::Full {
        for short in &report.shortcomings {
            tracing::warn!(
                tier = tier.name(),
                shortcoming = short.what,
                cure = short.cure,
                "this host contains tasks less than fully"
            );
        }
    }
    let datasets = offered(settings, home, &*engine);
    let (python, light) = (settings.python.clone(), home.part("light"));
    let (store, named) = (settings.images.clone(), settings.image_names.clone());
    // The host's devices are given to builtin sandboxes alone.
    let source = if engine.runs_containers() { GpuSource::Off } else { settings.gpus.clone() };
    let gpus = blocking(move || Gpus::find(&source, tier.maps_paths()));
    let python = blocking(move || {
        let images = Images::probe(&python, store, named, tier)?;
        let runtime = runtime::install(&light, images.host().python())?;
        Ok((images, runtime))
    });
    let audit = open_audit(settings, home);
    let ((datasets, missing), gpus, (images, runtime), audit) = tokio::try_join!(datasets, gpus, python, audit)?;
    notes.extend(missing);
    let site = Site::new(settings.policy.clone(), settings.policy_file.clone());
    site.refresh(tier, &audit, jiff::Timestamp::now());
    let client = credentials.client(&settings.manager, &settings.cluster);
    let throughput = Arc::default();
    let remote = Remote::new(client, settings.name.clone(), Arc::clone(&throughput));
    let path = home.part("cache");
    let mounted_bytes_max = settings.cache_bytes_max / MOUNTED_PART;
    let blobs_bytes_max = settings.cache_bytes_max - 2 * mounted_bytes_max;
    let cache = Cache::open(&path, Arc::new(remote.clone()), blobs_bytes_max);
    let cache = cache.map_err(|source| NodeError::DataDir { path, source })?;
    let cache = Arc::new(cache);
    let path = home.part("bundles");
    let bundles = Bundles::open(&path, Arc::clone(&cache), mounted_bytes_max);
    let bundles = bundles.map_err(|source| NodeError::DataDir { path, source })?;
    let path = home.part("layers");
    let layers = Layers::open(&path, Arc::clone(&cache), mounted_bytes_max, settings.installer.clone());
    let layers = layers.map_err(|source| NodeError::DataDir { path, source })?;
    let path = home.part("state");
    let state = StateStore::open(&path).map_err(|source| NodeError::DataDir { path, source })?;
    let open = |suite, starts| {
        Containment::open(settings, home.part(suite), &*engine, (tier, &report.kernel), images.host(), starts)
    };
    let warm_containment = zygotes.probed(&settings.name, images.host(), &runtime);
    let warm_containment = warm_containment
        .map(|template| open("warm-probes", Starts::Warm { template: Box::new(template), image: None }));
    let containment = open("probes", Starts::Cold);
    Ok(Arc::new(Node {
        name: settings.name.clone(),
        labels: settings.labels.clone(),
        tier,
        notes,
        containment,
        warm_containment,
        datasets,
        gpus,
        images: Arc::new(images),
        zygotes,
        runtime,
        defaults: Resources::defaults(host::memory_bytes(), settings.slots, settings.bounds),
        site,
        told: Told::default(),
        audit,
        bundles,
        layers,
        values: Values::new(cache, tier == Tier::Full),
        remote,
        state,
        journals: Journals::new(home.part("outbox")),
        engine,
        engine_lost: CancellationToken::new(),
        link: Link::new(throughput),
        usage: Usage::default(),
        outbox: Arc::default(),
        slots: Semaphore::new(settings.slots.get() as usize),
    }))
}

/// The host's tier, if it is as good as the site asks for.
fn check_tier(report: &HostReport, wanted: Tier) -> Result<Tier, NodeError> {
    if let Some(tier) = report.tier.filter(|tier| tier.is_at_least(wanted)) {
        return Ok(tier);
    }
    Err(NodeError::NoContainment {
        found: report.tier.map_or("none", Tier::name).to_owned(),
        wanted: wanted.name().to_owned(),
        why: joined(report.shortcomings.iter().map(|short| short.what.as_str())),
        cure: joined(report.shortcomings.iter().map(|short| short.cure.as_str())),
    })
}

/// Sentences in one line, each once: several shortcomings often have one cure.
fn joined<'a>(sentences: impl Iterator<Item = &'a str>) -> String {
    let mut seen: Vec<&str> = Vec::new();
    for sentence in sentences {
        if !seen.contains(&sentence) {
            seen.push(sentence);
        }
    }
    seen.join("; ")
}

/// Stops everything, in the order in which one part needs another.
async fn clean_up(supervisor: &Supervisor, engine: Arc<dyn Engine>, home: Arc<Home>, ephemeral: bool) {
    if !supervisor.stop(STOP_MAX).await {
        tracing::warn!("some attempts did not end in time; they die with their engine");
    }
    if tokio::time::timeout(ENGINE_STOP_MAX, engine.close()).await.is_err() {
        tracing::warn!(engine = engine.name(), "the engine did not end in time");
    }
    let Some(home) = Arc::into_inner(home).filter(|_| ephemeral) else { return };
    if let Err(error) = blocking(move || home.remove()).await {
        tracing::warn!(%error, "the data directory could not be removed");
    }
}

#[cfg(test)]
mod tests {
    use manta_sandbox::Shortcoming;

    use super::*;

    fn report(tier: Option<Tier>) -> HostReport {
        let short = |what: &str, cure: &str| Shortcoming { what: what.to_owned(), cure: cure.to_owned() };
        HostReport {
            tier,
            kernel: "6.8.0".to_owned(),
            user_namespaces: false,
            id_mapped_mounts: false,
            landlock_abi: 0,
            seccomp: true,
            cgroup: manta_sandbox::CgroupReport {
                version: manta_sandbox::CgroupVersion::None,
                controllers: Vec::new(),
            },
            shortcomings: vec![short("user namespaces are closed to ordinary users", "run the agent as root")],
        }
    }

    #[test]
    fn a_host_below_what_the_site_asks_for_is_refused_with_the_cure() {
        assert_eq!(check_tier(&report(Some(Tier::Full)), Tier::Rootless).unwrap(), Tier::Full);
        assert_eq!(check_tier(&report(Some(Tier::Reduced)), Tier::Reduced).unwrap(), Tier::Reduced);
        let error = check_tier(&report(Some(Tier::Reduced)), Tier::Rootless).unwrap_err();
        assert_eq!(
            error.to_string(),
            "this host can contain tasks only at tier `reduced`, and this node asks for `rootless` or better: \
             user namespaces are closed to ordinary users"
        );
        assert_eq!(error.hint().as_deref(), Some("run the agent as root"));
        assert!(check_tier(&report(None), Tier::Reduced).is_err());
    }
}
