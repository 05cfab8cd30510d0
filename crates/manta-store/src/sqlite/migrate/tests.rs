//! Files that older formats wrote, brought up to date: whole, in place, and never half.
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use manta_types::NodeDuty;
use rusqlite::Connection;
use tempfile::TempDir;

use super::bring_up;
use crate::conformance::fault::workload;
use crate::conformance::sample::{accepted, cluster, every_kind, new_swarm, node, swarm_id};
use crate::conformance::state::everything;
use crate::sqlite::database;
use crate::sqlite::store::STATE;
use crate::{CommitError, SqliteStore, StateStore};

/// What each format wrote, as SQL.
const SAMPLES: [(i64, &str); 6] = [
    (1, include_str!("../samples/format-1.sql")),
    (2, include_str!("../samples/format-2.sql")),
    (3, include_str!("../samples/format-3.sql")),
    (4, include_str!("../samples/format-4.sql")),
    (5, include_str!("../samples/format-5.sql")),
    (6, include_str!("../samples/format-6.sql")),
];

fn old_file(sample: &str) -> TempDir {
    let dir = TempDir::new().unwrap();
    let connection = Connection::open(dir.path().join("state.db")).unwrap();
    connection.execute_batch(sample).unwrap();
    dir
}

/// Everything of the samples is there: the four first transactions of the workload, and every kind of event.
fn assert_complete(dir: &Path, found: i64) {
    let mut store = SqliteStore::open(dir).unwrap();
    let all = everything(&mut store, &cluster()).unwrap();
    let histories: Vec<Vec<_>> =
        all.histories.iter().map(|events| events.iter().map(|event| event.what.kind()).collect()).collect();
    let submitted: Vec<_> =
        workload()[1..4].iter().flat_map(|all| &all.events).map(|event| event.what.kind()).collect();
    let kinds: Vec<_> = every_kind().iter().map(manta_types::SwarmEvent::kind).collect();
    assert_eq!(histories, [submitted, kinds], "from format {found}");
    let last = all.histories[1].last().unwrap().time_ms;
    let ends: Vec<_> = all.swarms.iter().map(|swarm| swarm.ended_ms).collect();
    assert_eq!(ends, [None, Some(last)]);
    assert_eq!((all.results[0].len(), all.results[1].len()), (5, 3));
    assert_eq!((all.globals[0].len(), all.globals[1].len()), (1, 1));
    assert_eq!(all.nodes, [node(0, "{}"), node(1, "{}")]);
    assert!(all.nodes.iter().all(|node| node.duty == NodeDuty::Active));
    let key = store.idempotency(&cluster(), "key").unwrap().unwrap();
    assert_eq!((key.request.as_str(), key.swarm), ("request", Some(swarm_id(1))));
    assert!(store.generation().unwrap() > 0);
    let error = store.commit(&cluster(), &workload()[1]).unwrap_err();
    assert!(matches!(error, CommitError::KeyUsed { same_request: true, .. }), "{error:?}");
    let mut again = new_swarm(9, []);
    again.events = crate::conformance::sample::events(swarm_id(1), 8, [accepted(2, &[])]).events;
    let error = store.commit(&cluster(), &again).unwrap_err();
    assert!(matches!(error, CommitError::Fenced { .. }), "the fence was lost: {error:?}");
}

#[test]
fn what_every_older_format_wrote_is_read() {
    for (found, sample) in SAMPLES {
        let dir = old_file(sample);
        assert_complete(dir.path(), found);
        assert_complete(dir.path(), STATE.version);
        let modules = SqliteStore::open(dir.path()).unwrap().modules(&cluster()).unwrap();
        let told: Vec<_> =
            modules.iter().map(|one| (one.version.as_str(), one.yanked.is_some(), one.signatures.len())).collect();
        let expected: &[_] = if found < 5 { &[] } else { &[("1.0.0", true, 0), ("1.1.0", false, 0)] };
        assert_eq!(told, expected, "from format {found}");
        let kept = Connection::open(dir.path().join(format!("state.db.format-{found}"))).unwrap();
        let version: i64 = kept.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        let events: i64 = kept.query_row("SELECT count(*) FROM events", [], |row| row.get(0)).unwrap();
        assert_eq!((version, events), (found, 28), "the file as it was is kept");
    }
}

#[test]
fn a_file_brought_up_to_date_has_the_tables_of_a_new_one() {
    let columns = |dir: &Path| -> BTreeSet<String> {
        let connection = Connection::open(dir.join("state.db")).unwrap();
        let mut select = connection
            .prepare(
                "SELECT t.name || '.' || c.name || ' ' || c.type || ' ' || c.[notnull] || ' ' || c.pk \
                 FROM pragma_table_list t JOIN pragma_table_info(t.name) c WHERE t.type = 'table' AND t.schema = 'main'",
            )
            .unwrap();
        select.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    let new = TempDir::new().unwrap();
    drop(SqliteStore::open(new.path()).unwrap());
    for (_, sample) in SAMPLES {
        let dir = old_file(sample);
        drop(SqliteStore::open(dir.path()).unwrap());
        assert_eq!(columns(dir.path()), columns(new.path()));
    }
}

#[test]
fn a_migration_that_is_cut_off_anywhere_leaves_one_format_and_goes_on() {
    let mut formats = BTreeSet::new();
    for (found, sample) in SAMPLES {
        let mut cuts = 0;
        for steps in (1..).step_by(97) {
            let dir = old_file(sample);
            let path = dir.path().join("state.db");
            let mut connection = database::open_raw(&path).unwrap();
            connection.progress_handler(steps, Some(|| true)).unwrap();
            let outcome = bring_up(&mut connection, &path, &STATE, found);
            connection.progress_handler(0, None::<fn() -> bool>).unwrap();
            // What a killed process leaves: the files as they are, with nothing closed.
            let after = TempDir::new().unwrap();
            for file in fs::read_dir(dir.path()).unwrap() {
                let file = file.unwrap();
                fs::copy(file.path(), after.path().join(file.file_name())).unwrap();
            }
            let left = Connection::open(after.path().join("state.db")).unwrap();
            let version: i64 = left.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
            drop(left);
            formats.insert(version);
            assert_complete(after.path(), version);
            cuts += 1;
            if outcome.is_ok() {
                break;
            }
        }
        assert!(cuts > 2, "only {cuts} cuts of format {found}");
    }
    assert_eq!(formats, BTreeSet::from([1, 2, 3, 4, 5, 6, 7]), "every format was left once");
}
