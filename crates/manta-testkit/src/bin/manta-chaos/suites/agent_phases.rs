//! `kill -9` of an agent while its attempt is in each phase, as the manager's history tells it.
use std::time::Duration;

use anyhow::Result;
use manta_client::Client;
use manta_types::SwarmId;

use crate::cluster::{Cluster, Who};
use crate::drive::{Work, kill_and_wait};
use crate::options::Plan;
use crate::report::Finding;
use crate::site::Site;
use crate::wait::until;
use crate::workload::{Kind, persist};

const NODES: u32 = 2;
const PHASES: [&str; 3] = ["preparing", "running", "uploading"];
/// How long a phase may take to begin.
const PHASE_WITHIN: Duration = Duration::from_secs(30);

/// Kills the agent in each phase, some times.
pub(crate) async fn run(plan: Plan) -> Result<Vec<Finding>> {
    let mut cluster = Cluster::new(Site::new()?).start(NODES).await?;
    let (who, client) = (Who::Node(NODES), cluster.client()?);
    let mut finding = Finding::of("N1", "kill -9 of an agent in each phase of its attempt");
    let mut work = Work::default();
    for _ in 0..plan.count(1, 10) {
        for phase in PHASES {
            work.add(if phase == "running" { Kind::Hold } else { Kind::Tally { iterations: 2 } });
            let swarms = work.submit_all(&client).await?;
            for id in swarms.values() {
                in_phase(&client, *id, &who.name(), phase).await?;
            }
            finding.fell_at(phase);
            finding.recovery.push(kill_and_wait(&mut cluster, who, NODES).await?);
            work.look(&client, &swarms).await?;
            work.finish(&client).await?;
        }
    }
    finding.seen = work.check_all(&client).await?;
    cluster.stop().await?;
    Ok(vec![finding])
}

/// Waits until an attempt on the node has entered the phase.
async fn in_phase(client: &Client, swarm: SwarmId, node: &str, phase: &str) -> Result<()> {
    let what = format!("an attempt on {node} that is {phase}");
    until(PHASE_WITHIN, &what, async || {
        let events = persist("a history", || client.events(swarm, 0)).await?;
        let is_so = |event: &manta_api::EventView| {
            event.node_name.as_deref() == Some(node) && event.event["state"].as_str() == Some(phase)
        };
        let last = events.last().map(|event| event.message.clone());
        Ok((!events.iter().any(is_so)).then(|| last.unwrap_or_default()))
    })
    .await
    .map(drop)
}
