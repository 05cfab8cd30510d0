//! Which of the slots that wait for a place at a node gets it: higher priority first, then swarms in turn.
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use manta_types::SwarmId;

use crate::swarm::SlotPlace;

/// The order of lanes: by priority, then by how often a lane has been served, then by age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    priority: Reverse<i32>,
    /// The lane's virtual time: it goes on by one with every place that the lane gets.
    passed: u64,
    swarm: SwarmId,
}

/// One swarm's slots at a node, oldest first.
#[derive(Debug)]
struct Lane {
    rank: Rank,
    slots: BTreeSet<SlotPlace>,
}

/// The slots that wait for a place at one node.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    lanes: BTreeMap<SwarmId, Lane>,
    /// Lanes in the order in which they are served, without those that were passed over.
    order: BTreeSet<Rank>,
    len: u32,
}

impl Queue {
    /// How many slots wait.
    pub(crate) const fn len(&self) -> u32 {
        self.len
    }

    /// Adds a slot. A swarm that newly waits begins at the present virtual time, so that it neither waits for what
    /// others had before it came, nor goes before them because it came late.
    pub(crate) fn push(&mut self, swarm: SwarmId, priority: i32, slot: SlotPlace) {
        let passed = self.present(priority);
        let lane = self.lanes.entry(swarm).or_insert_with(|| {
            let rank = Rank { priority: Reverse(priority), passed, swarm };
            self.order.insert(rank);
            Lane { rank, slots: BTreeSet::new() }
        });
        self.len += u32::from(lane.slots.insert(slot));
    }

    /// Takes a slot out, whether or not it gets a place.
    pub(crate) fn remove(&mut self, swarm: SwarmId, slot: SlotPlace) {
        let Some(lane) = self.lanes.get_mut(&swarm) else { return };
        self.len -= u32::from(lane.slots.remove(&slot));
        if lane.slots.is_empty() {
            self.order.remove(&lane.rank);
            self.lanes.remove(&swarm);
        }
    }

    /// Whose turn it is, and with which slot.
    pub(crate) fn first(&self) -> Option<(SwarmId, SlotPlace)> {
        let rank = self.order.first()?;
        let slot = self.lanes[&rank.swarm].slots.first();
        Some((rank.swarm, *slot.expect("an empty lane is removed")))
    }

    /// The slot got a place: its swarm's virtual time goes on.
    pub(crate) fn serve(&mut self, swarm: SwarmId, slot: SlotPlace) {
        if let Some(lane) = self.lanes.get_mut(&swarm) {
            self.order.remove(&lane.rank);
            lane.rank.passed += 1;
            self.order.insert(lane.rank);
        }
        self.remove(swarm, slot);
    }

    /// Leaves a swarm out that may not have more at once, until [`Queue::restore`].
    pub(crate) fn pass_over(&mut self, swarm: SwarmId) {
        if let Some(lane) = self.lanes.get(&swarm) {
            self.order.remove(&lane.rank);
        }
    }

    /// Takes a swarm in again that was passed over, like one that newly waits.
    pub(crate) fn restore(&mut self, swarm: SwarmId) {
        let Some(priority) = self.lanes.get(&swarm).map(|lane| lane.rank.priority.0) else { return };
        let present = self.present(priority);
        if let Some(lane) = self.lanes.get_mut(&swarm)
            && !self.order.contains(&lane.rank)
        {
            lane.rank.passed = present;
            self.order.insert(lane.rank);
        }
    }

    /// All slots that wait.
    pub(crate) fn slots(&self) -> impl Iterator<Item = (SwarmId, SlotPlace)> {
        self.lanes.iter().flat_map(|(swarm, lane)| lane.slots.iter().map(|slot| (*swarm, *slot)))
    }

    /// The virtual time of the lane of this priority that is served next.
    fn present(&self, priority: i32) -> u64 {
        let from = Rank { priority: Reverse(priority), passed: 0, swarm: SwarmId::from_uuid(uuid::Uuid::nil()) };
        let next = self.order.range(from..).next().filter(|rank| rank.priority == Reverse(priority));
        next.map_or(0, |rank| rank.passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn swarm(number: u128) -> SwarmId {
        SwarmId::from_uuid(uuid::Uuid::from_u128(number))
    }

    fn served(queue: &mut Queue, places: usize) -> Vec<u128> {
        let mut order = Vec::new();
        for _ in 0..places {
            let Some((swarm, slot)) = queue.first() else { break };
            queue.serve(swarm, slot);
            order.push(swarm.uuid().as_u128());
        }
        order
    }

    #[test]
    fn swarms_of_one_priority_take_turns_and_a_newcomer_joins_at_the_present() {
        let mut queue = Queue::default();
        (0..6).for_each(|slot| queue.push(swarm(1), 0, (0, slot)));
        (0..3).for_each(|slot| queue.push(swarm(2), 0, (0, slot)));
        assert_eq!(served(&mut queue, 4), [1, 2, 1, 2]);
        (0..3).for_each(|slot| queue.push(swarm(3), 0, (0, slot)));
        assert_eq!(served(&mut queue, 9), [1, 2, 3, 1, 3, 1, 3, 1]);
        assert_eq!((queue.len(), queue.first()), (0, None));
    }

    #[test]
    fn a_higher_priority_goes_first_and_a_swarm_that_is_passed_over_waits() {
        let mut queue = Queue::default();
        queue.push(swarm(1), 0, (0, 0));
        queue.push(swarm(2), 5, (0, 0));
        queue.push(swarm(2), 5, (0, 1));
        assert_eq!(served(&mut queue, 1), [2]);
        queue.pass_over(swarm(2));
        assert_eq!(served(&mut queue, 2), [1]);
        queue.restore(swarm(2));
        assert_eq!(served(&mut queue, 2), [2]);
    }
}
