//! `manta rollout hold`, `resume`, `promote` and `revert`: what a person asks of a rollout that goes on.
use std::process::ExitCode;

use manta_client::Client;

use super::{TaskArgs, tell};
use crate::find;
use crate::report::{Failure, Form};

/// Options of most of them.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    task: TaskArgs,
}

/// Options of `manta rollout promote`.
#[derive(Debug, clap::Args)]
pub(crate) struct PromoteArgs {
    #[command(flatten)]
    task: TaskArgs,

    /// Go to all nodes at once, in place of the next step.
    #[arg(long)]
    full: bool,
}

/// Asks for one of them.
pub(crate) async fn main(args: Args, form: Form, verb: &str) -> Result<ExitCode, Failure> {
    ask(&args.task, form, verb).await
}

/// Lets a rollout go on, whatever its gates say.
pub(crate) async fn promote(args: PromoteArgs, form: Form) -> Result<ExitCode, Failure> {
    ask(&args.task, form, if args.full { "promote?full=true" } else { "promote" }).await
}

async fn ask(task: &TaskArgs, form: Form, verb: &str) -> Result<ExitCode, Failure> {
    let place = task.find(find::Use::Change, form).await?;
    tell(&place.client.change_rollout(place.swarm.id, &place.task, verb, &Client::new_key()).await?, form)
}
