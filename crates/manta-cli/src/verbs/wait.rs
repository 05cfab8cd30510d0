//! `manta wait`: until a swarm is over; the exit code is its outcome.
use std::process::ExitCode;
use std::time::Duration;

use futures_util::StreamExt;
use manta_api::version::SCHEMA_VERSION;
use manta_api::{ErrorCode, SwarmView};
use manta_client::Client;
use serde_json::json;

use crate::report::{Failure, Form};
use crate::text::{clean, one_line};
use crate::{connection, find, out, settings, shutdown};

/// Options of `manta wait`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The swarm: its id, the beginning of it, or its name.
    swarm: String,

    /// How long: `90s`, `10m`, `2h`; the exit code is 7 when it goes on after that [default: until it is over].
    #[arg(long, value_name = "TIME", value_parser = crate::text::span)]
    timeout: Option<Duration>,

    #[command(flatten)]
    connection: connection::ConnectionArgs,
}

/// Waits; the exit code is the swarm's outcome.
pub(crate) async fn main(args: Args, form: Form) -> Result<ExitCode, Failure> {
    let ended = shutdown::listen(shutdown::Lifeline::None)?;
    let timeout = match args.timeout {
        Some(timeout) => Some(timeout),
        None => settings::wait_timeout()?,
    };
    let client = args.connection.client()?;
    let swarm = find::swarm(&client, &args.swarm, find::Use::Look, form).await?;
    let time_is_up = async {
        match timeout {
            Some(timeout) => tokio::time::sleep(timeout).await,
            None => std::future::pending().await,
        }
    };
    let over = tokio::select! {
        over = until_over(&client, &swarm) => over?,
        () = time_is_up => return Err(too_long(&client.swarm(swarm.id).await?, timeout.unwrap_or_default())),
        () = ended => {
            out::say(&format!("the swarm goes on; `manta stop {}` ends it", swarm.id));
            return Err(Failure::silent(130));
        }
    };
    match form {
        Form::Json => out::put_json(&json!({"schema_version": SCHEMA_VERSION, "swarm": over}))?,
        Form::Text if over.state == "succeeded" => {
            out::say(&format!("swarm {} succeeded; `manta results {}` lists what it left", clean(&over.name), over.id));
        }
        Form::Text => {}
    }
    outcome(&over).map(|()| ExitCode::SUCCESS)
}

/// The swarm once it is over.
async fn until_over(client: &Client, swarm: &SwarmView) -> Result<SwarmView, Failure> {
    let mut events = client.events_stream(swarm.id, swarm.seq);
    while let Some(event) = events.next().await {
        event?;
    }
    let over = client.swarm(swarm.id).await?;
    if over.finished_ms.is_none() {
        return Err(Failure::internal("the manager ended the swarm's events before the swarm"));
    }
    Ok(over)
}

fn outcome(over: &SwarmView) -> Result<(), Failure> {
    if over.state == "succeeded" {
        return Ok(());
    }
    let message = format!("swarm {} {}: {}", clean(&over.name), over.state, one_line(&over.reason, 400));
    Err(Failure::new(ErrorCode::SwarmFailed, message).hint(format!("`manta why {}` says what led there", over.id)))
}

fn too_long(swarm: &SwarmView, waited: Duration) -> Failure {
    let message = format!("swarm {} is still {} after {} s", clean(&swarm.name), swarm.state, waited.as_secs());
    Failure::new(ErrorCode::WaitedTooLong, message)
        .hint(format!("`manta why {}` says what it waits for, `manta stop {}` ends it", swarm.id, swarm.id))
}
