//! The honest task that runs beside the programs, and what it measures.
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use manta_client::Client;

use super::nodes::Abused;
use super::rounds::{self, Lone};
use crate::history::Seen;
use crate::report::Finding;
use crate::workload::{persist, scalar};

const CODE: &str = include_str!("neighbour.py");
/// The line of it that says how long it measures.
const SECONDS: &str = "SECONDS = 10.0";
/// What a window has beside the time that is measured: start, end and result.
const AROUND: Duration = Duration::from_secs(2);

/// How long a little work, and an answer of the node, took; on all nodes together.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    work: Vec<Duration>,
    asks: Vec<Duration>,
}

impl Samples {
    /// Adds those of another window.
    pub(crate) fn add(&mut self, other: Self) {
        self.work.extend(other.work);
        self.asks.extend(other.asks);
    }

    /// None of them: what is measured first is colder than the rest.
    pub(crate) fn dropped(self) -> Self {
        Self::default()
    }

    /// A row for each kind of sample.
    pub(crate) fn findings(self, when: &str) -> Vec<Finding> {
        let row = |what: &str, samples: Vec<Duration>| {
            let finding = Finding::of("T11", format!("an honest task, {when}: {what}"));
            let seen = Seen { acknowledged: samples.len() as u64, ..Seen::default() };
            Finding { seen, recovery: samples, ..finding }
        };
        vec![row("a MiB hashed", self.work), row("an answer of its node", self.asks)]
    }
}

/// Has an honest task on every node measure for about so long.
pub(crate) async fn measure(client: &Client, nodes: &[Abused], window: Duration, key: &str) -> Result<Samples> {
    let mut samples = Samples::default();
    for one in try_join_all(nodes.iter().map(|node| measure_one(client, node, window, key))).await? {
        samples.add(one);
    }
    Ok(samples)
}

async fn measure_one(client: &Client, node: &Abused, window: Duration, key: &str) -> Result<Samples> {
    let seconds = window.saturating_sub(AROUND).as_secs_f64();
    let code = CODE.replace(SECONDS, &format!("SECONDS = {seconds:.1}"));
    let key = format!("neighbour-{key}-{}", node.number());
    let swarm =
        rounds::submit(client, &Lone { key, node: node.name(), code, is_limited: false, timeout_s: 110.0 }).await?;
    let ended = rounds::end(client, swarm).await?;
    ensure!(ended.class == "succeeded", "the honest task on {} ended as {}", node.name(), ended.class);
    let results = persist("results", || client.results(swarm)).await?;
    let read = async |name: &str| -> Result<Vec<Duration>> {
        let result =
            results.iter().find(|result| result.name == name).context("an honest task publishes its samples")?;
        let text = scalar(client, &result.blob).await?;
        text.split(',').map(|us| Ok(Duration::from_micros(us.parse()?))).collect()
    };
    Ok(Samples { work: read("work").await?, asks: read("asks").await? })
}
