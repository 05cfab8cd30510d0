//! The memory store under the common suite.
use super::MemoryStore;
use crate::conformance::fault::each_transaction_happens_wholly_or_not_at_all;
use crate::conformance::state::Bench;
use crate::{Fault, Faulty, StateStore};

impl Bench for MemoryStore {
    fn store(&mut self) -> &mut dyn StateStore {
        self
    }
}

crate::state_conformance!(MemoryStore::default);

/// A wrapper whose fault never comes is the store inside.
mod wrapped {
    use super::*;

    impl Bench for Faulty<MemoryStore> {
        fn store(&mut self) -> &mut dyn StateStore {
            self
        }
    }

    crate::state_conformance!(|| Faulty::new(MemoryStore::default(), 0, Fault::Before));
}

#[test]
fn a_fault_leaves_whole_transactions() {
    each_transaction_happens_wholly_or_not_at_all(MemoryStore::default, |store| store);
}
