//! Who is told of what is durable: nodes through their sessions, subscribers through watches.
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use manta_api::node::ManagerMessage;
use manta_engine::Command;
use manta_types::{SwarmId, SwarmSpec};
use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::turn::SessionId;
use crate::gateway::to_wire;

/// Messages that may wait for a node; a node that lets more pile up loses its session and connects again.
const SESSION_QUEUE_MAX: usize = 1024;

/// The manager's end of a node's session.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    queue: mpsc::Sender<ManagerMessage>,
    /// Cancelled when the session is to end.
    pub(crate) over: CancellationToken,
    /// Why it ends, for the node; nothing where the node knows.
    why: Arc<OnceLock<String>>,
}

/// A new session and the messages that leave through it.
pub(crate) fn session_channel() -> (Session, mpsc::Receiver<ManagerMessage>) {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let (queue, waiting) = mpsc::channel(SESSION_QUEUE_MAX);
    let id = SessionId(NEXT.fetch_add(1, Ordering::Relaxed));
    (Session { id, queue, over: CancellationToken::new(), why: Arc::default() }, waiting)
}

impl Session {
    /// Queues a message, or ends the session when its queue is full.
    pub(crate) fn send(&self, message: ManagerMessage) {
        if let Err(error) = self.queue.try_send(message) {
            if matches!(error, mpsc::error::TrySendError::Full(_)) {
                tracing::warn!("a node does not read its messages; its session ends");
                self.end(format!("the node let {SESSION_QUEUE_MAX} messages wait"));
            }
            self.over.cancel();
        }
    }

    /// Ends the session, and tells the node why.
    pub(crate) fn end(&self, why: String) {
        // The first reason is the one to tell.
        let _ = self.why.set(why);
        self.over.cancel();
    }

    /// Why it ended, where the node is to be told.
    pub(crate) fn why(&self) -> Option<&str> {
        self.why.get().map(String::as_str)
    }
}

/// The sessions that can be spoken through.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    open: BTreeMap<SessionId, Session>,
}

impl Sessions {
    pub(super) fn insert(&mut self, session: Session) {
        self.open.insert(session.id, session);
    }

    /// Whether a session that was open has ended.
    pub(super) fn is_broken(&self, session: SessionId) -> bool {
        self.open.get(&session).is_some_and(|session| session.over.is_cancelled() || session.queue.is_closed())
    }

    /// Forgets a session that has ended.
    pub(super) fn remove(&mut self, session: SessionId) {
        self.open.remove(&session);
    }

    /// Ends a session, and tells the node why.
    pub(super) fn end(&mut self, session: SessionId, why: &str) {
        if let Some(session) = self.open.remove(&session) {
            session.end(why.to_owned());
        }
    }

    /// Sends a command on its way; where the session is gone, it is said again when the node connects.
    pub(super) fn send(&self, session: SessionId, command: &Command) {
        if let Some(session) = self.open.get(&session) {
            session.send(to_wire(command));
        }
    }
}

/// Swarms whose end may wait to be read by each of those who wait for ends; beyond, the oldest are not told.
const ENDED_MAX: usize = 1024;

/// A swarm that is over, and what was submitted.
pub(crate) type EndedSwarm = (SwarmId, Arc<SwarmSpec>);

/// A rising number per swarm that anyone may wait on: the last durable event, or the last stored log line; and ends of swarms.
#[derive(Debug)]
pub(crate) struct Watches {
    swarms: Mutex<BTreeMap<SwarmId, watch::Sender<u64>>>,
    ended: broadcast::Sender<EndedSwarm>,
}

impl Default for Watches {
    fn default() -> Self {
        Self { swarms: Mutex::default(), ended: broadcast::channel(ENDED_MAX).0 }
    }
}

impl Watches {
    /// The end of a swarm is durable.
    pub(crate) fn end(&self, swarm: SwarmId, submitted: &Arc<SwarmSpec>) {
        // Nobody may be waiting for ends.
        let _ = self.ended.send((swarm, Arc::clone(submitted)));
    }

    /// Waits for ends, from now on.
    pub(crate) fn subscribe_ended(&self) -> broadcast::Receiver<EndedSwarm> {
        self.ended.subscribe()
    }

    /// Raises a swarm's number.
    pub(crate) fn raise(&self, swarm: SwarmId, number: u64) {
        let mut swarms = self.swarms.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = swarms.entry(swarm).or_insert_with(|| watch::channel(0).0);
        sender.send_if_modified(|current| {
            let rises = number > *current;
            *current = number.max(*current);
            rises
        });
    }

    /// Lets go of swarms that are gone; whoever waits on one sees its watch close.
    pub(crate) fn forget(&self, gone: impl IntoIterator<Item = SwarmId>) {
        let mut swarms = self.swarms.lock().unwrap_or_else(PoisonError::into_inner);
        gone.into_iter().for_each(|swarm| drop(swarms.remove(&swarm)));
    }

    /// Waits on a swarm's number.
    pub(crate) fn subscribe(&self, swarm: SwarmId) -> watch::Receiver<u64> {
        let mut swarms = self.swarms.lock().unwrap_or_else(PoisonError::into_inner);
        swarms.entry(swarm).or_insert_with(|| watch::channel(0).0).subscribe()
    }
}
