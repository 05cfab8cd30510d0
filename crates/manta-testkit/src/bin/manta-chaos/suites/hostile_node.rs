//! A node with a valid token that forges: results for attempts it does not hold, of old and coming epochs, of other swarms,
//! guessed ids, replays of what was accepted, another node's name. Nothing of it may count.
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use manta_api::node::node_gateway_client::NodeGatewayClient;
use manta_api::node::{self as wire, manager_message, node_message};
use manta_api::version::{NODE_PROTOCOL, PRODUCT};
use manta_client::{Client, Connector, Endpoint, Token};
use manta_testkit::sim::Chance;
use manta_types::{AttemptId, SwarmEvent, SwarmId};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Streaming};

use crate::cluster::Cluster;
use crate::drive::{Work, running};
use crate::options::Plan;
use crate::report::Finding;
use crate::site::Site;
use crate::workload::{Kind, persist};

const NODES: u32 = 2;
/// Forged reports in the short form, and in the long one.
const FORGED: (u64, u64) = (400, 100_000);
/// How long the manager may take to answer.
const ANSWERED_WITHIN: Duration = Duration::from_secs(20);
/// Messages on their way.
const OUTBOUND_MAX: usize = 256;

/// Forges while honest work goes on, and checks that the work came out as if nobody had.
pub(crate) async fn run(plan: Plan) -> Result<Vec<Finding>> {
    let cluster = Cluster::new(Site::new()?).start(NODES).await?;
    let (client, mut work) = (cluster.client()?, Work::default());
    let mut forged = Finding::of("X1", "results forged by a node that holds a token");
    work.add(Kind::Tally { iterations: 3 });
    let accepted = work.submit_all(&client).await?;
    work.finish(&client).await?;
    work.add(Kind::Hold);
    work.add(Kind::Tally { iterations: 4 });
    let live = work.submit_all(&client).await?;
    for id in live.values() {
        running(&client, *id).await?;
    }
    let mut chance = Chance::new(plan.seed);
    let mut mallory = Mallory::connect(&cluster, "mallory").await?;
    let targets = targets(&client, accepted.values().chain(live.values()), &mut chance).await?;
    let value = client.put_blob_bytes(b"forged".to_vec()).await?;
    for _ in 0..plan.count(FORGED.0, FORGED.1) {
        let (way, attempt, epoch) = &targets[usize::try_from(chance.between(0, targets.len() as u64))?];
        mallory.forge(*attempt, *epoch, &value).await?;
        forged.fell_at(way);
    }
    for id in live.values() {
        let view = persist("a swarm", || client.swarm(*id)).await?;
        ensure!(view.state != "stopped", "a forged report stopped {id}: {}", view.reason);
    }
    work.finish(&client).await?;
    forged.seen = work.check_all(&client).await?;
    let mut named = Finding::of("N6", "a second node under the name of one that is there");
    named.seen = forged.seen.clone();
    for number in 1..=NODES {
        let taken = Mallory::connect(&cluster, &format!("node-{number}")).await;
        ensure!(taken.is_err(), "a second node got the name node-{number} while the first was there");
        named.fell_at("name taken");
    }
    drop(mallory);
    cluster.stop().await?;
    Ok(vec![forged, named])
}

/// Attempts to forge reports of, and in which way each is not Mallory's.
async fn targets(
    client: &Client,
    swarms: impl Iterator<Item = &SwarmId>,
    chance: &mut Chance,
) -> Result<Vec<(&'static str, AttemptId, u32)>> {
    let mut targets = Vec::new();
    for id in swarms {
        for event in persist("a history", || client.events(*id, 0)).await? {
            let Some(SwarmEvent::AttemptOffered { attempt, epoch, .. }) = event.parsed(*id).map(|event| event.what)
            else {
                continue;
            };
            targets.extend([
                ("another node's attempt", attempt, epoch),
                ("an old epoch", attempt, epoch.saturating_sub(1)),
                ("a coming epoch", attempt, epoch + 1),
            ]);
        }
    }
    for _ in 0..8 {
        let guess = uuid::Uuid::from_u64_pair(chance.between(0, u64::MAX), chance.between(0, u64::MAX));
        targets.push(("a guessed id", AttemptId::from_uuid(guess), 1));
    }
    ensure!(targets.len() > 8, "there is nothing to forge");
    Ok(targets)
}

/// A node that lies.
struct Mallory {
    outbound: mpsc::Sender<wire::NodeMessage>,
    inbound: Streaming<wire::ManagerMessage>,
}

impl Mallory {
    /// Opens a session under a name, with the cluster's node token.
    async fn connect(cluster: &Cluster, name: &str) -> Result<Self> {
        let endpoint: Endpoint = cluster.listen().parse()?;
        let token = Token::from_file(&cluster.data_dir().join("node-token"))?;
        let channel = tonic::transport::Endpoint::from_shared(endpoint.origin())?;
        let channel = channel.connect_with_connector(Connector::new(&endpoint)).await?;
        let (outbound, messages) = mpsc::channel(OUTBOUND_MAX);
        let hello = wire::Hello {
            protocol: NODE_PROTOCOL,
            agent_version: PRODUCT.to_owned(),
            name: name.to_owned(),
            slots: 1,
            cpu_count: 1.0,
            memory_bytes: 1 << 30,
            tier: "full".to_owned(),
            images: vec!["latest".to_owned()],
            ..wire::Hello::default()
        };
        outbound.send(wire::NodeMessage { kind: Some(node_message::Kind::Hello(hello)) }).await?;
        let mut request = Request::new(ReceiverStream::new(messages));
        request.metadata_mut().insert("authorization", format!("Bearer {}", token.expose()).parse()?);
        let inbound = NodeGatewayClient::new(channel).session(request).await?.into_inner();
        let mut mallory = Self { outbound, inbound };
        match mallory.hears().await? {
            manager_message::Kind::Welcome(_) => Ok(mallory),
            other => bail!("a welcome comes first, not {other:?}"),
        }
    }

    async fn hears(&mut self) -> Result<manager_message::Kind> {
        let message = timeout(ANSWERED_WITHIN, self.inbound.message()).await.context("no answer came in time")??;
        message.and_then(|message| message.kind).context("the session ended")
    }

    /// Reports that it finished an attempt that is not its own, with results, a global, and the wish that the swarm ends;
    /// fails if that is accepted.
    async fn forge(&mut self, attempt: AttemptId, epoch: u32, value: &manta_types::Blob) -> Result<()> {
        let blob = || Some(wire::Blob { digest: value.digest.to_string(), size: value.size });
        let report = wire::AttemptFinished {
            attempt: attempt.to_string(),
            epoch,
            results: vec![wire::Published { name: "part".to_owned(), blob: blob() }],
            globals: vec![wire::Published { name: "total".to_owned(), blob: blob() }],
            stop_swarm: true,
            timings: Some(wire::Timings::default()),
            ..wire::AttemptFinished::default()
        };
        self.outbound.send(wire::NodeMessage { kind: Some(node_message::Kind::Finished(report)) }).await?;
        loop {
            match self.hears().await? {
                manager_message::Kind::Verdict(verdict) if verdict.attempt == attempt.to_string() => {
                    ensure!(!verdict.accepted, "a forged report of {attempt}, epoch {epoch}, was accepted");
                    return Ok(());
                }
                manager_message::Kind::Offer(offer) => bail!("a node that nothing names was offered {}", offer.attempt),
                _ => {}
            }
        }
    }
}
