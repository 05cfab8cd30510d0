//! A manager with much open work is killed and started again: how long until a node has something to do.
use std::time::{Duration, Instant};

use anyhow::Result;
use futures_util::{StreamExt, TryStreamExt, stream};
use manta_testkit::bench::Row;
use serde_json::json;

use super::Sizes;
use crate::manager::{Manager, wait_for};
use crate::module;
use crate::node::{Node, hello};
use crate::samples::Samples;

const RESTARTS: usize = 20;
/// Swarms whose tasks all stand side by side, so that every task run is open.
const SWARMS: usize = 100;
/// Submissions on their way at once.
const AT_ONCE: usize = 8;
const SLOTS: u32 = 64;
const NAME: &str = "node-1";

/// `SIGKILL`, start, and the node is back without what it held: the first offer is measured from the start.
pub(super) fn measure(sizes: &Sizes) -> Result<Vec<Row>> {
    super::block_on(async {
        let tasks = (sizes.task_runs / SWARMS).max(1);
        let mut manager = Manager::serving().await?;
        let id = fill(&manager, tasks).await?;
        let mut samples = Samples::default();
        for _ in 0..RESTARTS {
            manager.kill()?;
            samples.add(restart(&mut manager, &id).await?);
        }
        let (runs, count) = (SWARMS * tasks, samples.count());
        let name = |share| format!("restart to first offer, {runs} open task runs, {share} of {count}");
        Ok(vec![
            Row::plain(&name("p50"), samples.quantile(0.5), "s").versus("a manager without any state", bare().await?),
            Row::at_most(&name("p99"), samples.quantile(0.99), "s", 2.0),
        ])
    })
}

/// Submits everything that is to be open, and gives the id of the node that it is placed on.
async fn fill(manager: &Manager, tasks: usize) -> Result<String> {
    let client = manager.client()?;
    let module = module::store(&client, "def main(): ...\n").await?;
    let node = Node::connect(manager, hello(NAME, "", SLOTS)).await?;
    let id = node.id.clone();
    let _beating = node.keep();
    let submissions = (0..SWARMS).map(|index| {
        let (client, module) = (client.clone(), module.clone());
        async move {
            let name = format!("open-{index}");
            let submission = module::swarm(&name, &module, tasks, &json!({"method": "any"}), &json!({}))?;
            client.submit(&submission, &name).await?;
            anyhow::Ok(())
        }
    });
    stream::iter(submissions).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    Ok(id)
}

async fn restart(manager: &mut Manager, id: &str) -> Result<Duration> {
    let started = Instant::now();
    manager.start()?;
    let connect = async || Node::connect(manager, hello(NAME, id, SLOTS)).await.ok();
    let mut node = wait_for("the node's session", connect).await?;
    node.offer().await?;
    Ok(started.elapsed())
}

/// The least that a start takes: a new data directory, a node, its welcome.
async fn bare() -> Result<f64> {
    let mut samples = Samples::default();
    for _ in 0..5 {
        let mut manager = Manager::new()?;
        let started = Instant::now();
        manager.start()?;
        wait_for("the node's session", async || Node::connect(&manager, hello(NAME, "", SLOTS)).await.ok()).await?;
        samples.add(started.elapsed());
    }
    Ok(samples.quantile(0.5))
}
