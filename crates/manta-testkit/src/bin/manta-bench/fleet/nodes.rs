//! Many connected nodes: what they cost a manager at rest, beside a swarm that runs on all of them, and after a restart.
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use manta_client::Client;
use manta_testkit::bench::Row;
use serde_json::json;
use tokio::task::JoinSet;

use super::member::Fleet;
use crate::manager::Manager;
use crate::module;
use crate::processes::{anonymous, cpu_ms};

/// How long the fleet is watched at rest.
const REST: Duration = Duration::from_secs(20);
/// The longest wait for a whole fleet.
const LIMIT: Duration = Duration::from_secs(600);
const LOOK: Duration = Duration::from_millis(20);
/// Memory of a manager for each connected node.
const MEMORY_AIM_KIB: f64 = 50.0;
/// How soon all nodes are back after a restart.
const BACK_AIM_S: f64 = 30.0;

pub(super) async fn measure(size: usize) -> Result<Vec<Row>> {
    let mut manager = Manager::serving().await?;
    let (pid, client) = (manager.pid()?, manager.client()?);
    let empty = anonymous(pid);

    eprintln!("{size} nodes connect");
    let fleet = Fleet::new(size, &manager)?;
    let mut nodes = JoinSet::new();
    let started = Instant::now();
    for index in 0..size {
        let fleet = Arc::clone(&fleet);
        nodes.spawn(async move { fleet.live(index).await });
    }
    until("every node's session", || fleet.connected() == size).await?;
    let connecting = started.elapsed();

    eprintln!("at rest for {} s", REST.as_secs());
    fleet.beats();
    let (cpu, watched) = (cpu_ms(pid), Instant::now());
    tokio::time::sleep(REST).await;
    let cpu = (cpu_ms(pid) - cpu) / (watched.elapsed().as_secs_f64() * 1000.0);
    let (resting, memory) = (fleet.beats().quantile(0.99) * 1000.0, anonymous(pid).saturating_sub(empty));

    eprintln!("a swarm on all of them");
    let module = module::store(&client, "def main(): ...\n").await?;
    let swarm = module::swarm("all", &module, 1, &json!({"method": "all"}), &json!({}))?;
    let started = Instant::now();
    client.submit(&swarm, &Client::new_key()).await?;
    until("the end of the task on every node", || fleet.finished() >= size).await?;
    let (running, beats) = (started.elapsed(), fleet.beats());

    eprintln!("the manager is killed, and starts again");
    manager.kill()?;
    until("the end of every session", || fleet.connected() == 0).await?;
    let started = Instant::now();
    manager.start()?;
    until("every node's next session", || fleet.connected() == size).await?;
    let back = started.elapsed().as_secs_f64();

    let count = size as f64;
    let name = |what: &str| format!("{size} nodes: {what}");
    Ok(vec![
        Row::plain(&name("sessions opened"), count / connecting.as_secs_f64(), "/s"),
        Row::at_most(&name("memory of the manager, each"), memory as f64 / count / 1024.0, "KiB", MEMORY_AIM_KIB),
        Row::plain(&name("manager at rest, share of one core"), 100.0 * cpu, "%"),
        Row::plain(&name("heartbeat at rest, p99"), resting, "ms"),
        Row::plain(&name("heartbeat beside a swarm on all, p99"), beats.quantile(0.99) * 1000.0, "ms")
            .versus("at rest", resting),
        Row::plain(&name("a task on all, attempts"), count / running.as_secs_f64(), "/s"),
        Row::at_most(&name("all back after a restart"), back, "s", BACK_AIM_S),
    ])
}

pub(super) async fn until(what: &str, mut holds: impl FnMut() -> bool) -> Result<()> {
    let started = Instant::now();
    while !holds() {
        if started.elapsed() > LIMIT {
            bail!("{what} did not come within {} s", LIMIT.as_secs());
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}
