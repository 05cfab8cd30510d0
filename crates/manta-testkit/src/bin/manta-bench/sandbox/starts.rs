//! Starts: from the request to a program's first line, cold and warm, beside a plain interpreter and other containers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use manta_sandbox::StartWay;
use manta_testkit::bench::Row;

use super::bed::{Bed, FIRST_LINE};
use super::{others, product};
use crate::processes::{anonymous, descendants};
use crate::report::Report;
use crate::samples::Samples;

/// What is imported before the first line, and cold starts of each kind; the kinds take turns, so that what else the machine does
/// weighs on all alike. Torch takes seconds each time.
const IMPORTS: [(Option<&str>, u32); 3] = [(None, 40), (Some("numpy"), 40), (Some("torch"), 10)];
/// Warm starts that are measured one after the other.
const WARM_STARTS: u32 = 200;
/// Starts in a row, which must leave nothing, and how many of them at once.
const IN_A_ROW: u32 = 1000;
const AT_ONCE: usize = 8;
/// How long a task of the whole product works where the next one is to find all at rest.
const WORK_MS: u32 = 100;
/// Through the whole product: `MANTA_WARM`, the way that is meant, how long a task works, and aims of median and p99.
const PRODUCT: [(&str, &str, u32, Option<[f64; 2]>); 3] =
    [("off", "cold", 0, None), ("on", "standby", 0, Some([3.0, 8.0])), ("on", "standby", WORK_MS, Some([3.0, 8.0]))];
/// Standbys while warm starts are measured, and while their memory is.
const STANDBYS: u32 = 4;

const MS: f64 = 1000.0;
const MIB: f64 = 1_048_576.0;

/// Measures with whatever of numpy and torch the interpreter has.
pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let python = PathBuf::from(std::env::var_os("MANTA_PYTHON").context("MANTA_PYTHON names no interpreter")?);
    for (module, rounds) in IMPORTS {
        match module.filter(|module| !has(&python, module)) {
            Some(lacking) => {
                eprintln!(
                    "not measured: `{}` has no {lacking}; MANTA_PYTHON names another interpreter",
                    python.display()
                );
            }
            None => of_image(report, &python, module, rounds)?,
        }
    }
    for (warm, wanted, work_ms, aims) in PRODUCT {
        report.add(through_the_product(warm, wanted, work_ms, aims)?);
    }
    report.add(work(&python)?);
    Ok(())
}

fn has(python: &Path, module: &str) -> bool {
    let found = Command::new(python).args(["-c", &format!("import {module}")]).output();
    found.is_ok_and(|ended| ended.status.success())
}

fn of_image(report: &mut Report, python: &Path, module: Option<&str>, rounds: u32) -> Result<()> {
    let name = module.unwrap_or("nothing");
    let bed = Bed::new(python)?;
    let import = module.map(|module| format!("import {module}; ")).unwrap_or_default();
    let program = format!("{import}{FIRST_LINE}");
    report.add(cold(&bed, python, (name, rounds), &program)?);
    let modules: Vec<&str> = module.into_iter().collect();
    for (way, standbys, aims) in [(StartWay::Fork, 0, (15.0, None)), (StartWay::Standby, STANDBYS, (3.0, Some(8.0)))] {
        eprintln!("{name}: {WARM_STARTS} starts by {}", way.name());
        bed.keep(&modules, standbys)?;
        let mut spans = Samples::default();
        for _ in 0..WARM_STARTS {
            bed.settle(standbys)?;
            let mut begun = bed.begin(way, &program)?;
            spans.add(begun.first_line()?);
            begun.end()?;
        }
        let says = |figure: &str| format!("{name}: {}, {figure}", way.name());
        let (median, p99) = (spans.quantile(0.5) * MS, spans.quantile(0.99) * MS);
        report.add(vec![row(&says("median"), median, Some(aims.0)), row(&says("p99"), p99, aims.1)]);
    }
    report.add(memory(&bed, name)?);
    if module == Some("numpy") {
        report.add(many(&bed, &program)?);
    }
    Ok(())
}

/// Cold starts, and the same program without us.
fn cold(bed: &Bed, python: &Path, (name, rounds): (&str, u32), program: &str) -> Result<Vec<Row>> {
    eprintln!("{name}: {rounds} rounds of cold starts");
    let (mut bare, mut own) = (Samples::default(), Samples::default());
    let (mut wrapped, mut oci, mut runtime) = (Samples::default(), Samples::default(), "an OCI runtime");
    let mut docked = Samples::default();
    // The root directory that the runtime's bundle has.
    let root = others::oci(&bed.image, program, bed.dir(), rounds)?.map(|_| bed.dir().join("bundle/rootfs"));
    let docker = root.map(|root| others::Docker::with_root(&root)).transpose()?.flatten();
    for round in 0..rounds {
        bare.add(others::first_line(others::bare(python, program))?);
        let mut begun = bed.begin(StartWay::Cold, program)?;
        own.add(begun.first_line()?);
        begun.end()?;
        if let Some(command) = others::bubblewrap(&bed.image, program) {
            wrapped.add(others::first_line(command)?);
        }
        if let Some((which, command)) = others::oci(&bed.image, program, bed.dir(), round)? {
            runtime = which;
            oci.add(others::first_line(command)?);
        }
        if let Some(docker) = &docker {
            docked.add(others::first_line(docker.run(&bed.image, program))?);
        }
    }
    let alone = bare.quantile(0.5) * MS;
    let versus = "the interpreter alone";
    let mut rows = vec![
        Row::plain(&format!("{name}: the interpreter alone, median"), alone, "ms"),
        Row::at_most(&format!("{name}: cold, median"), own.quantile(0.5) * MS, "ms", alone * 1.3).versus(versus, alone),
    ];
    for (what, spans) in [("bwrap", &wrapped), (runtime, &oci), ("docker run", &docked)] {
        if spans.count() == 0 {
            eprintln!("not measured: {what} is not installed, or does not answer");
            continue;
        }
        rows.push(Row::plain(&format!("{name}: {what}, median"), spans.quantile(0.5) * MS, "ms").versus(versus, alone));
    }
    Ok(rows)
}

/// Anonymous memory of the zygote and of one standby.
fn memory(bed: &Bed, name: &str) -> Result<Vec<Row>> {
    bed.settle(STANDBYS)?;
    let pids = descendants(bed.launcher.pid()).into_iter();
    // What is forked is one process namespace deeper than its zygote.
    let at_depth = |depth: usize| {
        pids.clone().filter(move |pid| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line = status.lines().find(|line| line.starts_with("NSpid:")).unwrap_or_default();
            let runs_python = fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"/"));
            runs_python && line.split_whitespace().count() == depth + 2
        })
    };
    let zygote = at_depth(1).map(unshared).max().unwrap_or(0);
    let standbys: Vec<u64> = at_depth(2).map(unshared).collect();
    let standby = standbys.iter().sum::<u64>() / standbys.len().max(1) as u64;
    let shared = at_depth(1).map(anonymous).max().unwrap_or(0);
    Ok(vec![
        Row::plain(&format!("{name}: zygote, its part of anonymous memory"), shared as f64 / MIB, "MiB"),
        Row::plain(&format!("{name}: zygote, memory of its own"), zygote as f64 / MIB, "MiB"),
        Row::plain(&format!("{name}: one standby, memory of its own"), standby as f64 / MIB, "MiB"),
    ])
}

/// Memory that a process shares with nobody, in bytes.
fn unshared(pid: u32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Private_Dirty:"));
    line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()).unwrap_or(0) << 10
}

/// A thousand in a row, then as many with some at once: how many a second, and what is left of them.
fn many(bed: &Bed, program: &str) -> Result<Vec<Row>> {
    bed.settle(STANDBYS)?;
    let before = held(bed);
    eprintln!("{IN_A_ROW} standbys and forks in a row");
    let begun = Instant::now();
    for _ in 0..IN_A_ROW {
        bed.begin_any(program)?.end()?;
    }
    let in_a_row = f64::from(IN_A_ROW) / begun.elapsed().as_secs_f64();
    eprintln!("{IN_A_ROW}, {AT_ONCE} at once");
    let begun = Instant::now();
    let mut running = std::collections::VecDeque::new();
    for _ in 0..IN_A_ROW {
        if running.len() == AT_ONCE {
            running.pop_front().map(super::bed::Begun::end).transpose()?;
        }
        running.push_back(bed.begin_any(program)?);
    }
    for last in running {
        last.end()?;
    }
    let at_once = f64::from(IN_A_ROW) / begun.elapsed().as_secs_f64();
    bed.settle(STANDBYS)?;
    let left = settled(|| held(bed), &before);
    let mut rows = vec![
        Row::plain("numpy: warm attempts in a row", in_a_row, "/s"),
        Row::plain(&format!("numpy: warm attempts, {AT_ONCE} at once"), at_once, "/s"),
    ];
    for ((what, was), (_, is)) in before.iter().zip(&left) {
        rows.push(Row::at_most(&format!("left after {}: {what}", 2 * IN_A_ROW), is - was, "", 0.0));
    }
    Ok(rows)
}

/// Waits at most a few seconds until no more is held than before: groups go a moment after their processes.
fn settled(held: impl Fn() -> Vec<(&'static str, f64)>, before: &[(&'static str, f64)]) -> Vec<(&'static str, f64)> {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let now = held();
        let is_back = now.iter().zip(before).all(|((_, is), (_, was))| is <= was);
        if is_back || Instant::now() > deadline {
            return now;
        }
        std::thread::yield_now();
    }
}

/// What the launcher holds of the host.
fn held(bed: &Bed) -> Vec<(&'static str, f64)> {
    let launcher = bed.launcher.pid();
    let count = |path: String| fs::read_dir(path).map_or(0, Iterator::count) as f64;
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let groups = mounts.lines().filter(|line| line.contains(" - cgroup")).filter_map(|line| line.split(' ').nth(4));
    let groups: usize = groups
        .flat_map(|mount| fs::read_dir(Path::new(mount).join("manta")).into_iter().flatten().flatten())
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&format!("{launcher}-")))
        .map(|entry| {
            fs::read_dir(entry.path()).map_or(0, |inside| inside.flatten().filter(|e| e.path().is_dir()).count())
        })
        .sum();
    vec![
        ("processes", descendants(launcher).len() as f64),
        ("mounts", mounts.lines().count() as f64),
        ("control groups", groups as f64),
        ("descriptors of the launcher", count(format!("/proc/{launcher}/fd"))),
    ]
}

/// What `manta run` gives for a numpy task that repeats.
fn through_the_product(warm: &str, wanted: &str, work_ms: u32, aims: Option<[f64; 2]>) -> Result<Vec<Row>> {
    eprintln!("the whole product, --warm {warm}, tasks of {work_ms} ms");
    let started = product::starts(warm, work_ms)?;
    let mut spans = Samples::default();
    started.iter().filter(|(way, _)| way == wanted).for_each(|(_, ms)| spans.add(Duration::from_secs_f64(ms / MS)));
    let (count, all) = (spans.count(), started.len());
    let name = format!("numpy, whole product, tasks of {work_ms} ms: {wanted} ({count} of {all})");
    Ok(vec![
        row(&format!("{name}, median"), spans.quantile(0.5) * MS, aims.map(|aims| aims[0])),
        row(&format!("{name}, p99"), spans.quantile(0.99) * MS, aims.map(|aims| aims[1])),
    ])
}

/// Milliseconds, with an aim where there is one.
fn row(name: &str, ms: f64, aim: Option<f64>) -> Row {
    match aim {
        Some(aim) => Row::at_most(name, ms, "ms", aim),
        None => Row::plain(name, ms, "ms"),
    }
}

/// What containment costs a numpy program that runs: its own seconds, alone and contained in turns.
fn work(python: &Path) -> Result<Vec<Row>> {
    if !has(python, "numpy") {
        return Ok(Vec::new());
    }
    eprintln!("a numpy program, alone and contained");
    let program = format!(
        "{FIRST_LINE}\nimport numpy\na = numpy.random.rand(300, 300)\nbegun = time.process_time_ns()\n\
         for _ in range(150):\n    a = a @ a; a /= abs(a).max(); os.stat('/'); open('/dev/null').close()\n\
         print(time.process_time_ns() - begun)"
    );
    let bed = Bed::new(python)?;
    let (mut alone, mut contained) = (Samples::default(), Samples::default());
    for _ in 0..15 {
        let ended = others::bare(python, &program).output()?;
        alone.add(worked(&String::from_utf8(ended.stdout)?)?);
        let mut begun = bed.begin(StartWay::Cold, &program)?;
        begun.first_line()?;
        contained.add(worked(&begun.end()?)?);
    }
    let (alone, contained) = (alone.quantile(0.5) * MS, contained.quantile(0.5) * MS);
    let name = "numpy program of a second, contained, processor time";
    Ok(vec![Row::at_most(name, contained, "ms", alone * 1.03).versus("alone", alone)])
}

fn worked(said: &str) -> Result<Duration> {
    Ok(Duration::from_nanos(said.lines().last().unwrap_or_default().parse()?))
}
