//! What a cache has, how much, who uses it, and what goes when it is too much.
use std::collections::HashMap;

use manta_types::{Blob, Digest};

/// A cache's list of blobs, or of directories made of them; it touches no file.
#[derive(Debug)]
pub(crate) struct Shelf {
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
    /// Whether it is known to be what its digest says; a file that an earlier agent left may have lost its bytes.
    checked: bool,
}

impl Shelf {
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self { places: HashMap::new(), bytes: 0, bytes_max, uses: 0 }
    }

    /// Notes a blob that is what its digest says; one that is known as such already stays as it is.
    pub(crate) fn add(&mut self, blob: Blob) {
        if self.places.get(&blob.digest).is_some_and(|place| place.checked) {
            return;
        }
        self.put(blob, true);
    }

    /// Notes a file that an earlier agent left under a digest.
    pub(crate) fn find(&mut self, blob: Blob) {
        self.put(blob, false);
    }

    fn put(&mut self, blob: Blob, checked: bool) {
        self.forget(blob.digest);
        self.uses += 1;
        self.bytes += blob.size;
        self.places.insert(blob.digest, Place { size: blob.size, pins: 0, used: self.uses, checked });
    }

    /// Whether a file is there that nobody has looked into yet.
    pub(crate) fn is_unchecked(&self, digest: Digest) -> bool {
        self.places.get(&digest).is_some_and(|place| !place.checked)
    }

    /// Takes a blob off the list that nobody uses.
    pub(crate) fn forget(&mut self, digest: Digest) {
        if let Some(place) = self.places.remove(&digest) {
            assert!(place.pins == 0, "what is pinned is never taken away");
            self.bytes -= place.size;
        }
    }

    /// Whether it is there.
    pub(crate) fn has(&self, digest: Digest) -> bool {
        self.places.contains_key(&digest)
    }

    /// Marks a blob as in use, if it is there and known to be what its digest says.
    pub(crate) fn pin(&mut self, digest: Digest) -> Option<Blob> {
        let place = self.places.get_mut(&digest).filter(|place| place.checked)?;
        self.uses += 1;
        place.used = self.uses;
        place.pins += 1;
        Some(Blob { digest, size: place.size })
    }

    /// Ends one use of a blob.
    pub(crate) fn unpin(&mut self, digest: Digest) {
        let place = self.places.get_mut(&digest).expect("what is pinned is never taken away");
        assert!(place.pins > 0, "every use ends once");
        place.pins -= 1;
    }

    /// Takes away the least recently used blobs that nobody uses, until the rest fits.
    pub(crate) fn overflow(&mut self) -> Vec<Digest> {
        let mut gone = Vec::new();
        while self.bytes > self.bytes_max {
            let idle = self.places.iter().filter(|(_, place)| place.pins == 0);
            let Some(digest) = idle.min_by_key(|(_, place)| place.used).map(|(digest, _)| *digest) else {
                break;
            };
            self.forget(digest);
            gone.push(digest);
        }
        gone
    }
}
