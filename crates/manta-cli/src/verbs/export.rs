//! `manta export`: a swarm's metrics to TensorBoard, MLflow or Weights & Biases, from the machine of whoever asks.
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use futures_util::StreamExt;
use manta_api::version::SCHEMA_VERSION;
use manta_api::{LogLine, SwarmView};
use manta_client::{Client, LogFilter};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin};

use crate::report::{ErrorObject, Failure, Form};
use crate::text::count;
use crate::{connection, find, out, python, shutdown};

/// Options of `manta export`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The swarm: its id, the beginning of it, or its name.
    swarm: String,

    /// Where its metrics go: files for TensorBoard, or what the environment says of MLflow or Weights & Biases.
    #[arg(long, value_name = "TRACKER", value_parser = ["tensorboard", "mlflow", "wandb"])]
    to: String,

    /// The folder for files.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    dir: PathBuf,

    /// Go on until the swarm is over.
    #[arg(long, short)]
    follow: bool,

    /// The Python interpreter that has the tracker's package [default: MANTA_PYTHON, the active environment, python3 on PATH].
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,

    #[command(flatten)]
    connection: connection::ConnectionArgs,
}

/// What the interpreter says at its end.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Answer {
    Failed { error: ErrorObject },
    Done { r#where: String, points: u64, series: u64 },
}

/// Sends metrics as they were logged, oldest first. The swarm never waits for it.
pub(crate) async fn main(args: Args, form: Form) -> Result<ExitCode, Failure> {
    let client = args.connection.client()?;
    let swarm = find::swarm(&client, &args.swarm, find::Use::Look, form).await?;
    let python = python::find(args.python.as_deref())?;
    let mut child = start(&python, &args)?;
    let mut to = child.stdin.take().expect("piped at its start");
    let interrupted = send(&client, &swarm, args.follow, &mut to).await?;
    drop(to);
    match answer(child, &python).await? {
        Answer::Failed { error } => Err(Failure { exit: 1, ..Failure::from(error) }),
        Answer::Done { r#where, points, series } => {
            match form {
                Form::Json => out::put_json(&json!({
                    "schema_version": SCHEMA_VERSION, "where": r#where, "points": points, "series": series,
                }))?,
                Form::Text => {
                    let points = count(usize::try_from(points).unwrap_or(usize::MAX), "value");
                    out::say(&format!("{points} of {series} series are in {}", r#where));
                    if args.to == "tensorboard" {
                        out::say(&format!("to see them: tensorboard --logdir '{}'", args.dir.display()));
                    }
                }
            }
            if interrupted { Err(Failure::silent(130)) } else { Ok(ExitCode::SUCCESS) }
        }
    }
}

fn start(python: &Path, args: &Args) -> Result<Child, Failure> {
    let mut command = python::command(python)?;
    command.args(["-m", "manta._export", "--to", &args.to, "--dir"]).arg(&args.dir);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().map_err(|error| Failure::internal(format!("`{}` cannot be started: {error}", python.display())))
}

/// Sends all that is logged, and with `follow` what still comes; whether the user ended it.
async fn send(client: &Client, swarm: &SwarmView, follow: bool, to: &mut ChildStdin) -> Result<bool, Failure> {
    let filter = LogFilter { source: Some("metrics".to_owned()), ..LogFilter::default() };
    if !put(to, &json!({ "swarm": describe(swarm) })).await {
        return Ok(false);
    }
    if follow {
        let ended = shutdown::listen(shutdown::Lifeline::None)?;
        tokio::pin!(ended);
        let mut lines = client.logs_stream(swarm.id, filter);
        loop {
            let line = tokio::select! {
                line = lines.next() => line,
                () = &mut ended => return Ok(true),
            };
            let Some(line) = line else { break };
            if !put(to, &point(&line?)).await {
                return Ok(false);
            }
        }
    } else {
        for line in client.logs(swarm.id, &filter).await? {
            if !put(to, &point(&line)).await {
                return Ok(false);
            }
        }
    }
    let state = client.swarm(swarm.id).await?.state;
    put(to, &json!({ "end": { "state": state } })).await;
    Ok(false)
}

/// Whether the interpreter took a line; one that ended early says why in its answer.
async fn put(to: &mut ChildStdin, line: &Value) -> bool {
    to.write_all(format!("{line}\n").as_bytes()).await.is_ok()
}

fn describe(swarm: &SwarmView) -> Value {
    let versions = swarm.task_runs.iter().flat_map(|run| {
        let versions: Vec<_> = run.versions.keys().cloned().collect();
        (!versions.is_empty()).then(|| (format!("version.{}", run.task), Value::from(versions.join(", "))))
    });
    let mut tags: serde_json::Map<String, Value> = versions.collect();
    tags.insert("swarm".to_owned(), swarm.id.to_string().into());
    tags.insert("tasks".to_owned(), swarm.tasks.join(", ").into());
    json!({ "id": swarm.id, "name": swarm.name, "created_ms": swarm.created_ms, "tags": tags })
}

fn point(line: &LogLine) -> Value {
    let data = line.data.as_ref();
    let of = |name: &str| data.and_then(|data| data.get(name)).cloned();
    json!({ "point": {
        "time_ms": line.time_ms, "task": line.task, "node": line.node, "iteration": line.iteration,
        "values": of("values").unwrap_or_else(|| json!({})), "step": of("step"),
    } })
}

async fn answer(mut child: Child, python: &Path) -> Result<Answer, Failure> {
    let mut text = String::new();
    let mut out = child.stdout.take().expect("piped at its start");
    let lost = |error: std::io::Error| Failure::internal(format!("`{}` is lost: {error}", python.display()));
    out.read_to_string(&mut text).await.map_err(lost)?;
    let status = child.wait().await.map_err(lost)?;
    serde_json::from_str(&text).map_err(|_| {
        let message = format!("`{}` could not export: it ended with {status}", python.display());
        Failure::internal(message).hint("it needs the package `manta` of this release; its messages stand above")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_either_a_place_or_an_error() {
        let done = r#"{"where": "runs/a", "points": 3, "series": 1}"#;
        assert!(matches!(serde_json::from_str(done), Ok(Answer::Done { points: 3, series: 1, .. })));
        let failed = r#"{"error": {"code": "MANTA-0110", "message": "no", "hint": null}}"#;
        assert!(matches!(serde_json::from_str(failed), Ok(Answer::Failed { .. })));
    }
}
