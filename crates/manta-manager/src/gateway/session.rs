//! One node's session after its welcome: reads what the node says until either side ends it.
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use manta_api::node::{self as wire, manager_message, node_message};
use manta_engine::Input;
use manta_store::BlobStore;
use manta_types::event::Timings;
use manta_types::{NodeName, OutcomeClass, SwarmId, crash_point, limits};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::log_intake::LogIntake;
use super::replay::ReplayIntake;
use super::{convert, finish};
use crate::ManagerError;
use crate::app::App;
use crate::orchestrator::{Handle, Session};
use crate::space::Space;

/// Messages of one session that cannot be used; a node that sends more breaks the protocol, and its session ends.
const UNUSABLE_MAX: u32 = 100;
/// How often in a lease it is looked whether the node was silent. Counted, so that a manager that stood still has not
/// heard nothing for long, but once.
const LOOKS: u32 = 3;

/// The reading half of a session.
pub(super) struct NodeSession {
    node: NodeName,
    session: Session,
    handle: Handle,
    blobs: Arc<dyn BlobStore>,
    logs: LogIntake,
    space: Arc<Space>,
    replays: ReplayIntake,
    app: App,
    unusable: u32,
}

/// Whether a session goes on.
enum Next {
    Read,
    End,
    /// With these words to the node.
    Cut(String),
}

impl NodeSession {
    pub(super) fn new(node: NodeName, session: Session, app: &App) -> Self {
        let (handle, space) = (app.handle.clone(), Arc::clone(&app.space));
        let replays = ReplayIntake::new(node.clone(), session.id, Arc::clone(&app.replays));
        let logs = LogIntake::new(node.clone(), handle.clone(), app.logs.clone());
        let blobs = Arc::clone(&app.blobs);
        Self { node, session, handle, blobs, logs, space, replays, app: app.clone(), unusable: 0 }
    }

    /// Reads until the stream ends, the session is replaced, the node is silent for a lease, or the manager stops.
    pub(super) async fn read(
        mut self,
        mut inbound: impl Stream<Item = Result<wire::NodeMessage, Status>> + Unpin,
        stop: CancellationToken,
    ) -> Result<(), ManagerError> {
        let over = self.session.over.clone();
        let outcome = loop {
            let message = tokio::select! {
                biased;
                () = over.cancelled() => break Ok(()),
                () = stop.cancelled() => break Ok(()),
                message = hear(&mut inbound) => message,
            };
            let message = match message {
                Some(Ok(message)) => message,
                Some(Err(status)) => {
                    tracing::info!(node = %self.node, reason = status.message(), "a session broke");
                    self.session.end(status.message().to_owned());
                    break Ok(());
                }
                None => break Ok(()),
            };
            self.handle.heard(&self.node);
            // In a place of its own: a session mostly waits, and what it needs for a message is many times larger.
            match Box::pin(self.take(message)).await {
                Ok(Next::Read) => {}
                Ok(Next::End) => break Ok(()),
                Ok(Next::Cut(words)) => {
                    tracing::warn!(node = %self.node, "its session ends: {words}");
                    self.session.end(words);
                    break Ok(());
                }
                Err(error) => break Err(error),
            }
        };
        over.cancel();
        self.replays.ended();
        self.app.links.forget(&self.node);
        let ended = self.handle.disconnect(self.node.clone(), self.session.id).await;
        tracing::debug!(node = %self.node, "session ended");
        outcome.and(ended)
    }

    async fn take(&mut self, message: wire::NodeMessage) -> Result<Next, ManagerError> {
        use node_message::Kind as K;
        let Some(kind) = message.kind else { return Ok(Next::Read) };
        let what = convert::kind_name(&kind);
        let taken = match kind {
            K::Heartbeat(beat) => {
                self.app.links.note(&self.node, beat.link_quality);
                let reply = wire::HeartbeatReply { count: beat.count };
                self.session.send(convert::message(manager_message::Kind::Heartbeat(reply)));
                Ok(())
            }
            K::Progress(progress) => self.progress(progress).await?,
            // The node keeps its report and says it again, until there is room for what it says.
            K::Finished(_) if self.space.shortage().is_some() => Ok(()),
            K::Finished(report) => match convert::attempt(&report.attempt) {
                Ok(_) => {
                    crash_point!("manager.report.received");
                    let input = finish::judge(&self.node, report, &self.blobs).await?;
                    crash_point!("manager.report.judged");
                    self.handle.report(input).await.map(Ok)?
                }
                Err(problem) => Err(problem),
            },
            K::Refused(refused) => self.refused(refused).await?,
            K::Notes(said) => match convert::notes(said.notes) {
                Ok(notes) => self.handle.note(self.node.clone(), notes).await.map(Ok)?,
                Err(problem) => Err(problem),
            },
            K::Offering(said) => match convert::offering(&self.node, said.datasets, &said.policy) {
                Ok(offering) => self.handle.offer(self.node.clone(), offering).await.map(Ok)?,
                Err(problem) => Err(problem),
            },
            K::StateKept(kept) => match convert::swarms(&kept.swarms) {
                Ok(swarms) => self.state_kept(swarms).await.map(Ok)?,
                Err(problem) => Err(problem),
            },
            K::Logs(mut batch) => {
                batch.lines.retain(|line| !self.replays.line(line));
                self.logs.take(batch).await.map(Ok)?
            }
            K::Distributed(told) => match convert::swarms(std::slice::from_ref(&told.swarm)) {
                Ok(swarms) => {
                    let failure = convert::clip(told.failure, 1024);
                    swarms.into_iter().for_each(|swarm| {
                        self.app.distributions.hear(&self.node, swarm, told.ready, failure.clone());
                    });
                    Ok(())
                }
                Err(problem) => Err(problem),
            },
            K::ReplayProgress(progress) => self.replays.progress(progress),
            K::ReplayFinished(finished) => self.replays.finished(finished, &self.blobs).await?,
            K::Goodbye(goodbye) => {
                let reason = convert::clip(goodbye.reason, 256);
                self.handle.leave(self.node.clone(), self.session.id, reason).await?;
                return Ok(Next::End);
            }
            K::Hello(_) => Err("a session has one hello".to_owned()),
        };
        if let Err(problem) = taken {
            tracing::warn!(node = %self.node, what, problem, "a message cannot be used");
            self.unusable += 1;
            if self.unusable > UNUSABLE_MAX {
                return Ok(Next::Cut(format!(
                    "more than {UNUSABLE_MAX} messages could not be used; the last: {problem}"
                )));
            }
        }
        Ok(Next::Read)
    }

    async fn progress(&self, progress: wire::AttemptProgress) -> Result<Result<(), String>, ManagerError> {
        let (attempt, phase) = match (convert::attempt(&progress.attempt), convert::phase(&progress.phase)) {
            (Ok(attempt), Ok(phase)) => (attempt, phase),
            (Err(problem), _) | (_, Err(problem)) => return Ok(Err(problem)),
        };
        let node = self.node.clone();
        self.handle.report(Input::Progressed { node, attempt, epoch: progress.epoch, phase }).await.map(Ok)
    }

    /// Answers which of the state that a node keeps it may forget; that nobody needs it is durable by then.
    async fn state_kept(&self, swarms: Vec<SwarmId>) -> Result<(), ManagerError> {
        // A swarm that failed before the start may be continued still. The node asks again when it dials again.
        if !self.handle.knows_all() {
            return Ok(());
        }
        let unneeded = self.handle.ask(move |view| view.engine.unneeded_state(&swarms)).await?;
        if !unneeded.is_empty() {
            tracing::debug!(node = %self.node, swarms = unneeded.len(), "a node keeps state that nobody needs");
            let swarms = unneeded.iter().map(ToString::to_string).collect();
            let unneeded = wire::StateUnneeded { swarms };
            self.session.send(convert::message(manager_message::Kind::StateUnneeded(unneeded)));
        }
        Ok(())
    }

    async fn refused(&self, refused: wire::Refused) -> Result<Result<(), String>, ManagerError> {
        let attempt = match convert::attempt(&refused.attempt) {
            Ok(attempt) => attempt,
            Err(problem) => return Ok(Err(problem)),
        };
        let mut failure = finish::platform(convert::clip(refused.reason, 4096));
        failure.class = OutcomeClass::from_name(&refused.class).unwrap_or(OutcomeClass::Platform);
        let (node, epoch) = (self.node.clone(), refused.epoch);
        let input = Input::Failed { node, attempt, epoch, failure, results: Vec::new(), timings: Timings::default() };
        self.handle.report(input).await.map(Ok)
    }
}

/// The next message; an error where none came for a lease, or it cannot be read, and nothing where the stream has ended.
async fn hear(
    inbound: &mut (impl Stream<Item = Result<wire::NodeMessage, Status>> + Unpin),
) -> Option<Result<wire::NodeMessage, Status>> {
    for _ in 0..LOOKS {
        if let Ok(message) = tokio::time::timeout(limits::LEASE / LOOKS, inbound.next()).await {
            return message;
        }
    }
    let silence = limits::LEASE.as_secs();
    Some(Err(Status::deadline_exceeded(format!("nothing was heard for {silence} s"))))
}
