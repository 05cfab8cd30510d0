//! A swarm's history, as one answer or followed live.
//!
//! What is streamed is read from the store alone, woken by the swarm's watch, so nothing is lost or doubled between
//! what was there and what comes.
use std::sync::Arc;

use axum::response::sse::Event as Sent;
use futures_util::{Stream, StreamExt, stream};
use http::StatusCode;
use manta_api::EventView;
use manta_types::{SwarmId, SwarmSpec};
use tokio::sync::watch;

use super::call::{Answer, Call, json};
use super::stream::{ENTRIES_MAX, PAGE, entry, respond, start_after};
use super::swarms::{Found, find};
use crate::ManagerError;
use crate::app::App;
use crate::view;

pub(super) async fn read(app: App, call: Call) -> Answer {
    let Found { id, spec, seq, is_over, .. } = find(&app, call.param("id")).await?;
    let after = start_after(&call, &id)?;
    let follow = call.query::<bool>("follow")?;
    let news = app.handle.watches().subscribe(id);
    let mut reader = Reader { app: app.clone(), id, spec, read: after, news, is_over: is_over && after >= seq };
    if call.wants_stream() {
        return Ok(respond(&app, call.identity, followed(reader, follow.unwrap_or(true))));
    }
    let mut events = Vec::new();
    while let Some(page) = reader.page(false).await? {
        events.extend(page);
        if events.len() >= ENTRIES_MAX {
            events.truncate(ENTRIES_MAX);
            break;
        }
    }
    json(StatusCode::OK, &events)
}

/// Reads a history from where the client stands.
struct Reader {
    app: App,
    id: SwarmId,
    spec: Arc<SwarmSpec>,
    /// The last event that the client has.
    read: u64,
    news: watch::Receiver<u64>,
    is_over: bool,
}

impl Reader {
    /// The next events for the client; nothing when there are no more, or none yet and it does not follow.
    async fn page(&mut self, follow: bool) -> Result<Option<Vec<EventView>>, ManagerError> {
        while !self.is_over {
            let durable = *self.news.borrow_and_update();
            if self.read < durable {
                let page = self.read_page().await?;
                if !page.is_empty() {
                    return Ok(Some(page));
                }
            } else if !follow || self.news.changed().await.is_err() {
                break;
            }
        }
        Ok(None)
    }

    async fn read_page(&mut self) -> Result<Vec<EventView>, ManagerError> {
        let (cluster, id, read) = (self.app.cluster.clone(), self.id, self.read);
        let events = self.app.store.run(move |store| store.events(&cluster, id, read, PAGE)).await??;
        let mut page = Vec::new();
        for event in &events {
            assert_eq!(event.seq, self.read + 1, "a swarm's history has no gap");
            self.read = event.seq;
            self.is_over = event.what.is_final();
            page.push(view::event(&self.spec, event));
        }
        Ok(page)
    }
}

fn followed(reader: Reader, follow: bool) -> impl Stream<Item = Sent> + Send {
    let id = reader.id;
    let pages = stream::unfold(reader, move |mut reader| async move {
        match reader.page(follow).await {
            Ok(Some(page)) => Some((stream::iter(page), reader)),
            Ok(None) => None,
            Err(error) => {
                tracing::warn!(swarm = %id, %error, "a stream of events ends early");
                None
            }
        }
    });
    pages.flatten().map(move |view| entry(&id, view.seq, view.kind(), &view))
}
