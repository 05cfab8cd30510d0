//! From the user's swarm file to a traced graph: a Python child does the tracing, its document is read here.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use manta_api::ErrorCode;
use manta_api::submission::{Amount, TaskSubmission};
use manta_module::{Entry, ModuleResources};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::dependencies::{Declared, Interpreter, Network};
use crate::out::say;
use crate::python;
use crate::registry::PublishedModule;
use crate::report::{ErrorObject, Failure};
use crate::text::clean;

/// The version of the document that this build reads.
const TRACE_VERSION: u32 = 1;
/// Lines of a child's standard error that are kept to find the error in.
const LINES_KEPT: usize = 40;

/// A traced swarm and the folder that its files lie in.
#[derive(Debug)]
pub(crate) struct Traced {
    /// What the swarm is.
    pub(crate) document: TraceDocument,
    /// Where the encoded globals lie.
    pub(crate) folder: PathBuf,
    /// Whether its modules' dependencies may be fetched.
    pub(crate) network: Network,
}

/// The form of `trace.json`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct TraceDocument {
    schema_version: u32,
    /// The swarm's name.
    pub(crate) name: String,
    /// Iterations to loop to.
    pub(crate) max_iteration: Option<u32>,
    /// The Python that traced it.
    #[serde(default)]
    pub(crate) interpreter: Option<Interpreter>,
    /// Values that exist before the first iteration.
    pub(crate) globals: Vec<TracedGlobal>,
    /// The modules that tasks point at.
    pub(crate) modules: Vec<TracedCode>,
    /// The graph.
    pub(crate) tasks: Vec<TracedTask>,
}

/// A global and the file with its encoded value.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct TracedGlobal {
    /// Its name.
    pub(crate) name: String,
    /// Its file, relative to the document.
    pub(crate) file: String,
}

/// A module: a published one, or its source.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub(crate) enum TracedCode {
    /// One of a registry.
    Published(Box<PublishedModule>),
    /// Files of this machine.
    Source(Box<TracedModule>),
}

impl TracedCode {
    /// The datasets that it may open, as far as they are known.
    pub(crate) fn datasets(&self) -> &[String] {
        match self {
            Self::Published(module) => module.datasets(),
            Self::Source(module) => &module.datasets,
        }
    }
}

/// A module and where its files lie.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct TracedModule {
    pub(crate) name: String,
    pub(crate) version: Option<String>,
    pub(crate) image: String,
    pub(crate) datasets: Vec<String>,
    pub(crate) resources: ModuleResources,
    pub(crate) isolation: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) requires_manta: Option<String>,
    #[serde(default)]
    pub(crate) images: Vec<String>,
    #[serde(default)]
    pub(crate) architectures: Vec<String>,
    #[serde(default)]
    pub(crate) requires_python: Option<String>,
    /// What it says of its dependencies, where it has any.
    #[serde(default)]
    pub(crate) dependencies: Option<Declared>,
    /// A folder or a file; nothing where the image's own program is run.
    pub(crate) root: Option<PathBuf>,
    /// Folders and files that go into the bundle beside those of the root, under their own names.
    #[serde(default)]
    pub(crate) include: Vec<PathBuf>,
    pub(crate) entry: Entry,
    /// What is wrong with files that the bundle may hold.
    #[serde(default)]
    pub(crate) problems: Vec<TracedProblem>,
}

/// A file that no bundle may hold.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct TracedProblem {
    /// The file.
    pub(crate) file: PathBuf,
    /// What is wrong with it.
    pub(crate) error: ErrorObject,
}

/// One vertex of the graph.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct TracedTask {
    alias: String,
    module: usize,
    after: Vec<usize>,
    method: String,
    maximum: Amount,
    gpu: bool,
    fixed: bool,
    excepted: Vec<String>,
    specified: Option<Vec<String>>,
    labels: BTreeMap<String, String>,
    retries: u32,
    timeout_s: Option<f64>,
    quorum: Option<Amount>,
    deadline_s: Option<f64>,
    on_failure: String,
    on_disconnect: String,
}

impl From<TracedTask> for TaskSubmission {
    fn from(task: TracedTask) -> Self {
        Self {
            alias: task.alias,
            module: task.module,
            after: task.after,
            method: task.method,
            maximum: task.maximum,
            gpu: task.gpu,
            fixed: task.fixed,
            excepted: task.excepted,
            specified: task.specified,
            labels: task.labels,
            retries: task.retries,
            timeout_s: task.timeout_s,
            quorum: task.quorum,
            deadline_s: task.deadline_s,
            on_failure: task.on_failure,
            on_disconnect: task.on_disconnect,
        }
    }
}

/// Traces the swarm in `path[:Class]` into a folder; globals in `set` replace the swarm's own.
pub(crate) async fn trace(python: &Path, target: &str, set: &[String], folder: &Path) -> Result<Traced, Failure> {
    let set = set.iter().flat_map(|pair| ["--set", pair]);
    run(python, std::iter::once(target).chain(set), folder).await
}

/// Describes the module at a path: it is read, and never run; name and version go before what it says of itself.
pub(crate) async fn module(
    python: &Path,
    path: &str,
    name: Option<&str>,
    version: Option<&str>,
    folder: &Path,
) -> Result<(TracedModule, Option<Interpreter>), Failure> {
    let name = name.into_iter().flat_map(|name| ["--name", name]);
    let version = version.into_iter().flat_map(|version| ["--version", version]);
    let traced = run(python, ["--module", path].into_iter().chain(name).chain(version), folder).await?;
    let TraceDocument { modules, interpreter, .. } = traced.document;
    match modules.into_iter().next() {
        Some(TracedCode::Source(module)) => Ok((*module, interpreter)),
        _ => Err(Failure::internal(format!("the description of `{path}` holds no module"))),
    }
}

async fn run(python: &Path, arguments: impl Iterator<Item = &str>, folder: &Path) -> Result<Traced, Failure> {
    let mut command = python::command(python)?;
    command.args(["-m", "manta._trace"]).args(arguments).arg("--out").arg(folder);
    // What the user's file prints is talk, not data.
    command.stdout(python::stderr()?).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| {
        Failure::new(ErrorCode::SwarmFile, format!("`{}` cannot be started: {error}", python.display()))
    })?;
    let lines = forward(child.stderr.take().expect("piped above")).await;
    let status = child.wait().await.map_err(|error| Failure::internal(format!("the tracing is lost: {error}")))?;
    if status.success() {
        lines.into_iter().for_each(|line| say(&clean(&line)));
        return read(folder);
    }
    Err(refusal(lines, status, python))
}

/// Shows a child's lines as they come, but holds back the last ones: the error is among them.
async fn forward(stderr: tokio::process::ChildStderr) -> Vec<String> {
    let mut lines = BufReader::new(stderr).lines();
    let mut last = std::collections::VecDeque::new();
    while let Ok(Some(line)) = lines.next_line().await {
        last.push_back(line);
        if last.len() > LINES_KEPT
            && let Some(early) = last.pop_front()
        {
            say(&clean(&early));
        }
    }
    last.into()
}

/// The error that the child printed last, else what can be told from how it ended.
fn refusal(mut lines: Vec<String>, status: std::process::ExitStatus, python: &Path) -> Failure {
    let object = lines.last().and_then(|line| serde_json::from_str::<ErrorObject>(line).ok());
    if object.is_some() {
        lines.pop();
    }
    lines.iter().for_each(|line| say(&clean(line)));
    if let Some(object) = object {
        let exit = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(4);
        return Failure { exit, ..Failure::from(object) };
    }
    let message = match lines.iter().rev().find(|line| !line.trim().is_empty()) {
        Some(line) if line.contains("No module named 'manta'") || line.contains("No module named manta") => {
            return Failure::new(ErrorCode::SwarmFile, format!("`{}` has no package `manta`", python.display())).hint(
                format!(
                    "install it with `{} -m pip install manta`, or name another interpreter with --python",
                    python.display()
                ),
            );
        }
        Some(line) => format!("the swarm cannot be traced: {line}"),
        None => format!("the swarm cannot be traced: the interpreter ended with {status}"),
    };
    Failure::new(ErrorCode::SwarmFile, message)
}

/// Reads a folder into which a swarm was traced.
pub(crate) fn read(folder: &Path) -> Result<Traced, Failure> {
    let file = folder.join("trace.json");
    let bytes = std::fs::read(&file)
        .map_err(|error| Failure::new(ErrorCode::SwarmFile, format!("`{}` cannot be read: {error}", file.display())))?;
    let document: TraceDocument = serde_json::from_slice(&bytes).map_err(|error| {
        let message = format!("`{}` is no traced swarm of this version: {error}", file.display());
        Failure::new(ErrorCode::VersionMismatch, message).hint("the `manta` program and package must be of one version")
    })?;
    if document.schema_version != TRACE_VERSION {
        let found = document.schema_version;
        let message = format!("`{}` has version {found}; this build reads {TRACE_VERSION}", file.display());
        return Err(Failure::new(ErrorCode::VersionMismatch, message));
    }
    Ok(Traced { document, folder: folder.to_owned(), network: Network::from_environment() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    fn check(lines: &[&str], code: i32, message: &str, exit: u8) {
        let lines = lines.iter().map(|line| (*line).to_owned()).collect();
        let failure = refusal(lines, std::process::ExitStatus::from_raw(code << 8), Path::new("/p"));
        assert_eq!((failure.message.as_str(), failure.exit), (message, exit));
    }

    #[test]
    fn the_childs_error_and_exit_code_are_kept() {
        let json = r#"{"code":"MANTA-0107","message":"there is no class `X`","where":null,"hint":null}"#;
        check(&["talk", json], 2, "there is no class `X`", 2);
        check(&["Traceback", "ValueError: no"], 1, "the swarm cannot be traced: ValueError: no", 4);
        check(&["/p: No module named manta"], 1, "`/p` has no package `manta`", 4);
    }

    #[test]
    fn a_document_of_another_version_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let text = r#"{"schema_version":2,"name":"A","max_iteration":null,"globals":[],"modules":[],"tasks":[]}"#;
        std::fs::write(folder.path().join("trace.json"), text).unwrap();
        assert!(read(folder.path()).unwrap_err().message.contains("has version 2"));
    }
}
