//! `manta stop`: ends a swarm.
use std::process::ExitCode;

use manta_api::version::SCHEMA_VERSION;
use serde_json::json;

use crate::report::{Failure, Form};
use crate::{connection, find, out};

/// Options of `manta stop`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The swarm: its id, the beginning of it, or its name.
    swarm: String,

    #[command(flatten)]
    connection: connection::ConnectionArgs,
}

/// Ends a swarm; one that is over stays as it is.
pub(crate) async fn main(args: Args, form: Form) -> Result<ExitCode, Failure> {
    let client = args.connection.client()?;
    let found = find::swarm(&client, &args.swarm).await?;
    let swarm = client.stop(found.id).await?;
    match form {
        Form::Json => out::put_json(&json!({"schema_version": SCHEMA_VERSION, "swarm": swarm}))?,
        Form::Text => out::say(&format!("swarm {} is {}", swarm.name, swarm.state)),
    }
    Ok(ExitCode::SUCCESS)
}
