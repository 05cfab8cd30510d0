//! Who is told of what is durable: nodes through their sessions, subscribers through watches.
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use manta_api::node::ManagerMessage;
use manta_engine::Command;
use manta_types::{NodeName, SwarmId};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::gateway::to_wire;

/// Messages that may wait for a node; a node that lets more pile up loses its session and connects again.
const SESSION_QUEUE_MAX: usize = 1024;

/// Tells one session from those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SessionId(u64);

/// The manager's end of a node's session.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    queue: mpsc::Sender<ManagerMessage>,
    /// Cancelled when the session is to end.
    pub(crate) over: CancellationToken,
}

/// A new session and the messages that leave through it.
pub(crate) fn session_channel() -> (Session, mpsc::Receiver<ManagerMessage>) {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let (queue, waiting) = mpsc::channel(SESSION_QUEUE_MAX);
    let id = SessionId(NEXT.fetch_add(1, Ordering::Relaxed));
    (Session { id, queue, over: CancellationToken::new() }, waiting)
}

impl Session {
    /// Queues a message, or ends the session when its queue is full.
    pub(crate) fn send(&self, message: ManagerMessage) {
        if let Err(error) = self.queue.try_send(message) {
            if matches!(error, mpsc::error::TrySendError::Full(_)) {
                tracing::warn!("a node does not read its messages; its session ends");
            }
            self.over.cancel();
        }
    }
}

/// The open sessions, one per node.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    open: BTreeMap<NodeName, Session>,
}

impl Sessions {
    /// Puts a session in place of the node's former one, which ends.
    pub(super) fn insert(&mut self, node: NodeName, session: Session) {
        if let Some(former) = self.open.insert(node, session) {
            former.over.cancel();
        }
    }

    pub(super) fn is_open(&self, node: &NodeName) -> bool {
        self.open.get(node).is_some_and(|session| !session.over.is_cancelled() && !session.queue.is_closed())
    }

    /// Forgets a session, unless another took its place; whether it was there.
    pub(super) fn remove(&mut self, node: &NodeName, session: SessionId) -> bool {
        let current = self.open.get(node).is_some_and(|open| open.id == session);
        if current {
            self.open.remove(node);
        }
        current
    }

    /// Sends commands on their way; what finds no session is said again when the node connects.
    pub(super) fn dispatch(&self, commands: Vec<Command>) {
        for command in commands {
            let node = match &command {
                Command::Offer(offer) => &offer.node,
                Command::Cancel { node, .. } | Command::Verdict { node, .. } => node,
            };
            if let Some(session) = self.open.get(node) {
                session.send(to_wire(&command));
            }
        }
    }
}

/// A rising number per swarm that anyone may wait on: the last durable event, or the last stored log line.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    swarms: Mutex<BTreeMap<SwarmId, watch::Sender<u64>>>,
}

impl Watches {
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

    /// Waits on a swarm's number.
    pub(crate) fn subscribe(&self, swarm: SwarmId) -> watch::Receiver<u64> {
        let mut swarms = self.swarms.lock().unwrap_or_else(PoisonError::into_inner);
        swarms.entry(swarm).or_insert_with(|| watch::channel(0).0).subscribe()
    }
}
