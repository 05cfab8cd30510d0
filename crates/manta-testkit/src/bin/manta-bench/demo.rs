//! The demo's scenario, measured from outside: starts, overhead, memory, and the size of what is shipped.
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use manta_testkit::bench::Row;
use serde_json::Value;

use crate::processes::{Peaks, children_cpu_ms};

const RUNS: usize = 3;
const VERSION_RUNS: u32 = 100;
const MIB: f64 = 1_048_576.0;

/// Runs the demo a few times and gives the median of each figure.
pub(crate) fn measure() -> Result<Vec<Row>> {
    let manta = PathBuf::from(std::env::var_os("MANTA_BINARY").context("MANTA_BINARY names no manta to measure")?);
    let mut peaks = Peaks::default();
    let mut documents = Vec::new();
    for run in 1..=RUNS {
        eprintln!("manta demo, run {run} of {RUNS}");
        documents.push(demo(&manta, &mut peaks)?);
    }
    let median_of = |key: &str| median(documents.iter().filter_map(|document| document[key].as_f64()).collect());
    let starts: Vec<f64> = documents.iter().flat_map(lease_to_run).collect();
    let mut rows = vec![
        Row::at_most(
            "start of manta demo to the end of iteration 0",
            median_of("seconds_to_first_iteration"),
            "s",
            2.0,
        ),
        Row::at_most(
            "overhead per four-task iteration, five nodes",
            median_of("overhead_ms_per_iteration"),
            "ms",
            250.0,
        ),
        Row::plain("lease to first line of run(), median", median(starts), "ms")
            .versus("a bare interpreter that imports numpy, alone", bare_start_ms()?),
        Row::at_most("manager, anonymous memory", peaks.manager as f64 / MIB, "MiB", 60.0),
        Row::at_most("agent, anonymous memory", peaks.agent as f64 / MIB, "MiB", 30.0),
        Row::at_most("manta --version, processor time", version_cpu_ms(&manta)?, "ms", 20.0),
        Row::plain("manta, size of the binary", std::fs::metadata(&manta)?.len() as f64 / MIB, "MiB"),
    ];
    if let Some(wheel) = newest_wheel() {
        rows.push(Row::plain("wheel, size", std::fs::metadata(wheel)?.len() as f64 / MIB, "MiB"));
    }
    Ok(rows)
}

/// One demo in a directory of its own; its document.
fn demo(manta: &Path, peaks: &mut Peaks) -> Result<Value> {
    let dir = std::env::temp_dir().join(format!("manta-bench-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let outcome = run_in(manta, &dir, peaks);
    std::fs::remove_dir_all(&dir)?;
    outcome
}

fn run_in(manta: &Path, dir: &Path, peaks: &mut Peaks) -> Result<Value> {
    let out = dir.join("document.json");
    let mut child: Child = Command::new(manta)
        .args(["demo", "--json"])
        .current_dir(dir)
        .stdout(std::fs::File::create(&out)?)
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("starting `{}`", manta.display()))?;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        peaks.look(child.id());
        std::thread::sleep(Duration::from_millis(100));
    };
    if !status.success() {
        bail!("manta demo ended with {status}; run it by hand to see why");
    }
    Ok(serde_json::from_slice(&std::fs::read(out)?)?)
}

/// The median start of each iteration, in milliseconds.
fn lease_to_run(document: &Value) -> Vec<f64> {
    let rows = document["iterations"].as_array().map(Vec::as_slice).unwrap_or_default();
    rows.iter().filter_map(|row| row["start_ms"].as_f64()).collect()
}

/// What starting the demo's interpreter and importing numpy takes without any platform, the median of a few.
fn bare_start_ms() -> Result<f64> {
    let python = std::env::var_os("MANTA_PYTHON").context("MANTA_PYTHON names no interpreter to compare with")?;
    let mut times = Vec::new();
    for _ in 0..5 {
        let started = Instant::now();
        let status = Command::new(&python).args(["-I", "-B", "-c", "import numpy"]).status()?;
        anyhow::ensure!(status.success(), "importing numpy ended with {status}");
        times.push(started.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(median(times))
}

fn version_cpu_ms(manta: &Path) -> Result<f64> {
    let before = children_cpu_ms();
    for _ in 0..VERSION_RUNS {
        let status = Command::new(manta).arg("--version").stdout(Stdio::null()).status()?;
        anyhow::ensure!(status.success(), "manta --version ended with {status}");
    }
    Ok((children_cpu_ms() - before) / f64::from(VERSION_RUNS))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The wheel that `cargo xtask test wheel` built last.
fn newest_wheel() -> Option<PathBuf> {
    let wheels = std::fs::read_dir("target/xtask/wheel/dist").ok()?.flatten().map(|entry| entry.path());
    wheels
        .filter(|path| path.extension().is_some_and(|end| end == "whl"))
        .max_by_key(|path| std::fs::metadata(path).and_then(|data| data.modified()).ok())
}
