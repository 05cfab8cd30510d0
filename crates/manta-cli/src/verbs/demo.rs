//! `manta demo`: five nodes learn to read handwritten digits together, from files that the user may then change.
use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use manta_api::ErrorCode;
use manta_api::version::SCHEMA_VERSION;
use manta_client::Client;
use serde::Serialize;

use crate::data::{self, DataOption};
use crate::demo::{self, Example, Prepared};
use crate::history::IterationRow;
use crate::outputs::save_value;
use crate::report::{ErrorObject, Failure, Form};
use crate::screen::{Screen, Show};
use crate::session::{self, Finished, Nodes, Plan};
use crate::trace::Traced;
use crate::{out, python, shutdown, trace};

/// The global that holds the trained model, and the metric that tells how good it is.
const MODEL: &str = "model";
const ACCURACY: &str = "accuracy";
const DATASET: &str = "digits";

/// Options of `manta demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where the example's files are written; files that you changed are kept.
    #[arg(long, value_name = "DIR", default_value = "./manta-demo")]
    dir: PathBuf,

    /// Nodes to start, each with digits of its own.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=10))]
    nodes: u32,

    /// Seed of every random choice.
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u32,

    /// Iterations at most.
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    max_iteration: u32,

    /// Accuracy on held-out digits at which the swarm stops.
    #[arg(long, value_name = "SHARE", default_value_t = 0.94, value_parser = share)]
    target: f64,

    /// scikit-learn's digits.csv.gz [default: MANTA_DIGITS, else scikit-learn's own where it is installed].
    #[arg(long, value_name = "FILE")]
    digits: Option<PathBuf>,

    /// The Python interpreter [default: MANTA_PYTHON, the active environment, python3 on PATH].
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,

    /// End when standard input, a pipe, is closed.
    #[arg(long, hide = true)]
    lifeline: bool,
}

fn share(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().map_err(|error| error.to_string())?;
    if number > 0.0 && number <= 1.0 { Ok(number) } else { Err("a share lies in (0, 1]".to_owned()) }
}

/// What `manta demo --json` prints.
#[derive(Debug, Default, Serialize)]
struct Document {
    schema_version: u32,
    swarm: Option<String>,
    status: String,
    nodes: u32,
    iterations: Vec<IterationRow>,
    accuracy: Option<f64>,
    target: f64,
    central_accuracy: Option<f64>,
    seconds_to_first_iteration: Option<f64>,
    overhead_ms_per_iteration: Option<f64>,
    seconds: f64,
    model: Option<PathBuf>,
    error: Option<ErrorObject>,
}

/// What is known at the end.
struct Outcome {
    finished: Finished,
    central_accuracy: Option<f64>,
    first_iteration_s: Option<f64>,
    model: Option<PathBuf>,
}

/// Runs the demo; succeeds only if the target was reached.
pub(crate) async fn main(args: Args, form: Form) -> Result<ExitCode, Failure> {
    let started = Instant::now();
    let screen = Screen::new(form, Show::Accuracy);
    let outcome = run(&args, &screen, started).await;
    screen.close();
    let failure = match &outcome {
        Ok(outcome) => failure_of(outcome, args.target),
        Err(failure) => Some(failure.clone()),
    };
    if form == Form::Json {
        let document = document(&args, outcome.ok(), failure.as_ref(), started);
        // Whoever reads the document may have gone; the exit code still tells the outcome.
        let _ = out::put_json(&document);
    }
    failure.map_or(Ok(ExitCode::SUCCESS), Err)
}

async fn run(args: &Args, screen: &Screen, started: Instant) -> Result<Outcome, Failure> {
    let ended = shutdown::listen(args.lifeline.into())?;
    let python = python::find(args.python.as_deref())?;
    let example = Example::write(&args.dir, screen)?;
    let prepared = OnceCell::new();
    let (example_files, interpreter, prepared_once) = (&example, &python, &prepared);
    let plan = Plan {
        tracing: Box::new(move |folder| {
            Box::pin(async move {
                let (made, traced) = make(args, example_files, interpreter, &folder).await?;
                prepared_once.get_or_init(|| made);
                Ok(traced)
            })
        }),
        nodes: Nodes::AfterTracing(Box::new(|_| nodes(known(&prepared)?))),
        max_iteration: Some(args.max_iteration),
        attempts_max: None,
        python: python.clone(),
        data_dir: None,
        out: None,
    };
    screen.line(&format!("{} nodes learn to read digits; no digit leaves its node", args.nodes));
    let (mut model, mut central_accuracy) = (None, None);
    let finished = session::run(plan, screen, ended, async |client, finished| {
        model = save_model(client, finished, &example, &python).await?;
        central_accuracy = Some(known(&prepared)?.central_accuracy().await?);
        Ok(())
    })
    .await?;
    let prepared = known(&prepared)?;
    let first_iteration_s = finished.history.first_iteration.map(|at| (at - started).as_secs_f64());
    let outcome = Outcome { finished, central_accuracy, first_iteration_s, model };
    sum_up(args, &outcome, &example, prepared, screen);
    Ok(outcome)
}

/// Cuts the digits into shards and traces the swarm, side by side.
async fn make(args: &Args, example: &Example, python: &Path, folder: &Path) -> Result<(Prepared, Traced), Failure> {
    let digits = demo::find_digits(args.digits.as_deref(), python).await?;
    let set = [format!("seed={}", args.seed), format!("target={}", args.target)];
    let swarm_file = example.swarm_file();
    let prepared = demo::prepare(example, python, &digits, args.nodes, args.seed);
    tokio::try_join!(prepared, trace::trace(python, &swarm_file, &set, folder))
}

fn known(prepared: &OnceCell<Prepared>) -> Result<&Prepared, Failure> {
    prepared.get().ok_or_else(|| Failure::internal("the swarm was traced without its data"))
}

fn nodes(prepared: &Prepared) -> Result<Vec<crate::embedded::NodePlan>, Failure> {
    let named: data::Named = prepared.shards.keys().map(|name| (name.clone(), Default::default())).collect();
    let options = prepared.shards.iter().map(|(node, path)| DataOption::of_node(node, DATASET, path));
    data::plan(&named, &options.collect::<Vec<_>>(), None)
}

/// Saves the trained model as the value that it is and as a numpy file; a swarm that failed early has none.
async fn save_model(
    client: &Client,
    finished: &Finished,
    example: &Example,
    python: &Path,
) -> Result<Option<PathBuf>, Failure> {
    let Some(model) = finished.outputs.globals.iter().find(|global| global.name == MODEL) else { return Ok(None) };
    let value = save_value(client, model.value.blob, &example.folder.join("model.value")).await?;
    demo::save_npz(example, python, &value).await.map(Some)
}

/// The accuracy after the last iteration that told one.
fn accuracy(finished: &Finished) -> Option<f64> {
    finished.history.rows().iter().rev().find_map(|row| row.metrics.get(ACCURACY).copied())
}

fn failure_of(outcome: &Outcome, target: f64) -> Option<Failure> {
    if let Some(failure) = super::run::failure_of(&outcome.finished) {
        return Some(failure);
    }
    let reached = accuracy(&outcome.finished);
    if reached.is_some_and(|reached| reached >= target) {
        return None;
    }
    let reached = reached.map_or_else(|| "no accuracy was told".to_owned(), |reached| format!("it is {reached:.4}"));
    let message = format!("the accuracy of {target} was not reached: {reached}");
    let failure = Failure::new(ErrorCode::TargetMissed, message);
    Some(failure.hint("give it more iterations with --max-iteration"))
}

fn sum_up(args: &Args, outcome: &Outcome, example: &Example, prepared: &Prepared, screen: &Screen) {
    if let Some(reached) = accuracy(&outcome.finished) {
        let central = outcome.central_accuracy.map(|central| format!(", {central:.4} with all digits in one place"));
        screen.line(&format!("\naccuracy {reached:.4} together{}", central.unwrap_or_default()));
    }
    if let Some(model) = &outcome.model {
        screen.line(&format!("the model: {}", model.display()));
    }
    let folder = example.folder.display();
    let shards = prepared.folder().map(|folder| folder.display().to_string()).unwrap_or_default();
    screen.line(&format!("\nnext: change {folder}/modules/worker/__init__.py, then run it again with"));
    let quoted = demo::shell_word(&format!("{DATASET}={shards}/{{node}}.npz"));
    let swarm = demo::shell_word(&example.swarm_file());
    screen.line(&format!("  manta run {swarm} --nodes {} --data {quoted}", args.nodes));
}

fn document(args: &Args, outcome: Option<Outcome>, failure: Option<&Failure>, started: Instant) -> Document {
    let empty = Document {
        schema_version: SCHEMA_VERSION,
        status: "error".to_owned(),
        nodes: args.nodes,
        target: args.target,
        seconds: started.elapsed().as_secs_f64(),
        error: failure.map(Failure::object),
        ..Document::default()
    };
    let Some(outcome) = outcome else { return empty };
    let rows = outcome.finished.history.rows();
    let status = outcome.finished.history.ending.as_ref().map_or("error", |ending| ending.status);
    Document {
        swarm: Some(outcome.finished.swarm.id.to_string()),
        status: status.to_owned(),
        accuracy: accuracy(&outcome.finished),
        central_accuracy: outcome.central_accuracy,
        seconds_to_first_iteration: outcome.first_iteration_s,
        overhead_ms_per_iteration: median(rows.iter().map(|row| row.overhead_ms).collect()),
        iterations: rows,
        model: outcome.model,
        ..empty
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of an iteration")]
fn median(mut values: Vec<u64>) -> Option<f64> {
    values.sort_unstable();
    let middle = values.len() / 2;
    match (values.get(middle), values.len() % 2) {
        (Some(upper), 0) => Some((*upper as f64 + values[middle - 1] as f64) / 2.0),
        (Some(value), _) => Some(*value as f64),
        (None, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(
            [median(vec![]), median(vec![3]), median(vec![9, 1]), median(vec![5, 1, 9])],
            [None, Some(3.0), Some(5.0), Some(5.0)]
        );
    }

    #[test]
    fn a_target_is_a_share() {
        assert!(share("0.94").is_ok() && share("0").is_err() && share("1.5").is_err() && share("nan").is_err());
    }
}
