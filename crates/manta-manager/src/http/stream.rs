//! Server-sent events: where a stream begins, how it stays alive, and when it ends.
use std::fmt::Display;
use std::future::ready;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{FutureExt, Stream, StreamExt, stream};
use manta_api::{ErrorCode, Problem};
use serde::Serialize;

use super::call::{Call, clip};
use crate::app::App;
use crate::bearer::Identity;

/// How often a silent stream says that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// How often it is looked whether whoever follows a stream still counts.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Entries of one JSON answer; a client asks again after the last.
pub(super) const ENTRIES_MAX: usize = 10_000;
/// Entries read from a store at once.
pub(super) const PAGE: usize = 1000;

/// A stream breaks off because its follower counts no more; one that ended in order would look whole.
#[derive(Debug, thiserror::Error)]
#[error("whoever follows this stream counts no more")]
struct CutOff;

/// Answers with a stream, which ends with its source, with the manager or the cluster, and breaks off when whoever follows it
/// counts no more: their token was revoked or expired, or they were removed.
pub(super) fn respond(app: &App, who: Identity, events: impl Stream<Item = Event> + Send + 'static) -> Response {
    let events = events.take_until(app.stop.clone().cancelled_owned());
    let events = events.map(|event| Some(Ok(event))).chain(stream::once(ready(None)));
    let cut = stream::once(counts_no_more(app.clone(), who).map(|()| Some(Err(CutOff))));
    let events = stream::select(events, cut).take_while(|event| ready(event.is_some())).filter_map(ready);
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE).text("keep-alive")).into_response()
}

/// Resolves when somebody counts no more.
async fn counts_no_more(app: App, who: Identity) {
    while app.people.counts(&who, app.clock.now().wall_ms) {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    tracing::debug!(%who, "a stream is cut whose follower counts no more");
}

/// One entry on its way, under the id from which a client goes on.
pub(super) fn entry(whose: &impl Display, seq: u64, kind: &str, data: &impl Serialize) -> Event {
    let data = serde_json::to_string(data).expect("views have text keys: always JSON");
    Event::default().id(format!("{whose}:{seq}")).event(kind).data(data)
}

/// The sequence after which a client wants to read: `after`, or its `Last-Event-ID`, whichever is later.
pub(super) fn start_after(call: &Call, stream: &impl Display) -> Result<u64, Problem> {
    let after = call.query::<u64>("after")?.unwrap_or(0);
    let Some(last) = call.header("last-event-id").filter(|last| !last.is_empty()) else { return Ok(after) };
    let own = last.rsplit_once(':').filter(|(whose, _)| *whose == stream.to_string());
    match own.and_then(|(_, seq)| seq.parse::<u64>().ok()) {
        Some(seq) => Ok(seq.max(after)),
        None => {
            let sentence = format!("`{}` is no event of `{stream}`", clip(last));
            Err(Problem::new(ErrorCode::BadRequest, sentence))
        }
    }
}
