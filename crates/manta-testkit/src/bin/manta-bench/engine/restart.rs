//! A manager with much open work is killed and started again: how long until a node has something to do.
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use manta_api::node::{Hello, manager_message};
use manta_testkit::bench::Row;
use serde_json::{Value, json};

use super::Sizes;
use crate::manager::{Manager, wait_for};
use crate::module;
use crate::node::{Node, hello};
use crate::samples::Samples;

const RESTARTS: usize = 20;
/// Swarms whose tasks all stand side by side, so that every task run is open.
const SWARMS: usize = 100;
/// Submissions on their way at once.
const AT_ONCE: usize = 16;
const SLOTS: u32 = 64;
const NAME: &str = "node-1";

/// `SIGKILL`, start, and the node is back without what it held: the first offer is measured from the start, beside what has
/// ended and beside nothing.
pub(super) fn measure(sizes: &Sizes) -> Result<Vec<Row>> {
    super::block_on(async {
        let tasks = (sizes.task_runs / SWARMS).max(1);
        let runs = SWARMS * tasks;
        let young = restarts(tasks, 0).await?;
        let old = restarts(tasks, sizes.finished).await?;
        let name = |share| format!("restart to first offer, {runs} open task runs, {share} of {RESTARTS}");
        let beside = |share| format!("the same beside {} finished swarms, {share} of {RESTARTS}", sizes.finished);
        Ok(vec![
            Row::plain(&name("p50"), young.quantile(0.5), "s").versus("a manager without any state", bare().await?),
            Row::at_most(&name("p99"), young.quantile(0.99), "s", 2.0),
            Row::plain(&beside("p50"), old.quantile(0.5), "s").versus("without any", young.quantile(0.5)),
            Row::at_most(&beside("p99"), old.quantile(0.99), "s", 2.0),
        ])
    })
}

async fn restarts(tasks: usize, finished: usize) -> Result<Samples> {
    let mut manager = Manager::serving().await?;
    let module = module::store(&manager.client()?, "def main(): ...\n").await?;
    finish(&manager, &module, finished).await?;
    let id = fill(&manager, &module, tasks).await?;
    let mut samples = Samples::default();
    for _ in 0..RESTARTS {
        manager.kill()?;
        samples.add(restart(&mut manager, &id).await?);
    }
    Ok(samples)
}

/// Lets so many swarms run to their end.
pub(crate) async fn finish(manager: &Manager, module: &Value, count: usize) -> Result<()> {
    if count == 0 {
        return Ok(());
    }
    let mut node = Node::connect(manager, at("before", "", "done")).await?;
    let answers = tokio::spawn(async move {
        let mut accepted = 0;
        while accepted < count {
            match node.next().await? {
                manager_message::Kind::Offer(offer) => node.finish(&offer).await?,
                manager_message::Kind::Verdict(verdict) => {
                    ensure!(verdict.accepted, "a result was refused: {}", verdict.reason);
                    accepted += 1;
                }
                _ => {}
            }
        }
        Ok(())
    });
    submit(manager, module, "done", count, 1).await?;
    answers.await?
}

/// Submits everything that is to be open, and gives the id of the node that it is placed on.
async fn fill(manager: &Manager, module: &Value, tasks: usize) -> Result<String> {
    let node = Node::connect(manager, at(NAME, "", "open")).await?;
    let id = node.id.clone();
    let _beating = node.keep();
    submit(manager, module, "open", SWARMS, tasks).await?;
    Ok(id)
}

/// Submits swarms for the nodes of that label.
async fn submit(manager: &Manager, module: &Value, label: &str, count: usize, tasks: usize) -> Result<()> {
    let client = manager.client()?;
    let submissions = (0..count).map(|index| {
        let client = client.clone();
        async move {
            let name = format!("{label}-{index}");
            let task = json!({"method": "any", "labels": {"for": label}});
            client.submit(&module::swarm(&name, module, tasks, &task, &json!({}))?, &name).await?;
            anyhow::Ok(())
        }
    });
    stream::iter(submissions).buffer_unordered(AT_ONCE).try_collect::<()>().await
}

/// How a node for the swarms of that label introduces itself.
fn at(name: &str, id: &str, label: &str) -> Hello {
    let mut hello = hello(name, id, SLOTS);
    hello.labels.insert("for".to_owned(), label.to_owned());
    hello
}

async fn restart(manager: &mut Manager, id: &str) -> Result<Duration> {
    let started = Instant::now();
    manager.start()?;
    let connect = async || Node::connect(manager, at(NAME, id, "open")).await.ok();
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
