//! Opens connections to a manager, for HTTP calls and for the node protocol alike.
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

use crate::{Endpoint, Tls, proxy, tls};

/// How long a connection may take to open; on loopback it opens at once or not at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A tower service that connects to one endpoint, whatever the request's URI says.
#[derive(Debug, Clone)]
pub struct Connector {
    endpoint: Endpoint,
    tls: Option<Tls>,
}

impl Connector {
    /// A connector to that endpoint; over TLS it trusts what this machine trusts.
    pub fn new(endpoint: &Endpoint) -> Self {
        Self { endpoint: endpoint.clone(), tls: None }
    }

    /// The same, but over TLS it trusts and shows what it is told.
    pub fn with_tls(endpoint: &Endpoint, tls: &Tls) -> Self {
        Self { endpoint: endpoint.clone(), tls: Some(tls.clone()) }
    }
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Stream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Self { endpoint, tls } = self.clone();
        Box::pin(async move {
            let opened = tokio::time::timeout(CONNECT_TIMEOUT, open(&endpoint, tls)).await;
            Ok(TokioIo::new(opened.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?))
        })
    }
}

async fn open(endpoint: &Endpoint, tls: Option<Tls>) -> io::Result<Stream> {
    match endpoint {
        Endpoint::Https { host, port } => {
            let tls = tls.map_or_else(Tls::of_this_machine, Ok).map_err(io::Error::other)?;
            let target: Uri = endpoint.origin().parse().map_err(io::Error::other)?;
            let stream = match proxy::of(&target) {
                Some(proxy) => proxy::tunnel(&proxy, target).await?,
                None => TcpStream::connect((host.as_str(), *port)).await?,
            };
            stream.set_nodelay(true)?;
            Ok(Stream::Tls { stream: Box::new(tls.connect(host, stream).await?), host: host.clone() })
        }
        Endpoint::Http { host, port } => {
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            stream.set_nodelay(true)?;
            Ok(Stream::Tcp(stream))
        }
        Endpoint::Unix(path) => UnixStream::connect(path).await.map(Stream::Unix),
    }
}

/// An open connection of any kind.
#[derive(Debug)]
pub enum Stream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over TLS.
    Tls {
        /// The connection.
        stream: Box<TlsStream<TcpStream>>,
        /// To whom.
        host: String,
    },
    /// Over a Unix socket.
    Unix(UnixStream),
}

macro_rules! each {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Tcp($stream) => {
                let $stream = Pin::new($stream);
                $call
            }
            Stream::Tls { stream: $stream, .. } => {
                let $stream = Pin::new($stream.as_mut());
                $call
            }
            Stream::Unix($stream) => {
                let $stream = Pin::new($stream);
                $call
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            // The other side says after the handshake whether it accepts our certificate.
            Self::Tls { stream, host } => {
                Pin::new(stream.as_mut()).poll_read(cx, buf).map_err(|error| tls::in_words(error, host))
            }
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, stream => stream.poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_shutdown(cx))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => stream.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}
