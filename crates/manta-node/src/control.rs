//! The agent's own door: a Unix socket in its data directory, where whoever may read that directory asks for datasets to be
//! offered or not. It is no way in for a manager: the site decides what is offered.
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use manta_api::ErrorCode;
use manta_api::audit::AuditEntry;
use manta_api::control::{AgentStatus, CONTROL_LINE_BYTES_MAX, ControlAnswer, ControlRequest, HeldDataset};
use manta_api::version::{NODE_PROTOCOL, PRODUCT};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::NodeError;
use crate::agent::Node;
use crate::attempt::Attempts;
use crate::dataset;
use crate::home::gone_already;
use crate::supervisor::{Kind, Supervisor};
use crate::upgrade;

/// The socket's name in the data directory.
const SOCKET: &str = "agent.sock";
/// How long a question may take to arrive, and an answer to be taken.
const WITHIN: Duration = Duration::from_secs(10);
/// How long after a failure, as of descriptors that are used up, the next question is listened for.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

/// A path to the socket that is short, whatever its directory is called: a socket's address has room for 107 bytes.
fn short(directory: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd()))
}

/// Makes the socket, in place of one that an earlier agent left.
///
/// # Errors
/// When it cannot be made.
pub(crate) fn bind(data_dir: &Path) -> io::Result<UnixListener> {
    let path = data_dir.join(SOCKET);
    gone_already(fs::remove_file(&path))?;
    let directory = File::open(data_dir)?;
    let listener = UnixListener::bind(short(&directory))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Asks the agent that runs with a data directory.
///
/// # Errors
/// [`NodeError::NoAgent`] when there is none, or its answer cannot be read.
pub async fn ask(data_dir: &Path, request: &ControlRequest) -> Result<ControlAnswer, NodeError> {
    let failed = |reason: String| NodeError::NoAgent { path: data_dir.to_owned(), reason };
    let words = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => failed("no agent runs with it".to_owned()),
        _ => failed(error.to_string()),
    };
    let directory = File::open(data_dir).map_err(words)?;
    let mut stream = UnixStream::connect(short(&directory)).await.map_err(words)?;
    let mut line = serde_json::to_vec(request).expect("texts: always JSON");
    line.push(b'\n');
    stream.write_all(&line).await.map_err(words)?;
    let answer = read_line(&mut stream).await.map_err(words)?;
    serde_json::from_slice(&answer).map_err(|error| failed(format!("the agent's answer cannot be read: {error}")))
}

async fn read_line(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let limit = u64::try_from(CONTROL_LINE_BYTES_MAX).unwrap_or(u64::MAX);
    BufReader::new(stream.take(limit)).read_until(b'\n', &mut line).await?;
    Ok(line)
}

/// What is asked.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) attempts: Arc<Attempts>,
    /// The manager's address.
    pub(crate) manager: String,
    /// Where another program is wished for.
    pub(crate) wish: mpsc::Sender<upgrade::Request>,
}

/// Answers until the agent stops.
pub(crate) async fn serve(listener: UnixListener, asked: Asked, supervisor: Supervisor, stop: CancellationToken) {
    loop {
        let Some(accepted) = stop.run_until_cancelled(listener.accept()).await else { return };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "whoever asks this agent on its own machine is not heard; it is tried again");
                stop.run_until_cancelled(tokio::time::sleep(LISTEN_AGAIN)).await;
                continue;
            }
        };
        let (asked, stop) = (asked.clone(), stop.clone());
        supervisor.spawn("control", Kind::Contained, async move {
            // Whoever asked and went away needs no answer.
            let _ = stop.run_until_cancelled(converse(stream, &asked)).await;
        });
    }
}

async fn converse(mut stream: UnixStream, asked: &Asked) -> io::Result<()> {
    let line = timeout(WITHIN, read_line(&mut stream)).await??;
    // Dropped when the answer is on its way.
    let (_tell, told) = oneshot::channel();
    let answer = match serde_json::from_slice(&line) {
        Ok(ControlRequest::Upgrade { program }) => {
            wish(asked, program, told).await.unwrap_or_else(|error| refused(&error))
        }
        Ok(request) => answer(request, &asked.attempts, &asked.manager).await.unwrap_or_else(|error| refused(&error)),
        Err(error) => refused(&NodeError::Dataset {
            problem: format!("the question cannot be read: {error}"),
            cure: None,
            code: ErrorCode::BadRequest,
        }),
    };
    let mut line = serde_json::to_vec(&answer).map_err(io::Error::other)?;
    line.push(b'\n');
    timeout(WITHIN, stream.write_all(&line)).await??;
    stream.shutdown().await
}

/// Has another program take this one's place; answers when all that runs stands still for it.
async fn wish(asked: &Asked, program: Option<String>, told: oneshot::Receiver<()>) -> Result<ControlAnswer, NodeError> {
    let busy = |_| NodeError::Upgrade("another upgrade is under way".to_owned());
    let (reply, replied) = oneshot::channel();
    let request = upgrade::Request { program: program.map(PathBuf::from), reply, told };
    asked.wish.try_send(request).map_err(|_| busy(()))?;
    let to = replied.await.map_err(|_| busy(()))??;
    let (running, _) = asked.attempts.counts();
    Ok(ControlAnswer::Upgrading { from: PRODUCT.to_owned(), to, running: u32::try_from(running).unwrap_or(u32::MAX) })
}

fn refused(error: &NodeError) -> ControlAnswer {
    ControlAnswer::Refused { code: error.code().code().to_owned(), message: error.to_string(), hint: error.hint() }
}

async fn answer(request: ControlRequest, attempts: &Attempts, manager: &str) -> Result<ControlAnswer, NodeError> {
    let node = attempts.node();
    match request {
        ControlRequest::Datasets => Ok(datasets(attempts, Vec::new())),
        ControlRequest::AddDataset { name, path } => {
            let path = PathBuf::from(path);
            let dataset = dataset::check(&name, &path, &*node.engine).await?;
            let place = dataset.source.display().to_string();
            node.datasets.add(dataset).map_err(|error| NodeError::Dataset {
                problem: format!("the dataset `{name}` at `{}` cannot be offered: {error}", path.display()),
                cure: Some(format!("give it another name, or take that one out first: manta node data rm {name}")),
                code: error.code(),
            })?;
            tracing::info!(dataset = name, path = place, "a dataset is offered from now on");
            let told = written(node, AuditEntry::DatasetAdded { dataset: name, path: place }).await;
            node.tell_offering();
            Ok(datasets(attempts, told.err().into_iter().collect()))
        }
        ControlRequest::RemoveDataset { name } => remove(attempts, name).await,
        ControlRequest::Upgrade { .. } => Err(NodeError::Internal("an upgrade is asked for elsewhere".to_owned())),
        ControlRequest::Status => {
            let (running, queued) = attempts.counts();
            let whole = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
            Ok(ControlAnswer::Status(AgentStatus {
                node: node.name.to_string(),
                // Read from the program's data, where a test of upgrades writes another release.
                agent_version: std::hint::black_box(PRODUCT).to_owned(),
                protocol: NODE_PROTOCOL,
                process: node.process.to_string(),
                manager: manager.to_owned(),
                is_connected: node.link.is_connected(),
                link_quality: node.link.quality(),
                problem: node.link.problem(),
                running: whole(running),
                queued: whole(queued),
                notes: attempts.notes(),
            }))
        }
    }
}

/// Writes into the audit what a person on this machine asked for, before that person is answered.
async fn written(node: &Node, entry: AuditEntry) -> Result<(), String> {
    node.audit.record(entry)?;
    node.audit.synced().await.map_err(|error| error.to_string())
}

async fn remove(attempts: &Attempts, name: String) -> Result<ControlAnswer, NodeError> {
    let node = attempts.node();
    let open = node.datasets.all().iter().find(|(set, ..)| set.name == name).map_or(0, |(_, open, _)| *open);
    let removed = node.datasets.remove(&name).map_err(|error| NodeError::Dataset {
        problem: format!("the dataset `{name}` cannot be taken out for good: {error}"),
        cure: None,
        code: ErrorCode::Storage,
    })?;
    let Some(from_start) = removed else {
        let names = node.datasets.names();
        let cure = match manta_types::name::nearest(&name, names.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("it offers: {}", if names.is_empty() { "none".to_owned() } else { names.join(", ") }),
        };
        let problem = format!("this node does not offer the dataset `{name}`");
        return Err(NodeError::Dataset { problem, cure: Some(cure), code: ErrorCode::NotFound });
    };
    tracing::info!(dataset = name, "a dataset is offered no more");
    let mut notes = Vec::new();
    if open > 0 {
        notes.push(format!("{open} attempts that have `{name}` open keep it until they end"));
    }
    if from_start {
        notes.push(format!("the agent was started with `{name}`: it is offered again when it is started so again"));
    }
    notes.extend(written(node, AuditEntry::DatasetRemoved { dataset: name }).await.err());
    node.tell_offering();
    Ok(datasets(attempts, notes))
}

fn datasets(attempts: &Attempts, notes: Vec<String>) -> ControlAnswer {
    let all = attempts.node().datasets.all().into_iter();
    let held = all.map(|(set, open, from_start)| HeldDataset {
        view: set.view(),
        path: set.source.display().to_string(),
        attempts: u32::try_from(open).unwrap_or(u32::MAX),
        from_start,
    });
    ControlAnswer::Datasets { datasets: held.collect(), notes }
}
