//! TLS to a manager: by what it is recognised, and who we are to it.
use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use jiff::Timestamp;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_parser::prelude::{FromDer, X509Certificate};

/// How a manager is recognised, and the certificate that we show it; cheap to clone, and clones share the certificate.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
    shown: Arc<Shown>,
}

/// Certificates or keys that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TlsError(pub String);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Trusts managers whose certificates are of one of these authorities, in PEM form.
    ///
    /// # Errors
    /// When the text holds no certificate, or one that cannot be read.
    pub fn with_authorities(pem: &[u8]) -> Result<Self, TlsError> {
        Ok(Self::by(webpki(roots(pem)?)?))
    }

    /// Trusts the manager that shows a certificate with this SHA-256 of its SPKI, or one that such an authority issued.
    pub fn with_fingerprint(fingerprint: [u8; 32]) -> Self {
        Self::by(Arc::new(Pinned { fingerprint, provider: Arc::new(ring::default_provider()) }))
    }

    /// Trusts managers whose certificates are of an authority that this machine trusts.
    ///
    /// # Errors
    /// When the machine has none.
    pub fn of_this_machine() -> Result<Self, TlsError> {
        static OF_THIS_MACHINE: OnceLock<Result<Tls, TlsError>> = OnceLock::new();
        let load = || {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            let verifier =
                webpki(roots).map_err(|_| TlsError("this machine trusts no certificate authority".into()))?;
            Ok(Self::by(verifier))
        };
        OF_THIS_MACHINE.get_or_init(load).clone()
    }

    fn by(verifier: Arc<dyn ServerCertVerifier>) -> Self {
        let shown = Arc::<Shown>::default();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("the provider offers TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(Arc::clone(&shown) as Arc<dyn ResolvesClientCert>);
        Self { config: Arc::new(config), shown }
    }

    /// Shows this certificate in every connection from now on; both in PEM form.
    ///
    /// # Errors
    /// When one of them cannot be read, or the key is not that of the certificate.
    pub fn show(&self, certificate: &str, key: &str) -> Result<(), TlsError> {
        let chain = certificates(certificate.as_bytes())?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|error| TlsError(format!("the key cannot be read: {error}")))?;
        let pair = CertifiedKey::from_der(chain, key, &ring::default_provider())
            .map_err(|error| TlsError(format!("the key and the certificate do not fit: {error}")))?;
        *self.shown.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(pair));
        Ok(())
    }

    /// Speaks TLS over an open connection.
    pub(crate) async fn connect<S>(&self, host: &str, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let connected = TlsConnector::from(Arc::clone(&self.config)).connect(name, stream).await;
        connected.map_err(|error| in_words(error, host))
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| TlsError(format!("a certificate cannot be read: {error}")))?;
    if found.is_empty() { Err(TlsError("it holds no certificate in PEM form".to_owned())) } else { Ok(found) }
}

/// The SHA-256 of the SPKI of each certificate of a text in PEM form; none of one that cannot be read.
pub fn fingerprints(pem: &str) -> Vec<[u8; 32]> {
    let found = certificates(pem.as_bytes()).unwrap_or_default();
    let of = |der: &CertificateDer<'_>| {
        let (_, parsed) = X509Certificate::from_der(der).ok()?;
        Some(Sha256::digest(parsed.public_key().raw).into())
    };
    found.iter().filter_map(of).collect()
}

fn roots(pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate).map_err(|error| TlsError(format!("a certificate cannot be used: {error}")))?;
    }
    Ok(roots)
}

fn webpki(roots: RootCertStore) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
    let built =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(ring::default_provider())).build();
    built.map_err(|error| TlsError(error.to_string()))
}

/// The certificate that is shown now.
#[derive(Debug, Default)]
struct Shown(RwLock<Option<Arc<CertifiedKey>>>);

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn has_certs(&self) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

/// Takes the certificate with the fingerprint, among those that are shown, for the only authority there is.
#[derive(Debug)]
struct Pinned {
    fingerprint: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let is_it = |certificate: &&CertificateDer<'_>| {
            X509Certificate::from_der(certificate)
                .is_ok_and(|(_, parsed)| Sha256::digest(parsed.public_key().raw)[..] == self.fingerprint)
        };
        let authority = intermediates.iter().find(is_it).or_else(|| Some(end_entity).filter(is_it));
        let unknown = || Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let mut roots = RootCertStore::empty();
        roots.add(authority.ok_or_else(unknown)?.clone().into_owned()).map_err(|_| unknown())?;
        let inner = webpki(roots).map_err(|_| unknown())?;
        inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// An error of TLS as a sentence that says what to do; its kind is `InvalidData` where one side does not trust the other.
pub(crate) fn in_words(error: io::Error, host: &str) -> io::Error {
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else { return error };
    let words = match tls {
        Error::InvalidCertificate(problem) => distrust(problem, host),
        Error::AlertReceived(
            AlertDescription::UnknownCA | AlertDescription::BadCertificate | AlertDescription::DecryptError,
        ) => "it does not accept the certificate that was shown to it, which is of another authority; join again"
            .to_owned(),
        Error::AlertReceived(AlertDescription::ProtocolVersion) | Error::PeerIncompatible(_) => {
            format!("`{host}` does not speak TLS 1.3")
        }
        Error::InvalidMessage(_) => {
            format!("what answers at `{host}` does not speak TLS; is it a manager's https port?")
        }
        _ => return error,
    };
    io::Error::new(io::ErrorKind::InvalidData, words)
}

fn distrust(problem: &CertificateError, host: &str) -> String {
    use CertificateError as E;
    match problem {
        E::UnknownIssuer | E::BadSignature => {
            "its certificate is of an authority that is not trusted here; give the manager's `ca.pem` with --ca-file or \
             MANTA_CA_FILE, or to join the token that this manager made"
                .to_owned()
        }
        E::NotValidForName | E::NotValidForNameContext { .. } => format!(
            "its certificate does not name `{host}`; call it by a name that it has, or start it with --public-name {host}"
        ),
        E::ExpiredContext { time, not_after } => format!(
            "this machine's clock says {}, the certificate is valid until {}; set the clock that is wrong",
            instant(*time),
            instant(*not_after)
        ),
        E::NotValidYetContext { time, not_before } => format!(
            "this machine's clock says {}, the certificate is valid from {}; set the clock that is wrong",
            instant(*time),
            instant(*not_before)
        ),
        other => format!("its certificate cannot be used: {other:?}"),
    }
}

fn instant(time: UnixTime) -> String {
    let second = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(second).map_or_else(|_| format!("second {second} of 1970"), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_wrong_is_named_with_both_times() {
        let at = |second| UnixTime::since_unix_epoch(std::time::Duration::from_secs(second));
        let early = CertificateError::NotValidYetContext { time: at(0), not_before: at(1_800_000_000) };
        let words = distrust(&early, "m");
        assert!(
            words.contains("clock says 1970-01-01T00:00:00Z, the certificate is valid from 2027-01-15T"),
            "{words}"
        );
        let late = CertificateError::ExpiredContext { time: at(1_800_000_000), not_after: at(0) };
        assert!(distrust(&late, "m").contains("valid until 1970-01-01T00:00:00Z"));
    }

    #[test]
    fn texts_without_certificates_are_refused() {
        for bad in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(Tls::with_authorities(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(Tls::with_fingerprint([0; 32]).show("", "").is_err());
    }
}
