//! `manta rollout ls`: rollouts of one swarm, or of all.
use std::process::ExitCode;

use manta_api::version::SCHEMA_VERSION;
use manta_types::rollout::percent;
use serde_json::json;

use crate::connection::ConnectionArgs;
use crate::report::{Failure, Form};
use crate::table::Table;
use crate::text::{clean, one_line};
use crate::{find, out};

/// Options of `manta rollout ls`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only those of this swarm: its id, the beginning of it, or its name.
    swarm: Option<String>,

    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Lists rollouts.
pub(crate) async fn main(args: Args, form: Form) -> Result<ExitCode, Failure> {
    let client = args.connection.client()?;
    let rollouts = match &args.swarm {
        Some(swarm) => client.rollouts(find::swarm(&client, swarm, find::Use::Look, form).await?.id).await?,
        None => client.all_rollouts().await?,
    };
    match form {
        Form::Json => out::put_json(&json!({"schema_version": SCHEMA_VERSION, "rollouts": rollouts}))?,
        Form::Text if rollouts.is_empty() => out::say("nothing was rolled out yet"),
        Form::Text => {
            let mut table = Table::new(&["SWARM/TASK", "NUMBER", "VERSIONS", "STATE", "SHARE", "REASON"]);
            for rollout in &rollouts {
                let place = format!("{}/{}", one_line(&rollout.swarm_name, 32), one_line(&rollout.task, 32));
                let versions = clean(&format!("{} to {}", rollout.from, rollout.to));
                let (number, share) = (rollout.number.to_string(), percent(rollout.share));
                table.row(vec![place, number, versions, rollout.state.clone(), share, one_line(&rollout.reason, 100)]);
            }
            out::put(&table.render(out::width()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
