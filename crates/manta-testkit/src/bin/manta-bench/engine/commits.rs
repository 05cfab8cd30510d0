//! Results that a manager accepts, durable before it says so, beside what its database alone can do.
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use manta_api::node::manager_message;
use manta_client::Client;
use manta_testkit::bench::Row;
use manta_types::SwarmId;
use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::Sizes;
use crate::manager::{Manager, wait_for};
use crate::module;
use crate::node::{Node, hello};

/// Nodes that report at the same time.
const WRITERS: [u64; 3] = [1, 10, 100];
/// How long each figure is measured; the comparison for half as long before and after it, since disks are moody.
const WINDOW: Duration = Duration::from_secs(3);
/// About as much as the manager writes of one event.
const ROW_BYTES: usize = 400;

/// Every writer is a node with a swarm of its own: it answers an offer, waits for the verdict, and gets the next.
pub(super) fn measure(_sizes: &Sizes) -> Result<Vec<Row>> {
    super::block_on(async {
        let manager = Manager::serving().await?;
        let client = manager.client()?;
        let module = module::store(&client, "def main(): ...\n").await?;
        let mut rows = Vec::new();
        for writers in WRITERS {
            let before = bare_inserts_per_s(&manager.path(format!("before-{writers}.sqlite")))?;
            let accepted = accepted_per_s(&manager, &client, &module, writers).await?;
            let after = bare_inserts_per_s(&manager.path(format!("after-{writers}.sqlite")))?;
            let plural = if writers == 1 { "" } else { "s" };
            let row = Row::plain(&format!("results accepted, {writers} writer{plural}"), accepted, "/s");
            rows.push(row.versus("one INSERT per transaction on bare SQLite", f64::midpoint(before, after)));
        }
        Ok(rows)
    })
}

async fn accepted_per_s(manager: &Manager, client: &Client, module: &Value, writers: u64) -> Result<f64> {
    let accepted = Arc::new(AtomicU64::new(0));
    let mut sessions = JoinSet::new();
    let mut swarms = Vec::new();
    for writer in 0..writers {
        let name = format!("writer-{writers}-{writer}");
        let node = Node::connect(manager, hello(&name, "", 1)).await?;
        sessions.spawn(write(node, Arc::clone(&accepted)));
        swarms.push(loop_on(client, module, &name).await?);
    }
    let count = || accepted.load(Ordering::Relaxed);
    wait_for("every writer's first verdict", async || (count() >= 2 * writers).then_some(())).await?;
    let (before, started) = (count(), Instant::now());
    tokio::time::sleep(WINDOW).await;
    let rate = (count() - before) as f64 / started.elapsed().as_secs_f64();
    while let Some(ended) = sessions.try_join_next() {
        ended??;
    }
    for swarm in swarms {
        client.stop(swarm, &Client::new_key()).await?;
    }
    Ok(rate)
}

/// A swarm that runs on one node, again and again.
async fn loop_on(client: &Client, module: &Value, node: &str) -> Result<SwarmId> {
    let task = json!({"method": "all", "specified": [node]});
    let submission = module::swarm(node, module, 1, &task, &json!({"max_iteration": 1_000_000}))?;
    Ok(client.submit(&submission, node).await?.id)
}

/// Answers every offer with success until its session ends with the bench.
async fn write(mut node: Node, accepted: Arc<AtomicU64>) -> Result<()> {
    loop {
        match node.next().await? {
            manager_message::Kind::Offer(offer) => node.finish(&offer).await?,
            manager_message::Kind::Verdict(verdict) => {
                ensure!(verdict.accepted, "a result was refused: {}", verdict.reason);
                accepted.fetch_add(1, Ordering::Relaxed);
            }
            manager_message::Kind::Cancel(_) => return Ok(()),
            _ => {}
        }
    }
}

/// The same database without Manta: one row per transaction, as durable, from one connection.
fn bare_inserts_per_s(path: &Path) -> Result<f64> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.execute_batch("CREATE TABLE events (seq INTEGER PRIMARY KEY, event TEXT NOT NULL) STRICT")?;
    let event = "x".repeat(ROW_BYTES);
    let mut insert = connection.prepare("INSERT INTO events (event) VALUES (?1)")?;
    let started = Instant::now();
    let mut inserted = 0.0;
    while started.elapsed() < WINDOW / 2 {
        insert.execute([&event])?;
        inserted += 1.0;
    }
    Ok(inserted / started.elapsed().as_secs_f64())
}
