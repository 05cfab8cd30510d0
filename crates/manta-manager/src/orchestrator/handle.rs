//! How the rest of the manager speaks to the service loop.
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use manta_engine::{Input, SwarmRun};
use manta_store::NewSwarm;
use manta_types::{NodeName, SwarmId, SwarmSpec};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::change::Change;
use super::core::{InUse, View};
use super::ended::{self, Memory};
use super::message::{Connect, Message, Release};
use super::profile::Offering;
use super::publish::Watches;
use super::turn::{ChangeOutcome, SessionId, SubmitOutcome};
use crate::ManagerError;

/// Nodes heard since the last turn: a thousand heartbeats between two turns cost one entry each.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    nodes: Mutex<BTreeSet<NodeName>>,
    news: Notify,
}

impl Heard {
    pub(super) fn take(&self) -> BTreeSet<NodeName> {
        std::mem::take(&mut self.nodes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Forgets that a node was heard, because something later says that it is gone.
    pub(super) fn forget(&self, node: &NodeName) {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner).remove(node);
    }

    pub(super) async fn news(&self) {
        self.news.notified().await;
    }

    fn add(&self, node: &NodeName) {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if !nodes.contains(node) {
            nodes.insert(node.clone());
            self.news.notify_one();
        }
    }
}

/// A clonable handle on the service loop.
#[derive(Clone)]
pub(crate) struct Handle {
    pub(super) inbox: mpsc::Sender<Message>,
    pub(super) heard: Arc<Heard>,
    pub(super) watches: Arc<Watches>,
    pub(super) memory: watch::Receiver<Memory>,
}

impl Handle {
    /// The last durable sequence of each swarm.
    pub(crate) fn watches(&self) -> &Watches {
        &self.watches
    }

    /// Asks about the present state; answered when all that it shows is durable.
    pub(crate) async fn ask<R: Send + 'static>(
        &self,
        question: impl FnOnce(&View<'_>) -> R + Send + 'static,
    ) -> Result<R, ManagerError> {
        let (reply, answer) = oneshot::channel();
        let question = Box::new(move |view: &View<'_>| -> Release {
            let found = question(view);
            // The asker may have gone away.
            Box::new(move || drop(reply.send(found)))
        });
        self.send(Message::Ask(question)).await?;
        answer.await.map_err(|_| stopped())
    }

    /// As [`Handle::ask`], once all swarms are known that ended before the manager started.
    ///
    /// # Errors
    /// Also when one of those cannot be read.
    pub(crate) async fn ask_of_all<R: Send + 'static>(
        &self,
        question: impl FnOnce(&View<'_>) -> R + Send + 'static,
    ) -> Result<R, ManagerError> {
        ended::known(self.memory.clone()).await?;
        self.ask(question).await
    }

    /// Waits until what ended before the manager started has been read, whether or not all of it could be.
    pub(crate) async fn all_read(&self) -> Result<(), ManagerError> {
        ended::read(self.memory.clone()).await.map(|_| ())
    }

    /// Whether the swarms that ended before the start are all known again.
    pub(crate) fn knows_all(&self) -> bool {
        *self.memory.borrow() == ended::Memory::Whole
    }

    /// Hands a checked swarm over.
    pub(crate) async fn submit(&self, new: NewSwarm, spec: Arc<SwarmSpec>) -> Result<SubmitOutcome, ManagerError> {
        let (reply, answer) = oneshot::channel();
        self.send(Message::Submit { new, spec, reply }).await?;
        answer.await.map_err(|_| stopped())
    }

    /// Hands over a swarm that goes on where one that failed stopped.
    pub(crate) async fn retry(&self, new: NewSwarm, failed: SwarmId) -> Result<SubmitOutcome, ManagerError> {
        let (reply, answer) = oneshot::channel();
        self.send(Message::Retry { new, failed, reply }).await?;
        answer.await.map_err(|_| stopped())
    }

    /// Asks for a change, and waits until it is durable.
    pub(crate) async fn change(
        &self,
        change: Change,
        idempotency: Option<(String, String)>,
    ) -> Result<ChangeOutcome, ManagerError> {
        let (reply, answer) = oneshot::channel();
        self.send(Message::Change { change, idempotency, reply }).await?;
        answer.await.map_err(|_| stopped())
    }

    /// Says what happened, without waiting for it to be durable.
    pub(crate) async fn report(&self, input: Input) -> Result<(), ManagerError> {
        let (done, _) = oneshot::channel();
        self.send(Message::Step { input: Box::new(input), done }).await
    }

    /// Lets go of swarms that have ended, in whole lines, and waits until they are gone.
    pub(crate) async fn purge(&self, swarms: BTreeSet<SwarmId>) -> Result<(), ManagerError> {
        let (done, durable) = oneshot::channel();
        self.send(Message::Purge { swarms, done }).await?;
        durable.await.map_err(|_| stopped())
    }

    /// Forgets keys of no swarm that were used before this moment, wall clock in ms since 1970, and waits until they are gone.
    pub(crate) async fn forget_keys(&self, before_ms: u64) -> Result<(), ManagerError> {
        let (done, durable) = oneshot::channel();
        self.send(Message::ForgetKeys { before_ms, done }).await?;
        durable.await.map_err(|_| stopped())
    }

    /// Makes swarms known again that ended before the start, and waits until they can be asked about.
    pub(super) async fn remember(&self, ended: Vec<SwarmRun>) -> Result<(), ManagerError> {
        let (done, known) = oneshot::channel();
        self.send(Message::Remember { ended, done }).await?;
        known.await.map_err(|_| stopped())
    }

    /// Ends the loop for good, unless the cluster is in use; what uses it then.
    pub(crate) async fn close(&self) -> Result<Option<InUse>, ManagerError> {
        let (reply, answer) = oneshot::channel();
        self.send(Message::Close { reply }).await?;
        answer.await.map_err(|_| stopped())
    }

    /// Opens a session.
    pub(crate) async fn connect(&self, connect: Connect) -> Result<(), ManagerError> {
        self.send(Message::Connect(Box::new(connect))).await
    }

    /// Ends a session.
    pub(crate) async fn disconnect(&self, node: NodeName, session: SessionId) -> Result<(), ManagerError> {
        self.send(Message::Disconnect { node, session }).await
    }

    /// Ends a session and the node's lease.
    pub(crate) async fn leave(&self, node: NodeName, session: SessionId, reason: String) -> Result<(), ManagerError> {
        self.send(Message::Leave { node, session, reason }).await
    }

    /// Notes what a node has to say of itself.
    pub(crate) async fn note(&self, node: NodeName, notes: Vec<String>) -> Result<(), ManagerError> {
        self.send(Message::Note { node, notes }).await
    }

    /// Remembers something that happened to a node, for people.
    pub(crate) async fn tell(&self, node: NodeName, words: String) -> Result<(), ManagerError> {
        self.send(Message::Tell { node, words }).await
    }

    /// Notes what a node offers, and what its site allows there.
    pub(crate) async fn offer(&self, node: NodeName, offering: Offering) -> Result<(), ManagerError> {
        self.send(Message::Offer { node, offering: Box::new(offering) }).await
    }

    /// Notes that a node lives.
    pub(crate) fn heard(&self, node: &NodeName) {
        self.heard.add(node);
    }

    async fn send(&self, message: Message) -> Result<(), ManagerError> {
        self.inbox.send(message).await.map_err(|_| stopped())
    }
}

const fn stopped() -> ManagerError {
    ManagerError::Stopping
}
