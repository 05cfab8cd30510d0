//! What will happen, in the order in which it will: the whole of virtual time.
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// When something happens: its instant in ms, and among what happens then, the order in which it was put in.
pub(crate) type When = (u64, u64);

/// Everything that will happen.
#[derive(Debug)]
pub(crate) struct Agenda<T> {
    heap: BinaryHeap<Entry<T>>,
    put_in: u64,
}

#[derive(Debug)]
struct Entry<T> {
    when: When,
    what: T,
}

impl<T> Agenda<T> {
    pub(crate) const fn new() -> Self {
        Self { heap: BinaryHeap::new(), put_in: 0 }
    }

    /// Puts something in that happens at an instant, after what was put in for that instant before.
    pub(crate) fn put(&mut self, at: u64, what: T) {
        self.put_in += 1;
        self.heap.push(Entry { when: (at, self.put_in), what });
    }

    /// Puts back what was taken out, for later; it stays in order with others that are put back to the same instant.
    pub(crate) fn put_back(&mut self, at: u64, (_, order): When, what: T) {
        self.heap.push(Entry { when: (at, order), what });
    }

    /// Takes out what happens next.
    pub(crate) fn next(&mut self) -> Option<(When, T)> {
        self.heap.pop().map(|entry| (entry.when, entry.what))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.when == other.when
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    /// The heap gives its greatest first: the earliest.
    fn cmp(&self, other: &Self) -> Ordering {
        other.when.cmp(&self.when)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_back_keeps_its_order() {
        let mut agenda = Agenda::new();
        agenda.put(5, 'b');
        agenda.put(1, 'a');
        agenda.put(5, 'c');
        let (when, first) = agenda.next().unwrap();
        assert_eq!(first, 'a');
        let (b, _) = agenda.next().unwrap();
        let (c, _) = agenda.next().unwrap();
        agenda.put(9, 'd');
        agenda.put_back(9, c, 'c');
        agenda.put_back(9, b, 'b');
        agenda.put_back(9, when, 'a');
        let order: Vec<char> = std::iter::from_fn(|| agenda.next()).map(|(_, what)| what).collect();
        assert_eq!(order, ['b', 'a', 'c', 'd'].map(|letter| letter).to_vec().as_slice());
    }
}
