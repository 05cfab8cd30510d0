//! Few label values whatever comes, and every sample under a name that was declared.
use std::collections::BTreeSet;

use manta_engine::{Engine, Now as Time};
use manta_types::event::{Failure, Outputs};
use manta_types::{AttemptId, Cause, NodeName, Subject, SwarmId, Timestamp, Usage};

use super::names::OTHER;
use super::*;
use crate::orchestrator::{Registry as Modules, View};

fn event(node: &str, what: SwarmEvent) -> Event {
    let subject = Subject {
        iteration: Some(0),
        task: Some(0),
        node: Some(NodeName::new(node).unwrap()),
        attempt: Some(attempt()),
    };
    let swarm = SwarmId::from_uuid(uuid::Uuid::from_u128(1));
    Event { swarm, seq: 1, time_ms: 1, subject, cause: Cause::Time, what }
}

fn attempt() -> AttemptId {
    AttemptId::from_uuid(uuid::Uuid::from_u128(2))
}

fn timings(run_ms: u64) -> Timings {
    let usage = Some(Usage { cpu_ms: 1500, ..Usage::default() });
    Timings { queue_ms: 20, run_ms, usage, ..Timings::default() }
}

/// Those of one cluster as an answer; each of its samples is told as the cluster's, and here without saying so.
fn text(metrics: &Metrics) -> String {
    let told = together(7, &[of_cluster(metrics, &ClusterId::default())]).unwrap();
    for line in told.lines().filter(|line| !line.starts_with(['#']) && !line.starts_with("manta_build")) {
        assert!(line.contains(r#"cluster="default""#) || line.starts_with("manta_storage_free"), "{line}");
    }
    told.replace(r#"{cluster="default"}"#, "").replace(r#"cluster="default","#, "").replace(r#",cluster="default""#, "")
}

fn of_cluster(metrics: &Metrics, cluster: &ClusterId) -> String {
    let now = Time { monotonic: Timestamp::from_ms(1), wall_ms: 1 };
    let (engine, nodes, modules) = (Engine::new(1), std::collections::BTreeMap::new(), Modules::default());
    let node_events = &std::collections::BTreeMap::new();
    let view = View { engine: &engine, nodes: &nodes, node_events, modules: &modules, now };
    metrics.text(cluster, &Now::of(&view)).unwrap()
}

fn value(text: &str, sample: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no `{sample}` in:\n{text}")).parse().unwrap()
}

#[test]
fn what_is_durable_is_counted_under_the_names_that_are_promised() {
    let metrics = Metrics::default();
    let accepted =
        SwarmEvent::AttemptAccepted { attempt: attempt(), outputs: Outputs::default(), timings: timings(2000) };
    let failed = SwarmEvent::AttemptFailed {
        attempt: attempt(),
        failure: Failure { class: "of a later release".to_owned(), ..Failure::default() },
        results: Vec::new(),
        timings: timings(4000),
        retry_after_ms: None,
    };
    let finished = SwarmEvent::IterationFinished { iteration: 0, elapsed_ms: 7000 };
    let events = [event("a", accepted), event("a", failed), event("a", finished)];
    metrics.committed(Duration::from_millis(3), &events, &Engine::new(1));
    metrics.transferred(Direction::In, 10);
    metrics.transferred(Direction::Out, 4);
    metrics.resumed();
    let text = text(&metrics);
    for (sample, wanted) in [
        (r#"manta_task_duration_seconds_sum{module="other",outcome="succeeded"}"#, 2.0),
        (r#"manta_task_duration_seconds_sum{module="other",outcome="other"}"#, 4.0),
        (r#"manta_attempts_total{outcome="other"}"#, 1.0),
        ("manta_task_queue_seconds_count", 2.0),
        ("manta_round_duration_seconds_sum", 7.0),
        ("manta_commit_duration_seconds_count", 1.0),
        (r#"manta_node_cpu_seconds_total{node="a"}"#, 3.0),
        (r#"manta_transfer_bytes_total{direction="in"}"#, 10.0),
        (r#"manta_transfer_bytes_total{direction="out"}"#, 4.0),
        ("manta_transfer_retries_total", 1.0),
        (r#"manta_nodes{state="online"}"#, 0.0),
        (r#"manta_tasks{state="running"}"#, 0.0),
    ] {
        assert!((value(&text, sample) - wanted).abs() < 1e-9, "{sample} is not {wanted}:\n{text}");
    }
    assert!(text.contains("manta_build_info{version="), "{text}");
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn no_sample_is_told_twice_and_each_family_once() {
    let other = ClusterId::new("other").unwrap();
    let (here, there) = (Metrics::default(), Metrics::of(&other));
    let text = together(7, &[of_cluster(&here, &ClusterId::default()), of_cluster(&there, &other)]).unwrap();
    for cluster in ["default", "other"] {
        assert!(text.contains(&format!(r#"manta_nodes{{cluster="{cluster}",state="online"}} 0"#)), "{text}");
    }
    let (mut samples, mut families) = (BTreeSet::new(), BTreeSet::new());
    for line in text.lines() {
        match line.strip_prefix("# TYPE ") {
            Some(family) => assert!(families.insert(family), "{family}"),
            None if line.starts_with('#') => {}
            None => assert!(samples.insert(line.rsplit_once(' ').unwrap().0), "{line}"),
        }
    }
}

#[test]
fn names_beyond_the_limit_are_counted_together() {
    let names = Names::new(2);
    assert_eq!(["a", "b", "c", "a", ""].map(|name| names.of(name)), ["a", "b", OTHER, "a", OTHER]);
}

#[test]
fn a_decision_is_told_by_its_kind_and_never_with_a_name() {
    let offered = |reason: &str| SwarmEvent::AttemptOffered {
        attempt: attempt(),
        iteration: 0,
        task: 0,
        slot: 0,
        node: NodeName::new("a").unwrap(),
        epoch: 1,
        reason: reason.to_owned(),
        version: None,
    };
    let told = ["first", "again after user_error", "again: node-3 was lost"].map(|reason| decision(&offered(reason)));
    assert_eq!(told, [Some("attempt_offered"), Some("attempt_retried"), Some("attempt_moved")]);
}
