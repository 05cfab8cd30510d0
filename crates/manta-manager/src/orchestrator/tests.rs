//! The service loop alone: what it commits together, what it never acknowledges, what a pause costs.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use manta_api::SwarmSubmission;
use manta_engine::{Engine, Now};
use manta_store::{CommitError, Fault, Faulty, MemoryStore, NewSwarm, StateStore};
use manta_types::{ClusterId, NodeId, NodeName, NodeState, SwarmId, SwarmSpec, Timestamp, limits};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::message::Connect;
use super::publish::session_channel;
use super::registry::Registry;
use super::{Change, Ended, Handle, Joining, NodeProfile, Orchestrator, Recovered, SubmitOutcome};
use crate::ManagerError;
use crate::clock::Clock;
use crate::threads::Owned;

/// A clock that goes on when it is told to.
#[derive(Default)]
pub(super) struct HandClock(AtomicU64);

impl HandClock {
    fn advance(&self, by: Duration) {
        self.0.fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Now {
        let ms = self.0.load(Ordering::SeqCst);
        Now { monotonic: Timestamp::from_ms(ms), wall_ms: 1_000_000 + ms }
    }
}

struct World {
    service: Orchestrator,
    handle: Handle,
    clock: Arc<HandClock>,
    stop: CancellationToken,
}

fn world(store: impl StateStore + 'static) -> World {
    let (clock, stop) = (Arc::new(HandClock::default()), CancellationToken::new());
    let (store, _) = Owned::start("test-state", Box::new(store) as Box<dyn StateStore>).unwrap();
    let recovered = Recovered {
        engine: Engine::new(1),
        nodes: BTreeMap::new(),
        modules: Registry::default(),
        ended: Ended::default(),
    };
    let parts = (Arc::clone(&clock) as Arc<dyn Clock>, stop.clone());
    let (service, handle, _) =
        Orchestrator::new(recovered, store, ClusterId::default(), parts.0, Arc::default(), parts.1);
    World { service, handle, clock, stop }
}

fn name() -> NodeName {
    NodeName::new("node-1").unwrap()
}

async fn connect(handle: &Handle) -> Result<(), ManagerError> {
    let profile = NodeProfile { slots: 1, cpu_count: 1.0, images: vec!["latest".to_owned()], ..NodeProfile::default() };
    let (session, _queue) = session_channel();
    let (reply, welcomed) = oneshot::channel();
    let fresh = NodeId::from_uuid(uuid::Uuid::now_v7());
    let joining =
        Joining { name: name(), id: None, fresh, profile, held: Vec::new(), greeting: None, session: session.id };
    handle.connect(Connect { joining, session, reply }).await?;
    welcomed.await.map_err(|_| ManagerError::Stopping)?.expect("the name is free");
    Ok(())
}

async fn submit(handle: &Handle, key: usize) -> Result<SubmitOutcome, ManagerError> {
    let submission = r#"{"name":"s","modules":[{"bundle":"B","name":"w","version":"1.0.0","image":"latest"}],
        "tasks":[{"alias":"w","module":0,"method":"all"}]}"#;
    let submission = submission.replace('B', &"0".repeat(64));
    let parsed: SwarmSubmission = serde_json::from_str(&submission).unwrap();
    let spec: Arc<SwarmSpec> = Arc::new(parsed.check().unwrap());
    let id = SwarmId::from_uuid(uuid::Uuid::now_v7());
    let idempotency = Some((format!("key {key}"), "digest".to_owned()));
    handle.submit(NewSwarm { id, name: "s".to_owned(), submission, idempotency, created_ms: 1 }, spec).await
}

async fn state_of_node(handle: &Handle) -> NodeState {
    // The first question wakes the loop, whose turn judges the leases; the second sees the judgement.
    handle.ask(|_| ()).await.unwrap();
    handle.ask(|view| view.engine.nodes().next().unwrap().state()).await.unwrap()
}

/// Runs the loop beside a test, which is polled first, so that all that it sends at once waits together.
async fn beside<T>(service: Orchestrator, test: impl Future<Output = T>) -> T {
    tokio::select! {
        biased;
        done = test => done,
        ended = service.serve() => panic!("the loop ended: {ended:?}"),
    }
}

#[tokio::test]
async fn what_waits_together_becomes_durable_in_one_commit() {
    let World { service, handle, .. } = world(Faulty::new(MemoryStore::default(), 3, Fault::Before));
    let outcomes = beside(service, async {
        connect(&handle).await.unwrap();
        join_all((0..100).map(|key| submit(&handle, key))).await
    });
    let outcomes = outcomes.await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(Ok(_)))), "the second commit had them all");
}

#[tokio::test]
async fn a_commit_that_fails_stops_the_loop_and_acknowledges_nothing() {
    let World { service, handle, .. } = world(Faulty::new(MemoryStore::default(), 2, Fault::After));
    let test = async {
        connect(&handle).await.unwrap();
        let (submitted, asked) = tokio::join!(submit(&handle, 1), handle.ask(|view| view.engine.swarms().count()));
        assert!(matches!(submitted, Err(ManagerError::Stopping)), "{submitted:?}");
        assert!(asked.is_err(), "what was seen of it is not told either");
    };
    let (served, ()) = tokio::join!(service.serve(), test);
    assert!(matches!(served, Err(ManagerError::Commit(CommitError::Store(_)))), "{served:?}");
}

#[tokio::test]
async fn a_silent_node_loses_its_lease_but_not_by_a_pause_of_the_manager() {
    let World { service, handle, clock, stop } = world(MemoryStore::default());
    let test = async {
        connect(&handle).await.unwrap();
        clock.advance(Duration::from_secs(3600));
        assert_eq!(state_of_node(&handle).await, NodeState::Online, "the manager stood still, not the node");
        let step = Duration::from_millis(250);
        for _ in 0..(limits::LEASE + Duration::from_secs(2)).as_millis() / step.as_millis() {
            clock.advance(step);
            handle.ask(|_| ()).await.unwrap();
        }
        assert_eq!(state_of_node(&handle).await, NodeState::Unreachable, "the manager was awake all the time");
        handle.heard(&name());
        assert_eq!(state_of_node(&handle).await, NodeState::Online);
        stop.cancel();
    };
    let (served, ()) = tokio::join!(service.serve(), test);
    served.unwrap();
}

#[tokio::test]
async fn a_session_whose_queue_is_full_ends() {
    let (session, queue) = session_channel();
    let mut sent = 0;
    while !session.over.is_cancelled() {
        session.send(manta_api::node::ManagerMessage::default());
        sent += 1;
        assert!(sent < 1_000_000, "the queue has an end");
    }
    assert_eq!(queue.len() + 1, sent, "all but the last wait");
}

#[tokio::test]
async fn only_swarms_that_have_ended_are_let_go_and_their_keys_with_them() {
    let World { service, handle, .. } = world(MemoryStore::default());
    let test = async {
        connect(&handle).await.unwrap();
        let (ended, running) = (submit(&handle, 1).await.unwrap().unwrap(), submit(&handle, 2).await.unwrap().unwrap());
        handle.change(Change::Stop(ended), None).await.unwrap().unwrap();
        handle.purge([ended, running].into()).await.unwrap();
        let left = handle.ask(|view| view.engine.swarms().map(manta_engine::SwarmRun::id).collect::<Vec<_>>());
        assert_eq!(left.await.unwrap(), [running]);
        let again = submit(&handle, 1).await.unwrap();
        assert!(again.is_ok_and(|new| new != ended), "the key went with its swarm");
        assert!(submit(&handle, 2).await.unwrap().is_err(), "the other is still used");
    };
    beside(service, test).await;
}
