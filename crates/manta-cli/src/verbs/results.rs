//! `manta results`: what a swarm published, listed or brought here as files of other programs.
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use manta_api::version::SCHEMA_VERSION;
use serde_json::json;

use crate::outputs::{self, Which};
use crate::pull::{self, Format, Wanted};
use crate::report::{Failure, Form};
use crate::{connection, find, out};

/// Options of `manta results`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,

    #[command(flatten)]
    list: ListArgs,
}

/// Verbs of results.
#[derive(Debug, Subcommand)]
enum Verb {
    /// List what a swarm published, as `manta results SWARM` does.
    Ls(ListArgs),
    /// Bring globals and results here, as files.
    Pull(PullArgs),
}

/// Options of `manta results ls`.
#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// The swarm: its id, the beginning of it, or its name.
    #[arg(required = true)]
    swarm: Option<String>,

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

/// Options of `manta results pull`.
#[derive(Debug, clap::Args)]
pub(crate) struct PullArgs {
    /// The swarm: its id, the beginning of it, or its name.
    swarm: String,

    /// Results of this iteration, counted from 0 [default: the last one that published any].
    #[arg(long, value_name = "N", conflicts_with = "all")]
    iteration: Option<u32>,

    /// Results of every iteration.
    #[arg(long)]
    all: bool,

    /// The folder to write to; files of an earlier pull are replaced.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// What to write.
    #[arg(long, value_enum, default_value_t = Format::Npz)]
    format: Format,

    /// Only values of this name.
    #[arg(long)]
    name: Option<String>,

    /// Only results of this task.
    #[arg(long)]
    task: Option<String>,

    /// Only results of this node.
    #[arg(long)]
    node: Option<String>,

    /// The Python interpreter, with numpy [default: MANTA_PYTHON, the active environment, python3 on PATH].
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,

    #[command(flatten)]
    connection: connection::ConnectionArgs,
}

/// Which results are meant.
fn which(all: bool, iteration: Option<u32>) -> Which {
    match (all, iteration) {
        (true, _) => Which::All,
        (false, Some(iteration)) => Which::Of(iteration),
        (false, None) => Which::Last,
    }
}

/// Does what the command line says.
pub(crate) async fn main(args: Args, form: Form) -> Result<ExitCode, Failure> {
    match args.verb {
        Some(Verb::Pull(args)) => pull(args, form).await,
        Some(Verb::Ls(list)) => ls(list, form).await,
        None => ls(args.list, form).await,
    }
}

async fn ls(args: ListArgs, form: Form) -> Result<ExitCode, Failure> {
    let wanted = args.swarm.ok_or_else(|| Failure::usage("no swarm is given").hint("`manta ls` lists them"))?;
    let client = args.connection.client()?;
    let swarm = find::swarm(&client, &wanted, find::Use::Look, form).await?;
    let outputs = outputs::fetch(&client, swarm.id, which(args.all, args.iteration), args.out.as_deref()).await?;
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
            if args.out.is_none() && !outputs.results.is_empty() {
                out::say(&format!("`manta results pull {} --out DIR` brings them here", swarm.id));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn pull(args: PullArgs, form: Form) -> Result<ExitCode, Failure> {
    let client = args.connection.client()?;
    let swarm = find::swarm(&client, &args.swarm, find::Use::Look, form).await?;
    if let Some(task) = &args.task {
        find::task(&swarm, task)?;
    }
    let wanted = Wanted {
        which: which(args.all, args.iteration),
        name: args.name.as_deref(),
        task: args.task.as_deref(),
        node: args.node.as_deref(),
    };
    let index = pull::pull(&client, swarm.id, &wanted, args.format, args.python.as_deref(), &args.out).await?;
    match form {
        Form::Json => out::put_json(&index)?,
        Form::Text => {
            let (globals, results) = (index.globals.len(), index.results.len());
            let (globals, results) = (crate::text::count(globals, "global"), crate::text::count(results, "result"));
            out::say(&format!("{globals} and {results} are in `{}`; index.json there lists them", args.out.display()));
        }
    }
    Ok(ExitCode::SUCCESS)
}
