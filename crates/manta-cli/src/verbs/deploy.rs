//! `manta deploy`: a swarm to a manager that runs.
use std::path::PathBuf;
use std::process::ExitCode;

use manta_api::version::SCHEMA_VERSION;
use manta_types::limits;
use serde_json::json;

use crate::report::{Failure, Form};
use crate::upload::{pack_swarm, submit};
use crate::{connection, out, python, trace};

/// Options of `manta deploy`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The swarm: a Python file, and the class where it holds several.
    #[arg(value_name = "PATH[:CLASS]", required_unless_present = "traced")]
    target: Option<String>,

    /// Another value for one of the swarm's globals.
    #[arg(long, value_name = "GLOBAL=VALUE")]
    set: Vec<String>,

    /// Before swarms of lower priority wherever both wait.
    #[arg(long, value_name = "N", default_value_t = 0, allow_hyphen_values = true, value_parser = priority())]
    priority: i32,

    /// Attempts of it that may be live at once over all nodes [default: as many as there is room for].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    attempts_max: Option<u32>,

    /// The Python interpreter [default: MANTA_PYTHON, the active environment, python3 on PATH].
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,

    /// Deploy a swarm that was traced before.
    #[arg(long, value_name = "DIR", hide = true, conflicts_with_all = ["target", "set"])]
    traced: Option<PathBuf>,

    #[command(flatten)]
    connection: connection::ConnectionArgs,
}

/// The priorities that a swarm may have.
fn priority() -> clap::builder::RangedI64ValueParser<i32> {
    let most = i64::from(limits::PRIORITY_MAX);
    clap::value_parser!(i32).range(-most..=most)
}

/// Submits the swarm and prints its id.
pub(crate) async fn main(args: Args, form: Form) -> Result<ExitCode, Failure> {
    let client = args.connection.client()?;
    let temporary = tempfile::Builder::new().prefix("manta-").tempdir();
    let temporary =
        temporary.map_err(|error| Failure::internal(format!("no temporary folder can be made: {error}")))?;
    let traced = match (&args.traced, &args.target) {
        (Some(folder), _) => trace::read(folder)?,
        (None, Some(target)) => {
            let python = python::find(args.python.as_deref())?;
            trace::trace(&python, target, &args.set, temporary.path()).await?
        }
        (None, None) => return Err(Failure::usage("no swarm is given")),
    };
    let mut packed = pack_swarm(&traced)?;
    (packed.submission.priority, packed.submission.attempts_max) = (args.priority, args.attempts_max);
    let swarm = submit(&client, &packed).await?;
    match form {
        Form::Json => out::put_json(&json!({"schema_version": SCHEMA_VERSION, "swarm": swarm}))?,
        Form::Text => {
            out::put(&format!("{}\n", swarm.id))?;
            out::say(&format!(
                "swarm {} is {}; follow it with: manta logs {} --follow",
                swarm.name, swarm.state, swarm.id
            ));
        }
    }
    Ok(ExitCode::SUCCESS)
}
