//! Seeded runs of a whole cluster: nothing is lost, nothing is accepted twice, nothing hangs; and planted bugs are found.
use std::time::{Duration, Instant};

use manta_testkit::sim::{Bug, Failure, KEPT_SEEDS, KeptSeed, Options, Outcome, run};

/// Seeds of every check; `cargo xtask sim` runs more.
const SEEDS: u64 = 800;
/// Seeds within which a planted bug has to be found.
const SEEDS_OF_A_BUG: u64 = 600;

fn held(seed: u64, options: Options) -> Outcome {
    run(seed, options, None).unwrap_or_else(|failure| panic!("{failure}"))
}

/// The first failure with a bug planted.
fn hunt(bug: Bug) -> Option<Box<Failure>> {
    let loud = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let found = (0..SEEDS_OF_A_BUG).find_map(|seed| run(seed, Options::draw(seed), Some(bug)).err());
    std::panic::set_hook(loud);
    found
}

#[test]
fn a_quiet_cluster_finishes_everything() {
    // Two swarms a run; those whose drawn deadline or timeout is shorter than their work may fail, and nothing else.
    let succeeded: usize = (0..50).map(|seed| held(seed, Options::QUIET).succeeded).sum();
    assert!(succeeded > 75, "{succeeded} of 100 swarms succeeded");
}

#[test]
fn whatever_goes_wrong_nothing_is_lost_doubled_or_stuck() {
    let accepted: usize = (0..SEEDS).map(|seed| held(seed, Options::draw(seed)).accepted).sum();
    assert!(accepted > 1_000, "the runs do something: {accepted} attempts were accepted");
}

#[test]
fn seeds_that_once_failed_hold_and_show_still_what_they_found() {
    for KeptSeed { seed, bug } in KEPT_SEEDS.iter().copied() {
        held(seed, Options::draw(seed));
        let found = run(seed, Options::draw(seed), Some(bug));
        assert!(found.is_err(), "seed {seed} does not show `{}` any more", bug.name());
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..40 {
        let options = Options::draw(seed);
        assert_eq!(run(seed, options, None), run(seed, options, None), "seed {seed}");
    }
    let (one, other) = (held(1, Options::draw(1)), held(2, Options::draw(2)));
    assert_ne!(one.fingerprint, other.fingerprint);
}

#[test]
fn every_planted_bug_is_found_within_seconds() {
    // What a kept seed shows is too rare for a hunt.
    let kept: Vec<Bug> = KEPT_SEEDS.iter().map(|kept| kept.bug).collect();
    for bug in Bug::ALL.into_iter().filter(|bug| !kept.contains(bug)) {
        let started = Instant::now();
        let found = hunt(bug);
        let took = started.elapsed();
        let Some(failure) = found else {
            panic!("none of {SEEDS_OF_A_BUG} seeds found `{}`: the checker misses an invariant", bug.name());
        };
        assert!(took < Duration::from_secs(30), "`{}` was found after {took:?}: {failure}", bug.name());
    }
}

#[test]
fn a_failure_says_how_to_see_it_again_and_comes_again() {
    let failure = hunt(Bug::AcknowledgeBeforeSync).expect("it is found");
    let again = run(failure.seed, Options::draw(failure.seed), failure.bug).expect_err("the same seed fails again");
    assert_eq!(failure, again);
    let shown = failure.to_string();
    let command = format!("cargo xtask sim --seed {} --bug acknowledge-before-sync", failure.seed);
    assert!(shown.contains(&command) && shown.contains("options: nodes="), "{shown}");
    assert!(!failure.last.is_empty());
}
