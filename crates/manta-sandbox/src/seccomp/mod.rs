//! The system-call filter of a task: policy as data ([`table`]), compiled to a balanced tree ([`tree`]), installed last before exec.
//!
//! The filter refuses by default. A foreign architecture kills the process; `clone3` and calls newer than the table answer
//! `ENOSYS`, so that C libraries fall back to what they know; everything else that is not allowed answers `EPERM`.

mod oci;
mod table;
#[cfg(test)]
mod tests;
mod tree;

pub(crate) use oci::profile;
pub(crate) use table::{Arch, Policy, Variant};
pub(crate) use tree::compile;
