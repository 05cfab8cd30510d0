//! What must hold when any one call fails: each transaction of a workload is there wholly, or not at all.
use manta_types::{Digest, SwarmEvent};

use super::blob::name;
use super::sample::{
    accepted, closed, cluster, events, failed, key, module, new_swarm, node, offered, published, swarm_id, write,
};
use super::state::{Everything, everything};
use crate::{BlobError, BlobStore, CommitError, Fault, Faulty, FaultyBlobs, StateStore, Transaction};

/// Transactions that touch every table.
pub fn workload() -> Vec<Transaction> {
    let mut joined = Transaction { nodes: vec![node(0, "{}"), node(1, "{}")], ..Transaction::default() };
    joined.modules = vec![module("w", "1.0.0", 7)];
    let mut submitted = new_swarm(1, [offered(1, 0, 1), offered(2, 1, 1)]);
    submitted.swarms[0].idempotency = Some(("key".to_owned(), "request".to_owned()));
    let retried = events(swarm_id(1), 3, [failed(1, &[published("half", 1)]), offered(3, 0, 2)]);
    let results = [published("weights", 2), published("loss", 3)];
    let done = [accepted(3, &results), accepted(2, &results), closed(vec![write("rate", 1, 4)])];
    let stop = || SwarmEvent::SwarmStopped { reason: "enough".to_owned() };
    let mut stopped = events(swarm_id(1), 8, [stop()]);
    stopped.keys = vec![key("stop", "POST stop", Some(1))];
    let passing = new_swarm(2, [offered(20, 0, 1), accepted(20, &results), stop()]);
    let mut purged = new_swarm(3, []);
    purged.purged = vec![swarm_id(2)];
    vec![joined, submitted, retried, events(swarm_id(1), 5, done), stopped, passing, purged]
}

/// The state after each prefix of the workload, the empty one first.
fn prefixes<S: StateStore>(mut store: S) -> Vec<Everything> {
    let mut states = vec![everything(&mut store, &cluster()).expect("a sound store can be read")];
    for transaction in workload() {
        store.commit(&cluster(), &transaction).expect("the workload breaks no rule");
        states.push(everything(&mut store, &cluster()).expect("a sound store can be read"));
    }
    states
}

/// Fails every commit of the workload in turn, on both sides of the work, and compares what is left.
///
/// `fresh` makes an empty store, and `reopened` makes the one that a restarted manager would find.
pub fn each_transaction_happens_wholly_or_not_at_all<S: StateStore>(
    mut fresh: impl FnMut() -> S,
    mut reopened: impl FnMut(S) -> S,
) {
    let states = prefixes(fresh());
    let calls = workload().len();
    for (call, fault) in (0..calls).flat_map(|call| [(call, Fault::Before), (call, Fault::After)]) {
        let mut store = Faulty::new(fresh(), call as u64 + 1, fault);
        let failed = workload().iter().position(|transaction| store.commit(&cluster(), transaction).is_err());
        assert_eq!(failed, Some(call), "another call failed");
        let mut store = reopened(store.into_inner());
        let done = if fault == Fault::After { call + 1 } else { call };
        let found = everything(&mut store, &cluster()).expect("a sound store can be read");
        assert_eq!(found, states[done], "call {call} failed {fault:?} its work");
        resume(&mut store, done);
        let found = everything(&mut store, &cluster()).expect("a sound store can be read");
        assert_eq!(found, states[calls], "the workload cannot go on after call {call} failed {fault:?} its work");
    }
}

/// Goes on with the workload, after repeating what was done last: a repetition changes nothing.
fn resume(store: &mut impl StateStore, done: usize) {
    for (index, transaction) in workload().iter().enumerate().skip(done.saturating_sub(1)) {
        match store.commit(&cluster(), transaction) {
            Ok(()) => assert!(index >= done || index == 0, "transaction {index} was written twice"),
            Err(
                CommitError::KeyUsed { same_request: true, .. }
                | CommitError::OutOfOrder { .. }
                | CommitError::SwarmKnown { .. },
            ) => {
                assert!(index < done, "transaction {index} was refused the first time");
            }
            Err(error) => panic!("transaction {index}: {error:?}"),
        }
    }
}

/// Fails every call of a workload of uploads in turn, on both sides of the work: what was acknowledged is there, whatever
/// is there is whole, and the workload can go on.
///
/// `fresh` makes an empty store, and `reopened` makes the one that a restarted manager would find.
pub fn each_blob_is_stored_wholly_or_not_at_all<S: BlobStore>(
    mut fresh: impl FnMut() -> S,
    mut reopened: impl FnMut(S) -> S,
) {
    let bytes: Vec<Vec<u8>> = [0, 1, 70_000].iter().map(|length| vec![7; *length]).collect();
    for call in 1.. {
        for fault in [Fault::Before, Fault::After] {
            let store = FaultyBlobs::new(fresh(), call, fault);
            let mut stored = Vec::new();
            let failed = bytes.iter().chain(&bytes).any(|bytes| match upload(&store, bytes) {
                Ok(digest) => {
                    stored.push(digest);
                    false
                }
                Err(_) => true,
            });
            let store = reopened(store.into_inner());
            for digest in store.digests(None, usize::MAX).expect("a sound store can be listed") {
                store.verify(&digest).unwrap_or_else(|error| panic!("call {call} failed {fault:?} its work: {error}"));
            }
            for digest in stored {
                store.verify(&digest).unwrap_or_else(|error| panic!("call {call} failed {fault:?} its work: {error}"));
            }
            for bytes in &bytes {
                upload(&store, bytes).expect("a store that failed once goes on");
            }
            if !failed {
                assert!(call > 9, "the workload has more calls than {call}");
                return;
            }
        }
    }
}

fn upload(store: &impl BlobStore, bytes: &[u8]) -> Result<Digest, BlobError> {
    let digest = name(bytes).digest;
    store.put(&digest, &mut &*bytes).map(|blob| blob.digest)
}
