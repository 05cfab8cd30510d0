//! Logs are numbered, filtered and kept.
use std::fs;

use manta_api::LogLine;
use serde_json::json;
use tempfile::TempDir;

use super::{LogFilter, LogStore};
use crate::conformance::sample::{attempt_id, cluster, swarm_id};

fn line(number: u64, level: &str) -> LogLine {
    LogLine {
        seq: 0,
        time_ms: number,
        attempt: attempt_id(u128::from(number % 2)),
        task: format!("task {}", number % 3),
        node: format!("node-{}", number % 4),
        iteration: u32::try_from(number % 5).unwrap(),
        level: level.to_owned(),
        source: if number.is_multiple_of(6) { "stderr" } else { "log" }.to_owned(),
        text: format!("line {number} \u{1f41f}"),
        data: (number == 0).then(|| json!({"values": {"loss": 0.25}, "step": 3})),
    }
}

const LEVELS: [&str; 5] = ["debug", "info", "warning", "error", "weird"];

fn filled() -> (LogStore, Vec<LogLine>) {
    let mut store = LogStore::in_memory().unwrap();
    let mut lines: Vec<_> = (0..60).map(|number| line(number, LEVELS[(number / 12) as usize])).collect();
    let (first, second) = lines.split_at_mut(7);
    store.append(&cluster(), swarm_id(1), first).unwrap();
    store.append(&cluster(), swarm_id(2), &mut [line(99, "info")]).unwrap();
    store.append(&cluster(), swarm_id(1), second).unwrap();
    (store, lines)
}

#[test]
fn the_logs_of_a_cluster_go_and_those_of_others_stay() {
    let (mut store, lines) = filled();
    let other = manta_types::ClusterId::new("other").unwrap();
    store.append(&other, swarm_id(1), &mut [line(1, "info"), line(2, "info")]).unwrap();
    store.forget(&other).unwrap();
    let read = |store: &mut LogStore, of| store.query(of, swarm_id(1), 0, &LogFilter::default(), usize::MAX).unwrap();
    assert_eq!((read(&mut store, &other), read(&mut store, &cluster())), (vec![], lines));
    let mut again = [line(1, "info")];
    store.append(&other, swarm_id(1), &mut again).unwrap();
    assert_eq!(again[0].seq, 1, "nor is it known how far they went");
}

#[test]
fn lines_are_numbered_from_one_per_swarm_and_read_back() {
    let (mut store, lines) = filled();
    assert!(lines.iter().map(|line| line.seq).eq(1..=60));
    let all = store.query(&cluster(), swarm_id(1), 0, &LogFilter::default(), usize::MAX).unwrap();
    assert_eq!(all, lines);
    let page = store.query(&cluster(), swarm_id(1), 57, &LogFilter::default(), 2).unwrap();
    assert_eq!(page, lines[57..59]);
    assert_eq!(store.query(&cluster(), swarm_id(2), 0, &LogFilter::default(), 9).unwrap()[0].seq, 1);
    assert_eq!(store.query(&cluster(), swarm_id(3), 0, &LogFilter::default(), 9).unwrap(), []);
}

#[test]
fn a_time_that_cannot_be_takes_no_other_line_along() {
    let (mut store, lines) = filled();
    let mut more = [line(60, "info"), LogLine { time_ms: u64::MAX, ..line(61, "info") }, line(62, "info")];
    store.append(&cluster(), swarm_id(1), &mut more).unwrap();
    let read = store.query(&cluster(), swarm_id(1), lines.len() as u64, &LogFilter::default(), 9).unwrap();
    assert_eq!(read, more);
    assert_eq!(read[1].time_ms, i64::MAX.cast_unsigned());
}

#[test]
fn behind_the_end_there_is_nothing_however_far() {
    let (mut store, _) = filled();
    for after in [60, 61, i64::MAX.cast_unsigned(), i64::MAX.cast_unsigned() + 1, u64::MAX] {
        assert_eq!(store.query(&cluster(), swarm_id(1), after, &LogFilter::default(), 9).unwrap(), [], "{after}");
    }
}

#[test]
fn each_filter_narrows_and_all_of_them_hold_together() {
    let (mut store, lines) = filled();
    let mut check = |filter: LogFilter, wanted: &dyn Fn(&LogLine) -> bool| {
        let expected: Vec<_> = lines.iter().filter(|line| wanted(line)).cloned().collect();
        assert!(!expected.is_empty(), "{filter:?} filters everything");
        assert_eq!(store.query(&cluster(), swarm_id(1), 0, &filter, 1000).unwrap(), expected, "{filter:?}");
    };
    let none = LogFilter::default;
    check(LogFilter { task: Some("task 1".to_owned()), ..none() }, &|line| line.task == "task 1");
    check(LogFilter { node: Some("node-3".to_owned()), ..none() }, &|line| line.node == "node-3");
    check(LogFilter { iteration: Some(4), ..none() }, &|line| line.iteration == 4);
    check(LogFilter { attempt: Some(attempt_id(1)), ..none() }, &|line| line.attempt == attempt_id(1));
    check(LogFilter { source: Some("stderr".to_owned()), ..none() }, &|line| line.source == "stderr");
    check(LogFilter { level: Some("debug".to_owned()), ..none() }, &|_| true);
    check(LogFilter { level: Some("info".to_owned()), ..none() }, &|line| line.level != "debug");
    check(LogFilter { level: Some("warning".to_owned()), ..none() }, &|line| {
        matches!(&*line.level, "warning" | "error")
    });
    check(LogFilter { level: Some("error".to_owned()), ..none() }, &|line| line.level == "error");
    let both = LogFilter { task: Some("task 1".to_owned()), level: Some("error".to_owned()), ..none() };
    check(both, &|line| line.task == "task 1" && line.level == "error");
}

#[test]
fn numbers_go_on_after_a_restart() {
    let dir = TempDir::new().unwrap();
    for expected in [1, 3] {
        let mut store = LogStore::open(dir.path()).unwrap();
        let mut lines = [line(0, "info"), line(1, "info")];
        store.append(&cluster(), swarm_id(1), &mut lines).unwrap();
        assert_eq!([lines[0].seq, lines[1].seq], [expected, expected + 1]);
    }
}

#[test]
fn a_file_of_state_is_not_taken_for_logs() {
    let dir = TempDir::new().unwrap();
    drop(crate::SqliteStore::open(dir.path()).unwrap());
    fs::rename(dir.path().join("state.db"), dir.path().join("logs.db")).unwrap();
    let error = LogStore::open(dir.path()).unwrap_err().to_string();
    assert!(error.ends_with("logs.db` cannot be read: it is empty or was not made by Manta"), "{error}");
}

#[test]
fn lines_of_the_first_format_are_read() {
    let dir = TempDir::new().unwrap();
    let connection = rusqlite::Connection::open(dir.path().join("logs.db")).unwrap();
    connection.execute_batch(include_str!("../sqlite/schema/logs-1.sql")).unwrap();
    let old =
        "INSERT INTO log_lines VALUES ('default', ?1, 1, 5, ?2, 'w', 'node-1', 0, 'info', 20, 'log', 'hello', NULL)";
    connection.execute(old, (swarm_id(1).bytes(), attempt_id(1).bytes())).unwrap();
    connection.pragma_update(None, "application_id", i32::from_be_bytes(*b"MnLg")).unwrap();
    connection.pragma_update(None, "user_version", 1).unwrap();
    drop(connection);
    let mut store = LogStore::open(dir.path()).unwrap();
    store.append(&cluster(), swarm_id(1), &mut [line(3, "info")]).unwrap();
    let found = store.query(&cluster(), swarm_id(1), 0, &LogFilter::default(), 9).unwrap();
    let texts: Vec<_> = found.iter().map(|line| (line.seq, line.text.as_str())).collect();
    assert_eq!(texts, [(1, "hello"), (2, "line 3 \u{1f41f}")]);
    assert!(dir.path().join("logs.db.format-1").exists());
}

#[test]
fn a_damaged_line_is_named_in_its_place_and_the_others_are_served() {
    let (mut store, lines) = filled();
    let change = "UPDATE log_lines SET text = 'forged', task = 'task 9' WHERE swarm_id = ?1 AND seq = 7";
    assert_eq!(store.connection.execute(change, [swarm_id(1).bytes()]).unwrap(), 1);
    let all = store.query(&cluster(), swarm_id(1), 0, &LogFilter::default(), 1000).unwrap();
    assert_eq!((&all[..6], &all[7..]), (&lines[..6], &lines[7..]));
    assert_eq!((all[6].seq, all[6].text.as_str()), (7, "the line 7 is damaged and not shown"));
    assert_eq!((all[6].level.as_str(), all[6].source.as_str(), all[6].task.as_str()), ("error", "platform", ""));
    let filter = LogFilter { task: Some("task 1".to_owned()), ..LogFilter::default() };
    let found = store.query(&cluster(), swarm_id(1), 0, &filter, 1000).unwrap();
    assert_eq!(found.iter().filter(|line| line.source == "platform").count(), 1, "whatever is asked for");
    assert_eq!(found.len(), lines.iter().filter(|line| line.task == "task 1").count() + 1);
}

#[test]
fn lines_on_both_sides_of_a_damaged_page_are_served() {
    let dir = TempDir::new().unwrap();
    let mut store = LogStore::open(dir.path()).unwrap();
    let mut lines: Vec<_> = (0..2000).map(|number| line(number, "info")).collect();
    store.append(&cluster(), swarm_id(1), &mut lines).unwrap();
    store.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    drop(store);
    let path = dir.path().join("logs.db");
    let mut file = fs::read(&path).unwrap();
    let page = file.len() / 4096 / 2;
    file[page * 4096..(page + 1) * 4096].fill(0xA5);
    fs::write(&path, file).unwrap();

    let mut store = LogStore::open(dir.path()).unwrap();
    let mut found: Vec<LogLine> = Vec::new();
    loop {
        let after = found.last().map_or(0, |line| line.seq);
        let page = store.query(&cluster(), swarm_id(1), after, &LogFilter::default(), 500).unwrap();
        assert!(page.iter().all(|line| line.seq > after));
        if page.is_empty() {
            break;
        }
        found.extend(page);
    }
    let (whole, damaged): (Vec<_>, Vec<_>) = found.into_iter().partition(|line| line.source != "platform");
    assert_eq!(damaged.len(), 1, "{damaged:?}");
    assert!(
        damaged[0].text.starts_with("the lines ") && damaged[0].text.ends_with("are damaged and not shown"),
        "{damaged:?}"
    );
    let first_lost = lines.iter().position(|line| !whole.contains(line)).unwrap();
    let lost = lines.len() - whole.len();
    assert!((1..200).contains(&lost), "{lost}");
    assert_eq!(damaged[0].seq, lines[first_lost + lost - 1].seq, "it stands for all of them");
    assert_eq!(whole, [&lines[..first_lost], &lines[first_lost + lost..]].concat());
}

#[test]
fn the_log_of_a_purged_swarm_is_gone_and_others_stay() {
    let (mut store, _) = filled();
    store.purge(&cluster(), swarm_id(1)).unwrap();
    let count = |store: &mut LogStore, number| {
        store.query(&cluster(), swarm_id(number), 0, &LogFilter::default(), 99).unwrap().len()
    };
    assert_eq!((count(&mut store, 1), count(&mut store, 2)), (0, 1));
}

/// What a client sees that reads page by page.
fn pages(store: &mut LogStore, filter: &LogFilter, limit: usize) -> Vec<LogLine> {
    let mut found: Vec<LogLine> = Vec::new();
    loop {
        let after = found.last().map_or(0, |line| line.seq);
        let page = store.query(&cluster(), swarm_id(1), after, filter, limit).unwrap();
        assert!(page.len() <= limit && page.iter().all(|line| line.seq > after));
        if page.is_empty() {
            return found;
        }
        found.extend(page);
    }
}

#[test]
fn lines_that_are_missing_are_named_wherever_they_were() {
    for (gone, text) in [
        ("seq = 1", "the line 1 is damaged and not shown"),
        ("seq BETWEEN 20 AND 22", "the lines 20 to 22 are damaged and not shown"),
        ("seq > 58", "the lines 59 to 60 are damaged and not shown"),
        ("seq > 0", "the lines 1 to 60 are damaged and not shown"),
    ] {
        let (mut store, mut lines) = filled();
        let delete = format!("DELETE FROM log_lines WHERE swarm_id = ?1 AND {gone}");
        let count = store.connection.execute(&delete, [swarm_id(1).bytes()]).unwrap();
        let filter = LogFilter { task: Some("task 1".to_owned()), ..LogFilter::default() };
        for (filter, limit) in [(LogFilter::default(), 1000), (LogFilter::default(), 1), (filter, 3)] {
            let (named, whole): (Vec<_>, Vec<_>) =
                pages(&mut store, &filter, limit).into_iter().partition(|line| line.source == "platform");
            assert_eq!(named.iter().map(|line| &*line.text).collect::<Vec<_>>(), [text], "{filter:?}");
            assert!(whole.iter().all(|line| lines.contains(line)));
            assert!(filter.task.is_some() || whole.len() + count == lines.len());
        }
        let more = &mut [line(61, "info")];
        store.append(&cluster(), swarm_id(1), more).unwrap();
        assert_eq!(more[0].seq, 61, "who read on after the end takes no other line for one that was lost");
        lines.extend_from_slice(more);
        assert_eq!(pages(&mut store, &LogFilter::default(), 9).last(), lines.last());
    }
}

#[test]
fn a_check_names_the_log_and_what_it_lacks() {
    let whole = TempDir::new().unwrap();
    let mut store = LogStore::open(whole.path()).unwrap();
    for number in 1..3 {
        let mut lines: Vec<_> = (0..9).map(|number| line(number, "info")).collect();
        store.append(&cluster(), swarm_id(number), &mut lines).unwrap();
    }
    drop(store);
    let check = |change: &str| -> Vec<String> {
        let dir = TempDir::new().unwrap();
        LogStore::copy(whole.path(), dir.path()).unwrap();
        let store = LogStore::open(dir.path()).unwrap();
        store.connection.execute_batch(change).unwrap();
        LogStore::check(dir.path()).unwrap().iter().map(ToString::to_string).collect()
    };
    let log = format!("the log of swarm `{}` cannot be read: ", swarm_id(1));
    let other = swarm_id(2).bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(check(""), [""; 0]);
    for (change, problem) in [
        ("DELETE FROM log_lines WHERE seq = 4", "1 of 9 lines are damaged or missing, the first is line 4"),
        ("DELETE FROM log_lines WHERE seq > 7", "2 of 9 lines are damaged or missing, the first is line 8"),
        (
            "UPDATE log_lines SET text = 'x' WHERE seq IN (2, 9)",
            "2 of 9 lines are damaged or missing, the first is line 2",
        ),
        ("DELETE FROM log_lines", "9 of 9 lines are damaged or missing, the first is line 1"),
        ("DELETE FROM log_ends", "how far it goes is damaged, its last whole line is 9"),
        ("UPDATE log_ends SET seq = 8", "how far it goes is damaged, its last whole line is 9"),
    ] {
        let glue = if change.contains("WHERE") { "AND" } else { "WHERE" };
        assert_eq!(check(&format!("{change} {glue} swarm_id <> x'{other}'")), [format!("{log}{problem}")], "{change}");
    }
    assert_eq!(LogStore::check(&whole.path().join("none")).unwrap().len(), 0);
}
