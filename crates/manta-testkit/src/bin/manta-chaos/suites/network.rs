//! The network between a node and the manager: partitions in each direction, loss, resets, half-open connections, delay,
//! a narrow line, connections cut in the middle of messages.
use std::process::Child;
use std::time::Duration;

use anyhow::{Result, ensure};
use manta_types::limits;

use crate::cluster::{Cluster, Who};
use crate::drive::{Work, running};
use crate::netns::{Direction, Namespace};
use crate::options::Plan;
use crate::report::Finding;
use crate::site::Site;
use crate::wait::until;
use crate::wire::{FORWARD, Wire};
use crate::workload::{Kind, persist};

const NODES: u32 = 2;
const FAR: Who = Who::Node(NODES);
/// How long a partition lasts: longer than a lease, shorter than the grace after which a node is excused.
const APART: Duration = Duration::from_secs(8);
/// How long a node may take to be back when the network is well again: the longest wait between two dials, and a dial.
const BACK_WITHIN: Duration = Duration::from_secs(35);
/// Percent of packets that are dropped.
const LOSS: u32 = 10;
/// One way.
const DELAY: Duration = Duration::from_millis(200);
const NARROW_BYTES: u64 = 64 << 10;
/// Bytes after which connections are cut, again and again: within a greeting, after it, and within the work.
const CUT_AFTER: [u64; 3] = [300, 900, 3000];

/// A cluster whose second node speaks out of a network namespace, through a relay.
struct Net {
    namespace: Namespace,
    wire: Wire,
    forwarder: Forwarder,
    cluster: Cluster,
    work: Work,
}

/// The process at the node's end of the wire.
struct Forwarder(Child);

impl Drop for Forwarder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// All of them, one after another.
pub(crate) async fn run(plan: Plan) -> Result<Vec<Finding>> {
    let mut net = Net::make().await?;
    let mut findings = Vec::new();
    for _ in 0..plan.count(1, 5) {
        for (what, rules) in [
            ("partition, both directions", &[(Direction::In, "drop"), (Direction::Out, "drop")][..]),
            ("partition, manager to node", &[(Direction::In, "drop")]),
            ("partition, node to manager", &[(Direction::Out, "drop")]),
        ] {
            findings.push(net.partition(what, rules).await?);
        }
        findings.push(net.resets().await?);
        findings.push(net.half_open().await?);
        findings.push(net.lossy().await?);
        findings.push(net.slow_line("every byte 200 ms later", |wire| wire.delay(DELAY)).await?);
        findings.push(net.slow_line("a line of 64 KiB a second", |wire| wire.rate(NARROW_BYTES)).await?);
        findings.push(net.cut_messages().await?);
    }
    let client = net.cluster.client()?;
    let seen = net.work.check_all(&client).await?;
    let mut merged: Vec<Finding> = Vec::new();
    for finding in findings {
        match merged.iter_mut().find(|merged| merged.what == finding.what) {
            Some(merged) => merged.add(finding),
            None => merged.push(Finding { seen: seen.clone(), ..finding }),
        }
    }
    let Net { namespace, wire, forwarder, cluster, .. } = net;
    cluster.stop_before((forwarder, wire, namespace)).await?;
    Ok(merged)
}

impl Net {
    async fn make() -> Result<Self> {
        let (namespace, site) = (Namespace::make()?, Site::new()?);
        let (near, far) = (site.root().join("m.sock"), site.root().join("far.sock"));
        let wire = Wire::listen(namespace.outside(), &near).await?;
        let words = [FORWARD, &far.display().to_string(), wire.address()];
        let forwarder = Forwarder(namespace.spawn(&std::env::current_exe()?, &words)?);
        let cluster = Cluster::new(site).with_dialled(NODES, format!("unix:{}", far.display())).start(NODES).await?;
        Ok(Self { namespace, wire, forwarder, cluster, work: Work::default() })
    }

    /// Work is under way on both nodes.
    async fn begin(&mut self) -> Result<()> {
        let client = self.cluster.client()?;
        self.work.add(Kind::Hold);
        self.work.add(Kind::Tally { iterations: 3 });
        for id in self.work.submit_all(&client).await?.values() {
            running(&client, *id).await?;
        }
        Ok(())
    }

    /// The node is back, and the work comes to its end; how long the first took.
    async fn recover(&mut self) -> Result<Duration> {
        let client = self.cluster.client()?;
        let back = until(BACK_WITHIN, "the node's return", async || {
            let nodes = persist("the nodes", || client.nodes()).await?;
            let state = nodes.into_iter().find(|node| node.name == FAR.name()).map(|node| node.state);
            Ok((state.as_deref() != Some("online")).then(|| format!("it is {state:?}")))
        })
        .await?;
        self.work.finish(&client).await?;
        Ok(back)
    }

    /// The manager has noticed that the node is away.
    async fn noticed(&self) -> Result<Duration> {
        let client = self.cluster.client()?;
        until(limits::LEASE * 3, "the node being missed", async || {
            let nodes = persist("the nodes", || client.nodes()).await?;
            let online = nodes.iter().any(|node| node.name == FAR.name() && node.state == "online");
            Ok(online.then(|| "it is online".to_owned()))
        })
        .await
    }

    async fn partition(&mut self, what: &str, rules: &[(Direction, &str)]) -> Result<Finding> {
        let mut finding = Finding::of("W1", what);
        self.begin().await?;
        for (direction, rule) in rules {
            self.namespace.rule(*direction, rule)?;
        }
        self.noticed().await?;
        tokio::time::sleep(APART.saturating_sub(limits::LEASE)).await;
        self.namespace.heal()?;
        finding.fell_at(what);
        finding.recovery.push(self.recover().await?);
        Ok(finding)
    }

    async fn resets(&mut self) -> Result<Finding> {
        let mut finding = Finding::of("W4", "connections reset");
        self.begin().await?;
        self.namespace.rule(Direction::Out, "meta l4proto tcp reject with tcp reset")?;
        self.noticed().await?;
        self.namespace.heal()?;
        finding.fell_at("reset");
        finding.recovery.push(self.recover().await?);
        Ok(finding)
    }

    /// Nobody is told that nothing passes any more; both sides must find out by themselves.
    async fn half_open(&mut self) -> Result<Finding> {
        let mut finding = Finding::of("W3", "half-open connections, until they are noticed");
        self.begin().await?;
        self.wire.freeze(true);
        finding.recovery.push(self.noticed().await?);
        self.wire.freeze(false);
        self.wire.cut();
        finding.fell_at("half-open");
        self.recover().await?;
        Ok(finding)
    }

    async fn lossy(&mut self) -> Result<Finding> {
        let mut finding = Finding::of("W2", "10 % of packets lost in each direction");
        let rule = format!("numgen random mod 100 < {LOSS} drop");
        self.namespace.rule(Direction::In, &rule)?;
        self.namespace.rule(Direction::Out, &rule)?;
        self.no_loss(Kind::Tally { iterations: 3 }).await?;
        self.namespace.heal()?;
        finding.fell_at("loss");
        Ok(finding)
    }

    async fn slow_line(&mut self, what: &str, slow: impl Fn(&Wire)) -> Result<Finding> {
        let mut finding = Finding::of("W2", what);
        slow(&self.wire);
        self.no_loss(Kind::Tally { iterations: 2 }).await?;
        self.wire.delay(Duration::ZERO);
        self.wire.rate(0);
        finding.fell_at(what);
        Ok(finding)
    }

    /// The work comes to its end, and no attempt is taken for lost meanwhile.
    async fn no_loss(&mut self, kind: Kind) -> Result<()> {
        let client = self.cluster.client()?;
        self.work.add(kind);
        let swarms = self.work.submit_all(&client).await?;
        self.work.finish(&client).await?;
        for id in swarms.values() {
            let events = persist("a history", || client.events(*id, 0)).await?;
            let lost = events.iter().filter(|event| event.kind() == "attempt_lost");
            let lost: Vec<_> = lost.map(|event| event.message.as_str()).collect();
            ensure!(lost.is_empty(), "a bad line made attempts lost: {lost:?}");
        }
        Ok(())
    }

    async fn cut_messages(&mut self) -> Result<Finding> {
        let mut finding = Finding::of("W4", "connections cut in the middle of messages");
        let client = self.cluster.client()?;
        for bytes in CUT_AFTER {
            self.work.add(Kind::Tally { iterations: 3 });
            let swarms = self.work.submit_all(&client).await?;
            let before = self.wire.cuts();
            self.wire.cut_after(bytes);
            self.wire.cut();
            // An idle connection passes too little to be cut: the swarm's end ends the wait as well.
            until(BACK_WITHIN, "connections being cut", async || {
                self.work.look(&client, &swarms).await?;
                let cuts = self.wire.cuts() - before;
                Ok((cuts < 3 && !self.work.all_over(&swarms)).then(|| format!("{cuts} were cut")))
            })
            .await?;
            self.wire.cut_after(0);
            self.wire.cut();
            (0..self.wire.cuts() - before).for_each(|_| finding.fell_at(&format!("after {bytes} bytes")));
            finding.recovery.push(self.recover().await?);
        }
        ensure!(finding.trials > 0, "no connection was cut in the middle of a message");
        Ok(finding)
    }
}
