//! Replays of past attempts: ordered, followed, ended; and what the node that runs one needs for it.
use axum::response::sse::Event as Sent;
use futures_util::{Stream, StreamExt, stream};
use http::StatusCode;
use manta_api::{ErrorCode, Problem, ReplayEvent};
use manta_types::{NodeState, ReplayId};
use tokio::sync::watch;

use super::attempts::asking_node;
use super::call::{Answer, Call, clip, json};
use super::past;
use super::stream::{entry, respond, start_after};
use crate::app::App;
use crate::gateway::offer_to_wire;
use crate::keys;
use crate::replays::{NewReplay, OrderRefusal};

/// What helps where the node itself cannot.
const LOCAL: &str = "run it on this machine with `--local --data NAME=PATH`";

pub(super) async fn order(app: App, call: Call) -> Answer {
    let wanted = call.param("id").to_owned();
    let idempotency = call.idempotency(format!("replay {wanted}"))?;
    if let Some(ordered) = app.replays.done_before(idempotency.as_ref()).map_err(refused)? {
        return json(StatusCode::OK, &ordered);
    }
    keys::done_before(&app, idempotency.as_ref()).await?;
    let past = past::find(&app, &wanted).await?;
    let offer = &past.attempt.offer;
    if past.attempt.end.is_none() {
        let sentence = format!("attempt `{}` is not over, so there is nothing to run again", offer.attempt);
        return Err(Problem::new(ErrorCode::Conflict, sentence));
    }
    let task = &offer.spec.tasks[offer.task];
    check_node(&app, &offer.node, &task.datasets).await?;
    let new = NewReplay {
        id: ReplayId::from_uuid(uuid::Uuid::now_v7()),
        attempt: offer.attempt,
        node: offer.node.clone(),
        task: task.alias.clone(),
        iteration: offer.iteration,
        offer: offer_to_wire(offer),
        inputs: past.inputs(),
        idempotency,
    };
    let view = app.replays.order(new).map_err(refused)?;
    tracing::info!(replay = %view.id, attempt = %view.attempt, node = view.node, "a replay was ordered");
    json(StatusCode::CREATED, &view)
}

/// Refuses a node that cannot run the attempt now, in its own words.
async fn check_node(app: &App, name: &manta_types::NodeName, datasets: &[String]) -> Result<(), Problem> {
    let (wanted, name) = (datasets.to_vec(), name.clone());
    let trouble = app.handle.ask(move |view| {
        let Some(node) = view.engine.nodes().find(|node| *node.name() == name) else {
            return Some(format!("the node `{name}` is gone"));
        };
        if node.state() != NodeState::Online {
            return Some(format!("the node `{name}` is {}", node.state().name()));
        }
        let lacks = wanted.into_iter().find(|dataset| !node.description().datasets.contains(dataset))?;
        Some(format!("the node `{name}` no longer offers the dataset `{lacks}`"))
    });
    match trouble.await? {
        None => Ok(()),
        Some(why) => {
            let problem = Problem::new(ErrorCode::Conflict, format!("the attempt cannot be run again there: {why}"));
            Err(problem.hint(LOCAL))
        }
    }
}

fn refused(refusal: OrderRefusal) -> Problem {
    let problem = Problem::new(ErrorCode::Conflict, format!("the attempt cannot be run again now: {refusal}"));
    match refusal {
        OrderRefusal::NotConnected(_) => problem.hint(LOCAL),
        OrderRefusal::TooOld { .. } => problem.hint("upgrade that node's agent"),
        OrderRefusal::TooMany => problem.hint("try again when one of them has ended"),
        OrderRefusal::KeyUsed(_) => problem.hint("send a new key with a new request"),
    }
}

pub(super) async fn show(app: App, call: Call) -> Answer {
    let id = named(&call)?;
    json(StatusCode::OK, &app.replays.show(id).ok_or_else(|| unknown(&call))?)
}

pub(super) async fn stop(app: App, call: Call) -> Answer {
    let idempotency = call.idempotency(format!("stop {}", call.param("id")))?;
    let id = named(&call)?;
    let stopped = match app.replays.done_before(idempotency.as_ref()).map_err(refused)? {
        Some(stopped) => stopped,
        None => {
            keys::done_before(&app, idempotency.as_ref()).await?;
            app.replays.stop(id, "stopped by a user", idempotency).ok_or_else(|| unknown(&call))?
        }
    };
    json(StatusCode::OK, &stopped)
}

pub(super) async fn inputs(app: App, call: Call) -> Answer {
    let (id, node) = (named(&call)?, asking_node(&call)?);
    let inputs = app.replays.inputs(id, &node).ok_or_else(|| unknown(&call))?;
    json(StatusCode::OK, inputs.as_ref())
}

pub(super) async fn events(app: App, call: Call) -> Answer {
    let id = named(&call)?;
    let after = start_after(&call, &id)?;
    let (told, ..) = app.replays.read(id, after).ok_or_else(|| unknown(&call))?;
    if !call.wants_stream() {
        return json(StatusCode::OK, &told);
    }
    let follow = call.query::<bool>("follow")?.unwrap_or(true);
    Ok(respond(&app, call.identity, followed(Reader { app: app.clone(), id, read: after, follow })))
}

/// Reads what a replay tells; a replay that is forgotten meanwhile ends the stream.
struct Reader {
    app: App,
    id: ReplayId,
    read: u64,
    follow: bool,
}

impl Reader {
    async fn page(&mut self) -> Option<Vec<ReplayEvent>> {
        loop {
            let (told, is_over, mut news): (_, _, watch::Receiver<u64>) = self.app.replays.read(self.id, self.read)?;
            if let Some(last) = told.last() {
                self.read = last.seq;
                return Some(told);
            }
            if is_over || !self.follow {
                return None;
            }
            let read = self.read;
            news.wait_for(|told| *told > read).await.ok()?;
        }
    }
}

fn followed(reader: Reader) -> impl Stream<Item = Sent> + Send {
    let id = reader.id;
    let pages = stream::unfold(reader, move |mut reader| async move {
        let page = reader.page().await?;
        Some((stream::iter(page), reader))
    });
    pages.flatten().map(move |event| entry(&id, event.seq, event.what.kind(), &event))
}

fn named(call: &Call) -> Result<ReplayId, Problem> {
    call.param("id").parse().map_err(|_| unknown(call))
}

fn unknown(call: &Call) -> Problem {
    let sentence = format!("there is no replay `{}`", clip(call.param("id")));
    Problem::new(ErrorCode::NotFound, sentence).hint("replays are kept for a while, and not beyond a restart")
}
