//! A history becomes one tree of spans, complete and within its swarm, whatever nodes say that they measured.
use std::collections::BTreeMap;
use std::sync::Arc;

use manta_api::SwarmSubmission;
use manta_types::event::{Failure, Outputs, Timings};
use manta_types::{AttemptId, Cause, Event, NodeName, Subject, SwarmEvent, SwarmId};
use serde_json::Value;

use super::spans::Spans;

fn id() -> SwarmId {
    SwarmId::from_uuid(uuid::Uuid::from_u128(0xabc))
}

fn attempt(number: u128) -> AttemptId {
    AttemptId::from_uuid(uuid::Uuid::from_u128(number))
}

fn spans() -> Spans {
    let submission = r#"{"name":"s","modules":[{"bundle":"B","name":"w","version":"1.0.0","image":"latest"}],
        "tasks":[{"alias":"train","module":0,"method":"all"}]}"#;
    let submission: SwarmSubmission = serde_json::from_str(&submission.replace('B', &"0".repeat(64))).unwrap();
    Spans::new(id(), Arc::new(submission.check().unwrap()))
}

fn offered(number: u128) -> SwarmEvent {
    SwarmEvent::AttemptOffered {
        attempt: attempt(number),
        iteration: 0,
        task: 0,
        slot: 0,
        node: NodeName::new("a").unwrap(),
        epoch: 1,
        reason: "first".to_owned(),
        version: None,
    }
}

fn take(spans: &mut Spans, history: Vec<(u64, SwarmEvent)>) -> Vec<Value> {
    for (seq, (time_ms, what)) in (1..).zip(history) {
        let (subject, cause) = (Subject::default(), Cause::Time);
        spans.take(&Event { swarm: id(), seq, time_ms, subject, cause, what });
    }
    spans.give(usize::MAX)
}

fn time(span: &Value, key: &str) -> u128 {
    span[key].as_str().unwrap().parse().unwrap()
}

#[test]
fn every_span_has_a_parent_that_holds_it_and_phases_add_up() {
    let timings =
        Timings { queue_ms: 10, prepare_ms: 20, start_ms: 5, run_ms: 100, upload_ms: u64::MAX, ..Timings::default() };
    let failure = Failure { class: "user_error".to_owned(), message: "no".to_owned(), ..Failure::default() };
    let history = vec![
        (1000, SwarmEvent::SwarmAdmitted),
        (1001, SwarmEvent::IterationStarted { iteration: 0, requests: Vec::new() }),
        (1002, SwarmEvent::TaskRunReady { iteration: 0, task: 0 }),
        (1010, offered(1)),
        (
            1050,
            SwarmEvent::AttemptFailed {
                attempt: attempt(1),
                failure,
                results: Vec::new(),
                timings: Timings::default(),
                retry_after_ms: None,
            },
        ),
        (1060, offered(2)),
        (1300, SwarmEvent::AttemptAccepted { attempt: attempt(2), outputs: Outputs::default(), timings }),
        (
            1301,
            SwarmEvent::TaskRunClosed {
                iteration: 0,
                task: 0,
                succeeded: true,
                reason: "all".to_owned(),
                globals: Vec::new(),
                conflicts: Vec::new(),
            },
        ),
        (1302, SwarmEvent::IterationFinished { iteration: 0, elapsed_ms: 301 }),
        (1303, SwarmEvent::SwarmSucceeded { reason: "done".to_owned() }),
    ];
    let found = take(&mut spans(), history);
    let by_id: BTreeMap<&str, &Value> = found.iter().map(|span| (span["spanId"].as_str().unwrap(), span)).collect();
    assert_eq!(by_id.len(), found.len(), "ids are unique");
    assert_eq!(found.len(), 3 + 2 + 10);
    let roots: Vec<_> = found.iter().filter(|span| span["parentSpanId"] == "").collect();
    assert_eq!(roots.len(), 1);
    assert_eq!((&roots[0]["name"], &roots[0]["status"]["code"]), (&"swarm s".into(), &1.into()));
    for span in found.iter().filter(|span| span["parentSpanId"] != "") {
        let parent = by_id[span["parentSpanId"].as_str().unwrap()];
        let (start, end) = ("startTimeUnixNano", "endTimeUnixNano");
        assert!(time(span, start) >= time(parent, start) && time(span, end) <= time(parent, end), "{span} in {parent}");
        assert!(time(span, start) <= time(span, end));
        assert_eq!(span["traceId"], "00000000000000000000000000000abc");
    }
    let run = found.iter().rfind(|span| span["name"] == "run").unwrap();
    assert_eq!(time(run, "endTimeUnixNano") - time(run, "startTimeUnixNano"), 100_000_000);
    let failed = found.iter().find(|span| span["status"]["code"] == 2).unwrap();
    assert_eq!((&failed["name"], &failed["status"]["message"]), (&"attempt on a".into(), &"user_error: no".into()));
}

#[test]
fn what_a_swarms_end_cut_off_ends_with_it_and_the_same_history_gives_the_same_trace() {
    let history = || {
        vec![
            (5, SwarmEvent::SwarmAdmitted),
            (6, SwarmEvent::IterationStarted { iteration: 0, requests: Vec::new() }),
            (7, SwarmEvent::TaskRunReady { iteration: 0, task: 0 }),
            (8, offered(1)),
            (9, SwarmEvent::SwarmStopped { reason: "asked".to_owned() }),
        ]
    };
    let found = take(&mut spans(), history());
    assert_eq!(found.len(), 4);
    assert!(found.iter().all(|span| span["endTimeUnixNano"] == "9000000"), "{found:?}");
    assert_eq!(found, take(&mut spans(), history()));
}

#[test]
fn spans_are_given_away_in_parts() {
    let mut spans = spans();
    let history = vec![(5, SwarmEvent::SwarmAdmitted), (9, SwarmEvent::SwarmStopped { reason: "asked".to_owned() })];
    assert!(spans.give(3).is_empty());
    assert_eq!(take(&mut spans, history).len(), 1);
    assert_eq!(spans.ended(), 0);
}
