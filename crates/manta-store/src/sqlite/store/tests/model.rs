//! The disk and the memory answer every history alike.
use manta_types::SwarmEvent;
use proptest::prelude::*;

use super::OnDisk;
use crate::conformance::sample::{
    accepted, attempt_id, closed, cluster, events, failed, key, node, offered_in, published, swarm, swarm_id, write,
};
use crate::conformance::state::{Bench, everything};
use crate::{CommitError, MemoryStore, NodeRecord, StateStore, Transaction};

#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "a handful of them, in a test")]
enum Change {
    Swarm {
        number: u128,
        key: Option<u8>,
    },
    Node {
        id: u128,
        name: u128,
    },
    /// A call that changed a swarm, or none.
    Key {
        key: u8,
        swarm: Option<u128>,
    },
    Purge {
        swarm: u128,
    },
    /// An event, at the next position of the swarm or beside it.
    Event {
        swarm: u128,
        beside: u64,
        what: SwarmEvent,
    },
}

/// Few attempts and slots, so that they often meet again.
fn event() -> impl Strategy<Value = SwarmEvent> {
    let iteration = prop_oneof![6 => Just(0u32), 1 => Just(1)];
    let results = |number| [published("weights", number), published("loss", 9)];
    prop_oneof![
        5 => (iteration, 0..5u128, 0..2usize, 0..6u32)
            .prop_map(|(iteration, attempt, slot, epoch)| offered_in(iteration, attempt, slot, epoch)),
        5 => (0..5u128, 0..3u8).prop_map(move |(attempt, number)| accepted(attempt, &results(number))),
        2 => (0..5u128).prop_map(|attempt| failed(attempt, &[published("half", 1)])),
        1 => (0..3u64, 0..3u8).prop_map(|(revision, number)| closed(vec![write("rate", revision, number)])),
        2 => Just(SwarmEvent::SwarmSucceeded { reason: "done".to_owned() }),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let swarm = prop_oneof![9 => Just(0u128), 3 => Just(1), 1 => Just(2)];
    let beside = prop_oneof![40 => Just(1u64), 1 => Just(0), 1 => Just(2)];
    prop_oneof![
        1 => (0..4u128, proptest::option::of(0..2u8)).prop_map(|(number, key)| Change::Swarm { number, key }),
        1 => (0..3u128, 0..3u128).prop_map(|(id, name)| Change::Node { id, name }),
        1 => (0..3u8, proptest::option::of(0..3u128)).prop_map(|(key, swarm)| Change::Key { key, swarm }),
        1 => (0..3u128).prop_map(|swarm| Change::Purge { swarm }),
        14 => (swarm, beside, event()).prop_map(|(swarm, beside, what)| Change::Event { swarm, beside, what }),
    ]
}

/// Builds a transaction; positions count on from what the model has stored.
fn transaction(model: &mut MemoryStore, changes: &[Change]) -> Transaction {
    let mut all = Transaction::default();
    for change in changes {
        match change {
            Change::Swarm { number, key } => {
                let idempotency = key.map(|key| (format!("key {key}"), format!("request {number}")));
                all.swarms.push(crate::NewSwarm { idempotency, ..swarm(*number) });
            }
            Change::Node { id, name } => {
                all.nodes.push(NodeRecord { name: node(*name, "").name, ..node(*id, &format!("{id} {name}")) });
            }
            Change::Key { key: number, swarm } => {
                all.keys.push(key(&format!("key {number}"), &format!("{swarm:?}"), *swarm));
            }
            Change::Purge { swarm } => all.purged.push(swarm_id(*swarm)),
            Change::Event { swarm, beside, what } => {
                let id = swarm_id(*swarm);
                let stored = model.events(&cluster(), id, 0, usize::MAX).unwrap().len();
                let waiting = all.events.iter().filter(|event| event.swarm == id).count();
                all.events.extend(events(id, (stored + waiting) as u64 + beside, [what.clone()]).events);
            }
        }
    }
    all
}

fn text(outcome: Result<(), CommitError>) -> String {
    outcome.map_or_else(|error| format!("{error:?}"), |()| "done".to_owned())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn disk_and_memory_agree_on_every_history(
        batches in proptest::collection::vec(proptest::collection::vec(change(), 1..3), 20..60),
    ) {
        let (mut disk, mut model) = (OnDisk::new(), MemoryStore::default());
        let first = (0..2).map(|number| Change::Swarm { number, key: None }).collect();
        for changes in std::iter::once(first).chain(batches) {
            let all = transaction(&mut model, &changes);
            let expected = text(model.commit(&cluster(), &all));
            prop_assert_eq!(text(disk.store().commit(&cluster(), &all)), expected, "{:?}", all);
            prop_assert_eq!(everything(disk.store(), &cluster()).unwrap(), everything(&mut model, &cluster()).unwrap());
            for number in 0..5 {
                let attempt = attempt_id(number);
                let expected = model.attempt(&cluster(), attempt).unwrap();
                prop_assert_eq!(disk.store().attempt(&cluster(), attempt).unwrap(), expected);
            }
        }
        disk.reopen();
        prop_assert_eq!(everything(disk.store(), &cluster()).unwrap(), everything(&mut model, &cluster()).unwrap());
    }
}
