//! A manager that does what a test says: the gateway's stream in the test's hands, blobs and inputs from tables.
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path as Segments, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use futures_util::Stream;
use manta_api::AttemptInputs;
use manta_api::node::manager_message::Kind as Said;
use manta_api::node::node_gateway_server::{NodeGateway, NodeGatewayServer};
use manta_api::node::node_message::Kind;
use manta_api::node::{
    AttemptFinished, HeartbeatReply, Hello, LogLine, ManagerMessage, NodeMessage, Offer, ReplayFinished, Verdict,
    Welcome,
};
use manta_types::{Blob, Digest};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// How long anything may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(60);
/// The token that the gateway accepts.
pub(crate) const TOKEN: &str = "a-node-token";

type Gate = watch::Receiver<bool>;

/// What a test may shut.
pub(crate) struct Gates {
    pub(crate) inputs: watch::Sender<bool>,
    pub(crate) blobs: watch::Sender<bool>,
}

type Blobs = Arc<Mutex<HashMap<String, Vec<u8>>>>;

/// The manager's tables and its door.
pub(crate) struct Manager {
    pub(crate) blobs: Blobs,
    pub(crate) inputs: Arc<Mutex<AttemptInputs>>,
    /// What is sent as the signatures of any bundle.
    pub(crate) signatures: Arc<Mutex<Vec<String>>>,
    /// Whether what may be read is told, and whether values are taken; a request waits while not.
    pub(crate) gates: Gates,
    /// What sessions that begin from now on are told.
    pub(crate) generation: Arc<AtomicU64>,
    /// Why nodes are turned away for their release, while that is set; each time it is counted.
    pub(crate) mismatch: watch::Sender<Option<String>>,
    /// How often nodes were turned away so.
    pub(crate) turned_away: watch::Sender<u32>,
    doors: mpsc::UnboundedReceiver<Door>,
    _runs: tokio::task::JoinHandle<()>,
}

/// One session, in the test's hands.
pub(crate) struct Door {
    pub(crate) hello: Hello,
    heard: Streaming<NodeMessage>,
    say: mpsc::UnboundedSender<Result<ManagerMessage, Status>>,
    /// What the node says of itself.
    notes: Vec<String>,
    /// Log lines so far.
    pub(crate) logs: Vec<LogLine>,
    /// Attempts whose report was heard; a node says it again until it is answered.
    reported: BTreeSet<String>,
    /// Swarms whose state the node said it keeps, when it said so last.
    pub(crate) kept: Vec<String>,
    /// Phases so far: attempt and phase.
    pub(crate) phases: Vec<(String, String)>,
}

impl Manager {
    /// Serves on a Unix socket.
    pub(crate) fn serve(socket: &Path) -> Self {
        let (doors_in, doors) = mpsc::unbounded_channel();
        let generation = Arc::new(AtomicU64::new(1));
        let (mismatch, turned_away) = (watch::Sender::new(None::<String>), watch::Sender::new(0));
        let (blobs, inputs) = (Blobs::default(), Arc::new(Mutex::new(empty_inputs())));
        let signatures = Arc::new(Mutex::new(Vec::new()));
        let gateway = tonic::service::Routes::new(NodeGatewayServer::new(Gateway {
            doors: doors_in,
            generation: Arc::clone(&generation),
            mismatch: mismatch.subscribe(),
            turned_away: turned_away.clone(),
        }));
        let gates = Gates { inputs: watch::Sender::new(true), blobs: watch::Sender::new(true) };
        let (inputs_gate, blobs_gate) = (gates.inputs.subscribe(), gates.blobs.subscribe());
        let http = Router::new()
            .route("/v1/clusters/default/blobs/missing", post(missing))
            .route("/v1/clusters/default/blobs/{digest}", get(get_blob).put(put_blob))
            .layer(DefaultBodyLimit::disable())
            .with_state((Arc::clone(&blobs), blobs_gate))
            .merge(
                Router::new()
                    .route("/v1/clusters/default/attempts/{id}/inputs", get(get_inputs))
                    .route("/v1/clusters/default/replays/{id}/inputs", get(get_inputs))
                    .with_state((Arc::clone(&inputs), inputs_gate)),
            )
            .merge(
                Router::new()
                    .route("/v1/clusters/default/signatures/{bundle}", get(get_signatures))
                    .with_state(Arc::clone(&signatures)),
            );
        let listener = UnixListener::bind(socket).unwrap();
        let routes = gateway.into_axum_router().merge(http);
        let runs = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { blobs, inputs, signatures, gates, generation, mismatch, turned_away, doors, _runs: runs }
    }

    /// Keeps a blob.
    pub(crate) fn keep(&self, content: &[u8]) -> Blob {
        let digest = blake3::hash(content).to_hex().to_string();
        self.blobs.lock().unwrap().insert(digest.clone(), content.to_vec());
        Blob { digest: digest.parse::<Digest>().unwrap(), size: content.len() as u64 }
    }

    /// The next session; it has been welcomed.
    pub(crate) async fn door(&mut self) -> Door {
        tokio::time::timeout(PATIENCE, self.doors.recv()).await.expect("the node dials").unwrap()
    }
}

impl Door {
    pub(crate) fn say(&self, said: Said) {
        // A node that has gone hears nothing; the test notices by itself.
        let _ = self.say.send(Ok(ManagerMessage { kind: Some(said) }));
    }

    pub(crate) fn offer(&self, offer: Offer) {
        self.say(Said::Offer(offer));
    }

    pub(crate) fn accept(&self, report: &AttemptFinished) {
        let (attempt, epoch) = (report.attempt.clone(), report.epoch);
        self.say(Said::Verdict(Verdict { attempt, epoch, accepted: true, reason: String::new() }));
    }

    /// The next message that is no heartbeat, log line, phase or repeated report; nothing when the session has ended.
    pub(crate) async fn next(&mut self) -> Option<Kind> {
        loop {
            match self.hear().await? {
                Kind::Heartbeat(beat) => self.say(Said::Heartbeat(HeartbeatReply { count: beat.count })),
                Kind::Logs(batch) => self.logs.extend(batch.lines),
                Kind::StateKept(kept) => self.kept = kept.swarms,
                Kind::Progress(progress) => self.phases.push((progress.attempt, progress.phase)),
                Kind::ReplayProgress(progress) => self.phases.push((progress.replay, progress.phase)),
                Kind::Notes(notes) => self.notes = notes.notes,
                Kind::Finished(report) if !self.reported.insert(report.attempt.clone()) => {}
                other => return Some(other),
            }
        }
    }

    async fn hear(&mut self) -> Option<Kind> {
        let message = tokio::time::timeout(PATIENCE, self.heard.message()).await.expect("the node is heard");
        message.ok()??.kind
    }

    /// Waits for the report of an attempt.
    pub(crate) async fn finished(&mut self) -> AttemptFinished {
        match self.next().await {
            Some(Kind::Finished(report)) => report,
            other => panic!("{other:?}"),
        }
    }

    /// Waits for the report of an attempt, and answers that it does not count.
    pub(crate) async fn finished_and_refused(&mut self) -> AttemptFinished {
        let report = self.finished().await;
        let (attempt, epoch) = (report.attempt.clone(), report.epoch);
        self.say(Said::Verdict(Verdict { attempt, epoch, accepted: false, reason: String::new() }));
        report
    }

    /// Waits until the node says something of itself that holds these words.
    pub(crate) async fn noted(&mut self, words: &str) {
        while !self.notes.iter().any(|note| note.contains(words)) {
            match self.hear().await {
                Some(Kind::Notes(notes)) => self.notes = notes.notes,
                Some(Kind::Progress(progress)) => self.phases.push((progress.attempt, progress.phase)),
                Some(Kind::StateKept(kept)) => self.kept = kept.swarms,
                Some(Kind::Logs(batch)) => self.logs.extend(batch.lines),
                Some(Kind::Heartbeat(beat)) => self.say(Said::Heartbeat(HeartbeatReply { count: beat.count })),
                other => panic!("{other:?} before a note of {words:?}; notes: {:?}", self.notes),
            }
        }
    }

    /// Waits for the end of the session, whatever is said before.
    pub(crate) async fn closed(mut self) {
        while self.hear().await.is_some() {}
    }

    /// Waits until the node names the swarms whose state it keeps.
    pub(crate) async fn names_state(&mut self) -> Vec<String> {
        while self.kept.is_empty() {
            match self.hear().await {
                Some(Kind::StateKept(kept)) => self.kept = kept.swarms,
                Some(Kind::Heartbeat(beat)) => self.say(Said::Heartbeat(HeartbeatReply { count: beat.count })),
                Some(_) => {}
                None => panic!("the session ended before state was named"),
            }
        }
        self.kept.clone()
    }

    /// Waits for the report of a replay.
    pub(crate) async fn replayed(&mut self) -> ReplayFinished {
        match self.next().await {
            Some(Kind::ReplayFinished(finished)) => finished,
            other => panic!("{other:?}"),
        }
    }

    /// Waits until an attempt or a replay is in a phase.
    pub(crate) async fn phase(&mut self, attempt: &str, phase: &str) {
        while !self.phases.iter().any(|(a, p)| a == attempt && p == phase) {
            match self.hear().await {
                Some(Kind::Progress(progress)) => self.phases.push((progress.attempt, progress.phase)),
                Some(Kind::ReplayProgress(progress)) => self.phases.push((progress.replay, progress.phase)),
                Some(Kind::Logs(batch)) => self.logs.extend(batch.lines),
                Some(Kind::Finished(report)) if self.reported.contains(&report.attempt) => {}
                Some(Kind::StateKept(kept)) => self.kept = kept.swarms,
                Some(Kind::Notes(notes)) => self.notes = notes.notes,
                Some(Kind::Heartbeat(beat)) => self.say(Said::Heartbeat(HeartbeatReply { count: beat.count })),
                other => panic!("{other:?} before {phase}; phases: {:?}", self.phases),
            }
        }
    }

    /// The text of a log line from that source.
    pub(crate) fn logged(&self, source: &str) -> Vec<&str> {
        self.logs.iter().filter(|line| line.source == source).map(|line| line.text.as_str()).collect()
    }
}

struct Gateway {
    doors: mpsc::UnboundedSender<Door>,
    generation: Arc<AtomicU64>,
    mismatch: watch::Receiver<Option<String>>,
    turned_away: watch::Sender<u32>,
}

#[tonic::async_trait]
impl NodeGateway for Gateway {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<ManagerMessage, Status>> + Send>>;

    async fn session(&self, request: Request<Streaming<NodeMessage>>) -> Result<Response<Self::SessionStream>, Status> {
        let bearer = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        if bearer != Some(&format!("Bearer {TOKEN}")) {
            return Err(Status::unauthenticated("the node token is wrong"));
        }
        let mut heard = request.into_inner();
        let Some(NodeMessage { kind: Some(Kind::Hello(hello)) }) = heard.message().await? else {
            return Err(Status::invalid_argument("the first message is Hello"));
        };
        if let Some(why) = &*self.mismatch.borrow() {
            self.turned_away.send_modify(|times| *times += 1);
            return Err(Status::failed_precondition(why.clone()));
        }
        let (say, said) = mpsc::unbounded_channel();
        let welcome = Welcome {
            node_id: "nd_00000000000000000000000001".to_owned(),
            cluster: "default".to_owned(),
            manager_version: "0.1.0".to_owned(),
            heartbeat_ms: 200,
            lease_ms: 20_000,
            generation: self.generation.load(Ordering::Relaxed),
        };
        say.send(Ok(ManagerMessage { kind: Some(Said::Welcome(welcome)) })).unwrap();
        let _ = self.doors.send(Door {
            notes: hello.notes.clone(),
            hello,
            heard,
            say,
            logs: Vec::new(),
            kept: Vec::new(),
            reported: BTreeSet::new(),
            phases: Vec::new(),
        });
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(said))))
    }
}

async fn opened(mut gate: Gate) {
    // A gate that is gone belongs to a test that is over.
    let _ = gate.wait_for(|open| *open).await;
}

async fn missing(
    State((blobs, _)): State<(Blobs, Gate)>,
    axum::Json(question): axum::Json<serde_json::Value>,
) -> axum::Json<serde_json::Value> {
    let blobs = blobs.lock().unwrap();
    let asked = question["digests"].as_array().unwrap().iter();
    let missing: Vec<_> = asked.filter(|digest| !blobs.contains_key(digest.as_str().unwrap())).collect();
    axum::Json(serde_json::json!({"missing": missing}))
}

async fn get_blob(
    State((blobs, _)): State<(Blobs, Gate)>,
    Segments(digest): Segments<String>,
) -> Result<Vec<u8>, StatusCode> {
    blobs.lock().unwrap().get(&digest).cloned().ok_or(StatusCode::NOT_FOUND)
}

async fn put_blob(
    State((blobs, gate)): State<(Blobs, Gate)>,
    Segments(digest): Segments<String>,
    body: Bytes,
) -> StatusCode {
    opened(gate).await;
    if blake3::hash(&body).to_hex().as_str() != digest {
        return StatusCode::UNPROCESSABLE_ENTITY;
    }
    blobs.lock().unwrap().insert(digest, body.to_vec());
    StatusCode::CREATED
}

async fn get_inputs(State((inputs, gate)): State<(Arc<Mutex<AttemptInputs>>, Gate)>) -> axum::Json<AttemptInputs> {
    opened(gate).await;
    axum::Json(inputs.lock().unwrap().clone())
}

async fn get_signatures(State(signatures): State<Arc<Mutex<Vec<String>>>>) -> axum::Json<serde_json::Value> {
    axum::Json(serde_json::json!({"signatures": *signatures.lock().unwrap()}))
}

fn empty_inputs() -> AttemptInputs {
    AttemptInputs {
        globals: Vec::new(),
        results: Vec::new(),
        missing: Vec::new(),
        tasks: vec!["worker".to_owned()],
        nodes: vec!["node-1".to_owned()],
        ran_before: Vec::new(),
    }
}
