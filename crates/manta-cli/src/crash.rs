//! What happens at crash points, in builds for tests: the environment says, once, at the start.
//!
//! `MANTA_CRASH=NAME:K` kills this process, as `kill -9` does, when it passes the point NAME for the K-th time, K from 1.
//! `MANTA_CRASH_HASTE=N` divides the spans of upkeep by N, from 1.
//! `MANTA_CRASH_LOG=FILE` appends a line for every pass: nanoseconds since 1970, a space, the point's name.
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use manta_types::crash::{self, EVENTS, is_registered};
use rustix::process::{Signal, getpid, kill_process};

/// What the environment asks for.
struct Plan {
    point: Option<(String, u64)>,
    passed: AtomicU64,
    log: Option<File>,
}

static PLAN: OnceLock<Plan> = OnceLock::new();

/// Reads the environment and has it carried out from now on.
///
/// # Panics
/// When the environment names no point that exists, no divisor, or no file that can be written: a test that kills nothing must fail.
pub(crate) fn arm() {
    if let Ok(text) = std::env::var("MANTA_CRASH_HASTE") {
        crash::hasten(text.parse().expect("MANTA_CRASH_HASTE must be a number from 1"));
    }
    let point = std::env::var("MANTA_CRASH").ok().map(|text| parse(&text));
    let log = std::env::var_os("MANTA_CRASH_LOG").map(|path| {
        OpenOptions::new().create(true).append(true).open(path).expect("MANTA_CRASH_LOG must name a writable file")
    });
    if point.is_none() && log.is_none() {
        return;
    }
    PLAN.get_or_init(|| Plan { point, passed: AtomicU64::new(0), log });
    crash::install(pass);
}

fn parse(text: &str) -> (String, u64) {
    let (name, count) = text.rsplit_once(':').expect("MANTA_CRASH must be NAME:K");
    let known = is_registered(name) || EVENTS.iter().any(|around| [around.before, around.durable].contains(&name));
    assert!(known, "MANTA_CRASH names no crash point: `{name}`");
    (name.to_owned(), count.parse().expect("K of MANTA_CRASH must be a number from 1"))
}

fn pass(name: &'static str) {
    let Some(plan) = PLAN.get() else { return };
    if let Some(mut log) = plan.log.as_ref() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let line = format!("{} {name}\n", now.as_nanos());
        log.write_all(line.as_bytes()).expect("MANTA_CRASH_LOG must stay writable");
    }
    if plan.point.as_ref().is_some_and(|(wanted, _)| wanted == name) {
        let count = plan.passed.fetch_add(1, Ordering::SeqCst) + 1;
        if plan.point.as_ref().is_some_and(|(_, wanted)| *wanted == count) {
            kill_process(getpid(), Signal::KILL).expect("a process may kill itself");
        }
    }
}
