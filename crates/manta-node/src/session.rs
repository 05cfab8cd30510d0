//! The connection to the manager: dialled, kept alive, and dialled again for ever.
use std::sync::Arc;
use std::time::Duration;

use manta_api::ErrorCode;
use manta_api::node::manager_message::Kind as Said;
use manta_api::node::node_gateway_client::NodeGatewayClient;
use manta_api::node::node_message::Kind;
use manta_api::node::{Goodbye, Gpu, Heartbeat, Hello, ManagerMessage, NodeMessage, Offering, Welcome};
use manta_api::version::{NODE_PROTOCOL, PRODUCT};
use manta_client::Endpoint;
use manta_types::NodeId;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::metadata::AsciiMetadataValue;
use tonic::{Code, Request, Status, Streaming};
use uuid::Uuid;

use crate::NodeError;
use crate::agent::Node;
use crate::attempt::{Attempts, Replays};
use crate::distribution::Distribution;
use crate::identity::{Credentials, NotRenewed};
use crate::outbox::Ready;
use crate::remote::jittered;

/// The first wait before the manager is dialled again.
const REDIAL_FIRST: Duration = Duration::from_millis(200);
/// The longest wait before the manager is dialled again.
const REDIAL_MAX: Duration = Duration::from_secs(5);
/// How long the manager may take to answer a dial and a greeting.
const GREETING_MAX: Duration = Duration::from_secs(10);
/// How long the end of an orderly session is waited for.
const GOODBYE_MAX: Duration = Duration::from_millis(500);
/// How long a batch of log lines may grow.
const GATHER: Duration = Duration::from_millis(50);
/// Heartbeats after which reports that were not answered are said again in the same session: a manager whose disk is full
/// lets them pass by.
const BEATS_UNTIL_AGAIN: u64 = 3;
/// Heartbeats after which the manager is told again whose state this node keeps: swarms end meanwhile, and are purged.
const BEATS_UNTIL_KEPT: u64 = 30;
/// How often in a lease it is looked whether the manager was silent. Counted, so that an agent that stood still has not
/// heard nothing for long, but once.
const LOOKS: u32 = 3;
/// Messages between us and the connection; few, so that a heartbeat never waits behind much.
const IN_FLIGHT_MAX: usize = 4;

/// What a session needs.
pub(crate) struct Session {
    pub(crate) node: Arc<Node>,
    pub(crate) attempts: Arc<Attempts>,
    pub(crate) replays: Arc<Replays>,
    pub(crate) distribution: Distribution,
    pub(crate) id: NodeId,
    pub(crate) manager: Endpoint,
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) slots: u32,
    /// Tells this process of the agent from those before it, whose greetings may still be on their way.
    pub(crate) process: Uuid,
}

/// How a session ended.
enum End {
    /// The agent is stopping.
    Stopping,
    /// The manager does not want this node.
    Refused(NodeError),
    /// It broke off, or could not be made.
    Cut { why: String, was_connected: bool },
    /// The manager does not serve this release, until one of the two is upgraded.
    Mismatch { why: String },
}

impl Session {
    /// Keeps a session until the agent stops or the manager refuses this node.
    pub(crate) async fn keep(self, stop: CancellationToken) -> Result<(), NodeError> {
        let credentials = Arc::clone(&self.credentials);
        tokio::select! {
            ended = self.dial_on(stop) => ended,
            ended = credentials.keep() => ended,
        }
    }

    async fn dial_on(self, stop: CancellationToken) -> Result<(), NodeError> {
        let (mut dials, mut wait) = (0u64, REDIAL_FIRST);
        let mut mismatch = None;
        let mut greetings = 0u64;
        loop {
            greetings += 1;
            let end = self.once(greetings, &stop).await;
            self.node.link.cut();
            self.attempts.end_session();
            self.replays.cut();
            let why = match end {
                End::Stopping => return Ok(()),
                End::Refused(error) => return Err(error),
                End::Cut { why, was_connected } => {
                    if was_connected {
                        (dials, wait) = (0, REDIAL_FIRST);
                    }
                    mismatch = None;
                    why
                }
                End::Mismatch { why } => {
                    if mismatch.as_ref() != Some(&why) {
                        let manager = self.manager.to_string();
                        tracing::error!(manager, "{why}; it is dialled until it takes this node in");
                        mismatch = Some(why.clone());
                    }
                    // It was said.
                    dials = dials.max(1);
                    why
                }
            };
            self.node.link.fails(&why);
            dials += 1;
            let next = jittered(wait);
            wait = (wait * 2).min(REDIAL_MAX);
            let (manager, next_try_ms) = (self.manager.to_string(), next.as_millis());
            if dials == 1 {
                tracing::warn!(
                    manager,
                    dials,
                    next_try_ms,
                    error = why,
                    "the manager cannot be reached; it is dialled until it answers"
                );
            } else {
                tracing::debug!(manager, dials, next_try_ms, error = why, "the manager cannot be reached");
            }
            if stop.run_until_cancelled(tokio::time::sleep(next)).await.is_none() {
                return Ok(());
            }
        }
    }

    async fn once(&self, dial: u64, stop: &CancellationToken) -> End {
        let (send, waiting) = mpsc::channel(IN_FLIGHT_MAX);
        let greeted = stop.run_until_cancelled(timeout(GREETING_MAX, self.greet(dial, &send, waiting))).await;
        let (welcome, mut inbound) = match greeted {
            None => return End::Stopping,
            Some(Err(_)) => return cut("it did not answer the greeting in time", false),
            Some(Ok(Err(end))) => return end,
            Some(Ok(Ok(session))) => session,
        };
        self.begin(&welcome);
        let silence = Duration::from_millis(welcome.lease_ms.max(1000));
        let beat = Duration::from_millis(welcome.heartbeat_ms.max(100));
        let end = tokio::select! {
            end = self.listen(&mut inbound, silence) => end,
            () = self.speak(&send) => cut("the connection closed", true),
            () = self.beat(&send, beat) => cut("the connection closed", true),
            () = stop.cancelled() => End::Stopping,
        };
        // A program that takes this one's place goes on with what runs.
        if matches!(end, End::Stopping) && !self.node.parting.is_decided() {
            part(send, &mut inbound).await;
        }
        end
    }

    /// Dials, says who we are, and waits to be welcomed.
    async fn greet(
        &self,
        dial: u64,
        send: &mpsc::Sender<NodeMessage>,
        waiting: mpsc::Receiver<NodeMessage>,
    ) -> Result<(Welcome, Streaming<ManagerMessage>), End> {
        let unreachable = |error: &dyn std::fmt::Display| cut(&error.to_string(), false);
        self.credentials.before_dialling().await.map_err(|not| match not {
            NotRenewed::Yet(why) => cut(&why, false),
            NotRenewed::Ever(error) => End::Refused(error),
        })?;
        let origin = tonic::transport::Endpoint::from_shared(self.manager.origin()).map_err(|e| unreachable(&e))?;
        let dialled = origin.connect_with_connector(self.credentials.connector(&self.manager)).await;
        let channel = dialled.map_err(|error| unreachable(&chain(&error)))?;
        let mut request = Request::new(ReceiverStream::new(waiting));
        if let Some(token) = self.credentials.token() {
            let bearer = AsciiMetadataValue::try_from(format!("Bearer {}", token.expose()));
            let mut bearer = bearer
                .map_err(|_| self.refused(ErrorCode::Unauthorized, "the token holds characters that no token has"))?;
            bearer.set_sensitive(true);
            request.metadata_mut().insert("authorization", bearer);
        }
        // There is room: nothing was sent before.
        let _ = send.try_send(NodeMessage { kind: Some(Kind::Hello(self.hello(dial))) });
        let answered = NodeGatewayClient::new(channel).session(request).await;
        let mut inbound = answered.map_err(|status| self.told(&status, false))?.into_inner();
        match inbound.message().await {
            Ok(Some(ManagerMessage { kind: Some(Said::Welcome(welcome)) })) => Ok((welcome, inbound)),
            Ok(_) => Err(cut("it did not welcome this node", false)),
            Err(status) => Err(self.told(&status, false)),
        }
    }

    fn hello(&self, dial: u64) -> Hello {
        let node = &self.node;
        let Offering { datasets, policy } = node.greet_with_offering();
        let gpus = node.gpus.all().iter().map(|gpu| Gpu { name: gpu.name.clone(), memory_bytes: gpu.memory_bytes });
        let (major, minor, patch) = node.images.host().version();
        Hello {
            protocol: NODE_PROTOCOL,
            // Read from the program's data, where a test of upgrades writes another release.
            agent_version: std::hint::black_box(PRODUCT).to_owned(),
            name: node.name.to_string(),
            node_id: self.id.to_string(),
            labels: node.labels.clone().into_iter().collect(),
            datasets,
            slots: self.slots,
            cpu_count: crate::host::cpu_count(),
            memory_bytes: crate::host::memory_bytes().unwrap_or_default(),
            tier: node.tier.name().to_owned(),
            engine: node.engine.name().to_owned(),
            notes: self.attempts.notes(),
            images: node.images.names(),
            image_digests: node.images.digests(),
            image_pythons: node.images.pythons(),
            python_version: format!("{major}.{minor}.{patch}"),
            held: self.attempts.held(),
            gpus: gpus.collect(),
            platform: node.images.runtime().map(|runtime| runtime.platform.to_string()).unwrap_or_default(),
            process: self.process.to_string(),
            dial,
            policy,
        }
    }

    fn begin(&self, welcome: &Welcome) {
        manta_types::crash_point!("node.session.begun");
        self.node.link.connected();
        self.attempts.begin_session((welcome.generation > 0).then_some(welcome.generation));
        self.attempts.say_kept();
        let node = &self.node;
        node.tell_offering();
        tracing::info!(node = %node.name, manager = %self.manager, tier = node.tier.name(), "connected");
    }

    /// Does what the manager says, until it says nothing for too long.
    async fn listen(&self, inbound: &mut Streaming<ManagerMessage>, silence: Duration) -> End {
        loop {
            let message = match hear(inbound, silence).await {
                Some(Ok(Some(message))) => message,
                Some(Ok(None)) => return cut("it ended the session", true),
                Some(Err(status)) => return self.told(&status, true),
                None => return cut("it was silent for too long", true),
            };
            self.node.link.heard();
            match message.kind {
                Some(Said::Offer(offer)) => self.attempts.offer(offer),
                Some(Said::Cancel(cancel)) => self.attempts.cancel(&cancel),
                Some(Said::Verdict(verdict)) => self.attempts.answered(&verdict),
                Some(Said::StateUnneeded(unneeded)) => self.attempts.unneeded(&unneeded),
                Some(Said::Distribute(order)) => self.distribution.take(order),
                Some(Said::Replay(order)) => self.replays.take(order),
                Some(Said::ReplayCancel(cancel)) => self.replays.cancel(&cancel),
                Some(Said::Heartbeat(reply)) => self.node.link.answered(reply.count),
                Some(Said::Welcome(_)) | None => tracing::warn!("a message of the manager was not understood"),
            }
        }
    }

    /// Sends what waits, until the connection closes.
    async fn speak(&self, send: &mpsc::Sender<NodeMessage>) {
        loop {
            let kind = match self.node.outbox.next().await {
                Ready::Message(kind) => kind,
                Ready::Logs(mut batch) => {
                    self.node.outbox.gather(&mut batch, Instant::now() + GATHER).await;
                    Kind::Logs(batch)
                }
            };
            if send.send(NodeMessage { kind: Some(kind) }).await.is_err() {
                return;
            }
        }
    }

    /// Says that the node lives, until the connection closes.
    async fn beat(&self, send: &mpsc::Sender<NodeMessage>, every: Duration) {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for count in 1.. {
            ticks.tick().await;
            let (running, queued) = self.attempts.counts();
            let whole = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
            let link_quality = self.node.link.quality();
            let beat = Heartbeat { count, running: whole(running), queued: whole(queued), link_quality };
            let Ok(place) = send.reserve().await else { return };
            self.node.link.sent(count);
            place.send(NodeMessage { kind: Some(Kind::Heartbeat(beat)) });
            if count.is_multiple_of(BEATS_UNTIL_AGAIN) {
                self.attempts.say_again();
            }
            if count.is_multiple_of(BEATS_UNTIL_KEPT) {
                self.attempts.say_kept();
            }
        }
    }

    /// What a status means: some are the manager's last word.
    fn told(&self, status: &Status, was_connected: bool) -> End {
        let code = match status.code() {
            // A clock that is wrong is set, and then a certificate counts again.
            Code::Unauthenticated if self.credentials.token().is_none() => return cut(status.message(), false),
            Code::Unauthenticated => ErrorCode::Unauthorized,
            Code::PermissionDenied => ErrorCode::Forbidden,
            Code::AlreadyExists => ErrorCode::Conflict,
            // An upgrade of either ends it.
            Code::FailedPrecondition => return End::Mismatch { why: status.message().to_owned() },
            Code::InvalidArgument => ErrorCode::BadRequest,
            // It was welcome, and is cut off: coming back at once would only end the same way.
            Code::Aborted => return cut(status.message(), false),
            _ => return cut(&chain(status), was_connected),
        };
        self.refused(code, status.message())
    }

    fn refused(&self, code: ErrorCode, reason: &str) -> End {
        End::Refused(NodeError::Refused { manager: self.manager.to_string(), reason: reason.to_owned(), code })
    }
}

/// The next message; nothing where the manager was silent for too long.
async fn hear(
    inbound: &mut Streaming<ManagerMessage>,
    silence: Duration,
) -> Option<Result<Option<ManagerMessage>, Status>> {
    for _ in 0..LOOKS {
        if let Ok(message) = timeout(silence / LOOKS, inbound.message()).await {
            return Some(message);
        }
    }
    None
}

fn cut(why: &str, was_connected: bool) -> End {
    End::Cut { why: why.to_owned(), was_connected }
}

/// Says goodbye and waits a moment for the manager to have heard it.
async fn part(send: mpsc::Sender<NodeMessage>, inbound: &mut Streaming<ManagerMessage>) {
    let reason = "the agent was stopped".to_owned();
    let goodbye = NodeMessage { kind: Some(Kind::Goodbye(Goodbye { reason })) };
    let said = async {
        if send.send(goodbye).await.is_ok() {
            drop(send);
            while let Ok(Some(_)) = inbound.message().await {}
        }
    };
    if timeout(GOODBYE_MAX, said).await.is_err() {
        tracing::debug!("the manager did not end the session in time");
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        let more = deeper.to_string();
        if !words.contains(&more) {
            words = format!("{words}: {more}");
        }
        cause = deeper.source();
    }
    words
}
