//! Which tests did not run, and which missing feature of this machine or user kept them from it.
//!
//! pytest has a word for it. A Rust test that cannot run prints `skipped: <what is missing>` to standard error and returns.

use super::junit::cases;
use std::collections::BTreeMap;

/// What a Rust test prints before the reason.
const RUST_MARK: &str = "skipped: ";

/// A test that did not run, and why.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Skip {
    pub(super) test: String,
    pub(super) reason: String,
}

/// All that was skipped, by reason.
#[derive(Default)]
pub(super) struct Skips(BTreeMap<String, Vec<String>>);

impl Skips {
    /// A whole stage could not run.
    pub(super) fn stage(&mut self, name: &str, reason: &str) {
        self.extend([Skip { test: format!("the whole stage {name}"), reason: reason.to_string() }]);
    }

    /// A suite of faults could not run.
    pub(super) fn suite(&mut self, name: &str, reason: &str) {
        self.extend([Skip { test: format!("the faults of {name}"), reason: reason.to_string() }]);
    }

    pub(super) fn extend(&mut self, skips: impl IntoIterator<Item = Skip>) {
        for skip in skips {
            self.0.entry(skip.reason).or_default().push(skip.test);
        }
    }

    pub(super) fn by_reason(&self) -> &BTreeMap<String, Vec<String>> {
        &self.0
    }
}

/// The tests that a pytest report calls skipped.
pub(super) fn of_pytest(report: &str) -> Vec<Skip> {
    let skip = |case: super::junit::Case<'_>| {
        let reason = case.attribute_of("skipped", "message")?;
        Some(Skip { reason: reason.trim_start_matches("Skipped: ").to_string(), test: case.name })
    };
    cases(report).into_iter().filter_map(skip).collect()
}

/// The tests in a nextest report that said they skipped.
pub(super) fn of_nextest(report: &str) -> Vec<Skip> {
    let skip = |case: super::junit::Case<'_>| {
        let reason = reason_in(&case.text_of("system-err")?)?;
        Some(Skip { reason, test: case.name })
    };
    cases(report).into_iter().filter_map(skip).collect()
}

/// The tests that said they skipped, in what `cargo test -- --show-output` prints.
pub(super) fn of_cargo_test(output: &str) -> Vec<Skip> {
    let mut skips = Vec::new();
    let mut test = String::new();
    for line in output.lines() {
        if let Some(name) = line.strip_prefix("---- ").and_then(|line| line.strip_suffix(" stdout ----")) {
            test = name.to_string();
        } else if let Some(reason) = reason_in(line) {
            skips.push(Skip { test: test.clone(), reason });
        }
    }
    skips
}

fn reason_in(text: &str) -> Option<String> {
    text.lines().find_map(|line| line.strip_prefix(RUST_MARK)).map(|reason| reason.trim_end().to_string())
}

#[cfg(test)]
mod tests {
    use super::{of_cargo_test, of_nextest, of_pytest, Skip};

    fn skip(test: &str, reason: &str) -> Vec<Skip> {
        vec![Skip { test: test.to_string(), reason: reason.to_string() }]
    }

    #[test]
    fn skipped_pytest_cases_are_found_with_their_reason() {
        let report = r#"<testsuite><testcase classname="a" name="test_ok" time="0.1" /><testcase classname="a" name="test_fork"><skipped type="pytest.skip" message="no &quot;user&quot; namespaces">/x.py:3: no</skipped></testcase></testsuite>"#;
        assert_eq!(of_pytest(report), skip("test_fork", "no \"user\" namespaces"));
    }

    #[test]
    fn skipped_rust_cases_are_found_in_nextests_report() {
        let report = "<testcase name=\"tier::full\" classname=\"x\">\n<system-out>running 1 test</system-out><system-err>skipped: the full tier needs root\n</system-err></testcase><testcase name=\"b\"><system-err>warning: skipped: no</system-err></testcase>";
        assert_eq!(of_nextest(report), skip("tier::full", "the full tier needs root"));
    }

    #[test]
    fn skipped_rust_cases_are_found_in_cargos_output() {
        let output =
            "---- a stdout ----\nfine\n---- tier::full stdout ----\nskipped: the full tier needs root\n\nsuccesses:\n";
        assert_eq!(of_cargo_test(output), skip("tier::full", "the full tier needs root"));
    }
}
