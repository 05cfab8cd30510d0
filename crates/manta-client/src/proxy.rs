//! The way out through an HTTP proxy, where the environment names one: a tunnel by CONNECT.
use std::io;

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower::ServiceExt;

/// The proxy that `HTTPS_PROXY` and `NO_PROXY` name for that target, if any.
pub(crate) fn of(target: &Uri) -> Option<Intercept> {
    Matcher::from_env().intercept(target)
}

/// Opens a connection to the target through a proxy.
pub(crate) async fn tunnel(proxy: &Intercept, target: Uri) -> io::Result<TcpStream> {
    let address = proxy.uri().clone();
    if address.scheme_str() != Some("http") {
        let words = format!("the proxy `{address}` is not an `http://` one, which are the ones that are spoken to");
        return Err(io::Error::new(io::ErrorKind::Unsupported, words));
    }
    let mut tunnel = Tunnel::new(address.clone(), HttpConnector::new());
    if let Some(credentials) = proxy.basic_auth() {
        tunnel = tunnel.with_auth(credentials.clone());
    }
    let opened = tunnel.oneshot(target).await.map_err(|error| {
        let mut words = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(deeper) = cause {
            words = format!("{words}: {deeper}");
            cause = deeper.source();
        }
        let host = address.authority().map(http::uri::Authority::as_str).unwrap_or_default();
        io::Error::other(format!("the proxy `{}` gave no way: {words}", without_credentials(host)))
    })?;
    Ok(TokioIo::into_inner(opened))
}

fn without_credentials(authority: &str) -> &str {
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}
