//! `manta results`: what a swarm published.
use std::path::PathBuf;
use std::process::ExitCode;

use manta_api::version::SCHEMA_VERSION;
use serde_json::json;

use crate::outputs::{self, Which};
use crate::report::{Failure, Form};
use crate::{connection, find, out};

/// Options of `manta results`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The swarm: its id, the beginning of it, or its name.
    swarm: String,

    /// Results of this iteration, counted from 0 [default: the last one that published any].
    #[arg(long, value_name = "N", conflicts_with = "all")]
    iteration: Option<u32>,

    /// Results of every iteration, those of failed attempts too.
    #[arg(long)]
    all: bool,

    /// Save the encoded values in this folder.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    #[command(flatten)]
    connection: connection::ConnectionArgs,
}

/// Lists globals and results.
pub(crate) async fn main(args: Args, form: Form) -> Result<ExitCode, Failure> {
    let client = args.connection.client()?;
    let swarm = find::swarm(&client, &args.swarm).await?;
    let which = match (args.all, args.iteration) {
        (true, _) => Which::All,
        (false, Some(iteration)) => Which::Of(iteration),
        (false, None) => Which::Last,
    };
    let outputs = outputs::fetch(&client, swarm.id, which, args.out.as_deref()).await?;
    match form {
        Form::Json => {
            let outputs::Outputs { globals, results } = outputs;
            let document =
                json!({"schema_version": SCHEMA_VERSION, "swarm": swarm.id, "globals": globals, "results": results});
            out::put_json(&document)?;
        }
        Form::Text => {
            if outputs.results.is_empty() {
                out::say("nothing was published yet");
            }
            out::put(&outputs.render(out::width(), None))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
