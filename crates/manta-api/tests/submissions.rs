//! Any JSON at all as a submission: never a panic, and never taken if it breaks a rule.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]
use std::collections::BTreeSet;

use manta_api::SwarmSubmission;
use manta_types::{Method, NodeLimit, Quorum, SwarmSpec, limits};
use proptest::prelude::*;
use serde_json::{Value, json};

fn good() -> Value {
    let module = |name: &str| {
        json!({"bundle": "0".repeat(64), "name": name, "version": "1.0.0", "image": "manta_light:numpy",
               "datasets": ["digits"], "resources": {"cpu": 1.5, "memory_bytes": 1 << 30, "pids": 64}})
    };
    json!({
        "name": "FedAvg", "max_iteration": 3, "priority": 5, "attempts_max": 8,
        "globals": {"rate": {"digest": "1".repeat(64), "size": 3}},
        "modules": [module("worker"), module("aggregator")],
        "tasks": [
            {"alias": "worker", "module": 0, "after": [], "method": "all", "maximum": {"kind": "share", "share": 0.5},
             "excepted": ["node-9"], "labels": {"site": "zurich"}, "retries": 2, "timeout_s": 60.0,
             "quorum": {"kind": "count", "count": 1}, "on_disconnect": "stop:30"},
            {"alias": "aggregator", "module": 1, "after": [0], "method": "any", "maximum": {"kind": "count", "count": 1},
             "specified": ["node-1", "node-2"], "deadline_s": 600.0, "on_failure": "continue"},
            {"alias": "report", "module": 1, "after": [0, 1], "method": "tag-update", "maximum": {"kind": "unlimited"}},
        ],
    })
}

/// A key as JSON pointers write it.
fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// Every place of a document, as pointers.
fn places(value: &Value, here: &str, found: &mut Vec<String>) {
    let below: Vec<(String, &Value)> = match value {
        Value::Object(members) => {
            members.iter().map(|(key, value)| (format!("{here}/{}", escaped(key)), value)).collect()
        }
        Value::Array(entries) => {
            entries.iter().enumerate().map(|(at, value)| (format!("{here}/{at}"), value)).collect()
        }
        _ => Vec::new(),
    };
    for (place, value) in below {
        found.push(place.clone());
        places(value, &place, found);
    }
}

/// Values that have broken something somewhere, and any other.
fn hostile() -> impl Strategy<Value = Value> {
    let texts = [
        "",
        " ",
        ".",
        "..",
        "../x",
        "a/b",
        "a\\b",
        "a\0b",
        "a\u{202e}b",
        "a\u{61c}b",
        "e\u{301}",
        "WORKER",
        "worker",
        "tag-",
        "tag-\0",
        "stop:",
        "stop:1e999",
        "stop:nan",
        "all",
        "any",
        "node-1",
        "Node",
        "continue",
        "\u{feff}a",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-3..6i64).prop_map(Value::from),
        any::<f64>().prop_map(|number| serde_json::Number::from_f64(number).map_or(Value::Null, Value::from)),
        prop::sample::select(vec![0.0, -0.0, 1.0, 1.0 + f64::EPSILON, f64::MIN_POSITIVE, 1e308, -1e308])
            .prop_map(Value::from),
        prop::sample::select(texts.to_vec()).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        (250..260usize).prop_map(|count| Value::from("x".repeat(count))),
        prop::sample::select(vec!["share", "count", "unlimited"])
            .prop_map(|kind| json!({"kind": kind, "share": 0.3, "count": 2})),
        (0..9u32).prop_map(|count| json!({"kind": "count", "count": count})),
        any::<f64>().prop_map(|share| json!({"kind": "share", "share": share})),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..4).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

/// What is done to one place of a document.
#[derive(Debug, Clone)]
enum Change {
    Put(Value),
    Remove,
    Double,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![6 => hostile().prop_map(Change::Put), 1 => Just(Change::Remove), 1 => Just(Change::Double)]
}

fn apply(document: &mut Value, at: usize, change: Change) {
    let mut found = Vec::new();
    places(document, "", &mut found);
    let Some(place) = found.get(at % found.len().max(1)) else { return };
    match change {
        Change::Put(value) => *document.pointer_mut(place).unwrap() = value,
        Change::Remove => {
            let (parent, key) = place.rsplit_once('/').unwrap();
            match document.pointer_mut(parent).unwrap() {
                Value::Object(members) => drop(members.remove(&key.replace("~1", "/").replace("~0", "~"))),
                Value::Array(entries) => drop(entries.remove(key.parse().unwrap())),
                _ => unreachable!("only objects and lists hold places"),
            }
        }
        Change::Double => {
            let (parent, key) = place.rsplit_once('/').unwrap();
            if let Some(Value::Array(entries)) = document.pointer_mut(parent) {
                entries.push(entries[key.parse::<usize>().unwrap()].clone());
            }
        }
    }
}

/// The rules again, written as they are read: what a checked swarm may be.
fn assert_keeps_the_rules(spec: &SwarmSpec) {
    let plain = |name: &str| {
        assert!(!name.is_empty() && name.len() <= 255 && name.trim() == name, "{name:?}");
        let hidden = |c: char| c.is_control() || ['\u{202e}', '\u{61c}', '\u{feff}', '\u{200b}'].contains(&c);
        assert!(!name.contains(hidden), "{name:?}");
    };
    plain(&spec.name);
    spec.globals.keys().for_each(|name| plain(name));
    assert!((1..=limits::TASKS_PER_SWARM_MAX).contains(&spec.tasks.len()));
    assert!((-100..=100).contains(&spec.priority));
    assert!(spec.iterations_max.is_none_or(|count| count.get() <= limits::ITERATIONS_MAX));
    let aliases: BTreeSet<_> = spec.tasks.iter().map(|task| task.alias.to_lowercase()).collect();
    assert_eq!(aliases.len(), spec.tasks.len(), "aliases are apart");
    for (index, task) in spec.tasks.iter().enumerate() {
        plain(&task.alias);
        plain(&task.module);
        assert!(!task.alias.contains(['/', '\\']) && task.alias != "." && task.alias != "..");
        task.datasets.iter().for_each(|name| assert!(!name.contains('/') && name != ".."));
        task.labels.iter().for_each(|(key, value)| [key, value].into_iter().for_each(|text| plain(text)));
        assert!(task.after.iter().all(|before| *before < index), "every edge leads back");
        assert!(task.after.windows(2).all(|pair| pair[0] < pair[1]), "each once");
        if let Method::Tag(tag) = &task.method {
            plain(tag);
        }
        let share = |share: f64| assert!(share > 0.0 && share <= 1.0, "{share}");
        if let NodeLimit::Share(part) = task.maximum {
            share(part);
        }
        match (task.policy.quorum, task.maximum) {
            (Quorum::Share(part), _) => share(part),
            (Quorum::Count(quorum), NodeLimit::Count(most)) => assert!(quorum <= most),
            _ => {}
        }
        let spans = [task.policy.timeout, task.policy.deadline];
        assert!(spans.into_iter().flatten().all(|span| span.as_millis() >= 1 && span.as_secs() <= 31_536_000));
        assert!(task.policy.retries <= limits::RETRIES_MAX);
        assert!(task.resources.cpu.is_none_or(|cpu| cpu > 0.0 && cpu <= 4096.0));
    }
}

/// What the engine takes for granted, whatever the rules of admission are.
fn assert_can_run(spec: &SwarmSpec) {
    assert!(!spec.tasks.is_empty());
    for (index, task) in spec.tasks.iter().enumerate() {
        assert!(task.after.iter().all(|before| *before < index), "every edge leads back");
        assert!(task.after.windows(2).all(|pair| pair[0] < pair[1]), "each once");
        let quorum = match task.policy.quorum {
            Quorum::Share(part) => Some(part),
            _ => None,
        };
        let maximum = match task.maximum {
            NodeLimit::Share(part) => Some(part),
            _ => None,
        };
        assert!(quorum.into_iter().chain(maximum).all(|part| part > 0.0 && part <= 1.0), "{task:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn no_submission_panics_and_none_that_breaks_a_rule_is_taken(
        changes in prop::collection::vec((any::<usize>(), change()), 0..5)
    ) {
        let mut document = good();
        changes.into_iter().for_each(|(at, change)| apply(&mut document, at, change));
        if let Ok(submission) = serde_json::from_value::<SwarmSubmission>(document) {
            match submission.check() {
                Ok(spec) => {
                    assert_keeps_the_rules(&spec);
                    let stored: SwarmSubmission = serde_json::from_str(&serde_json::to_string(&submission).unwrap()).unwrap();
                    prop_assert_eq!(stored.spec().unwrap(), spec, "what is stored is read back as it was checked");
                }
                Err(refusal) => {
                    let sentence = refusal.to_string();
                    prop_assert!(sentence.chars().count() <= 500, "{}", sentence);
                    if let Ok(spec) = submission.spec() {
                        assert_can_run(&spec);
                    }
                    prop_assert!(!sentence.contains(|c: char| c.is_control() || c == '\u{202e}'), "{:?}", sentence);
                }
            }
        }
    }

    #[test]
    fn no_text_panics(text in any::<String>(), cut in any::<prop::sample::Index>()) {
        let whole = good().to_string();
        let cut = (0..=cut.index(whole.len())).rev().find(|at| whole.is_char_boundary(*at)).unwrap_or(0);
        for body in [text.clone(), whole[..cut].to_owned(), format!("{}{text}{}", &whole[..cut], &whole[cut..])] {
            if let Ok(submission) = serde_json::from_str::<SwarmSubmission>(&body)
                && let Ok(spec) = submission.check()
            {
                assert_keeps_the_rules(&spec);
            }
        }
    }
}

#[test]
fn the_submission_that_is_changed_is_good() {
    let spec = serde_json::from_value::<SwarmSubmission>(good()).unwrap().check().unwrap();
    assert_keeps_the_rules(&spec);
}

/// A document whose value at that place is another.
fn changed(place: &str, value: Value) -> SwarmSubmission {
    let mut document = good();
    let (parent, key) = place.rsplit_once('/').unwrap();
    match document.pointer_mut(parent).unwrap() {
        Value::Object(members) => drop(members.insert(key.to_owned(), value)),
        Value::Array(entries) => entries[key.parse::<usize>().unwrap()] = value,
        _ => unreachable!("only objects and lists hold places"),
    }
    serde_json::from_value(document).unwrap()
}

#[test]
fn what_was_admitted_is_read_though_a_rule_refuses_it_now() {
    let many = |count: usize| (0..count).map(|index| format!("node-{index}")).collect::<Vec<_>>();
    for (place, value) in [
        ("/name", json!(" two\nlines ")),
        ("/priority", json!(limits::PRIORITY_MAX + 1)),
        ("/max_iteration", json!(u32::MAX)),
        ("/modules/0/name", json!("a/b")),
        ("/modules/0/image", json!("")),
        ("/modules/0/datasets", json!(["../x"])),
        ("/modules/0/resources", json!({"cpu": 0.0, "memory_bytes": 1, "pids": 0, "tmp_bytes": 0})),
        ("/tasks/0/alias", json!("..")),
        ("/tasks/1/alias", json!("Worker")),
        ("/tasks/0/labels", json!({"": " "})),
        ("/tasks/0/excepted", json!(many(limits::NODES_PER_TASK_MAX + 1))),
        ("/tasks/0/retries", json!(limits::RETRIES_MAX + 1)),
        ("/tasks/0/timeout_s", json!(0.0)),
        ("/tasks/0/deadline_s", json!(1e12)),
        ("/tasks/0/on_disconnect", json!("stop:0")),
        ("/tasks/1/specified", json!([])),
        ("/tasks/1/quorum", json!({"kind": "count", "count": 3})),
        ("/tasks/2/method", json!("tag-")),
    ] {
        let stored = changed(place, value);
        assert!(stored.check().is_err(), "{place} is not admitted");
        assert_can_run(&stored.spec().unwrap_or_else(|error| panic!("{place} is read: {error}")));
    }
}
