//! `manta manager run`: the control plane in the foreground.
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use manta_api::version::{PRODUCT, SCHEMA_VERSION};
use manta_manager::{
    AUTHORITY_FILE, Bound, Keep, Listen, ManagerError, NODE_TOKEN_FILE, RealClock, Settings, SiteCertificate,
    TOKEN_FILE, TlsSettings,
};
use manta_types::limits;
use serde_json::json;

use crate::connection::{ADDRESS_DEFAULT, parse_cluster};
use crate::logging::LogArgs;
use crate::notify::Notifier;
use crate::report::{Failure, Form};
use crate::{collector, embedded, out, settings, shutdown};

/// The file in the data directory that tells where the manager listens.
const ADDRESS_FILE: &str = "address";
const SWARMS_RUNNING_MAX: NonZeroUsize = NonZeroUsize::new(limits::SWARMS_RUNNING_MAX).expect("some swarm may run");

/// Options of `manta manager run`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where state, blobs, logs and tokens are kept; made if it is not there.
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,

    /// Where to listen: an address or unix:PATH. On one that is not loopback, nothing but TLS is spoken.
    #[arg(long, value_name = "ADDRESS", default_value = ADDRESS_DEFAULT)]
    listen: String,

    /// A name or address by which nodes and users elsewhere call this machine; repeat it for each, the first is what they are
    /// told.
    #[arg(long, value_name = "NAME")]
    public_name: Vec<String>,

    /// The site's own certificate for this manager, in PEM form, followed by those up to its authority's; read again when it
    /// changes [default: the manager makes its own].
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// The key of --tls-cert, in PEM form.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,

    /// How long the certificates are valid that the manager issues, its own and those of nodes; they are renewed by themselves
    /// after half of it: `1h`, `24h`.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = crate::text::span)]
    certificate_life: Duration,

    /// The manager's own file of settings, where people sign in at an issuer of identities.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// The cluster to run.
    #[arg(long, value_name = "NAME", default_value = "default")]
    cluster: String,

    /// Days for which a swarm that has ended is kept, with its history, results and logs. What it went on from, and what
    /// goes on from it, is kept with it.
    #[arg(long, value_name = "N", default_value_t = limits::KEEP_DAYS, value_parser = clap::value_parser!(u32).range(1..))]
    keep_days: u32,

    /// Keep at most so many swarms that have ended, the newest.
    #[arg(long, value_name = "N")]
    keep_swarms: Option<u64>,

    /// Run at most so many swarms at once; the others wait for their turn, by priority, then by age.
    #[arg(long, value_name = "N", default_value_t = SWARMS_RUNNING_MAX)]
    swarms_running_max: NonZeroUsize,

    #[command(flatten)]
    log: LogArgs,

    /// Remove the data directory at the end.
    #[arg(long, hide = true)]
    ephemeral: bool,

    /// The folder of an embedded platform, to be removed by whoever is last.
    #[arg(long, hide = true)]
    shared: Option<PathBuf>,

    /// End when standard input, a pipe, is closed.
    #[arg(long, hide = true)]
    lifeline: bool,
}

impl From<ManagerError> for Failure {
    fn from(error: ManagerError) -> Self {
        let failure = Self::new(error.code(), error.to_string());
        Self { hint: error.hint(), ..failure }
    }
}

/// Runs a manager until a signal or the end of its lifeline.
pub(crate) async fn main(args: Args, form: Form) -> Result<ExitCode, Failure> {
    let ended = shutdown::listen(args.lifeline.into())?;
    args.log.start(if args.lifeline { "warn" } else { "info" }, None);
    let data_dir = std::path::absolute(&args.data_dir)
        .map_err(|error| Failure::file("the data directory cannot be used:", &args.data_dir, &error))?;
    let settings = Settings {
        data_dir: data_dir.clone(),
        listen: args.listen.parse::<Listen>()?,
        tls: tls(&args)?,
        cluster: parse_cluster(Some(&args.cluster))?,
        ephemeral: args.ephemeral,
        keep: Keep { days: args.keep_days, swarms: args.keep_swarms },
        swarms_running_max: args.swarms_running_max.get(),
        collector: collector::from_environment()?,
        oidc: args.config.as_deref().map(settings::issuer).transpose()?.flatten(),
    };
    let opened = manta_manager::open(&settings)?;
    let bound = manta_manager::bind(&settings.listen).await?;
    announce(&bound, &settings.tls, &data_dir, form)?;
    // Listened to once the manager serves, and not before.
    let ended = Notifier::from_environment().beside(ended);
    manta_manager::run(settings, bound, opened, Arc::new(RealClock::new()), ended).await?;
    if let Some(shared) = &args.shared {
        embedded::leave(shared);
    }
    Ok(ExitCode::SUCCESS)
}

fn tls(args: &Args) -> Result<TlsSettings, Failure> {
    if args.certificate_life.is_zero() {
        return Err(Failure::usage("--certificate-life is longer than no time"));
    }
    for name in &args.public_name {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':');
        if name.is_empty() || !name.chars().all(is_plain) || name.contains(':') && name.parse::<IpAddr>().is_err() {
            return Err(Failure::usage(format!("--public-name `{name}` is no name or address of a machine"))
                .hint("write it without scheme and port, as manager.example"));
        }
    }
    let absolute = |path: &Path| {
        std::path::absolute(path).map_err(|error| Failure::file("the path cannot be used:", path, &error))
    };
    let site = args.tls_cert.as_deref().zip(args.tls_key.as_deref());
    let site =
        site.map(|(chain, key)| Ok::<_, Failure>(SiteCertificate { chain: absolute(chain)?, key: absolute(key)? }));
    Ok(TlsSettings {
        public_names: args.public_name.clone(),
        site: site.transpose()?,
        certificates_for: args.certificate_life,
    })
}

/// Says where the manager listens and how to reach it, to people, to programs and in a file.
fn announce(bound: &Bound, tls: &TlsSettings, data_dir: &Path, form: Form) -> Result<(), Failure> {
    let (token, node_token) = (data_dir.join(TOKEN_FILE), data_dir.join(NODE_TOKEN_FILE));
    let (address, authority) = (data_dir.join(ADDRESS_FILE), data_dir.join(AUTHORITY_FILE));
    let is_remote = bound.address().is_remote();
    let url = if is_remote { bound.public_url(tls) } else { bound.url() };
    std::fs::write(&address, format!("{url}\n")).map_err(|error| Failure::file("cannot write", &address, &error))?;
    if form == Form::Json {
        let mut document =
            json!({"schema_version": SCHEMA_VERSION, "url": url, "token_file": token, "node_token_file": node_token});
        if let Listen::Tcp(_) = bound.address() {
            document["ca_file"] = json!(authority);
        }
        return out::put_json(&document);
    }
    let (token, node_token, authority) = (token.display(), node_token.display(), authority.display());
    out::say(&format!("manta manager {PRODUCT} listens on {url}\n"));
    out::say(&format!(
        "to use it from this machine:\n  export MANTA_MANAGER='{url}'\n  export MANTA_TOKEN_FILE='{token}'"
    ));
    if is_remote {
        out::say(&format!("  export MANTA_CA_FILE='{authority}'\n"));
        out::say("to add a node, make a token; what is printed is the node's command:\n  manta node token\n");
    } else {
        out::say(&format!(
            "\nto add a node:\n  manta node run --manager '{url}' --token-file '{node_token}' --data NAME=PATH\n"
        ));
    }
    Ok(())
}
