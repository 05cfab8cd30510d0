//! Requests and answers: one place that adds the token, reads problems and names the manager in every error.
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use manta_api::{ErrorCode, Problem};
use manta_types::ClusterId;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::innermost;
use crate::{ClientError, Connector, Endpoint, Tls, Token};

/// Bytes of a JSON answer; lists of results are the largest.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// Bytes of a problem document.
const PROBLEM_BYTES_MAX: usize = 1 << 20;
/// How long a manager may think before it begins to answer a call without a body to store.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// The wait before a change whose answer was lost is said again; doubled each time.
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// The longest such wait; the error counts after it.
const RETRY_LAST: Duration = Duration::from_millis(1600);

/// A request's body.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A connection to one cluster of one manager; cheap to clone.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    http: legacy::Client<Connector, Body>,
    endpoint: Endpoint,
    base: String,
    authorization: Option<HeaderValue>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("endpoint", &self.shared.endpoint).finish_non_exhaustive()
    }
}

impl Client {
    /// A client of that cluster; connects on the first call.
    pub fn new(endpoint: Endpoint, token: Token, cluster: ClusterId) -> Self {
        let connector = Connector::new(&endpoint);
        Self::over(connector, endpoint, Some(&token), &cluster)
    }

    /// The same, trusting and showing what it is told over TLS; without a token, the certificate that is shown says who asks.
    pub fn with_tls(endpoint: Endpoint, tls: &Tls, token: Option<&Token>, cluster: &ClusterId) -> Self {
        let connector = Connector::with_tls(&endpoint, tls);
        Self::over(connector, endpoint, token, cluster)
    }

    /// The same for whoever has no token yet; trusts what this machine does, unless told otherwise.
    pub fn without_token(endpoint: Endpoint, tls: Option<&Tls>, cluster: &ClusterId) -> Self {
        let connector = tls.map_or_else(|| Connector::new(&endpoint), |tls| Connector::with_tls(&endpoint, tls));
        Self::over(connector, endpoint, None, cluster)
    }

    fn over(connector: Connector, endpoint: Endpoint, token: Option<&Token>, cluster: &ClusterId) -> Self {
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .build(connector);
        let base = format!("{}/v1/clusters/{cluster}", endpoint.origin());
        let token = token.filter(|token| token.is_plain());
        let header = token.and_then(|token| HeaderValue::from_str(&format!("Bearer {}", token.expose())).ok());
        let authorization = header.map(|mut header| {
            header.set_sensitive(true);
            header
        });
        Self { shared: Arc::new(Shared { http, endpoint, base, authorization }) }
    }

    /// Where the manager listens.
    pub fn endpoint(&self) -> &Endpoint {
        &self.shared.endpoint
    }

    /// A new idempotency key: what is sent again under the same key is done once.
    #[must_use]
    pub fn new_key() -> String {
        uuid::Uuid::now_v7().to_string()
    }

    /// Whether the manager answers; needs no token.
    ///
    /// # Errors
    /// When it does not.
    pub async fn health(&self) -> Result<(), ClientError> {
        let uri = format!("{}/healthz", self.shared.endpoint.origin());
        self.send(request(Method::GET, &uri, empty())).await.map(drop)
    }

    /// What the manager's clock says, as its answers carry it (RFC 9110), where it does; needs no token.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn clock(&self) -> Result<Option<String>, ClientError> {
        let uri = format!("{}/healthz", self.shared.endpoint.origin());
        let answer = self.send(request(Method::GET, &uri, empty())).await?;
        Ok(answer.headers().get(DATE).and_then(|date| date.to_str().ok()).map(str::to_owned))
    }

    /// The full URI of a route of the cluster.
    pub(crate) fn uri(&self, path: &str) -> String {
        format!("{}{path}", self.shared.base)
    }

    /// The full URI of a route that is no cluster's.
    pub(crate) fn root_uri(&self, path: &str) -> String {
        format!("{}{path}", self.shared.endpoint.origin())
    }

    pub(crate) async fn get_json<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.get_from(&self.uri(path)).await
    }

    pub(crate) async fn get_from<T: DeserializeOwned>(&self, uri: &str) -> Result<T, ClientError> {
        let mut request = request(Method::GET, uri, empty());
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
        let answer = self.send(request).await?;
        self.read_json(answer).await
    }

    /// Asks a question that has a body; nothing changes at the manager.
    pub(crate) async fn ask_json<T: DeserializeOwned>(
        &self,
        path: &str,
        content: &impl Serialize,
    ) -> Result<T, ClientError> {
        let answer = self.send(self.post(&self.uri(path), self.encode(content)?, None)?).await?;
        self.read_json(answer).await
    }

    /// Changes something, once: under a key that makes it safe to say it again when an answer is lost.
    pub(crate) async fn change_json<T: DeserializeOwned>(
        &self,
        path: &str,
        content: &impl Serialize,
        key: &str,
    ) -> Result<T, ClientError> {
        self.change_at(&self.uri(path), content, key).await
    }

    /// The same for a full URI.
    pub(crate) async fn change_at<T: DeserializeOwned>(
        &self,
        uri: &str,
        content: &impl Serialize,
        key: &str,
    ) -> Result<T, ClientError> {
        let bytes = self.encode(content)?;
        let (mut wait, mut may_be_done) = (RETRY_FIRST, false);
        loop {
            let outcome = async {
                let answer = self.send(self.post(uri, bytes.clone(), Some(key))?).await?;
                self.read_json(answer).await
            };
            let outcome = outcome.await;
            // A manager that ended over the first call refuses connections until it is back.
            let is_away = matches!(outcome, Err(ClientError::Unreachable { .. }));
            may_be_done |= matches!(&outcome, Err(error) if error.may_have_been_heard());
            if !(is_away && may_be_done && wait <= RETRY_LAST) {
                return outcome;
            }
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
    }

    /// Asks for something that is no cluster's.
    pub(crate) async fn ask_root<T: DeserializeOwned>(
        &self,
        path: &str,
        content: &impl Serialize,
    ) -> Result<T, ClientError> {
        let answer = self.send(self.post(&self.root_uri(path), self.encode(content)?, None)?).await?;
        self.read_json(answer).await
    }

    fn encode(&self, content: &impl Serialize) -> Result<Bytes, ClientError> {
        serde_json::to_vec(content).map(Bytes::from).map_err(|error| self.protocol(error.to_string()))
    }

    fn post(&self, uri: &str, bytes: Bytes, key: Option<&str>) -> Result<Request<Body>, ClientError> {
        let mut request = request(Method::POST, uri, full(bytes));
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(key) = key {
            let key = HeaderValue::from_str(key).map_err(|error| self.protocol(error.to_string()))?;
            request.headers_mut().insert("idempotency-key", key);
        }
        Ok(request)
    }

    /// Sends a request whose answer must begin in time; an answer of an error status becomes an error.
    pub(crate) async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, ClientError> {
        match tokio::time::timeout(ANSWER_TIMEOUT, self.send_patiently(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(self.unreachable(io::Error::new(io::ErrorKind::TimedOut, "no answer within 60 s"))),
        }
    }

    /// Sends a request that may take as long as its body needs.
    pub(crate) async fn send_patiently(&self, mut request: Request<Body>) -> Result<Response<Incoming>, ClientError> {
        if let Some(token) = &self.shared.authorization {
            request.headers_mut().insert(AUTHORIZATION, token.clone());
        }
        let (method, uri, begun) = (request.method().clone(), request.uri().clone(), tokio::time::Instant::now());
        let sent = self.shared.http.request(request).await;
        let answered = sent.as_ref().map_or_else(ToString::to_string, |answer| answer.status().to_string());
        let elapsed_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::debug!(%method, %uri, answered, elapsed_ms, "asked the manager");
        let answer = sent.map_err(|error| self.unreachable(innermost(&error)))?;
        if answer.status().is_success() { Ok(answer) } else { Err(self.refusal(answer).await) }
    }

    pub(crate) async fn read_json<T: DeserializeOwned>(&self, answer: Response<Incoming>) -> Result<T, ClientError> {
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let bytes = body.map_err(|error| self.unreachable(innermost(error.as_ref())))?.to_bytes();
        serde_json::from_slice(&bytes).map_err(|error| self.protocol(error.to_string()))
    }

    async fn refusal(&self, answer: Response<Incoming>) -> ClientError {
        let status = answer.status();
        let body = Limited::new(answer.into_body(), PROBLEM_BYTES_MAX).collect().await;
        let bytes = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        match serde_json::from_slice::<Problem>(&bytes) {
            Ok(problem) => ClientError::problem(problem),
            Err(_) => ClientError::problem(self.stand_in(status)),
        }
    }

    /// A problem for an answer that carries none, as from something that is no manager.
    fn stand_in(&self, status: StatusCode) -> Problem {
        let code = match status.as_u16() {
            401 => ErrorCode::Unauthorized,
            403 => ErrorCode::Forbidden,
            404 | 405 => ErrorCode::NotFound,
            409 => ErrorCode::Conflict,
            413 => ErrorCode::TooLarge,
            400..=499 => ErrorCode::BadRequest,
            507 => ErrorCode::Storage,
            _ => ErrorCode::Internal,
        };
        let message = format!("`{}` answered with status {status} and no explanation", self.shared.endpoint);
        Problem { status: status.as_u16(), ..Problem::new(code, message) }
    }

    pub(crate) fn unreachable(&self, source: io::Error) -> ClientError {
        if source.kind() == io::ErrorKind::InvalidData {
            return ClientError::Untrusted { endpoint: self.shared.endpoint.to_string(), why: source.to_string() };
        }
        ClientError::Unreachable { endpoint: self.shared.endpoint.to_string(), source }
    }

    pub(crate) fn protocol(&self, what: String) -> ClientError {
        ClientError::Protocol { endpoint: self.shared.endpoint.to_string(), what }
    }
}

pub(crate) fn request(method: Method, uri: &str, body: Body) -> Request<Body> {
    let request = Request::builder().method(method).uri(uri).body(body);
    request.expect("origins are checked and every part of a path is an id, a digest or encoded")
}

pub(crate) fn empty() -> Body {
    full(Bytes::new())
}

pub(crate) fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}
