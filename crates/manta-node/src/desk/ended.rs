//! Attempts that ended here lately, so that an offer which comes late or twice starts none of them again.
use std::collections::{BTreeMap, VecDeque};

use manta_types::AttemptId;

/// Ended attempts that are remembered; an offer can be late by messages of one session, never by so many.
const REMEMBERED_MAX: usize = 4096;

/// The attempts remembered, and under which epoch each ended.
#[derive(Debug, Default)]
pub(super) struct Ended {
    epochs: BTreeMap<AttemptId, u32>,
    order: VecDeque<AttemptId>,
}

impl Ended {
    /// Remembers an attempt, and forgets the one that ended longest ago when there are too many.
    pub(super) fn add(&mut self, attempt: AttemptId, epoch: u32) {
        match self.epochs.get_mut(&attempt) {
            Some(known) => *known = epoch.max(*known),
            None => {
                self.epochs.insert(attempt, epoch);
                self.order.push_back(attempt);
            }
        }
        if self.order.len() > REMEMBERED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.epochs.remove(&oldest);
        }
    }

    /// Whether an attempt ended under this epoch or a newer one.
    pub(super) fn covers(&self, attempt: AttemptId, epoch: u32) -> bool {
        self.epochs.get(&attempt).is_some_and(|ended| epoch <= *ended)
    }

    /// Forgets all: what ended in a history that was undone may be asked for again.
    pub(super) fn clear(&mut self) {
        self.epochs.clear();
        self.order.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_remembered_and_the_rest_is_bounded() {
        let attempt = |n: usize| AttemptId::from_uuid(uuid::Uuid::from_u128(n as u128));
        let mut ended = Ended::default();
        (0..=REMEMBERED_MAX).for_each(|n| ended.add(attempt(n), 2));
        assert!(!ended.covers(attempt(0), 2), "the oldest went");
        assert!(ended.covers(attempt(1), 1) && ended.covers(attempt(REMEMBERED_MAX), 2));
        assert!(!ended.covers(attempt(1), 3), "a newer epoch is another matter");
        assert_eq!(ended.epochs.len(), REMEMBERED_MAX);
    }
}
