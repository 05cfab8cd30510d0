//! `manta pause`, `manta resume` and `manta stop`: bring a swarm into another state.
use std::process::ExitCode;

use manta_api::version::SCHEMA_VERSION;
use serde_json::json;

use crate::report::{Failure, Form};
use crate::text::clean;
use crate::{connection, find, out};

/// Options of all three.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The swarm: its id, the beginning of it, or its name.
    swarm: String,

    #[command(flatten)]
    connection: connection::ConnectionArgs,
}

/// The state that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum To {
    /// Held.
    Paused,
    /// Going on.
    Running,
    /// Over.
    Stopped,
}

/// Changes a swarm's state; one that is in it already stays as it is.
pub(crate) async fn main(args: Args, form: Form, to: To) -> Result<ExitCode, Failure> {
    let client = args.connection.client()?;
    let id = find::swarm(&client, &args.swarm).await?.id;
    let swarm = match to {
        To::Paused => client.pause(id).await?,
        To::Running => client.resume(id).await?,
        To::Stopped => client.stop(id).await?,
    };
    match form {
        Form::Json => out::put_json(&json!({"schema_version": SCHEMA_VERSION, "swarm": swarm}))?,
        Form::Text => {
            let next = if to == To::Paused { format!("; `manta resume {id}` lets it go on") } else { String::new() };
            out::say(&format!("swarm {} is {}{next}", clean(&swarm.name), swarm.state));
        }
    }
    Ok(ExitCode::SUCCESS)
}
