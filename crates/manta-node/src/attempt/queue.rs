//! Which attempt runs next: in the order they came, so many at once.
use std::collections::{BTreeSet, VecDeque};
use std::num::NonZeroU32;

use manta_types::AttemptId;

/// Attempts that wait for a slot, and those that have one.
#[derive(Debug)]
pub(crate) struct Queue {
    slots: usize,
    waiting: VecDeque<AttemptId>,
    running: BTreeSet<AttemptId>,
}

impl Queue {
    pub(crate) fn new(slots: NonZeroU32) -> Self {
        Self { slots: slots.get() as usize, waiting: VecDeque::new(), running: BTreeSet::new() }
    }

    /// Puts an attempt at the end.
    pub(crate) fn push(&mut self, attempt: AttemptId) {
        assert!(!self.running.contains(&attempt), "an attempt is queued once");
        self.waiting.push_back(attempt);
    }

    /// Gives the next attempt a slot, if there is one of each.
    pub(crate) fn take_next(&mut self) -> Option<AttemptId> {
        if self.running.len() >= self.slots {
            return None;
        }
        let attempt = self.waiting.pop_front()?;
        assert!(self.running.insert(attempt), "an attempt runs once");
        Some(attempt)
    }

    /// Takes an attempt out, whether it waits or has a slot.
    pub(crate) fn remove(&mut self, attempt: AttemptId) {
        self.running.remove(&attempt);
        self.waiting.retain(|waiting| *waiting != attempt);
    }

    /// How many have a slot.
    pub(crate) fn running(&self) -> usize {
        self.running.len()
    }

    /// How many wait for one.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(n: u128) -> AttemptId {
        AttemptId::from_uuid(uuid::Uuid::from_u128(n))
    }

    #[test]
    fn attempts_get_slots_in_the_order_they_came() {
        let mut queue = Queue::new(NonZeroU32::new(2).unwrap());
        (1..=4).for_each(|n| queue.push(attempt(n)));
        assert_eq!(
            [queue.take_next(), queue.take_next(), queue.take_next()],
            [Some(attempt(1)), Some(attempt(2)), None]
        );
        queue.remove(attempt(2));
        assert_eq!([queue.take_next(), queue.take_next()], [Some(attempt(3)), None]);
        assert_eq!((queue.running(), queue.waiting()), (2, 1));
    }

    #[test]
    fn an_attempt_that_is_cancelled_while_it_waits_is_never_started() {
        let mut queue = Queue::new(NonZeroU32::MIN);
        (1..=3).for_each(|n| queue.push(attempt(n)));
        assert_eq!(queue.take_next(), Some(attempt(1)));
        queue.remove(attempt(2));
        queue.remove(attempt(1));
        assert_eq!(queue.take_next(), Some(attempt(3)));
    }
}
