//! Answers one attempt's messages, one at a time and in order, until it ends.
use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use manta_api::{AttemptInputs, GlobalView};
use manta_module::BundleManifest;
use manta_types::limits::{
    LIGHT_FRAME_BYTES_MAX, LIGHT_MESSAGE_BYTES_COUNTED, LIGHT_MESSAGES_PER_SECOND_MAX, LIGHT_REFUSAL_COUNTED,
};
use manta_types::name::printable;
use manta_types::{AttemptLimit, NodeName};
use serde_json::{Value, json};

use super::frame::{Channel, Frame, FrameError};
use super::kept::Kept;
use super::message::{Call, Denied, Message, Reply, TaskError};
use super::staged::Staged;
use super::values::{Values, take_back};
use crate::attempt::Order;
use crate::gpu::Gpus;
use crate::host::Usage;
use crate::link::Link;
use crate::logs::AttemptLog;
use crate::pace::Pace;
use crate::parting::Busy;
use crate::state::StateStore;

/// Characters of the reason why a message cannot be read.
const WHY_UNREADABLE_CHARS_MAX: usize = 200;

/// All that an attempt may see and reach.
pub(crate) struct Grant<'a> {
    pub(crate) node: &'a NodeName,
    pub(crate) labels: &'a BTreeMap<String, String>,
    /// Names of all datasets of this node.
    pub(crate) node_datasets: Vec<&'a str>,
    /// Those that this attempt may open: path as the task sees it, and the name of the file on the host.
    pub(crate) datasets: BTreeMap<&'a str, (PathBuf, String)>,
    /// The bundle's directory as the task sees it.
    pub(crate) code: PathBuf,
    /// The directory of its packages as the task sees it, where it has any.
    pub(crate) packages: Option<PathBuf>,
    pub(crate) order: &'a Order,
    pub(crate) manifest: &'a BundleManifest,
    pub(crate) inputs: &'a AttemptInputs,
    pub(crate) values: &'a Values,
    pub(crate) state: &'a StateStore,
    pub(crate) link: &'a Link,
    pub(crate) usage: &'a Usage,
    pub(crate) node_gpus: &'a Gpus,
    /// Whether the task asks for memory to write its values into: what runs it passes no descriptor out.
    pub(crate) lends_memory: bool,
    /// How many GPUs the attempt has, and the memory in bytes that it may use on each.
    pub(crate) gpus: (usize, u64),
    pub(crate) log: &'a AttemptLog,
    /// Called when user code begins.
    pub(crate) started: &'a (dyn Fn() + Send + Sync),
}

/// How the conversation ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The task said that `run()` ended, well or not.
    Finished(Result<(), TaskError>),
    /// The socket closed without a word.
    Closed,
    /// Another program goes on with it.
    Parted,
    /// The task sent what no task of ours sends; in words that follow "the task".
    Violation(String),
}

/// What an attempt has said so far, as far as it matters later.
#[derive(Default)]
pub(crate) struct Said {
    pub(crate) staged: Staged,
    /// Whether its log says where its state may be.
    pub(crate) told_left_behind: bool,
    /// What it was lent last to write a value into, and has not published.
    pub(crate) lent: Option<Arc<OwnedFd>>,
    /// What this node last said that it could not do.
    pub(crate) could_not: Option<String>,
}

/// One attempt's side of the light protocol.
pub(crate) struct Server<'a> {
    pub(super) grant: Grant<'a>,
    pub(super) staged: Staged,
    /// Read when it is first asked for.
    pub(super) kept: Option<Kept>,
    /// Whether its log says where its state may be.
    pub(super) told_left_behind: bool,
    /// The globals that it can read, by name.
    pub(super) globals: HashMap<&'a str, &'a GlobalView>,
    /// Names of all nodes.
    pub(super) nodes: HashSet<&'a str>,
    /// What the task was lent last to write a value into, and has not published.
    pub(super) lent: Option<Arc<OwnedFd>>,
    pace: Pace,
    /// What this node last said that it could not do.
    could_not: Option<String>,
}

impl<'a> Server<'a> {
    /// Goes on from what was said before.
    pub(crate) fn new(grant: Grant<'a>, said: Said) -> Self {
        let inputs = grant.inputs;
        let Said { staged, told_left_behind, lent, could_not } = said;
        let globals = inputs.globals.iter().map(|global| (global.name.as_str(), global)).collect();
        let nodes = inputs.nodes.iter().map(String::as_str).collect();
        Self {
            grant,
            staged,
            kept: None,
            told_left_behind,
            lent,
            globals,
            nodes,
            pace: Pace::new(LIGHT_MESSAGES_PER_SECOND_MAX),
            could_not,
        }
    }

    /// Answers until the task is done, goes away or misbehaves.
    /// Between two messages it stands still when it is asked to.
    pub(crate) async fn serve(&mut self, channel: &Channel, busy: &Busy) -> Ending {
        loop {
            tokio::select! {
                biased;
                () = busy.asked() => {
                    if busy.stand_still().await {
                        return Ending::Parted;
                    }
                    continue;
                }
                // Whatever it is, it is read below.
                _ = channel.peek() => {}
            }
            match self.turn(channel).await {
                Ok(None) => {}
                Ok(Some(ending)) => return ending,
                Err(FrameError::Garbage(what)) => return Ending::Violation(what.to_owned()),
                Err(FrameError::Socket(error)) => {
                    tracing::debug!(%error, "the task's socket failed");
                    return Ending::Closed;
                }
            }
        }
    }

    /// What was said.
    pub(crate) fn into_said(self) -> Said {
        let Self { staged, told_left_behind, lent, could_not, .. } = self;
        Said { staged, told_left_behind, lent, could_not }
    }

    async fn turn(&mut self, channel: &Channel) -> Result<Option<Ending>, FrameError> {
        let Some(Frame { body, fd }) = channel.receive().await? else { return Ok(Some(Ending::Closed)) };
        self.pace.spend(1 + body.len() as u64 / LIGHT_MESSAGE_BYTES_COUNTED).await;
        let message: Message = match serde_json::from_slice(&body) {
            Ok(message) => message,
            Err(error) => {
                // It quotes the message, of which any word may be as long as a frame.
                let why = printable(&error.to_string(), WHY_UNREADABLE_CHARS_MAX);
                return Ok(Some(Ending::Violation(format!("sent a message that cannot be read: {why}"))));
            }
        };
        let lent = if fd.is_none() && message.call.carries_value() { self.lent.take() } else { None };
        if let Some(violation) = form_violation(&message, fd.is_some() || lent.is_some()) {
            return Ok(Some(Ending::Violation(violation.to_owned())));
        }
        match (message.id, message.call) {
            (None, notice) => self.note(notice).await,
            (Some(id), Call::Finished { ok, error }) => {
                send(channel, id, Ok(Reply::default())).await?;
                return Ok(Some(Ending::Finished(if ok { Ok(()) } else { Err(self.told(error)) })));
            }
            (Some(id), call) => {
                if matches!(call, Call::Hello) {
                    tracing::debug!("the task's program says hello");
                }
                let value = match (fd, lent) {
                    (None, None) => None,
                    (Some(fd), _) => Some(Ok(fd)),
                    (None, Some(lent)) => Some(take_back(&lent)),
                };
                let answer = match value {
                    Some(Ok(value)) => self.publish(call, value).await,
                    Some(Err(denied)) => Err(denied),
                    None => self.answer(call).await,
                };
                if let Err(Denied { is_nodes_fault: true, message, .. }) = &answer {
                    self.could_not = Some(message.clone());
                }
                let refused = if answer.is_err() { LIGHT_REFUSAL_COUNTED } else { 0 };
                let bytes = send(channel, id, answer).await? as u64;
                self.pace.spend(refused + bytes / LIGHT_MESSAGE_BYTES_COUNTED).await;
            }
        }
        Ok(None)
    }

    /// What the task failed with; the node's fault where it is the node's own words that end it.
    fn told(&self, error: Option<TaskError>) -> TaskError {
        let error = error.unwrap_or_else(unexplained);
        let is_nodes_fault = self.could_not.as_ref().is_some_and(|words| error.message.contains(words));
        TaskError { is_nodes_fault, ..error }
    }

    async fn note(&mut self, notice: Call) {
        let log = self.grant.log;
        match notice {
            Call::Started => (self.grant.started)(),
            Call::Log { level, message, time_ms } => log.logged(&level, &message, whole_ms(time_ms)).await,
            Call::Metrics { values, step } => {
                let text: Vec<String> =
                    values.iter().map(|(name, value)| format!("{name}={}", number(*value))).collect();
                values.iter().for_each(|(name, value)| self.staged.note_metric(name, *value));
                log.data("metrics", &text.join(" "), &json!({"values": values, "step": step})).await;
            }
            Call::Progress { done, total } => {
                let text = total.map_or_else(|| format!("{done}"), |total| format!("{done}/{total}"));
                log.data("progress", &text, &json!({"done": done, "total": total})).await;
            }
            other => unreachable!("the form was checked: {other:?}"),
        }
    }
}

/// What is wrong with a message's form, if something is.
fn form_violation(message: &Message, has_fd: bool) -> Option<&'static str> {
    if message.id.is_some() == message.call.is_notice() {
        return Some("sent a request without an id, or a notice with one");
    }
    (has_fd != message.call.carries_value()).then_some("sent a descriptor where none belongs, or none where one does")
}

/// Sends an answer, and says how many bytes it had.
async fn send(channel: &Channel, id: u64, answer: Result<Reply, Denied>) -> Result<usize, FrameError> {
    let (mut body, fd) = match answer {
        Ok(Reply { mut fields, fd }) => {
            fields.insert("ok".to_owned(), Value::Bool(true));
            (fields, fd)
        }
        Err(denied) => (refusal(&denied), None),
    };
    body.insert("id".to_owned(), id.into());
    let mut bytes = written(&body);
    if bytes.len() > LIGHT_FRAME_BYTES_MAX {
        let mut body = refusal(&Denied::new(
            "resource_exhausted",
            format!("the answer has {} bytes, 16 MiB are the limit", bytes.len()),
        ));
        body.insert("id".to_owned(), id.into());
        bytes = written(&body);
    }
    channel.send(&bytes, fd.as_deref().map(std::os::fd::AsFd::as_fd)).await?;
    Ok(bytes.len())
}

fn written(body: &serde_json::Map<String, Value>) -> Vec<u8> {
    serde_json::to_vec(body).expect("text keys and JSON values: always JSON")
}

fn refusal(denied: &Denied) -> serde_json::Map<String, Value> {
    let fields = json!({"ok": false, "error": denied.kind, "message": denied.message, "hint": denied.hint,
        "limit": denied.limit.map(AttemptLimit::name)});
    Reply::of(fields).fields
}

fn unexplained() -> TaskError {
    let (r#type, message) = ("Exception".to_owned(), "the task failed without saying how".to_owned());
    TaskError { r#type, message, traceback: String::new(), r#where: None, limit: None, is_nodes_fault: false }
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "not finite".to_owned(), |value| value.to_string())
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, which is good enough for people"
)]
fn whole_ms(ms: f64) -> u64 {
    ms as u64
}

#[cfg(test)]
mod tests;
