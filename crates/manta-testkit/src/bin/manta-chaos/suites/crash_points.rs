//! `kill -9` at every registered crash point: at its first pass, its second, and so on until a run passes it less often, and
//! then at its first again in further runs, until it was struck often enough.
use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt as _;

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
/// Kills that every point must have in the short form, and in the long one.
const KILLS_MIN: (u64, u64) = (1, 5);
/// Points after which a fresh cluster goes on in the long form, so that histories do not grow without end.
const POINTS_PER_CLUSTER: usize = 8;
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
    for points in points.chunks(plan.count(points.len(), POINTS_PER_CLUSTER)) {
        let cluster = Cluster::new(Site::new()?).start(NODES).await?;
        let mut strikes = Strikes { cluster, who, work: Work::default(), newcomers: 0, finding };
        let mut exhausted = BTreeSet::new();
        for (point, pass) in passes(plan, points)? {
            if !exhausted.contains(point) && strikes.strike(point, pass).await? == Reached::No {
                exhausted.insert(point);
            }
        }
        for point in points {
            while strikes.finding.fell_there(point) < plan.count(KILLS_MIN.0, KILLS_MIN.1) {
                strikes.strike(point, 1).await?;
            }
        }
        finding = strikes.end().await?;
    }
    Ok(vec![finding])
}

/// A cluster one of whose processes is ended again and again.
struct Strikes {
    cluster: Cluster,
    who: Who,
    work: Work,
    /// Nodes that came for the first time.
    newcomers: u32,
    finding: Finding,
}

impl Strikes {
    /// Ends the process at that pass of a point, unless the work is over before.
    async fn strike(&mut self, point: &'static str, pass: u64) -> Result<Reached> {
        if point == FIRST_START {
            // A node passes it once in its life; the next pass needs another node.
            self.first_start().await?;
            return Ok(Reached::Yes);
        }
        self.cluster.end(self.who, Signal::TERM).await?;
        self.cluster.launch(self.who, &Launch::until(point, pass))?;
        let (kind, loses_node) = scenario(point);
        self.work.add(kind);
        let reached = to_crash_point(&mut self.cluster, self.who, &mut self.work, loses_node).await?;
        if reached == Reached::No {
            ensure!(pass > 1, "crash point `{point}` was never reached; the suite's work must pass it");
            return Ok(reached);
        }
        self.finding.fell_at(point);
        self.finding.recovery.push(bring_back(&mut self.cluster, self.who, NODES).await?);
        self.work.finish(&self.cluster.client()?).await?;
        Ok(reached)
    }

    /// A node that ends when it has given itself an id joins under that id when it is started again.
    async fn first_start(&mut self) -> Result<()> {
        self.newcomers += 1;
        let newcomer = Who::Node(NODES + self.newcomers);
        self.cluster.launch(newcomer, &Launch::until(FIRST_START, 1))?;
        let status = self.cluster.process(newcomer)?.end().await?;
        ensure!(
            status.signal() == Some(Signal::KILL.as_raw()),
            "a first start ended with {status}, not at `{FIRST_START}`"
        );
        self.cluster.take_ended(newcomer)?;
        self.finding.fell_at(FIRST_START);
        self.finding.recovery.push(bring_back(&mut self.cluster, newcomer, NODES + 1).await?);
        self.cluster.end(newcomer, Signal::TERM).await.map(drop)
    }

    async fn end(mut self) -> Result<Finding> {
        self.finding.seen += self.work.check_all(&self.cluster.client()?).await?;
        self.cluster.stop().await?;
        Ok(self.finding)
    }
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
        "swarm_continued" => (Kind::Retried, None),
        "task_run_skipped" => (Kind::Lame, None),
        "node_excused" => (Kind::Excused, None),
        _ if point.starts_with("manager.duty.") => (Kind::Drained { iterations: 3 }, None),
        "attempt_lost" => (Kind::Hold, Some(NODES)),
        _ => (Kind::Tally { iterations: 3 }, None),
    }
}
