//! All attempts that this node has: waiting, running, or waiting for the manager's verdict.
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use manta_api::node::node_message::Kind;
use manta_api::node::{AttemptProgress, Cancel, Held, Offer, Refused, Verdict};
use manta_types::{AttemptId, OutcomeClass, crash_point};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::Order;
use super::deliver::{Delivery, Phase, apologise, deliver};
use super::queue::Queue;
use crate::agent::Node;
use crate::light::Staged;
use crate::supervisor::{Kind as LoopKind, Supervisor, blocking, panic_text};

/// Attempts that may wait here; a manager that keeps to the node's slots never comes near.
const WAITING_MAX: usize = 10_000;

/// The node's attempts.
pub(crate) struct Attempts {
    node: Arc<Node>,
    supervisor: Supervisor,
    inner: Mutex<Inner>,
}

struct Inner {
    queue: Queue,
    live: BTreeMap<AttemptId, Live>,
    delivered: BTreeMap<AttemptId, Delivered>,
}

/// An attempt that waits or runs.
struct Live {
    order: Arc<Order>,
    phase: Phase,
    offered: Instant,
    cancel: CancellationToken,
}

/// An attempt whose report is on its way; its values stay in the cache until it is answered.
struct Delivered {
    order: Arc<Order>,
    staged: Staged,
}

impl Attempts {
    pub(crate) fn new(node: Arc<Node>, supervisor: Supervisor, slots: NonZeroU32) -> Arc<Self> {
        let inner = Inner { queue: Queue::new(slots), live: BTreeMap::new(), delivered: BTreeMap::new() };
        Arc::new(Self { node, supervisor, inner: Mutex::new(inner) })
    }

    /// Takes an offer. One that this node has already is answered with how far it is.
    pub(crate) fn offer(self: &Arc<Self>, offer: Offer) {
        crash_point!("node.offer.received");
        let (attempt, epoch) = (offer.attempt.clone(), offer.epoch);
        match Order::read(offer, self.node.defaults) {
            Ok(order) => self.take(order),
            Err(reason) => {
                tracing::warn!(attempt, reason, "an offer was refused");
                let class = OutcomeClass::Platform.name().to_owned();
                self.node.outbox.push(Kind::Refused(Refused { attempt, epoch, class, reason }));
            }
        }
    }

    fn take(self: &Arc<Self>, order: Order) {
        let (attempt, epoch) = (order.attempt, order.epoch);
        let mut inner = self.inner();
        if inner.delivered.contains_key(&attempt) {
            return;
        }
        if inner.queue.waiting() >= WAITING_MAX && !inner.live.contains_key(&attempt) {
            let (class, reason) =
                (OutcomeClass::Platform.name().to_owned(), "too many attempts wait on this node".to_owned());
            self.node.outbox.push(Kind::Refused(Refused { attempt: attempt.to_string(), epoch, class, reason }));
            return;
        }
        let phase = inner.live.get(&attempt).map(|live| live.phase);
        if phase.is_none() {
            let cancel = self.supervisor.stopping().child_token();
            let live = Live { order: Arc::new(order), phase: Phase::Preparing, offered: Instant::now(), cancel };
            inner.live.insert(attempt, live);
            inner.queue.push(attempt);
        }
        drop(inner);
        self.tell(attempt, epoch, phase.unwrap_or(Phase::Preparing));
        self.start_due();
    }

    /// Drops an attempt: it is killed, and what it left is discarded.
    pub(crate) fn cancel(self: &Arc<Self>, cancel: &Cancel) {
        let Ok(attempt) = cancel.attempt.parse::<AttemptId>() else { return };
        let mut inner = self.inner();
        if inner.delivered.get(&attempt).is_some_and(|delivered| delivered.order.epoch <= cancel.epoch) {
            inner.delivered.remove(&attempt);
            self.node.outbox.answered(attempt);
        }
        let Some(live) = inner.live.get(&attempt).filter(|live| live.order.epoch <= cancel.epoch) else { return };
        tracing::info!(%attempt, reason = cancel.reason, "an attempt was cancelled");
        live.cancel.cancel();
    }

    /// Takes the manager's answer to a report; what an accepted attempt kept as state becomes state.
    pub(crate) async fn answered(&self, verdict: &Verdict) {
        let Ok(attempt) = verdict.attempt.parse::<AttemptId>() else { return };
        crash_point!("node.verdict.received");
        self.node.outbox.answered(attempt);
        crash_point!("node.verdict.cleared");
        let Some(Delivered { order, staged }) = self.inner().delivered.remove(&attempt) else { return };
        tracing::debug!(%attempt, accepted = verdict.accepted, reason = verdict.reason, "an attempt was answered");
        if !verdict.accepted || staged.state.is_empty() {
            return;
        }
        let state = self.node.state.clone();
        let committed = blocking(move || state.commit(order.swarm, &order.task, &staged.state)).await;
        if let Err(error) = committed {
            tracing::error!(%attempt, %error, "the state of an accepted attempt could not be kept");
        }
    }

    /// What this node has, for a manager that it greets.
    pub(crate) fn held(&self) -> Vec<Held> {
        let inner = self.inner();
        let held = |attempt: &AttemptId, order: &Order, phase: &str| Held {
            attempt: attempt.to_string(),
            epoch: order.epoch,
            phase: phase.to_owned(),
        };
        let live = inner.live.iter().map(|(attempt, live)| held(attempt, &live.order, live.phase.name()));
        let delivered = inner.delivered.iter().map(|(attempt, done)| held(attempt, &done.order, "finished"));
        live.chain(delivered).collect()
    }

    /// How far everything is, for a session that begins.
    pub(crate) fn phases(&self) -> Vec<Kind> {
        let inner = self.inner();
        inner.live.iter().map(|(attempt, live)| progress(*attempt, live.order.epoch, live.phase)).collect()
    }

    /// How many run, and how many wait.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let inner = self.inner();
        (inner.queue.running(), inner.queue.waiting())
    }

    fn tell(&self, attempt: AttemptId, epoch: u32, phase: Phase) {
        self.node.outbox.push(progress(attempt, epoch, phase));
    }

    /// Starts what there are slots for.
    fn start_due(self: &Arc<Self>) {
        let mut inner = self.inner();
        while let Some(attempt) = inner.queue.take_next() {
            let live = inner.live.get(&attempt).expect("what is queued is live");
            let (order, offered, cancel) = (Arc::clone(&live.order), live.offered, live.cancel.clone());
            let span = tracing::info_span!(
                "attempt", swarm = %order.swarm, task = order.task, iteration = order.iteration, %attempt, lease_epoch = order.epoch
            );
            let attempts = Arc::clone(self);
            let work = async move { attempts.carry_out(&order, offered, &cancel).await };
            self.supervisor.spawn("attempt", LoopKind::Contained, work.instrument(span));
        }
    }

    async fn carry_out(self: Arc<Self>, order: &Arc<Order>, offered: Instant, cancel: &CancellationToken) {
        let enter = |phase| self.enter(order.attempt, phase);
        let work = deliver(&self.node, order, offered.elapsed(), enter, cancel);
        let delivery = match AssertUnwindSafe(work).catch_unwind().await {
            Ok(delivery) => delivery,
            Err(panic) => {
                let words = panic_text(panic.as_ref());
                tracing::error!(error = words, "the agent failed at an attempt");
                Some(apologise(order, words))
            }
        };
        self.end(order, delivery, cancel);
        self.start_due();
    }

    fn enter(&self, attempt: AttemptId, phase: Phase) {
        let mut inner = self.inner();
        let Some(live) = inner.live.get_mut(&attempt) else { return };
        live.phase = phase;
        let epoch = live.order.epoch;
        drop(inner);
        self.tell(attempt, epoch, phase);
    }

    fn end(&self, order: &Arc<Order>, delivery: Option<Delivery>, cancel: &CancellationToken) {
        let mut inner = self.inner();
        inner.queue.remove(order.attempt);
        inner.live.remove(&order.attempt);
        // Looked at under the lock, so that no cancellation falls between.
        let Some(Delivery { report, staged }) = delivery.filter(|_| !cancel.is_cancelled()) else { return };
        inner.delivered.insert(order.attempt, Delivered { order: Arc::clone(order), staged });
        crash_point!("node.report.before");
        self.node.outbox.report(order.attempt, report);
        crash_point!("node.report.queued");
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn progress(attempt: AttemptId, epoch: u32, phase: Phase) -> Kind {
    Kind::Progress(AttemptProgress { attempt: attempt.to_string(), epoch, phase: phase.name().to_owned() })
}
