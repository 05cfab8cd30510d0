//! A place for bytes that fails on purpose, for tests of whoever uses one.
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use manta_types::{Blob, Digest};

use super::{BlobError, BlobRead, BlobStore, BlobWriter};
use crate::Fault;

/// A store whose N-th call fails, those of its writers included; every other call goes through.
#[derive(Debug)]
pub struct FaultyBlobs<S> {
    store: S,
    fuse: Fuse,
}

#[derive(Debug, Clone)]
struct Fuse {
    calls_left: Arc<AtomicU64>,
    fault: Fault,
}

impl Fuse {
    fn call<T>(&self, work: impl FnOnce() -> Result<T, BlobError>) -> Result<T, BlobError> {
        let count_down = |left: u64| Some(left.saturating_sub(1));
        let left = self.calls_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, count_down);
        let fails = left == Ok(1);
        if fails && self.fault == Fault::Before {
            return Err(injected());
        }
        let done = work()?;
        if fails { Err(injected()) } else { Ok(done) }
    }
}

fn injected() -> BlobError {
    BlobError::Io { path: "blobs".to_owned(), source: io::Error::other("a fault was injected") }
}

impl<S: BlobStore> FaultyBlobs<S> {
    /// Wraps a store; `call` counts from 1, and 0 never comes.
    pub fn new(store: S, call: u64, fault: Fault) -> Self {
        Self { store, fuse: Fuse { calls_left: Arc::new(AtomicU64::new(call)), fault } }
    }

    /// The store inside, with all that was written.
    pub fn into_inner(self) -> S {
        self.store
    }
}

impl<S: BlobStore> BlobStore for FaultyBlobs<S> {
    fn begin(&self) -> Result<Box<dyn BlobWriter>, BlobError> {
        let writer = self.fuse.call(|| self.store.begin())?;
        Ok(Box::new(FaultyWriter { writer, fuse: self.fuse.clone() }))
    }

    fn open(&self, digest: &Digest) -> Result<Option<Box<dyn BlobRead>>, BlobError> {
        self.fuse.call(|| self.store.open(digest))
    }

    fn size(&self, digest: &Digest) -> Result<Option<u64>, BlobError> {
        self.fuse.call(|| self.store.size(digest))
    }

    fn hold(&self, digest: &Digest) -> Result<Option<u64>, BlobError> {
        self.fuse.call(|| self.store.hold(digest))
    }

    fn digests(&self, after: Option<&Digest>, limit: usize) -> Result<Vec<Digest>, BlobError> {
        self.fuse.call(|| self.store.digests(after, limit))
    }

    fn sweep(&self, digest: &Digest, held: Duration) -> Result<u64, BlobError> {
        self.fuse.call(|| self.store.sweep(digest, held))
    }

    fn quarantine(&self, digest: &Digest) -> Result<(), BlobError> {
        self.fuse.call(|| self.store.quarantine(digest))
    }
}

struct FaultyWriter {
    writer: Box<dyn BlobWriter>,
    fuse: Fuse,
}

impl BlobWriter for FaultyWriter {
    fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        let Self { writer, fuse } = self;
        fuse.call(|| writer.write(bytes))
    }

    fn finish(self: Box<Self>, expected: &Digest) -> Result<Blob, BlobError> {
        let Self { writer, fuse } = *self;
        fuse.call(|| writer.finish(expected))
    }

    fn seal(self: Box<Self>) -> Result<Blob, BlobError> {
        let Self { writer, fuse } = *self;
        fuse.call(|| writer.seal())
    }
}
