//! Stored bytes on their way out: whoever takes them never gets the last of bytes that are not the blob's.
use std::io::{self, Read};

use manta_types::Blob;

use super::contract::{CHUNK_BYTES, Hasher};
use super::{BlobError, BlobRead};

/// A blob that is read once, from its beginning.
pub struct BlobStream {
    reader: Box<dyn BlobRead>,
    blob: Blob,
    left: u64,
    hasher: Hasher,
    is_over: bool,
}

impl std::fmt::Debug for BlobStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobStream").field("blob", &self.blob).field("left", &self.left).finish_non_exhaustive()
    }
}

impl BlobStream {
    pub(super) fn new(reader: Box<dyn BlobRead>, blob: Blob) -> Self {
        Self { reader, blob, left: blob.size, hasher: Hasher::default(), is_over: false }
    }

    /// What it is, by its name and its length when it was opened.
    pub const fn blob(&self) -> Blob {
        self.blob
    }

    /// The next piece, of at most 1 MiB, or nothing after the last; the last one only once all bytes proved to be the
    /// blob's. An empty blob has one empty piece.
    ///
    /// # Errors
    /// [`BlobError::Damaged`] in place of the last piece.
    pub fn next_piece(&mut self) -> Result<Option<Vec<u8>>, BlobError> {
        if self.is_over {
            return Ok(None);
        }
        let wanted = usize::try_from(self.left).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        let mut piece = Vec::with_capacity(wanted);
        let failed = |source: io::Error| BlobError::Io { path: self.blob.digest.to_string(), source };
        self.reader.by_ref().take(wanted as u64).read_to_end(&mut piece).map_err(failed)?;
        self.hasher.update(&piece)?;
        self.left -= piece.len() as u64;
        let is_short = piece.len() < wanted;
        if self.left == 0 || is_short {
            self.is_over = true;
            let found = self.hasher.blob().digest;
            if is_short || found != self.blob.digest {
                return Err(BlobError::Damaged { digest: self.blob.digest, found });
            }
        }
        Ok(Some(piece))
    }
}
