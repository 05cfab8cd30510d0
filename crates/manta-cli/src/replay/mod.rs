//! What `manta replay` does beside asking the manager: a run on this machine, and the comparison of two outcomes.
pub(crate) mod local;
mod packages;
pub(crate) mod verdict;
