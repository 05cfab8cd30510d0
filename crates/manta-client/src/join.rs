//! Calls by which nodes come to be: tokens for them, joining, and new certificates.
use manta_api::{CertificateView, JoinRequest, JoinTokenRequest, JoinTokenView, RenewRequest};

use crate::{Client, ClientError};

impl Client {
    /// Makes a token that lets one node join; each call makes another, which is shown this once.
    ///
    /// # Errors
    /// When the manager cannot be reached or refuses.
    pub async fn make_join_token(&self, wanted: &JoinTokenRequest) -> Result<JoinTokenView, ClientError> {
        self.ask_json("/join-tokens", wanted).await
    }

    /// Joins with a token; it is used up by that.
    ///
    /// # Errors
    /// When the manager cannot be reached or refuses.
    pub async fn join(&self, request: &JoinRequest) -> Result<CertificateView, ClientError> {
        self.ask_root("/v1/join", request).await
    }

    /// Renews the certificate that is shown.
    ///
    /// # Errors
    /// When the manager cannot be reached or refuses.
    pub async fn renew_certificate(&self, request: &RenewRequest) -> Result<CertificateView, ClientError> {
        self.ask_root("/v1/renew", request).await
    }
}
