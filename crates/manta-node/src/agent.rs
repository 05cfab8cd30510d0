//! The agent: checks the host, makes its parts, and runs until it is told to stop.
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use manta_api::audit::AuditEntry;
use manta_api::version::PRODUCT;
use manta_sandbox::{Engine, Tier};
use manta_types::{NodeId, NodeName};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::attempt::{Attempts, Replays};
use crate::audit::{self, AUDIT_FILE, Audit};
use crate::bundle::Bundles;
use crate::cache::Cache;
use crate::containment::{Containment, Starts};
use crate::control;
use crate::dataset::{self, Offered};
use crate::distribution::Distribution;
use crate::engine::EngineChoice;
use crate::gpu::{GpuSource, Gpus};
use crate::handover::{self, Handover, InUse, Rest, Taken};
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
use crate::parting::Parting;
use crate::policy::{self, Site};
use crate::remote::Remote;
use crate::session::Session;
use crate::state::StateStore;
use crate::supervisor::{Kind, Supervisor, blocking};
use crate::tier::check_tier;
use crate::warm::Zygotes;
use crate::{NodeError, Settings, Warm, runtime, upgrade};

/// How long attempts may take to be killed, and the session to end, when the agent stops.
const STOP_MAX: Duration = Duration::from_millis(1500);
/// How long attempts that stand still may take to be left.
const PARTED_MAX: Duration = Duration::from_secs(5);
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
    /// Whether another program is to take this one's place.
    pub(crate) parting: Arc<Parting>,
    /// Tells this process of the agent from those before it.
    pub(crate) process: uuid::Uuid,
    pub(crate) usage: Usage,
    pub(crate) outbox: Arc<Outbox>,
    /// One permit for each sandbox that may run at once, whether for an attempt or a replay.
    pub(crate) slots: Semaphore,
}

/// How an agent's time ends that ends well.
#[derive(Debug)]
pub enum Ended {
    /// It was told to stop.
    Stopped,
    /// Another program is to take its place, with all that runs.
    HandedOver(Box<Handover>),
}

/// Runs a node until `shutdown` resolves, or another program is to take its place.
///
/// A launcher is spawned by the caller before there are threads. While the manager cannot be reached, the agent
/// goes on dialling; attempts that run go on running. What the program before this one has left is taken out of `taken` once
/// nothing keeps the agent from going on with it.
///
/// # Errors
/// When the host cannot do what the settings ask for, when the manager refuses this node, or when the agent breaks.
pub async fn run(
    settings: Settings,
    engine: EngineChoice,
    taken: &mut Option<Taken>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<Ended, NodeError> {
    let lock = taken.as_ref().map(Taken::lock).transpose();
    let lock = lock.map_err(|source| NodeError::DataDir { path: settings.data_dir.clone(), source })?;
    let in_use = taken.as_ref().map(Taken::in_use).unwrap_or_default();
    let home = Arc::new(open_home(&settings, lock).await?);
    let engine = engine.open(home.part("engine")).await?;
    let (supervisor, slots, ephemeral) = (Supervisor::default(), settings.slots, settings.ephemeral);
    let ended = {
        let credentials = Arc::new(Credentials::new(settings.proof.clone(), &settings.manager)?);
        let node = start_up(&settings, &home, Arc::clone(&engine), &supervisor, &credentials, &in_use).await?;
        let (id, left) = load(&node, &home).await?;
        let attempts = Attempts::new(Arc::clone(&node), supervisor.clone(), slots, left);
        let (wish, wishes) = mpsc::channel(1);
        open_door(&attempts, &home, &settings, &supervisor, wish)?;
        if let Some(taken) = taken.take() {
            go_on(&attempts, taken).await?;
        }
        keep_containment(&attempts, &supervisor);
        supervisor.spawn("policy", Kind::Essential, policy::watch(Arc::clone(&attempts), supervisor.stopping()));
        supervisor.spawn("audit", Kind::Essential, audit::keep(Arc::clone(&attempts), supervisor.stopping()));
        let (manager, own) = (settings.manager, settings.own);
        let replays = Replays::new(Arc::clone(&node), supervisor.clone());
        let distribution = Distribution::new(Arc::clone(&node), &supervisor);
        let (process, slots) = (node.process, slots.get());
        let here = Arc::clone(&attempts);
        let session = Session { id, node, attempts, replays, distribution, manager, credentials, slots, process };
        match serve(session, &supervisor, shutdown, upgrade::wished(wishes, &here, own.as_ref())).await {
            Ok(None) => Ok(None),
            Ok(Some(program)) => {
                let arguments = own.map(|own| own.arguments).unwrap_or_default();
                leave(&here, &home, &supervisor, (program, arguments), in_use.runtimes).await.map(Some)
            }
            Err(error) => Err(error),
        }
    };
    let ephemeral = ephemeral && !matches!(ended, Ok(Some(_)));
    clean_up(&supervisor, engine, home, ephemeral).await;
    Ok(ended?.map_or(Ended::Stopped, |handover| Ended::HandedOver(Box::new(handover))))
}

/// Goes on with what the program before this one has left.
async fn go_on(attempts: &Arc<Attempts>, taken: Taken) -> Result<(), NodeError> {
    let (from, blamed) = (taken.from().to_owned(), taken.blamed().map(str::to_owned));
    let (parted, generation) = taken.go_on(attempts.node()).await?;
    let running = parted.iter().filter(|parted| parted.left.is_some()).count();
    tracing::info!(from, to = PRODUCT, running, "this program took over; attempts that run go on");
    attempts.take_over(parted, generation, blamed);
    Ok(())
}

/// Makes everything ready for the program that is to take this one's place.
async fn leave(
    attempts: &Arc<Attempts>,
    home: &Home,
    supervisor: &Supervisor,
    (program, arguments): (PathBuf, Vec<OsString>),
    mut runtimes: BTreeSet<String>,
) -> Result<Handover, NodeError> {
    let failed = |error| NodeError::Upgrade(format!("what runs cannot be left to another program: {error}"));
    if tokio::time::timeout(PARTED_MAX, attempts.all_parted()).await.is_err() {
        tracing::warn!("an attempt ended while it was to be left, and not in time; the manager has it run again");
    }
    if !supervisor.stop(STOP_MAX).await {
        tracing::warn!("some loops did not end in time");
    }
    let node = attempts.node();
    let (parted, generation) = attempts.hand_over();
    runtimes.extend(node.runtime.file_name().map(|name| name.to_string_lossy().into_owned()));
    let (lines, cut_for) = (node.outbox.take_lines(), node.link.cut_so_far());
    let rest = Rest { program, arguments, lock: home.lock().map_err(failed)?, generation, lines, cut_for, runtimes };
    let runtime = tokio::runtime::Handle::current();
    blocking(move || {
        let _in = runtime.enter();
        handover::pack(parted, rest)
    })
    .await
    .map_err(failed)
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
    wish: mpsc::Sender<upgrade::Request>,
) -> Result<(), NodeError> {
    let (path, manager) = (home.part(""), settings.manager.to_string());
    let listener = control::bind(&path).map_err(|source| NodeError::DataDir { path, source })?;
    let asked = control::Asked { attempts: Arc::clone(attempts), manager, wish };
    let door = control::serve(listener, asked, supervisor.clone(), supervisor.stopping());
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

/// Runs the session until it is refused, a part breaks, the agent is told to stop, or a program is to take its place.
async fn serve(
    session: Session,
    supervisor: &Supervisor,
    shutdown: impl Future<Output = ()>,
    wished: impl Future<Output = PathBuf>,
) -> Result<Option<PathBuf>, NodeError> {
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
        () = shutdown => Ok(None),
        program = wished => Ok(Some(program)),
        () = stop.cancelled() => Err(broken()),
        () = engine_lost.cancelled() => Err(NodeError::Launcher("it ended, and every task with it".to_owned())),
        error = refused => Err(error.unwrap_or_else(|_| broken())),
    }
}

async fn open_home(settings: &Settings, lock: Option<OwnedFd>) -> Result<Home, NodeError> {
    let root = settings.data_dir.clone();
    blocking(move || Home::open(&root, lock)).await
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
    in_use: &InUse,
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
    let common = settings.machine_cache.as_ref().map(|cache| cache.join("light"));
    let answers = settings.machine_cache.as_ref().unwrap_or(&settings.data_dir).join("interpreters");
    let (store, named, runtimes) = (settings.images.clone(), settings.image_names.clone(), in_use.runtimes.clone());
    // The host's devices are given to builtin sandboxes alone.
    let source = if engine.runs_containers() { GpuSource::Off } else { settings.gpus.clone() };
    let gpus = blocking(move || Gpus::find(&source, tier.maps_paths()));
    let python = blocking(move || {
        let images = Images::probe(&python, Some(&answers), store, named, tier)?;
        let runtime = runtime::install(&light, images.host().python(), &runtimes, common.as_deref())?;
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
    let bundles = Bundles::open(&path, Arc::clone(&cache), mounted_bytes_max, &in_use.bundles);
    let bundles = bundles.map_err(|source| NodeError::DataDir { path, source })?;
    let path = home.part("layers");
    let installer = settings.installer.clone();
    let layers = Layers::open(&path, Arc::clone(&cache), mounted_bytes_max, installer, &in_use.layers);
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
        link: Link::new(throughput, in_use.cut_for),
        parting: Arc::default(),
        process: uuid::Uuid::now_v7(),
        usage: Usage::default(),
        outbox: Arc::default(),
        slots: Semaphore::new(settings.slots.get() as usize),
    }))
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
