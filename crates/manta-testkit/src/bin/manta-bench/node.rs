//! A node that speaks the node protocol and runs nothing: it answers as the bench tells it.
use anyhow::{Context, Result, bail};
use manta_api::node::node_gateway_client::NodeGatewayClient;
use manta_api::node::{self as wire, manager_message, node_message};
use manta_api::version;
use manta_client::{Connector, Token};
use manta_types::limits;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;
use tonic::{Request, Streaming};

use crate::manager::{LIMIT, Manager};

/// Messages on their way to the manager.
const OUTBOUND_MAX: usize = 1024;

/// An open session.
pub(crate) struct Node {
    /// What it is called next time.
    pub(crate) id: String,
    outbound: mpsc::Sender<wire::NodeMessage>,
    inbound: Streaming<wire::ManagerMessage>,
    beats: u64,
}

/// How a node introduces itself: `id` is empty the first time.
pub(crate) fn hello(name: &str, id: &str, slots: u32) -> wire::Hello {
    wire::Hello {
        protocol: version::NODE_PROTOCOL,
        agent_version: version::PRODUCT.to_owned(),
        name: name.to_owned(),
        node_id: id.to_owned(),
        slots,
        cpu_count: f64::from(slots),
        memory_bytes: 64 << 30,
        tier: "full".to_owned(),
        images: vec!["latest".to_owned()],
        ..wire::Hello::default()
    }
}

impl Node {
    /// Opens a session over a connection of its own.
    pub(crate) async fn connect(manager: &Manager, hello: wire::Hello) -> Result<Self> {
        let at = manager.endpoint()?;
        Self::dial(&at, Connector::new(&at), Some(&manager.token("node-token")?), hello).await
    }

    /// The same for a manager that may be down; who shows a certificate has no token.
    pub(crate) async fn dial(
        at: &manta_client::Endpoint,
        connector: Connector,
        token: Option<&Token>,
        hello: wire::Hello,
    ) -> Result<Self> {
        let channel = Endpoint::from_shared(at.origin())?.connect_with_connector(connector).await?;
        let (outbound, messages) = mpsc::channel(OUTBOUND_MAX);
        outbound.send(wire::NodeMessage { kind: Some(node_message::Kind::Hello(hello)) }).await?;
        let mut request = Request::new(ReceiverStream::new(messages));
        if let Some(token) = token {
            request.metadata_mut().insert("authorization", format!("Bearer {}", token.expose()).parse()?);
        }
        let mut client = NodeGatewayClient::new(channel).max_decoding_message_size(64 << 20);
        let inbound = client.session(request).await?.into_inner();
        let mut node = Self { id: String::new(), outbound, inbound, beats: 0 };
        match node.next().await? {
            manager_message::Kind::Welcome(welcome) => node.id = welcome.node_id,
            other => bail!("a welcome comes first, not {other:?}"),
        }
        Ok(node)
    }

    /// The next message, whatever it is.
    pub(crate) async fn next(&mut self) -> Result<manager_message::Kind> {
        let message = timeout(LIMIT, self.inbound.message()).await.context("no message came in time")??;
        message.and_then(|message| message.kind).context("the session ended")
    }

    /// The next offer; anything else that comes meanwhile is passed over.
    pub(crate) async fn offer(&mut self) -> Result<wire::Offer> {
        loop {
            if let manager_message::Kind::Offer(offer) = self.next().await? {
                return Ok(offer);
            }
        }
    }

    pub(crate) async fn say(&self, kind: node_message::Kind) -> Result<()> {
        Ok(self.outbound.send(wire::NodeMessage { kind: Some(kind) }).await?)
    }

    /// Reports success without any output.
    pub(crate) async fn finish(&self, offer: &wire::Offer) -> Result<()> {
        let (attempt, epoch) = (offer.attempt.clone(), offer.epoch);
        let timings = Some(wire::Timings::default());
        let report = wire::AttemptFinished { attempt, epoch, timings, ..wire::AttemptFinished::default() };
        self.say(node_message::Kind::Finished(report)).await
    }

    /// Stays, beats, and lets everything that comes pass by until the bench ends.
    pub(crate) fn keep(mut self) -> JoinHandle<Result<()>> {
        tokio::spawn(async move {
            let mut due = tokio::time::interval(limits::HEARTBEAT);
            loop {
                due.tick().await;
                self.beat().await?;
            }
        })
    }

    /// Says that it lives, and waits for the answer.
    pub(crate) async fn beat(&mut self) -> Result<()> {
        self.beats += 1;
        let beat = wire::Heartbeat { count: self.beats, running: 0, queued: 0, link_quality: 0.0 };
        self.say(node_message::Kind::Heartbeat(beat)).await?;
        loop {
            match self.next().await? {
                manager_message::Kind::Heartbeat(reply) if reply.count == self.beats => return Ok(()),
                _ => {}
            }
        }
    }
}
