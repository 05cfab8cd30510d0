//! Connections: accepted one by one, over TLS where the first byte says so, served by HTTP/1 or HTTP/2 on the same port, and
//! ended in order.
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use http::StatusCode;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use manta_api::{ErrorCode, Problem};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tower::ServiceExt;

use crate::ManagerError;
use crate::bearer::Source;
use crate::clusters::Clusters;
use crate::identity::{NodeCertificate, Peer};
use crate::settings::Socket;
use crate::supervisor::{Kind, Supervisor};

/// Bytes on their way in one HTTP/2 stream before the reader must have caught up.
const STREAM_WINDOW_BYTES: u32 = 8 << 20;
/// The same for a whole connection.
const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;
/// How often a silent HTTP/2 peer is asked whether it lives, and how long it may take to answer.
const PING_EVERY: Duration = Duration::from_secs(10);
const PONG_WITHIN: Duration = Duration::from_secs(20);
/// How long to wait before accepting again, when the process has no descriptor left.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// The first byte of every TLS connection, and of no HTTP one.
const TLS_HANDSHAKE: u8 = 0x16;
/// How long a client may take to say its first byte, and to finish a handshake.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// How long a node that was revoked has to hear of it before its connections are dropped.
const FAREWELL: Duration = Duration::from_secs(1);

/// What every connection is served with.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) router: Router,
    pub(crate) supervisor: Supervisor,
    /// Whose connections they may be, and how TLS is spoken, on a TCP address.
    pub(crate) clusters: Clusters,
    /// Whether other machines reach the address: TLS is all that is spoken there.
    pub(crate) is_remote: bool,
}

/// What every request of a connection carries.
struct OtherEnd {
    source: Source,
    peer: Peer,
}

/// Accepts connections until told to stop.
pub(crate) async fn accept(socket: Socket, door: Door) -> Result<(), ManagerError> {
    let stop = door.supervisor.stopping();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            accepted = accept_one(&socket) => accepted,
        };
        match accepted {
            Ok(Stream::Tcp(stream, from)) => {
                let source = Source(from.to_string().into());
                door.supervisor.spawn("connection", Kind::Session, over_tcp(stream, source, door.clone()));
            }
            Ok(Stream::Unix(stream)) => {
                let end = OtherEnd { source: Source(Arc::from("unix")), peer: door.plain() };
                door.supervisor.spawn("connection", Kind::Session, connection(stream, end, door.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

enum Stream {
    Tcp(tokio::net::TcpStream, SocketAddr),
    Unix(tokio::net::UnixStream),
}

async fn accept_one(socket: &Socket) -> io::Result<Stream> {
    match socket {
        Socket::Tcp(listener) => {
            let (stream, from) = listener.accept().await?;
            stream.set_nodelay(true)?;
            Ok(Stream::Tcp(stream, from))
        }
        Socket::Unix(listener) => Ok(Stream::Unix(listener.accept().await?.0)),
    }
}

impl Door {
    /// Who is at the other end of a connection without TLS.
    const fn plain(&self) -> Peer {
        Peer { is_remote: self.is_remote, is_over_tls: false, certificate: None }
    }
}

/// Finds out what the client speaks, and serves it.
async fn over_tcp(stream: TcpStream, source: Source, door: Door) -> Result<(), ManagerError> {
    let mut first = [0];
    let said = door.supervisor.stopping().run_until_cancelled_owned(timeout(HANDSHAKE_WITHIN, stream.peek(&mut first)));
    let Some(Ok(Ok(1))) = said.await else { return Ok(()) };
    match &door.clusters.shared().registrar {
        Some(registrar) if first[0] == TLS_HANDSHAKE => {
            let acceptor = TlsAcceptor::from(Arc::clone(&registrar.config));
            match timeout(HANDSHAKE_WITHIN, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => over_tls(stream, source, door).await,
                Ok(Err(error)) => {
                    tracing::debug!(%error, "a TLS connection was not made");
                    Ok(())
                }
                Err(_) => Ok(()),
            }
        }
        _ if door.is_remote => {
            refuse_plain(stream).await;
            Ok(())
        }
        _ => {
            let end = OtherEnd { source, peer: door.plain() };
            connection(stream, end, door).await
        }
    }
}

async fn over_tls(stream: TlsStream<TcpStream>, source: Source, door: Door) -> Result<(), ManagerError> {
    let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    // It was read when it was verified.
    let certificate = shown.and_then(|der| NodeCertificate::read(der).ok());
    let peer = Peer { is_over_tls: true, certificate: certificate.map(Arc::new), ..door.plain() };
    let Some(certificate) = peer.certificate.clone() else {
        return connection(stream, OtherEnd { source, peer }, door).await;
    };
    // Of a cluster that is not served, each request is told so.
    let live = door.clusters.live(&certificate).unwrap_or_default();
    let revoked = async {
        live.cancelled().await;
        tokio::time::sleep(FAREWELL).await;
    };
    // One that has expired already is judged with each request; one that expires meanwhile ends its connections.
    let expires = async {
        match left(&certificate) {
            Some(left) => tokio::time::sleep(left).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        served = connection(stream, OtherEnd { source, peer }, door) => served,
        () = revoked => Ok(()),
        () = expires => Ok(()),
    }
}

/// How long a certificate is valid still.
fn left(certificate: &NodeCertificate) -> Option<Duration> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Duration::from_millis(certificate.until_ms).checked_sub(now).filter(|left| !left.is_zero())
}

/// Says in plain HTTP that only TLS is spoken here.
async fn refuse_plain(mut stream: TcpStream) {
    let words = "this port speaks TLS: use `https://` in place of `http://`";
    let problem = Problem { status: StatusCode::BAD_REQUEST.as_u16(), ..Problem::new(ErrorCode::NotLoopback, words) };
    let body = serde_json::to_string(&problem).expect("texts and a number: always JSON");
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\nconnection: \
         close\r\n\r\n{body}",
        body.len()
    );
    // Whoever went away does not need the answer.
    let _ = timeout(HANDSHAKE_WITHIN, async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        // What was sent is read, so that the answer is not lost to a reset.
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
    })
    .await;
}

async fn connection<S>(stream: S, end: OtherEnd, door: Door) -> Result<(), ManagerError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Door { router, supervisor, .. } = door;
    let stop = supervisor.stopping();
    let mut builder = auto::Builder::new(supervisor);
    builder.http1().timer(TokioTimer::new()).half_close(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PONG_WITHIN);
    let service = hyper::service::service_fn(move |request: http::Request<Incoming>| {
        let mut request: Request = request.map(Body::new);
        request.extensions_mut().insert(end.source.clone());
        request.extensions_mut().insert(end.peer.clone());
        router.clone().oneshot(request)
    });
    let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let served = tokio::select! {
        served = serving.as_mut() => served,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = served {
        tracing::trace!(error, "a connection broke off");
    }
    Ok(())
}
