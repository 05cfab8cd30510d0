//! `manta node cordon`, `drain`, `resume`, `revoke` and `rm`: take a node out of use, into use again, its identity away, and
//! let go of it.
use std::process::ExitCode;
use std::time::Duration;

use manta_api::NodeView;
use manta_api::version::SCHEMA_VERSION;
use manta_client::Client;
use serde_json::json;

use crate::report::{Failure, Form};
use crate::text::{clean, count};
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
    tell(&node, form, in_use)
}

/// Lets nothing new come to a node; what runs there goes on for as long as it takes.
pub(crate) async fn cordon(args: Args, form: Form) -> Result<ExitCode, Failure> {
    let node = args.connection.client()?.drain_node(&args.name, None, &Client::new_key()).await?;
    tell(&node, form, cordoned)
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
    tell(&node, form, in_use)
}

/// Takes a node's identity away.
pub(crate) async fn revoke(args: Args, form: Form) -> Result<ExitCode, Failure> {
    let node = args.connection.client()?.revoke_node(&args.name, &Client::new_key()).await?;
    tell(&node, form, revoked)
}

fn tell(node: &NodeView, form: Form, sentence: fn(&NodeView) -> String) -> Result<ExitCode, Failure> {
    match form {
        Form::Json => out::put_json(&json!({"schema_version": SCHEMA_VERSION, "node": node}))?,
        Form::Text => out::say(&sentence(node)),
    }
    Ok(ExitCode::SUCCESS)
}

fn in_use(node: &NodeView) -> String {
    let attempts = count(node.attempts as usize, "attempt");
    format!("node {} is {} with {attempts}", clean(&node.name), node.duty)
}

fn cordoned(node: &NodeView) -> String {
    let runs = match node.attempts {
        0 => "nothing runs there".to_owned(),
        1 => "1 that runs there goes on".to_owned(),
        more => format!("{more} that run there go on"),
    };
    format!("node {} takes no new attempts; {runs}", clean(&node.name))
}

fn revoked(node: &NodeView) -> String {
    let ended = match node.attempts_revoked {
        None | Some(0) => String::new(),
        Some(1) => "; 1 attempt that ran there counts no more".to_owned(),
        Some(more) => format!("; {more} attempts that ran there count no more"),
    };
    format!("node {} is {}{ended}", clean(&node.name), node.duty)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(duty: &str, attempts: u32, attempts_revoked: Option<u32>) -> NodeView {
        let document = json!({
            "id": "nd_1", "name": "a", "state": "online", "duty": duty, "labels": {}, "datasets": [], "slots": 2,
            "attempts": attempts, "tier": "full", "notes": [], "attempts_revoked": attempts_revoked,
        });
        serde_json::from_value(document).unwrap()
    }

    #[test]
    fn each_verb_says_what_becomes_of_the_attempts() {
        assert_eq!(in_use(&node("draining", 1, None)), "node a is draining with 1 attempt");
        assert_eq!(cordoned(&node("drained", 0, None)), "node a takes no new attempts; nothing runs there");
        assert_eq!(cordoned(&node("draining", 1, None)), "node a takes no new attempts; 1 that runs there goes on");
        assert_eq!(cordoned(&node("draining", 3, None)), "node a takes no new attempts; 3 that run there go on");
        assert_eq!(revoked(&node("revoked", 0, None)), "node a is revoked");
        assert_eq!(revoked(&node("revoked", 0, Some(1))), "node a is revoked; 1 attempt that ran there counts no more");
        assert_eq!(revoked(&node("revoked", 0, Some(2))), "node a is revoked; 2 attempts that ran there count no more");
    }
}
