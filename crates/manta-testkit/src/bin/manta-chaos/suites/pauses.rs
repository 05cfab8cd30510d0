//! Processes that stand still beyond a lease and go on: nothing may be taken for lost that is not, nothing counts twice.
use anyhow::{Result, ensure};
use manta_types::limits;
use rustix::process::Signal;
use std::time::Duration;

use crate::cluster::{Cluster, Who};
use crate::drive::{Work, running};
use crate::options::Plan;
use crate::report::Finding;
use crate::site::Site;
use crate::workload::{Kind, persist};

const NODES: u32 = 2;
/// How much longer than a lease a process stands still.
const BEYOND: Duration = Duration::from_secs(2);

/// The manager, then an agent.
pub(crate) async fn run(plan: Plan) -> Result<Vec<Finding>> {
    let mut cluster = Cluster::new(Site::new()?).start(NODES).await?;
    let manager = Finding::of("M2", "SIGSTOP of the manager for longer than a lease");
    let manager = pause(plan, &mut cluster, Who::Manager, manager).await?;
    let agent = Finding::of("N3", "SIGSTOP of an agent for longer than a lease");
    let agent = pause(plan, &mut cluster, Who::Node(NODES), agent).await?;
    cluster.stop().await?;
    Ok(vec![manager, agent])
}

async fn pause(plan: Plan, cluster: &mut Cluster, who: Who, mut finding: Finding) -> Result<Finding> {
    let client = cluster.client()?;
    let mut work = Work::default();
    for _ in 0..plan.count(1, 20) {
        work.add(Kind::Hold);
        work.add(Kind::Tally { iterations: 2 });
        let swarms = work.submit_all(&client).await?;
        for id in swarms.values() {
            running(&client, *id).await?;
        }
        cluster.process(who)?.signal(Signal::STOP)?;
        tokio::time::sleep(limits::LEASE + BEYOND).await;
        cluster.process(who)?.signal(Signal::CONT)?;
        finding.fell_at("SIGSTOP");
        finding.recovery.push(cluster.online(NODES).await?);
        for id in swarms.values() {
            let events = persist("a history", || client.events(*id, 0)).await?;
            let lost = events.iter().filter(|event| event.kind() == "attempt_lost");
            let lost: Vec<_> = lost.map(|event| event.message.as_str()).collect();
            ensure!(lost.is_empty(), "{} stood still and attempts were taken for lost: {lost:?}", who.name());
        }
        work.finish(&client).await?;
    }
    finding.seen = work.check_all(&client).await?;
    Ok(finding)
}
