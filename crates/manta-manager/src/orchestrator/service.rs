//! The service loop: takes what waits, lets the core decide, commits it all at once, then lets it be known.
use std::sync::Arc;
use std::time::Instant;

use manta_store::{CommitError, StateStore, Transaction};
use manta_types::crash::{self, Side};
use manta_types::{ClusterId, NodeDuty, crash_point};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::core::Core;
use super::ended::{Memory, Remembering};
use super::handle::{Handle, Heard};
use super::message::{Connect, Message, Tasks};
use super::publish::{Sessions, Watches};
use super::recover::Recovered;
use super::turn::{Effect, Recall, Sealed, Turn};
use crate::ManagerError;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::threads::Owned;

/// Messages that may wait for the loop; senders wait beyond that.
const INBOX_MAX: usize = 4096;
/// Messages of one turn, and so of one commit.
const TURN_MESSAGES_MAX: usize = 512;

/// Moves what the core decides: in from the handles, down to the store, out to who waits.
pub(crate) struct Orchestrator {
    core: Core,
    sessions: Sessions,
    inbox: mpsc::Receiver<Message>,
    heard: Arc<Heard>,
    watches: Arc<Watches>,
    store: Owned<Box<dyn StateStore>>,
    cluster: ClusterId,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    /// Whether the cluster goes, so that nothing is taken any more.
    is_closed: bool,
}

impl Orchestrator {
    /// A loop that goes on from what was recovered, the handle on it, and what tells it of the swarms that had ended.
    pub(crate) fn new(
        mut recovered: Recovered,
        store: Owned<Box<dyn StateStore>>,
        cluster: ClusterId,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        stop: CancellationToken,
    ) -> (Self, Handle, Remembering) {
        let (sender, inbox) = mpsc::channel(INBOX_MAX);
        let (heard, watches) = (Arc::new(Heard::default()), Arc::new(Watches::default()));
        let (memory, known) = watch::channel(Memory::Partial);
        let ended = std::mem::take(&mut recovered.ended);
        let core = Core::new(recovered, clock.now());
        for swarm in core.engine().swarms() {
            watches.raise(swarm.id(), swarm.seq());
        }
        let handle = Handle { inbox: sender, heard: Arc::clone(&heard), watches: Arc::clone(&watches), memory: known };
        let remembering = Remembering {
            ended,
            memory,
            handle: handle.clone(),
            store: store.clone(),
            cluster: cluster.clone(),
            stop: stop.clone(),
        };
        let sessions = Sessions::default();
        let is_closed = false;
        let service = Self { core, sessions, inbox, heard, watches, store, cluster, clock, metrics, stop, is_closed };
        (service, handle, remembering)
    }

    /// Serves until told to stop, or until the cluster goes; the turn at hand is finished first.
    ///
    /// # Errors
    /// When a turn could not be made durable: nothing may be acknowledged any more.
    pub(crate) async fn serve(mut self) -> Result<(), ManagerError> {
        let stop = self.stop.clone();
        loop {
            let pause = self.core.rest(self.clock.now());
            let first = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                message = self.inbox.recv() => match message {
                    Some(message) => Some(message),
                    None => return Ok(()),
                },
                () = self.heard.news() => None,
                () = tokio::time::sleep(pause) => None,
            };
            self.turn(first).await?;
            if self.is_closed {
                return Ok(());
            }
        }
    }

    async fn turn(&mut self, first: Option<Message>) -> Result<(), ManagerError> {
        let mut turn = self.core.begin(self.clock.now());
        self.core.hear(self.heard.take(), &mut turn);
        let mut next = first;
        for _ in 0..TURN_MESSAGES_MAX {
            let Some(message) = next.or_else(|| self.inbox.try_recv().ok()) else { break };
            self.take(message, &mut turn);
            next = None;
            if self.is_closed {
                break;
            }
        }
        let sealed = self.core.seal(turn);
        self.finish(sealed).await
    }

    fn take(&mut self, message: Message, turn: &mut Turn<Tasks>) {
        match message {
            Message::Submit { new, spec, reply } => self.core.submit(new, spec, reply, turn),
            Message::Retry { new, failed, reply } => self.core.retry(new, failed, reply, turn),
            Message::Change { change, idempotency, reply } => self.core.change(change, idempotency, reply, turn),
            Message::Connect(connect) => self.connect(*connect, turn),
            Message::Disconnect { node, session } => {
                self.sessions.remove(session);
                if self.core.disconnect(node.clone(), session, turn) {
                    self.heard.forget(&node);
                }
            }
            Message::Leave { node, session, reason } => {
                self.sessions.remove(session);
                if self.core.leave(node.clone(), session, reason, turn) {
                    self.heard.forget(&node);
                }
            }
            Message::Note { node, notes } => self.core.note(&node, notes, turn),
            Message::Tell { node, words } => self.core.tell(&node, words, turn),
            Message::Offer { node, offering } => self.core.offer(&node, *offering, turn),
            Message::Step { input, done } => self.core.step(*input, done, turn),
            Message::Purge { swarms, done } => {
                let gone = self.core.purge(&swarms, done, turn);
                self.watches.forget(gone);
            }
            Message::ForgetKeys { before_ms, done } => self.core.forget_keys(before_ms, done, turn),
            Message::Remember { ended, done } => {
                self.core.remember(ended, turn);
                turn.effects.push(Effect::Done(done));
            }
            Message::Close { reply } => {
                let held = self.core.in_use();
                self.is_closed = held.is_none();
                turn.tell(Box::new(move || drop(reply.send(held))));
            }
            Message::Ask(question) => {
                let release = question(&self.core.view(turn));
                turn.tell(release);
            }
        }
    }

    fn connect(&mut self, connect: Connect, turn: &mut Turn<Tasks>) {
        let Connect { joining, session, reply } = connect;
        let name = joining.name.clone();
        // A session that broke holds the name no longer, though its end has not been told yet.
        if let Some(former) = self.core.session_of(&name).filter(|former| self.sessions.is_broken(*former)) {
            self.core.close(&name, former);
        }
        self.core.connect(joining, (name, session, reply), turn);
    }

    /// Makes the turn durable, and only then lets anyone know of it.
    async fn finish(&mut self, sealed: Sealed<Tasks>) -> Result<(), ManagerError> {
        if let Some(transaction) = sealed.transaction {
            let cluster = self.cluster.clone();
            crash_point!("manager.turn.before_commit");
            let begun = Instant::now();
            let committed = move |store: &mut Box<dyn StateStore>| {
                commit(store.as_mut(), &cluster, &transaction).map(|()| transaction.events)
            };
            let events = self.store.run(committed).await??;
            crash_point!("manager.turn.durable");
            self.metrics.committed(begun.elapsed(), &events, self.core.engine());
            for event in events.iter().filter(|event| event.what.is_final()) {
                if let Some(swarm) = self.core.engine().swarm(event.swarm) {
                    self.watches.end(event.swarm, swarm.submitted());
                }
            }
        }
        for effect in sealed.effects {
            match effect {
                Effect::Recall(recall) => self.recall(recall).await?,
                effect => self.release(effect),
            }
        }
        crash_point!("manager.turn.told");
        Ok(())
    }

    /// Answers a report from what is stored.
    async fn recall(&self, recall: Recall) -> Result<(), ManagerError> {
        let (cluster, attempt, session) = (self.cluster.clone(), recall.attempt, recall.session);
        let stored = self.store.run(move |store| store.attempt(&cluster, attempt)).await??;
        self.sessions.send(session, &recall.answer(stored.as_ref()));
        Ok(())
    }

    /// Lets one thing be known. Whoever asked may have gone away, and finds out another way when it comes back.
    fn release(&mut self, effect: Effect<Tasks>) {
        match effect {
            Effect::News { swarm, seq } => self.watches.raise(swarm, seq),
            Effect::Submitted { asker, outcome } => drop(asker.send(outcome)),
            Effect::Changed { asker, outcome } => drop(asker.send(outcome)),
            Effect::Connected { asker: (node, session, reply), outcome } => {
                let (id, is_welcome) = (session.id, outcome.is_ok());
                if reply.send(outcome).is_err() {
                    self.core.close(&node, id);
                } else if is_welcome {
                    self.sessions.insert(session);
                }
            }
            Effect::Done(asker) => drop(asker.send(())),
            Effect::Told(release) => release(),
            Effect::Send { session, command } => self.sessions.send(session, &command),
            Effect::End { session, why } => self.sessions.end(session, why),
            Effect::Recall(recall) => unreachable!("a recall waits for the store: {recall:?}"),
        }
    }
}

/// Commits, and passes the crash points of what is committed.
fn commit(store: &mut dyn StateStore, cluster: &ClusterId, transaction: &Transaction) -> Result<(), CommitError> {
    let sets_aside = transaction.nodes.iter().any(|node| node.duty != NodeDuty::Active);
    crash::around_commit(Side::Before, transaction.events.iter());
    if sets_aside {
        crash_point!("manager.duty.before");
    }
    store.commit(cluster, transaction)?;
    crash::around_commit(Side::Durable, transaction.events.iter());
    if sets_aside {
        crash_point!("manager.duty.durable");
    }
    Ok(())
}
