//! What a person sees of a running swarm on standard error: lines, and a bar below them on a terminal.
use std::cell::{Cell, RefCell};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use manta_api::{LogLine, WaitingView};

use crate::history::{FailedAttempt, IterationRow};
use crate::out::{paint, redraws, say};
use crate::report::Form;
use crate::text::{clean, hanging, number, one_line, seconds};

/// Lines of a traceback that are shown, half of them from its end.
const TRACEBACK_LINES: usize = 30;
/// Nodes that an explanation of waiting names.
const NODES_NAMED: usize = 5;

/// What is shown of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    /// Everything: iterations with every metric, log lines, failures.
    All,
    /// Iterations as rows of a table with one metric, warnings, failures.
    Accuracy,
}

/// Standard error during a run; silent where programs read.
pub(crate) struct Screen {
    quiet: bool,
    show: Show,
    bar: ProgressBar,
    of: Cell<Option<u32>>,
    now: Cell<u32>,
    last_traceback: RefCell<String>,
}

impl Screen {
    /// A screen; nothing is drawn yet.
    pub(crate) fn new(form: Form, show: Show) -> Self {
        let quiet = form == Form::Json;
        let bar = if quiet || !redraws() { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
        let style = ProgressStyle::with_template("{spinner} {msg}  {elapsed}");
        bar.set_style(style.expect("the template is fixed"));
        Self { quiet, show, bar, of: Cell::new(None), now: Cell::new(0), last_traceback: RefCell::default() }
    }

    /// What is being done now; only a terminal shows it.
    pub(crate) fn doing(&self, what: &str) {
        self.bar.enable_steady_tick(Duration::from_millis(120));
        self.bar.set_message(one_line(what, 60));
    }

    /// A line of talk above the bar.
    pub(crate) fn line(&self, line: &str) {
        if !self.quiet {
            self.bar.suspend(|| say(&clean_but_colours(line)));
        }
    }

    /// The number of iterations that it loops to, where bounded.
    pub(crate) fn bounded(&self, iterations: Option<u32>) {
        self.of.set(iterations);
    }

    pub(crate) fn iteration_started(&self, iteration: u32) {
        self.now.set(iteration);
        self.doing(&self.position());
    }

    pub(crate) fn progress(&self, task: &str, done: usize, of: usize) {
        self.doing(&format!("{} · {task} {done}/{of}", self.position()));
    }

    fn position(&self) -> String {
        let of = self.of.get().map(|of| format!(" (at most {of})")).unwrap_or_default();
        format!("iteration {}{of}", self.now.get())
    }

    /// The row of an iteration that ended.
    pub(crate) fn iteration_finished(&self, row: &IterationRow) {
        match self.show {
            Show::All => self.line(&run_row(row)),
            Show::Accuracy => self.line(&accuracy_row(row)),
        }
    }

    /// The head of the rows, where they are a table.
    pub(crate) fn head(&self) {
        if self.show == Show::Accuracy {
            self.line("iteration  accuracy  nodes  seconds  slowest");
        }
    }

    /// A line that a task logged or printed.
    pub(crate) fn log(&self, log: &LogLine) {
        let wanted = match self.show {
            Show::All => log.level != "debug",
            Show::Accuracy => matches!(log.level.as_str(), "warning" | "error") && log.source != "stderr",
        };
        if !wanted || matches!(log.source.as_str(), "metrics" | "progress") {
            return;
        }
        let who = paint("2", &format!("{} {} {}", clean(&log.node), clean(&log.task), log.iteration));
        let level = match log.level.as_str() {
            "warning" => paint("33", "warning "),
            "error" if log.source != "stderr" => paint("31", "error "),
            _ => String::new(),
        };
        clean(&log.text).lines().for_each(|line| self.line(&format!("{who} │ {level}{line}")));
    }

    /// An attempt that failed, with its traceback unless the last one was the same.
    pub(crate) fn failed(&self, failed: &FailedAttempt) {
        let FailedAttempt { task, node, iteration, attempt, failure, retry_after_ms, .. } = failed;
        let again = retry_after_ms.map(|ms| format!("; it is tried again in {}", seconds(ms))).unwrap_or_default();
        let what = hanging(&failure.message);
        let place = failure.location.as_deref().map(|place| format!(" at {}", clean(place))).unwrap_or_default();
        let who = format!("task {task}, node {node}, iteration {iteration}, attempt {attempt}");
        self.line(&format!("{} {who}{place}: {what}{again}", paint("31", "failed:")));
        if !failure.traceback.is_empty() && failure.traceback != *self.last_traceback.borrow() {
            let lines: Vec<&str> = failure.traceback.lines().collect();
            let left_out = lines.len().saturating_sub(TRACEBACK_LINES);
            // The user's own frames come first, and what went wrong last.
            let first = if left_out > 0 { TRACEBACK_LINES / 2 } else { lines.len() };
            lines.iter().take(first).for_each(|line| self.line(&format!("    {}", clean(line))));
            if left_out > 0 {
                self.line(&format!("    … {left_out} lines left out …"));
            }
            lines.iter().skip(first + left_out).for_each(|line| self.line(&format!("    {}", clean(line))));
            self.last_traceback.borrow_mut().clone_from(&failure.traceback);
        } else if failure.traceback.is_empty() {
            failure.log_tail.iter().rev().take(5).rev().for_each(|line| self.line(&format!("    {}", clean(line))));
        }
    }

    /// Something that needs a look.
    pub(crate) fn attention(&self, message: &str) {
        self.line(&format!("{} {}", paint("33", "note:"), hanging(message)));
    }

    /// What waits, and why.
    pub(crate) fn waiting(&self, waiting: &WaitingView) {
        let WaitingView { task, iteration, reason, nodes, would_change } = waiting;
        self.line(&format!("{} task {task}, iteration {iteration}: {}", paint("33", "waiting:"), clean(reason)));
        for node in nodes.iter().take(NODES_NAMED) {
            self.line(&format!("    {}: {}", node.node, clean(&node.cause)));
        }
        if nodes.len() > NODES_NAMED {
            self.line(&format!("    … {} more nodes", nodes.len() - NODES_NAMED));
        }
        if !would_change.is_empty() {
            self.line(&format!("    would change it: {}", clean(&would_change.join("; or "))));
        }
    }

    /// Takes the bar away.
    pub(crate) fn close(&self) {
        self.bar.finish_and_clear();
    }
}

/// Every part that others wrote was cleaned where it was put in; only our own colours are left.
fn clean_but_colours(line: &str) -> String {
    line.split('\x1b').map(clean).collect::<Vec<_>>().join("\x1b")
}

fn run_row(row: &IterationRow) -> String {
    let metrics = row.metrics.iter().map(|(name, value)| format!("  {} {}", clean(name), number(*value)));
    let nodes = crate::text::count(row.nodes, "node");
    format!("iteration {}: {}, {nodes}{}", row.iteration, seconds(row.elapsed_ms), metrics.collect::<String>())
}

fn accuracy_row(row: &IterationRow) -> String {
    let accuracy = row.metrics.get("accuracy").map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
    let slowest = row.slowest_node.as_deref().unwrap_or("-");
    format!("{:>9}  {accuracy:>8}  {:>5}  {:>7.2}  {slowest}", row.iteration, row.nodes, row.seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn row() -> IterationRow {
        IterationRow {
            iteration: 2,
            seconds: 0.845,
            nodes: 5,
            slowest_node: Some("node-3".into()),
            start_ms: 0,
            starts: BTreeMap::new(),
            overhead_ms: 40,
            metrics: BTreeMap::from([("accuracy".into(), 0.9417), ("loss\x1b[2J".into(), 0.21)]),
            elapsed_ms: 845,
        }
    }

    #[test]
    fn rows_are_short_and_safe() {
        assert_eq!(run_row(&row()), "iteration 2: 0.84 s, 5 nodes  accuracy 0.9417  loss[2J 0.2100");
        assert_eq!(accuracy_row(&row()), "        2    0.9417      5     0.84  node-3");
    }
}
