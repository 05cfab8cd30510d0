//! Blobs in memory, for tests.
use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use manta_types::{Blob, Digest};

use super::contract::{Hasher, check};
use super::{BlobError, BlobRead, BlobStore, BlobWriter};

/// Blobs in memory; clones share them.
#[derive(Debug, Clone, Default)]
pub struct MemoryBlobs {
    blobs: Arc<Mutex<BTreeMap<Digest, Arc<[u8]>>>>,
}

impl MemoryBlobs {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Digest, Arc<[u8]>>> {
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BlobStore for MemoryBlobs {
    fn begin(&self) -> Result<Box<dyn BlobWriter>, BlobError> {
        Ok(Box::new(Draft { store: self.clone(), bytes: Vec::new(), hasher: Hasher::default() }))
    }

    fn open(&self, digest: &Digest) -> Result<Option<Box<dyn BlobRead>>, BlobError> {
        let bytes = self.lock().get(digest).cloned();
        Ok(bytes.map(|bytes| Box::new(Cursor::new(bytes)) as Box<dyn BlobRead>))
    }

    fn size(&self, digest: &Digest) -> Result<Option<u64>, BlobError> {
        Ok(self.lock().get(digest).map(|bytes| bytes.len() as u64))
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
        store.lock().entry(blob.digest).or_insert_with(|| bytes.into());
        Ok(blob)
    }
}

#[cfg(test)]
mod tests {
    use super::MemoryBlobs;

    crate::blob_conformance!(|| (MemoryBlobs::default(), ()));
}
