//! Versions of what two processes agree on.

/// The node protocol that this build speaks. A manager serves its own version and the one before; a newer node is
/// refused, naming both.
pub const NODE_PROTOCOL: u32 = 2;
/// The version of every `--json` document and public API answer.
pub const SCHEMA_VERSION: u32 = 1;
/// The product's version.
pub const PRODUCT: &str = env!("CARGO_PKG_VERSION");
