//! A request as a route's function sees it: parameters read, query checked, body still to come.
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

use axum::body::Body;
use axum::extract::{FromRequestParts, Query, RawPathParams, Request};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use manta_api::{ErrorCode, Problem};
use manta_types::limits;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::problem::{internal, respond};
use crate::app::App;

/// What a route's function gives.
pub(super) type Answer = Result<Response, Problem>;
/// The same, while it is being made.
pub(super) type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// One request.
pub(super) struct Call {
    params: BTreeMap<String, String>,
    query: BTreeMap<String, String>,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
}

/// Reads a request, lets its route's function answer it, and turns a problem into its answer.
pub(super) async fn handle(
    app: App,
    call: fn(App, Call) -> Answering,
    query: &'static [&'static str],
    request: Request,
) -> Response {
    let read = match Call::read(request, query).await {
        Ok(read) => read,
        Err(problem) => return respond(&problem),
    };
    if let Some(cluster) = read.params.get("cluster").filter(|cluster| *cluster != app.cluster.as_str()) {
        let ours = app.cluster.as_str();
        let problem = Problem::new(ErrorCode::NotFound, format!("there is no cluster `{}` here", clip(cluster)));
        return respond(&problem.hint(format!("this manager runs the cluster `{ours}`")));
    }
    call(app, read).await.unwrap_or_else(|problem| respond(&problem))
}

impl Call {
    async fn read(request: Request, allowed: &[&str]) -> Result<Self, Problem> {
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
        Ok(Self { params, query, headers: parts.headers, body })
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

    /// Whether the client asks for server-sent events.
    pub(super) fn wants_stream(&self) -> bool {
        self.header(header::ACCEPT).is_some_and(|accepted| accepted.contains("text/event-stream"))
    }

    /// The body, within the limit of JSON bodies.
    pub(super) async fn bytes(self) -> Result<Bytes, Problem> {
        let most = limits::REQUEST_BODY_BYTES_MAX;
        match Limited::new(self.body, most).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => {
                Err(Problem::new(ErrorCode::TooLarge, format!("the request's body has more than {most} bytes")))
            }
            Err(error) => Err(Problem::new(ErrorCode::BadRequest, format!("the request's body broke off: {error}"))),
        }
    }

    /// The body as JSON.
    pub(super) async fn json<T: DeserializeOwned>(self) -> Result<T, Problem> {
        parse(&self.bytes().await?)
    }
}

/// Reads JSON.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes)
        .map_err(|error| Problem::new(ErrorCode::BadRequest, format!("the request's body cannot be read: {error}")))
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
