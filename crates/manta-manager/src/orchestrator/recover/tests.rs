//! What a start makes of what is stored.
use std::sync::Arc;

use manta_api::SwarmSubmission;
use manta_engine::{Engine, Input, Now, Submit};
use manta_store::{MemoryStore, NewSwarm, StateStore, Transaction};
use manta_types::{ClusterId, SwarmId, SwarmState, Timestamp, limits};

use super::{Recovered, recover};

const NOW: Now = Now { monotonic: Timestamp::from_ms(1000), wall_ms: 1_700_000_000_000 };

/// A swarm as an earlier release took it, with what was decided about it so far.
fn store(store: &mut MemoryStore, submission: &str, inputs: impl FnOnce(SwarmId) -> Vec<Input>) -> SwarmId {
    let id = SwarmId::from_uuid(uuid::Uuid::now_v7());
    let parsed: SwarmSubmission = serde_json::from_str(submission).unwrap();
    let spec = Arc::new(parsed.spec().unwrap());
    let mut engine = Engine::new(1);
    let mut events = engine.step(NOW, Input::Submit(Submit { id, spec, continues: None })).events;
    for input in inputs(id) {
        events.extend(engine.step(NOW, input).events);
    }
    let name = parsed.name;
    let new = NewSwarm { id, name, submission: submission.to_owned(), idempotency: None, created_ms: 1 };
    store.commit(&ClusterId::default(), &Transaction { swarms: vec![new], events, ..Transaction::default() }).unwrap();
    id
}

fn start(store: &mut MemoryStore) -> Recovered {
    recover(store, &ClusterId::default(), NOW, Engine::new(2)).unwrap()
}

fn submission(retries: u32) -> String {
    let text = r#"{"name":"s","modules":[{"bundle":"B","name":"w","version":"1.0.0","image":"latest"}],
        "tasks":[{"alias":"w","module":0,"method":"all","retries":R}]}"#;
    text.replace('B', &"0".repeat(64)).replace('R', &retries.to_string())
}

#[test]
fn a_swarm_that_would_not_be_admitted_today_goes_on() {
    let mut disk = MemoryStore::default();
    let old = submission(limits::RETRIES_MAX + 1);
    serde_json::from_str::<SwarmSubmission>(&old).unwrap().check().unwrap_err();
    let id = store(&mut disk, &old, |_| Vec::new());
    let engine = start(&mut disk).engine;
    let swarm = engine.swarm(id).unwrap();
    assert_eq!(swarm.spec().tasks[0].policy.retries, limits::RETRIES_MAX + 1);
    assert_eq!(swarm.state(), SwarmState::Running);
}
