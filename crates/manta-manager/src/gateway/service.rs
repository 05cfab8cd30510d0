//! Opens sessions: checks the introduction, makes the node known, and only then welcomes it.
use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use manta_api::node::node_gateway_server::NodeGateway;
use manta_api::node::{self as wire, manager_message, node_message};
use manta_api::{NOT_BELIEVED, version};
use manta_types::{NodeId, NodeName, limits};
use tokio::sync::oneshot;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::convert::{self, Introduction};
use super::session::NodeSession;
use crate::app::App;
use crate::http::CertifiedNode;
use crate::orchestrator::{Connect, ConnectRefusal, Joining, session_channel};
use crate::quotas::admit_node;
use crate::supervisor::Kind;

/// How long a connection may stay without an introduction.
const HELLO_WITHIN: Duration = Duration::from_secs(10);

/// Why a node is flagged two of whose agents dial in turns.
const TWO_AGENTS: &str = "two agents use its identity at the same time: its data directory was copied";

/// The gRPC service that nodes dial; which cluster a node is of, the guard has found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gateway;

#[tonic::async_trait]
impl NodeGateway for Gateway {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<wire::ManagerMessage, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<wire::NodeMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let certified = request.extensions().get::<CertifiedNode>().cloned();
        let found = request.extensions().get::<App>().cloned();
        let app = &found.ok_or_else(|| Status::unavailable("the node's cluster is not served"))?;
        let mut inbound = request.into_inner();
        let hello = read_hello(&mut inbound).await?;
        if let Err(refusal) = check_version(&hello) {
            note_refusal(app, certified.as_ref(), &hello.name, refusal.message()).await;
            return Err(refusal);
        }
        let protocol = hello.protocol;
        let Introduction { name, id, mut profile, held, greeting } =
            convert::introduction(hello, app.generation).map_err(Status::invalid_argument)?;
        if let Some(CertifiedNode(of)) = certified.filter(|CertifiedNode(of)| *of != name) {
            let sentence = format!("the certificate is of node `{of}`, and the greeting says `{name}`");
            return Err(Status::permission_denied(sentence));
        }
        if let Some(identities) = &app.identities {
            profile.labels.extend(identities.members.labels(&name));
        }
        let admitted = admit_node(app, &name).await;
        let admitted = admitted.map_err(|problem| Status::resource_exhausted(problem.message))?;
        let (session, outbound) = session_channel();
        let (reply, welcomed) = oneshot::channel();
        let tier = profile.tier.clone();
        let fresh = NodeId::from_uuid(uuid::Uuid::now_v7());
        let joining = Joining { name: name.clone(), id, fresh, profile, held, greeting, session: session.id };
        let connect = Connect { joining, session: session.clone(), reply };
        let stopping = || Status::unavailable("the manager is stopping");
        app.handle.connect(connect).await.map_err(|_| stopping())?;
        let welcomed = welcomed.await.map_err(|_| stopping())?;
        if let (Err(ConnectRefusal::Overtaken { .. }), Some(identities)) = (&welcomed, &app.identities)
            && identities.members.doubled(&name, greeting)
        {
            let flagged = identities.flag(&name, TWO_AGENTS).await;
            if flagged.map_err(|error| Status::internal(error.to_string()))? {
                let words = format!("it is {NOT_BELIEVED} from now on: {TWO_AGENTS}");
                app.handle.tell(name.clone(), words).await.map_err(|_| stopping())?;
            }
        }
        let id = welcomed.map_err(|refusal| match refusal {
            ConnectRefusal::NameTaken { .. } | ConnectRefusal::Revoked { .. } => {
                Status::already_exists(refusal.to_string())
            }
            // Whoever dialled has dialled again since.
            ConnectRefusal::Overtaken { .. } => Status::aborted(refusal.to_string()),
            ConnectRefusal::Renamed { .. } => Status::invalid_argument(refusal.to_string()),
        })?;
        drop(admitted);
        app.refusals.forget(&name);
        manta_types::crash_point!("manager.session.admitted");
        tracing::info!(node = %name, tier, "node connected");
        let welcome = tokio_stream::once(convert::message(manager_message::Kind::Welcome(wire::Welcome {
            node_id: id.to_string(),
            cluster: app.cluster.as_str().to_owned(),
            manager_version: version::PRODUCT.to_owned(),
            heartbeat_ms: ms(limits::HEARTBEAT),
            lease_ms: ms(limits::LEASE),
            generation: app.generation,
        })));
        let (over, ended) = (session.over.clone().cancelled_owned(), session.clone());
        app.replays.connected(name.clone(), session.clone(), protocol);
        let reader = NodeSession::new(name, session, app);
        app.supervisor.spawn("node session", Kind::Session, reader.read(inbound, app.stop.clone()));
        let outbound = welcome.chain(ReceiverStream::new(outbound)).map(Ok).take_until(over);
        let farewell = async move { ended.why().map(|why| Err(Status::aborted(why))) };
        let farewell = futures_util::stream::once(farewell).filter_map(std::future::ready);
        Ok(Response::new(Box::pin(outbound.chain(farewell))))
    }
}

/// Remembers why a node is turned away, unless another than the one that is named may have said so.
async fn note_refusal(app: &App, certified: Option<&CertifiedNode>, name: &str, why: &str) {
    let Ok(name) = NodeName::new(name) else { return };
    let is_another = certified.is_some_and(|CertifiedNode(of)| *of != name);
    if !is_another && app.refusals.note(&name, why) {
        tracing::warn!(node = %name, "{why}");
        // A manager that is stopping tells nobody.
        let _ = app.handle.tell(name, format!("it was turned away: {why}")).await;
    }
}

async fn read_hello(inbound: &mut Streaming<wire::NodeMessage>) -> Result<wire::Hello, Status> {
    let first = tokio::time::timeout(HELLO_WITHIN, inbound.message());
    let first = first.await.map_err(|_| Status::deadline_exceeded("no hello came within 10 s"))??;
    match first.and_then(|message| message.kind) {
        Some(node_message::Kind::Hello(hello)) => Ok(hello),
        _ => Err(Status::invalid_argument("a session begins with a hello")),
    }
}

fn check_version(hello: &wire::Hello) -> Result<(), Status> {
    let (ours, theirs) = (version::NODE_PROTOCOL, hello.protocol);
    let (manager, agent) = (version::PRODUCT, convert::clip(hello.agent_version.clone(), 32));
    if theirs > ours {
        return Err(Status::failed_precondition(format!(
            "the node is newer than the manager: it speaks node protocol {theirs} (manta {agent}), the manager {ours} \
             (manta {manager}); upgrade the manager first"
        )));
    }
    if theirs + 1 < ours || theirs == 0 {
        return Err(Status::failed_precondition(format!(
            "the node is too old for the manager: it speaks node protocol {theirs} (manta {agent}), the manager {ours} \
             (manta {manager}); upgrade the node"
        )));
    }
    Ok(())
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
