//! Records and events to check a store with.
use manta_types::event::{AttemptStateName, Failure, GlobalWrite, NextIteration, Outputs, Published, Timings};
use manta_types::{
    AttemptId, Blob, Cause, ClusterId, Digest, Event, NodeDuty, NodeId, NodeName, Subject, SwarmEvent, SwarmId,
};
use uuid::Uuid;

use crate::{KeyRecord, ModuleRecord, NewSwarm, NodeRecord, Transaction};

/// The first cluster.
pub fn cluster() -> ClusterId {
    ClusterId::default()
}

/// A swarm's id.
pub fn swarm_id(number: u128) -> SwarmId {
    SwarmId::from_uuid(Uuid::from_u128(number))
}

/// An attempt's id.
pub fn attempt_id(number: u128) -> AttemptId {
    AttemptId::from_uuid(Uuid::from_u128(number))
}

/// The name `node-<number>`.
pub fn node_name(number: u128) -> NodeName {
    NodeName::new(&format!("node-{number}")).expect("a letter, a hyphen and digits are a name")
}

/// A made-up blob.
pub fn blob(number: u8) -> Blob {
    Blob { digest: Digest::from_bytes([number; 32]), size: u64::from(number) << 33 }
}

/// A value published under a name.
pub fn published(name: &str, number: u8) -> Published {
    Published { name: name.to_owned(), blob: blob(number) }
}

/// A swarm without an idempotency key.
pub fn swarm(number: u128) -> NewSwarm {
    let (id, name) = (swarm_id(number), format!("swarm {number}"));
    NewSwarm { id, name, submission: r#"{"name":"é"}"#.to_owned(), idempotency: None, created_ms: 1_700_000_000_000 }
}

/// The record of a key, for a call that changed that swarm.
pub fn key(key: &str, request: &str, swarm: Option<u128>) -> KeyRecord {
    let (key, request, answer) = (key.to_owned(), request.to_owned(), r#"{"state":"stopped"}"#.to_owned());
    KeyRecord { key, request, swarm: swarm.map(swarm_id), answer, used_ms: 1_700_000_000_000 }
}

/// A version of a module, of which nothing is said.
pub fn module(name: &str, version: &str, number: u8) -> ModuleRecord {
    ModuleRecord {
        name: name.to_owned(),
        version: version.to_owned(),
        bundle: blob(number),
        about: "{}".to_owned(),
        publisher: "ada".to_owned(),
        published_ms: 5,
        yanked: None,
        deprecated: None,
        tags: vec![],
        signatures: vec![],
    }
}

/// A node as it describes itself.
pub fn node(number: u128, description: &str) -> NodeRecord {
    let (id, name) = (NodeId::from_uuid(Uuid::from_u128(number)), node_name(number));
    let (description, joined_ms) = (description.to_owned(), 1_700_000_000_000);
    NodeRecord { id, name, description, joined_ms, duty: NodeDuty::Active, drain_left_ms: None }
}

/// Events of a swarm, numbered from `first`.
pub fn events(swarm: SwarmId, first: u64, all: impl IntoIterator<Item = SwarmEvent>) -> Transaction {
    let (subject, cause) =
        (Subject { iteration: Some(1), ..Subject::default() }, Cause::User { action: "submit".into() });
    let event = |(seq, what)| {
        let (subject, cause) = (subject.clone(), cause.clone());
        Event { swarm, seq, time_ms: 1_700_000_000_000 + seq, subject, cause, what }
    };
    Transaction { events: (first..).zip(all).map(event).collect(), ..Transaction::default() }
}

/// A new swarm with its first events.
pub fn new_swarm(number: u128, all: impl IntoIterator<Item = SwarmEvent>) -> Transaction {
    Transaction { swarms: vec![swarm(number)], ..events(swarm_id(number), 1, all) }
}

/// An offer of slot `slot` of task 0 in iteration 0, to `node-<slot>`.
pub fn offered(attempt: u128, slot: usize, epoch: u32) -> SwarmEvent {
    offered_in(0, attempt, slot, epoch)
}

/// An offer of slot `slot` of task 0, to `node-<slot>`.
pub fn offered_in(iteration: u32, attempt: u128, slot: usize, epoch: u32) -> SwarmEvent {
    let (attempt, node, reason) = (attempt_id(attempt), node_name(slot as u128), "first".to_owned());
    SwarmEvent::AttemptOffered { attempt, iteration, task: 0, slot, node, epoch, reason, version: None }
}

/// The acceptance of an attempt with results.
pub fn accepted(attempt: u128, results: &[Published]) -> SwarmEvent {
    let outputs = Outputs { results: results.to_vec(), ..Outputs::default() };
    SwarmEvent::AttemptAccepted { attempt: attempt_id(attempt), outputs, timings: Timings::default() }
}

/// The failure of an attempt with results.
pub fn failed(attempt: u128, results: &[Published]) -> SwarmEvent {
    let failure = Failure {
        class: "user_error".to_owned(),
        message: "ValueError: \u{0}\"\u{1f41f}".to_owned(),
        traceback: "Traceback\n".to_owned(),
        location: Some("worker.py:12".to_owned()),
        log_tail: vec!["last".to_owned()],
        ..Failure::default()
    };
    let (attempt, timings) = (attempt_id(attempt), Timings { run_ms: 7, ..Timings::default() });
    SwarmEvent::AttemptFailed { attempt, failure, results: results.to_vec(), timings, retry_after_ms: Some(500) }
}

/// The closing of task 0 with global writes.
pub fn closed(globals: Vec<GlobalWrite>) -> SwarmEvent {
    let (succeeded, reason, conflicts) = (true, "all accepted".to_owned(), vec!["rate: node-1, node-2".to_owned()]);
    SwarmEvent::TaskRunClosed { iteration: 0, task: 0, succeeded, reason, globals, conflicts }
}

/// A global's new value.
pub fn write(name: &str, revision: u64, number: u8) -> GlobalWrite {
    GlobalWrite { name: name.to_owned(), blob: blob(number), revision, writer: node_name(u128::from(number)) }
}

/// A history with every kind of event in it.
pub fn every_kind() -> Vec<SwarmEvent> {
    let reason = || "because".to_owned();
    let next = NextIteration { task: Some("worker".to_owned()), nodes: Some(vec![node_name(1)]) };
    let (iteration, task) = (0, 0);
    let progressed = |state| SwarmEvent::AttemptProgressed { attempt: attempt_id(1), state };
    vec![
        SwarmEvent::SwarmAdmitted,
        SwarmEvent::IterationStarted { iteration, requests: vec![next.clone()] },
        SwarmEvent::TaskRunReady { iteration, task },
        SwarmEvent::TaskRunStarted {
            iteration,
            task,
            nodes: vec![node_name(0)],
            movable: true,
            globals_revision: 0,
            renewed: vec![],
        },
        offered(1, 0, 1),
        progressed(AttemptStateName::Preparing),
        progressed(AttemptStateName::Running),
        progressed(AttemptStateName::Silent),
        progressed(AttemptStateName::Uploading),
        failed(1, &[published("half", 1)]),
        offered(2, 0, 2),
        SwarmEvent::AttemptLost { attempt: attempt_id(2), reason: reason() },
        offered(3, 0, 3),
        accepted(3, &[published("weights", 2), published("loss", 3)]),
        offered(4, 1, 1),
        SwarmEvent::AttemptCancelled { attempt: attempt_id(4), reason: reason() },
        SwarmEvent::NodeExcused { iteration, task, slot: 1, node: node_name(1), reason: reason() },
        closed(vec![write("rate", 1, 4)]),
        SwarmEvent::TaskRunSkipped { iteration, task: 1, reason: reason() },
        SwarmEvent::IterationFinished { iteration, elapsed_ms: 12 },
        SwarmEvent::SwarmFailed { reason: reason(), attempt: Some(attempt_id(1)) },
    ]
}
