//! A live stream of a swarm's events or log lines that goes on where it was when a connection breaks.
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use http::header::ACCEPT;
use http::{HeaderValue, Method};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use manta_api::{EventView, LogLine};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::client::{empty, request};
use crate::error::innermost;
use crate::sse::{SseEvent, SseParser};
use crate::{Client, ClientError};

/// The first wait before a broken stream is opened again; doubled each time.
const BACKOFF: Duration = Duration::from_millis(100);
/// The longest such wait.
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// How long a manager may stay away before the stream ends with the error.
const PATIENCE: Duration = Duration::from_secs(30);

/// An item of a stream that has a place in it.
pub trait Sequenced: DeserializeOwned + Send + 'static {
    /// Its position, rising.
    fn seq(&self) -> u64;
    /// Whether nothing can follow it.
    fn is_last(&self) -> bool;
}

impl Sequenced for EventView {
    fn seq(&self) -> u64 {
        self.seq
    }

    fn is_last(&self) -> bool {
        matches!(self.kind(), "swarm_succeeded" | "swarm_failed" | "swarm_stopped")
    }
}

impl Sequenced for LogLine {
    fn seq(&self) -> u64 {
        self.seq
    }

    fn is_last(&self) -> bool {
        false
    }
}

/// A stream of items, in order and without repetition; it ends after the last one, or after an error that waiting does
/// not cure.
pub struct Follow<T> {
    items: Pin<Box<dyn Stream<Item = Result<T, ClientError>> + Send>>,
}

impl<T> Stream for Follow<T> {
    type Item = Result<T, ClientError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.items.as_mut().poll_next(cx)
    }
}

impl<T: Sequenced> Follow<T> {
    pub(crate) fn new(client: Client, path: String, query: String, after: u64) -> Self {
        let follower = Follower::<T> {
            client,
            path,
            query,
            after,
            last_id: None,
            open: None,
            ready: VecDeque::new(),
            failing: None,
            over: false,
            kind: PhantomData,
        };
        let items = futures_util::stream::unfold(follower, async |mut follower| {
            let item = follower.next().await?;
            Some((item, follower))
        });
        Self { items: Box::pin(items) }
    }
}

struct Follower<T> {
    client: Client,
    path: String,
    query: String,
    after: u64,
    last_id: Option<String>,
    open: Option<Open>,
    ready: VecDeque<SseEvent>,
    failing: Option<Failing>,
    over: bool,
    kind: PhantomData<fn() -> T>,
}

struct Open {
    body: Incoming,
    parser: SseParser,
    gave_any: bool,
}

struct Failing {
    since: Instant,
    wait: Duration,
}

impl<T: Sequenced> Follower<T> {
    async fn next(&mut self) -> Option<Result<T, ClientError>> {
        loop {
            if self.over {
                return None;
            }
            if let Some(event) = self.ready.pop_front() {
                match self.item(event) {
                    Ok(None) => continue,
                    Ok(Some(item)) => return Some(Ok(item)),
                    Err(error) => return Some(Err(self.end(error))),
                }
            }
            if let Err(error) = self.read().await {
                self.open = None;
                if !self.may_try_again(&error) {
                    return Some(Err(self.end(error)));
                }
                self.wait().await;
            }
        }
    }

    /// The event's item, unless it was given before the connection broke.
    fn item(&mut self, event: SseEvent) -> Result<Option<T>, ClientError> {
        let item: T = serde_json::from_str(&event.data).map_err(|error| self.client.protocol(error.to_string()))?;
        self.last_id = event.id.or(self.last_id.take());
        if item.seq() <= self.after {
            return Ok(None);
        }
        self.after = item.seq();
        self.over = item.is_last();
        Ok(Some(item))
    }

    /// Reads until an event is complete or the connection ends; opens one first where there is none.
    async fn read(&mut self) -> Result<(), ClientError> {
        if self.open.is_none() {
            let body = self.connect().await?;
            self.open = Some(Open { body, parser: SseParser::default(), gave_any: false });
            self.failing = None;
        }
        let open = self.open.as_mut().expect("opened above");
        let Some(frame) = open.body.frame().await else {
            // The manager ended the stream in order. When that connection brought nothing, there is nothing left.
            self.over = !open.gave_any;
            self.open = None;
            return Ok(());
        };
        let frame = frame.map_err(|error| self.client.unreachable(innermost(&error)))?;
        if let Ok(bytes) = frame.into_data() {
            let mut events = Vec::new();
            open.parser.feed(&bytes, &mut events).map_err(|error| self.client.protocol(error.to_string()))?;
            open.gave_any |= !events.is_empty();
            self.ready.extend(events);
        }
        Ok(())
    }

    async fn connect(&self) -> Result<Incoming, ClientError> {
        let uri = self.client.uri(&format!("{}?after={}&follow=true{}", self.path, self.after, self.query));
        let mut request = request(Method::GET, &uri, empty());
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        if let Some(id) = self.last_id.as_deref().and_then(|id| HeaderValue::from_str(id).ok()) {
            request.headers_mut().insert("last-event-id", id);
        }
        Ok(self.client.send(request).await?.into_body())
    }

    fn may_try_again(&mut self, error: &ClientError) -> bool {
        let failing = self.failing.get_or_insert_with(|| Failing { since: Instant::now(), wait: BACKOFF });
        error.is_transient() && failing.since.elapsed() < PATIENCE
    }

    async fn wait(&mut self) {
        if let Some(failing) = &mut self.failing {
            tokio::time::sleep(failing.wait).await;
            failing.wait = (failing.wait * 2).min(BACKOFF_MAX);
        }
    }

    fn end(&mut self, error: ClientError) -> ClientError {
        self.over = true;
        error
    }
}
