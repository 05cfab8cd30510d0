//! What is asked of the installing process, and what it says at its end, as JSON.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A wheel that is to be installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WheelFile {
    /// Its name, `six-1.17.0-py2.py3-none-any.whl`.
    pub name: String,
    /// Where it lies; absolute.
    pub path: PathBuf,
    /// SHA-256 of its content, 64 lower-case hexadecimal digits.
    pub sha256: String,
}

/// What was installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// Bytes of all files.
    pub bytes: u64,
    /// Files.
    pub files: u64,
    /// What the wheels are, in the order of their names.
    pub distributions: Vec<Distribution>,
    /// Names that can be imported, without what is in them.
    pub modules: Vec<String>,
}

/// A distribution, as its wheel is named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distribution {
    /// Normalised.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// What was installed, or the sentence why a wheel is refused.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    Done(Installed),
    Refused(String),
}
