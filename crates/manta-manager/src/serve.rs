//! Connections: accepted one by one, served by HTTP/1 or HTTP/2 on the same port, and ended in order.
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::Request;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use crate::ManagerError;
use crate::bearer::Source;
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

/// Accepts connections until told to stop.
pub(crate) async fn accept(socket: Socket, router: Router, supervisor: Supervisor) -> Result<(), ManagerError> {
    let stop = supervisor.stopping();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            accepted = accept_one(&socket) => accepted,
        };
        match accepted {
            Ok(Stream::Tcp(stream, from)) => spawn(stream, Source(from.to_string().into()), &router, &supervisor),
            Ok(Stream::Unix(stream)) => spawn(stream, Source(Arc::from("unix")), &router, &supervisor),
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

fn spawn<S>(stream: S, source: Source, router: &Router, supervisor: &Supervisor)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let serving = connection(stream, source, router.clone(), supervisor.clone(), supervisor.stopping());
    supervisor.spawn("connection", Kind::Session, serving);
}

async fn connection<S>(
    stream: S,
    source: Source,
    router: Router,
    supervisor: Supervisor,
    stop: CancellationToken,
) -> Result<(), ManagerError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = auto::Builder::new(supervisor);
    builder.http1().timer(TokioTimer::new()).half_close(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PONG_WITHIN);
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(source.clone());
        router.call(request)
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
