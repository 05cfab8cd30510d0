//! The SQLite store under the common suite, against the memory store, and against crashes.
use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::SqliteStore;
use crate::conformance::fault::{each_transaction_happens_wholly_or_not_at_all, workload};
use crate::conformance::sample::{cluster, new_swarm};
use crate::conformance::state::{Bench, everything};
use crate::{CommitError, MemoryStore, StateStore, StoreError};

mod damage;
mod model;
mod opening;
mod plans;

/// A store in a directory of its own; `None` only while it is closed.
struct OnDisk {
    store: Option<SqliteStore>,
    dir: TempDir,
}

impl OnDisk {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        Self { store: Some(SqliteStore::open(dir.path()).unwrap()), dir }
    }
}

impl Bench for OnDisk {
    fn store(&mut self) -> &mut dyn StateStore {
        self.store.as_mut().unwrap()
    }

    fn reopen(&mut self) -> bool {
        self.store = None;
        self.store = Some(SqliteStore::open(self.dir.path()).unwrap());
        true
    }
}

crate::state_conformance!(OnDisk::new);

#[test]
fn a_fault_leaves_whole_transactions() {
    let dirs = TempDir::new().unwrap();
    let mut number = 0;
    let fresh = || {
        number += 1;
        SqliteStore::open(&dirs.path().join(number.to_string())).unwrap()
    };
    let reopened = |store: SqliteStore| {
        let path = store.connection.path().unwrap().to_owned();
        drop(store);
        SqliteStore::open(Path::new(&path).parent().unwrap()).unwrap()
    };
    each_transaction_happens_wholly_or_not_at_all(fresh, reopened);
}

#[test]
fn commits_are_written_ahead_and_synced_in_full() {
    let OnDisk { store, .. } = OnDisk::new();
    let connection = store.unwrap().connection;
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
    let journal: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
    assert_eq!(journal, "wal");
    assert_eq!(number("synchronous"), 2, "FULL");
    assert_eq!((number("foreign_keys"), number("busy_timeout"), number("trusted_schema")), (1, 0, 0));
}

#[test]
fn what_was_acknowledged_survives_the_death_of_the_process() {
    let mut bench = OnDisk::new();
    for (done, transaction) in workload().iter().enumerate() {
        bench.store().commit(&cluster(), transaction).unwrap();
        // What a killed process leaves: the files as they are, with nothing closed.
        let after = TempDir::new().unwrap();
        for file in ["state.db", "state.db-wal"] {
            fs::copy(bench.dir.path().join(file), after.path().join(file)).unwrap();
        }
        let mut found = SqliteStore::open(after.path()).unwrap();
        let expected = everything(bench.store(), &cluster()).unwrap();
        assert_eq!(everything(&mut found, &cluster()).unwrap(), expected, "after transaction {done}");
    }
}

#[test]
fn a_log_that_lost_its_end_loses_whole_transactions() {
    let mut bench = OnDisk::new();
    let mut model = MemoryStore::default();
    let mut states = vec![everything(&mut model, &cluster()).unwrap()];
    for transaction in workload() {
        bench.store().commit(&cluster(), &transaction).unwrap();
        model.commit(&cluster(), &transaction).unwrap();
        states.push(everything(&mut model, &cluster()).unwrap());
    }
    let log = fs::read(bench.dir.path().join("state.db-wal")).unwrap();
    let mut least = states.len();
    for length in (0..=log.len()).rev().step_by(1531) {
        let after = TempDir::new().unwrap();
        fs::copy(bench.dir.path().join("state.db"), after.path().join("state.db")).unwrap();
        fs::write(after.path().join("state.db-wal"), &log[..length]).unwrap();
        let found = everything(&mut SqliteStore::open(after.path()).unwrap(), &cluster()).unwrap();
        let prefix = states.iter().position(|state| *state == found);
        let prefix = prefix.unwrap_or_else(|| panic!("{length} bytes of the log hold part of a transaction"));
        assert!(prefix <= least, "a shorter log holds more");
        least = prefix;
    }
    assert_eq!(least, 0);
}

#[test]
fn a_commit_that_is_interrupted_anywhere_leaves_nothing() {
    let transactions = workload();
    let mut interrupted = 0;
    for steps in (1..).step_by(7) {
        let mut bench = OnDisk::new();
        let mut model = MemoryStore::default();
        let mut cut = false;
        for transaction in &transactions {
            let store = bench.store.as_mut().unwrap();
            store.connection.progress_handler(steps, Some(|| true)).unwrap();
            let outcome = store.commit(&cluster(), transaction);
            store.connection.progress_handler(0, None::<fn() -> bool>).unwrap();
            match outcome {
                Ok(()) => model.commit(&cluster(), transaction).unwrap(),
                Err(CommitError::Store(_)) => {
                    interrupted += 1;
                    cut = true;
                    break;
                }
                Err(error) => panic!("{error:?}"),
            }
        }
        assert_eq!(everything(bench.store(), &cluster()).unwrap(), everything(&mut model, &cluster()).unwrap());
        if !cut {
            break;
        }
    }
    assert!(interrupted > 5, "only {interrupted} commits were interrupted");
}

#[test]
fn a_full_disk_refuses_the_commit_and_all_later_ones() {
    let mut bench = OnDisk::new();
    let store = bench.store.as_mut().unwrap();
    let pages: i64 = store.connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    store.connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap();
    let mut large = new_swarm(1, []);
    large.swarms[0].submission = "x".repeat(100_000);
    let error = store.commit(&cluster(), &large).unwrap_err();
    assert!(matches!(&error, CommitError::Store(StoreError::Database(text)) if text.contains("full")), "{error:?}");
    let error = store.commit(&cluster(), &new_swarm(2, [])).unwrap_err();
    assert!(matches!(&error, CommitError::Store(_)), "{error:?}");
    assert_eq!(store.swarms(&cluster()).unwrap(), []);
    bench.reopen();
    bench.store().commit(&cluster(), &large).unwrap();
}
