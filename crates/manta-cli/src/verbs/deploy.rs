//! `manta deploy`: a swarm to a manager that runs.
use std::process::ExitCode;

use manta_api::version::SCHEMA_VERSION;
use manta_types::limits;
use serde_json::json;

use crate::report::{Failure, Form};
use crate::swarm_args::SwarmArgs;
use crate::upload::{pack_swarm, submit};
use crate::{connection, out};

/// Options of `manta deploy`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    swarm: SwarmArgs,

    /// Before swarms of lower priority wherever both wait.
    #[arg(long, value_name = "N", default_value_t = 0, allow_hyphen_values = true, value_parser = priority())]
    priority: i32,

    /// Attempts of it that may be live at once over all nodes [default: as many as there is room for].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    attempts_max: Option<u32>,

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
    let traced = args.swarm.trace(temporary.path(), Some(&client)).await?;
    let mut packed = pack_swarm(&traced).await?;
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
