//! `manta manager run`: the control plane in the foreground.
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use manta_api::version::{PRODUCT, SCHEMA_VERSION};
use manta_manager::{Keep, Listen, ManagerError, NODE_TOKEN_FILE, RealClock, Settings, TOKEN_FILE};
use manta_types::limits;
use serde_json::json;

use crate::connection::{ADDRESS_DEFAULT, parse_cluster};
use crate::logging::LogArgs;
use crate::report::{Failure, Form};
use crate::{collector, embedded, out, shutdown};

/// The file in the data directory that tells where the manager listens.
const ADDRESS_FILE: &str = "address";
const SWARMS_RUNNING_MAX: NonZeroUsize = NonZeroUsize::new(limits::SWARMS_RUNNING_MAX).expect("some swarm may run");

/// Options of `manta manager run`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where state, blobs, logs and tokens are kept; made if it is not there.
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,

    /// Where to listen: a loopback address or unix:PATH.
    #[arg(long, value_name = "ADDRESS", default_value = ADDRESS_DEFAULT)]
    listen: String,

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
        cluster: parse_cluster(Some(&args.cluster))?,
        ephemeral: args.ephemeral,
        keep: Keep { days: args.keep_days, swarms: args.keep_swarms },
        swarms_running_max: args.swarms_running_max.get(),
        collector: collector::from_environment()?,
    };
    let opened = manta_manager::open(&settings)?;
    let bound = manta_manager::bind(&settings.listen).await?;
    announce(&bound.url(), &data_dir, form)?;
    manta_manager::run(settings, bound, opened, Arc::new(RealClock::new()), ended).await?;
    if let Some(shared) = &args.shared {
        embedded::leave(shared);
    }
    Ok(ExitCode::SUCCESS)
}

/// Says where the manager listens and how to reach it, to people, to programs and in a file.
fn announce(url: &str, data_dir: &Path, form: Form) -> Result<(), Failure> {
    let (token, node_token) = (data_dir.join(TOKEN_FILE), data_dir.join(NODE_TOKEN_FILE));
    let address = data_dir.join(ADDRESS_FILE);
    std::fs::write(&address, format!("{url}\n")).map_err(|error| Failure::file("cannot write", &address, &error))?;
    if form == Form::Json {
        let document =
            json!({"schema_version": SCHEMA_VERSION, "url": url, "token_file": token, "node_token_file": node_token});
        return out::put_json(&document);
    }
    let (token, node_token) = (token.display(), node_token.display());
    out::say(&format!("manta manager {PRODUCT} listens on {url}\n"));
    out::say(&format!(
        "to use it from this machine:\n  export MANTA_MANAGER='{url}'\n  export MANTA_TOKEN_FILE='{token}'\n"
    ));
    out::say(&format!(
        "to add a node:\n  manta node run --manager '{url}' --token-file '{node_token}' --data NAME=PATH\n"
    ));
    Ok(())
}
