//! What is in the cache, how much, who uses it, and what goes when it is too much.
use std::collections::HashMap;

use manta_types::{Blob, Digest};

/// The cache's list of blobs; it touches no file.
#[derive(Debug)]
pub(super) struct Shelf {
    places: HashMap<Digest, Place>,
    bytes: u64,
    bytes_max: u64,
    uses: u64,
}

#[derive(Debug)]
struct Place {
    size: u64,
    pins: u32,
    used: u64,
}

impl Shelf {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self { places: HashMap::new(), bytes: 0, bytes_max, uses: 0 }
    }

    /// Notes a blob; one that is there already stays as it is.
    pub(super) fn add(&mut self, blob: Blob) {
        self.uses += 1;
        let used = self.uses;
        self.places.entry(blob.digest).or_insert_with(|| {
            self.bytes += blob.size;
            Place { size: blob.size, pins: 0, used }
        });
    }

    /// Marks a blob as in use, if it is there.
    pub(super) fn pin(&mut self, digest: Digest) -> Option<Blob> {
        let place = self.places.get_mut(&digest)?;
        self.uses += 1;
        place.used = self.uses;
        place.pins += 1;
        Some(Blob { digest, size: place.size })
    }

    /// Ends one use of a blob.
    pub(super) fn unpin(&mut self, digest: Digest) {
        let place = self.places.get_mut(&digest).expect("what is pinned is never taken away");
        assert!(place.pins > 0, "every use ends once");
        place.pins -= 1;
    }

    /// Takes away the least recently used blobs that nobody uses, until the rest fits.
    pub(super) fn overflow(&mut self) -> Vec<Digest> {
        let mut gone = Vec::new();
        while self.bytes > self.bytes_max {
            let idle = self.places.iter().filter(|(_, place)| place.pins == 0);
            let Some((digest, size)) = idle.min_by_key(|(_, place)| place.used).map(|(d, p)| (*d, p.size)) else {
                break;
            };
            self.places.remove(&digest);
            self.bytes -= size;
            gone.push(digest);
        }
        gone
    }
}
