//! `manta node token`: a token that lets one node join, in the line that the node is to run.
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use manta_api::JoinTokenRequest;
use manta_api::version::SCHEMA_VERSION;
use serde_json::json;

use crate::data::parse_label;
use crate::report::{Failure, Form};
use crate::{connection, out};

/// Options of `manta node token`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long the token lets a node in, at most a week: `10m`, `1h`.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = crate::text::span)]
    ttl: Duration,

    /// The only node that may use it [default: the node that does names itself].
    #[arg(long)]
    name: Option<String>,

    /// A label of the node, whatever it says of itself; repeat it for each.
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<String>,

    #[command(flatten)]
    connection: connection::ConnectionArgs,
}

/// Makes a token and prints the node's command.
pub(crate) async fn main(args: Args, form: Form) -> Result<ExitCode, Failure> {
    let labels = args.label.iter().flat_map(|text| text.split(',')).map(parse_label);
    let labels: BTreeMap<String, String> = labels.collect::<Result<_, _>>()?;
    let ttl_ms = u64::try_from(args.ttl.as_millis()).ok();
    let wanted = JoinTokenRequest { name: args.name.clone(), labels, ttl_ms };
    let made = args.connection.client()?.make_join_token(&wanted).await?;
    let name = args.name.map(|name| format!(" --name {name}")).unwrap_or_default();
    let command = format!("manta node join {}{name} --token {}", made.url, made.token);
    match form {
        Form::Json => {
            let (token, url, expires_ms) = (made.token, made.url, made.expires_ms);
            let document = json!({
                "schema_version": SCHEMA_VERSION, "token": token, "url": url, "expires_ms": expires_ms,
                "command": command,
            });
            out::put_json(&document)?;
        }
        Form::Text => {
            out::put(&format!("{command}\n"))?;
            out::say("it lets one node in, once; add --data NAME=PATH for each dataset of the node");
        }
    }
    Ok(ExitCode::SUCCESS)
}
