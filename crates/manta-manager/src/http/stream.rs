//! Server-sent events: where a stream begins, how it stays alive, and when it ends.
use std::convert::Infallible;
use std::fmt::Display;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt};
use manta_api::{ErrorCode, Problem};
use serde::Serialize;

use super::call::{Call, clip};
use crate::app::App;

/// How often a silent stream says that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Entries of one JSON answer; a client asks again after the last.
pub(super) const ENTRIES_MAX: usize = 10_000;
/// Entries read from a store at once.
pub(super) const PAGE: usize = 1000;

/// Answers with a stream, which ends with its source or with the manager.
pub(super) fn respond(app: &App, events: impl Stream<Item = Event> + Send + 'static) -> Response {
    let stop = app.supervisor.stopping().cancelled_owned();
    let events = events.take_until(stop).map(Ok::<_, Infallible>);
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE).text("keep-alive")).into_response()
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
