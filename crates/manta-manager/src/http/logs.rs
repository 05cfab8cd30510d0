//! A swarm's log, as one answer or followed live until the swarm is over.
use axum::response::sse::Event as Sent;
use futures_util::{Stream, StreamExt, stream};
use http::StatusCode;
use manta_api::{ErrorCode, LogLine, Problem};
use manta_store::LogFilter;
use manta_types::SwarmId;
use tokio::sync::watch;

use super::call::{Answer, Call, clip, json};
use super::stream::{ENTRIES_MAX, PAGE, entry, respond, start_after};
use super::swarms::find;
use crate::ManagerError;
use crate::app::App;

const LEVELS: [&str; 4] = ["debug", "info", "warning", "error"];

pub(super) async fn read(app: App, call: Call) -> Answer {
    let id = find(&app, call.param("id")).await?.id;
    let after = start_after(&call, &id)?;
    let (filter, follow) = (filter(&call)?, call.query::<bool>("follow")?);
    if !call.wants_stream() {
        return json(StatusCode::OK, &app.logs.read(id, after, filter, ENTRIES_MAX).await?);
    }
    let (news, events) = (app.logs.follow(id), app.handle.watches().subscribe(id));
    let reader = Reader { app: app.clone(), id, filter, read: after, news, events };
    Ok(respond(&app, call.identity, followed(reader, follow.unwrap_or(true))))
}

fn filter(call: &Call) -> Result<LogFilter, Problem> {
    let level = call.query::<String>("level")?;
    if let Some(unknown) = level.as_deref().filter(|level| !LEVELS.contains(level)) {
        let sentence = format!("`{}` is no level; there are {}", clip(unknown), LEVELS.join(", "));
        return Err(Problem::new(ErrorCode::BadRequest, sentence));
    }
    Ok(LogFilter {
        task: call.query("task")?,
        node: call.query("node")?,
        iteration: call.query("iteration")?,
        level,
        attempt: call.query("attempt")?,
        source: call.query("source")?,
    })
}

struct Reader {
    app: App,
    id: SwarmId,
    filter: LogFilter,
    /// The last line that the client has.
    read: u64,
    news: watch::Receiver<u64>,
    events: watch::Receiver<u64>,
}

impl Reader {
    /// The next lines; nothing when the swarm is over and all its lines were read, or none are there and it does not
    /// follow.
    async fn page(&mut self, follow: bool) -> Result<Option<Vec<LogLine>>, ManagerError> {
        loop {
            self.news.mark_unchanged();
            self.events.mark_unchanged();
            let id = self.id;
            let is_over = self.app.handle.ask(move |view| view.engine.swarm(id).is_none_or(|swarm| swarm.is_over()));
            let is_over = is_over.await?;
            let lines = self.app.logs.read(id, self.read, self.filter.clone(), PAGE).await?;
            if let Some(last) = lines.last() {
                self.read = last.seq;
                return Ok(Some(lines));
            }
            if is_over || !follow {
                return Ok(None);
            }
            let changed = tokio::select! {
                changed = self.news.changed() => changed,
                changed = self.events.changed() => changed,
            };
            if changed.is_err() {
                return Ok(None);
            }
        }
    }
}

fn followed(reader: Reader, follow: bool) -> impl Stream<Item = Sent> + Send {
    let id = reader.id;
    let pages = stream::unfold(reader, move |mut reader| async move {
        match reader.page(follow).await {
            Ok(Some(page)) => Some((stream::iter(page), reader)),
            Ok(None) => None,
            Err(error) => {
                tracing::warn!(swarm = %id, %error, "a stream of log lines ends early");
                None
            }
        }
    });
    pages.flatten().map(move |line| entry(&id, line.seq, "log", &line))
}
