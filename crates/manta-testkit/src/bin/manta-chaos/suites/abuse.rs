//! Programs that take what they can, on a node in each tier, beside an honest task: each is stopped and told apart from a
//! mistake, the agents live, nothing is left, and the honest task is measured alone and beside them.
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use manta_client::Client;

use crate::abuse::footprint::Footprint;
use crate::abuse::nodes::{self, Abused};
use crate::abuse::program::{self, Program};
use crate::abuse::{neighbour, rounds};
use crate::cluster::{Cluster, Who};
use crate::options::Plan;
use crate::report::Finding;
use crate::site::Site;

/// How long an honest task measures at a time.
const WINDOW: Duration = Duration::from_secs(12);
/// In how many windows of rounds the honest task is measured alone once.
const ALONE_EVERY: usize = 6;

/// Every program once in each tier, or a thousand rounds.
pub(crate) async fn run(plan: Plan) -> Result<Vec<Finding>> {
    let programs = program::all()?;
    let nodes = nodes::here();
    let mut cluster = Cluster::new(Site::new()?);
    nodes::start(&mut cluster, &nodes).await?;
    let client = cluster.client()?;
    let mut abused = Vec::new();
    for node in &nodes {
        abused.push(Abused::find(node, &client).await?);
    }
    let each = plan.count(programs.len(), 1000_usize.div_ceil(nodes.len()));
    let outcome = go_on(&mut cluster, &client, &abused, &programs, each).await?;
    cluster.stop().await?;
    Ok(outcome)
}

/// Windows of rounds until every node had so many.
async fn go_on(
    cluster: &mut Cluster,
    client: &Client,
    nodes: &[Abused],
    programs: &[Program],
    each: usize,
) -> Result<Vec<Finding>> {
    let mut findings: BTreeMap<&str, Finding> = nodes
        .iter()
        .map(|node| (node.tier(), Finding::of("T1-9", format!("a program that takes what it can, {}", node.tier()))))
        .collect();
    let (mut alone, mut beside) = (neighbour::Samples::default(), neighbour::Samples::default());
    let agents: Vec<u32> =
        nodes.iter().map(|node| cluster.process(Who::Node(node.number())).map(|p| p.pid())).collect::<Result<_>>()?;
    // What an agent opens once and keeps is no leak: connections, its cache.
    alone.add(neighbour::measure(client, nodes, WINDOW, "warm-up").await?.dropped());
    let before: Vec<Footprint> = agents.iter().map(|pid| Footprint::of(*pid)).collect::<Result<_>>()?;
    let mut done = vec![0; nodes.len()];
    let mut windows = 0;
    while done.iter().any(|count| *count < each) {
        if windows % ALONE_EVERY == 0 {
            alone.add(neighbour::measure(client, nodes, WINDOW, &format!("alone-{windows}")).await?);
        }
        let over = Instant::now() + WINDOW;
        let key = format!("beside-{windows}");
        let work = nodes.iter().zip(&done).map(|(node, from)| rounds::until(client, node, programs, *from..each, over));
        let (samples, rounds) = tokio::try_join!(neighbour::measure(client, nodes, WINDOW, &key), try_join_all(work))?;
        beside.add(samples);
        for ((node, rounds), done) in nodes.iter().zip(rounds).zip(&mut done) {
            let finding = findings.get_mut(node.tier()).context("every tier has its row")?;
            *done += rounds.len();
            rounds.into_iter().for_each(|round| round.tell(finding));
        }
        windows += 1;
        for ((node, before), pid) in nodes.iter().zip(&before).zip(&agents) {
            let finding = findings.get_mut(node.tier()).context("every tier has its row")?;
            finding.seen.wrong.lost.extend(before.check(*pid, node).await?);
        }
    }
    for (node, pid) in nodes.iter().zip(&agents) {
        let process = cluster.process(Who::Node(node.number()))?;
        ensure!(process.pid() == *pid && process.ended()?.is_none(), "the agent of {} ended", node.name());
        eprintln!("  {}: {}", node.tier(), Footprint::of(*pid)?);
    }
    let mut all: Vec<Finding> = findings.into_values().collect();
    all.extend(alone.findings("alone"));
    all.extend(beside.findings("beside them"));
    Ok(all)
}
