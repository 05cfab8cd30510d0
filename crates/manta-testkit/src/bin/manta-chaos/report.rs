//! What the suites found: a table, a JSON document, and a page for `docs/reports/`.
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use manta_testkit::bench::{Document, Machine, Row};

use crate::history::Seen;
use crate::options::{Form, Options};
use crate::suites::Suite;

/// What one row of the fault matrix showed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Finding {
    /// The row's name in `docs/reference/fault-matrix.md`.
    pub(crate) row: &'static str,
    /// What was done, in words.
    pub(crate) what: String,
    /// Faults that were made.
    pub(crate) trials: u64,
    /// What was checked after them.
    pub(crate) seen: Seen,
    /// How long it took until all was well again, one figure for each trial that has one.
    pub(crate) recovery: Vec<Duration>,
    /// Where the faults fell: crash point or phase, and how many.
    pub(crate) fell: BTreeMap<String, u64>,
}

impl Finding {
    /// A row of the matrix, before anything was tried.
    pub(crate) fn of(row: &'static str, what: impl Into<String>) -> Self {
        Self { row, what: what.into(), ..Self::default() }
    }

    /// Counts a fault and where it fell.
    pub(crate) fn fell_at(&mut self, place: &str) {
        self.trials += 1;
        *self.fell.entry(place.to_owned()).or_default() += 1;
    }

    /// Takes in what another run of the same fault showed.
    pub(crate) fn add(&mut self, other: Self) {
        self.trials += other.trials;
        self.recovery.extend(other.recovery);
        for (place, count) in other.fell {
            *self.fell.entry(place).or_default() += count;
        }
    }

    fn percentile(&self, share: f64) -> Option<f64> {
        let mut sorted = self.recovery.clone();
        sorted.sort();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a length is an index")]
        let at = ((sorted.len().checked_sub(1)? as f64) * share).round() as usize;
        Some(sorted.get(at)?.as_secs_f64() * 1000.0)
    }
}

/// How a suite ended.
#[derive(Debug)]
enum End {
    Well(Vec<Finding>),
    Skipped(String),
    Broken(String),
}

/// A suite and how it ended.
#[derive(Debug)]
pub(crate) struct Told {
    suite: &'static Suite,
    end: End,
}

impl Told {
    pub(crate) fn skipped(suite: &'static Suite, lack: String) -> Self {
        Self { suite, end: End::Skipped(lack) }
    }

    pub(crate) fn ran(suite: &'static Suite, outcome: Result<Vec<Finding>>) -> Self {
        let end = match outcome {
            Ok(findings) => End::Well(findings),
            Err(error) => End::Broken(format!("{error:#}")),
        };
        Self { suite, end }
    }

    /// One line about it.
    pub(crate) fn summary(&self) -> String {
        match &self.end {
            End::Well(findings) => {
                let trials: u64 = findings.iter().map(|finding| finding.trials).sum();
                format!("{trials} faults, nothing lost, nothing accepted twice")
            }
            End::Skipped(lack) => format!("skipped: needs {lack}"),
            End::Broken(why) => format!("FAILED: {why}"),
        }
    }
}

/// Everything.
pub(crate) struct Report<'a> {
    pub(crate) machine: Machine,
    pub(crate) options: &'a Options,
    pub(crate) told: Vec<Told>,
}

impl Report<'_> {
    /// Whether no suite failed.
    pub(crate) fn is_well(&self) -> bool {
        !self.told.iter().any(|told| matches!(told.end, End::Broken(_)))
    }

    fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.told.iter().flat_map(|told| match &told.end {
            End::Well(findings) => findings.as_slice(),
            _ => &[],
        })
    }

    /// The figures as `cargo xtask bench` prints them.
    pub(crate) fn json(&self) -> Result<String> {
        let mut rows = Vec::new();
        for finding in self.findings() {
            let name = |what: &str| format!("{} {}: {what}", finding.row, finding.what);
            rows.push(Row::plain(&name("faults made"), finding.trials as f64, "faults"));
            rows.push(Row::plain(&name("assignments checked"), finding.seen.accepted as f64, "assignments"));
            rows.push(Row::at_most(&name("acknowledged and lost"), 0.0, "things", 0.0));
            rows.push(Row::at_most(&name("accepted twice"), 0.0, "assignments", 0.0));
            for (label, share) in [("recovery, median", 0.5), ("recovery, 99 of 100", 0.99)] {
                rows.extend(finding.percentile(share).map(|ms| Row::plain(&name(label), ms, "ms")));
            }
        }
        for told in &self.told {
            if let End::Broken(why) = &told.end {
                rows.push(Row::at_most(&format!("suite {} failed: {why}", told.suite.name), 1.0, "failures", 0.0));
            }
        }
        let document = Document { schema_version: 1, machine: self.machine.clone(), rows };
        Ok(serde_json::to_string_pretty(&document)?)
    }

    /// The figures for people.
    pub(crate) fn table(&self) -> String {
        let mut text =
            format!("{:<5} {:<58} {:>7} {:>8} {:>8} {:>8}\n", "row", "fault", "trials", "checked", "p50 ms", "p99 ms");
        for finding in self.findings() {
            let ms = |share| finding.percentile(share).map(|ms| format!("{ms:.0}")).unwrap_or_default();
            let Finding { row, what, trials, seen, .. } = finding;
            let _ =
                writeln!(text, "{row:<5} {what:<58} {trials:>7} {:>8} {:>8} {:>8}", seen.accepted, ms(0.5), ms(0.99));
        }
        for told in self.told.iter().filter(|told| !matches!(told.end, End::Well(_))) {
            let _ = writeln!(text, "{}: {}", told.suite.name, told.summary());
        }
        let _ = write!(text, "again: {}", self.options.command());
        text
    }

    /// Writes the page and says where.
    pub(crate) fn write(&self) -> Result<PathBuf> {
        let path = PathBuf::from(format!("docs/reports/{}-chaos.md", today()));
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        std::fs::write(&path, self.page())?;
        Ok(path)
    }

    fn page(&self) -> String {
        let Machine { cores, memory_bytes, kernel, load } = &self.machine;
        let form = if self.options.form == Form::Short { "short" } else { "long" };
        let mut text = format!(
            "# Faults on real processes, {}\n\nThe {form} form, on {cores} cores, {} GiB, Linux {kernel}, load {load} before the run:\n`{}`.\n\n",
            today(),
            memory_bytes >> 30,
            self.options.command(),
        );
        text.push_str(
            "After every fault each acknowledged submission, event, result, global and state was read again and compared with\n\
             what it must be; each assignment was found accepted at most once. A 0 out of *n* trials says that the true share\n\
             is below 3/*n*, at 95 %. Recovery is the time until the manager serves, or the work goes on, again.\n\n\
             | row | fault | trials | lost | accepted twice | share below | assignments checked | recovery p50, p99 |\n\
             |---|---|---|---|---|---|---|---|\n",
        );
        for finding in self.findings() {
            let Finding { row, what, trials, seen, .. } = finding;
            let recovery = match (finding.percentile(0.5), finding.percentile(0.99)) {
                (Some(half), Some(most)) => format!("{half:.0} ms, {most:.0} ms"),
                _ => "–".to_owned(),
            };
            let bound = if *trials > 3 { format!("{:.2} %", 300.0 / *trials as f64) } else { "–".to_owned() };
            let _ = writeln!(text, "| {row} | {what} | {trials} | 0 | 0 | {bound} | {} | {recovery} |", seen.accepted);
        }
        for told in self.told.iter().filter(|told| !matches!(told.end, End::Well(_))) {
            let _ = writeln!(text, "\n**{}** {}", told.suite.name, told.summary());
        }
        for finding in self.findings().filter(|finding| !finding.fell.is_empty()) {
            let _ = writeln!(text, "\n## {}: where the faults fell\n\n| place | faults |\n|---|---|", finding.what);
            for (place, count) in &finding.fell {
                let _ = writeln!(text, "| `{place}` | {count} |");
            }
        }
        text
    }
}

/// The date, by UTC.
fn today() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%d").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_sorted_figures() {
        let recovery = (1..=100).rev().map(Duration::from_millis).collect();
        let finding = Finding { recovery, ..Finding::of("M1", "kills") };
        assert_eq!((finding.percentile(0.5), finding.percentile(0.99)), (Some(51.0), Some(99.0)));
        assert_eq!(Finding::of("M1", "none").percentile(0.5), None);
    }
}
