//! System calls of the manager that fail at the N-th time, or take long: it stops acknowledging and ends, or refuses, and
//! what it acknowledged is there when it is started anew.
use std::os::unix::process::ExitStatusExt as _;

use anyhow::{Result, ensure};
use manta_testkit::sim::Chance;
use rustix::process::Signal;

use crate::cluster::{Cluster, Launch, Who, tail};
use crate::drive::{Work, bring_back, while_alive};
use crate::options::Plan;
use crate::report::Finding;
use crate::site::Site;
use crate::workload::{Kind, persist};

const NODES: u32 = 2;
/// The fixed piece of work under which every call is counted.
const WORK: Kind = Kind::Tally { iterations: 1 };
/// Calls that are made to fail, one a trial: row of the matrix, calls, error.
const FAULTS: [(&str, &str, &str); 6] = [
    ("S4", "fsync,fdatasync", "EIO"),
    ("S5", "pwrite64", "ENOSPC"),
    ("S5", "pwrite64", "EIO"),
    ("S5", "rename", "EIO"),
    ("S5", "openat", "EMFILE"),
    ("S5", "unlink", "EIO"),
];
/// How many N of each in the short form; in the long one all, up to a limit that no piece of work reaches by far.
const TRIALS: (usize, usize) = (4, 400);
/// The N of the short form lie below it.
const SHORT_N_MAX: u64 = 40;
/// Microseconds that a slow sync takes.
const SLOW_US: (u64, u64) = (20_000, 500_000);

/// Every fault, then slow syncs.
pub(crate) async fn run(plan: Plan) -> Result<Vec<Finding>> {
    let mut cluster = Cluster::new(Site::new()?).start(NODES).await?;
    let (mut work, mut findings) = (Work::default(), Vec::new());
    for (row, calls, error) in FAULTS {
        let mut finding = Finding::of(row, format!("{error} at the N-th {}", calls.replace(',', " or ")));
        for nth in nths(plan, calls.len() as u64) {
            if !fails(&mut cluster, &mut work, calls, error, nth).await? {
                // The piece of work makes fewer such calls.
                break;
            }
            finding.fell_at(&format!("N = {nth}"));
            finding.recovery.push(bring_back(&mut cluster, Who::Manager, NODES).await?);
            work.finish(&cluster.client()?).await?;
        }
        findings.push(finding);
    }
    let slow = Finding::of("S3", format!("every sync takes {} ms longer", plan.count(SLOW_US.0, SLOW_US.1) / 1000));
    findings.push(slow_syncs(plan, &mut cluster, &mut work, slow).await?);
    let seen = work.check_all(&cluster.client()?).await?;
    findings.iter_mut().for_each(|finding| finding.seen = seen.clone());
    cluster.stop().await?;
    Ok(findings)
}

/// All N in the long form; some, rising, in the short one, the first always among them.
fn nths(plan: Plan, salt: u64) -> Vec<u64> {
    let count = plan.count(TRIALS.0, TRIALS.1);
    let mut chance = Chance::new(plan.seed ^ salt);
    let mut drawn: Vec<u64> = (1..count).map(|_| chance.between(2, SHORT_N_MAX)).collect();
    drawn.push(1);
    drawn.sort_unstable();
    drawn.dedup();
    plan.count(drawn, (1..=count as u64).collect())
}

/// Runs the piece of work with one failing call; afterwards the manager does not run. Whether the call was made at all.
async fn fails(cluster: &mut Cluster, work: &mut Work, calls: &str, error: &str, nth: u64) -> Result<bool> {
    cluster.end(Who::Manager, Signal::TERM).await?;
    let record = cluster.site().root().join("strace.out");
    let strace = strace(calls, &format!("error={error}:when={nth}"), &record.display().to_string());
    cluster.launch(Who::Manager, &Launch { within: strace, ..Launch::default() })?;
    let (client, log) = (cluster.client()?, cluster.log(Who::Manager));
    work.add(WORK);
    let status = match while_alive(cluster, Who::Manager, work.finish(&client)).await? {
        Ok(()) => cluster.end(Who::Manager, Signal::TERM).await?,
        Err(status) => {
            let in_order = status.signal().is_none() && status.code() != Some(0);
            ensure!(
                in_order,
                "{error} at {calls} {nth} ended the manager with {status}; its last words:\n{}",
                tail(&log)
            );
            status
        }
    };
    let words = std::fs::read_to_string(&log)?;
    ensure!(!words.contains("panicked"), "{error} at {calls} {nth}: the manager panicked ({status}):\n{}", tail(&log));
    let was_made = std::fs::read_to_string(&record)?.contains("(INJECTED)");
    if !was_made {
        bring_back(cluster, Who::Manager, NODES).await?;
    }
    Ok(was_made)
}

/// Nothing is taken for lost because the disk is slow.
async fn slow_syncs(plan: Plan, cluster: &mut Cluster, work: &mut Work, mut finding: Finding) -> Result<Finding> {
    cluster.end(Who::Manager, Signal::TERM).await?;
    let delay = format!("delay_enter={}", plan.count(SLOW_US.0, SLOW_US.1));
    let within = strace("fsync,fdatasync", &delay, "/dev/null");
    cluster.launch(Who::Manager, &Launch { within, ..Launch::default() })?;
    let client = cluster.client()?;
    for _ in 0..plan.count(1, 5) {
        work.add(Kind::Tally { iterations: 2 });
        let swarms = work.submit_all(&client).await?;
        work.finish(&client).await?;
        finding.fell_at("slow sync");
        for id in swarms.values() {
            let events = persist("a history", || client.events(*id, 0)).await?;
            let lost = events.iter().filter(|event| event.kind() == "attempt_lost" || event.event["state"] == "silent");
            let lost: Vec<_> = lost.map(|event| event.message.as_str()).collect();
            ensure!(lost.is_empty(), "a slow disk made attempts lost: {lost:?}");
        }
    }
    cluster.end(Who::Manager, Signal::TERM).await?;
    bring_back(cluster, Who::Manager, NODES).await?;
    Ok(finding)
}

/// The tracer as a process beside the traced one, so that the latter is our child.
fn strace(calls: &str, what: &str, record: &str) -> Vec<String> {
    let words = ["strace", "-D", "-f", "--seccomp-bpf", "-qq", "-e", "signal=none", "-e"];
    let mut words: Vec<String> = words.into_iter().map(str::to_owned).collect();
    words.extend([format!("trace={calls}"), "-e".to_owned(), format!("inject={calls}:{what}")]);
    words.extend(["-o".to_owned(), record.to_owned()]);
    words
}
