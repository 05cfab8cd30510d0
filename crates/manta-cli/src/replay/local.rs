//! A past attempt on this machine: its bundle and inputs from the manager, stand-ins for its datasets, and a Python child.
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use manta_api::{AttemptOutcome, AttemptView, ErrorCode};
use manta_client::Client;
use manta_module::{BundleManifest, Entry};
use manta_types::event::{Failure as AttemptFailure, NextIteration, Published};
use manta_types::name::nearest;
use manta_types::{Blob, OutcomeClass};
use serde::{Deserialize, Serialize};

use super::packages::provide;
use crate::outputs::save_value;
use crate::python;
use crate::report::Failure;

/// Bytes of a bundle's manifest.
const MANIFEST_BYTES_MAX: u64 = 16 << 20;

/// Where the debugger takes hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Debugger {
    /// Nowhere.
    Off,
    /// Where the first exception that nobody catches was raised.
    AtFailure,
    /// Before the first line of the task, and at its failure.
    AtStart,
}

/// What a run on this machine left.
#[derive(Debug)]
pub(crate) struct LocalRun {
    pub(crate) outcome: AttemptOutcome,
    /// Names of state that it asked for; there is none here.
    pub(crate) state_read: BTreeSet<String>,
}

/// Stand-ins for datasets, by name.
pub(crate) type StandIns = BTreeMap<String, PathBuf>;

/// Reads `--data NAME=PATH` and checks that every dataset of the attempt has a stand-in.
pub(crate) fn stand_ins(options: &[String], attempt: &AttemptView) -> Result<StandIns, Failure> {
    let mut given = StandIns::new();
    for option in options {
        let pair = option.split_once('=').filter(|(name, path)| !name.is_empty() && !path.is_empty());
        let (name, path) = pair.ok_or_else(|| {
            Failure::usage(format!("--data `{option}` is not NAME=PATH")).hint("write --data digits=/data/sample.npy")
        })?;
        if !attempt.datasets.iter().any(|known| known == name) {
            let known = attempt.datasets.iter().map(String::as_str);
            let failure = Failure::usage(format!("the task opens no dataset `{name}`"));
            return Err(match nearest(name, known) {
                Some(near) => failure.hint(format!("did you mean `{near}`?")),
                None if attempt.datasets.is_empty() => failure.hint("its module lists none"),
                None => failure.hint(format!("its module lists {}", attempt.datasets.join(", "))),
            });
        }
        let path = std::path::absolute(path).map_err(|error| Failure::file("there is no", Path::new(path), &error))?;
        if let Err(error) = std::fs::metadata(&path) {
            let message = format!("the stand-in for `{name}` at `{}` cannot be read: {error}", path.display());
            return Err(Failure::new(ErrorCode::DatasetPath, message));
        }
        given.insert(name.to_owned(), path);
    }
    let lacking: Vec<&str> =
        attempt.datasets.iter().map(String::as_str).filter(|name| !given.contains_key(*name)).collect();
    if lacking.is_empty() {
        return Ok(given);
    }
    let options: Vec<String> = lacking.iter().map(|name| format!("--data {name}=PATH")).collect();
    let message = format!("to run here, the task needs a stand-in for `{}`", lacking.join("`, `"));
    Err(Failure::usage(message).hint(format!("add {}", options.join(" "))))
}

/// What the child is told, beside the attempt itself.
#[derive(Debug, Serialize)]
struct Document<'a> {
    attempt: &'a AttemptView,
    module: &'a BundleManifest,
    datasets: &'a StandIns,
    /// Whether the debugger takes hold at a failure, and before the first line.
    pdb: bool,
    break_first: bool,
}

/// What the child writes when it ends.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Left {
    results: Vec<Saved>,
    globals: Vec<Saved>,
    next_iterations: Vec<NextIteration>,
    stop_swarm: bool,
    failure: Option<AttemptFailure>,
    state_read: BTreeSet<String>,
    /// Whether the user left the debugger before the task had ended.
    abandoned: bool,
}

/// A value that the child saved, by the name of its file.
#[derive(Debug, Deserialize)]
struct Saved {
    name: String,
    file: String,
}

/// Runs the attempt in a Python child; what it publishes lies in `folder` as `<digest>.value`.
pub(crate) async fn run(
    client: &Client,
    attempt: &AttemptView,
    datasets: &StandIns,
    debugger: Debugger,
    interpreter: &Path,
    folder: &Path,
) -> Result<LocalRun, Failure> {
    let manifest = fetch(client, attempt, folder).await?;
    provide(client, &manifest, interpreter, folder).await?;
    let document = Document {
        attempt,
        module: &manifest,
        datasets,
        pdb: debugger != Debugger::Off,
        break_first: debugger == Debugger::AtStart,
    };
    let file = folder.join("replay.json");
    let text = serde_json::to_vec(&document).map_err(|error| Failure::internal(error.to_string()))?;
    std::fs::write(&file, text).map_err(|error| Failure::file("the attempt cannot be written to", &file, &error))?;
    let ended = child(attempt, debugger, interpreter, folder).await?;
    gather(ended, folder)
}

/// Fetches the bundle and all that the attempt could read.
async fn fetch(client: &Client, attempt: &AttemptView, folder: &Path) -> Result<BundleManifest, Failure> {
    let bytes = client.get_blob_bytes(&attempt.bundle, MANIFEST_BYTES_MAX).await?;
    let manifest = BundleManifest::parse(&bytes).map_err(|error| {
        Failure::new(ErrorCode::DigestMismatch, format!("the attempt's bundle cannot be used: {error}"))
    })?;
    if manifest.entry == Entry::Image {
        let message =
            format!("the attempt ran the own program of the image `{}`, which no Python here can", manifest.image);
        return Err(Failure::usage(message).hint("leave --local out: a node runs it again in its image"));
    }
    for (path, blob) in &manifest.files {
        save(client, *blob, &folder.join("code").join(path)).await?;
    }
    let inputs = &attempt.inputs;
    let values = inputs.globals.iter().map(|global| global.blob).chain(inputs.results.iter().map(|result| result.blob));
    for blob in values.collect::<BTreeSet<Blob>>() {
        save(client, blob, &folder.join("values").join(blob.digest.to_string())).await?;
    }
    let out = folder.join("out");
    std::fs::create_dir_all(&out).map_err(|error| Failure::file("the folder cannot be made:", &out, &error))?;
    Ok(manifest)
}

pub(super) async fn save(client: &Client, blob: Blob, path: &Path) -> Result<(), Failure> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(|error| Failure::file("the folder cannot be made:", parent, &error))?;
    }
    save_value(client, blob, path).await.map(drop)
}

/// How the child ended.
enum Ended {
    Exited(ExitStatus),
    TimedOut(Duration),
}

async fn child(attempt: &AttemptView, debugger: Debugger, interpreter: &Path, folder: &Path) -> Result<Ended, Failure> {
    let mut command = python::command(interpreter)?;
    command.args(["-B", "-m", "manta._replay"]).arg(folder).envs(environment(attempt)).stdout(python::stderr()?);
    if debugger != Debugger::Off {
        command.stdin(Stdio::inherit());
    }
    let mut child = command.spawn().map_err(|error| {
        Failure::new(ErrorCode::SwarmFile, format!("`{}` cannot be started: {error}", interpreter.display()))
    })?;
    let limit = attempt.timeout_ms.map(Duration::from_millis).filter(|_| debugger == Debugger::Off);
    let waited = match limit {
        None => child.wait().await,
        Some(limit) => match tokio::time::timeout(limit, child.wait()).await {
            Ok(waited) => waited,
            Err(_) => {
                // It is gone either way when this returns; how it ended is known already.
                let _ = child.kill().await;
                return Ok(Ended::TimedOut(limit));
            }
        },
    };
    waited.map(Ended::Exited).map_err(|error| Failure::internal(format!("the task's process is lost: {error}")))
}

/// What a task finds around it on a node, as far as it can change numbers.
fn environment(attempt: &AttemptView) -> Vec<(&'static str, String)> {
    let threads = format!("{:.0}", attempt.limits.cpu.unwrap_or(1.0).floor().max(1.0));
    let fixed = [("TZ", "UTC"), ("LANG", "C.UTF-8"), ("LC_ALL", "C.UTF-8")];
    let fixed = fixed.map(|(name, value)| (name, value.to_owned()));
    let threads = ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"].map(|name| (name, threads.clone()));
    let hash_seed = ("PYTHONHASHSEED", manta_node::HASH_SEED.to_owned());
    fixed.into_iter().chain(threads).chain([hash_seed]).collect()
}

fn gather(ended: Ended, folder: &Path) -> Result<LocalRun, Failure> {
    let file = folder.join("outcome.json");
    let status = match ended {
        Ended::TimedOut(limit) => {
            let words = format!("did not end within its timeout of {} s", limit.as_secs_f64());
            return Ok(failed(OutcomeClass::Timeout, words));
        }
        Ended::Exited(status) => status,
    };
    let Ok(bytes) = std::fs::read(&file) else { return died(status, folder) };
    let left: Left = serde_json::from_slice(&bytes).map_err(|error| {
        let failure = Failure::new(ErrorCode::VersionMismatch, format!("what the task left cannot be read: {error}"));
        failure.hint("the `manta` program and package must be of one version")
    })?;
    if left.abandoned {
        return Err(Failure::silent(130));
    }
    let keep = |saved: Vec<Saved>| saved.into_iter().map(|saved| keep(saved, folder)).collect::<Result<Vec<_>, _>>();
    let outcome = AttemptOutcome {
        results: keep(left.results)?,
        globals: keep(left.globals)?,
        next_iterations: left.next_iterations,
        stop_swarm: left.stop_swarm,
        failure: left.failure,
        ..AttemptOutcome::default()
    };
    Ok(LocalRun { outcome, state_read: left.state_read })
}

/// A child that left nothing: told as a node tells it, or as our own trouble where the task never began.
fn died(status: ExitStatus, folder: &Path) -> Result<LocalRun, Failure> {
    if !folder.join("begun").exists() {
        let message = format!("the interpreter could not begin the attempt: it ended with {status}");
        let failure = Failure::new(ErrorCode::SwarmFile, message);
        return Err(failure.hint("its package `manta` must be of this program's version; --python names another one"));
    }
    let words = match status.signal() {
        Some(signal) => format!("killed by signal {}", manta_node::signal_name(signal)),
        None => format!("exited with status {} before run() ended", status.code().unwrap_or_default()),
    };
    Ok(failed(OutcomeClass::UserError, words))
}

fn failed(class: OutcomeClass, message: String) -> LocalRun {
    let failure = AttemptFailure { class: class.name().to_owned(), message, ..AttemptFailure::default() };
    let outcome = AttemptOutcome { failure: Some(failure), ..AttemptOutcome::default() };
    LocalRun { outcome, state_read: BTreeSet::new() }
}

/// Names a saved value by its digest.
fn keep(saved: Saved, folder: &Path) -> Result<Published, Failure> {
    let from = folder.join("out").join(&saved.file);
    let failed = |error: std::io::Error| Failure::file("a value of the replay cannot be read from", &from, &error);
    let mut hasher = blake3::Hasher::new();
    let size = std::io::copy(&mut std::fs::File::open(&from).map_err(failed)?, &mut hasher).map_err(failed)?;
    let digest = manta_types::Digest::from_bytes(*hasher.finalize().as_bytes());
    std::fs::copy(&from, folder.join(format!("{digest}.value"))).map_err(failed)?;
    Ok(Published { name: saved.name, blob: Blob { digest, size } })
}
