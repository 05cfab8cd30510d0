//! An attempt's log: lines cut and counted against their limits, sent on, and the last ones kept for a failure.
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use manta_api::node::LogLine;
use manta_types::limits::{FAILURE_LOG_LINES, LOG_DATA_BYTES_MAX, LOG_LINE_BYTES_COUNTED, LOG_LINE_BYTES_MAX};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::Bounds;
use crate::audit::{Kept as NotSent, Meter};
use crate::clock::now_ms;
use crate::outbox::Outbox;
use crate::pace::Pace;
use crate::parting::Busy;
use crate::words;

/// Bytes read from a task's output at a time.
const READ_BYTES: usize = 16 << 10;

/// How long before it is read here a line may have been written, as its task says.
const LATE_MS_MAX: u64 = 60_000;

/// The log of one attempt.
#[derive(Debug)]
pub(crate) struct AttemptLog {
    attempt: String,
    outbox: Arc<Outbox>,
    bounds: Bounds,
    pace: Pace,
    /// Counts what leaves, where the attempt could open datasets.
    meter: Option<Meter>,
    kept: Mutex<Kept>,
}

/// What is known of a log so far.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Kept {
    tail: VecDeque<String>,
    bytes: u64,
    full: bool,
    /// Lines that came when it was full, and their bytes.
    unkept: (u64, u64),
    /// Why no more of it may leave this node.
    held_back: Option<String>,
    /// Whether it was said that the task is made to wait.
    slowed: bool,
}

impl Kept {
    /// Keeps a line among the last ones.
    fn remember(&mut self, text: &str) {
        if self.tail.len() == FAILURE_LOG_LINES {
            self.tail.pop_front();
        }
        self.tail.push_back(text.to_owned());
    }
}

/// Where a line comes from, and how it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// `print` and the like.
    Stdout,
    /// Tracebacks, warnings, what libraries say.
    Stderr,
}

impl Stream {
    const fn source(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }

    const fn level(self) -> &'static str {
        match self {
            Self::Stdout => "info",
            Self::Stderr => "error",
        }
    }
}

impl AttemptLog {
    pub(crate) fn new(attempt: String, outbox: Arc<Outbox>, bounds: Bounds) -> Self {
        let pace = Pace::new(bounds.log_bytes_per_second);
        Self { attempt, outbox, bounds, pace, meter: None, kept: Mutex::default() }
    }

    /// The same, counted against what may leave of the attempt's datasets.
    pub(crate) fn metered(self, meter: Meter) -> Self {
        Self { meter: Some(meter), ..self }
    }

    /// A line of the task's logger.
    pub(crate) async fn logged(&self, level: &str, text: &str, time_ms: u64) {
        let level = match level {
            "debug" | "info" | "warning" | "error" => level,
            _ => "info",
        };
        self.keep_pace(text.len() + LOG_LINE_BYTES_COUNTED).await;
        self.line(level, "log", text, String::new(), believed(time_ms, now_ms())).await;
    }

    /// Something that the platform has to say in this attempt's log, however full that is.
    pub(crate) async fn platform(&self, level: &str, text: &str) {
        self.kept().remember(text);
        self.send(level, "platform", text.to_owned(), String::new(), now_ms()).await;
    }

    /// A metric or a progress report: `source` says which.
    pub(crate) async fn data(&self, source: &str, text: &str, data: &Value) {
        let data = data.to_string();
        self.keep_pace(text.len() + data.len() + LOG_LINE_BYTES_COUNTED).await;
        if data.len() > LOG_DATA_BYTES_MAX {
            // The manager would not take a message so large, nor anything more in that session.
            let (has, most) = (words::bytes(data.len() as u64), words::bytes(LOG_DATA_BYTES_MAX as u64));
            let told = format!("a {source} line of {has} is not kept: {most} are the limit");
            return self.line("warning", "platform", &told, String::new(), now_ms()).await;
        }
        self.line("info", source, text, data, now_ms()).await;
    }

    /// Says at the end how much of it was not kept, if anything.
    pub(crate) async fn close(&self) {
        let (lines, bytes) = std::mem::take(&mut self.kept().unkept);
        if lines > 0 {
            let text = match self.kept().held_back.take() {
                // How many they are is the task's to choose, and would leave uncounted.
                Some(why) => format!("the lines from here on were not kept: {why}"),
                None => {
                    let (bytes, most) = (words::bytes(bytes), words::bytes(self.bounds.log_bytes));
                    format!("{lines} lines ({bytes}) were not kept: the log of an attempt may have {most}")
                }
            };
            self.platform("warning", &text).await;
        }
        if let Some(meter) = &self.meter {
            meter.close();
        }
    }

    /// Goes on with a log that another program began.
    pub(crate) fn resumed(self, kept: Kept) -> Self {
        Self { kept: Mutex::new(kept), ..self }
    }

    /// What is known of it so far.
    pub(crate) fn so_far(&self) -> Kept {
        self.kept().clone()
    }

    /// Passes on what a task writes, line by line, until it ends, or another program goes on with it: from the line that is begun.
    pub(crate) async fn pump(
        &self,
        stream: Stream,
        output: &mut (impl AsyncRead + Unpin),
        mut lines: Lines,
        busy: Busy,
    ) -> Option<Lines> {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let read = tokio::select! {
                biased;
                () = busy.asked() => {
                    if busy.stand_still().await {
                        return Some(lines);
                    }
                    continue;
                }
                // An output that fails is as good as one that ended: the task's own end tells the rest.
                read = output.read(&mut buffer) => read.unwrap_or(0),
            };
            let texts = lines.feed(&buffer[..read]);
            self.keep_pace(read + texts.len() * LOG_LINE_BYTES_COUNTED).await;
            for text in texts {
                self.line(stream.level(), stream.source(), &text, String::new(), now_ms()).await;
            }
            if read == 0 {
                break;
            }
        }
        if let Some(text) = lines.rest() {
            self.line(stream.level(), stream.source(), &text, String::new(), now_ms()).await;
        }
        None
    }

    /// The last lines, oldest first.
    pub(crate) fn tail(&self) -> Vec<String> {
        self.kept().tail.iter().cloned().collect()
    }

    async fn line(&self, level: &str, source: &str, text: &str, mut data: String, time_ms: u64) {
        let mut text = cut(text);
        if data.is_empty() {
            self.kept().remember(&text);
        }
        let is_full = self.kept().full;
        // What comes with a line leaves as well: one without a word still says when it was written, how bad it is, and that it is.
        let counted = (text.len() + data.len() + LOG_LINE_BYTES_COUNTED) as u64;
        let held_back = if is_full { None } else { self.hold_back(counted).await };
        {
            let mut kept = self.kept();
            kept.bytes += counted;
            let was_full = kept.full;
            kept.full = was_full || kept.bytes > self.bounds.log_bytes || held_back.is_some();
            if kept.full {
                kept.unkept.0 += 1;
                kept.unkept.1 += text.len() as u64;
            }
            if was_full {
                return;
            }
            if kept.full {
                data = String::new();
                let limit = words::bytes(self.bounds.log_bytes);
                text = match &held_back {
                    Some(why) => format!("from here on this log is not kept: {why}"),
                    None => {
                        format!("the log of this attempt has reached its limit of {limit}; what follows is not kept")
                    }
                };
                kept.held_back = held_back;
            }
        }
        self.send(level, source, text, data, time_ms).await;
    }

    /// Why so many bytes may not leave this node, if they may not.
    async fn hold_back(&self, bytes: u64) -> Option<String> {
        match self.meter.as_ref()?.spend(bytes).await.err()? {
            NotSent::Budget(dataset) => Some(format!("what may leave of the dataset `{dataset}` in a day is used up")),
            NotSent::Unwritten(why) => Some(why),
        }
    }

    async fn send(&self, level: &str, source: &str, text: String, data: String, time_ms: u64) {
        let (level, source) = (level.to_owned(), source.to_owned());
        let attempt = self.attempt.clone();
        self.outbox.push_log(LogLine { attempt, time_ms, level, source, text, data }).await;
    }

    /// Makes a task that writes too fast wait, which its log says once.
    async fn keep_pace(&self, bytes: usize) {
        if self.pace.spend(bytes as u64).await && !std::mem::replace(&mut self.kept().slowed, true) {
            let rate = words::bytes(self.bounds.log_bytes_per_second);
            self.platform("warning", &format!("the task writes more than {rate} of log a second, and is made to wait"))
                .await;
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Splits what arrives into lines of bounded length.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Lines {
    begun: Vec<u8>,
    cut: usize,
}

impl Lines {
    fn feed(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut done = Vec::new();
        let mut parts = bytes.split(|byte| *byte == b'\n');
        let last = parts.next_back().unwrap_or_default();
        for part in parts {
            self.add(part);
            done.push(self.take());
        }
        self.add(last);
        done
    }

    fn rest(&mut self) -> Option<String> {
        (!self.begun.is_empty()).then(|| self.take())
    }

    fn add(&mut self, bytes: &[u8]) {
        let fits = bytes.len().min(LOG_LINE_BYTES_MAX - self.begun.len());
        self.begun.extend(&bytes[..fits]);
        self.cut += bytes.len() - fits;
    }

    fn take(&mut self) -> String {
        let begun = std::mem::take(&mut self.begun);
        let text = String::from_utf8_lossy(begun.strip_suffix(b"\r").unwrap_or(&begun)).into_owned();
        match std::mem::take(&mut self.cut) {
            0 => text,
            more => format!("{text}… ({more} bytes cut)"),
        }
    }
}

/// The time that a task gives a line, where it can be true: a number that the task is free to choose carries whatever it likes.
fn believed(time_ms: u64, now_ms: u64) -> u64 {
    if (now_ms.saturating_sub(LATE_MS_MAX)..=now_ms).contains(&time_ms) { time_ms } else { now_ms }
}

/// A text of at most a line's length.
fn cut(text: &str) -> String {
    // A line that was cut where it was read carries its own note, which may stand over the limit.
    if text.len() <= LOG_LINE_BYTES_MAX + 64 {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(LOG_LINE_BYTES_MAX);
    format!("{}… ({} bytes cut)", &text[..end], text.len() - end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::Ready;
    use crate::parting::Parting;

    async fn pump(log: &AttemptLog, mut output: &[u8]) {
        let busy = Arc::<Parting>::default().begin().await.unwrap();
        assert!(log.pump(Stream::Stdout, &mut output, Lines::default(), busy).await.is_none());
    }

    async fn pumped(output: &[u8]) -> Vec<String> {
        let outbox = Arc::new(Outbox::default());
        let log = AttemptLog::new("at_1".to_owned(), Arc::clone(&outbox), Bounds::default());
        pump(&log, output).await;
        match tokio::time::timeout(std::time::Duration::from_millis(1), outbox.next()).await {
            Ok(Ready::Logs(batch)) => batch.lines.into_iter().map(|line| line.text).collect(),
            _ => Vec::new(),
        }
    }

    #[tokio::test]
    async fn output_becomes_lines_and_an_unfinished_one_is_not_lost() {
        assert_eq!(pumped(b"one\ntwo\r\n\nthree").await, ["one", "two", "", "three"]);
        assert_eq!(pumped(b"not \xff utf-8\n").await, ["not \u{fffd} utf-8"]);
        assert_eq!(pumped(b"").await, Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_long_line_is_cut_and_says_by_how_much() {
        let mut output = vec![b'x'; 3 * LOG_LINE_BYTES_MAX];
        output.push(b'\n');
        let lines = pumped(&output).await;
        assert!(lines[0].ends_with(&format!("x… ({} bytes cut)", 2 * LOG_LINE_BYTES_MAX)));
        assert!(lines[0].len() < LOG_LINE_BYTES_MAX + 64);
    }

    #[tokio::test]
    async fn the_tail_is_the_last_lines_without_metrics() {
        let log = AttemptLog::new("at_1".to_owned(), Arc::new(Outbox::default()), Bounds::default());
        for n in 0..60 {
            log.logged("info", &format!("line {n}"), 0).await;
        }
        log.data("metrics", "loss=1", &serde_json::json!({"values": {"loss": 1.0}})).await;
        let tail = log.tail();
        assert_eq!((tail.len(), tail[0].as_str(), tail[49].as_str()), (50, "line 10", "line 59"));
    }

    #[test]
    fn the_time_of_a_line_is_what_its_task_says_where_that_can_be() {
        let now = 1_795_731_666_983;
        assert_eq!(
            [now, now - 1, now - LATE_MS_MAX].map(|time| believed(time, now)),
            [now, now - 1, now - LATE_MS_MAX]
        );
        assert_eq!([0, now - LATE_MS_MAX - 1, now + 1, u64::MAX].map(|time| believed(time, now)), [now; 4]);
    }

    #[tokio::test]
    async fn lines_without_a_word_are_counted_against_what_may_leave() {
        let dir = tempfile::tempdir().unwrap();
        let audit = Arc::new(crate::audit::Audit::open(&dir.path().join("audit.log")).unwrap());
        let watched = vec![crate::audit::Watched { dataset: "mnist".to_owned(), budget: Some(100) }];
        let outbox = Arc::new(Outbox::default());
        let log = AttemptLog::new("at_1".to_owned(), Arc::clone(&outbox), Bounds::default());
        let log = log.metered(Meter::new(Arc::clone(&audit), "at_1".to_owned(), watched));
        for letter in 0..50 {
            log.logged("info", "", letter).await;
        }
        log.close().await;
        let Ready::Logs(batch) = outbox.next().await else { panic!("no lines") };
        let silent = batch.lines.iter().filter(|line| line.text.is_empty()).count();
        assert_eq!(silent, 100 / LOG_LINE_BYTES_COUNTED);
        assert!(batch.lines.iter().all(|line| line.time_ms > 50), "no line carries the number that its task chose");
        assert!(audit.left_today("mnist") <= 100);
    }

    #[tokio::test]
    async fn a_metric_too_large_for_the_manager_is_not_sent_and_said() {
        let outbox = Arc::new(Outbox::default());
        let log = AttemptLog::new("at_1".to_owned(), Arc::clone(&outbox), Bounds::default());
        log.data("metrics", "x", &serde_json::json!("x".repeat(4 << 20))).await;
        let Ready::Logs(batch) = outbox.next().await else { panic!("no lines") };
        assert_eq!(batch.lines[0].text, "a metrics line of 4 MiB is not kept: 64 KiB are the limit");
        assert!(batch.lines[0].data.is_empty());
    }

    #[tokio::test]
    async fn a_log_that_is_full_says_so_once_and_in_the_end_how_much_was_not_kept() {
        let outbox = Arc::new(Outbox::default());
        let bounds = Bounds { log_bytes: 40, ..Bounds::default() };
        let log = AttemptLog::new("at_1".to_owned(), Arc::clone(&outbox), bounds);
        for _ in 0..4 {
            log.logged("info", "more", 0).await;
        }
        log.close().await;
        log.close().await;
        let Ready::Logs(batch) = outbox.next().await else { panic!("no lines") };
        let texts: Vec<_> = batch.lines.iter().map(|line| line.text.as_str()).collect();
        let full = "the log of this attempt has reached its limit of 40 bytes; what follows is not kept";
        let end = "2 lines (8 bytes) were not kept: the log of an attempt may have 40 bytes";
        assert_eq!(texts, ["more", "more", full, end]);
        assert_eq!(log.tail().len(), 5, "the last lines stay, whatever was kept, and the last word");
    }

    #[tokio::test(start_paused = true)]
    async fn who_writes_faster_than_the_limit_waits_and_is_told_so_once() {
        let outbox = Arc::new(Outbox::default());
        let bounds = Bounds { log_bytes_per_second: 1 << 20, ..Bounds::default() };
        let log = AttemptLog::new("at_1".to_owned(), Arc::clone(&outbox), bounds);
        let flood: Vec<u8> = format!("{}\n", "x".repeat(1023)).into_bytes().repeat(4 << 10);
        let begun = tokio::time::Instant::now();
        pump(&log, &flood).await;
        // A second's worth is there at once; lines are counted as 16 bytes more than they have.
        assert_eq!(begun.elapsed().as_secs(), 3);
        let told = log.tail();
        let waits = told.iter().filter(|text| text.contains("is made to wait")).count();
        assert!(waits <= 1, "{told:?}");
        assert!(log.kept().slowed);
    }
}
