//! The manager's requests to the issuer of identities: over TLS or to loopback, without following redirects, within a limit of
//! time and size.
use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt;
use manta_types::limits;
use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse};
use reqwest::Url;

use super::OidcSettings;
use crate::ManagerError;

/// How long the issuer may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Why the issuer gave no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// It names an address that others could read along or change.
    #[error("it names `{0}`, which is neither https nor loopback")]
    Plain(String),
    /// It says more than anybody reads.
    #[error("its answer has more than {} bytes (issuer_answer_bytes_max)", limits::ISSUER_ANSWER_BYTES_MAX)]
    TooLarge,
    /// The request cannot be made at all.
    #[error(transparent)]
    Request(#[from] http::Error),
    /// It cannot be reached, or broke off.
    #[error(transparent)]
    Failed(#[from] reqwest::Error),
}

/// An HTTP client for one issuer.
pub(super) struct Fetch(reqwest::Client);

impl Fetch {
    /// Makes it; nothing is sent yet.
    pub(super) fn new(settings: &OidcSettings) -> Result<Self, ManagerError> {
        // Another part of the process may have chosen one before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder().timeout(ANSWER_WITHIN).redirect(reqwest::redirect::Policy::none());
        if settings.issuer.parse().is_ok_and(|issuer| is_loopback(&issuer)) {
            builder = builder.no_proxy();
        }
        if let Some(pem) = &settings.authorities {
            let unusable = |error: reqwest::Error| ManagerError::Internal(format!("the issuer's CA file: {error}"));
            builder = builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(pem).map_err(unusable)?);
        }
        let client = builder.build().map_err(|error| ManagerError::Internal(format!("no HTTP client: {error}")))?;
        Ok(Self(client))
    }
}

impl<'c> AsyncHttpClient<'c> for Fetch {
    type Error = FetchError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, FetchError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async move {
            let request = reqwest::Request::try_from(request)?;
            if !is_fit(request.url()) {
                return Err(FetchError::Plain(request.url().to_string()));
            }
            let answer = self.0.execute(request).await?;
            let mut parts = http::Response::builder().status(answer.status());
            for (name, value) in answer.headers() {
                parts = parts.header(name, value);
            }
            let (mut body, mut stream) = (Vec::new(), answer.bytes_stream());
            while let Some(bytes) = stream.next().await {
                body.extend_from_slice(&bytes?);
                if body.len() > limits::ISSUER_ANSWER_BYTES_MAX {
                    return Err(FetchError::TooLarge);
                }
            }
            Ok(parts.body(body)?)
        })
    }
}

/// Whether nobody in between can read along.
pub(super) fn is_fit(url: &Url) -> bool {
    url.scheme() == "https" || url.scheme() == "http" && is_loopback(url)
}

/// Whether an address is this machine's own.
pub(super) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
