//! `manta node run`: the agent in the foreground.
use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use manta_client::Endpoint;
use manta_image::Store;
use manta_node::{Ended, EngineChoice, GpuSource, Identity, NodeError, OnAllowedProbe, Proof, Settings, Taken, Warm};
use manta_sandbox::{ContainerEngine, Launcher, Tier};
use manta_types::{NodeName, Policy};

use crate::connection::{endpoint, parse_cluster, read_token, variable};
use crate::data::parse_label;
use crate::logging::LogArgs;
use crate::notify::Notifier;
use crate::report::Failure;
use crate::verbs::{image, takeover};
use crate::{bounds, python, shutdown};

/// What `--warm` may be.
const WARM: [&str; 3] = ["auto", "on", "off"];

/// Options of `manta node run`.
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// The manager's address [default: the one that the data directory joined, else MANTA_MANAGER].
    #[arg(long, value_name = "URL")]
    manager: Option<String>,

    /// The file with the node token, for a manager of this machine [default: the data directory's own certificate].
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    #[command(flatten)]
    agent: Args,
}

/// Options of every command that runs an agent.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A dataset that tasks may be given; repeat it for each.
    #[arg(long, alias = "dataset", value_name = "NAME=PATH")]
    data: Vec<String>,

    /// This node's name, unique in the cluster [default: the host's name].
    #[arg(long)]
    name: Option<String>,

    /// Where the node keeps its cache, its state and its identity [default: in MANTA_HOME or ~/.local/share/manta].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// A label that placement may select by; repeat it for each.
    #[arg(long, alias = "labels", value_name = "KEY=VALUE")]
    label: Vec<String>,

    /// Attempts run at once [default: the number of cores].
    #[arg(long, value_name = "N")]
    slots: Option<NonZeroU32>,

    /// GiB of modules and values kept on disk for later use; beyond, the least recently used go.
    #[arg(long, value_name = "GIB", default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    cache_max: u64,

    /// The Python interpreter for tasks [default: MANTA_PYTHON, the active environment, python3 on PATH].
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,

    /// The directory of images that tasks may run in, as `manta image` fills it [default: images in MANTA_HOME or
    /// ~/.local/share/manta].
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,

    /// A name that modules use, and the stored image (name or digest) it stands for here, or `host`; repeat it for each.
    #[arg(long, value_name = "NAME=IMAGE")]
    image: Vec<String>,

    /// What runs tasks: this program's own sandboxes, or containers of an engine of this machine.
    #[arg(long, value_name = "ENGINE", default_value = "builtin", value_parser = ["builtin", "docker", "podman", "gvisor"])]
    engine: String,

    /// The Unix socket of the container engine's API [default: DOCKER_HOST or CONTAINER_HOST, else the engine's usual places].
    #[arg(long, value_name = "PATH")]
    engine_socket: Option<PathBuf>,

    /// The weakest containment under which tasks are run here.
    #[arg(long, value_name = "TIER", default_value = "rootless", value_parser = ["full", "rootless", "reduced"])]
    isolation_min: String,

    /// What happens where a probe of containment is allowed: run no task, or only say so.
    #[arg(long, value_name = "WHAT", default_value = "refuse", value_parser = ["refuse", "warn"])]
    on_allowed_probe: String,

    /// Tasks kept waiting, ready to run, for each image in use; 0 forks one when it is needed [default: 0 to 2, by free memory].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=16))]
    standbys: Option<u32>,

    /// Whether tasks are forked from a process that has imported their image's packages: `auto` where the agent is root and a GiB
    /// of memory is free, `on` without regard to memory, and tasks wait until it was probed [default: MANTA_WARM, auto].
    #[arg(long, value_name = "WHETHER", value_parser = WARM)]
    warm: Option<String>,

    /// The GPUs that tasks may be given: all that are found (in the `reduced` tier none), none, or those of a CDI specification.
    #[arg(long, value_name = "auto|none|FILE", default_value = "auto")]
    gpus: String,

    /// What bounds every attempt here: log=64MiB, log-rate=8MiB, published=64GiB, tmp-files=100000; repeat it for each.
    #[arg(long, value_name = "NAME=SIZE")]
    limit: Vec<String>,

    /// What this site allows: signers, bundles, images, datasets, hours; read again when it changes or on SIGHUP [default:
    /// policy.toml in the data directory, where there is one].
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    /// The cluster to join.
    #[arg(long, value_name = "NAME", default_value = "default")]
    cluster: String,

    #[command(flatten)]
    log: LogArgs,

    /// Where what is the same for all agents of this machine is kept [default: in the data directory].
    #[arg(long, hide = true)]
    machine_cache: Option<PathBuf>,

    /// Remove the data directory at the end.
    #[arg(long, hide = true)]
    ephemeral: bool,

    /// The folder of an embedded platform, to be removed by whoever is last.
    #[arg(long, hide = true)]
    shared: Option<PathBuf>,

    /// End when standard input, a pipe, is closed.
    #[arg(long, hide = true)]
    lifeline: bool,

    #[command(flatten)]
    takeover: takeover::TakeoverArgs,
}

impl From<NodeError> for Failure {
    fn from(error: NodeError) -> Self {
        let failure = Self::new(error.code(), error.to_string());
        let exit = if matches!(error, NodeError::Policy { .. }) { 2 } else { failure.exit };
        Self { hint: error.hint(), exit, ..failure }
    }
}

/// Where an agent's manager is, and what it shows to it.
pub(super) struct Membership {
    pub(super) manager: Endpoint,
    pub(super) proof: Proof,
}

impl Membership {
    /// That of a directory that joined.
    pub(super) fn of(identity: Identity) -> Result<Self, Failure> {
        Ok(Self { manager: identity.manager()?, proof: Proof::Certificate(Box::new(identity)) })
    }
}

/// Runs an agent that joined, or one of the manager's own machine.
pub(crate) fn main(args: RunArgs) -> Result<ExitCode, Failure> {
    let RunArgs { manager, token_file, agent } = args;
    if let Some(file) = token_file {
        let address = manager.or_else(|| variable("MANTA_MANAGER"));
        let address =
            address.ok_or_else(|| Failure::usage("no manager is named").hint("give its address with --manager"))?;
        let proof = Proof::Token(read_token(&file)?);
        return run(agent, Membership { manager: endpoint(&address)?, proof });
    }
    let data_dir = agent.data_dir()?;
    let Some(identity) = Identity::load(&data_dir)? else {
        let sentence = format!("the data directory `{}` has joined no manager", data_dir.display());
        let hint = "join one with the command that `manta node token` prints; for a manager of this machine, give --token-file";
        return Err(Failure::usage(sentence).hint(hint));
    };
    let mut membership = Membership::of(identity)?;
    if let Some(address) = manager {
        membership.manager = endpoint(&address)?;
    }
    run(agent, membership)
}

impl Args {
    /// The name that is given, or the host's.
    pub(super) fn node_name(&self) -> Result<NodeName, Failure> {
        match &self.name {
            Some(name) => NodeName::new(name).map_err(|error| Failure::usage(error.to_string())),
            None => host_name(),
        }
    }

    /// The data directory that is given, or the one of that name.
    pub(super) fn data_dir(&self) -> Result<PathBuf, Failure> {
        data_dir(self.data_dir.as_deref(), self.name.as_deref())
    }
}

/// The data directory of a node on this machine: the one that is named, or that of the node's name.
pub(super) fn data_dir(dir: Option<&Path>, name: Option<&str>) -> Result<PathBuf, Failure> {
    match (dir, name) {
        (Some(dir), _) => absolute(dir),
        (None, Some(name)) => home(&NodeName::new(name).map_err(|error| Failure::usage(error.to_string()))?),
        (None, None) => home(&host_name()?),
    }
}

/// Runs an agent until a signal or the end of its lifeline. The launcher is a process made before any thread is. A program that is to
/// take this one's place is started in this process, and does not come back.
pub(super) fn run(args: Args, membership: Membership) -> Result<ExitCode, Failure> {
    if args.takeover.is_trial() {
        settings(&args, membership)?;
        return takeover::introduce();
    }
    let mut taken = args.takeover.take()?;
    match (run_on(&args, membership, &mut taken), taken) {
        (Err(failure), Some(before)) => Err(takeover::give_back(before, failure)),
        (ended, _) => ended,
    }
}

/// Runs an agent, and goes on with it where another program was to take its place and could not be started.
fn run_on(args: &Args, membership: Membership, taken: &mut Option<Taken>) -> Result<ExitCode, Failure> {
    let settings = settings(args, membership)?;
    loop {
        let engine = engine(args, takeover::own_program()?)?;
        match run_once(args, settings.clone(), engine, taken)? {
            Ended::Stopped => return Ok(ExitCode::SUCCESS),
            Ended::HandedOver(handover) => *taken = Some(takeover::start(*handover)?),
        }
    }
}

fn run_once(
    args: &Args,
    settings: Settings,
    engine: EngineChoice,
    taken: &mut Option<Taken>,
) -> Result<Ended, Failure> {
    let (lifeline, shared) = (args.lifeline.into(), args.shared.clone());
    super::block_on(async move {
        // In a terminal a hangup is its end; anywhere else it asks for the policy to be read again.
        let on_hangup = if std::io::stdin().is_terminal() || args.lifeline {
            shutdown::OnHangup::End
        } else {
            shutdown::OnHangup::GoOn
        };
        let ended = shutdown::listen_with(lifeline, on_hangup)?;
        let level = if lifeline == shutdown::Lifeline::Stdin { "warn" } else { "info" };
        args.log.start(level, Some(settings.name.as_str()));
        // Listened to once the agent serves, and not before.
        let ended = Notifier::from_environment().beside(ended);
        let ended = manta_node::run(settings, engine, taken, ended).await?;
        if let (Some(shared), Ended::Stopped) = (&shared, &ended) {
            crate::embedded::leave(shared);
        }
        Ok(ended)
    })
}

fn engine(args: &Args, program: PathBuf) -> Result<EngineChoice, Failure> {
    let engine = match args.engine.as_str() {
        "docker" => ContainerEngine::Docker,
        "podman" => ContainerEngine::Podman,
        "gvisor" => ContainerEngine::Gvisor,
        _ if args.engine_socket.is_some() => {
            return Err(Failure::usage("--engine-socket is for --engine docker, podman or gvisor"));
        }
        _ => {
            let launcher = Launcher::spawn(&program, &["__launcher"]);
            let launcher =
                launcher.map_err(|error| Failure::internal(format!("the sandbox launcher cannot start: {error}")))?;
            return Ok(EngineChoice::Builtin(launcher));
        }
    };
    let socket = args.engine_socket.as_deref().map(absolute).transpose()?;
    Ok(EngineChoice::Containers { engine, socket, program, args: vec![crate::ENTRY.to_owned()] })
}

fn settings(args: &Args, membership: Membership) -> Result<Settings, Failure> {
    let Membership { manager, proof } = membership;
    let (name, cluster, joined) = match &proof {
        Proof::Certificate(identity) => {
            if let Some(other) = args.name.as_deref().filter(|name| *name != identity.name().as_str()) {
                let sentence = format!("this data directory joined as `{}`, and names do not change", identity.name());
                return Err(
                    Failure::usage(sentence).hint(format!("leave --name {other} out, or give another --data-dir"))
                );
            }
            (identity.name().clone(), identity.cluster().clone(), identity.labels().clone())
        }
        Proof::Token(_) => (args.node_name()?, parse_cluster(Some(&args.cluster))?, BTreeMap::new()),
    };
    let cores = std::thread::available_parallelism().ok().and_then(|cores| u32::try_from(cores.get()).ok());
    let slots = args.slots.or_else(|| cores.and_then(NonZeroU32::new)).unwrap_or(NonZeroU32::MIN);
    let labels = args.label.iter().flat_map(|text| text.split(',')).map(parse_label);
    let mut labels: BTreeMap<_, _> = labels.collect::<Result<_, _>>()?;
    labels.extend(joined);
    let data_dir = args.data_dir()?;
    Ok(Settings {
        manager,
        proof,
        cluster,
        data_dir: data_dir.clone(),
        datasets: datasets(&args.data)?,
        labels,
        gpus: match args.gpus.as_str() {
            "auto" => GpuSource::Auto,
            "none" => GpuSource::Off,
            file => GpuSource::Cdi(absolute(Path::new(file))?),
        },
        slots,
        cache_bytes_max: args.cache_max << 30,
        python: python::find(args.python.as_deref())?,
        images: images(args)?,
        installer: crate::dependencies::installer()?,
        image_names: image_names(&args.image)?,
        isolation_min: tier(&args.isolation_min),
        machine_cache: args.machine_cache.as_deref().map(absolute).transpose()?,
        on_allowed_probe: match args.on_allowed_probe.as_str() {
            "warn" => OnAllowedProbe::Warn,
            _ => OnAllowedProbe::Refuse,
        },
        warm: warm(args)?,
        bounds: bounds::read(&args.limit)?,
        policy: policy(args.policy.as_deref(), &data_dir)?,
        policy_file: absolute(&args.policy.clone().unwrap_or_else(|| data_dir.join(manta_node::POLICY_FILE)))?,
        ephemeral: args.ephemeral,
        own: takeover::own(),
        name,
    })
}

/// The store that is named, this user's, or one beside the node's data where there is no home.
fn images(args: &Args) -> Result<Store, Failure> {
    let beside = || args.data_dir.as_ref().filter(|_| crate::home::data().is_none()).map(|data| data.join("images"));
    image::open(args.images.clone().or_else(beside).as_deref())
}

/// The policy that is named, or the one in the data directory; without either, everything is allowed.
fn policy(named: Option<&Path>, data_dir: &Path) -> Result<Policy, Failure> {
    let own = data_dir.join(manta_node::POLICY_FILE);
    match named.or_else(|| Some(own.as_path()).filter(|own| own.exists())) {
        Some(path) => Ok(manta_node::read_policy(path)?),
        None => Ok(Policy::default()),
    }
}

fn warm(args: &Args) -> Result<Warm, Failure> {
    let standbys = args.standbys;
    match args.warm.clone().or_else(|| variable("MANTA_WARM")).as_deref() {
        Some("off") => Ok(Warm::Off),
        Some("on") => Ok(Warm::On { standbys }),
        Some("auto") | None => Ok(Warm::Auto { standbys }),
        Some(other) => Err(Failure::usage(format!("MANTA_WARM is `{other}`"))
            .hint(format!("it may be {}", WARM.map(|word| format!("`{word}`")).join(", ")))),
    }
}

fn image_names(options: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let mut names = BTreeMap::new();
    for option in options {
        let Some((name, image)) = option.split_once('=').filter(|(name, image)| !name.is_empty() && !image.is_empty())
        else {
            return Err(Failure::usage(format!("--image `{option}` is not NAME=IMAGE")));
        };
        if names.insert(name.to_owned(), image.to_owned()).is_some() {
            return Err(Failure::usage(format!("the image `{name}` is given twice")));
        }
    }
    Ok(names)
}

/// The tier of a name that the command line has checked.
pub(super) fn tier(name: &str) -> Tier {
    match name {
        "full" => Tier::Full,
        "reduced" => Tier::Reduced,
        _ => Tier::Rootless,
    }
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| Failure::file("the path cannot be used:", path, &error))
}

fn datasets(options: &[String]) -> Result<BTreeMap<String, PathBuf>, Failure> {
    let mut datasets = BTreeMap::new();
    for option in options {
        let (name, path) = dataset(option)?;
        if datasets.insert(name.clone(), path).is_some() {
            return Err(Failure::usage(format!("the dataset `{name}` is given twice")));
        }
    }
    Ok(datasets)
}

/// Reads `NAME=PATH`.
pub(super) fn dataset(option: &str) -> Result<(String, PathBuf), Failure> {
    let Some((name, path)) = option.split_once('=').filter(|(name, path)| !name.is_empty() && !path.is_empty()) else {
        return Err(Failure::usage(format!("--data `{option}` is not NAME=PATH")));
    };
    Ok((name.to_owned(), absolute(Path::new(path))?))
}

/// The host's name as a node's name: lower case, everything else a hyphen.
fn host_name() -> Result<NodeName, Failure> {
    let host = rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase();
    let label: String = host.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(63).collect();
    NodeName::new(label.trim_matches('-')).map_err(|_| {
        Failure::usage(format!("the host's name `{host}` cannot be a node's name")).hint("give one with --name")
    })
}

/// `$MANTA_HOME/nodes/NAME`, else below `$XDG_DATA_HOME/manta`.
fn home(name: &NodeName) -> Result<PathBuf, Failure> {
    let base = crate::home::data().ok_or_else(|| {
        Failure::usage("there is no home directory to keep the node's data in").hint("give one with --data-dir")
    })?;
    Ok(base.join("nodes").join(name.as_str()))
}
