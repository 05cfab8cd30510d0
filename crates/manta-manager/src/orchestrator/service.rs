//! The service loop: takes what waits, steps the engine through it, commits it all at once, then lets it be known.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use manta_engine::{Command, Engine, Input, Now, Submit};
use manta_store::{CommitError, NewSwarm, StateStore, Transaction};
use manta_types::crash::{self, Side};
use manta_types::{ClusterId, NodeId, SwarmId, SwarmSpec, Timestamp, crash_point, limits};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::handle::{Handle, Heard};
use super::message::{Connect, Message, Refused, Release, SubmitOutcome, View};
use super::nodes::NodeTable;
use super::publish::{Sessions, Watches};
use super::recover::Recovered;
use crate::ManagerError;
use crate::clock::Clock;
use crate::threads::Owned;

/// Messages that may wait for the loop; senders wait beyond that.
const INBOX_MAX: usize = 4096;
/// Messages of one turn, and so of one commit.
const TURN_MESSAGES_MAX: usize = 512;
/// The longest sleep of an idle loop; a longer gap between two turns means that this process stood still.
const PULSE: Duration = Duration::from_millis(1000);
/// The sleep when something that was due in the last turn is due still: it waits for something else to happen.
const RECHECK: Duration = Duration::from_millis(100);

/// What follows once a turn is durable, in the order of its causes.
enum After {
    Release(Release),
    Commands(Vec<Command>),
    Open(Box<Connect>, NodeId),
}

/// What one turn changes.
#[derive(Default)]
struct Turn {
    transaction: Transaction,
    after: Vec<After>,
}

/// Owns the engine, the nodes' sessions and the way to the store.
pub(crate) struct Orchestrator {
    engine: Engine,
    nodes: NodeTable,
    sessions: Sessions,
    /// Idempotency keys used since the start; older ones are in the store.
    keys: BTreeMap<String, (SwarmId, String)>,
    inbox: mpsc::Receiver<Message>,
    heard: Arc<Heard>,
    watches: Arc<Watches>,
    store: Owned<Box<dyn StateStore>>,
    cluster: ClusterId,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
    last_turn: Timestamp,
}

impl Orchestrator {
    /// A loop that goes on from what was recovered, and the handle on it.
    pub(crate) fn new(
        recovered: Recovered,
        store: Owned<Box<dyn StateStore>>,
        cluster: ClusterId,
        clock: Arc<dyn Clock>,
        stop: CancellationToken,
    ) -> (Self, Handle) {
        let (sender, inbox) = mpsc::channel(INBOX_MAX);
        let (heard, watches) = (Arc::new(Heard::default()), Arc::new(Watches::default()));
        for swarm in recovered.engine.swarms() {
            watches.raise(swarm.id(), swarm.seq());
        }
        let handle = Handle { inbox: sender, heard: Arc::clone(&heard), watches: Arc::clone(&watches) };
        let last_turn = clock.now().monotonic;
        let service = Self {
            engine: recovered.engine,
            nodes: NodeTable::new(recovered.nodes),
            sessions: Sessions::default(),
            keys: BTreeMap::new(),
            inbox,
            heard,
            watches,
            store,
            cluster,
            clock,
            stop,
            last_turn,
        };
        (service, handle)
    }

    /// Serves until told to stop; the turn at hand is finished first.
    ///
    /// # Errors
    /// When a turn could not be made durable: nothing may be acknowledged any more.
    pub(crate) async fn serve(mut self) -> Result<(), ManagerError> {
        let stop = self.stop.clone();
        loop {
            let pause = self.until_due();
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
        }
    }

    fn until_due(&self) -> Duration {
        match self.engine.next_wake() {
            None => PULSE,
            Some(due) if due <= self.last_turn => RECHECK,
            Some(due) => (due - self.clock.now().monotonic).min(PULSE),
        }
    }

    async fn turn(&mut self, first: Option<Message>) -> Result<(), ManagerError> {
        let now = self.clock.now();
        self.forgive_pause(now);
        let mut turn = Turn::default();
        for node in self.heard.take() {
            self.nodes.confirm(&node);
            self.step(now, Input::NodeHeard { node }, &mut turn);
        }
        let mut next = first;
        for _ in 0..TURN_MESSAGES_MAX {
            let Some(message) = next.or_else(|| self.inbox.try_recv().ok()) else { break };
            self.take(now, message, &mut turn);
            next = None;
        }
        if self.engine.next_wake().is_some_and(|due| due <= now.monotonic) {
            self.step(now, Input::Tick, &mut turn);
        }
        self.finish(turn).await
    }

    /// Leases that lapsed while this process stood still prove nothing about the nodes.
    fn forgive_pause(&mut self, now: Now) {
        let gap = now.monotonic - self.last_turn;
        self.last_turn = now.monotonic;
        if gap > PULSE + limits::LEASE / 2 {
            tracing::warn!(elapsed_ms = u64::try_from(gap.as_millis()).unwrap_or(u64::MAX), "the manager stood still");
            self.engine.extend_leases(gap);
        }
    }

    fn step(&mut self, now: Now, input: Input, turn: &mut Turn) {
        let step = self.engine.step(now, input);
        turn.transaction.events.extend(step.events);
        if !step.commands.is_empty() {
            turn.after.push(After::Commands(step.commands));
        }
    }

    fn take(&mut self, now: Now, message: Message, turn: &mut Turn) {
        match message {
            Message::Submit { new, spec, reply } => self.submit(now, new, spec, reply, turn),
            Message::Connect(connect) => self.connect(now, connect, turn),
            Message::Disconnect { node, session } => {
                if self.sessions.remove(&node, session) {
                    self.heard.forget(&node);
                    self.step(now, Input::NodeDisconnected { node }, turn);
                }
            }
            Message::Leave { node, session, reason } => {
                if self.sessions.remove(&node, session) {
                    self.heard.forget(&node);
                    self.step(now, Input::NodeLeft { node, reason }, turn);
                }
            }
            Message::Step { input, done } => {
                self.step(now, input, turn);
                let release = move || {
                    // The reporter may not wait for it.
                    let _ = done.send(());
                };
                turn.after.push(After::Release(Box::new(release)));
            }
            Message::Ask(question) => {
                let view = View { engine: &self.engine, nodes: &self.nodes.known, now };
                turn.after.push(After::Release(question(&view)));
            }
        }
    }

    fn submit(
        &mut self,
        now: Now,
        new: NewSwarm,
        spec: Arc<SwarmSpec>,
        reply: oneshot::Sender<SubmitOutcome>,
        turn: &mut Turn,
    ) {
        let outcome = self.admit(&new, &spec);
        if outcome.is_ok() {
            tracing::info!(swarm = %new.id, name = %new.name, "swarm submitted");
            if let Some((key, digest)) = &new.idempotency {
                self.keys.insert(key.clone(), (new.id, digest.clone()));
            }
            let id = new.id;
            turn.transaction.swarms.push(new);
            self.step(now, Input::Submit(Submit { id, spec }), turn);
        }
        // The client may have gone away; its key will find the swarm.
        turn.after.push(After::Release(Box::new(move || drop(reply.send(outcome)))));
    }

    fn admit(&self, new: &NewSwarm, spec: &SwarmSpec) -> SubmitOutcome {
        if let Some((key, digest)) = &new.idempotency
            && let Some((swarm, known)) = self.keys.get(key)
        {
            return Err(Refused::KeyUsed { swarm: *swarm, same_request: known == digest });
        }
        self.engine.validate(spec).map_err(Refused::Placement)?;
        Ok(new.id)
    }

    fn connect(&mut self, now: Now, connect: Box<Connect>, turn: &mut Turn) {
        let is_connected = self.sessions.is_open(&connect.name);
        let fresh = || NodeId::from_uuid(uuid::Uuid::now_v7());
        let id = match self.nodes.admit(&connect.name, connect.id, is_connected, fresh) {
            Ok(id) => id,
            Err(refusal) => {
                // The node may have gone away; it asks again.
                turn.after.push(After::Release(Box::new(move || drop(connect.reply.send(Err(refusal))))));
                return;
            }
        };
        let node = connect.profile.describe(&connect.name);
        let held = connect.held.clone();
        turn.transaction.nodes.extend(self.nodes.update(&connect.name, id, connect.profile.clone(), now.wall_ms));
        turn.after.push(After::Open(connect, id));
        self.step(now, Input::NodeConnected { node, held }, turn);
    }

    /// Makes the turn durable, and only then lets anyone know of it.
    async fn finish(&mut self, turn: Turn) -> Result<(), ManagerError> {
        let Turn { mut transaction, after } = turn;
        let news: BTreeMap<SwarmId, u64> = transaction.events.iter().map(|event| (event.swarm, event.seq)).collect();
        if !(transaction.events.is_empty() && transaction.swarms.is_empty() && transaction.nodes.is_empty()) {
            latest_of_each_node(&mut transaction);
            let cluster = self.cluster.clone();
            crash_point!("manager.turn.before_commit");
            self.store.run(move |store| commit(store.as_mut(), &cluster, &transaction)).await??;
            crash_point!("manager.turn.durable");
        }
        for (swarm, seq) in news {
            self.watches.raise(swarm, seq);
        }
        for what in after {
            match what {
                After::Release(release) => release(),
                After::Commands(commands) => self.sessions.dispatch(commands),
                After::Open(connect, id) => {
                    let Connect { name, session, reply, .. } = *connect;
                    if reply.send(Ok(id)).is_ok() {
                        self.sessions.insert(name, session);
                    }
                }
            }
        }
        crash_point!("manager.turn.told");
        Ok(())
    }
}

/// Commits, and passes the crash points of what is committed.
fn commit(store: &mut dyn StateStore, cluster: &ClusterId, transaction: &Transaction) -> Result<(), CommitError> {
    crash::around_commit(Side::Before, transaction.events.iter());
    store.commit(cluster, transaction)?;
    crash::around_commit(Side::Durable, transaction.events.iter());
    Ok(())
}

/// A node that connected twice in one turn is stored as it was last.
fn latest_of_each_node(transaction: &mut Transaction) {
    let latest: BTreeMap<_, _> = transaction.nodes.drain(..).map(|node| (node.name.clone(), node)).collect();
    transaction.nodes.extend(latest.into_values());
}
