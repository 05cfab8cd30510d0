//! `manta node cordon`, `drain`, `resume`, `revoke` and `rm`: take a node out of use, into use again, its identity away, and
//! let go of it.
use std::process::ExitCode;
use std::time::Duration;

use manta_api::NodeView;
use manta_api::version::SCHEMA_VERSION;
use manta_client::Client;
use serde_json::json;

use crate::report::{Failure, Form};
use crate::text::clean;
use crate::{connection, out};

/// Options of `manta node cordon`, `resume`, `revoke` and `rm`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The node's name.
    name: String,

    #[command(flatten)]
    connection: connection::ConnectionArgs,
}

/// Options of `manta node drain`.
#[derive(Debug, clap::Args)]
pub(crate) struct DrainArgs {
    #[command(flatten)]
    node: Args,

    /// How long what runs there may go on: `90s`, `10m`, `2h` [default: until it ends].
    #[arg(long, value_name = "TIME", value_parser = crate::text::span)]
    deadline: Option<Duration>,
}

/// Drains a node.
pub(crate) async fn drain(args: DrainArgs, form: Form) -> Result<ExitCode, Failure> {
    let client = args.node.connection.client()?;
    let node = client.drain_node(&args.node.name, args.deadline, &Client::new_key()).await?;
    tell(&node, form)
}

/// Lets nothing new come to a node; what runs there goes on for as long as it takes.
pub(crate) async fn cordon(args: Args, form: Form) -> Result<ExitCode, Failure> {
    let node = args.connection.client()?.drain_node(&args.name, None, &Client::new_key()).await?;
    tell(&node, form)
}

/// Lets go of a node that is gone or revoked.
pub(crate) async fn remove(args: Args, form: Form) -> Result<ExitCode, Failure> {
    let removed = args.connection.client()?.remove_node(&args.name, &Client::new_key()).await?;
    match form {
        Form::Json => out::put_json(&json!({"schema_version": SCHEMA_VERSION, "removed": removed.name}))?,
        Form::Text => {
            let name = clean(&removed.name);
            out::say(&format!("node {name} is removed; its name stays its own: another joins under another name"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Takes a node into use again.
pub(crate) async fn resume(args: Args, form: Form) -> Result<ExitCode, Failure> {
    let node = args.connection.client()?.resume_node(&args.name, &Client::new_key()).await?;
    tell(&node, form)
}

/// Takes a node's identity away.
pub(crate) async fn revoke(args: Args, form: Form) -> Result<ExitCode, Failure> {
    let node = args.connection.client()?.revoke_node(&args.name, &Client::new_key()).await?;
    tell(&node, form)
}

fn tell(node: &NodeView, form: Form) -> Result<ExitCode, Failure> {
    match form {
        Form::Json => out::put_json(&json!({"schema_version": SCHEMA_VERSION, "node": node}))?,
        Form::Text => {
            let (name, attempts) = (clean(&node.name), crate::text::count(node.attempts as usize, "attempt"));
            out::say(&format!("node {name} is {} with {attempts}", node.duty));
        }
    }
    Ok(ExitCode::SUCCESS)
}
