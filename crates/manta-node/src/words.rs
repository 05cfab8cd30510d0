//! Figures as people read them.
use std::time::Duration;

use manta_types::usage::Bytes;

/// `2 GiB`, `1.5 GiB`.
pub(crate) fn bytes(count: u64) -> String {
    Bytes(count).to_string()
}

/// `30 s`, `1.5 s`.
pub(crate) fn seconds(span: Duration) -> String {
    format!("{} s", span.as_secs_f64())
}
