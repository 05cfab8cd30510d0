//! Where the browser comes back to after a sign-in: one page on loopback, until it brings what this sign-in waits for (RFC 8252).
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use manta_api::ErrorCode;
use reqwest::Url;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::out;
use crate::report::Failure;
use crate::text::one_line;

/// How long a browser may take with its request and its answer.
const SERVED_WITHIN: Duration = Duration::from_secs(5);
/// Characters of an issuer's words that are printed.
const TOLD_CHARS_MAX: usize = 200;

/// A page that waits for the browser.
pub(super) struct Landing {
    listener: TcpListener,
    address: Url,
}

/// What a browser brought: a code, or the issuer's refusal.
type Brought = Result<String, Failure>;

impl Landing {
    /// Takes a port; a free one, unless the manager's issuer wants one.
    pub(super) async fn bind(redirect: &str) -> Result<Self, Failure> {
        let mut address: Url = redirect.parse().map_err(|_| foreign(redirect))?;
        let host = match address.host_str() {
            Some("localhost") => "127.0.0.1",
            Some("[::1]") => "::1",
            Some(host) if host.parse::<std::net::IpAddr>().is_ok_and(|host| host.is_loopback()) => host,
            _ => return Err(foreign(redirect)),
        };
        let listening = TcpListener::bind((host, address.port().unwrap_or(0))).await;
        let listener = listening.map_err(|error| {
            let failure =
                Failure::new(ErrorCode::PortInUse, format!("cannot listen for the browser on `{redirect}`: {error}"));
            failure.hint("end what listens there, or sign in with `--device`")
        })?;
        let port = listener.local_addr().map_err(|error| Failure::internal(error.to_string()))?.port();
        address.set_port(Some(port)).map_err(|()| foreign(redirect))?;
        Ok(Self { listener, address })
    }

    /// Where the browser is sent back to, with the port.
    pub(super) fn address(&self) -> &str {
        self.address.as_str()
    }

    /// Waits for the browser that brings this state; others are told that they are wrong here.
    pub(super) async fn code(&self, state: &str) -> Brought {
        let (found, mut waiting) = mpsc::channel(1);
        let expected = Arc::new((self.address.path().to_owned(), state.to_owned()));
        loop {
            tokio::select! {
                Some(brought) = waiting.recv() => return brought,
                accepted = self.listener.accept() => {
                    if let Ok((stream, _)) = accepted {
                        tokio::spawn(serve(stream, Arc::clone(&expected), found.clone()));
                    }
                }
            }
        }
    }
}

/// Answers one browser; what it brought is told once it has its page.
async fn serve(stream: TcpStream, expected: Arc<(String, String)>, found: mpsc::Sender<Brought>) {
    let brought: Arc<Mutex<Option<Brought>>> = Arc::default();
    let service = service_fn(|request: Request<Incoming>| {
        let read = read(&request, &expected);
        let answer = page(read.is_some());
        if read.is_some() {
            *brought.lock().unwrap_or_else(PoisonError::into_inner) = read;
        }
        async move { Ok::<_, Infallible>(answer) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).keep_alive(false);
    let served = server.serve_connection(TokioIo::new(stream), service);
    // Whether the browser took its page does not matter.
    let _ = tokio::time::timeout(SERVED_WITHIN, served).await;
    let brought = brought.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(brought) = brought {
        // Another browser may have been first.
        let _ = found.send(brought).await;
    }
}

/// What a request brings, where it belongs to this sign-in.
fn read(request: &Request<Incoming>, (path, state): &(String, String)) -> Option<Brought> {
    if request.uri().path() != path {
        return None;
    }
    let query = format!("http://localhost/?{}", request.uri().query().unwrap_or_default()).parse::<Url>().ok()?;
    let value = |name: &str| query.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value.into_owned());
    if value("state").as_ref() != Some(state) {
        out::say("a browser came back with a state that does not belong to this sign-in; it is passed over");
        return None;
    }
    match (value("code"), value("error")) {
        (Some(code), None) => Some(Ok(code)),
        (_, Some(error)) => {
            let told = value("error_description").map(|words| format!(": {words}")).unwrap_or_default();
            let sentence = format!("the issuer refused: {}", one_line(&format!("{error}{told}"), TOLD_CHARS_MAX));
            Some(Err(Failure::new(ErrorCode::SignInRefused, sentence).hint("`manta login` begins another")))
        }
        (None, None) => None,
    }
}

fn page(is_ours: bool) -> Response<Full<Bytes>> {
    let (status, text) = if is_ours {
        (
            StatusCode::OK,
            "manta has what it waited for. Close this page, and see in your terminal whether you are signed in.",
        )
    } else {
        (StatusCode::BAD_REQUEST, "This does not belong to the sign-in that manta waits for.")
    };
    let mut answer = Response::new(Full::from(format!("{text}\n")));
    *answer.status_mut() = status;
    for (name, value) in [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        answer.headers_mut().insert(name, http::HeaderValue::from_static(value));
    }
    answer
}

fn foreign(redirect: &str) -> Failure {
    let shown = one_line(redirect, TOLD_CHARS_MAX);
    Failure::new(ErrorCode::Untrusted, format!("the manager sends browsers to `{shown}`, which is not on loopback"))
}
