//! `manta run`: a swarm on this machine, from its file to its results.
use std::path::PathBuf;
use std::process::ExitCode;

use manta_api::version::SCHEMA_VERSION;
use manta_api::{ErrorCode, EventView};
use serde::Serialize;

use crate::data;
use crate::history::{FailedAttempt, IterationRow};
use crate::outputs::Outputs;
use crate::report::{ErrorObject, Failure, Form};
use crate::screen::{Screen, Show};
use crate::session::{self, Finished, Plan};
use crate::swarm_args::SwarmArgs;
use crate::{out, shutdown};

/// Results that are shown at the end; `--json` tells all.
const RESULTS_SHOWN: usize = 40;

/// Options of `manta run`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    swarm: SwarmArgs,

    #[command(flatten)]
    nodes: data::NodeArgs,

    /// Iterations to loop to, in place of the swarm's own number.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_iteration: Option<u32>,

    /// Attempts that may be live at once over all nodes [default: as many as there is room for].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    attempts_max: Option<u32>,

    /// Save the values of all globals and results in this folder.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Keep the platform's own data in this folder.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Remove this folder at the end, whatever the outcome.
    #[arg(long, value_name = "DIR", hide = true)]
    owned_dir: Option<PathBuf>,

    /// End when standard input, a pipe, is closed.
    #[arg(long, hide = true)]
    lifeline: bool,
}

/// What `manta run --json` prints.
#[derive(Debug, Default, Serialize)]
struct Document {
    schema_version: u32,
    swarm: Option<String>,
    name: Option<String>,
    status: String,
    reason: String,
    nodes: Vec<String>,
    iterations: Vec<IterationRow>,
    #[serde(flatten)]
    outputs: Outputs,
    failures: Vec<FailedAttempt>,
    events: Vec<EventView>,
    error: Option<ErrorObject>,
}

/// Runs the swarm; the exit code is its outcome.
pub(crate) async fn main(args: Args, form: Form) -> Result<ExitCode, Failure> {
    let owned = args.owned_dir.clone();
    let outcome = run(args, form).await;
    if let Some(folder) = owned {
        // Whoever handed it over may have removed it already.
        let _ = std::fs::remove_dir_all(folder);
    }
    let failure = match &outcome {
        Ok(finished) => failure_of(finished),
        Err(failure) => Some(failure.clone()),
    };
    if form == Form::Json {
        // Whoever reads the document may have gone; the exit code still tells the outcome.
        let _ = out::put_json(&document(outcome.ok(), failure.as_ref()));
    } else if let Ok(finished) = &outcome {
        let _ = out::put(&finished.outputs.render(out::width(), Some(RESULTS_SHOWN)));
    }
    failure.map_or(Ok(ExitCode::SUCCESS), Err)
}

async fn run(args: Args, form: Form) -> Result<Finished, Failure> {
    let ended = shutdown::listen(args.lifeline.into())?;
    let python = args.swarm.python()?;
    let screen = Screen::new(form, Show::All);
    let plan = plan(&args, python)?;
    let finished = session::run(plan, &screen, ended, async |_, _| Ok(())).await?;
    if let Some(ending) = finished.history.ending.as_ref().filter(|ending| ending.status == "succeeded") {
        let name = &finished.swarm.name;
        screen.line(&format!("swarm {name} succeeded: {}", crate::text::one_line(&ending.reason, 200)));
    }
    Ok(finished)
}

fn plan(args: &Args, python: PathBuf) -> Result<Plan<'_>, Failure> {
    let nodes = args.nodes.nodes()?;
    Ok(Plan {
        tracing: Box::new(move |folder| Box::pin(async move { args.swarm.trace(&folder, None).await })),
        nodes,
        max_iteration: args.max_iteration,
        attempts_max: args.attempts_max,
        python,
        data_dir: args.data_dir.clone(),
        out: args.out.clone(),
    })
}

/// The error that a swarm ended with, where it did not succeed.
pub(crate) fn failure_of(finished: &Finished) -> Option<Failure> {
    let ending = finished.history.ending.as_ref()?;
    if ending.status == "succeeded" {
        return None;
    }
    let message = format!("swarm {} {}: {}", finished.swarm.name, ending.status, ending.reason);
    let failure = Failure::new(ErrorCode::SwarmFailed, message);
    let place = finished.history.decisive_failure().map(|failed| {
        let place = failed.failure.location.as_deref().map(|place| format!(" at {place}")).unwrap_or_default();
        format!("see task {} on {}, iteration {}{place}", failed.task, failed.node, failed.iteration)
    });
    Some(Failure { hint: place, ..failure })
}

fn document(finished: Option<Finished>, failure: Option<&Failure>) -> Document {
    let error = failure.map(Failure::object);
    let empty = Document { schema_version: SCHEMA_VERSION, status: "error".to_owned(), ..Document::default() };
    let Some(finished) = finished else { return Document { error, ..empty } };
    let (status, reason) = match &finished.history.ending {
        Some(ending) => (ending.status.to_owned(), ending.reason.clone()),
        None => (empty.status, String::new()),
    };
    Document {
        schema_version: SCHEMA_VERSION,
        swarm: Some(finished.swarm.id.to_string()),
        name: Some(finished.swarm.name),
        status,
        reason,
        nodes: finished.nodes,
        iterations: finished.history.rows(),
        outputs: finished.outputs,
        failures: finished.history.failures,
        events: finished.history.events,
        error,
    }
}
