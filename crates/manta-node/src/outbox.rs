//! What waits to go to the manager, in order: log lines before the report of the attempt they belong to.
//!
//! It holds nothing that must not be lost: what matters is said again in the next session.
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use manta_api::node::node_message::Kind;
use manta_api::node::{LogBatch, LogLine};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Bytes of log text that wait; a task that logs faster than they go waits, and while the node is cut off what follows
/// is counted instead of kept.
const LOG_BYTES_WAITING_MAX: usize = 8 << 20;
/// Bytes of log text in one message, so that a heartbeat never waits long.
const BATCH_BYTES_MAX: usize = 64 << 10;
/// Bytes that a line is taken to need beside its text.
const LINE_BYTES: usize = 128;

/// The queue towards the manager.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    inner: Mutex<Inner>,
    /// Told when something was put in.
    filled: Notify,
    /// Told when something was taken out, or a session ended.
    drained: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    queue: VecDeque<Item>,
    log_bytes: usize,
    connected: bool,
    dropped: BTreeMap<String, u64>,
}

#[derive(Debug)]
enum Item {
    Log(LogLine),
    Message(Box<Kind>),
}

/// What can be sent now.
#[derive(Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "taken apart where it is made")]
pub(crate) enum Ready {
    /// More lines may join this batch if it waits a little.
    Logs(LogBatch),
    /// To be sent at once.
    Message(Kind),
}

impl Outbox {
    /// Puts in a message that means nothing in another session.
    pub(crate) fn push(&self, message: Kind) {
        let mut inner = self.inner();
        if inner.connected {
            inner.queue.push_back(Item::Message(Box::new(message)));
            drop(inner);
            self.filled.notify_one();
        }
    }

    /// Puts in a log line. Waits for room while there is a session; otherwise counts what does not fit.
    pub(crate) async fn push_log(&self, line: LogLine) {
        loop {
            let room = self.drained.notified();
            {
                let mut inner = self.inner();
                if inner.log_bytes < LOG_BYTES_WAITING_MAX {
                    inner.add_log(line);
                    break;
                }
                if !inner.connected {
                    *inner.dropped.entry(line.attempt).or_default() += 1;
                    return;
                }
            }
            room.await;
        }
        self.filled.notify_one();
    }

    /// Begins a session: messages are taken from now on.
    pub(crate) fn connected(&self) {
        self.inner().connected = true;
        self.filled.notify_one();
    }

    /// Ends a session: what meant something only there goes.
    pub(crate) fn cut(&self) {
        let mut inner = self.inner();
        inner.connected = false;
        inner.queue.retain(|item| !matches!(item, Item::Message(_)));
        drop(inner);
        self.drained.notify_waiters();
    }

    /// Waits until something can be sent, and takes it out.
    pub(crate) async fn next(&self) -> Ready {
        loop {
            let filled = self.filled.notified();
            if let Some(ready) = self.inner().take() {
                self.drained.notify_waiters();
                return ready;
            }
            filled.await;
        }
    }

    /// Waits until nothing waits to be sent, or there is no session that it could be sent in.
    pub(crate) async fn empty(&self) {
        loop {
            let drained = self.drained.notified();
            {
                let inner = self.inner();
                if inner.queue.is_empty() || !inner.connected {
                    return;
                }
            }
            drained.await;
        }
    }

    /// Takes out the log lines that wait, for the program that goes on with this one's attempts.
    pub(crate) fn take_lines(&self) -> Vec<LogLine> {
        let mut inner = self.inner();
        let queue = std::mem::take(&mut inner.queue);
        inner.log_bytes = 0;
        queue.into_iter().filter_map(|item| if let Item::Log(line) = item { Some(line) } else { None }).collect()
    }

    /// Puts in the log lines that another program left.
    pub(crate) fn put_lines(&self, lines: Vec<LogLine>) {
        let mut inner = self.inner();
        lines.into_iter().for_each(|line| inner.add_log(line));
    }

    /// Lets a batch grow until then, or until it is large or something that is more urgent waits behind it.
    pub(crate) async fn gather(&self, batch: &mut LogBatch, until: Instant) {
        loop {
            let filled = self.filled.notified();
            let bytes = {
                let mut inner = self.inner();
                inner.take_logs(&mut batch.lines);
                if !inner.queue.is_empty() { BATCH_BYTES_MAX } else { batch.lines.iter().map(cost).sum() }
            };
            self.drained.notify_waiters();
            if bytes >= BATCH_BYTES_MAX || tokio::time::timeout_at(until, filled).await.is_err() {
                return;
            }
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn add_log(&mut self, line: LogLine) {
        if let Some(count) = self.dropped.remove(&line.attempt) {
            let text = format!("{count} lines were dropped while the node was cut off from the manager");
            let (level, source) = ("warning".to_owned(), "platform".to_owned());
            let note = LogLine { level, source, text, data: String::new(), ..line.clone() };
            self.log_bytes += cost(&note);
            self.queue.push_back(Item::Log(note));
        }
        self.log_bytes += cost(&line);
        self.queue.push_back(Item::Log(line));
    }

    fn take(&mut self) -> Option<Ready> {
        let mut batch = LogBatch::default();
        self.take_logs(&mut batch.lines);
        if !batch.lines.is_empty() {
            return Some(Ready::Logs(batch));
        }
        match self.queue.pop_front()? {
            Item::Message(message) => Some(Ready::Message(*message)),
            Item::Log(line) => unreachable!("a batch takes at least one line: {line:?}"),
        }
    }

    fn take_logs(&mut self, lines: &mut Vec<LogLine>) {
        let mut bytes: usize = lines.iter().map(cost).sum();
        while bytes < BATCH_BYTES_MAX {
            let Some(Item::Log(_)) = self.queue.front() else { return };
            let Some(Item::Log(line)) = self.queue.pop_front() else { return };
            bytes += cost(&line);
            self.log_bytes -= cost(&line);
            lines.push(line);
        }
    }
}

fn cost(line: &LogLine) -> usize {
    line.text.len() + line.data.len() + LINE_BYTES
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use manta_api::node::{AttemptFinished, AttemptProgress};
    use manta_types::AttemptId;

    use super::*;

    fn attempt(n: u128) -> AttemptId {
        AttemptId::from_uuid(uuid::Uuid::from_u128(n))
    }

    fn line(text: &str) -> LogLine {
        LogLine { attempt: attempt(1).to_string(), text: text.to_owned(), ..LogLine::default() }
    }

    fn report() -> AttemptFinished {
        AttemptFinished { attempt: attempt(1).to_string(), epoch: 1, ..AttemptFinished::default() }
    }

    fn texts(ready: Ready) -> Vec<String> {
        let Ready::Logs(batch) = ready else { panic!("{ready:?}") };
        batch.lines.into_iter().map(|line| line.text).collect()
    }

    #[tokio::test]
    async fn lines_go_before_the_report_of_their_attempt() {
        let outbox = Outbox::default();
        outbox.connected();
        outbox.push_log(line("one")).await;
        outbox.push_log(line("two")).await;
        outbox.push(Kind::Finished(report()));
        outbox.push_log(line("of another")).await;
        assert_eq!(texts(outbox.next().await), ["one", "two"]);
        assert_eq!(outbox.next().await, Ready::Message(Kind::Finished(report())));
        assert_eq!(texts(outbox.next().await), ["of another"]);
    }

    #[tokio::test]
    async fn what_means_something_in_one_session_only_goes_with_it() {
        let outbox = Outbox::default();
        outbox.connected();
        outbox.push(Kind::Progress(AttemptProgress::default()));
        outbox.cut();
        outbox.push(Kind::Progress(AttemptProgress::default()));
        outbox.connected();
        outbox.push_log(line("after")).await;
        assert_eq!(texts(outbox.next().await), ["after"]);
    }

    #[tokio::test]
    async fn a_cut_node_keeps_so_much_and_counts_the_rest() {
        let outbox = Outbox::default();
        let long = "x".repeat(1 << 20);
        for _ in 0..20 {
            outbox.push_log(line(&long)).await;
        }
        outbox.connected();
        while outbox.inner().log_bytes > 0 {
            assert_eq!(texts(outbox.next().await), [long.as_str()]);
        }
        outbox.push_log(line("back")).await;
        let text = texts(outbox.next().await);
        assert_eq!(text, ["12 lines were dropped while the node was cut off from the manager", "back"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_logs_faster_than_it_goes_waits() {
        let outbox = Outbox::default();
        outbox.connected();
        let long = "x".repeat(LOG_BYTES_WAITING_MAX);
        outbox.push_log(line(&long)).await;
        let waiting = outbox.push_log(line("next"));
        tokio::pin!(waiting);
        assert!(tokio::time::timeout(Duration::from_secs(1), &mut waiting).await.is_err());
        outbox.next().await;
        waiting.await;
        assert_eq!(texts(outbox.next().await), ["next"]);
    }
}
