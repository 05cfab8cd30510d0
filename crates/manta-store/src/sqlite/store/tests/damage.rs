//! A bit that flips in any stored file is found, or was in nothing that lives: nothing wrong is ever served.
use std::fs;
use std::path::{Path, PathBuf};

use manta_api::LogLine;
use manta_types::{AttemptId, Digest};
use tempfile::TempDir;

use crate::conformance::blob::name;
use crate::conformance::fault::workload;
use crate::conformance::sample::{attempt_id, cluster, every_kind, new_swarm, swarm_id};
use crate::conformance::state::{Everything, everything};
use crate::{
    AttemptRecord, BlobStore, DirBlobs, KeyRecord, LogFilter, LogStore, SqliteStore, StateReader, StateStore,
    StoreError,
};

/// How many bits are flipped in each class of file; `MANTA_FLIPS` asks for more.
fn flips() -> u64 {
    std::env::var("MANTA_FLIPS").ok().and_then(|count| count.parse().ok()).unwrap_or(150)
}

/// The bit to flip in a file of so many bytes, by a small generator.
fn flip(seed: u64, bytes: &mut [u8]) -> usize {
    let mixed = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) ^ (mixed >> 32);
    let bit = usize::try_from(mixed % (bytes.len() as u64 * 8)).unwrap();
    bytes[bit / 8] ^= 1 << (bit % 8);
    bit
}

type State = (Everything, Vec<Option<KeyRecord>>, Vec<Option<AttemptRecord>>, u64);

fn read_all(store: &mut SqliteStore) -> Result<State, StoreError> {
    let all = everything(store, &cluster())?;
    let keys = ["key", "stop", "none"].iter().map(|key| store.idempotency(&cluster(), key));
    let keys = keys.collect::<Result<_, _>>()?;
    let attempts = (0..40).chain(100..110).map(|number| store.attempt(&cluster(), attempt_id(number)));
    Ok((all, keys, attempts.collect::<Result<_, _>>()?, store.generation()?))
}

fn scrub(dir: &Path) -> Result<(), StoreError> {
    let reader = StateReader::open(dir)?;
    reader.check_file()?;
    for (cluster, swarm) in reader.swarms()? {
        reader.check_swarm(&cluster, swarm)?;
    }
    Ok(())
}

/// The example's attempts under ids of their own.
fn second_swarm() -> crate::Transaction {
    let mut text = serde_json::to_string(&every_kind()).unwrap();
    for number in 1..5 {
        text = text.replace(&attempt_id(number).to_string(), &attempt_id(number + 100).to_string());
    }
    new_swarm(9, serde_json::from_str::<Vec<_>>(&text).unwrap())
}

/// What each file holds at every prefix of its transactions, and the files as the last left them.
struct Sample {
    files: Vec<(PathBuf, Vec<u8>)>,
    states: Vec<State>,
}

impl Sample {
    /// `is_closed` tells whether the store ended in order, or the log is still there.
    fn make(is_closed: bool) -> Self {
        let dir = TempDir::new().unwrap();
        let mut store = SqliteStore::open(dir.path()).unwrap();
        let mut states = vec![read_all(&mut store).unwrap()];
        for transaction in workload()[..5].iter().chain([&second_swarm()]) {
            store.commit(&cluster(), transaction).unwrap();
            states.push(read_all(&mut store).unwrap());
        }
        let names = if is_closed { &["state.db"][..] } else { &["state.db", "state.db-wal"] };
        let mut running = Some(store);
        if is_closed {
            running = None;
        }
        let files = names.iter().map(|name| ((*name).into(), fs::read(dir.path().join(name)).unwrap())).collect();
        drop(running);
        Self { files, states }
    }

    fn write(&self, spoil: usize, seed: u64) -> (TempDir, usize) {
        let dir = TempDir::new().unwrap();
        let mut bit = 0;
        for (index, (name, bytes)) in self.files.iter().enumerate() {
            let mut bytes = bytes.clone();
            if index == spoil {
                bit = flip(seed, &mut bytes);
            }
            fs::write(dir.path().join(name), bytes).unwrap();
        }
        (dir, bit)
    }
}

#[test]
fn a_flipped_bit_of_the_state_is_found_or_harmless() {
    let sample = Sample::make(true);
    let (expected, mut found) = (sample.states.last().unwrap(), 0);
    for seed in 0..flips() {
        let (dir, bit) = sample.write(0, seed);
        let outcome = SqliteStore::open(dir.path()).and_then(|mut store| read_all(&mut store));
        let served = outcome.is_ok();
        match outcome.and_then(|state| scrub(dir.path()).map(|()| state)) {
            Err(_) => found += 1,
            Ok(state) => assert!(state == *expected, "bit {bit}: something else was served"),
        }
        if served {
            let state = SqliteStore::open(dir.path()).and_then(|mut store| read_all(&mut store)).unwrap();
            assert!(state == *expected, "bit {bit}: something else was served before the scrub");
        }
    }
    // Most of a small file is free space.
    assert!(found * 10 > flips(), "only {found} of {} flips were found", flips());
}

#[test]
fn a_row_that_is_lost_or_comes_from_nowhere_is_noticed_at_the_start_and_by_a_scrub() {
    let key = "cluster_id, 'stranger', request, swarm_id, answer, used_ms";
    let stranger = format!(
        "INSERT INTO idempotency_keys SELECT {key}, checksum_of('idempotency_keys', {key}) FROM idempotency_keys LIMIT 1"
    );
    let mut cases = vec![
        ("DELETE FROM idempotency_keys WHERE key = 'key'", "the table `idempotency_keys`"),
        ("DELETE FROM nodes WHERE name = 'node-1'", "the table `nodes`"),
        ("DELETE FROM generations", "the table `generations`"),
        ("DELETE FROM tallies WHERE counted = 'nodes'", "the tally of the table `nodes`"),
        ("UPDATE tallies SET rows = rows - 1 WHERE counted = 'nodes'", "the tally of the table `nodes`"),
        ("UPDATE idempotency_keys SET key = 'yek' WHERE key = 'key'", "idempotency key `yek`"),
        (&stranger, "the table `idempotency_keys`"),
    ];
    let moved = format!("DELETE FROM idempotency_keys WHERE key = 'stop'; {stranger}");
    cases.push((&moved, "its rows are not those"));
    for (change, words) in cases {
        let dir = TempDir::new().unwrap();
        let mut store = SqliteStore::open(dir.path()).unwrap();
        workload()[..5].iter().for_each(|transaction| store.commit(&cluster(), transaction).unwrap());
        let triggers = "SELECT group_concat('DROP TRIGGER ' || name, ';'), group_concat(sql, ';') FROM sqlite_schema \
                        WHERE type = 'trigger'";
        let both = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?));
        let (drop_them, make_them) = store.connection.query_row(triggers, [], both).unwrap();
        StateReader::open(dir.path()).unwrap().check_file().unwrap();
        store.connection.execute_batch(&format!("{drop_them};{change};{make_them}")).unwrap();
        let error = StateReader::open(dir.path()).unwrap().check_file().unwrap_err().to_string();
        assert!(error.contains(words), "{change}: {error}");
        drop(store);
        let error = SqliteStore::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains(words), "{change}, at the start: {error}");
    }
}

#[test]
fn a_flipped_bit_of_the_log_is_found_or_costs_at_most_the_last_transaction() {
    let sample = Sample::make(false);
    let [.., before, last] = sample.states.as_slice() else { panic!("two states") };
    let mut found = 0;
    for seed in 0..flips() {
        let (dir, bit) = sample.write(1, seed);
        match SqliteStore::open(dir.path()).and_then(|mut store| read_all(&mut store)) {
            Err(_) => found += 1,
            // A damaged last transaction cannot be told from one that was cut off by a loss of power.
            Ok(state) => assert!(state == *last || state == *before, "bit {bit}: acknowledged transactions are gone"),
        }
    }
    assert!(found * 4 > flips(), "only {found} of {} flips were found", flips());
}

#[test]
fn a_flipped_bit_of_a_blob_is_always_found() {
    let dir = TempDir::new().unwrap();
    let store = DirBlobs::open(&dir.path().join("blobs")).unwrap();
    let bytes: Vec<u8> = (0..=255).cycle().take(5000).collect();
    let digest: Digest = name(&bytes).digest;
    for seed in 0..flips() {
        store.put(&digest, &mut &*bytes).unwrap();
        let mut damaged = bytes.clone();
        let bit = flip(seed, &mut damaged);
        fs::remove_file(store.path(&digest)).unwrap();
        fs::write(store.path(&digest), damaged).unwrap();
        assert!(store.read(&digest, 1 << 20).is_err() && store.verify(&digest).is_err(), "bit {bit}");
        store.quarantine(&digest).unwrap();
    }
}

#[test]
fn a_flipped_bit_of_the_logs_never_changes_a_line_nor_takes_one_away_unseen() {
    let dir = TempDir::new().unwrap();
    let line = |number: u64| LogLine {
        seq: 0,
        time_ms: number,
        attempt: AttemptId::from_uuid(uuid::Uuid::from_u128(7)),
        task: "worker".to_owned(),
        node: "node-1".to_owned(),
        iteration: 0,
        level: "info".to_owned(),
        source: "log".to_owned(),
        text: format!("line {number}"),
        data: None,
    };
    let mut lines: Vec<_> = (0..50).map(line).collect();
    LogStore::open(dir.path()).unwrap().append(&cluster(), swarm_id(1), &mut lines).unwrap();
    let sound = fs::read(dir.path().join("logs.db")).unwrap();
    for seed in 0..flips() {
        let after = TempDir::new().unwrap();
        let mut bytes = sound.clone();
        let bit = flip(seed, &mut bytes);
        fs::write(after.path().join("logs.db"), bytes).unwrap();
        let read = LogStore::open(after.path())
            .and_then(|mut logs| logs.query(&cluster(), swarm_id(1), 0, &LogFilter::default(), usize::MAX));
        if let Ok(found) = read {
            let is_named = |line: &LogLine| line.source == "platform" && line.text.ends_with("damaged and not shown");
            let is_right = |line: &LogLine| lines.contains(line) || is_named(line);
            assert!(found.iter().all(is_right), "bit {bit}: a line is not what was written");
            let is_whole = found.last().is_some_and(|line| line.seq == 50);
            let damage = LogStore::check(after.path()).unwrap_or_else(|error| vec![error]);
            assert!(is_whole || !damage.is_empty(), "bit {bit}: the end is gone, and nothing says so");
            assert!(found == lines || !damage.is_empty(), "bit {bit}: lines are gone, and no check says so");
        }
    }
}
