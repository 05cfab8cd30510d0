//! Uploads that broke off: what came is kept for a while, so that a client goes on where it stopped.
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use manta_store::BlobWriter;
use manta_types::Digest;

/// Uploads that are kept; of more, the oldest goes.
const KEPT_MAX: usize = 64;
/// For how long one is kept, in milliseconds.
const KEPT_MS: u64 = 15 * 60 * 1000;

/// Uploads that broke off, by the blob that they are to become.
#[derive(Default)]
pub(crate) struct Partials {
    kept: Mutex<BTreeMap<Digest, Partial>>,
}

/// The beginning of a blob.
pub(super) struct Partial {
    pub(super) writer: Box<dyn BlobWriter>,
    /// Bytes that came and were written.
    pub(super) received: u64,
    /// When it broke off; the manager's monotonic clock, in milliseconds.
    pub(super) since_ms: u64,
}

impl Partials {
    /// Keeps the beginning of a blob, unless a longer one is kept.
    pub(super) fn keep(&self, digest: Digest, partial: Partial) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let now_ms = partial.since_ms;
        kept.retain(|_, other| now_ms.saturating_sub(other.since_ms) < KEPT_MS);
        if kept.get(&digest).is_none_or(|other| other.received < partial.received) {
            kept.insert(digest, partial);
        }
        if kept.len() > KEPT_MAX {
            let oldest = kept.iter().min_by_key(|(_, partial)| partial.since_ms).map(|(digest, _)| *digest);
            oldest.and_then(|digest| kept.remove(&digest));
        }
    }

    /// How many bytes of a blob are kept.
    pub(super) fn received(&self, digest: &Digest) -> u64 {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(digest).map_or(0, |partial| partial.received)
    }

    /// Gives the beginning of a blob to whoever goes on with it, if it has just so many bytes.
    pub(super) fn take(&self, digest: &Digest, received: u64) -> Option<Partial> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.get(digest)?.received == received { kept.remove(digest) } else { None }
    }
}
