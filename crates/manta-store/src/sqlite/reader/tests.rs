//! What a reader finds beside the store that writes.
use tempfile::TempDir;

use super::{StateReader, digests_in};
use crate::conformance::fault::workload;
use crate::conformance::sample::{blob, cluster, every_kind, new_swarm, swarm_id};
use crate::conformance::state::everything;
use crate::{SqliteStore, StateStore, StoreError};

fn filled() -> (TempDir, SqliteStore) {
    let dir = TempDir::new().unwrap();
    let mut store = SqliteStore::open(dir.path()).unwrap();
    for transaction in &workload()[..5] {
        store.commit(&cluster(), transaction).unwrap();
    }
    (dir, store)
}

#[test]
fn a_sound_state_passes_every_check_while_it_is_written() {
    let (dir, mut store) = filled();
    let reader = StateReader::open(dir.path()).unwrap();
    reader.check_file().unwrap();
    assert_eq!(reader.swarms().unwrap(), [(cluster(), swarm_id(1))]);
    assert_eq!(reader.check_swarm(&cluster(), swarm_id(1)).unwrap(), 8);
    let kinds: Vec<_> = every_kind().into_iter().skip_while(|event| event.kind() != "task_run_closed").collect();
    store.commit(&cluster(), &new_swarm(2, kinds)).unwrap();
    assert_eq!(reader.check_swarm(&cluster(), swarm_id(2)).unwrap(), 4);
    assert_eq!(reader.check_swarm(&cluster(), swarm_id(7)).unwrap(), 0, "a swarm that was purged meanwhile is sound");
    assert_eq!(reader.generation().unwrap(), store.generation().unwrap());
}

#[test]
fn a_derived_table_that_differs_from_the_history_is_found() {
    let row = "cluster_id, swarm_id, name, revision, writer, digest, size";
    let rewritten =
        format!("UPDATE globals SET revision = 9; UPDATE globals SET checksum = checksum_of('globals', {row})");
    for (change, what) in [
        ("DELETE FROM results WHERE name = 'loss'", "results"),
        ("DELETE FROM globals", "globals"),
        (rewritten.as_str(), "globals"),
        ("DELETE FROM slots WHERE slot = 1", "slot"),
        ("DELETE FROM results; DELETE FROM slots; DELETE FROM attempts WHERE slot = 1", "results"),
    ] {
        let (dir, store) = filled();
        store.connection.execute_batch(change).unwrap();
        let error = StateReader::open(dir.path()).unwrap().check_swarm(&cluster(), swarm_id(1)).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{change}: {error:?}");
        assert!(error.to_string().contains(what), "{change}: {error}");
    }
}

#[test]
fn a_row_of_a_swarm_that_is_not_there_is_found() {
    let (dir, store) = filled();
    store.connection.pragma_update(None, "foreign_keys", false).unwrap();
    store.connection.execute("UPDATE results SET swarm_id = zeroblob(16) WHERE name = 'loss'", []).unwrap();
    let error = StateReader::open(dir.path()).unwrap().check_file().unwrap_err().to_string();
    assert!(error.contains("state.db") && error.contains("a row of `results` names one of"), "{error}");
    drop(store);
    let error = SqliteStore::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("a row of `results` names one of"), "at the start too: {error}");
}

#[test]
fn a_copy_is_the_state_of_one_moment() {
    let (dir, mut store) = filled();
    let before = everything(&mut store, &cluster()).unwrap();
    let copy = TempDir::new().unwrap();
    StateReader::open(dir.path()).unwrap().copy_to(copy.path()).unwrap();
    store.commit(&cluster(), &new_swarm(9, [])).unwrap();
    let mut copied = SqliteStore::open(copy.path()).unwrap();
    assert_eq!(everything(&mut copied, &cluster()).unwrap(), before);
    assert_eq!(copied.generation().unwrap(), store.generation().unwrap());
    let first = copied.generation().unwrap();
    let second = copied.begin_generation("restored").unwrap();
    assert!(second > first);
    drop(copied);
    let mut reopened = SqliteStore::open(copy.path()).unwrap();
    assert_eq!(reopened.generation().unwrap(), second);
    assert!(reopened.begin_generation("again").unwrap() > second);
}

#[test]
fn every_digest_in_a_row_is_named() {
    let (dir, _store) = filled();
    let reader = StateReader::open(dir.path()).unwrap();
    let (mut named, mut outputs) = (Vec::new(), Vec::new());
    reader.digests(None, |digest| named.push(digest)).unwrap();
    reader.outputs(None, |digest| outputs.push(digest)).unwrap();
    for digest in [1, 2, 3, 4].map(|number| blob(number).digest) {
        assert!(named.contains(&digest) && outputs.contains(&digest), "{digest}");
    }
}

#[test]
fn only_what_has_the_form_of_a_digest_is_one() {
    let digest = blob(0xa7).digest;
    let found = |text: &str| {
        let mut found = Vec::new();
        digests_in(text, |digest| found.push(digest));
        found
    };
    assert_eq!(found(&format!(r#"{{"x":"{digest}","y":["{digest}"]}}"#)), [digest, digest]);
    assert_eq!(found(&format!("0{digest} {digest}0 {}", digest.to_string().to_uppercase())), []);
}
