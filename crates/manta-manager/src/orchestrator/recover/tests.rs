//! What a start makes of what is stored.
use std::sync::Arc;

use manta_api::SwarmSubmission;
use manta_engine::{Engine, Input, Now, Submit, SwarmRun};
use manta_store::{Fault, Faulty, MemoryStore, NewSwarm, StateStore, Transaction};
use manta_types::{ClusterId, SwarmId, SwarmState, Timestamp, limits};
use tokio_util::sync::CancellationToken;

use super::super::ended::Remembering;
use super::super::tests::HandClock;
use super::super::{Handle, Orchestrator, View};
use super::{Recovered, recover};
use crate::clock::Clock;
use crate::threads::Owned;

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

#[test]
fn a_swarm_that_ended_is_no_part_of_the_start_and_is_known_again_as_it_was() {
    let mut disk = MemoryStore::default();
    let stop = |swarm| vec![Input::Stop { swarm, reason: "enough".to_owned() }];
    let ended: Vec<_> = (0..600).map(|_| store(&mut disk, &submission(0), stop)).collect();
    let open = store(&mut disk, &submission(0), |_| Vec::new());
    let mut recovered = start(&mut disk);
    assert_eq!(recovered.engine.swarms().map(SwarmRun::id).collect::<Vec<_>>(), [open]);
    let mut pages = 0;
    while !recovered.ended.is_empty() {
        for swarm in recovered.ended.read(&mut disk, &ClusterId::default()) {
            recovered.engine.remember_swarm(swarm.unwrap());
        }
        pages += 1;
    }
    assert!(pages > 1, "others have their turn in between");
    assert_eq!(recovered.engine.swarms().count(), ended.len() + 1);
    for id in ended {
        let swarm = recovered.engine.swarm(id).unwrap();
        let events = disk.events(&ClusterId::default(), id, 0, usize::MAX).unwrap();
        assert_eq!((swarm.state(), swarm.reason()), (SwarmState::Stopped, "enough"));
        assert_eq!((swarm.seq(), swarm.finished_ms()), (events.len() as u64, Some(NOW.wall_ms)));
    }
}

#[test]
fn a_long_history_is_read_in_pages() {
    let mut disk = MemoryStore::default();
    let back_and_forth = |swarm| {
        let reason = String::new;
        let turns = (0..3000)
            .flat_map(|_| [Input::Pause { swarm, reason: reason() }, Input::Resume { swarm, reason: reason() }]);
        turns.chain([Input::Stop { swarm, reason: reason() }]).collect()
    };
    let id = store(&mut disk, &submission(0), back_and_forth);
    let mut ended = start(&mut disk).ended;
    let cluster = ClusterId::default();
    assert!(ended.read(&mut disk, &cluster).is_empty() && !ended.is_empty(), "a page is not all of it");
    let mut read = Vec::new();
    while !ended.is_empty() {
        read.extend(ended.read(&mut disk, &cluster));
    }
    let swarm = read.pop().unwrap().unwrap();
    assert!(read.is_empty() && swarm.id() == id && swarm.is_over() && swarm.seq() > 6000);
}

/// A service loop over what is stored, whose reads begin to count once it has started.
fn serve(mut disk: MemoryStore, fails: u64) -> (Orchestrator, Handle, Remembering, CancellationToken) {
    let (recovered, cluster, stop) = (start(&mut disk), ClusterId::default(), CancellationToken::new());
    let disk: Box<dyn StateStore> = Box::new(Faulty::new(disk, fails, Fault::Before));
    let (disk, _) = Owned::start("test-state", disk).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(HandClock::default());
    let (service, handle, remembering) =
        Orchestrator::new(recovered, disk, cluster, clock, Arc::default(), stop.clone());
    (service, handle, remembering, stop)
}

#[tokio::test]
async fn who_asks_about_all_swarms_waits_until_those_that_ended_are_known() {
    let mut disk = MemoryStore::default();
    let stop = |swarm| vec![Input::Stop { swarm, reason: "enough".to_owned() }];
    let (ended, open) = (store(&mut disk, &submission(0), stop), store(&mut disk, &submission(0), |_| Vec::new()));
    let (service, handle, remembering, stop) = serve(disk, 0);
    let test = async {
        let all = handle.ask_of_all(ids);
        tokio::pin!(all);
        assert!(futures_util::poll!(&mut all).is_pending());
        assert_eq!(handle.ask(ids).await.unwrap(), [open], "the manager is at work");
        remembering.serve().await.unwrap();
        assert_eq!(all.await.unwrap(), [ended, open]);
        assert!(*handle.watches().subscribe(ended).borrow() > 0, "its events can be followed to the last");
        stop.cancel();
    };
    tokio::join!(service.serve(), test).0.unwrap();
}

#[tokio::test]
async fn a_swarm_that_ended_and_cannot_be_read_is_named_and_stops_nothing() {
    let mut disk = MemoryStore::default();
    let stop = |swarm| vec![Input::Stop { swarm, reason: "enough".to_owned() }];
    let ids_stored = [stop, stop].map(|inputs| store(&mut disk, &submission(0), inputs));
    let open = store(&mut disk, &submission(0), |_| Vec::new());
    let (service, handle, remembering, stop) = serve(disk, 1);
    let test = async {
        remembering.serve().await.unwrap();
        let refusal = handle.ask_of_all(ids).await.unwrap_err().to_string();
        assert!(refusal.starts_with("the stored history of a swarm that has ended cannot be read: "), "{refusal}");
        assert_eq!(handle.ask(ids).await.unwrap(), [ids_stored[0], open], "the newer one of the two was read first");
        stop.cancel();
    };
    tokio::join!(service.serve(), test).0.unwrap();
}

fn ids(view: &View<'_>) -> Vec<SwarmId> {
    view.engine.swarms().map(SwarmRun::id).collect()
}
