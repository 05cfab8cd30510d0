//! Digests of bytes and of a tree of files.
use std::collections::BTreeMap;

use manta_types::{Blob, Digest};

/// The BLAKE3 digest of some bytes.
pub fn digest_of(bytes: &[u8]) -> Digest {
    Digest::from_bytes(*blake3::hash(bytes).as_bytes())
}

/// BLAKE3 over the sorted list of (path, size, digest), each path preceded by its length in bytes (u64, little endian).
pub(crate) fn tree_digest(files: &BTreeMap<String, Blob>) -> Digest {
    let mut hasher = blake3::Hasher::new();
    for (path, blob) in files {
        hasher.update(&(path.len() as u64).to_le_bytes());
        hasher.update(path.as_bytes());
        hasher.update(&blob.size.to_le_bytes());
        hasher.update(blob.digest.bytes());
    }
    Digest::from_bytes(*hasher.finalize().as_bytes())
}
