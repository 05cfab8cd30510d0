//! The last lines of `cargo xtask test`: a table of the stages, what was skipped, and one sentence.

use super::skips::Skips;
use crate::say::took;
use std::time::Duration;

/// How a stage ended; `None` while it has not run.
type Outcome = Option<(Duration, bool)>;

/// How long the stages took and how they ended.
pub(super) struct Report {
    set_up: Duration,
    stages: Vec<(&'static str, Outcome)>,
}

impl Report {
    pub(super) fn new(names: Vec<&'static str>) -> Self {
        Self { set_up: Duration::ZERO, stages: names.into_iter().map(|name| (name, None)).collect() }
    }

    pub(super) fn set_up(&mut self, time: Duration) {
        self.set_up = time;
    }

    pub(super) fn stage(&mut self, name: &str, time: Duration, passed: bool) {
        for (stage, outcome) in &mut self.stages {
            if *stage == name {
                *outcome = Some((time, passed));
            }
        }
    }

    /// The stage that failed, if one did.
    pub(super) fn failed(&self) -> Option<&'static str> {
        self.stages.iter().find(|(_, outcome)| matches!(outcome, Some((_, false)))).map(|(name, _)| *name)
    }

    pub(super) fn print(&self, skips: &Skips) {
        eprintln!("{}", self.text(skips));
    }

    fn text(&self, skips: &Skips) -> String {
        let mut lines = vec![String::new(), format!("  {:<10} {:>12}", "set-up", took(self.set_up))];
        lines.extend(self.stages.iter().map(|(name, outcome)| match outcome {
            Some((time, true)) => format!("  {name:<10} {:>12}  passed", took(*time)),
            Some((time, false)) => format!("  {name:<10} {:>12}  FAILED", took(*time)),
            None => format!("  {name:<10} {:>12}  not run", ""),
        }));
        lines.push(String::new());
        for (reason, tests) in skips.by_reason() {
            lines.push(format!("skipped: {reason}"));
            lines.extend(tests.iter().map(|test| format!("  {test}")));
        }
        lines.push(self.sentence(skips));
        lines.join("\n")
    }

    fn sentence(&self, skips: &Skips) -> String {
        let total: Duration =
            self.set_up + self.stages.iter().filter_map(|(_, outcome)| Some(outcome.as_ref()?.0)).sum();
        let passed = self.stages.iter().filter(|(_, outcome)| matches!(outcome, Some((_, true)))).count();
        let all = self.stages.len();
        let skipped: usize = skips.by_reason().values().map(Vec::len).sum();
        let skipped =
            if skipped == 0 { "nothing skipped".to_string() } else { format!("{skipped} skipped, listed above") };
        if passed == all {
            format!("All {all} stages passed in {}, {skipped}.", took(total))
        } else {
            format!("{passed} of {all} stages passed in {}, {skipped}.", took(total))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Report, Skips};
    use std::time::Duration;

    #[test]
    fn a_failed_stage_and_those_after_it_are_told() {
        let mut report = Report::new(vec!["tidy", "fmt", "build"]);
        report.stage("tidy", Duration::from_secs(1), true);
        report.stage("fmt", Duration::from_secs(2), false);
        let mut skips = Skips::default();
        skips.stage("clippy", "clippy is not installed");
        let text = report.text(&skips);
        assert_eq!(report.failed(), Some("fmt"));
        assert!(
            text.contains("FAILED") && text.contains("not run") && text.contains("clippy is not installed"),
            "{text}"
        );
        assert!(text.ends_with("1 of 3 stages passed in 3.0 s, 1 skipped, listed above."), "{text}");
    }
}
