//! A request as a route's function sees it: parameters read, query checked, body still to come.
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequestParts, Query, RawPathParams, Request};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::BodyExt;
use manta_api::{ErrorCode, Problem};
use manta_types::name::printable;
use manta_types::{TraceParent, limits};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::problem::{internal, respond};
use crate::app::App;
use crate::bearer::{Identity, User};
use crate::clusters::Clusters;
use crate::identity::{NodeCertificate, Peer};
use crate::keys::{self, Idempotency};

/// Characters of a reader's complaint that are passed on; it may repeat what was sent.
const PROBLEM_CHARS_MAX: usize = 240;
/// Bytes beyond the limit of a body that are read before it is refused.
const DROPPED_BYTES_MAX: usize = 64 << 20;
/// Characters of the path to the place that it complains of.
const PLACE_CHARS_MAX: usize = 120;
/// The header of an idempotency key.
pub(super) const KEY_HEADER: &str = "idempotency-key";
/// The header of the span under which a request is sent.
pub(super) const TRACE_HEADER: &str = "traceparent";

/// What a route's function gives.
pub(super) type Answer = Result<Response, Problem>;
/// The same, while it is being made.
pub(super) type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// One request.
pub(super) struct Call {
    params: BTreeMap<String, String>,
    query: BTreeMap<String, String>,
    pub(super) headers: HeaderMap,
    pub(super) identity: Identity,
    pub(super) body: Body,
    /// Those of the manager.
    pub(super) clusters: Clusters,
    certificate: Option<Arc<NodeCertificate>>,
    is_over_tls: bool,
}

/// Reads a request, lets its route's function answer it for the cluster that the guard found, and turns a problem into its answer.
pub(super) async fn handle(
    clusters: Clusters,
    call: fn(App, Call) -> Answering,
    query: &'static [&'static str],
    mut request: Request,
) -> Response {
    let app = request.extensions_mut().remove::<App>();
    let read = match Call::read(clusters, request, query).await {
        Ok(read) => read,
        Err(problem) => return respond(&problem),
    };
    let Some(app) = app else { return respond(&read.unserved()) };
    call(app, read).await.unwrap_or_else(|problem| respond(&problem))
}

impl Call {
    async fn read(clusters: Clusters, request: Request, allowed: &[&str]) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let bad = |problem: String| Problem::new(ErrorCode::BadRequest, problem);
        let params =
            RawPathParams::from_request_parts(&mut parts, &()).await.map_err(|error| bad(error.body_text()))?;
        let params = params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let Query(query) = Query::<BTreeMap<String, String>>::try_from_uri(&parts.uri)
            .map_err(|error| bad(format!("the query cannot be read: {}", error.body_text())))?;
        if let Some(unknown) = query.keys().find(|key| !allowed.contains(&key.as_str())) {
            let known = if allowed.is_empty() { "none".to_owned() } else { allowed.join(", ") };
            return Err(bad(format!("the query's `{}` is unknown here; known: {known}", clip(unknown))));
        }
        let identity = parts.extensions.remove().unwrap_or(Identity::Nobody);
        let peer = parts.extensions.get::<Peer>();
        let (certificate, is_over_tls) =
            peer.map_or((None, false), |peer| (peer.certificate.clone(), peer.is_over_tls));
        Ok(Self { params, query, headers: parts.headers, identity, body, clusters, certificate, is_over_tls })
    }

    /// Why the cluster that is meant is not served: by its name in the path, else that of whoever asks.
    fn unserved(&self) -> Problem {
        match &self.identity {
            Identity::User(User { cluster: Some(own), .. }) => self.clusters.own_unserved(own.as_str()),
            _ => self.clusters.unserved(self.param("cluster")),
        }
    }

    /// What the connection shows, where that is the certificate of a node, which was judged before.
    pub(super) fn certificate(&self) -> Option<Arc<NodeCertificate>> {
        self.certificate.clone()
    }

    /// Whether nobody in between can read along.
    pub(super) const fn is_over_tls(&self) -> bool {
        self.is_over_tls
    }

    /// A part of the path.
    pub(super) fn param(&self, name: &str) -> &str {
        self.params.get(name).map_or("", String::as_str)
    }

    /// A value of the query, read.
    pub(super) fn query<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Problem> {
        let Some(text) = self.query.get(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| {
            Problem::new(
                ErrorCode::BadRequest,
                format!("the query's `{name}` is `{}`, which cannot be read", clip(text)),
            )
        })
    }

    /// A header's text.
    pub(super) fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The span under which the client sends it, as W3C Trace Context has it: one that is malformed, or is not the only one, is
    /// ignored.
    pub(super) fn trace_parent(&self) -> Option<TraceParent> {
        let mut sent = self.headers.get_all(TRACE_HEADER).iter();
        let (Some(only), None) = (sent.next(), sent.next()) else { return None };
        only.to_str().ok()?.parse().ok()
    }

    /// The key under which the client may send the same request twice and have it done once, with a digest of all that
    /// makes it the same request.
    pub(super) fn idempotency(&self, request: impl AsRef<[u8]>) -> Result<Option<Idempotency>, Problem> {
        let sent = self.headers.get(KEY_HEADER);
        sent.map(|key| keys::read(key.as_bytes(), request.as_ref())).transpose()
    }

    /// Whether the client asks for server-sent events.
    pub(super) fn wants_stream(&self) -> bool {
        self.header(header::ACCEPT).is_some_and(|accepted| accepted.contains("text/event-stream"))
    }

    /// The body, within the limit of JSON bodies. What is beyond it is read and dropped for a while: a client that is
    /// still sending would not see the answer.
    pub(super) async fn bytes(&mut self) -> Result<Bytes, Problem> {
        let most = limits::REQUEST_BODY_BYTES_MAX;
        let (mut kept, mut seen) = (BytesMut::new(), 0);
        while seen < most + DROPPED_BYTES_MAX
            && let Some(frame) = self.body.frame().await
        {
            let broken = |error| Problem::new(ErrorCode::BadRequest, format!("the request's body broke off: {error}"));
            let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
            seen += data.len();
            if seen > most {
                kept = BytesMut::new();
            } else {
                kept.extend_from_slice(&data);
            }
        }
        if seen > most {
            return Err(Problem::new(ErrorCode::TooLarge, format!("the request's body has more than {most} bytes")));
        }
        Ok(kept.freeze())
    }

    /// The body as JSON.
    pub(super) async fn json<T: DeserializeOwned>(mut self) -> Result<T, Problem> {
        parse("request's body", &self.bytes().await?)
    }
}

/// Reads JSON; a refusal names the place in the document where it went wrong.
pub(crate) fn parse<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let refuse = |place: &str, error: &serde_json::Error| {
        let problem = printable(&error.to_string(), PROBLEM_CHARS_MAX);
        Problem::new(ErrorCode::BadRequest, format!("the {what} cannot be read{place}: {problem}"))
    };
    let read = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let place = match error.path().to_string().as_str() {
            "." | "?" => String::new(),
            path => format!(" at `{}`", printable(path, PLACE_CHARS_MAX)),
        };
        refuse(&place, error.inner())
    })?;
    json.end().map_err(|error| refuse("", &error))?;
    Ok(read)
}

/// An answer of JSON.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    let body = serde_json::to_vec(value).map_err(internal)?;
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// A text of the client's, fit for a sentence.
pub(super) fn clip(text: &str) -> String {
    text.chars().take(80).flat_map(char::escape_debug).collect()
}
