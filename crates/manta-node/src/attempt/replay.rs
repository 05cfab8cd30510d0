//! Replays: past attempts that the manager orders once more. They run like any other, and nothing of them counts.
//!
//! A replay takes a slot like an attempt. What it publishes is sent as blobs, for people to compare; what it would keep
//! as state is dropped. It belongs to the session that ordered it, and is killed when that ends.
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use manta_api::node::node_message::Kind;
use manta_api::node::{AttemptFinished, Failure, ReplayCancel, ReplayFinished, ReplayOrder, ReplayProgress};
use manta_types::{OutcomeClass, ReplayId};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::Order;
use super::deliver::{Delivery, From, Outcome, apologise, deliver, without_words};
use super::held::named;
use super::outcome::failure;
use crate::agent::Node;
use crate::desk::Phase;
use crate::supervisor::{Kind as LoopKind, Supervisor, panic_text};

/// Replays that may wait or run here.
const REPLAYS_MAX: usize = 64;

/// The node's replays.
pub(crate) struct Replays {
    node: Arc<Node>,
    supervisor: Supervisor,
    live: Mutex<BTreeMap<ReplayId, CancellationToken>>,
}

impl Replays {
    pub(crate) fn new(node: Arc<Node>, supervisor: Supervisor) -> Arc<Self> {
        Arc::new(Self { node, supervisor, live: Mutex::default() })
    }

    /// Takes an order, or says in a report why it cannot be carried out.
    pub(crate) fn take(self: &Arc<Self>, ordered: ReplayOrder) {
        let replay = ordered.replay.clone();
        match self.read(ordered) {
            Ok((id, order, cancel)) => self.start(id, order, cancel),
            Err(reason) => {
                tracing::warn!(replay, reason, "a replay was refused");
                let class = OutcomeClass::Platform.name().to_owned();
                let failure = Some(Failure { class, message: reason, ..Failure::default() });
                self.tell(AttemptFinished { attempt: replay, failure, ..AttemptFinished::default() }, Vec::new());
            }
        }
    }

    fn read(&self, ordered: ReplayOrder) -> Result<(ReplayId, Order, CancellationToken), String> {
        let id: ReplayId = ordered.replay.parse().map_err(|error| format!("the order cannot be used: {error}"))?;
        let offer = ordered.offer.ok_or("the order cannot be used: it says nothing of the attempt")?;
        let order = Order { replay: Some(id), ..Order::read(offer, self.node.defaults)? };
        let mut live = self.live();
        if live.len() >= REPLAYS_MAX {
            return Err(format!("{REPLAYS_MAX} replays wait or run on this node already, which is the limit"));
        }
        let cancel = self.supervisor.stopping().child_token();
        live.insert(id, cancel.clone());
        Ok((id, order, cancel))
    }

    fn start(self: &Arc<Self>, id: ReplayId, order: Order, cancel: CancellationToken) {
        let span = tracing::info_span!("replay", replay = %id, attempt = %order.attempt, task = order.task);
        let replays = Arc::clone(self);
        let work = async move {
            replays.carry_out(id, &order, &cancel).await;
            replays.live().remove(&id);
        };
        self.supervisor.spawn("replay", LoopKind::Contained, work.instrument(span));
    }

    async fn carry_out(&self, id: ReplayId, order: &Order, cancel: &CancellationToken) {
        let enter = |phase: Phase| {
            let progress = ReplayProgress { replay: id.to_string(), phase: phase.name().to_owned() };
            self.node.outbox.push(Kind::ReplayProgress(progress));
        };
        enter(Phase::Preparing);
        let (asked, node) = (Instant::now(), &self.node);
        let work = deliver(node, order, From::Offer(asked), enter, cancel);
        let delivery = match AssertUnwindSafe(work).catch_unwind().await {
            Ok(Some(Outcome::Delivered(delivery))) => Some(*delivery),
            // A replay ends with its session, and a session with its program.
            Ok(Some(Outcome::Parted(_)) | None) => None,
            Err(panic) => {
                let words = panic_text(panic.as_ref());
                tracing::error!(error = words, "the agent failed at a replay");
                Some(apologise(order, words))
            }
        };
        if let Some(Delivery { left, staged, .. }) = delivery.filter(|_| !cancel.is_cancelled()) {
            match node.audit.synced().await {
                Ok(()) => self.tell(left.report, staged.state_read.into_iter().collect()),
                Err(error) => {
                    let failed = failure(OutcomeClass::Platform, error.to_string());
                    self.tell(without_words(left.report, failed).left.report, Vec::new());
                }
            }
        }
    }

    /// Kills a replay.
    pub(crate) fn cancel(&self, cancel: &ReplayCancel) {
        let Some(id) = named::<ReplayId>(&cancel.replay) else { return };
        if let Some(live) = self.live().get(&id) {
            tracing::info!(replay = %id, reason = cancel.reason, "a replay was cancelled");
            live.cancel();
        }
    }

    /// The session is over, and all its replays with it.
    pub(crate) fn cut(&self) {
        self.live().values().for_each(CancellationToken::cancel);
    }

    fn tell(&self, report: AttemptFinished, state_read: Vec<String>) {
        self.node.outbox.push(Kind::ReplayFinished(ReplayFinished { report: Some(report), state_read }));
    }

    fn live(&self) -> MutexGuard<'_, BTreeMap<ReplayId, CancellationToken>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
