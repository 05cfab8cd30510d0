//! Takes one attempt through its steps and writes its report.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use manta_api::audit::AuditEntry;
use manta_api::node::{AttemptFinished, Blob, Failure, LimitReached, Metric, NextIteration, Published, Timings, Usage};
use manta_types::limits::{FAILED_RESULTS_BYTES_MAX, FAILED_RESULTS_MAX, NODE_MESSAGE_BYTES_MAX};
use manta_types::{AttemptFailure, AttemptLimit, NodeName, OutcomeClass, crash_point};
use tokio::sync::SemaphorePermit;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Order;
use super::outcome::failure;
use super::prepare::{Prepared, PreparedLeft, find, prepare};
use super::run::{Came, Underway, go_on, run};
use super::upload::upload;
use crate::agent::Node;
use crate::audit::{Kept, Meter};
use crate::cache::Pin;
use crate::clock::ms;
use crate::desk::{Left, Phase};
use crate::light::Staged;
use crate::logs::{AttemptLog, Kept as LogSoFar};
use crate::parting::Busy;
use crate::words::bytes;

/// Bytes of a report. With the names of the state that its replay read, it fits one message.
const REPORT_BYTES_MAX: usize = NODE_MESSAGE_BYTES_MAX / 2;

/// An attempt that has ended: what it leaves, and the values that its journal is to keep.
pub(crate) struct Delivery {
    pub(crate) left: Left,
    pub(crate) staged: Staged,
    /// Its end is not interrupted before it is on disk; nothing where nobody knows what it was at.
    pub(crate) busy: Option<Busy>,
}

/// Where an attempt is begun.
pub(crate) enum From {
    /// At its offer, which came then.
    Offer(Instant),
    /// Where another program left it.
    Left(Box<LeftAttempt>),
}

/// An attempt that runs, for another program to go on with.
pub(crate) struct LeftAttempt {
    pub(crate) underway: Underway,
    pub(crate) prepared: PreparedLeft,
    pub(crate) log: LogSoFar,
    /// When it was asked for.
    pub(crate) asked: Instant,
    pub(crate) timings: Timings,
}

/// What came of an attempt.
pub(crate) enum Outcome {
    /// It has ended.
    Delivered(Box<Delivery>),
    /// Another program goes on with it: where it stands, or from its offer where nothing of it ran.
    Parted(Option<Box<LeftAttempt>>),
}

/// An attempt that has all that it needs.
struct Ready<'a> {
    prepared: Result<Prepared<'a>, AttemptFailure>,
    asked: Instant,
    timings: Timings,
    underway: Option<Underway>,
    busy: Busy,
    _slot: Option<SemaphorePermit<'a>>,
}

/// Takes an attempt through its steps, once it has one of the node's slots. Nothing comes of it when it was cancelled.
pub(crate) async fn deliver(
    node: &Node,
    order: &Order,
    from: From,
    enter: impl Fn(Phase) + Send + Sync,
    cancel: &CancellationToken,
) -> Option<Outcome> {
    let watched = node.site.watched(&order.datasets);
    let meter = Meter::new(Arc::clone(&node.audit), order.name(), watched.clone());
    let log = AttemptLog::new(order.name(), Arc::clone(&node.outbox), order.resources.bounds).metered(meter);
    let (log, from) = match from {
        From::Offer(asked) => (log, From::Offer(asked)),
        From::Left(left) => (log.resumed(left.log.clone()), From::Left(left)),
    };
    let mut ends = Ends { node, order, is_due: false };
    let ready = match from {
        From::Offer(asked) => cancel.run_until_cancelled(ready(node, order, asked, &log, &mut ends)).await?,
        From::Left(left) => cancel.run_until_cancelled(ready_again(node, order, *left, &mut ends)).await?,
    };
    let Some(Ready { prepared, asked, mut timings, underway, busy, _slot }) = ready else {
        ends.tell("begins again after an upgrade");
        return Some(Outcome::Parted(None));
    };
    let (mut staged, mut verdict, busy) = match prepared {
        Ok(prepared) => {
            crash_point!("node.attempt.prepared");
            let running = || enter(Phase::Running);
            let came = match underway {
                None => run(node, order, &prepared, &log, running, cancel, busy).await,
                Some(underway) => go_on(node, order, &prepared, &log, running, cancel, busy, underway).await,
            };
            let ran = match came {
                Came::Ran(ran) => *ran,
                Came::Parted(underway) => {
                    ends.is_due = false;
                    let (underway, prepared, log) = (*underway, prepared.hand_over(), log.so_far());
                    return Some(Outcome::Parted(Some(Box::new(LeftAttempt {
                        underway,
                        prepared,
                        log,
                        asked,
                        timings,
                    }))));
                }
            };
            crash_point!("node.attempt.ended");
            timings.start_ms = ms(ran.begun.saturating_duration_since(asked) + ran.start)
                .saturating_sub(timings.queue_ms + timings.prepare_ms);
            timings.run_ms = ms(ran.run);
            if let Some(start) = ran.way {
                timings.start_way = start.way.name().to_owned();
                timings.start_instead = start.instead.unwrap_or_default();
            }
            timings.usage = ran.usage.map(used);
            (ran.staged, ran.verdict, ran.busy)
        }
        Err(failed) => (Staged::default(), Err(failed), busy),
    };
    if cancel.is_cancelled() {
        return None;
    }
    let begun = Instant::now();
    if verdict.is_ok() {
        enter(Phase::Uploading);
    } else {
        staged = of_failed(staged, &log).await;
    }
    let bytes = staged.to_upload().map(|pin| pin.blob().size).sum();
    let leaves = node.audit.spend(&order.name(), &watched, "results", bytes).map_err(|kept| withheld(node, kept));
    let upload = async {
        node.audit.settled(&watched, leaves?).await.map_err(|kept| withheld(node, kept))?;
        upload(&node.remote, &staged).await
    };
    if let Err(failed) = cancel.run_until_cancelled(upload).await? {
        // What user code did wrong is worth more to people than what became of its values.
        verdict = verdict.and(Err(failed));
        staged = Staged::default();
    }
    timings.upload_ms = ms(begun.elapsed());
    cancel.run_until_cancelled(log.close()).await?;
    crash_point!("node.values.sent");
    let mut delivery = conclude(order, staged, verdict, timings, &log);
    let size = delivery.left.report.encoded_bytes() as u64;
    if let Err(kept) = node.audit.spend(&order.name(), &watched, "report", size) {
        delivery = without_words(delivery.left.report, withheld(node, kept));
    }
    ends.tell(delivery.left.report.failure.as_ref().map_or("succeeded", |failure| failure.class.as_str()));
    Some(Outcome::Delivered(Box::new(Delivery { busy: Some(busy), ..delivery })))
}

/// Gets an attempt a slot and all that it needs; nothing where another program begins it.
async fn ready<'a>(
    node: &'a Node,
    order: &Order,
    asked: Instant,
    log: &AttemptLog,
    ends: &mut Ends<'_>,
) -> Option<Ready<'a>> {
    let prepared = async {
        // Attempts are queued before they come here, and then wait for nothing but a replay that has their slot.
        let slot = node.slots.acquire().await;
        let queue_ms = ms(asked.elapsed());
        let prepared = prepare(node, order, log).await;
        (slot, queue_ms, prepared)
    };
    let (slot, queue_ms, prepared) = tokio::select! {
        biased;
        () = node.parting.decided() => return None,
        ready = prepared => ready,
    };
    ends.is_due = prepared.is_ok();
    // Of the sum, so that what each phase loses of its last millisecond is not lost three times.
    let timings = Timings { queue_ms, prepare_ms: ms(asked.elapsed()) - queue_ms, ..Timings::default() };
    tracing::debug!("all that the attempt needs is here");
    let busy = node.parting.begin().await?;
    Some(Ready { prepared, asked, timings, underway: None, busy, _slot: slot.ok() })
}

/// Finds all that an attempt needs where another program left it.
async fn ready_again<'a>(node: &'a Node, order: &Order, left: LeftAttempt, ends: &mut Ends<'_>) -> Option<Ready<'a>> {
    ends.is_due = true;
    let LeftAttempt { underway, prepared, asked, timings, .. } = left;
    // As many ran before; where the node has fewer slots now, nothing else starts until they have ended.
    let slot = node.slots.try_acquire().ok();
    let prepared = find(node, order, prepared).await;
    let busy = node.parting.begin().await?;
    Some(Ready { prepared, asked, timings, underway: Some(underway), busy, _slot: slot })
}

/// Tells the node's audit of the end of what it was told the beginning of, however that comes.
struct Ends<'a> {
    node: &'a Node,
    order: &'a Order,
    is_due: bool,
}

impl Ends<'_> {
    fn tell(&mut self, outcome: &str) {
        let entry = AuditEntry::Ended { attempt: self.order.name(), outcome: outcome.to_owned() };
        if std::mem::take(&mut self.is_due)
            && let Err(problem) = self.node.audit.record(entry)
        {
            tracing::warn!("{problem}");
        }
    }
}

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.tell("cancelled");
    }
}

/// Why something of an attempt stays on this node.
fn withheld(node: &Node, kept: Kept) -> AttemptFailure {
    match kept {
        Kept::Budget(dataset) => node.site.keeps(node, &dataset),
        Kept::Unwritten(why) => failure(OutcomeClass::Platform, why),
    }
}

/// A delivery that says nothing but why it says nothing.
pub(super) fn without_words(report: AttemptFinished, failed: AttemptFailure) -> Delivery {
    let AttemptFinished { attempt, epoch, timings, .. } = report;
    let failure = Some(failure_to_wire(failed));
    let report = AttemptFinished { attempt, epoch, timings, failure, ..AttemptFinished::default() };
    Delivery { left: Left { report, state: BTreeMap::new() }, staged: Staged::default(), busy: None }
}

/// What is delivered of a failed attempt; its log says what is not.
async fn of_failed(staged: Staged, log: &AttemptLog) -> Staged {
    let published = staged.results.len();
    let kept = staged.of_failed();
    if kept.results.len() < published {
        let dropped = published - kept.results.len();
        let words = format!(
            "{dropped} of the {published} results are not kept: of a failed attempt the last {FAILED_RESULTS_MAX} are, up to {}",
            bytes(FAILED_RESULTS_BYTES_MAX)
        );
        log.platform("info", &words).await;
    }
    kept
}

/// The delivery of an attempt that the agent itself failed at.
pub(crate) fn apologise(order: &Order, words: &str) -> Delivery {
    let failed = failure(OutcomeClass::Platform, format!("an internal error of the node agent: {words}"));
    let staged = Staged::default();
    let report = report(order, &staged, Err(failed), Timings::default());
    Delivery { left: Left { report, state: BTreeMap::new() }, staged, busy: None }
}

fn conclude(
    order: &Order,
    mut staged: Staged,
    verdict: Result<(), AttemptFailure>,
    timings: Timings,
    log: &AttemptLog,
) -> Delivery {
    let verdict = verdict.map_err(|failed| AttemptFailure { log_tail: log.tail(), ..failed });
    let run_ms = timings.run_ms;
    let report = report(order, &staged, verdict, timings);
    let Fitted { report, is_whole } = fit(report, REPORT_BYTES_MAX);
    if !is_whole {
        staged = Staged::default();
    }
    match &report.failure {
        None => tracing::info!(run_ms, "the attempt ended well"),
        Some(failed) => tracing::info!(class = failed.class, error = failed.message, "the attempt failed"),
    }
    let state = staged.state.iter().map(|(name, pin)| (name.clone(), pin.blob())).collect();
    Delivery { left: Left { report, state }, staged, busy: None }
}

/// A report that fits the limit.
struct Fitted {
    report: AttemptFinished,
    /// Whether it says all that there was to say.
    is_whole: bool,
}

/// The report itself, if it has at most so many bytes; else one of a failure, for a report that the manager cannot take
/// would be said for ever.
fn fit(report: AttemptFinished, bytes_max: usize) -> Fitted {
    let size = report.encoded_bytes();
    if size <= bytes_max {
        return Fitted { report, is_whole: true };
    }
    let nodes: usize = report.next_iterations.iter().map(|next| next.nodes.len()).sum();
    let counts = [report.results.len(), report.globals.len(), report.next_iterations.len(), nodes];
    let [results, globals, tasks, nodes] = counts;
    let message = format!(
        "its report would have {size} bytes, and {bytes_max} are the limit: it names {results} results, {globals} globals, \
         and {tasks} tasks with {nodes} nodes for the next iteration; publish fewer, larger values, or name fewer nodes"
    );
    let reached = AttemptLimit::Report.reached(bytes_max as u64, Some(size as u64));
    let failed = AttemptFailure { reached: Some(Box::new(reached)), ..failure(OutcomeClass::ResourceLimit, message) };
    let failure = failure_to_wire(failed);
    let AttemptFinished { attempt, epoch, timings, .. } = report;
    let report = AttemptFinished { attempt, epoch, timings, failure: Some(failure), ..AttemptFinished::default() };
    Fitted { report, is_whole: false }
}

fn report(order: &Order, staged: &Staged, verdict: Result<(), AttemptFailure>, timings: Timings) -> AttemptFinished {
    let mut report = AttemptFinished {
        attempt: order.name(),
        epoch: order.epoch,
        results: staged.results.iter().map(|(name, pin)| published(name, pin)).collect(),
        timings: Some(timings),
        ..AttemptFinished::default()
    };
    match verdict {
        Ok(()) => {
            report.globals = staged.globals.iter().map(|(name, pin)| published(name, pin)).collect();
            report.next_iterations = staged.next_iterations.iter().map(next_iteration).collect();
            report.stop_swarm = staged.stop_swarm;
            let metrics = staged.metrics.iter();
            report.metrics = metrics.map(|(name, value)| Metric { name: name.clone(), value: *value }).collect();
        }
        Err(failed) => {
            let failed = Failure { limits: Some(order.allowance()), ..failure_to_wire(failed) };
            report.failure = Some(failed);
        }
    }
    report
}

fn failure_to_wire(failed: AttemptFailure) -> Failure {
    let reached = failed.reached.map(|reached| {
        let manta_types::LimitReached { limit, value, peak, unit } = *reached;
        LimitReached { limit, value, peak: peak.unwrap_or(0), unit }
    });
    Failure {
        class: failed.class.name().to_owned(),
        message: failed.message,
        traceback: failed.traceback,
        location: failed.location.unwrap_or_default(),
        log_tail: failed.log_tail,
        reached,
        limits: None,
    }
}

fn used(usage: manta_types::Usage) -> Usage {
    Usage {
        cpu_ms: usage.cpu_ms,
        memory_bytes_peak: usage.memory_bytes_peak.unwrap_or(0),
        pids_peak: usage.pids_peak.unwrap_or(0),
        published_bytes: usage.published_bytes,
    }
}

fn published(name: &str, pin: &Pin) -> Published {
    let blob = pin.blob();
    Published { name: name.to_owned(), blob: Some(Blob { digest: blob.digest.to_string(), size: blob.size }) }
}

fn next_iteration((task, nodes): (&Option<String>, &Option<BTreeSet<NodeName>>)) -> NextIteration {
    NextIteration {
        task: task.clone().unwrap_or_default(),
        has_nodes: nodes.is_some(),
        nodes: nodes.iter().flatten().map(ToString::to_string).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_that_no_message_can_hold_becomes_a_failure_that_says_so() {
        let next = |task: usize| NextIteration {
            task: format!("task-{task}"),
            has_nodes: true,
            nodes: (0..10_000).map(|node| format!("node-{node}")).collect(),
        };
        let small = AttemptFinished { attempt: "at".to_owned(), epoch: 3, ..AttemptFinished::default() };
        let large = AttemptFinished { next_iterations: (0..100).map(next).collect(), ..small.clone() };
        let whole = fit(small.clone(), REPORT_BYTES_MAX);
        assert!(whole.is_whole && whole.report == small);
        let cut = fit(large, REPORT_BYTES_MAX);
        let failure = cut.report.failure.clone().unwrap();
        assert_eq!((cut.is_whole, failure.class.as_str()), (false, "resource_limit"));
        assert!(failure.message.contains("100 tasks with 1000000 nodes"), "{}", failure.message);
        assert!(fit(cut.report.clone(), REPORT_BYTES_MAX).is_whole && cut.report.epoch == 3);
    }
}
