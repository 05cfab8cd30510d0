//! A chaos harness that is ended by a signal leaves no process behind.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long a state may take to come.
const WITHIN: Duration = Duration::from_secs(20);

/// Stands where `manta` would: it serves nobody, does not end when it is asked to, and has a child that does not either.
const STUBBORN: &str = "#!/bin/sh
trap '' TERM INT HUP
sh -c 'trap \"\" TERM INT HUP; while :; do sleep 1; done' &
kill -STOP $$
";

/// Processes whose environment names a cluster of that harness.
fn of_clusters(harness: u32) -> Vec<u32> {
    let mark = format!("MANTA_CHAOS_ID=mc-{harness}-");
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let carries = |pid: &u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|entry| entry.starts_with(mark.as_bytes()))
    };
    pids.filter(carries).collect()
}

fn wait_for(harness: u32, what: &str, is_so: impl Fn(&[u32]) -> bool) {
    let begun = Instant::now();
    loop {
        let found = of_clusters(harness);
        if is_so(&found) {
            return;
        }
        assert!(begun.elapsed() < WITHIN, "{what}: processes {found:?} after {WITHIN:?}");
        std::thread::yield_now();
    }
}

fn stubborn(dir: &Path) -> std::path::PathBuf {
    let path = dir.join("manta");
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o755).open(&path).unwrap();
    file.write_all(STUBBORN.as_bytes()).unwrap();
    path
}

#[test]
fn whatever_ends_the_harness_ends_its_processes() {
    let dir = tempfile::tempdir().unwrap();
    let manta = stubborn(dir.path());
    for signal in [Signal::KILL, Signal::TERM, Signal::INT] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_manta-chaos"));
        command.arg("pauses").env("MANTA_BINARY", &manta).env("MANTA_PYTHON", &manta);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut harness = command.spawn().unwrap();
        let id = harness.id();
        // The manager, its child, and what that child waits for.
        wait_for(id, "the start of a manager", |found| found.len() >= 3);
        kill_process(Pid::from_raw(i32::try_from(id).unwrap()).unwrap(), signal).unwrap();
        assert!(!harness.wait().unwrap().success());
        wait_for(id, &format!("the end of all after {signal:?}"), <[u32]>::is_empty);
        fs::remove_dir_all(format!("/tmp/mc-{id}-1")).unwrap();
    }
}
