//! How SQLite finds rows: what a request asks or changes reads no table from end to end, however much is stored.
use std::cell::RefCell;
use std::collections::BTreeSet;

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use rusqlite::trace::{TraceEvent, TraceEventCodes};

use super::OnDisk;
use crate::conformance::fault::workload;
use crate::conformance::sample::{attempt_id, cluster, key, module, swarm_id};
use crate::{ClusterChange, ClusterRecord, SqliteStore, StateStore, Transaction};

thread_local! {
    /// What was run, each once.
    static RUN: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
}

/// What is run meanwhile, without what triggers run: the plan of a statement shows that.
fn run_by(store: &mut SqliteStore, work: impl FnOnce(&mut SqliteStore)) -> BTreeSet<String> {
    RUN.take();
    let note = |event: TraceEvent<'_>| {
        if let TraceEvent::Stmt(_, sql) = event
            && !sql.starts_with("--")
        {
            RUN.with_borrow_mut(|run| run.insert(sql.to_owned()));
        }
    };
    store.connection.trace_v2(TraceEventCodes::SQLITE_TRACE_STMT, Some(note));
    work(store);
    store.connection.trace_v2(TraceEventCodes::empty(), None);
    RUN.take()
}

/// The tables that a statement, or a trigger of it, reads from end to end.
fn scans(db: &Connection, sql: &str) -> Vec<String> {
    let Ok(mut plan) = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")) else { panic!("no plan of: {sql}") };
    let nothing = vec![rusqlite::types::Null; plan.parameter_count()];
    let steps = plan.query_map(rusqlite::params_from_iter(nothing), |row| row.get::<_, String>("detail")).unwrap();
    let scanned = steps.filter_map(|step| Some(step.unwrap().strip_prefix("SCAN ")?.to_owned()));
    scanned.filter(|what| what != "CONSTANT ROW" && !what.starts_with('(')).collect()
}

/// Transactions of every kind, those of the registry among them.
fn changes() -> Vec<Transaction> {
    let said = |change: fn(&mut crate::ModuleRecord)| {
        let mut module = module("w", "1.0.0", 7);
        change(&mut module);
        Transaction { modules: vec![module], ..Transaction::default() }
    };
    let mut published = said(|_| {});
    published.modules.push(module("w", "1.1.0", 8));
    published.keys = vec![key("publish", "POST publish", None)];
    let other = ClusterRecord { name: "other".parse().unwrap(), created_ms: 1, is_removing: false };
    let clusters = vec![ClusterChange::Put(other.clone()), ClusterChange::Gone(other.name)];
    let clusters = Transaction { clusters, ..Transaction::default() };
    let forgotten = Transaction { keys_before_ms: 5, ..Transaction::default() };
    let of_registry = [
        published,
        said(|module| module.yanked = Some("wrong".to_owned())),
        said(|module| module.deprecated = Some("use another".to_owned())),
        said(|module| module.tags = vec!["stable".to_owned()]),
        said(|module| module.signatures = vec!["{}".to_owned()]),
    ];
    workload().into_iter().chain(of_registry).chain([forgotten, clusters]).collect()
}

#[test]
fn neither_changes_nor_questions_read_a_table_from_end_to_end() {
    let mut bench = OnDisk::new();
    let store = bench.store.as_mut().unwrap();
    let run = run_by(store, |store| {
        for change in changes() {
            store.commit(&cluster(), &change).unwrap();
        }
        store.idempotency(&cluster(), "publish").unwrap().unwrap();
        store.attempt(&cluster(), attempt_id(3)).unwrap().unwrap();
        assert!(!store.events(&cluster(), swarm_id(1), 2, 2).unwrap().is_empty());
        assert!(!store.results(&cluster(), swarm_id(1)).unwrap().is_empty());
        assert!(!store.globals(&cluster(), swarm_id(1)).unwrap().is_empty());
    });
    let touched = |table: &str| run.iter().any(|sql| sql.contains(&format!("INTO {table} (")));
    for table in ["swarms", "idempotency_keys", "nodes", "events", "attempts", "slots", "results", "globals", "modules"]
    {
        assert!(touched(table), "nothing was written to `{table}`: {run:#?}");
    }
    store.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRIGGER_EQP, true).unwrap();
    let is_planned = |sql: &&String| !["BEGIN", "COMMIT", "PRAGMA"].iter().any(|verb| sql.starts_with(verb));
    for sql in run.iter().filter(is_planned) {
        let scanned = scans(&store.connection, sql);
        assert!(scanned.is_empty(), "{scanned:?} of: {sql}");
    }
    let all = scans(&store.connection, "SELECT name FROM modules NOT INDEXED");
    assert_eq!(all, ["modules"], "a plan shows what is read from end to end");
}
