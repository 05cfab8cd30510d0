//! Whatever is uploaded, submitted, purged and swept in whatever order: nothing that is named goes.
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime};

use manta_store::{BlobStore, DirBlobs, ModuleRecord, NewSwarm, SqliteStore, StateReader, StateStore, Transaction};
use manta_types::event::{Outputs, Published, Timings};
use manta_types::{AttemptId, Blob, Cause, ClusterId, Digest, Event, NodeName, Subject, SwarmEvent, SwarmId};
use tempfile::TempDir;
use uuid::Uuid;

use super::{Reach, reachable, sweep};
use crate::sample::{bundle, put};

const HELD: Duration = Duration::from_secs(24 * 60 * 60);

/// A small generator, so that a seed is a whole run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

struct World {
    dir: TempDir,
    state: SqliteStore,
    blobs: DirBlobs,
    dice: Dice,
    /// What each stored swarm names.
    stored: BTreeMap<u128, Vec<Digest>>,
    /// Checked submissions that are not committed yet.
    checked: Vec<(u128, Vec<Digest>, String)>,
    marked: Option<Reach>,
    swarms: u128,
}

impl World {
    fn new(seed: u64) -> Self {
        let dir = TempDir::new().unwrap();
        let state = SqliteStore::open(dir.path()).unwrap();
        let blobs = DirBlobs::open(&dir.path().join("blobs")).unwrap();
        let (stored, checked) = (BTreeMap::new(), Vec::new());
        Self { dir, state, blobs, dice: Dice(seed), stored, checked, marked: None, swarms: 0 }
    }

    /// A submission is uploaded and checked: all that it names is held.
    fn check(&mut self) {
        let file = [u8::try_from(self.dice.roll(5)).unwrap()];
        let manifest = bundle(&file);
        let (value, output) = (self.dice.roll(5), self.dice.roll(5));
        let put = |bytes: &[u8]| put(&self.blobs, bytes);
        let value = put(&[100 + u8::try_from(value).unwrap()]);
        let output = put(&[200 + u8::try_from(output).unwrap()]);
        let bundle = put(&manifest);
        let named = vec![put(&file), bundle, value, output];
        assert!(named.iter().all(|digest| self.blobs.hold(digest).unwrap().is_some()));
        let submission =
            format!(r#"{{"modules":[{{"bundle":"{bundle}"}}],"globals":{{"v":{{"digest":"{value}","size":1}}}}}}"#);
        self.swarms += 1;
        self.checked.push((self.swarms, named, submission));
    }

    fn commit(&mut self) {
        let Some((number, named, submission)) = self.checked.pop() else { return };
        let (id, attempt) =
            (SwarmId::from_uuid(Uuid::from_u128(number)), AttemptId::from_uuid(Uuid::from_u128(number)));
        let swarm = NewSwarm { id, name: "s".to_owned(), submission, idempotency: None, created_ms: 1 };
        let blob = Blob { digest: named[3], size: 1 };
        let outputs = Outputs { results: vec![Published { name: "w".to_owned(), blob }], ..Outputs::default() };
        let (node, reason) = (NodeName::new("node").unwrap(), "first".to_owned());
        let history = [
            SwarmEvent::AttemptOffered {
                attempt,
                iteration: 0,
                task: 0,
                slot: 0,
                node,
                epoch: 1,
                reason,
                version: None,
            },
            SwarmEvent::AttemptAccepted { attempt, outputs, timings: Timings::default() },
            SwarmEvent::SwarmSucceeded { reason: "done".to_owned() },
        ];
        let events = (1..).zip(history).map(|(seq, what)| {
            let (subject, cause) = (Subject::default(), Cause::Time);
            Event { swarm: id, seq, time_ms: seq, subject, cause, what }
        });
        let all = Transaction { swarms: vec![swarm], events: events.collect(), ..Transaction::default() };
        self.state.commit(&ClusterId::default(), &all).unwrap();
        self.stored.insert(number, named);
    }

    fn purge(&mut self) {
        let Some(number) = self.stored.keys().next().copied() else { return };
        let purged = vec![SwarmId::from_uuid(Uuid::from_u128(number))];
        self.state.commit(&ClusterId::default(), &Transaction { purged, ..Transaction::default() }).unwrap();
        self.stored.remove(&number);
    }

    fn mark(&mut self) {
        let reader = StateReader::open(self.dir.path()).unwrap();
        self.marked = Some(reachable(&reader, None, &self.blobs).unwrap());
    }

    fn sweep(&mut self) {
        if let Some(marked) = self.marked.take() {
            sweep(&marked, &self.blobs, HELD).unwrap();
        }
    }

    /// Two days pass, with a restart; nobody takes that long between a check and its commit, or a mark and its sweep.
    fn age(&mut self) {
        if !self.checked.is_empty() || self.marked.is_some() {
            return;
        }
        for digest in self.blobs.digests(None, usize::MAX).unwrap() {
            File::open(self.blobs.path(&digest)).unwrap().set_modified(SystemTime::now() - 2 * HELD).unwrap();
        }
        self.blobs = DirBlobs::open(&self.dir.path().join("blobs")).unwrap();
    }

    fn step(&mut self) {
        match self.dice.roll(6) {
            0 => self.check(),
            1 => self.commit(),
            2 => self.purge(),
            3 => self.mark(),
            4 => self.sweep(),
            _ => self.age(),
        }
        for digest in self.stored.values().flatten().chain(self.checked.iter().flat_map(|checked| &checked.1)) {
            self.blobs.verify(digest).unwrap();
        }
    }
}

#[test]
fn nothing_that_is_named_is_ever_swept_and_all_else_is_in_the_end() {
    let mut swept = 0;
    for seed in 0..30 {
        let mut world = World::new(seed);
        for _ in 0..60 {
            world.step();
        }
        while !world.checked.is_empty() {
            world.commit();
        }
        world.marked = None;
        world.age();
        world.mark();
        let before = world.blobs.digests(None, usize::MAX).unwrap().len();
        world.sweep();
        let left: BTreeSet<_> = world.blobs.digests(None, usize::MAX).unwrap().into_iter().collect();
        let named: BTreeSet<_> = world.stored.values().flatten().copied().collect();
        assert_eq!(left, named, "seed {seed}");
        swept += before - left.len();
    }
    assert!(swept > 20, "only {swept} blobs were swept");
}

#[test]
fn a_bundle_that_cannot_be_read_keeps_everything() {
    let mut world = World::new(1);
    world.check();
    let manifest = world.checked[0].1[1];
    world.commit();
    world.age();
    let spoil = |path: &Path| {
        std::fs::remove_file(path).unwrap();
        std::fs::write(path, "{}").unwrap();
    };
    spoil(&world.blobs.path(&manifest));
    let reader = StateReader::open(world.dir.path()).unwrap();
    let reach = reachable(&reader, None, &world.blobs).unwrap();
    assert_eq!(reach.unread, [manifest]);
    let before = world.blobs.digests(None, usize::MAX).unwrap();
    sweep(&reach, &world.blobs, Duration::ZERO).unwrap_err();
    assert_eq!(world.blobs.digests(None, usize::MAX).unwrap(), before);
}

#[test]
fn what_is_published_stays_though_no_swarm_names_it() {
    let mut world = World::new(0);
    let file = put(&world.blobs, b"def main(): ...");
    let manifest = bundle(b"def main(): ...");
    let digest = put(&world.blobs, &manifest);
    let stray = put(&world.blobs, b"nobody names it");
    let module = ModuleRecord {
        name: "worker".to_owned(),
        version: "1.0.0".to_owned(),
        bundle: Blob { digest, size: manifest.len() as u64 },
        about: "{}".to_owned(),
        publisher: String::new(),
        published_ms: 1,
        yanked: Some("wrong".to_owned()),
        deprecated: None,
        tags: Vec::new(),
        signatures: Vec::new(),
    };
    let published = Transaction { modules: vec![module], ..Transaction::default() };
    world.state.commit(&ClusterId::default(), &published).unwrap();
    world.age();
    world.mark();
    world.sweep();
    for kept in [file, digest] {
        world.blobs.verify(&kept).unwrap();
    }
    assert_eq!(world.blobs.size(&stray).unwrap(), None);
}
