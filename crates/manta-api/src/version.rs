//! Versions of what two processes agree on.

/// The node protocol that this build speaks. A manager serves its own version and the one before; a newer node is
/// refused, naming both.
pub const NODE_PROTOCOL: u32 = 2;
/// The form of what an agent leaves to the program that takes its place, and of all that agent, task and launcher say to each other
/// while the task runs: whoever can go on with one, can go on with all of this number.
pub const HANDOVER: u32 = 1;
/// The version of every `--json` document and public API answer.
pub const SCHEMA_VERSION: u32 = 1;
/// The product's version.
pub const PRODUCT: &str = env!("CARGO_PKG_VERSION");
