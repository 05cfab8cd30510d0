//! The engine alone, in memory: what one event costs, beside the number of nodes.
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use manta_api::SwarmSubmission;
use manta_engine::{Command, Engine, Input, NodeDescription, Now, Offer, Step, Submit};
use manta_testkit::bench::Row;
use manta_types::event::{AttemptStateName, Outputs, Timings};
use manta_types::{NodeName, SwarmId, SwarmState, Timestamp};
use serde_json::json;
use uuid::Uuid;

use super::Sizes;

/// Attempts that each size runs at the least, so that small clusters are measured as long as large ones.
const ATTEMPTS_MIN: usize = 300_000;
/// Iterations of the largest cluster.
const ITERATIONS_MIN: usize = 3;
/// Heartbeats measured of each size.
const HEARTBEATS: usize = 100_000;
/// The time in which every node answers once; shorter than a lease.
const PASS_MS: usize = 1000;

/// What one size cost.
struct Cost {
    events_per_s: f64,
    event_us: f64,
    heartbeat_us: f64,
}

/// A swarm of workers on all nodes and one aggregator runs for several iterations, every report fed back.
///
/// What grows with a cluster is its memory too, and a processor's caches make small ones cheap whatever the algorithm. So
/// a large cluster is compared with small ones that take turns and are as large together.
pub(super) fn measure(sizes: &Sizes) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let few = sizes.nodes.first().copied().context("one size at least is measured")?;
    for nodes in sizes.nodes.iter().copied() {
        eprintln!("  {nodes} nodes");
        let cost = run(nodes, 1)?;
        let event = Row::plain(&format!("engine, one event, {nodes} nodes"), cost.event_us, "µs");
        let heartbeat = Row::plain(&format!("engine, one heartbeat, {nodes} nodes"), cost.heartbeat_us, "µs");
        rows.push(Row::plain(&format!("engine, decisions, {nodes} nodes"), cost.events_per_s, "/s"));
        if nodes == few {
            rows.extend([event, heartbeat]);
            continue;
        }
        let clusters = nodes / few;
        eprintln!("  {clusters} clusters of {few} nodes");
        let base = run(few, clusters)?;
        let versus = format!("in {clusters} clusters of {few}");
        rows.push(event.versus(&versus, base.event_us));
        rows.push(heartbeat.versus(&versus, base.heartbeat_us));
        let growth = (nodes as f64).ln() / (few as f64).ln();
        let name = format!("engine, growth of an event's cost, {few} to {nodes}");
        rows.push(Row::at_most(&name, cost.event_us / base.event_us, "×", growth));
    }
    Ok(rows)
}

/// A cluster whose nodes answer at once, and the time that the engine alone took.
struct Cluster {
    engine: Engine,
    nodes: usize,
    offers: VecDeque<Box<Offer>>,
    answers: usize,
    events: usize,
    spent: Duration,
}

/// Clusters of as many nodes take turns, attempt by attempt.
fn run(nodes: usize, clusters: usize) -> Result<Cost> {
    let iterations = (ATTEMPTS_MIN / (nodes * clusters)).max(ITERATIONS_MIN);
    let mut clusters: Vec<_> = (0..clusters).map(|_| Cluster::new(nodes)).collect();
    for cluster in &mut clusters {
        for index in 0..nodes {
            cluster.input(Input::NodeConnected { node: describe(index)?, held: Vec::new() });
        }
        (cluster.events, cluster.spent) = (0, Duration::ZERO);
        cluster.submit(iterations)?;
    }
    while clusters.iter_mut().filter_map(Cluster::answer_one).count() > 0 {}
    for cluster in &clusters {
        let swarm = cluster.engine.swarms().last().context("the engine knows its swarm")?;
        ensure!(swarm.state() == SwarmState::Succeeded, "a swarm ended {:?} over {nodes} nodes", swarm.state());
    }
    let events = clusters.iter().map(|cluster| cluster.events).sum::<usize>() as f64;
    let spent = clusters.iter().map(|cluster| cluster.spent.as_secs_f64()).sum::<f64>();
    let heartbeat_us = heartbeat(&mut clusters, nodes)?;
    Ok(Cost { events_per_s: events / spent, event_us: spent / events * 1e6, heartbeat_us })
}

/// All nodes beat in turn while a swarm runs on them.
fn heartbeat(clusters: &mut [Cluster], nodes: usize) -> Result<f64> {
    for cluster in &mut *clusters {
        cluster.submit(1)?;
        cluster.spent = Duration::ZERO;
    }
    let taking_turns = clusters.len();
    for beat in 0..HEARTBEATS {
        let node = name(beat / taking_turns % nodes)?;
        clusters[beat % taking_turns].input(Input::NodeHeard { node });
    }
    Ok(clusters.iter().map(|cluster| cluster.spent.as_secs_f64()).sum::<f64>() / HEARTBEATS as f64 * 1e6)
}

impl Cluster {
    fn new(nodes: usize) -> Self {
        let (offers, spent) = (VecDeque::new(), Duration::ZERO);
        Self { engine: Engine::new(7), nodes, offers, answers: 0, events: 0, spent }
    }

    fn now(&self) -> Now {
        let elapsed_ms = (self.answers * PASS_MS / self.nodes) as u64;
        Now { monotonic: Timestamp::from_ms((1 << 40) + elapsed_ms), wall_ms: 1_700_000_000_000 + elapsed_ms }
    }

    /// One step and the question when the next is due, as the manager's loop asks it.
    fn input(&mut self, input: Input) {
        let now = self.now();
        let started = Instant::now();
        let Step { events, commands, .. } = self.engine.step(now, input);
        std::hint::black_box(self.engine.next_wake());
        self.spent += started.elapsed();
        self.events += events.len();
        self.offers.extend(commands.into_iter().filter_map(|command| match command {
            Command::Offer(offer) => Some(offer),
            Command::Cancel { .. } | Command::Verdict { .. } => None,
        }));
    }

    fn submit(&mut self, iterations: usize) -> Result<()> {
        let submission: SwarmSubmission = serde_json::from_value(json!({
            "name": "federated averaging", "max_iteration": iterations,
            "modules": [{"bundle": "0".repeat(64), "name": "m", "version": "1.0.0", "image": "manta_light:latest"}],
            "tasks": [{"alias": "worker", "module": 0, "method": "all"},
                      {"alias": "aggregator", "module": 0, "method": "any", "after": [0]}],
        }))?;
        let id = SwarmId::from_uuid(Uuid::from_u128(self.events as u128 + 1));
        self.input(Input::Submit(Submit { id, spec: Arc::new(submission.check()?), continues: None }));
        Ok(())
    }

    /// The next node that has an offer answers it, if there is one.
    fn answer_one(&mut self) -> Option<()> {
        let offer = self.offers.pop_front()?;
        self.answer(&offer);
        Some(())
    }

    /// A node takes an attempt through its phases to success.
    fn answer(&mut self, offer: &Offer) {
        self.answers += 1;
        let Offer { node, attempt, epoch, .. } = offer;
        self.input(Input::NodeHeard { node: node.clone() });
        for phase in [AttemptStateName::Preparing, AttemptStateName::Running, AttemptStateName::Uploading] {
            self.input(Input::Progressed { node: node.clone(), attempt: *attempt, epoch: *epoch, phase });
        }
        let (outputs, timings) = (Outputs::default(), Timings::default());
        self.input(Input::Succeeded { node: node.clone(), attempt: *attempt, epoch: *epoch, outputs, timings });
    }
}

fn name(index: usize) -> Result<NodeName> {
    Ok(NodeName::new(&format!("node-{index}"))?)
}

fn describe(index: usize) -> Result<NodeDescription> {
    Ok(NodeDescription {
        name: name(index)?,
        labels: std::collections::BTreeMap::new(),
        datasets: vec!["digits".to_owned()],
        images: vec!["latest".to_owned()],
        runtimes: std::collections::BTreeMap::new(),
        pythons: std::collections::BTreeMap::new(),
        architecture: String::new(),
        slots: 2,
        cpu: 2.0,
        memory_bytes: 8 << 30,
        tmp_bytes: 8 << 30,
        gpus: Vec::new(),
        policy: manta_types::Policy::default(),
    })
}
