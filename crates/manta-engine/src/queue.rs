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
    /// The virtual time of each priority.
    present: BTreeMap<i32, u64>,
    /// Swarms that have had their turn, do not wait now, and will not be first when they come back.
    ahead: BTreeMap<SwarmId, u64>,
    /// The same, by priority and virtual time.
    ahead_order: BTreeSet<(i32, u64, SwarmId)>,
}

const NIL: SwarmId = SwarmId::from_uuid(uuid::Uuid::nil());

impl Queue {
    /// How many slots wait.
    pub(crate) const fn len(&self) -> u32 {
        self.len
    }

    /// Adds a slot. A swarm that newly waits begins at the present virtual time, so that it neither waits for what
    /// others had before it came, nor goes before them because it came late; one that comes back right after its turn
    /// stands behind those that have not had theirs.
    ///
    /// This is start-time fair queueing (Goyal, Vin, Cheng 1996), with an attempt as the unit.
    pub(crate) fn push(&mut self, swarm: SwarmId, priority: i32, slot: SlotPlace) {
        let passed = self.start(swarm, priority);
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
            let rank = lane.rank;
            self.order.remove(&rank);
            self.lanes.remove(&swarm);
            self.leave(rank);
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
            let Rank { priority, passed, .. } = lane.rank;
            self.order.remove(&lane.rank);
            lane.rank.passed += 1;
            self.order.insert(lane.rank);
            self.go_on(priority.0, passed);
        }
        self.remove(swarm, slot);
    }

    /// Leaves a swarm out that may not have more at once, until [`Queue::restore`].
    pub(crate) fn pass_over(&mut self, swarm: SwarmId) {
        if let Some(lane) = self.lanes.get(&swarm) {
            self.order.remove(&lane.rank);
        }
    }

    /// Takes a swarm in again that was passed over, like one that newly waits. Answers whether it still waits here.
    pub(crate) fn restore(&mut self, swarm: SwarmId) -> bool {
        let Some(priority) = self.lanes.get(&swarm).map(|lane| lane.rank.priority.0) else { return false };
        let present = self.start(swarm, priority);
        if let Some(lane) = self.lanes.get_mut(&swarm)
            && !self.order.contains(&lane.rank)
        {
            lane.rank.passed = lane.rank.passed.max(present);
            self.order.insert(lane.rank);
        }
        true
    }

    /// All slots that wait.
    pub(crate) fn slots(&self) -> impl Iterator<Item = (SwarmId, SlotPlace)> {
        self.lanes.iter().flat_map(|(swarm, lane)| lane.slots.iter().map(|slot| (*swarm, *slot)))
    }

    /// Where a lane begins that newly waits: at the present of its priority, or where it was, if that is ahead.
    fn start(&self, swarm: SwarmId, priority: i32) -> u64 {
        let present = self.present.get(&priority).copied().unwrap_or_default();
        self.ahead.get(&swarm).map_or(present, |ahead| present.max(*ahead))
    }

    /// Remembers how far ahead of the present a swarm is whose lane is removed.
    fn leave(&mut self, rank: Rank) {
        let priority = rank.priority.0;
        if rank.passed > self.present.get(&priority).copied().unwrap_or_default() {
            self.ahead.insert(rank.swarm, rank.passed);
            self.ahead_order.insert((priority, rank.passed, rank.swarm));
        }
    }

    /// The present of a priority is the virtual time of the lane that was served last; who is not ahead of it any more
    /// begins there.
    fn go_on(&mut self, priority: i32, passed: u64) {
        self.present.insert(priority, passed);
        while let Some(first) = self.ahead_order.range((priority, 0, NIL)..).next().copied()
            && (first.0, first.1 <= passed) == (priority, true)
        {
            self.ahead_order.remove(&first);
            if self.ahead.get(&first.2) == Some(&first.1) {
                self.ahead.remove(&first.2);
            }
        }
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
        assert_eq!(served(&mut queue, 9), [3, 1, 2, 3, 1, 3, 1, 1]);
        assert_eq!((queue.len(), queue.first()), (0, None));
    }

    #[test]
    fn a_swarm_that_comes_back_after_its_turn_stands_behind_those_that_have_not_had_theirs() {
        let mut queue = Queue::default();
        queue.push(swarm(1), 0, (0, 0));
        queue.push(swarm(2), 0, (0, 0));
        let mut turns = Vec::new();
        for turn in 1..=6 {
            let first = served(&mut queue, 1)[0];
            turns.push(first);
            queue.push(swarm(first), 0, (turn, 0));
        }
        assert_eq!(turns, [1, 2, 1, 2, 1, 2]);
        assert!(queue.ahead.len() <= 2 && queue.ahead.len() == queue.ahead_order.len(), "what is past is forgotten");
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
        assert!(queue.restore(swarm(2)));
        assert_eq!(served(&mut queue, 2), [2]);
        assert!(!queue.restore(swarm(2)), "it waits here no longer");
    }
}
