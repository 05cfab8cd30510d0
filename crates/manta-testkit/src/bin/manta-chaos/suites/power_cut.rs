//! The power is cut under the manager's data, and under an agent's: what was acknowledged is there when it is back.
use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, ensure};
use manta_api::audit::AuditEntry;
use manta_node::{AUDIT_FILE, AuditFault, read_audit};
use manta_testkit::sim::Chance;
use manta_types::AttemptId;
use rustix::process::Signal;

use crate::cluster::{Cluster, Who};
use crate::disk::PowerDisk;
use crate::drive::{OVER_WITHIN, Work, bring_back};
use crate::options::Plan;
use crate::report::Finding;
use crate::site::Site;
use crate::wait::until;
use crate::workload::Kind;

/// Where an agent keeps reports that were not answered.
const OUTBOX: &str = "outbox";
const NODES: u32 = 2;
/// Cuts in the short form, and in the long one.
const CUTS: (u64, u64) = (4, 200);
/// Crash points that are passed before a cut, at most.
const PASSES_MAX: u64 = 40;

/// Cuts under the manager, then under an agent.
pub(crate) async fn run(plan: Plan) -> Result<Vec<Finding>> {
    let manager = Finding::of("S1", "power cut under the manager's data");
    let agent = Finding::of("N2", "power cut under an agent's data");
    Ok(vec![cuts(plan, Who::Manager, manager).await?, cuts(plan, Who::Node(NODES), agent).await?])
}

async fn cuts(plan: Plan, who: Who, mut finding: Finding) -> Result<Finding> {
    let site = Site::new()?;
    let mut disk = PowerDisk::mount(&site)?;
    let cluster = Cluster::new(site);
    let cluster = match who {
        Who::Manager => cluster.with_data_dir(&disk.dir().join("m")),
        Who::Node(number) => cluster.with_home(number, &disk.dir().join("n")),
    };
    let mut cluster = cluster.start(NODES).await?;
    let (client, mut work) = (cluster.client()?, Work::default());
    let mut chance = Chance::new(plan.seed);
    for _ in 0..plan.count(CUTS.0, CUTS.1) {
        if work.is_idle() {
            work.add(Kind::Tally { iterations: 4 });
        }
        let swarms = work.submit_all(&client).await?;
        let wanted = cluster.passed(who).len() + usize::try_from(chance.between(1, PASSES_MAX))?;
        until(OVER_WITHIN, "work going on", async || {
            work.look(&client, &swarms).await?;
            let passed = cluster.passed(who).len();
            Ok((passed < wanted && !work.all_over(&swarms))
                .then(|| format!("{passed} of {wanted} crash points were passed")))
        })
        .await?;
        // Held first: a sync that is under way while the power goes may report what is not so.
        cluster.process(who)?.hold().await?;
        let last = cluster.passed(who).pop();
        disk.cut()?;
        cluster.end(who, Signal::KILL).await?;
        disk.restore()?;
        if let Who::Node(number) = who {
            audit_has_all(&cluster.home(number), work.accepted_on(&who.name())?)?;
        }
        finding.fell_at(last.as_ref().map_or("before any crash point", |(_, point)| point));
        finding.recovery.push(bring_back(&mut cluster, who, NODES).await?);
        work.finish(&client).await?;
    }
    finding.seen = work.check_all(&client).await?;
    cluster.stop_before(disk).await?;
    Ok(finding)
}

/// The audit of a node whose power was cut tells the end of every attempt that was accepted, and of every report that will be said
/// again; of what came after, its last line may be cut.
fn audit_has_all(home: &Path, accepted: BTreeSet<AttemptId>) -> Result<()> {
    let mut untold = accepted;
    for entry in std::fs::read_dir(home.join(OUTBOX))? {
        untold.extend(entry?.file_name().to_str().and_then(|name| name.parse::<AttemptId>().ok()));
    }
    let read = read_audit(&home.join(AUDIT_FILE), |record| {
        if let AuditEntry::Ended { attempt, .. } = &record.entry
            && let Ok(attempt) = attempt.parse::<AttemptId>()
        {
            untold.remove(&attempt);
        }
    });
    match read {
        Err(AuditFault::Broken { why, .. }) if why.contains("it is not whole") => {}
        read => drop(read?),
    }
    ensure!(untold.is_empty(), "after a power cut the node's audit lacks the end of {untold:?}");
    Ok(())
}
