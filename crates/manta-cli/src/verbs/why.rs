//! `manta why`: the reason, per node, and what would change it.
use std::process::ExitCode;

use manta_types::AttemptId;

use crate::report::{Failure, Form};
use crate::text::clean;
use crate::{connection, find, out};

/// Options of `manta why`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A swarm (its id, the beginning of it, or its name), `SWARM/TASK`, or an attempt (`at_…`).
    #[arg(value_name = "SWARM[/TASK]|ATTEMPT")]
    about: String,

    /// The task, where it does not stand in the first argument.
    task: Option<String>,

    /// The task in this iteration, counted from 0 [default: the current one].
    #[arg(long, value_name = "N")]
    iteration: Option<u32>,

    #[command(flatten)]
    connection: connection::ConnectionArgs,
}

/// Prints why something is as it is.
pub(crate) async fn main(args: Args, form: Form) -> Result<ExitCode, Failure> {
    let client = args.connection.client()?;
    // A task's name holds no slash, a swarm's may.
    let (about, task) = match (args.task, args.about.rsplit_once('/')) {
        (None, Some((swarm, task))) if !task.is_empty() => (swarm.to_owned(), Some(task.to_owned())),
        (task, _) => (args.about, task),
    };
    let why = match task {
        Some(task) => {
            let swarm = find::swarm(&client, &about).await?;
            client.why_task(swarm.id, &task, args.iteration).await?
        }
        None if args.iteration.is_some() => {
            return Err(Failure::usage("--iteration needs a task").hint("write manta why SWARM/TASK --iteration N"));
        }
        None if about.starts_with(AttemptId::PREFIX) => client.why_attempt(&about).await?,
        None => client.why_swarm(find::swarm(&client, &about).await?.id).await?,
    };
    match form {
        Form::Json => out::put_json(&why)?,
        Form::Text => out::put(&format!("{}\n", clean(&why.text)))?,
    }
    Ok(ExitCode::SUCCESS)
}
