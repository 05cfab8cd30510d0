//! Whole rounds, on real stores, with a clock that goes on when it is told to.
use std::fs::{self, File};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use manta_api::LogLine;
use manta_engine::{Engine, Now, SwarmRun};
use manta_module::digest_of;
use manta_store::{DirBlobs, KeyRecord, LogFilter, LogStore, NewSwarm, SqliteStore, StateStore, Transaction};
use manta_types::{AttemptId, Cause, ClusterId, Event, Subject, SwarmEvent, Timestamp};

use super::*;
use crate::open::BLOBS;
use crate::orchestrator::{Orchestrator, recover};
use crate::sample::{bundle, put};
use crate::space::Space;
use crate::threads::Owned;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Monotonic time, and how far the wall clock is ahead of it.
struct HandClock {
    ms: AtomicU64,
    ahead_ms: AtomicU64,
}

impl Clock for HandClock {
    fn now(&self) -> Now {
        let ms = self.ms.load(Ordering::SeqCst);
        Now { monotonic: Timestamp::from_ms(ms), wall_ms: self.ahead_ms.load(Ordering::SeqCst) + ms }
    }
}

fn swarm_id(number: u128) -> SwarmId {
    SwarmId::from_uuid(uuid::Uuid::from_u128(number))
}

/// What one swarm names: its file, its bundle and a value.
struct Named {
    file: Digest,
    bundle: Digest,
    value: Digest,
}

/// A swarm that was stopped then, with a line of log.
fn past_swarm(number: u128, ended_ms: u64, blobs: &DirBlobs, logs: &mut LogStore) -> (Transaction, Named) {
    let source = format!("def main(): return {number}");
    let file = put(blobs, source.as_bytes());
    let bundle = put(blobs, &bundle(source.as_bytes()));
    let value = put(blobs, format!("value {number}").as_bytes());
    let submission = serde_json::json!({
        "name": "s",
        "modules": [{"bundle": bundle, "name": "w", "version": "1.0.0", "image": "latest"}],
        "tasks": [{"alias": "w", "module": 0, "method": "all"}],
        "globals": {"v": {"digest": value, "size": 7}},
    });
    let id = swarm_id(number);
    let history = [SwarmEvent::SwarmAdmitted, SwarmEvent::SwarmStopped { reason: "enough".to_owned() }];
    let events = (1..).zip(history).map(|(seq, what)| {
        let (subject, cause) = (Subject::default(), Cause::Time);
        Event { swarm: id, seq, time_ms: ended_ms, subject, cause, what }
    });
    let key = |name: &str, swarm| {
        let (key, request, answer) = (format!("{name} {number}"), "r".to_owned(), String::new());
        KeyRecord { key, request, swarm, answer, used_ms: ended_ms }
    };
    let new = NewSwarm {
        id,
        name: "s".to_owned(),
        submission: submission.to_string(),
        idempotency: None,
        created_ms: ended_ms,
    };
    let all = Transaction {
        swarms: vec![new],
        events: events.collect(),
        keys: vec![key("stop", Some(id)), key("drain", None)],
        ..Transaction::default()
    };
    let line = LogLine {
        seq: 0,
        time_ms: ended_ms,
        attempt: AttemptId::from_uuid(uuid::Uuid::from_u128(number)),
        task: "w".to_owned(),
        node: "node-1".to_owned(),
        iteration: 0,
        level: "info".to_owned(),
        source: "log".to_owned(),
        text: "hello".to_owned(),
        data: None,
    };
    logs.append(&ClusterId::default(), id, &mut [line]).unwrap();
    (all, Named { file, bundle, value })
}

/// Every file below a folder.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

struct World {
    upkeep: Upkeep,
    tended: Tended,
    store: Owned<Box<dyn StateStore>>,
    clock: Arc<HandClock>,
}

impl World {
    /// A manager's parts, opened as after a restart.
    async fn open(dir: &Path, wall_ms: u64) -> Self {
        let clock = Arc::new(HandClock { ms: AtomicU64::new(1000), ahead_ms: AtomicU64::new(wall_ms) });
        let state: Box<dyn StateStore> = Box::new(SqliteStore::open(dir).unwrap());
        let (store, _) = Owned::start("test-state", state).unwrap();
        let (logs, _) = Owned::start("test-logs", LogStore::open(dir).unwrap()).unwrap();
        let (cluster, now) = (ClusterId::default(), clock.now());
        let recovered = store.run(move |store| recover(store.as_mut(), &cluster, now, Engine::new(1))).await;
        let (stop, time) = (CancellationToken::new(), Arc::clone(&clock) as Arc<dyn Clock>);
        let (service, handle, remembering) = Orchestrator::new(
            recovered.unwrap().unwrap(),
            store.clone(),
            ClusterId::default(),
            Arc::clone(&time),
            Arc::default(),
            stop.clone(),
        );
        tokio::spawn(service.serve());
        tokio::spawn(remembering.serve());
        let space = Arc::new(Space::new(dir.to_owned(), Arc::clone(&time)));
        let logs = Logs::new(logs, ClusterId::default(), space);
        let blobs: Arc<dyn BlobStore> = Arc::new(DirBlobs::open(&dir.join(BLOBS)).unwrap());
        let keep = Keep { days: 30, swarms: None };
        let tended = Tended { cluster: None, handle, blobs, logs, stop: stop.clone() };
        let clusters = Box::new({
            let tended = tended.clone();
            move || vec![tended.clone()]
        });
        let upkeep = Upkeep { dir: dir.to_owned(), keep, clusters, clock: time, stop };
        Self { upkeep, tended, store, clock }
    }

    async fn swarms(&self) -> Vec<SwarmId> {
        self.tended.handle.ask_of_all(|view| view.engine.swarms().map(SwarmRun::id).collect()).await.unwrap()
    }

    async fn has_key(&self, key: &'static str) -> bool {
        let found = self.store.run(move |store| store.idempotency(&ClusterId::default(), key)).await;
        found.unwrap().unwrap().is_some()
    }

    async fn lines(&self, number: u128) -> usize {
        self.tended.logs.read(swarm_id(number), 0, LogFilter::default(), 9).await.unwrap().len()
    }

    fn has(&self, digest: &Digest) -> bool {
        self.tended.blobs.size(digest).unwrap().is_some()
    }
}

#[tokio::test]
async fn rounds_let_go_of_what_is_old_and_unnamed_keep_the_rest_and_set_damage_aside() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let now_ms = u64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis()).unwrap();
    let (old, young, stray, held, fresh);
    {
        let (mut state, mut logs) = (SqliteStore::open(dir).unwrap(), LogStore::open(dir).unwrap());
        let blobs = DirBlobs::open(&dir.join(BLOBS)).unwrap();
        let mut commit = |number, days| {
            let (all, named) = past_swarm(number, now_ms - days * DAY_MS, &blobs, &mut logs);
            state.commit(&ClusterId::default(), &all).unwrap();
            named
        };
        (old, young) = (commit(1, 40), commit(2, 2));
        (stray, held) = (put(&blobs, b"nobody names it"), put(&blobs, b"somebody is about to name it"));
    }
    for path in files(&dir.join(BLOBS)) {
        File::open(&path).unwrap().set_modified(SystemTime::now() - limits::BLOB_HELD * 2).unwrap();
    }
    let world = World::open(dir, now_ms).await;
    assert!(world.tended.blobs.hold(&held).unwrap().is_some());
    fresh = digest_of(b"just uploaded");
    world.tended.blobs.put(&fresh, &mut &b"just uploaded"[..]).unwrap();
    let damaged = files(&dir.join(BLOBS)).into_iter().find(|path| path.ends_with(young.value.to_string())).unwrap();
    fs::remove_file(&damaged).unwrap();
    fs::write(&damaged, b"valuX 2").unwrap();

    let mut before = world.upkeep.times();
    world.clock.ahead_ms.fetch_add(DAY_MS, Ordering::SeqCst);
    before = world.upkeep.round(0, &before).await.unwrap();
    assert_eq!(world.swarms().await, [swarm_id(1), swarm_id(2)], "a clock that jumped says nothing of ages");
    assert!(world.has(&stray) && world.has_key("drain 1").await);

    for part in 0..BLOB_PARTS {
        world.clock.ms.fetch_add(3_600_000, Ordering::SeqCst);
        before = world.upkeep.round(part, &before).await.unwrap();
    }
    assert_eq!(world.swarms().await, [swarm_id(2)]);
    assert_eq!((world.lines(1).await, world.lines(2).await), (0, 1));
    assert!(!world.has_key("stop 1").await && world.has_key("stop 2").await, "keys go with their swarm");
    assert!(!world.has_key("drain 1").await && world.has_key("drain 2").await, "the others by their age");
    for gone in [old.file, old.bundle, old.value, stray] {
        assert!(!world.has(&gone), "{gone} is named by nothing");
    }
    for kept in [young.file, young.bundle, held, fresh] {
        assert!(world.has(&kept), "{kept} is named or held");
    }
    assert!(!world.has(&young.value), "what is damaged is served no more");
    let aside = files(&dir.join(BLOBS)).into_iter().filter(|path| fs::read(path).unwrap() == b"valuX 2");
    assert_eq!(aside.count(), 1, "and it is kept");
}
