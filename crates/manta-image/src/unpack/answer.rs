//! What the unpacking process says at its end, as JSON on its standard output.

use serde::{Deserialize, Serialize};

use crate::Sha256;

/// What a layer turned out to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Unpacked {
    /// The digest of the unpacked archive.
    pub(crate) digest: Sha256,
    /// Bytes of its files.
    pub(crate) bytes: u64,
    /// Files, directories and links.
    pub(crate) entries: u64,
    /// Paths that it takes away from the layers below.
    pub(crate) removed: Vec<String>,
    /// Directories of which nothing below shows through.
    pub(crate) opaque: Vec<String>,
}

/// A finished layer, or the sentence why it is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    Done(Unpacked),
    Refused(String),
}
