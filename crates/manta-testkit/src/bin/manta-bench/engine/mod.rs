//! `cargo xtask bench engine`: what orchestration costs, from the engine alone to real processes.
mod commits;
mod decisions;
mod queue;
mod redispatch;
pub(crate) mod restart;

use std::future::Future;

use anyhow::{Result, bail};
use manta_testkit::bench::Row;

use crate::report::Report;

/// A group of figures that can be measured alone.
struct Group {
    name: &'static str,
    measure: fn(&Sizes) -> Result<Vec<Row>>,
}

const GROUPS: &[Group] = &[
    Group { name: "decisions", measure: decisions::measure },
    Group { name: "commits", measure: commits::measure },
    Group { name: "restart", measure: restart::measure },
    Group { name: "redispatch", measure: redispatch::measure },
    Group { name: "queue", measure: queue::measure },
];

/// How large the measured clusters are.
struct Sizes {
    /// Nodes of the engine alone; the first is what the others are compared with.
    nodes: Vec<usize>,
    /// Task runs that are open when a manager is killed.
    task_runs: usize,
    /// Swarms that ended before.
    finished: usize,
    /// Swarms that wait for their turn.
    queued: usize,
}

/// Measures the groups that are named, or all of them.
pub(crate) fn measure(report: &mut Report, arguments: &[&str]) -> Result<()> {
    let (sizes, names) = parse(arguments)?;
    for group in GROUPS.iter().filter(|group| names.is_empty() || names.contains(&group.name)) {
        eprintln!("measuring {}", group.name);
        report.add((group.measure)(&sizes)?);
    }
    Ok(())
}

/// `[--nodes N,…] [--task-runs N] [--finished N] [--queued N] [group …]`
fn parse<'a>(arguments: &[&'a str]) -> Result<(Sizes, Vec<&'a str>)> {
    let mut sizes = Sizes { nodes: vec![1_000, 10_000, 100_000], task_runs: 10_000, finished: 10_000, queued: 10_000 };
    let mut names = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match *argument {
            "--nodes" => {
                let counts = rest.next().copied().unwrap_or_default().split(',');
                sizes.nodes = counts.map(|text| count("--nodes", text)).collect::<Result<_>>()?;
            }
            "--task-runs" => sizes.task_runs = count(argument, rest.next().copied().unwrap_or_default())?,
            "--finished" => sizes.finished = count(argument, rest.next().copied().unwrap_or_default())?,
            "--queued" => sizes.queued = count(argument, rest.next().copied().unwrap_or_default())?,
            name if GROUPS.iter().any(|group| group.name == name) => names.push(name),
            other => {
                let known: Vec<_> = GROUPS.iter().map(|group| group.name).collect();
                bail!(
                    "`bench engine` knows no `{other}`; it measures {} (all of them by default), takes the sizes \
                     --nodes, --task-runs, --finished and --queued, and prints a document with --json",
                    known.join(", ")
                );
            }
        }
    }
    Ok((sizes, names))
}

fn count(option: &str, text: &str) -> Result<usize> {
    let count = text.parse().ok().filter(|count| *count > 0);
    count.ok_or_else(|| anyhow::anyhow!("{option} takes a count of at least 1, not `{text}`"))
}

fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(work)
}
