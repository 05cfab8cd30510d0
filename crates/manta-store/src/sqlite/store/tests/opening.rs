//! Who may open a data directory, and which files are refused.
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rusqlite::Connection;
use tempfile::TempDir;

use super::OnDisk;
use crate::conformance::fault::workload;
use crate::conformance::sample::cluster;
use crate::conformance::state::{Bench, everything};
use crate::sqlite::SqliteStore;
use crate::{StateStore, StoreError};

#[test]
fn a_second_manager_is_turned_away_with_the_number_of_the_first() {
    let mut bench = OnDisk::new();
    let error = SqliteStore::open(bench.dir.path()).unwrap_err();
    let (own, lock) = (std::process::id(), bench.dir.path().join("manager.lock"));
    let expected = format!("`{}` is held by a running manager (process {own})", lock.display());
    assert_eq!(error.to_string(), expected);
    assert!(matches!(error, StoreError::Locked { pid, .. } if pid == Some(own)));
    bench.reopen();
}

#[test]
fn a_lock_file_whose_manager_died_is_taken_over() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("manager.lock"), "4194305, a number longer than ours\n").unwrap();
    let _store = SqliteStore::open(dir.path()).unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("manager.lock")).unwrap(), format!("{}\n", std::process::id()));
}

#[test]
fn every_file_is_private() {
    let outer = TempDir::new().unwrap();
    let dir = outer.path().join("a/data");
    let mut store = SqliteStore::open(&dir).unwrap();
    store.commit(&cluster(), &workload()[0]).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    let mut names: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["manager.lock", "state.db", "state.db-shm", "state.db-wal"]);
    for name in names {
        assert_eq!(mode(&dir.join(&name)), 0o600, "{name:?}");
    }
}

/// Spoils a sound `state.db` and gives what opening it says; the spoilt file must stay as it is.
fn open_after(spoil: impl FnOnce(&Path)) -> String {
    let mut bench = OnDisk::new();
    for transaction in workload() {
        bench.store().commit(&cluster(), &transaction).unwrap();
    }
    bench.store = None;
    let path = bench.dir.path().join("state.db");
    spoil(&path);
    let before = fs::read(&path).ok();
    let error = SqliteStore::open(bench.dir.path()).unwrap_err().to_string();
    assert_eq!(fs::read(&path).ok(), before, "a refused file was changed");
    error.replace(&path.display().to_string(), "state.db")
}

fn set_pragma(name: &'static str, value: i64) -> impl FnOnce(&Path) {
    move |path| Connection::open(path).unwrap().pragma_update(None, name, value).unwrap()
}

#[test]
fn a_newer_format_is_refused() {
    for found in [-1, 0, 8, 9] {
        let error = open_after(set_pragma("user_version", found));
        let ours = format!("this manager (manta {}) reads formats up to 7", manta_api::version::PRODUCT);
        assert_eq!(error, format!("`state.db` has format {found}, {ours}"));
    }
}

#[test]
fn a_file_whose_tables_are_described_otherwise_is_refused() {
    for (from, to, what) in [
        ("revision   INTEGER", "revisiom   INTEGER", "table globals"),
        ("AFTER INSERT ON nodes", "AFTER DELETE ON nodes", "trigger nodes_more"),
    ] {
        let error = open_after(|path| {
            let mut bytes = fs::read(path).unwrap();
            let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
            bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
            fs::write(path, bytes).unwrap();
        });
        assert!(
            error.contains("`state.db`") && error.contains(what) && error.contains("not as it was made"),
            "{error}"
        );
    }
    let error = open_after(|path| {
        let mut bytes = fs::read(path).unwrap();
        // In the text of a table, where SQLite does not look. Older copies of that text may lie about.
        let comment = b"-- JSON, with its kind";
        let places: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(comment)).collect();
        places.into_iter().for_each(|at| bytes[at + 3] |= 0x80);
        fs::write(path, bytes).unwrap();
    });
    assert!(error.starts_with("`state.db` cannot be read: invalid utf-8"), "{error}");
}

#[test]
fn a_foreign_file_is_refused() {
    let foreign = "`state.db` cannot be read: it is empty or was not made by Manta";
    assert_eq!(open_after(set_pragma("application_id", 7)), foreign);
    assert_eq!(open_after(|path| fs::write(path, "").unwrap()), foreign);
    let error = open_after(|path| fs::write(path, "no database at all, ".repeat(1000)).unwrap());
    assert_eq!(error, "`state.db` cannot be read: file is not a database");
}

#[test]
fn a_truncated_file_is_refused() {
    let cut = |bytes: u64| {
        move |path: &Path| {
            let file = fs::OpenOptions::new().write(true).open(path).unwrap();
            file.set_len(file.metadata().unwrap().len() - bytes).unwrap();
        }
    };
    for bytes in [1, 4096, 20_000] {
        let error = open_after(cut(bytes));
        assert!(error.starts_with("`state.db` cannot be read: "), "without {bytes} bytes: {error}");
    }
}

#[test]
fn a_log_without_its_database_is_refused() {
    let error = open_after(|path| {
        fs::remove_file(path).unwrap();
        fs::write(path.with_extension("db-wal"), "frames").unwrap();
    });
    assert_eq!(error, "`state.db` cannot be read: its write-ahead log is there, the database itself is missing");
}

#[test]
fn a_creation_that_was_cut_off_is_begun_anew() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("state.db.new"), "half a database").unwrap();
    let mut store = SqliteStore::open(dir.path()).unwrap();
    assert_eq!(store.swarms(&cluster()).unwrap(), []);
}

#[test]
fn a_row_that_changed_is_named_and_never_served() {
    let swarm = workload()[1].swarms[0].id;
    let attempt = crate::conformance::sample::attempt_id(2);
    let changed = "cannot be read: it is not what was written";
    for (change, expected) in [
        (
            "UPDATE events SET event = replace(event, 'half', 'hale') WHERE seq = 3",
            format!("event 3 of swarm `{swarm}` {changed}"),
        ),
        (
            "UPDATE events SET cause = '{\"by\":\"time\"}' WHERE seq = 1",
            format!("event 1 of swarm `{swarm}` {changed}"),
        ),
        ("UPDATE events SET time_ms = time_ms + 1 WHERE seq = 8", format!("event 8 of swarm `{swarm}` {changed}")),
        ("DELETE FROM events WHERE seq = 2", format!("event 2 of swarm `{swarm}` {changed}")),
        ("DELETE FROM events WHERE seq = 8", format!("event 8 of swarm `{swarm}` cannot be read: it is missing")),
        ("UPDATE swarms SET seq = 7", format!("swarm `{swarm}` {changed}")),
        ("UPDATE swarms SET submission = '{}'", format!("swarm `{swarm}` {changed}")),
        ("UPDATE nodes SET duty = 'drained' WHERE name = 'node-1'", format!("node `node-1` {changed}")),
        ("UPDATE nodes SET cluster_id = 'other' WHERE name = 'node-1'", format!("node `node-1` {changed}")),
        ("UPDATE swarms SET cluster_id = 'other'", format!("swarm `{swarm}` {changed}")),
        ("UPDATE results SET accepted = 1 WHERE name = 'half'", format!("a result of swarm `{swarm}` {changed}")),
        ("UPDATE globals SET revision = 9", format!("a global of swarm `{swarm}` {changed}")),
        (
            "UPDATE attempts SET node = 'node-7' WHERE slot = 1",
            format!("attempt `{attempt}` of swarm `{swarm}` {changed}"),
        ),
        (
            "UPDATE slots SET accepted = 0 WHERE slot = 1",
            format!("slot 1 of task 0 in iteration 0 of swarm `{swarm}` {changed}"),
        ),
        (
            "UPDATE idempotency_keys SET answer = 'x' WHERE key = 'stop'",
            format!("the idempotency key `stop` {changed}"),
        ),
        ("UPDATE generations SET since_ms = 1", format!("the cluster's generation {changed}")),
    ] {
        let mut bench = OnDisk::new();
        for transaction in &workload()[..5] {
            bench.store().commit(&cluster(), transaction).unwrap();
        }
        let store = bench.store.as_mut().unwrap();
        store.connection.pragma_update(None, "foreign_keys", false).unwrap();
        store.connection.execute(change, []).unwrap();
        let read = everything(store, &cluster()).map(|_| ());
        let read = read.and_then(|()| store.attempt(&cluster(), attempt).map(|_| ()));
        let read = read.and_then(|()| store.idempotency(&cluster(), "stop").map(|_| ()));
        let error = read.and_then(|()| store.generation()).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{change}: {error:?}");
        assert_eq!(error.to_string(), expected, "{change}");
    }
}

#[test]
fn an_event_of_an_unknown_kind_is_named() {
    let mut bench = OnDisk::new();
    bench.store().commit(&cluster(), &workload()[1]).unwrap();
    let swarm = workload()[1].swarms[0].id;
    let store = bench.store.as_mut().unwrap();
    // What a later version would write, with all its checksums right.
    let text = "{\"kind\":\"unheard_of\"}";
    let (before, columns) =
        ("(SELECT checksum FROM events WHERE seq = 1)", "cluster_id, swarm_id, seq, kind, time_ms, subject, cause");
    let rewrite = format!(
        "UPDATE events SET event = '{text}', checksum = checksum_of('events', {before}, {columns}, '{text}') WHERE seq = 2;
         UPDATE swarms SET tail = (SELECT checksum FROM events WHERE seq = 2);
         UPDATE swarms SET head = checksum_of('heads', cluster_id, swarm_id, seq, ended_ms, tail)"
    );
    store.connection.execute_batch(&rewrite).unwrap();
    let error = store.events(&cluster(), swarm, 0, 9).unwrap_err().to_string();
    assert!(error.starts_with(&format!("event 2 of swarm `{swarm}` cannot be read: unknown variant")), "{error}");
}

#[test]
fn the_library_has_no_known_fault_in_its_log() {
    assert!(rusqlite::version_number() >= 3_051_003, "{}", rusqlite::version());
}
