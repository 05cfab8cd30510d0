//! What every [`StateStore`] must do.
#![expect(missing_docs, reason = "the names of checks are their documentation")]
use manta_types::checkpoint::{CarriedGlobal, Checkpoint};
use manta_types::{ClusterId, NodeDuty, SwarmEvent};

use super::sample::{
    accepted, attempt_id, blob, closed, cluster, events, every_kind, failed, key, module, new_swarm, node, node_name,
    offered, offered_in, published, swarm, swarm_id, write,
};
use crate::{
    AttemptRecord, ClusterChange, ClusterRecord, CommitError, GlobalRecord, KeyRecord, ModuleRecord, NodeRecord,
    ResultRecord, StateStore, StoreError, SwarmRecord, Transaction,
};

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
            keys_without_a_swarm_are_forgotten_when_they_are_old
            any_call_is_answered_once_under_its_key
            an_offer_needs_a_higher_epoch
            a_stale_attempt_is_not_accepted
            a_slot_is_accepted_once
            an_attempt_that_was_never_offered_cannot_end
            slots_fence_only_themselves
            an_attempt_belongs_to_one_swarm
            an_attempt_is_found_however_long_it_is_over
            nothing_of_a_refused_transaction_stays
            a_node_name_belongs_to_one_node_for_ever
            a_nodes_duty_is_what_it_was_last
            a_published_version_stays_what_it_is
            results_follow_the_history
            globals_follow_the_history
            a_continued_swarm_has_the_globals_it_takes_over
            a_swarm_ends_with_its_first_final_event
            a_purged_swarm_leaves_nothing
            only_swarms_that_have_ended_are_purged
            swarms_of_a_cluster_that_leaves_are_purged_in_any_state
            clusters_do_not_see_each_other
            a_cluster_goes_with_all_that_is_its_own
            a_generation_stays_until_a_restore
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
    /// In the order they were made.
    pub swarms: Vec<SwarmRecord>,
    /// Of each swarm.
    pub histories: Vec<Vec<manta_types::Event>>,
    /// Of each swarm.
    pub results: Vec<Vec<ResultRecord>>,
    /// Of each swarm.
    pub globals: Vec<Vec<GlobalRecord>>,
    /// By name.
    pub nodes: Vec<NodeRecord>,
    /// By name and version.
    pub modules: Vec<ModuleRecord>,
}

/// Reads all of a cluster.
///
/// # Errors
/// When the store fails.
pub fn everything(store: &mut dyn StateStore, cluster: &ClusterId) -> Result<Everything, StoreError> {
    let mut all = Everything {
        swarms: store.swarms(cluster)?,
        nodes: store.nodes(cluster)?,
        modules: store.modules(cluster)?,
        ..Everything::default()
    };
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
            seq: 1,
            ended_ms: None,
        }],
        histories: vec![all.events],
        results: vec![vec![]],
        globals: vec![vec![]],
        nodes: vec![node(1, "{}"), node(2, "{}")],
        modules: vec![],
    };
    assert_eq!(read(bench), expected);
}

pub fn every_kind_of_event_is_read_back(bench: &mut dyn Bench) {
    let all = new_swarm(1, every_kind());
    commit(bench, &all);
    let found = read(bench);
    assert_eq!(found.histories, [all.events]);
    assert_eq!(found.swarms[0].seq, 21);
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
        let CommitError::KeyUsed { earlier, same_request } = error else { panic!("{error:?}") };
        assert_eq!((earlier.swarm, same_request), (Some(swarm_id(1)), same));
    }
    let expected = KeyRecord { answer: String::new(), used_ms: swarm(1).created_ms, ..key("key", "request", Some(1)) };
    assert_eq!(find_key(bench, "key"), Some(expected));
    assert_eq!(find_key(bench, "other"), None);
}

fn find_key(bench: &mut dyn Bench, key: &str) -> Option<KeyRecord> {
    bench.store().idempotency(&cluster(), key).expect("keys can be read")
}

pub fn any_call_is_answered_once_under_its_key(bench: &mut dyn Bench) {
    let with = |records: &[KeyRecord]| Transaction { keys: records.to_vec(), ..Transaction::default() };
    commit(bench, &new_swarm(1, []));
    let (stop, drain) = (key("stop", "POST stop", Some(1)), key("drain", "POST drain", None));
    commit(bench, &with(&[stop.clone(), drain.clone()]));
    for (request, same) in [("POST drain", true), ("POST resume", false)] {
        let error = refuse(bench, &with(&[key("new", "", None), key("drain", request, Some(1))]));
        let CommitError::KeyUsed { earlier, same_request } = error else { panic!("{error:?}") };
        assert_eq!((*earlier, same_request), (drain.clone(), same));
    }
    assert_eq!(find_key(bench, "new"), None, "a refused transaction left a key");
    let error = refuse(bench, &with(&[key("unknown", "", Some(7))]));
    assert!(matches!(error, CommitError::UnknownSwarm { swarm } if swarm == swarm_id(7)), "{error:?}");
    assert_eq!((find_key(bench, "stop"), find_key(bench, "drain")), (Some(stop), Some(drain)));
}

pub fn keys_without_a_swarm_are_forgotten_when_they_are_old(bench: &mut dyn Bench) {
    commit(bench, &new_swarm(1, []));
    let used = |name, swarm, used_ms| KeyRecord { used_ms, ..key(name, "request", swarm) };
    let keys = vec![used("old", None, 99), used("young", None, 100), used("stop", Some(1), 1)];
    commit(bench, &Transaction { keys, ..Transaction::default() });
    commit(bench, &Transaction { keys_before_ms: 100, ..Transaction::default() });
    let found = ["old", "young", "stop"].map(|name| find_key(bench, name).is_some());
    assert_eq!(found, [false, true, true]);
    commit(bench, &Transaction { keys: vec![used("old", None, 200)], ..Transaction::default() });
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
    commit(bench, &new_swarm(2, [offered(4, 0, 1), accepted(4, &[])]));
    commit(bench, &events(swarm_id(1), 4, [accepted(3, &[]), accepted(1, &[]), accepted(2, &[])]));
}

pub fn an_attempt_belongs_to_one_swarm(bench: &mut dyn Bench) {
    commit(bench, &new_swarm(2, [offered(9, 0, 1)]));
    commit(bench, &new_swarm(1, []));
    fenced(bench, 1, offered(9, 0, 2), 9);
    fenced(bench, 1, accepted(9, &[]), 9);
    commit(bench, &events(swarm_id(2), 2, [accepted(9, &[])]));
}

pub fn an_attempt_is_found_however_long_it_is_over(bench: &mut dyn Bench) {
    let history = [offered_in(1, 3, 2, 1), offered(1, 0, 1), offered(2, 0, 2), accepted(2, &[])];
    commit(bench, &new_swarm(1, history));
    let record = |iteration, slot, epoch, accepted| {
        let (swarm, node) = (swarm_id(1), node_name(slot as u128));
        Some(AttemptRecord { swarm, iteration, task: 0, slot, node, epoch, accepted })
    };
    for (attempt, expected) in
        [(1, record(0, 0, 1, false)), (2, record(0, 0, 2, true)), (3, record(1, 2, 1, false)), (4, None)]
    {
        let found = bench.store().attempt(&cluster(), attempt_id(attempt)).expect("attempts can be read");
        assert_eq!(found, expected, "attempt {attempt}");
    }
}

pub fn nothing_of_a_refused_transaction_stays(bench: &mut dyn Bench) {
    commit(bench, &new_swarm(1, [offered(9, 0, 1)]));
    let mut all = new_swarm(2, every_kind());
    all.swarms[0].idempotency = Some(("key".to_owned(), "request".to_owned()));
    all.nodes = vec![node(1, "{}")];
    let results = [published("weights", 1)];
    all.events.extend(events(swarm_id(1), 2, [accepted(9, &results), closed(vec![write("rate", 1, 1)])]).events);
    all.events.extend(events(swarm_id(1), 4, [accepted(9, &results)]).events);
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

pub fn a_nodes_duty_is_what_it_was_last(bench: &mut dyn Bench) {
    let with = |record: &NodeRecord| Transaction { nodes: vec![record.clone()], ..Transaction::default() };
    let draining = NodeRecord { duty: NodeDuty::Draining, drain_left_ms: Some(600_000), ..node(1, "{}") };
    for record in [node(1, "{}"), draining, NodeRecord { duty: NodeDuty::Drained, ..node(1, "{}") }] {
        commit(bench, &with(&record));
        assert_eq!(read(bench).nodes, [record]);
    }
}

pub fn a_published_version_stays_what_it_is(bench: &mut dyn Bench) {
    let publish = |modules: Vec<ModuleRecord>| Transaction { modules, ..Transaction::default() };
    commit(bench, &publish(vec![module("w", "1.10.0", 1), module("w", "1.2.0", 2), module("a", "1.0.0", 1)]));
    let mut marked = module("w", "1.2.0", 2);
    marked.yanked = Some("wrong mean".to_owned());
    marked.deprecated = Some("use 1.10.0".to_owned());
    marked.tags = vec!["old".to_owned(), "stable".to_owned()];
    marked.signatures = vec!["{\"one\":1}".to_owned(), "{\"other\":2}".to_owned()];
    commit(bench, &publish(vec![marked.clone()]));
    let all = vec![module("a", "1.0.0", 1), module("w", "1.10.0", 1), marked.clone()];
    assert_eq!(read(bench).modules, all);
    let another = ModuleRecord { bundle: blob(3), ..marked };
    let refused = publish(vec![module("b", "1.0.0", 1), another]);
    let error = bench.store().commit(&cluster(), &refused).expect_err("another bundle under a version");
    assert!(
        matches!(&error, CommitError::Published { name, version } if name == "w" && version == "1.2.0"),
        "{error:?}"
    );
    assert_eq!(read(bench).modules, all, "nothing of it is there");
    commit(bench, &publish(vec![module("w", "1.2.0", 2)]));
    assert_eq!(read(bench).modules[2], module("w", "1.2.0", 2), "what is said of it can be taken back");
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

pub fn a_continued_swarm_has_the_globals_it_takes_over(bench: &mut dyn Bench) {
    let carried = |name: &str, writer| CarriedGlobal { name: name.to_owned(), blob: blob(2), revision: 3, writer };
    let checkpoint = Checkpoint {
        from: swarm_id(7),
        state_of: swarm_id(6),
        iteration: 2,
        revision: 3,
        globals: vec![carried("submitted", None), carried("written", Some(node_name(4)))],
        closed: Vec::new(),
        previous: Vec::new(),
        granted: Vec::new(),
        requests: Vec::new(),
        stop_asked: None,
        fixed: Vec::new(),
        pins: vec![],
        before: vec![],
    };
    let continued = SwarmEvent::SwarmContinued { checkpoint: Box::new(checkpoint) };
    commit(bench, &new_swarm(1, [SwarmEvent::SwarmAdmitted, continued]));
    let (name, writer) = ("written".to_owned(), node_name(4));
    assert_eq!(read(bench).globals, [[GlobalRecord { name, revision: 3, writer, blob: blob(2) }]]);
}

pub fn a_swarm_ends_with_its_first_final_event(bench: &mut dyn Bench) {
    commit(bench, &new_swarm(1, [SwarmEvent::SwarmAdmitted]));
    assert_eq!(read(bench).swarms[0].ended_ms, None);
    let stop = || SwarmEvent::SwarmStopped { reason: "enough".to_owned() };
    let ending = events(swarm_id(1), 2, [stop(), stop()]);
    commit(bench, &ending);
    assert_eq!(read(bench).swarms[0].ended_ms, Some(ending.events[0].time_ms));
}

pub fn a_purged_swarm_leaves_nothing(bench: &mut dyn Bench) {
    let mut other = new_swarm(2, [offered(20, 0, 1), accepted(20, &[published("weights", 1)])]);
    other.keys = vec![key("of another", "", Some(2)), key("of none", "", None)];
    commit(bench, &other);
    let before = read(bench);
    let mut all = new_swarm(1, every_kind());
    all.swarms[0].idempotency = Some(("submit".to_owned(), "request".to_owned()));
    all.keys = vec![key("stop", "", Some(1))];
    commit(bench, &all);
    commit(bench, &Transaction { purged: vec![swarm_id(1)], ..Transaction::default() });
    assert_eq!(read(bench), before);
    assert_eq!((find_key(bench, "submit"), find_key(bench, "stop")), (None, None));
    assert!(find_key(bench, "of another").is_some() && find_key(bench, "of none").is_some());
    for attempt in 1..5 {
        let found = bench.store().attempt(&cluster(), attempt_id(attempt)).expect("attempts can be read");
        assert_eq!(found, None);
    }
    let events = bench.store().events(&cluster(), swarm_id(1), 0, 9).expect("a swarm that is gone has no events");
    assert_eq!(events, []);
    commit(bench, &all);
}

pub fn only_swarms_that_have_ended_are_purged(bench: &mut dyn Bench) {
    commit(bench, &new_swarm(1, every_kind()));
    commit(bench, &new_swarm(2, [SwarmEvent::SwarmAdmitted]));
    let purge = |swarms: &[u128]| {
        let purged = swarms.iter().copied().map(swarm_id).collect();
        Transaction { purged, ..Transaction::default() }
    };
    let error = refuse(bench, &purge(&[1, 2]));
    assert!(matches!(error, CommitError::NotEnded { swarm } if swarm == swarm_id(2)), "{error:?}");
    let error = refuse(bench, &purge(&[1, 7]));
    assert!(matches!(error, CommitError::UnknownSwarm { swarm } if swarm == swarm_id(7)), "{error:?}");
}

pub fn swarms_of_a_cluster_that_leaves_are_purged_in_any_state(bench: &mut dyn Bench) {
    let name = ClusterId::new("other").expect("letters are a name");
    let change = |is_removing| {
        let record = ClusterRecord { name: name.clone(), created_ms: 5, is_removing };
        Transaction { clusters: vec![ClusterChange::Put(record)], ..Transaction::default() }
    };
    commit(bench, &change(false));
    let live = new_swarm(1, [SwarmEvent::SwarmAdmitted]);
    commit(bench, &live);
    let purged = Transaction { purged: vec![swarm_id(1)], ..Transaction::default() };
    bench.store().commit(&name, &live).expect("the same ids are free in another cluster");
    let error = bench.store().commit(&name, &purged).expect_err("the cluster stays, and its swarm goes on");
    assert!(matches!(error, CommitError::NotEnded { .. }), "{error:?}");
    commit(bench, &change(true));
    bench.store().commit(&name, &purged).expect("the cluster leaves");
    assert_eq!(everything(bench.store(), &name).expect("what is left can be read"), Everything::default());
    let error = refuse(bench, &purged);
    assert!(matches!(error, CommitError::NotEnded { .. }), "the first cluster does not leave: {error:?}");
}

pub fn a_generation_stays_until_a_restore(bench: &mut dyn Bench) {
    let generation = |bench: &mut dyn Bench| bench.store().generation().expect("the generation can be read");
    let first = generation(bench);
    assert!(first > 0);
    commit(bench, &new_swarm(1, every_kind()));
    assert_eq!(generation(bench), first);
    bench.reopen();
    assert_eq!(generation(bench), first);
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

pub fn a_cluster_goes_with_all_that_is_its_own(bench: &mut dyn Bench) {
    let name = ClusterId::new("other").expect("letters are a name");
    let record = |is_removing| ClusterRecord { name: name.clone(), created_ms: 5, is_removing };
    let change = |clusters: Vec<ClusterChange>| Transaction { clusters, ..Transaction::default() };
    commit(bench, &Transaction { keys: vec![key("add", "", None)], ..change(vec![ClusterChange::Put(record(false))]) });
    let mut all = new_swarm(1, every_kind());
    all.nodes = vec![node(1, "{}")];
    all.modules = vec![module("worker", "1.0.0", 1)];
    all.keys = vec![key("stop", "", Some(1)), key("drain", "", None)];
    commit(bench, &all);
    bench.store().commit(&name, &all).expect("the same names are free in another cluster");
    let here = read(bench);
    commit(bench, &change(vec![ClusterChange::Put(record(true))]));
    bench.reopen();
    assert_eq!(bench.store().clusters().expect("clusters can be listed"), [record(true)]);
    commit(bench, &change(vec![ClusterChange::Gone(name.clone())]));
    bench.reopen();
    assert_eq!(bench.store().clusters().expect("clusters can be listed"), []);
    let there = everything(bench.store(), &name).expect("a cluster that is gone can be read");
    assert_eq!((there, read(bench)), (Everything::default(), here));
    assert!(find_key(bench, "add").is_some());
    assert_eq!(bench.store().idempotency(&name, "drain").expect("keys can be read"), None);
    bench.store().commit(&name, &all).expect("and its name is free again");
}

pub fn what_was_committed_survives_reopening(bench: &mut dyn Bench) {
    let mut all = new_swarm(1, every_kind());
    all.nodes = vec![node(1, "{}")];
    commit(bench, &all);
    commit(bench, &new_swarm(2, [offered(11, 0, 1), offered(12, 0, 2)]));
    let before = read(bench);
    if !bench.reopen() {
        return;
    }
    assert_eq!(read(bench), before);
    let error = refuse(bench, &events(swarm_id(2), 3, [accepted(11, &[])]));
    assert!(matches!(error, CommitError::Fenced { .. }), "the fence went with the process: {error:?}");
}
