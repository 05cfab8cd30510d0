//! `kill -9` at random moments inside a marked window: swarms are under way, and the process passes crash points.
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use manta_testkit::sim::Chance;
use rustix::process::Signal;

use crate::cluster::{Cluster, Who};
use crate::drive::{OVER_WITHIN, Work, bring_back};
use crate::options::Plan;
use crate::report::Finding;
use crate::site::Site;
use crate::wait::until;
use crate::workload::Kind;

const NODES: u32 = 2;
/// Kills in the short form, and in the long one.
const KILLS: (u64, u64) = (12, 1000);
/// Kills after which all swarms must come to their end.
const BATCH: u64 = 10;
/// Kills after which a fresh cluster goes on, so that the thousandth meets no longer histories than the hundredth.
const CLUSTER: u64 = 100;
/// Crash points that are passed before a kill of the manager, at most.
const MANAGER_PASSES_MAX: u64 = 80;
/// The same for an agent, which passes fewer.
const AGENT_PASSES_MAX: u64 = 12;
/// The longest wait after the last of them, in microseconds.
const AFTER_US_MAX: u64 = 20_000;
/// A kill falls into the window when the process has passed a crash point so shortly before.
const WINDOW: Duration = Duration::from_millis(250);

/// Kills of the manager, then kills of agents.
pub(crate) async fn run(plan: Plan) -> Result<Vec<Finding>> {
    let manager = Finding::of("M1", "kill -9 of the manager at random, while work goes on");
    let manager = kills(plan, Who::Manager, manager).await?;
    let agent = Finding::of("N1", "kill -9 of an agent at random, while work goes on");
    let agent = kills(plan, Who::Node(NODES), agent).await?;
    Ok(vec![manager, agent])
}

async fn kills(plan: Plan, who: Who, mut finding: Finding) -> Result<Finding> {
    let passes_max = passes_max(who);
    let mut chance = Chance::new(plan.seed ^ passes_max);
    let kills = plan.count(KILLS.0, KILLS.1);
    while finding.trials < kills {
        let until = kills.min(finding.trials + CLUSTER);
        kills_of_one(who, until, &mut chance, &mut finding).await?;
        eprintln!("  {}: {} of {kills}", finding.what, finding.trials);
    }
    Ok(finding)
}

/// Kills in one cluster, until so many were made in all.
async fn kills_of_one(who: Who, kills: u64, chance: &mut Chance, finding: &mut Finding) -> Result<()> {
    let passes_max = passes_max(who);
    let mut cluster = Cluster::new(Site::new()?).start(NODES).await?;
    let client = cluster.client()?;
    let mut work = Work::default();
    // A kill outside the window proves nothing and is not counted; it is made again.
    while finding.trials < kills {
        if work.is_idle() {
            work.add(Kind::Tally { iterations: 6 });
            work.add(Kind::Tally { iterations: 3 });
        }
        let swarms = work.submit_all(&client).await?;
        let wanted = cluster.passed(who).len() + usize::try_from(chance.between(1, passes_max))?;
        until(OVER_WITHIN, "work going on", async || {
            work.look(&client, &swarms).await?;
            let passed = cluster.passed(who).len();
            let waits = passed < wanted && !work.all_over(&swarms);
            Ok(waits.then(|| format!("{passed} of {wanted} crash points were passed")))
        })
        .await?;
        tokio::time::sleep(Duration::from_micros(chance.between(0, AFTER_US_MAX))).await;
        cluster.end(who, Signal::KILL).await?;
        if let Some(point) = within_window(&cluster, who) {
            finding.fell_at(&point);
        }
        finding.recovery.push(bring_back(&mut cluster, who, NODES).await?);
        if finding.trials % BATCH == BATCH - 1 {
            work.finish(&client).await?;
        }
    }
    work.finish(&client).await?;
    finding.seen += work.check_all(&client).await?;
    cluster.stop().await
}

fn passes_max(who: Who) -> u64 {
    if who == Who::Manager { MANAGER_PASSES_MAX } else { AGENT_PASSES_MAX }
}

/// The crash point that a process had passed last when it was killed a moment ago, if that was short before.
fn within_window(cluster: &Cluster, who: Who) -> Option<String> {
    let (time, point) = cluster.passed(who).pop()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    (now.saturating_sub(time) < WINDOW.as_nanos()).then_some(point)
}
