//! Another program in this one's place: tried out first, then everybody stands still for it, and what runs goes on under it.
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use manta_api::control::Trial;
use manta_api::version::{HANDOVER, PRODUCT};
use tokio::process::Command;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::attempt::Attempts;
use crate::settings::OwnProgram;
use crate::{NodeError, TRIAL};

/// How long a program may take to say what it is.
const TRIAL_MAX: Duration = Duration::from_secs(20);
/// How long attempts may take to come to a place where they can be left: between two messages, or with their end on disk.
const STILL_MAX: Duration = Duration::from_secs(20);
/// How long it is waited for log lines to be sent; the rest is left to the next program.
const LINES_MAX: Duration = Duration::from_secs(1);
/// How long whoever asked may take to be told.
const TOLD_MAX: Duration = Duration::from_secs(1);
/// Characters of what a program says when it fails.
const SAID_CHARS_MAX: usize = 300;

/// The wish for another program.
pub(crate) struct Request {
    /// Its file; none: that of this program, as it is now.
    pub(crate) program: Option<PathBuf>,
    /// Told what comes of it: the release that takes over.
    pub(crate) reply: oneshot::Sender<Result<String, NodeError>>,
    /// Resolves when whoever asked was told.
    pub(crate) told: oneshot::Receiver<()>,
}

/// Waits for a wish that can be met, and has everybody stand still for it; the program that is to come.
pub(crate) async fn wished(
    mut requests: mpsc::Receiver<Request>,
    attempts: &Arc<Attempts>,
    own: Option<&OwnProgram>,
) -> PathBuf {
    loop {
        let Some(Request { program, reply, told }) = requests.recv().await else { return std::future::pending().await };
        match make_room(attempts, own, program).await {
            Ok((program, release)) => {
                tracing::info!(from = PRODUCT, to = release, program = %program.display(), "another program takes over");
                // Whoever asked may be gone; then nobody need be waited for.
                if reply.send(Ok(release)).is_ok() {
                    let _ = timeout(TOLD_MAX, told).await;
                }
                return program;
            }
            Err(error) => {
                tracing::warn!("{error}");
                // Whoever asked may be gone; the log says it.
                let _ = reply.send(Err(error));
            }
        }
    }
}

async fn make_room(
    attempts: &Arc<Attempts>,
    own: Option<&OwnProgram>,
    named: Option<PathBuf>,
) -> Result<(PathBuf, String), NodeError> {
    let refuse = |why: String| NodeError::Upgrade(format!("{why}; manta {PRODUCT} goes on"));
    let node = attempts.node();
    let own = own.ok_or_else(|| refuse("this agent is a part of another command, with which it ends".to_owned()))?;
    let program = named.unwrap_or_else(|| own.file.clone());
    let Trial { agent_version, handover, .. } = try_out(&program, &own.arguments).await.map_err(&refuse)?;
    if handover != HANDOVER {
        return Err(refuse(format!(
            "manta {agent_version} cannot take over attempts that run (handover {handover}, and this is {HANDOVER}); drain the \
             node first, and start it anew"
        )));
    }
    if !node.engine.can_part() && attempts.counts().0 > 0 {
        return Err(refuse(format!(
            "attempts run in containers of {}, which no other program can take over; drain the node first",
            node.engine.describe()
        )));
    }
    if !node.parting.ask(STILL_MAX).await {
        let limit = STILL_MAX.as_secs();
        return Err(refuse(format!(
            "an attempt was in the middle of starting, of a message or of its end for {limit} s; try again, or drain the node first"
        )));
    }
    // What cannot be sent now is sent by the next program.
    let _ = timeout(LINES_MAX, node.outbox.empty()).await;
    if !node.parting.decide() {
        return Err(refuse("an attempt ended at that moment; try again".to_owned()));
    }
    Ok((program, agent_version))
}

/// Has a program say what it is, with all that this one was started with.
async fn try_out(program: &Path, arguments: &[OsString]) -> Result<Trial, String> {
    let name = program.display();
    let mut command = Command::new(program);
    command.args(arguments).arg(TRIAL).stdin(Stdio::null()).kill_on_drop(true);
    let output = match timeout(TRIAL_MAX, command.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(format!("the program `{name}` cannot be started: {error}")),
        Err(_) => return Err(format!("the program `{name}` did not say within {} s what it is", TRIAL_MAX.as_secs())),
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said: String = said.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(SAID_CHARS_MAX).collect();
        let said = if said.is_empty() { output.status.to_string() } else { said };
        return Err(format!("the program `{name}` cannot take over: {said}"));
    }
    let trial = serde_json::from_slice(&output.stdout);
    trial.map_err(|_| format!("the program `{name}` does not say what it is, as an agent that can take over does"))
}
