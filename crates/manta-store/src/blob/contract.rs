//! [`BlobStore`], the contract that every place for bytes keeps, and what can go wrong with it.
use std::io::{self, Read, Seek};
use std::time::Duration;

use manta_types::{Blob, Digest};

use super::BlobStream;

/// Why bytes could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The bytes that came are not the bytes that were announced; nothing was kept.
    #[error("the bytes have the digest `{found}`, not `{expected}`")]
    Mismatch {
        /// What was announced.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// There are more bytes than a blob may have; nothing was kept.
    #[error("the bytes are more than the {limit} that one blob may have")]
    TooLarge {
        /// [`manta_types::limits::BLOB_BYTES_MAX`].
        limit: u64,
    },
    /// No blob of that digest is stored.
    #[error("no blob `{digest}` is stored")]
    Missing {
        /// The digest.
        digest: Digest,
    },
    /// A stored blob no longer has the bytes that its name says.
    #[error("blob `{digest}` is damaged: its bytes now have the digest `{found}`")]
    Damaged {
        /// Its name.
        digest: Digest,
        /// The digest of what is stored.
        found: Digest,
    },
    /// The storage failed.
    #[error("cannot use `{path}`")]
    Io {
        /// The file or directory.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The source of the bytes failed.
    #[error("failed to read the bytes to store")]
    Read {
        /// Why.
        source: io::Error,
    },
}

/// Stored bytes, to be read from any position.
pub trait BlobRead: Read + Seek + Send {}

impl<T: Read + Seek + Send> BlobRead for T {}

/// Bytes on their way in; dropped unfinished, they are gone.
pub trait BlobWriter: Send {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// When the storage fails or the blob grows too large.
    fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError>;

    /// Keeps the bytes, durably, if they are the ones that were announced.
    ///
    /// # Errors
    /// [`BlobError::Mismatch`] if they are not; then nothing is kept.
    fn finish(self: Box<Self>, expected: &Digest) -> Result<Blob, BlobError>;

    /// Keeps the bytes, durably, and tells what they are called.
    ///
    /// # Errors
    /// When the storage fails.
    fn seal(self: Box<Self>) -> Result<Blob, BlobError>;
}

/// A place for bytes. All calls block; whatever returns a [`Blob`] has stored it durably.
pub trait BlobStore: Send + Sync {
    /// Begins to write bytes; any number of writers may work at once, also on the same bytes.
    ///
    /// # Errors
    /// When the storage fails.
    fn begin(&self) -> Result<Box<dyn BlobWriter>, BlobError>;

    /// Opens a blob, if it is stored; its bytes are not verified again, which is what [`read`](BlobStore::read) and
    /// [`stream`](BlobStore::stream) are for.
    ///
    /// # Errors
    /// When the storage fails.
    fn open(&self, digest: &Digest) -> Result<Option<Box<dyn BlobRead>>, BlobError>;

    /// The length of a blob, if it is stored.
    ///
    /// # Errors
    /// When the storage fails.
    fn size(&self, digest: &Digest) -> Result<Option<u64>, BlobError>;

    /// The length of a blob, if it is stored. From now on no sweep removes it for a while: for whoever is about to name it.
    ///
    /// # Errors
    /// When the storage fails.
    fn hold(&self, digest: &Digest) -> Result<Option<u64>, BlobError>;

    /// Digests of stored blobs in order, at most `limit` of them, from behind `after` on.
    ///
    /// # Errors
    /// When the storage fails.
    fn digests(&self, after: Option<&Digest>, limit: usize) -> Result<Vec<Digest>, BlobError>;

    /// Removes a blob that nothing names, unless it was stored or held within `held`; the bytes that this set free.
    ///
    /// # Errors
    /// When the storage fails.
    fn sweep(&self, digest: &Digest, held: Duration) -> Result<u64, BlobError>;

    /// Sets a damaged blob aside, where people find it and nobody is served it; then it counts as missing, and sound bytes
    /// may be stored under its name.
    ///
    /// # Errors
    /// When the storage fails.
    fn quarantine(&self, digest: &Digest) -> Result<(), BlobError>;

    /// A blob piece by piece, verified before its last piece is given, if it is stored.
    ///
    /// # Errors
    /// When the storage fails.
    fn stream(&self, digest: &Digest) -> Result<Option<BlobStream>, BlobError> {
        let Some(size) = self.size(digest)? else { return Ok(None) };
        Ok(self.open(digest)?.map(|reader| BlobStream::new(reader, Blob { digest: *digest, size })))
    }

    /// The bytes of a blob, verified, if it is stored.
    ///
    /// # Errors
    /// [`BlobError::Damaged`]; [`BlobError::TooLarge`] where it has more than `limit` bytes.
    fn read(&self, digest: &Digest, limit: u64) -> Result<Option<Vec<u8>>, BlobError> {
        let Some(mut stream) = self.stream(digest)? else { return Ok(None) };
        if stream.blob().size > limit {
            return Err(BlobError::TooLarge { limit });
        }
        let mut bytes = Vec::new();
        while let Some(piece) = stream.next_piece()? {
            bytes.extend_from_slice(&piece);
        }
        Ok(Some(bytes))
    }

    /// Stores what `reader` gives under its announced digest; a blob that is stored already is not read again.
    ///
    /// # Errors
    /// [`BlobError::Mismatch`] if the bytes are others; then nothing is kept.
    fn put(&self, digest: &Digest, reader: &mut dyn Read) -> Result<Blob, BlobError> {
        if let Some(size) = self.hold(digest)? {
            return Ok(Blob { digest: *digest, size });
        }
        let mut writer = self.begin()?;
        each_chunk(reader, |source| BlobError::Read { source }, |bytes| writer.write(bytes))?;
        writer.finish(digest)
    }

    /// Those of the digests that are not stored, in the order given; the others are held.
    ///
    /// # Errors
    /// When the storage fails.
    fn missing(&self, digests: &[Digest]) -> Result<Vec<Digest>, BlobError> {
        let mut missing = Vec::new();
        for digest in digests {
            if self.hold(digest)?.is_none() {
                missing.push(*digest);
            }
        }
        Ok(missing)
    }

    /// Reads a blob whole and checks that it still is what its name says.
    ///
    /// # Errors
    /// [`BlobError::Missing`] or [`BlobError::Damaged`].
    fn verify(&self, digest: &Digest) -> Result<Blob, BlobError> {
        let mut stream = self.stream(digest)?.ok_or(BlobError::Missing { digest: *digest })?;
        while stream.next_piece()?.is_some() {}
        Ok(stream.blob())
    }
}

/// Bytes that are read in one go.
pub(super) const CHUNK_BYTES: usize = 1 << 20;

fn each_chunk(
    reader: &mut dyn Read,
    failed: impl Fn(io::Error) -> BlobError,
    mut take: impl FnMut(&[u8]) -> Result<(), BlobError>,
) -> Result<(), BlobError> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match reader.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(length) => take(&chunk[..length])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
}

/// Names bytes as they pass, and stops them at the limit.
#[derive(Default)]
pub(super) struct Hasher {
    hasher: blake3::Hasher,
    size: u64,
}

impl Hasher {
    pub(super) fn update(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        let limit = manta_types::limits::BLOB_BYTES_MAX;
        self.size += bytes.len() as u64;
        if self.size > limit {
            return Err(BlobError::TooLarge { limit });
        }
        self.hasher.update(bytes);
        Ok(())
    }

    pub(super) fn blob(&self) -> Blob {
        Blob { digest: Digest::from_bytes(*self.hasher.finalize().as_bytes()), size: self.size }
    }
}

/// Refuses bytes that are not the announced ones.
pub(super) fn check(found: Blob, expected: &Digest) -> Result<Blob, BlobError> {
    if found.digest == *expected {
        Ok(found)
    } else {
        Err(BlobError::Mismatch { expected: *expected, found: found.digest })
    }
}
