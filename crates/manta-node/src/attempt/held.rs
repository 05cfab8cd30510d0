//! All attempts that this node has: what happens is told to the desk, and what the desk orders is done.
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::panic::AssertUnwindSafe;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use manta_api::node::node_message::Kind;
use manta_api::node::{AttemptProgress, Cancel, Held, Notes, Offer, Refused, StateUnneeded, Verdict};
use manta_types::{AttemptId, OutcomeClass, SwarmId, crash_point};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::Order;
use super::deliver::{Delivery, From, LeftAttempt, Outcome, apologise, deliver};
use super::disk::{self, Staging};
use crate::agent::Node;
use crate::containment::Containment;
use crate::desk::{Attempt, Command, Desk, Input, Phase, Stage, Word};
use crate::journals::Loaded;
use crate::supervisor::{Kind as LoopKind, Supervisor, panic_text};

/// The node's attempts.
pub(crate) struct Attempts {
    pub(super) node: Arc<Node>,
    pub(super) supervisor: Supervisor,
    inner: Mutex<Inner>,
    /// Told when an attempt gave its slot back.
    ended: Notify,
}

struct Inner {
    desk: Desk<Work>,
    /// Attempts that another program goes on with: from their offer, or from where they stand.
    parted: Vec<(Arc<Order>, Instant, Option<Box<LeftAttempt>>)>,
    /// What stops an attempt that has a slot.
    stops: BTreeMap<AttemptId, CancellationToken>,
    /// Values that are not in a journal yet; they stay in the cache.
    staging: BTreeMap<AttemptId, Arc<Staging>>,
    /// What the operator has to be told beside what the desk knows.
    remarks: Vec<String>,
    /// The notes that the manager was told last.
    told: Vec<String>,
}

/// What an attempt needs to start.
pub(super) struct Work {
    order: Arc<Order>,
    offered: Instant,
}

/// An attempt that another program goes on with.
pub(crate) struct Parted {
    pub(crate) attempt: Attempt,
    pub(crate) order: Order,
    pub(crate) offered: Instant,
    /// Where it stands; nothing where nothing of it ran.
    pub(crate) left: Option<(Phase, Box<LeftAttempt>)>,
}

impl Attempts {
    /// Goes on from the journals that an earlier agent left.
    pub(crate) fn new(node: Arc<Node>, supervisor: Supervisor, slots: NonZeroU32, left: Loaded) -> Arc<Self> {
        let Loaded { journals, damaged } = left;
        if !journals.is_empty() {
            tracing::info!(
                reports = journals.len(),
                "reports that were not answered before the restart are sent again"
            );
        }
        for sentence in &damaged {
            tracing::warn!("{sentence}");
        }
        let inner = Inner {
            desk: Desk::new(slots, journals),
            parted: Vec::new(),
            stops: BTreeMap::new(),
            staging: BTreeMap::new(),
            remarks: damaged,
            told: Vec::new(),
        };
        Arc::new(Self { node, supervisor, inner: Mutex::new(inner), ended: Notify::new() })
    }

    /// Goes on with the attempts of the program before this one in its process.
    pub(crate) fn take_over(self: &Arc<Self>, parted: Vec<Parted>, generation: Option<u64>, remark: Option<String>) {
        let mut inner = self.inner();
        inner.remarks.extend(remark);
        let (mut running, mut waiting, mut begun) = (Vec::new(), Vec::new(), Vec::new());
        for Parted { attempt, order, offered, left } in parted {
            let work = Work { order: Arc::new(order), offered };
            match left {
                None => waiting.push((attempt, work)),
                Some((phase, left)) => {
                    running.push((attempt.clone(), phase));
                    begun.push((attempt, work, left));
                }
            }
        }
        inner.desk.take_over(running, waiting, generation);
        for (attempt, work, left) in begun {
            self.start_from(&mut inner, &attempt, work, From::Left(left));
        }
        self.carry_out(&mut inner, Input::TryDisk);
    }

    /// Once all stand still for another program: waits until nothing here has a slot any more.
    pub(crate) async fn all_parted(&self) {
        loop {
            let ended = self.ended.notified();
            if self.inner().stops.is_empty() {
                return;
            }
            ended.await;
        }
    }

    /// What another program goes on with, and the generation that the manager named last.
    pub(crate) fn hand_over(&self) -> (Vec<Parted>, Option<u64>) {
        let mut inner = self.inner();
        let mut parted = Vec::new();
        for (order, offered, left) in std::mem::take(&mut inner.parted) {
            // Of one that was cancelled meanwhile nothing is kept, and what runs is killed.
            let Some((attempt, phase)) = inner.desk.running(order.attempt) else { continue };
            let left = left.map(|left| (phase, left));
            parted.push(Parted { attempt: attempt.clone(), order: Arc::unwrap_or_clone(order), offered, left });
        }
        parted.extend(inner.desk.waiting().map(|(attempt, work)| {
            let order = Order::clone(&work.order);
            Parted { attempt: attempt.clone(), order, offered: work.offered, left: None }
        }));
        (parted, inner.desk.generation())
    }

    /// The node whose attempts these are.
    pub(crate) const fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Takes an offer. One that this node has already is answered with how far it is.
    pub(crate) fn offer(self: &Arc<Self>, offer: Offer) {
        crash_point!("node.offer.received");
        let (attempt, epoch) = (offer.attempt.clone(), offer.epoch);
        match Order::read(offer, self.node.defaults) {
            Ok(_) if let Some(reason) = self.node.containment.refusal() => {
                tracing::warn!(attempt, reason, "an offer was refused");
                self.node.outbox.push(refused(attempt, epoch, reason));
            }
            Ok(order) => {
                let work = Work { order: Arc::new(order), offered: Instant::now() };
                self.step(Input::Offered { attempt: work.order.named(), work });
            }
            Err(reason) => {
                tracing::warn!(attempt, reason, "an offer was refused");
                self.node.outbox.push(refused(attempt, epoch, reason));
            }
        }
    }

    /// Drops an attempt: it is killed, and what it left is discarded. A report that was said is left to its answer.
    pub(crate) fn cancel(self: &Arc<Self>, cancel: &Cancel) {
        let Some(attempt) = named::<AttemptId>(&cancel.attempt) else { return };
        tracing::info!(%attempt, reason = cancel.reason, "an attempt was cancelled");
        self.step(Input::Cancelled { attempt, epoch: cancel.epoch });
    }

    /// Takes the manager's answer to a report; what an accepted attempt kept as state becomes state.
    pub(crate) fn answered(self: &Arc<Self>, verdict: &Verdict) {
        let Some(attempt) = named::<AttemptId>(&verdict.attempt) else { return };
        crash_point!("node.verdict.received");
        tracing::debug!(%attempt, accepted = verdict.accepted, reason = verdict.reason, "an attempt was answered");
        self.step(Input::Answered { attempt, epoch: verdict.epoch, accepted: verdict.accepted });
    }

    /// Begins a session: how far everything is, and every report that was not answered, are said.
    pub(crate) fn begin_session(self: &Arc<Self>, generation: Option<u64>) {
        let mut inner = self.inner();
        self.node.outbox.connected();
        if let (Some(before), Some(now)) = (inner.desk.generation(), generation)
            && before != now
        {
            tracing::warn!(before, now, "the cluster was restored from a backup; what it undid is dropped");
        }
        inner.told = self.notes_of(&inner);
        self.carry_out(&mut inner, Input::SessionBegan { generation });
    }

    /// Ends a session: what means something only there goes.
    pub(crate) fn end_session(self: &Arc<Self>) {
        let mut inner = self.inner();
        self.carry_out(&mut inner, Input::SessionEnded);
        self.node.outbox.cut();
    }

    /// Takes the manager's word on state that nobody will read again.
    pub(crate) fn unneeded(self: &Arc<Self>, unneeded: &StateUnneeded) {
        for swarm in unneeded.swarms.iter().filter_map(|swarm| named::<SwarmId>(swarm)) {
            self.step(Input::StateUnneeded { swarm });
        }
    }

    /// Tells the manager whose state this node keeps, so that it says which of it may go.
    pub(crate) fn say_kept(self: &Arc<Self>) {
        disk::say_kept(self);
    }

    /// Says again what was not answered.
    pub(crate) fn say_again(self: &Arc<Self>) {
        self.step(Input::SayAgain);
    }

    /// What this node has, for a manager that it greets.
    pub(crate) fn held(&self) -> Vec<Held> {
        let inner = self.inner();
        let held = inner.desk.held().into_iter().map(|held| Held {
            attempt: held.attempt.to_string(),
            epoch: held.epoch,
            phase: held.phase.map_or("finished", Phase::name).to_owned(),
            generation: held.generation.unwrap_or(0),
        });
        held.collect()
    }

    /// Everything that a person who looks at this node should know.
    pub(crate) fn notes(&self) -> Vec<String> {
        self.notes_of(&self.inner())
    }

    /// How many run, and how many wait.
    pub(crate) fn counts(&self) -> (usize, usize) {
        self.inner().desk.counts()
    }

    /// Tells the desk what happened, and does what it orders.
    pub(super) fn step(self: &Arc<Self>, input: Input<Work>) {
        let mut inner = self.inner();
        self.carry_out(&mut inner, input);
        self.tell(&mut inner);
    }

    /// Tells the manager what a person should know, if that has changed.
    pub(crate) fn tell_notes(&self) {
        self.tell(&mut self.inner());
    }

    fn tell(&self, inner: &mut Inner) {
        let notes = self.notes_of(inner);
        if notes != inner.told {
            inner.told.clone_from(&notes);
            self.node.outbox.push(Kind::Notes(Notes { notes }));
        }
    }

    /// The values that an attempt's journal has to keep, while it is not written.
    pub(super) fn staging(&self, attempt: AttemptId) -> Option<Arc<Staging>> {
        self.inner().staging.get(&attempt).cloned()
    }

    /// Lets go of an attempt's values: its journal has them, or nobody wants them.
    pub(super) fn unstage(&self, attempt: AttemptId) {
        self.inner().staging.remove(&attempt);
    }

    fn carry_out(self: &Arc<Self>, inner: &mut Inner, input: Input<Work>) {
        for command in inner.desk.step(input) {
            match command {
                Command::Say(word) => self.say(word),
                Command::StartAttempt { attempt, work } => self.start(inner, &attempt, work),
                Command::KillAttempt { attempt } => {
                    if let Some(stop) = inner.stops.get(&attempt) {
                        stop.cancel();
                    }
                }
                order => disk::carry_out(self, order),
            }
        }
    }

    fn say(&self, word: Word) {
        self.node.outbox.push(match word {
            Word::Progress { attempt, epoch, phase } => {
                let (attempt, phase) = (attempt.to_string(), phase.name().to_owned());
                Kind::Progress(AttemptProgress { attempt, epoch, phase })
            }
            Word::Finished(journal) => {
                crash_point!("node.report.before");
                Kind::Finished(journal.left.report.clone())
            }
            Word::Refused { attempt, epoch, reason } => refused(attempt.to_string(), epoch, reason),
        });
    }

    fn start(self: &Arc<Self>, inner: &mut Inner, attempt: &Attempt, work: Work) {
        let from = From::Offer(work.offered);
        self.start_from(inner, attempt, work, from);
    }

    fn start_from(self: &Arc<Self>, inner: &mut Inner, attempt: &Attempt, work: Work, from: From) {
        let Work { order, offered } = work;
        let stop = self.supervisor.stopping().child_token();
        inner.stops.insert(attempt.id, stop.clone());
        let span = tracing::info_span!(
            "attempt", swarm = %order.swarm, task = order.task, iteration = order.iteration, attempt = %attempt.id,
            lease_epoch = order.epoch
        );
        let attempts = Arc::clone(self);
        let work = async move { attempts.run(&order, offered, from, &stop).await };
        self.supervisor.spawn("attempt", LoopKind::Contained, work.instrument(span));
    }

    async fn run(self: Arc<Self>, order: &Arc<Order>, offered: Instant, from: From, stop: &CancellationToken) {
        let attempt = order.attempt;
        let enter = |phase| self.step(Input::Entered { attempt, phase });
        let work = deliver(&self.node, order, from, enter, stop);
        let delivery = match AssertUnwindSafe(work).catch_unwind().await {
            Ok(Some(Outcome::Delivered(delivery))) => Some(*delivery),
            Ok(None) => None,
            Ok(Some(Outcome::Parted(left))) => {
                let mut inner = self.inner();
                inner.parted.push((Arc::clone(order), offered, left));
                inner.stops.remove(&attempt);
                drop(inner);
                self.ended.notify_waiters();
                return;
            }
            Err(panic) => {
                let words = panic_text(panic.as_ref());
                tracing::error!(error = words, "the agent failed at an attempt");
                Some(apologise(order, words))
            }
        };
        let left = delivery.map(|Delivery { left, staged, busy }| {
            self.inner().staging.insert(attempt, Arc::new(Staging::new(staged, busy)));
            Box::new(left)
        });
        self.inner().stops.remove(&attempt);
        self.ended.notify_waiters();
        self.step(Input::Ended { attempt, left });
        if self.inner().desk.stage(attempt) != Some(Stage::Writing) {
            self.unstage(attempt);
        }
    }

    /// Notes something that a person who looks at this node should know.
    pub(super) fn remark(&self, sentence: String) {
        let mut inner = self.inner();
        if !inner.remarks.contains(&sentence) {
            inner.remarks.push(sentence);
        }
    }

    fn notes_of(&self, inner: &Inner) -> Vec<String> {
        let waits = inner.desk.waits_for_disk().map(|(attempt, reason)| {
            format!("attempt `{}` waits for this node's disk, which refuses it: {reason}", attempt.id)
        });
        let containment = self.node.containment.note();
        let warm = self.node.warm_containment.as_ref().map(Containment::note);
        let notes = self.node.notes.iter().chain(&inner.remarks).cloned().chain([containment]).chain(warm);
        let notes = notes.chain(self.node.site.note()).chain(self.node.audit.notes());
        notes.chain(self.node.zygotes.notes()).chain(waits).collect()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the manager names; nothing where that is no name of such a thing, which is said.
pub(super) fn named<T: FromStr<Err: std::fmt::Display>>(id: &str) -> Option<T> {
    let unknown = |error: &T::Err| tracing::warn!(id, %error, "an order of the manager cannot be followed");
    id.parse().inspect_err(unknown).ok()
}

fn refused(attempt: String, epoch: u32, reason: String) -> Kind {
    let class = OutcomeClass::Platform.name().to_owned();
    Kind::Refused(Refused { attempt, epoch, class, reason })
}
