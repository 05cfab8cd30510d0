//! Blobs in memory, for tests.
use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use manta_types::{Blob, Digest};

use super::contract::{Hasher, check};
use super::{BlobError, BlobRead, BlobStore, BlobWriter};

/// When blobs were last held.
#[derive(Debug, Default)]
pub(super) struct Held {
    since: BTreeMap<Digest, Instant>,
}

impl Held {
    pub(super) fn note(&mut self, digest: &Digest) {
        self.since.insert(*digest, Instant::now());
    }

    pub(super) fn is_within(&self, digest: &Digest, span: Duration) -> bool {
        self.since.get(digest).is_some_and(|since| since.elapsed() < span)
    }

    pub(super) fn forget(&mut self, digest: &Digest) {
        self.since.remove(digest);
    }
}

/// Blobs in memory; clones share them.
#[derive(Debug, Clone, Default)]
pub struct MemoryBlobs {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    blobs: BTreeMap<Digest, Arc<[u8]>>,
    held: Held,
    quarantine: Vec<(Digest, Arc<[u8]>)>,
}

impl MemoryBlobs {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Flips a bit of a stored blob, as a failing disk would.
    pub fn damage(&self, digest: &Digest) {
        if let Some(bytes) = self.lock().blobs.get_mut(digest) {
            let mut damaged = bytes.to_vec();
            if let Some(first) = damaged.first_mut() {
                *first ^= 1;
            }
            *bytes = damaged.into();
        }
    }
}

impl BlobStore for MemoryBlobs {
    fn begin(&self) -> Result<Box<dyn BlobWriter>, BlobError> {
        Ok(Box::new(Draft { store: self.clone(), bytes: Vec::new(), hasher: Hasher::default() }))
    }

    fn open(&self, digest: &Digest) -> Result<Option<Box<dyn BlobRead>>, BlobError> {
        let bytes = self.lock().blobs.get(digest).cloned();
        Ok(bytes.map(|bytes| Box::new(Cursor::new(bytes)) as Box<dyn BlobRead>))
    }

    fn size(&self, digest: &Digest) -> Result<Option<u64>, BlobError> {
        Ok(self.lock().blobs.get(digest).map(|bytes| bytes.len() as u64))
    }

    fn hold(&self, digest: &Digest) -> Result<Option<u64>, BlobError> {
        let mut kept = self.lock();
        let size = kept.blobs.get(digest).map(|bytes| bytes.len() as u64);
        if size.is_some() {
            kept.held.note(digest);
        }
        Ok(size)
    }

    fn digests(&self, after: Option<&Digest>, limit: usize) -> Result<Vec<Digest>, BlobError> {
        let kept = self.lock();
        let digests = kept.blobs.keys().filter(|digest| after.is_none_or(|after| *digest > after));
        Ok(digests.take(limit).copied().collect())
    }

    fn sweep(&self, digest: &Digest, held: Duration) -> Result<u64, BlobError> {
        let mut kept = self.lock();
        if !held.is_zero() && kept.held.is_within(digest, held) {
            return Ok(0);
        }
        kept.held.forget(digest);
        Ok(kept.blobs.remove(digest).map_or(0, |bytes| bytes.len() as u64))
    }

    fn quarantine(&self, digest: &Digest) -> Result<(), BlobError> {
        let mut kept = self.lock();
        let damaged = kept.blobs.remove(digest).map(|bytes| (*digest, bytes));
        kept.quarantine.extend(damaged);
        Ok(())
    }
}

struct Draft {
    store: MemoryBlobs,
    bytes: Vec<u8>,
    hasher: Hasher,
}

impl BlobWriter for Draft {
    fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        self.hasher.update(bytes)?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(self: Box<Self>, expected: &Digest) -> Result<Blob, BlobError> {
        check(self.hasher.blob(), expected)?;
        self.seal()
    }

    fn seal(self: Box<Self>) -> Result<Blob, BlobError> {
        let Self { store, bytes, hasher } = *self;
        let blob = hasher.blob();
        let mut kept = store.lock();
        kept.blobs.entry(blob.digest).or_insert_with(|| bytes.into());
        kept.held.note(&blob.digest);
        drop(kept);
        Ok(blob)
    }
}

#[cfg(test)]
mod tests {
    use super::MemoryBlobs;

    use crate::conformance::fault::each_blob_is_stored_wholly_or_not_at_all;
    use crate::{Fault, FaultyBlobs};

    crate::blob_conformance!(|| (MemoryBlobs::default(), ()));

    #[test]
    fn a_fault_leaves_whole_blobs() {
        each_blob_is_stored_wholly_or_not_at_all(MemoryBlobs::default, |store| store);
    }

    /// A wrapper whose fault never comes is the store inside.
    mod wrapped {
        use super::*;

        crate::blob_conformance!(|| (FaultyBlobs::new(MemoryBlobs::default(), 0, Fault::Before), ()));
    }
}
