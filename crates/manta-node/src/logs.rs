//! An attempt's log: lines cut and counted against their limits, sent on, and the last ones kept for a failure.
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use manta_api::node::LogLine;
use manta_types::limits::{FAILURE_LOG_LINES, LOG_BYTES_PER_ATTEMPT_MAX, LOG_LINE_BYTES_COUNTED, LOG_LINE_BYTES_MAX};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::outbox::Outbox;

/// Bytes read from a task's output at a time.
const READ_BYTES: usize = 16 << 10;

/// The log of one attempt.
#[derive(Debug)]
pub(crate) struct AttemptLog {
    attempt: String,
    outbox: Arc<Outbox>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    tail: VecDeque<String>,
    bytes: u64,
    full: bool,
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
    pub(crate) fn new(attempt: String, outbox: Arc<Outbox>) -> Self {
        Self { attempt, outbox, kept: Mutex::default() }
    }

    /// A line of the task's logger.
    pub(crate) async fn logged(&self, level: &str, text: &str, time_ms: u64) {
        let level = match level {
            "debug" | "info" | "warning" | "error" => level,
            _ => "info",
        };
        self.line(level, "log", text, String::new(), time_ms).await;
    }

    /// Something that the platform has to say in this attempt's log.
    pub(crate) async fn platform(&self, level: &str, text: &str) {
        self.line(level, "platform", text, String::new(), now_ms()).await;
    }

    /// A metric or a progress report: `source` says which.
    pub(crate) async fn data(&self, source: &str, text: &str, data: &Value) {
        self.line("info", source, text, data.to_string(), now_ms()).await;
    }

    /// Passes on what a task writes, line by line, until it ends.
    pub(crate) async fn pump(&self, stream: Stream, mut output: impl AsyncRead + Unpin) {
        let mut lines = Lines::default();
        let mut buffer = vec![0; READ_BYTES];
        loop {
            // An output that fails is as good as one that ended: the task's own end tells the rest.
            let read = output.read(&mut buffer).await.unwrap_or(0);
            for text in lines.feed(&buffer[..read]) {
                self.line(stream.level(), stream.source(), &text, String::new(), now_ms()).await;
            }
            if read == 0 {
                break;
            }
        }
        if let Some(text) = lines.rest() {
            self.line(stream.level(), stream.source(), &text, String::new(), now_ms()).await;
        }
    }

    /// The last lines, oldest first.
    pub(crate) fn tail(&self) -> Vec<String> {
        self.kept().tail.iter().cloned().collect()
    }

    async fn line(&self, level: &str, source: &str, text: &str, data: String, time_ms: u64) {
        let mut text = cut(text);
        if data.is_empty() {
            let mut kept = self.kept();
            if kept.tail.len() == FAILURE_LOG_LINES {
                kept.tail.pop_front();
            }
            kept.tail.push_back(text.clone());
        }
        {
            let mut kept = self.kept();
            kept.bytes += (text.len() + data.len() + LOG_LINE_BYTES_COUNTED) as u64;
            if kept.full {
                return;
            }
            kept.full = kept.bytes > LOG_BYTES_PER_ATTEMPT_MAX;
            if kept.full {
                text = format!(
                    "the log of this attempt has reached {LOG_BYTES_PER_ATTEMPT_MAX} bytes; what follows is not kept"
                );
            }
        }
        let (level, source) = (level.to_owned(), source.to_owned());
        let attempt = self.attempt.clone();
        self.outbox.push_log(LogLine { attempt, time_ms, level, source, text, data }).await;
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Splits what arrives into lines of bounded length.
#[derive(Debug, Default)]
struct Lines {
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

/// A text of at most a line's length.
fn cut(text: &str) -> String {
    // A line that was cut where it was read carries its own note, which may stand over the limit.
    if text.len() <= LOG_LINE_BYTES_MAX + 64 {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(LOG_LINE_BYTES_MAX);
    format!("{}… ({} bytes cut)", &text[..end], text.len() - end)
}

/// The wall clock, for people only.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::Ready;

    async fn pumped(output: &[u8]) -> Vec<String> {
        let outbox = Arc::new(Outbox::default());
        let log = AttemptLog::new("at_1".to_owned(), Arc::clone(&outbox));
        log.pump(Stream::Stdout, output).await;
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
        let log = AttemptLog::new("at_1".to_owned(), Arc::new(Outbox::default()));
        for n in 0..60 {
            log.logged("info", &format!("line {n}"), 0).await;
        }
        log.data("metrics", "loss=1", &serde_json::json!({"values": {"loss": 1.0}})).await;
        let tail = log.tail();
        assert_eq!((tail.len(), tail[0].as_str(), tail[49].as_str()), (50, "line 10", "line 59"));
    }

    #[tokio::test]
    async fn a_log_that_is_full_says_so_once() {
        let outbox = Arc::new(Outbox::default());
        let log = AttemptLog::new("at_1".to_owned(), Arc::clone(&outbox));
        log.kept().bytes = LOG_BYTES_PER_ATTEMPT_MAX - 1;
        for _ in 0..3 {
            log.logged("info", "more", 0).await;
        }
        let Ready::Logs(batch) = outbox.next().await else { panic!("no lines") };
        assert_eq!(batch.lines.len(), 1);
        assert!(batch.lines[0].text.contains("what follows is not kept"), "{:?}", batch.lines);
    }
}
