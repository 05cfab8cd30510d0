//! The desk among everything that can go wrong: messages twice, late and out of order, sessions cut, disks that refuse,
//! and an agent that dies between any two steps.
//!
//! Each run is a list of numbers; what they mean is fixed, so proptest shrinks a failure to a short story.
#![expect(clippy::unwrap_used, reason = "a test ends where its model fails it")]

mod world;

use proptest::prelude::*;
use world::World;

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_doubled_or_run_in_vain(choices in prop::collection::vec(any::<u16>(), 0..400)) {
        let mut world = World::new();
        for choice in choices {
            world.happens(choice);
        }
        world.settles();
    }
}
