//! What the suites found: a table, a JSON document, and a page for `docs/reports/`.
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use manta_testkit::bench::{Document, Machine, Row};

use crate::history::Seen;
use crate::options::{Form, Options};
use crate::suites::Suite;

/// Over the figures of what was lost, and of how much was checked.
const LOST: &str = "lost/checked";
/// The same of what was accepted twice.
const TWICE: &str = "twice/checked";
/// Sentences about what is wrong that a line shows.
const WRONG_SHOWN: usize = 5;

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

    /// How many faults fell at a place.
    pub(crate) fn fell_there(&self, place: &str) -> u64 {
        self.fell.get(place).copied().unwrap_or_default()
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
    Ran(Vec<Finding>),
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
            Ok(findings) => End::Ran(findings),
            Err(error) => End::Broken(format!("{error:#}")),
        };
        Self { suite, end }
    }

    /// Whether it could not run, or ran and found nothing wrong.
    fn is_well(&self) -> bool {
        match &self.end {
            End::Ran(findings) => findings.iter().all(|finding| finding.seen.is_clean()),
            End::Skipped(_) => true,
            End::Broken(_) => false,
        }
    }

    /// Whether its figures do not say all that is to be said.
    fn needs_words(&self) -> bool {
        !self.is_well() || matches!(self.end, End::Skipped(_))
    }

    /// One line about it.
    pub(crate) fn summary(&self) -> String {
        match &self.end {
            End::Ran(findings) => {
                let trials: u64 = findings.iter().map(|finding| finding.trials).sum();
                // Rows that share a cluster were checked together, and have the same sentences.
                let (mut lost, mut twice) = (BTreeSet::new(), BTreeSet::new());
                for finding in findings {
                    lost.extend(&finding.seen.wrong.lost);
                    twice.extend(&finding.seen.wrong.twice);
                }
                let counts = format!("{trials} faults, lost {}, accepted twice {}", lost.len(), twice.len());
                let first: Vec<_> = lost.into_iter().chain(twice).take(WRONG_SHOWN).map(String::as_str).collect();
                if first.is_empty() { counts } else { format!("FAILED: {counts}: {}", first.join("; ")) }
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
    /// Whether no suite failed, or found anything lost or accepted twice.
    pub(crate) fn is_well(&self) -> bool {
        self.told.iter().all(Told::is_well)
    }

    fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.told.iter().flat_map(|told| match &told.end {
            End::Ran(findings) => findings.as_slice(),
            _ => &[],
        })
    }

    /// The figures as `cargo xtask bench` prints them.
    pub(crate) fn json(&self) -> Result<String> {
        let mut rows = Vec::new();
        for finding in self.findings() {
            let name = |what: &str| format!("{} {}: {what}", finding.row, finding.what);
            rows.push(Row::plain(&name("faults made"), finding.trials as f64, "faults"));
            let Seen { accepted, acknowledged, wrong } = &finding.seen;
            rows.push(Row::plain(&name("acknowledged, checked"), *acknowledged as f64, "things"));
            rows.push(Row::at_most(&name("acknowledged and lost"), wrong.lost.len() as f64, "things", 0.0));
            rows.push(Row::plain(&name("assignments checked"), *accepted as f64, "assignments"));
            rows.push(Row::at_most(&name("accepted twice"), wrong.twice.len() as f64, "assignments", 0.0));
            if let Some(fewest) = finding.fell.values().min() {
                rows.push(Row::plain(&name("places where faults fell"), finding.fell.len() as f64, "places"));
                rows.push(Row::plain(&name("fewest faults at one of them"), *fewest as f64, "faults"));
            }
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
        let mut text = format!(
            "{:<5} {:<58} {:>7} {LOST:>12} {TWICE:>12} {:>7} {:>7}\n",
            "row", "fault", "trials", "p50 ms", "p99 ms"
        );
        for finding in self.findings() {
            let ms = |share| finding.percentile(share).map(|ms| format!("{ms:.0}")).unwrap_or_default();
            let Finding { row, what, trials, seen, .. } = finding;
            let lost = format!("{}/{}", seen.wrong.lost.len(), seen.acknowledged);
            let twice = format!("{}/{}", seen.wrong.twice.len(), seen.accepted);
            let _ =
                writeln!(text, "{row:<5} {what:<58} {trials:>7} {lost:>12} {twice:>12} {:>7} {:>7}", ms(0.5), ms(0.99));
        }
        for told in self.told.iter().filter(|told| told.needs_words()) {
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
             what it must be. *Lost* counts those that were gone or altered, of all that were checked; *accepted twice* counts\n\
             assignments, of all that were checked. Rows that share a cluster share its checks. A 0 out of *n* trials says that\n\
             the true share is below 3/*n*, at 95 %. Recovery is the time until the manager serves, or the work goes on, again.\n\n\
             | row | fault | trials | share below | lost | accepted twice | recovery p50, p99 |\n\
             |---|---|---|---|---|---|---|\n",
        );
        for finding in self.findings() {
            let Finding { row, what, trials, seen, .. } = finding;
            let recovery = match (finding.percentile(0.5), finding.percentile(0.99)) {
                (Some(half), Some(most)) => format!("{half:.0} ms, {most:.0} ms"),
                _ => "–".to_owned(),
            };
            let bound = if *trials > 3 { format!("{:.2} %", 300.0 / *trials as f64) } else { "–".to_owned() };
            let Seen { accepted, acknowledged, wrong } = seen;
            let (lost, twice) = (wrong.lost.len(), wrong.twice.len());
            let _ = writeln!(
                text,
                "| {row} | {what} | {trials} | {bound} | {lost} of {acknowledged} | {twice} of {accepted} | {recovery} |"
            );
        }
        for told in self.told.iter().filter(|told| told.needs_words()) {
            let _ = writeln!(text, "\n**{}** {}", told.suite.name, without_paths(&told.summary(), &places()));
        }
        for finding in self.findings().filter(|finding| !finding.fell.is_empty()) {
            let (places, fewest) = (finding.fell.len(), finding.fell.values().min().copied().unwrap_or_default());
            let _ = writeln!(text, "\n## {}: where the faults fell\n", finding.what);
            let _ = writeln!(text, "{places} places, each at least {fewest} times.\n\n| place | faults |\n|---|---|");
            for (place, count) in &finding.fell {
                let _ = writeln!(text, "| `{place}` | {count} |");
            }
        }
        text
    }
}

/// The places of this machine that no page may name.
fn places() -> Vec<String> {
    let checkout = std::env::current_dir().ok();
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let all = [checkout, home, Some(std::env::temp_dir()), Some(PathBuf::from("/tmp"))];
    let named = all.into_iter().flatten().filter(|place| place.is_absolute() && place.parent().is_some());
    named.map(|place| place.display().to_string()).collect()
}

/// The text, with only the last part of every path below one of these places.
fn without_paths(text: &str, places: &[String]) -> String {
    let ends = |letter: char| letter.is_whitespace() || "`'\"()[]{},;".contains(letter);
    let short = |word: &str| {
        let end = word.len() - word.chars().next_back().filter(|last| ends(*last)).map_or(0, char::len_utf8);
        let (path, rest) = word.split_at(end);
        match places.iter().filter_map(|place| path.find(&format!("{place}/"))).min() {
            Some(at) => format!("{}…/{}{rest}", &path[..at], path.rsplit('/').next().unwrap_or_default()),
            None => word.to_owned(),
        }
    };
    text.split_inclusive(ends).map(short).collect()
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

    #[test]
    fn pages_name_no_places_of_this_machine() {
        let places = ["/tmp".to_owned(), "/home/someone".to_owned()];
        let text =
            "manager.log: `/tmp/mc-1-2/m/state.db` (at unix:/tmp/mc-1-2/m.sock), /home/someone/a/b\nGET /v1/swarms";
        let short = "manager.log: `…/state.db` (at unix:…/m.sock), …/b\nGET /v1/swarms";
        assert_eq!(without_paths(text, &places), short);
    }

    #[test]
    fn one_thing_lost_fails_a_suite_and_is_named() {
        let mut finding = Finding::of("M1", "kills");
        let suite = crate::suites::select(&["pauses".to_owned()]).unwrap()[0];
        assert!(Told::ran(suite, Ok(vec![finding.clone()])).is_well());
        finding.seen.wrong.lost.insert("swarm x: event 3 is gone".to_owned());
        let told = Told::ran(suite, Ok(vec![finding.clone(), finding]));
        assert!(!told.is_well());
        assert_eq!(told.summary(), "FAILED: 0 faults, lost 1, accepted twice 0: swarm x: event 3 is gone");
    }
}
