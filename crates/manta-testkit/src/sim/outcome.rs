//! How a run ended.
use std::fmt;

use super::bug::Bug;
use super::options::Options;

/// How often processes died.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Crashes {
    /// The manager's.
    pub manager: u64,
    /// Agents.
    pub nodes: u64,
}

/// A run in which everything held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Equal for equal runs: a hash over everything that happened.
    pub fingerprint: u64,
    /// How many things happened.
    pub steps: u64,
    /// Events in the histories of all swarms.
    pub events: usize,
    /// Attempts accepted.
    pub accepted: usize,
    /// Swarms that ended well.
    pub succeeded: usize,
    /// Processes that died.
    pub crashes: Crashes,
    /// How long it took, in virtual ms.
    pub virtual_ms: u64,
}

/// A run in which something did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The seed, from which all else follows.
    pub seed: u64,
    /// What the seed decided.
    pub options: Options,
    /// The bug that was planted.
    pub bug: Option<Bug>,
    /// Which invariant broke.
    pub invariant: &'static str,
    /// How, in words.
    pub words: String,
    /// When, in virtual ms.
    pub at_ms: u64,
    /// What happened last.
    pub last: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, options, bug, invariant, words, at_ms, last } = self;
        writeln!(f, "seed {seed}: {invariant} does not hold after {at_ms} ms: {words}")?;
        writeln!(f, "options: {options}")?;
        last.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        let planted = bug.map(|bug| format!(" --bug {}", bug.name())).unwrap_or_default();
        write!(f, "again: cargo xtask sim --seed {seed}{planted}")
    }
}
