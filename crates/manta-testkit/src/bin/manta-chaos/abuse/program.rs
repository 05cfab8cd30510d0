//! The programs, and how each must be told to have ended.
use anyhow::{Context as _, Result};
use serde::Deserialize;

/// How long a program may take that does not end by itself, in seconds.
const TIMEOUT_S: f64 = 3.0;
/// Where a program is stopped by its timeout; any other is over long before.
const PATIENT_TIMEOUT_S: f64 = 60.0;

/// A program and what must become of it.
#[derive(Debug, Deserialize)]
pub(crate) struct Program {
    pub(crate) name: String,
    expected: Outcome,
    /// Where no control group limits memory.
    without_cgroups: Option<Outcome>,
    /// Where there are no namespaces.
    without_namespaces: Option<Outcome>,
    /// Words that its log must have; any of those that ` | ` separates.
    #[serde(default)]
    pub(crate) logs: Vec<String>,
}

/// The class of an outcome, and words that the sentence about it must have.
#[derive(Debug, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) class: String,
    pub(crate) says: Vec<String>,
}

/// What a node can enforce.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Means {
    pub(crate) cgroups: bool,
    pub(crate) namespaces: bool,
}

impl Program {
    /// What must become of it there.
    pub(crate) fn expected(&self, means: Means) -> &Outcome {
        let fewer = self.without_namespaces.as_ref().filter(|_| !means.namespaces);
        fewer.or(self.without_cgroups.as_ref().filter(|_| !means.cgroups)).unwrap_or(&self.expected)
    }

    /// Seconds that it is given.
    pub(crate) fn timeout_s(&self, means: Means) -> f64 {
        if self.expected(means).class == "timeout" { TIMEOUT_S } else { PATIENT_TIMEOUT_S }
    }

    /// Its source.
    pub(crate) fn code(&self) -> Result<&'static str> {
        let found = SOURCES.iter().find(|(name, _)| *name == self.name);
        found.map(|(_, code)| *code).with_context(|| format!("there is no program `{}`", self.name))
    }
}

/// All of them.
///
/// # Errors
/// When the data cannot be read, or names a program that is not there.
pub(crate) fn all() -> Result<Vec<Program>> {
    let all: Vec<Program> = serde_json::from_str(include_str!("programs.json"))?;
    all.iter().try_for_each(|program| program.code().map(drop))?;
    Ok(all)
}

macro_rules! sources {
    ($($name:literal),+ $(,)?) => { [$(($name, include_str!(concat!($name, ".py")))),+] };
}

const SOURCES: [(&str, &str); 29] = sources![
    "memory_bomb",
    "memory_in_children",
    "fork_bomb",
    "forks_until_refused",
    "threads_until_refused",
    "fills_scratch",
    "fills_scratch_unnamed",
    "million_files",
    "fills_shared_memory",
    "floods_stdout",
    "floods_short_lines",
    "floods_one_line",
    "floods_logger",
    "floods_metrics",
    "garbage",
    "closes_socket",
    "ignores_signals",
    "stops_itself",
    "daemonises",
    "exits",
    "exits_well",
    "killed",
    "crashes",
    "aborts",
    "spins",
    "opens_without_end",
    "huge_result",
    "many_results",
    "empty_memory",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_is_a_program_and_every_program_has_its_source() {
        assert_eq!(all().unwrap().len(), SOURCES.len());
    }
}
