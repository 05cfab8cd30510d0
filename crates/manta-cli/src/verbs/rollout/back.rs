//! `manta rollback`: the version that ran before the last rollout that completed.
use std::process::ExitCode;

use manta_api::RollbackRequest;
use manta_client::Client;

use super::{known, split, tell};
use crate::connection::ConnectionArgs;
use crate::find;
use crate::report::{Failure, Form};

/// Options of `manta rollback`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The swarm, by its id, the beginning of it, or its name; and the task's alias, without which it is the task that a
    /// rollout changed last.
    #[arg(value_name = "SWARM[/TASK]")]
    place: String,

    /// Only say what it would do.
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Goes back, at the next iteration.
pub(crate) async fn main(args: Args, form: Form) -> Result<ExitCode, Failure> {
    let client = args.connection.client()?;
    let (swarm, task) = split(&args.place);
    let swarm = find::swarm(&client, swarm, find::Use::Change, form).await?;
    if let Some(task) = task {
        known(&swarm, task)?;
    }
    let request = RollbackRequest { task: task.map(str::to_owned), dry_run: args.dry_run };
    tell(&client.roll_back(swarm.id, &request, &Client::new_key()).await?, form)
}
