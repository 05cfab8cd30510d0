//! `manta pause`, `manta resume`, `manta stop` and `manta retry`: bring a swarm into another state.
use std::process::ExitCode;

use manta_api::version::SCHEMA_VERSION;
use manta_client::Client;
use serde_json::json;

use crate::report::{Failure, Form};
use crate::text::clean;
use crate::{connection, find, out};

/// Options of all of them.
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
    /// Going on as a new swarm, from the task that failed.
    Retried,
}

/// Changes a swarm's state; one that is in it already stays as it is.
pub(crate) async fn main(args: Args, form: Form, to: To) -> Result<ExitCode, Failure> {
    let client = args.connection.client()?;
    let id = find::swarm(&client, &args.swarm, find::Use::Change, form).await?.id;
    let key = Client::new_key();
    let swarm = match to {
        To::Paused => client.pause(id, &key).await?,
        To::Running => client.resume(id, &key).await?,
        To::Stopped => client.stop(id, &key).await?,
        To::Retried => client.retry(id, &key).await?,
    };
    match form {
        Form::Json => out::put_json(&json!({"schema_version": SCHEMA_VERSION, "swarm": swarm}))?,
        Form::Text => {
            let next = match to {
                To::Paused => format!("; `manta resume {id}` lets it go on"),
                To::Retried => {
                    format!(" and goes on as {}; follow it with: manta events {} --follow", swarm.id, swarm.id)
                }
                To::Running | To::Stopped => String::new(),
            };
            if to == To::Retried {
                out::put(&format!("{}\n", swarm.id))?;
            }
            out::say(&format!("swarm {} is {}{next}", clean(&swarm.name), swarm.state));
        }
    }
    Ok(ExitCode::SUCCESS)
}
