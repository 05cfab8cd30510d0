//! What every [`StateStore`] must do.
#![expect(missing_docs, reason = "the names of checks are their documentation")]
use manta_types::{ClusterId, SwarmEvent};

use super::sample::{
    accepted, attempt_id, blob, closed, cluster, events, every_kind, failed, new_swarm, node, node_name, offered,
    offered_in, published, swarm, swarm_id, write,
};
use crate::{CommitError, GlobalRecord, NodeRecord, ResultRecord, StateStore, StoreError, SwarmRecord, Transaction};

/// A fresh store under test.
pub trait Bench {
    /// The store.
    fn store(&mut self) -> &mut dyn StateStore;

    /// Closes and opens the store again; false where the backend keeps nothing.
    fn reopen(&mut self) -> bool {
        false
    }
}

/// Runs every check on a backend, one test each; the argument makes a fresh [`Bench`].
#[macro_export]
macro_rules! state_conformance {
    ($fresh:expr) => {
        $crate::state_conformance!(@each $fresh;
            a_transaction_is_read_back
            every_kind_of_event_is_read_back
            swarms_are_listed_in_the_order_they_were_made
            events_are_paged_by_sequence
            a_history_has_neither_gaps_nor_branches
            events_of_an_unknown_swarm_are_refused
            a_swarm_is_made_once
            an_idempotency_key_makes_one_swarm
            an_offer_needs_a_higher_epoch
            a_stale_attempt_is_not_accepted
            a_slot_is_accepted_once
            an_attempt_that_was_never_offered_cannot_end
            slots_fence_only_themselves
            nothing_of_a_refused_transaction_stays
            a_node_name_belongs_to_one_node_for_ever
            results_follow_the_history
            globals_follow_the_history
            clusters_do_not_see_each_other
            what_was_committed_survives_reopening
        );
    };
    (@each $fresh:expr; $($check:ident)+) => {
        $(
            #[test]
            fn $check() {
                let mut bench = ($fresh)();
                $crate::conformance::state::$check(&mut bench);
            }
        )+
    };
}

/// Everything that can be asked about a cluster, to compare states.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Everything {
    swarms: Vec<SwarmRecord>,
    histories: Vec<Vec<manta_types::Event>>,
    results: Vec<Vec<ResultRecord>>,
    globals: Vec<Vec<GlobalRecord>>,
    nodes: Vec<NodeRecord>,
}

/// Reads all of a cluster.
///
/// # Errors
/// When the store fails.
pub fn everything(store: &mut dyn StateStore, cluster: &ClusterId) -> Result<Everything, StoreError> {
    let mut all = Everything { swarms: store.swarms(cluster)?, nodes: store.nodes(cluster)?, ..Everything::default() };
    for swarm in &all.swarms {
        all.histories.push(store.events(cluster, swarm.id, 0, usize::MAX)?);
        all.results.push(store.results(cluster, swarm.id)?);
        all.globals.push(store.globals(cluster, swarm.id)?);
    }
    Ok(all)
}

fn read(bench: &mut dyn Bench) -> Everything {
    everything(bench.store(), &cluster()).expect("a sound store can be read")
}

fn commit(bench: &mut dyn Bench, transaction: &Transaction) {
    bench.store().commit(&cluster(), transaction).expect("this transaction breaks no rule");
}

/// Commits what must be refused, and checks that it left nothing.
fn refuse(bench: &mut dyn Bench, transaction: &Transaction) -> CommitError {
    let before = read(bench);
    let error = bench.store().commit(&cluster(), transaction).expect_err("this transaction breaks a rule");
    assert_eq!(read(bench), before, "a refused transaction left something");
    error
}

/// Whatever the fence keeps out leaves nothing and is named.
fn fenced(bench: &mut dyn Bench, seq: u64, what: SwarmEvent, attempt: u128) {
    let error = refuse(bench, &events(swarm_id(1), seq, [what]));
    assert!(matches!(error, CommitError::Fenced { attempt: found } if found == attempt_id(attempt)), "{error:?}");
}

pub fn a_transaction_is_read_back(bench: &mut dyn Bench) {
    let mut all = new_swarm(1, [SwarmEvent::SwarmAdmitted]);
    all.nodes = vec![node(2, "{}"), node(1, "{}")];
    commit(bench, &all);
    let expected = Everything {
        swarms: vec![SwarmRecord {
            id: swarm_id(1),
            name: swarm(1).name,
            submission: swarm(1).submission,
            created_ms: swarm(1).created_ms,
            finished: false,
        }],
        histories: vec![all.events],
        results: vec![vec![]],
        globals: vec![vec![]],
        nodes: vec![node(1, "{}"), node(2, "{}")],
    };
    assert_eq!(read(bench), expected);
}

pub fn every_kind_of_event_is_read_back(bench: &mut dyn Bench) {
    let all = new_swarm(1, every_kind());
    commit(bench, &all);
    let found = read(bench);
    assert_eq!(found.histories, [all.events]);
    assert!(found.swarms[0].finished);
}

pub fn swarms_are_listed_in_the_order_they_were_made(bench: &mut dyn Bench) {
    for number in [5, 1, 3] {
        commit(bench, &new_swarm(number, []));
    }
    let ids: Vec<_> = read(bench).swarms.iter().map(|swarm| swarm.id).collect();
    assert_eq!(ids, [swarm_id(5), swarm_id(1), swarm_id(3)]);
}

pub fn events_are_paged_by_sequence(bench: &mut dyn Bench) {
    let all = new_swarm(1, every_kind());
    commit(bench, &all);
    for (after, limit, expected) in [(0, 3, 0..3), (3, 2, 3..5), (20, 100, 20..21), (21, 1, 0..0), (u64::MAX, 1, 0..0)]
    {
        let page = bench.store().events(&cluster(), swarm_id(1), after, limit).expect("events can be read");
        assert_eq!(page, all.events[expected], "{limit} after {after}");
    }
}

pub fn a_history_has_neither_gaps_nor_branches(bench: &mut dyn Bench) {
    commit(bench, &new_swarm(1, [SwarmEvent::SwarmAdmitted]));
    for given in [0, 1, 3] {
        let error = refuse(bench, &events(swarm_id(1), given, [SwarmEvent::SwarmAdmitted]));
        let CommitError::OutOfOrder { swarm, stored, given: found } = error else { panic!("{error:?}") };
        assert_eq!((swarm, stored, found), (swarm_id(1), 1, given));
    }
    commit(bench, &events(swarm_id(1), 2, [SwarmEvent::SwarmAdmitted]));
}

pub fn events_of_an_unknown_swarm_are_refused(bench: &mut dyn Bench) {
    let error = refuse(bench, &events(swarm_id(7), 1, [SwarmEvent::SwarmAdmitted]));
    assert!(matches!(error, CommitError::UnknownSwarm { swarm } if swarm == swarm_id(7)), "{error:?}");
}

pub fn a_swarm_is_made_once(bench: &mut dyn Bench) {
    commit(bench, &new_swarm(1, []));
    let error = refuse(bench, &new_swarm(1, []));
    assert!(matches!(error, CommitError::SwarmKnown { swarm } if swarm == swarm_id(1)), "{error:?}");
}

pub fn an_idempotency_key_makes_one_swarm(bench: &mut dyn Bench) {
    let with_key = |number, request: &str| {
        let mut transaction = new_swarm(number, []);
        transaction.swarms[0].idempotency = Some(("key".to_owned(), request.to_owned()));
        transaction
    };
    commit(bench, &with_key(1, "request"));
    for (request, same) in [("request", true), ("another", false)] {
        let error = refuse(bench, &with_key(2, request));
        let CommitError::KeyUsed { swarm, same_request } = error else { panic!("{error:?}") };
        assert_eq!((swarm, same_request), (swarm_id(1), same));
    }
    let find = |bench: &mut dyn Bench, key| bench.store().idempotency(&cluster(), key).expect("keys can be read");
    assert_eq!(find(bench, "key"), Some((swarm_id(1), "request".to_owned())));
    assert_eq!(find(bench, "other"), None);
}

pub fn an_offer_needs_a_higher_epoch(bench: &mut dyn Bench) {
    commit(bench, &new_swarm(1, [offered(1, 0, 3)]));
    fenced(bench, 2, offered(2, 0, 3), 2);
    fenced(bench, 2, offered(2, 0, 2), 2);
    fenced(bench, 2, offered(1, 0, 4), 1);
    commit(bench, &events(swarm_id(1), 2, [offered(2, 0, 4)]));
}

pub fn a_stale_attempt_is_not_accepted(bench: &mut dyn Bench) {
    commit(bench, &new_swarm(1, [offered(1, 0, 1), offered(2, 0, 2)]));
    fenced(bench, 3, accepted(1, &[published("late", 1)]), 1);
    commit(bench, &events(swarm_id(1), 3, [accepted(2, &[published("current", 2)])]));
    fenced(bench, 4, accepted(1, &[published("later", 1)]), 1);
    let names: Vec<_> = read(bench).results.concat().into_iter().map(|result| result.name).collect();
    assert_eq!(names, ["current"]);
}

pub fn a_slot_is_accepted_once(bench: &mut dyn Bench) {
    commit(bench, &new_swarm(1, [offered(1, 0, 1), accepted(1, &[])]));
    fenced(bench, 3, accepted(1, &[published("again", 1)]), 1);
    fenced(bench, 3, offered(2, 0, 2), 2);
}

pub fn an_attempt_that_was_never_offered_cannot_end(bench: &mut dyn Bench) {
    commit(bench, &new_swarm(1, []));
    fenced(bench, 1, accepted(1, &[]), 1);
    fenced(bench, 1, failed(1, &[]), 1);
}

pub fn slots_fence_only_themselves(bench: &mut dyn Bench) {
    commit(bench, &new_swarm(1, [offered(1, 0, 5), offered(2, 1, 1), offered_in(1, 3, 0, 1)]));
    commit(bench, &new_swarm(2, [offered(1, 0, 1), accepted(1, &[])]));
    commit(bench, &events(swarm_id(1), 4, [accepted(3, &[]), accepted(1, &[]), accepted(2, &[])]));
}

pub fn nothing_of_a_refused_transaction_stays(bench: &mut dyn Bench) {
    commit(bench, &new_swarm(1, [offered(1, 0, 1)]));
    let mut all = new_swarm(2, every_kind());
    all.swarms[0].idempotency = Some(("key".to_owned(), "request".to_owned()));
    all.nodes = vec![node(1, "{}")];
    let results = [published("weights", 1)];
    all.events.extend(events(swarm_id(1), 2, [accepted(1, &results), closed(vec![write("rate", 1, 1)])]).events);
    all.events.extend(events(swarm_id(1), 4, [accepted(1, &results)]).events);
    let error = refuse(bench, &all);
    assert!(matches!(error, CommitError::Fenced { .. }), "{error:?}");
    assert_eq!(bench.store().idempotency(&cluster(), "key").expect("keys can be read"), None);
    all.events.pop();
    commit(bench, &all);
}

pub fn a_node_name_belongs_to_one_node_for_ever(bench: &mut dyn Bench) {
    let with = |record: NodeRecord| Transaction { nodes: vec![record], ..Transaction::default() };
    commit(bench, &with(node(1, "first")));
    let error = refuse(bench, &with(NodeRecord { name: node_name(1), ..node(2, "thief") }));
    assert!(matches!(&error, CommitError::NameTaken { name } if *name == node_name(1)), "{error:?}");
    let error = refuse(bench, &with(NodeRecord { name: node_name(2), ..node(1, "renamed") }));
    let CommitError::Renamed { name, wanted, .. } = error else { panic!("{error:?}") };
    assert_eq!((name, wanted), (node_name(1), node_name(2)));
    commit(bench, &with(NodeRecord { joined_ms: 9, ..node(1, "described anew") }));
    assert_eq!(read(bench).nodes, [node(1, "described anew")]);
}

pub fn results_follow_the_history(bench: &mut dyn Bench) {
    let history = [
        offered_in(1, 3, 0, 1),
        accepted(3, &[published("z", 3)]),
        offered(1, 0, 1),
        failed(1, &[published("half", 1)]),
        offered(2, 0, 2),
        accepted(2, &[published("weights", 2), published("loss", 4)]),
    ];
    commit(bench, &new_swarm(1, history));
    let record = |iteration, attempt, name: &str, number, accepted| ResultRecord {
        iteration,
        task: 0,
        node: node_name(0),
        name: name.to_owned(),
        blob: blob(number),
        attempt: attempt_id(attempt),
        accepted,
    };
    let expected = [
        record(0, 1, "half", 1, false),
        record(0, 2, "weights", 2, true),
        record(0, 2, "loss", 4, true),
        record(1, 3, "z", 3, true),
    ];
    assert_eq!(read(bench).results, [expected]);
}

pub fn globals_follow_the_history(bench: &mut dyn Bench) {
    let history = [closed(vec![write("rate", 1, 1), write("model", 1, 2)]), closed(vec![write("rate", 2, 3)])];
    commit(bench, &new_swarm(1, history));
    let record = |name: &str, revision, number: u8| GlobalRecord {
        name: name.to_owned(),
        revision,
        writer: node_name(u128::from(number)),
        blob: blob(number),
    };
    assert_eq!(read(bench).globals, [[record("model", 1, 2), record("rate", 2, 3)]]);
}

pub fn clusters_do_not_see_each_other(bench: &mut dyn Bench) {
    let other = ClusterId::new("other").expect("letters are a name");
    let mut all = new_swarm(1, every_kind());
    all.swarms[0].idempotency = Some(("key".to_owned(), "request".to_owned()));
    all.nodes = vec![node(1, "{}")];
    commit(bench, &all);
    let there = everything(bench.store(), &other).expect("a cluster without a past can be read");
    assert_eq!(there, Everything::default());
    assert_eq!(bench.store().idempotency(&other, "key").expect("keys can be read"), None);
    bench.store().commit(&other, &all).expect("the same ids are free in another cluster");
    let (here, there) = (read(bench), everything(bench.store(), &other).expect("both can be read"));
    assert_eq!(here, there);
}

pub fn what_was_committed_survives_reopening(bench: &mut dyn Bench) {
    let mut all = new_swarm(1, every_kind());
    all.nodes = vec![node(1, "{}")];
    commit(bench, &all);
    commit(bench, &new_swarm(2, [offered(1, 0, 1), offered(2, 0, 2)]));
    let before = read(bench);
    if !bench.reopen() {
        return;
    }
    assert_eq!(read(bench), before);
    let error = refuse(bench, &events(swarm_id(2), 3, [accepted(1, &[])]));
    assert!(matches!(error, CommitError::Fenced { .. }), "the fence went with the process: {error:?}");
}
