//! How probes went, as the suite tells it, and what that says about a sandbox.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::ProbeError;

/// How one probe went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The probe: its group, a colon, and what it tries.
    pub name: String,
    /// What the outcome means.
    pub state: FindingState,
    /// The outcome in one word: `got`, the name of an error or of a signal.
    pub outcome: String,
    /// What it got, or why not.
    pub detail: String,
    /// What a target hears if the probe succeeds where it cannot know itself; empty if there is no such thing.
    pub heard: String,
}

/// What a probe's outcome means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingState {
    /// It was denied.
    Denied,
    /// It was allowed.
    Allowed,
    /// Neither can be said: the probe hung, or died without a word.
    Unclear,
    /// Something that tasks must be able to do works.
    Works,
    /// Something that tasks must be able to do does not work.
    Broken,
    /// Only outside a sandbox: the kernel lacks what the probe is about.
    Lacking,
    /// What it aims at is not there, as in the short form.
    Unstaged,
    /// The tier does not claim to deny it.
    Unclaimed,
}

/// What a run of the suite says about a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Probes that were denied.
    pub denied: u32,
    /// Probes that were allowed, or could not be told: containment does not hold unless there are none.
    pub allowed: Vec<Finding>,
    /// What tasks must be able to do and cannot.
    pub broken: Vec<Finding>,
    /// Things that tasks must be able to do and can.
    pub works: u32,
    /// Probes that were not tried: there was nothing to aim at, or the tier does not claim to deny them.
    pub untried: u32,
}

impl Verdict {
    /// Sums up what a run inside a sandbox found.
    pub fn of(findings: &[Finding]) -> Self {
        let count = |state| findings.iter().filter(|finding| finding.state == state).count();
        let whole = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let those = |states: &[FindingState]| {
            findings.iter().filter(|finding| states.contains(&finding.state)).cloned().collect()
        };
        Self {
            denied: whole(count(FindingState::Denied)),
            allowed: those(&[FindingState::Allowed, FindingState::Unclear, FindingState::Lacking]),
            broken: those(&[FindingState::Broken]),
            works: whole(count(FindingState::Works)),
            untried: whole(count(FindingState::Unstaged) + count(FindingState::Unclaimed)),
        }
    }

    /// Whether every probe that was tried was denied, and any was.
    pub const fn holds(&self) -> bool {
        self.allowed.is_empty() && self.denied > 0
    }
}

/// Reads what the suite wrote.
///
/// # Errors
/// When it is not whole: a suite that was cut short says nothing about what it did not try.
pub(super) fn read(output: &str) -> Result<Vec<Finding>, ProbeError> {
    #[derive(Deserialize)]
    struct End {
        tried: usize,
    }
    let cut = || ProbeError::CutShort { last: output.lines().last().unwrap_or_default().chars().take(200).collect() };
    let (findings, end) = output.trim_end().rsplit_once('\n').ok_or_else(cut)?;
    let end: End = serde_json::from_str(end).map_err(|_| cut())?;
    let findings: Vec<Finding> =
        findings.lines().map(serde_json::from_str).collect::<Result<_, _>>().map_err(|_| cut())?;
    if findings.len() == end.tried { Ok(findings) } else { Err(cut()) }
}

/// Marks as allowed what the targets of a stage heard, whatever the probes themselves could tell.
pub(super) fn mark_heard(findings: &mut [Finding], heard: &BTreeSet<String>) {
    for finding in findings.iter_mut().filter(|finding| heard.contains(&finding.heard)) {
        finding.state = FindingState::Allowed;
        finding.detail = format!("`{}` of the host heard it; the probe: {}", finding.heard, finding.detail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(name: &str, state: FindingState, heard: &str) -> Finding {
        let text = str::to_owned;
        Finding { name: text(name), state, outcome: text("EPERM"), detail: String::new(), heard: text(heard) }
    }

    fn written(findings: &[Finding], tried: usize) -> String {
        let lines = findings.iter().map(|finding| serde_json::to_string(finding).unwrap());
        lines.chain([format!("{{\"tried\": {tried}}}")]).map(|line| line + "\n").collect()
    }

    #[test]
    fn a_run_that_was_cut_short_is_no_verdict() {
        let findings = [finding("a", FindingState::Denied, ""), finding("b", FindingState::Works, "")];
        assert_eq!(read(&written(&findings, 2)).unwrap(), findings);
        for broken in
            ["", "{\"tried\": 0}", &written(&findings, 3), written(&findings, 2).rsplit_once("{\"t").unwrap().0]
        {
            assert!(matches!(read(broken), Err(ProbeError::CutShort { .. })), "{broken}");
        }
    }

    #[test]
    fn containment_holds_only_where_all_that_was_tried_was_denied() {
        let denied = finding("a", FindingState::Denied, "");
        assert!(Verdict::of(std::slice::from_ref(&denied)).holds());
        assert!(!Verdict::of(&[]).holds());
        for state in [FindingState::Allowed, FindingState::Unclear, FindingState::Lacking] {
            assert!(!Verdict::of(&[denied.clone(), finding("b", state, "")]).holds(), "{state:?}");
        }
        let verdict =
            Verdict::of(&[denied, finding("b", FindingState::Broken, ""), finding("c", FindingState::Unstaged, "")]);
        assert!(verdict.holds());
        assert_eq!((verdict.broken.len(), verdict.untried), (1, 1));
    }

    #[test]
    fn what_a_target_heard_was_allowed_whatever_the_probe_says() {
        let mut findings = [finding("a", FindingState::Denied, "tcp"), finding("b", FindingState::Denied, "")];
        mark_heard(&mut findings, &BTreeSet::from(["tcp".to_owned()]));
        assert_eq!(findings.each_ref().map(|finding| finding.state), [FindingState::Allowed, FindingState::Denied]);
    }
}
