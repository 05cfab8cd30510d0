//! A node that does what a test tells it.
use futures_util::FutureExt;
use manta_api::node::node_gateway_client::NodeGatewayClient;
use manta_api::node::{self as wire, manager_message, node_message};
use manta_api::version;
use manta_client::Connector;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming};

use crate::harness::{LIMIT, Manager};

/// An open session.
pub(crate) struct Node {
    pub(crate) id: String,
    pub(crate) name: String,
    outbound: Option<mpsc::Sender<wire::NodeMessage>>,
    inbound: Streaming<wire::ManagerMessage>,
    beats: u64,
}

/// How a node introduces itself.
pub(crate) fn hello(name: &str) -> wire::Hello {
    wire::Hello {
        protocol: version::NODE_PROTOCOL,
        agent_version: "9.9.9".to_owned(),
        name: name.to_owned(),
        slots: 2,
        cpu_count: 2.0,
        memory_bytes: 4 << 30,
        tier: "full".to_owned(),
        engine: "builtin".to_owned(),
        images: vec!["latest".to_owned()],
        ..wire::Hello::default()
    }
}

/// The same, with datasets.
pub(crate) fn hello_with(name: &str, datasets: &[&str]) -> wire::Hello {
    let dataset = |name: &&str| wire::Dataset {
        name: (*name).to_owned(),
        form: "file".to_owned(),
        size: 1,
        schema: String::new(),
    };
    wire::Hello { datasets: datasets.iter().map(dataset).collect(), ..hello(name) }
}

/// Opens a session with the given token, or gives the manager's refusal.
pub(crate) async fn connect_as(manager: &Manager, token: &str, hello: wire::Hello) -> Result<Node, Status> {
    let name = hello.name.clone();
    let node = first_says(manager, token, node_message::Kind::Hello(hello)).await?;
    Ok(Node { name, ..node })
}

/// Opens a session that begins with this.
pub(crate) async fn first_says(manager: &Manager, token: &str, first: node_message::Kind) -> Result<Node, Status> {
    first_says_over(manager, Connector::new(&manager.endpoint), Some(token), first).await
}

/// The same over connections of another kind, with or without a token.
pub(crate) async fn first_says_over(
    manager: &Manager,
    connector: Connector,
    token: Option<&str>,
    first: node_message::Kind,
) -> Result<Node, Status> {
    let endpoint = tonic::transport::Endpoint::from_shared(manager.endpoint.origin()).unwrap();
    let dialled = endpoint.connect_with_connector(connector).await;
    let channel = dialled.map_err(|error| Status::unavailable(format!("{error:?}")))?;
    let (outbound, messages) = mpsc::channel(64);
    let name = String::new();
    send(&outbound, first).await;
    let mut request = Request::new(ReceiverStream::new(messages));
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    let opening = async move { NodeGatewayClient::new(channel).session(request).await };
    let response = tokio::time::timeout(LIMIT, opening).await.expect("the session opens or is refused in time")?;
    let mut node = Node { id: String::new(), name, outbound: Some(outbound), inbound: response.into_inner(), beats: 0 };
    match node.next().await {
        manager_message::Kind::Welcome(welcome) => node.id = welcome.node_id,
        other => panic!("a welcome comes first, not {other:?}"),
    }
    Ok(node)
}

/// Opens a session.
pub(crate) async fn connect(manager: &Manager, hello: wire::Hello) -> Node {
    connect_as(manager, &manager.node, hello).await.unwrap()
}

async fn send(outbound: &mpsc::Sender<wire::NodeMessage>, kind: node_message::Kind) {
    outbound.send(wire::NodeMessage { kind: Some(kind) }).await.unwrap();
}

impl Node {
    pub(crate) async fn say(&self, kind: node_message::Kind) {
        send(self.outbound.as_ref().expect("the session is open"), kind).await;
    }

    /// The next message, whatever it is.
    pub(crate) async fn next(&mut self) -> manager_message::Kind {
        self.try_next().await.expect("the session goes on")
    }

    /// The next message; nothing when the session has ended. What is distributed with every deployment passes by: this node
    /// fetches nothing.
    pub(crate) async fn try_next(&mut self) -> Option<manager_message::Kind> {
        loop {
            match self.hear().await? {
                manager_message::Kind::Distribute(_) => {}
                other => return Some(other),
            }
        }
    }

    /// What this node is to fetch for a swarm that was deployed.
    pub(crate) async fn distribution(&mut self) -> wire::Distribute {
        loop {
            match self.hear().await.expect("the session goes on") {
                manager_message::Kind::Distribute(order) => return order,
                manager_message::Kind::Offer(_) => {}
                other => panic!("a distribution was awaited, not {other:?}"),
            }
        }
    }

    async fn hear(&mut self) -> Option<manager_message::Kind> {
        let next = tokio::time::timeout(LIMIT, self.inbound.message()).await.expect("a message comes in time");
        next.ok().flatten().map(|message| message.kind.expect("messages have a kind"))
    }

    /// Waits for the end of the session, and what the manager says with it.
    pub(crate) async fn farewell(&mut self) -> Status {
        loop {
            let next = tokio::time::timeout(LIMIT, self.inbound.message()).await.expect("the session ends in time");
            match next {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the session ended without a word"),
                Err(status) => return status,
            }
        }
    }

    pub(crate) async fn offer(&mut self) -> wire::Offer {
        match self.next().await {
            manager_message::Kind::Offer(offer) => offer,
            other => panic!("an offer was awaited, not {other:?}"),
        }
    }

    pub(crate) async fn verdict(&mut self) -> wire::Verdict {
        match self.next().await {
            manager_message::Kind::Verdict(verdict) => verdict,
            other => panic!("a verdict was awaited, not {other:?}"),
        }
    }

    pub(crate) async fn cancel(&mut self) -> wire::Cancel {
        match self.next().await {
            manager_message::Kind::Cancel(cancel) => cancel,
            other => panic!("a cancel was awaited, not {other:?}"),
        }
    }

    pub(crate) async fn replay(&mut self) -> wire::ReplayOrder {
        match self.next().await {
            manager_message::Kind::Replay(order) => order,
            other => panic!("a replay was awaited, not {other:?}"),
        }
    }

    /// Asserts that nothing but the answer to a heartbeat comes: all that was caused before has been said.
    pub(crate) async fn is_quiet(&mut self) {
        self.beats += 1;
        self.say(node_message::Kind::Heartbeat(wire::Heartbeat {
            count: self.beats,
            running: 0,
            queued: 0,
            link_quality: 0.5,
        }))
        .await;
        match self.next().await {
            manager_message::Kind::Heartbeat(reply) => assert_eq!(reply.count, self.beats),
            other => panic!("nothing was awaited, not {other:?}"),
        }
        assert!(self.inbound.message().now_or_never().is_none(), "nothing more");
    }

    pub(crate) async fn progress(&self, offer: &wire::Offer, phase: &str) {
        let (attempt, epoch) = (offer.attempt.clone(), offer.epoch);
        self.say(node_message::Kind::Progress(wire::AttemptProgress { attempt, epoch, phase: phase.to_owned() })).await;
    }

    /// Reports success with these results, whose values are stored already.
    pub(crate) async fn finish(&self, offer: &wire::Offer, results: &[(&str, manta_types::Blob)]) {
        self.say(node_message::Kind::Finished(finished(offer, results))).await;
    }

    pub(crate) async fn log(&self, offer: &wire::Offer, text: &str) {
        let line = wire::LogLine {
            attempt: offer.attempt.clone(),
            time_ms: 1,
            level: "warning".to_owned(),
            source: "log".to_owned(),
            text: text.to_owned(),
            data: String::new(),
        };
        self.say(node_message::Kind::Logs(wire::LogBatch { lines: vec![line] })).await;
    }

    /// Says goodbye and waits until the manager has ended the session.
    pub(crate) async fn leave(mut self) {
        self.say(node_message::Kind::Goodbye(wire::Goodbye { reason: "shut down".to_owned() })).await;
        while self.try_next().await.is_some() {}
    }

    /// Takes an offer through its phases to success.
    pub(crate) async fn run(&mut self, offer: &wire::Offer, results: &[(&str, manta_types::Blob)]) {
        for phase in ["preparing", "running", "uploading"] {
            self.progress(offer, phase).await;
        }
        self.finish(offer, results).await;
        let verdict = self.verdict().await;
        assert!(verdict.accepted, "{verdict:?}");
    }
}

/// A report of success.
pub(crate) fn finished(offer: &wire::Offer, results: &[(&str, manta_types::Blob)]) -> wire::AttemptFinished {
    let published = |(name, blob): &(&str, manta_types::Blob)| wire::Published {
        name: (*name).to_owned(),
        blob: Some(wire::Blob { digest: blob.digest.to_string(), size: blob.size }),
    };
    wire::AttemptFinished {
        attempt: offer.attempt.clone(),
        epoch: offer.epoch,
        results: results.iter().map(published).collect(),
        timings: Some(wire::Timings { run_ms: 7, ..wire::Timings::default() }),
        ..wire::AttemptFinished::default()
    }
}
