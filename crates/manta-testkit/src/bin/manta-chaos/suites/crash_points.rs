//! `kill -9` at every registered crash point, at its first pass, its second, and so on until a run passes it less often.
use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use anyhow::{Result, ensure};
use manta_testkit::sim::Chance;
use manta_types::crash::{EVENTS, MANAGER, NODE};
use rustix::process::Signal;

use crate::cluster::{Cluster, Launch, Who};
use crate::drive::{Reached, Work, bring_back, to_crash_point};
use crate::options::Plan;
use crate::report::Finding;
use crate::site::Site;
use crate::workload::Kind;

/// Nodes of the cluster; the last is the one that is killed.
const NODES: u32 = 2;
/// Passes of one point that are tried in the short form, and in the long one.
const PASSES: (u64, u64) = (1, 8);
/// The one point that a node passes once in its life.
const FIRST_START: &str = "node.id.kept";
/// Later passes of points drawn by chance in the short form.
const LATER: (u64, u64) = (6, 0);

/// Every point of the manager and its stores.
pub(crate) async fn manager(plan: Plan) -> Result<Vec<Finding>> {
    let events = EVENTS.iter().flat_map(|around| [around.before, around.durable]);
    let points: Vec<_> = MANAGER.iter().copied().chain(events).collect();
    let finding = Finding::of("M1", "kill -9 of the manager at every crash point");
    every_point(plan, Who::Manager, &points, finding).await
}

/// Every point of the agent.
pub(crate) async fn agent(plan: Plan) -> Result<Vec<Finding>> {
    let finding = Finding::of("N1", "kill -9 of an agent at every crash point");
    every_point(plan, Who::Node(NODES), NODE, finding).await
}

async fn every_point(plan: Plan, who: Who, points: &[&'static str], mut finding: Finding) -> Result<Vec<Finding>> {
    let mut cluster = Cluster::new(Site::new()?).start(NODES).await?;
    let mut work = Work::default();
    let mut exhausted = BTreeSet::new();
    for (point, pass) in passes(plan, points)? {
        if exhausted.contains(point) {
            continue;
        }
        if point == FIRST_START {
            exhausted.insert(point);
            finding.fell_at(point);
            finding.recovery.push(first_start(&mut cluster).await?);
            continue;
        }
        cluster.end(who, Signal::TERM).await?;
        cluster.launch(who, &Launch::until(point, pass))?;
        let (kind, loses_node) = scenario(point);
        work.add(kind);
        if to_crash_point(&mut cluster, who, &mut work, loses_node).await? == Reached::No {
            ensure!(pass > 1, "crash point `{point}` was never reached; the suite's work must pass it");
            exhausted.insert(point);
            continue;
        }
        finding.fell_at(point);
        finding.recovery.push(bring_back(&mut cluster, who, NODES).await?);
        work.finish(&cluster.client()?).await?;
    }
    finding.seen = work.check_all(&cluster.client()?).await?;
    cluster.stop().await?;
    Ok(vec![finding])
}

/// A node that ends when it has given itself an id joins under that id when it is started again.
async fn first_start(cluster: &mut Cluster) -> Result<Duration> {
    let newcomer = Who::Node(NODES + 1);
    cluster.launch(newcomer, &Launch::until(FIRST_START, 1))?;
    let status = cluster.process(newcomer)?.end().await?;
    ensure!(
        status.signal() == Some(Signal::KILL.as_raw()),
        "a first start ended with {status}, not at `{FIRST_START}`"
    );
    cluster.take_ended(newcomer)?;
    let back = bring_back(cluster, newcomer, NODES + 1).await?;
    cluster.end(newcomer, Signal::TERM).await?;
    Ok(back)
}

/// Which pass of which point, in order.
fn passes(plan: Plan, points: &[&'static str]) -> Result<Vec<(&'static str, u64)>> {
    let each = 1..=plan.count(PASSES.0, PASSES.1);
    let mut passes: Vec<_> = points.iter().flat_map(|point| each.clone().map(move |pass| (*point, pass))).collect();
    let mut chance = Chance::new(plan.seed);
    for _ in 0..plan.count(LATER.0, LATER.1) {
        let at = usize::try_from(chance.between(0, points.len() as u64))?;
        passes.push((points[at], chance.between(2, 12)));
    }
    Ok(passes)
}

/// The swarm whose life passes a point, and the node that must be lost for it.
fn scenario(point: &str) -> (Kind, Option<u32>) {
    match point.rsplit('.').next().unwrap_or(point) {
        "attempt_failed" | "swarm_failed" => (Kind::Broken, None),
        "attempt_cancelled" | "swarm_stopped" => (Kind::Hold, None),
        "swarm_paused" | "swarm_resumed" => (Kind::Paused { iterations: 3 }, None),
        "attempt_lost" => (Kind::Hold, Some(NODES)),
        _ => (Kind::Tally { iterations: 3 }, None),
    }
}
