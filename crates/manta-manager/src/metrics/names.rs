//! Names that become labels: the first so many are told apart, all others are one.
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// What all names together are called that came too late.
pub(super) const OTHER: &str = "other";

/// Names that were seen.
pub(super) struct Names {
    seen: Mutex<BTreeSet<String>>,
    most: usize,
}

impl Names {
    /// None yet, and at most so many.
    pub(super) fn new(most: usize) -> Self {
        Self { seen: Mutex::default(), most }
    }

    /// The label for a name.
    pub(super) fn of(&self, name: &str) -> String {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.contains(name) {
            return name.to_owned();
        }
        if name.is_empty() || seen.len() >= self.most {
            return OTHER.to_owned();
        }
        seen.insert(name.to_owned());
        name.to_owned()
    }
}
