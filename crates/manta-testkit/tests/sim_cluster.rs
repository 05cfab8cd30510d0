//! Seeded runs of a whole cluster: nothing is lost, nothing is accepted twice, nothing hangs.
use manta_testkit::sim::{Faults, run};

/// Seeds that once failed; they stay for ever.
const KEPT: &[u64] = &[];
const SEEDS: u64 = 150;

fn seeds() -> impl Iterator<Item = u64> {
    KEPT.iter().copied().chain(0..SEEDS)
}

#[test]
fn a_quiet_cluster_finishes() {
    let outcome = run(1, Faults::default());
    assert_eq!(outcome.state, "succeeded");
    assert_eq!(outcome.accepted, 4 * (4 + 1 + 4 + 1));
}

#[test]
fn faults_of_nodes_lose_nothing_and_accept_nothing_twice() {
    for seed in seeds() {
        let outcome = run(seed, Faults { nodes: true, ..Faults::default() });
        assert_eq!(outcome.state, "succeeded", "seed {seed}");
    }
}

#[test]
fn faults_of_nodes_and_manager_lose_nothing_and_accept_nothing_twice() {
    for seed in seeds() {
        let outcome = run(seed, Faults { nodes: true, manager: true, ..Faults::default() });
        assert_eq!(outcome.state, "succeeded", "seed {seed}");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let faults = Faults { nodes: true, manager: true, ..Faults::default() };
    assert_eq!(run(11, faults), run(11, faults));
}

#[test]
fn a_removed_fencing_check_is_found() {
    let faults = Faults { nodes: true, without_fencing: true, ..Faults::default() };
    let silent = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let found = (0..SEEDS).find(|seed| std::panic::catch_unwind(|| run(*seed, faults)).is_err());
    std::panic::set_hook(silent);
    assert!(found.is_some(), "none of {SEEDS} seeds noticed that the fencing check is gone");
}
