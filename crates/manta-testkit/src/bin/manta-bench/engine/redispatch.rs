//! An agent is killed while it runs what may run anywhere: how long until another node is offered it.
use std::fs::File;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};
use manta_api::EventView;
use manta_client::Client;
use manta_testkit::bench::Row;
use manta_types::SwarmId;
use serde_json::{Value, json};

use super::Sizes;
use crate::manager::{Manager, binary, wait_for};
use crate::module;
use crate::samples::Samples;

/// Pairs of agents, each with a swarm that runs on either of the two.
const PAIRS: usize = 5;
const ROUNDS: usize = 4;
/// A task that runs for as long as it is let.
const SOURCE: &str = "import time\n\n\ndef main():\n    time.sleep(3600)\n";

/// An agent as a process of its own; it ends in order when its standard input is closed.
struct Agent {
    name: String,
    pair: usize,
    child: Child,
    lifeline: Option<ChildStdin>,
}

/// An attempt that runs on a node which is about to be lost.
struct Trial {
    swarm: SwarmId,
    seen: u64,
    agent: usize,
    killed: Instant,
}

pub(super) fn measure(_sizes: &Sizes) -> Result<Vec<Row>> {
    super::block_on(async {
        let manager = Manager::serving().await?;
        let client = manager.client()?;
        let module = module::store(&client, SOURCE).await?;
        let mut agents = Vec::new();
        for index in 0..2 * PAIRS {
            agents.push(Agent::start(&manager, format!("agent-{index}"), index / 2)?);
        }
        let mut samples = Samples::default();
        for round in 1..=ROUNDS {
            eprintln!("  round {round} of {ROUNDS}");
            all_online(&client, &agents).await?;
            let mut trials = Vec::new();
            for pair in 0..PAIRS {
                trials.push(begin(&client, &module, &format!("movable-{round}-{pair}"), pair, &mut agents).await?);
            }
            for trial in &trials {
                samples.add(replaced(&client, trial).await?.duration_since(trial.killed));
            }
            for trial in trials {
                client.stop(trial.swarm, &Client::new_key()).await?;
                let (name, pair) = (agents[trial.agent].name.clone(), agents[trial.agent].pair);
                agents[trial.agent] = Agent::start(&manager, name, pair)?;
            }
        }
        let name = |share| format!("lost node to its work's next offer, {share} of {}", samples.count());
        Ok(vec![
            Row::plain(&name("p50"), samples.quantile(0.5), "s"),
            Row::at_most(&name("p99"), samples.quantile(0.99), "s", 10.0),
        ])
    })
}

/// Waits until a pair's swarm runs on one of the two agents, and kills that one.
async fn begin(client: &Client, module: &Value, name: &str, pair: usize, agents: &mut [Agent]) -> Result<Trial> {
    let task = json!({"method": "any", "labels": {"pair": pair.to_string()}});
    let swarm = client.submit(&module::swarm(name, module, 1, &task, &json!({}))?, name).await?.id;
    let events = wait_for("the task's start", async || {
        let events = client.events(swarm, 0).await.ok()?;
        events.iter().any(|event| event.event["state"] == "running").then_some(events)
    });
    let events = events.await?;
    let offered = offers(&events).last().and_then(|event| event.node_name.clone()).context("it was offered")?;
    let agent = agents.iter().position(|agent| agent.name == offered).context("to an agent of ours")?;
    agents[agent].child.kill()?;
    let killed = Instant::now();
    agents[agent].child.wait()?;
    Ok(Trial { swarm, seen: events.last().map_or(0, |event| event.seq), agent, killed })
}

/// When the work of a killed agent was offered to another.
async fn replaced(client: &Client, trial: &Trial) -> Result<Instant> {
    wait_for("the replacement's offer", async || {
        let events = client.events(trial.swarm, trial.seen).await.ok()?;
        offers(&events).next().map(|_| Instant::now())
    })
    .await
}

fn offers(events: &[EventView]) -> impl Iterator<Item = &EventView> {
    events.iter().filter(|event| event.kind() == "attempt_offered")
}

async fn all_online(client: &Client, agents: &[Agent]) -> Result<()> {
    wait_for("every agent", async || {
        let nodes = client.nodes().await.ok()?;
        let online = |agent: &Agent| nodes.iter().any(|node| node.name == agent.name && node.state == "online");
        agents.iter().all(online).then_some(())
    })
    .await
}

impl Agent {
    fn start(manager: &Manager, name: String, pair: usize) -> Result<Self> {
        let log = File::options().append(true).create(true).open(manager.path(format!("{name}.log")))?;
        let mut child = Command::new(binary()?)
            .args(["node", "run", "--lifeline", "--slots", "1", "--isolation-min", "reduced", "--name", &name])
            .args(["--manager", &manager.address()?, "--label", &format!("pair={pair}"), "--token-file"])
            .arg(manager.path("data/node-token"))
            .arg("--data-dir")
            .arg(manager.path(&name))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("starting an agent")?;
        let lifeline = child.stdin.take();
        Ok(Self { name, pair, child, lifeline })
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        if let Err(error) = self.child.wait() {
            eprintln!("agent {} could not be waited for: {error}", self.name);
        }
    }
}
