//! Many swarms wait for their turn: what they cost the manager, and those who speak to it.
use std::time::Instant;

use anyhow::{Context, Result};
use futures_util::{StreamExt, TryStreamExt, stream};
use manta_client::Client;
use manta_testkit::bench::Row;
use manta_types::SwarmId;
use serde_json::{Value, json};

use super::Sizes;
use crate::manager::Manager;
use crate::module;
use crate::node::{Node, hello};
use crate::processes::anonymous;
use crate::samples::Samples;

/// What the queue is compared with.
const FEW: usize = 10;
const AT_ONCE: usize = 16;
/// Calls measured of each kind; a list is long, so fewer.
const CALLS: usize = 100;
const LISTS: usize = 5;
const MIB: f64 = 1_048_576.0;

/// Median latency of each kind of call, in milliseconds.
struct Latencies {
    submit: f64,
    show: f64,
    list: f64,
    heartbeat: f64,
}

struct Queue {
    manager: Manager,
    client: Client,
    module: Value,
    submitted: usize,
}

pub(super) fn measure(sizes: &Sizes) -> Result<Vec<Row>> {
    super::block_on(async {
        let mut queue = Queue::new().await?;
        let few = queue.grow(FEW).await?;
        let before = queue.latencies(&few, "few").await?;
        let bytes_before = anonymous(queue.manager.pid()?);
        let started = Instant::now();
        let many = queue.grow(sizes.queued).await?;
        let rate = sizes.queued as f64 / started.elapsed().as_secs_f64();
        let bytes = anonymous(queue.manager.pid()?);
        let after = queue.latencies(&many, "many").await?;
        let count = sizes.queued;
        let row = |what: &str, value: f64, base: f64| {
            Row::plain(&format!("{what}, {count} queued swarms, p50"), value, "ms")
                .versus(&format!("with {FEW} swarms"), base)
        };
        Ok(vec![
            Row::plain(&format!("submissions, up to {count} queued swarms"), rate, "/s"),
            Row::plain(&format!("manager, anonymous memory, {count} queued swarms"), bytes as f64 / MIB, "MiB")
                .versus(&format!("with {FEW} swarms"), bytes_before as f64 / MIB),
            Row::plain(
                "manager, memory per queued swarm",
                bytes.saturating_sub(bytes_before) as f64 / count as f64,
                "B",
            ),
            row("submit", after.submit, before.submit),
            row("show", after.show, before.show),
            row("ls", after.list, before.list),
            row("heartbeat", after.heartbeat, before.heartbeat),
        ])
    })
}

impl Queue {
    /// A manager with one node of one slot, which never ends what it begins.
    async fn new() -> Result<Self> {
        let manager = Manager::serving().await?;
        let client = manager.client()?;
        let module = module::store(&client, "def main(): ...\n").await?;
        let mut busy = hello("busy", "", 1);
        busy.labels.insert("queue".to_owned(), "here".to_owned());
        Node::connect(&manager, busy).await?.keep();
        Ok(Self { manager, client, module, submitted: 0 })
    }

    async fn grow(&mut self, count: usize) -> Result<Vec<SwarmId>> {
        let first = self.submitted;
        self.submitted += count;
        let submissions = (first..self.submitted).map(|index| {
            let (client, module) = (self.client.clone(), self.module.clone());
            async move { submit(&client, &module, &format!("queued-{index}")).await }
        });
        stream::iter(submissions).buffer_unordered(AT_ONCE).try_collect().await
    }

    async fn latencies(&self, swarms: &[SwarmId], round: &str) -> Result<Latencies> {
        let mut next = 0;
        let submitting = median_ms(CALLS, async || {
            next += 1;
            submit(&self.client, &self.module, &format!("measured-{round}-{next}")).await.map(drop)
        });
        let submit = submitting.await?;
        let mut ids = swarms.iter().cycle();
        let showing = median_ms(CALLS, async || {
            let id = ids.next().context("there are swarms")?;
            Ok(self.client.swarm(*id).await.map(drop)?)
        });
        let show = showing.await?;
        let list = median_ms(LISTS, async || Ok(self.client.swarms().await.map(drop)?)).await?;
        let mut node = Node::connect(&self.manager, hello(&format!("beating-{round}"), "", 1)).await?;
        let heartbeat = median_ms(CALLS, async || node.beat().await).await?;
        Ok(Latencies { submit, show, list, heartbeat })
    }
}

async fn submit(client: &Client, module: &Value, name: &str) -> Result<SwarmId> {
    let task = json!({"method": "any", "labels": {"queue": "here"}});
    Ok(client.submit(&module::swarm(name, module, 1, &task, &json!({}))?, name).await?.id)
}

async fn median_ms(calls: usize, mut call: impl AsyncFnMut() -> Result<()>) -> Result<f64> {
    let mut samples = Samples::default();
    for _ in 0..calls {
        let started = Instant::now();
        call().await?;
        samples.add(started.elapsed());
    }
    Ok(samples.quantile(0.5) * 1000.0)
}
