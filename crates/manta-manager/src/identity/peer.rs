//! The other end of a connection: whether it came over the network, and the node that its certificate names.
use std::sync::Arc;
use std::time::Duration;

use manta_types::{ClusterId, NodeName};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::authority::EARLIER;

/// What names of nodes begin with, by the SPIFFE form.
const URI_SCHEME: &str = "spiffe://manta/";

/// The other end of a connection; every request carries it.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// Whether it may be another machine: the listener is not a loopback address or a Unix socket.
    pub(crate) is_remote: bool,
    /// Whether nobody in between can read along.
    pub(crate) is_over_tls: bool,
    /// What it showed, where it showed a certificate of ours.
    pub(crate) certificate: Option<Arc<NodeCertificate>>,
}

/// What a node's certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeCertificate {
    pub(crate) manager: String,
    pub(crate) cluster: String,
    pub(crate) node: NodeName,
    pub(crate) serial: Vec<u8>,
    /// Wall clock, ms since 1970.
    pub(crate) from_ms: u64,
    /// Wall clock, ms since 1970.
    pub(crate) until_ms: u64,
}

/// The name of a node in its certificate.
pub(crate) fn node_uri(manager: &str, cluster: &ClusterId, node: &NodeName) -> String {
    format!("{URI_SCHEME}{manager}/cluster/{}/node/{node}", cluster.as_str())
}

impl NodeCertificate {
    /// When it was issued; wall clock, ms since 1970, to the second.
    pub(crate) fn issued_ms(&self) -> u64 {
        self.from_ms.saturating_add(u64::try_from(EARLIER.as_millis()).unwrap_or(u64::MAX))
    }

    /// Reads what was verified already.
    pub(crate) fn read(der: &CertificateDer<'_>) -> Result<Self, String> {
        let (_, parsed) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
        let names = parsed.subject_alternative_name().map_err(|error| error.to_string())?;
        let uri = names.iter().flat_map(|names| &names.value.general_names).find_map(|name| match name {
            GeneralName::URI(uri) => uri.strip_prefix(URI_SCHEME),
            _ => None,
        });
        let foreign = || "it names no node".to_owned();
        let parts: Vec<&str> = uri.ok_or_else(foreign)?.split('/').collect();
        let [manager, "cluster", cluster, "node", node] = parts[..] else { return Err(foreign()) };
        let ms = |second: i64| u64::try_from(second).unwrap_or(0).saturating_mul(1000);
        Ok(Self {
            manager: manager.to_owned(),
            cluster: cluster.to_owned(),
            node: NodeName::new(node).map_err(|error| error.to_string())?,
            serial: parsed.raw_serial().to_vec(),
            from_ms: ms(parsed.validity().not_before.timestamp()),
            until_ms: ms(parsed.validity().not_after.timestamp()),
        })
    }
}

/// The SPKI of the first certificate of a text in PEM form.
pub(crate) fn spki_of(pem: &str) -> Result<Vec<u8>, String> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| error.to_string())?;
    let (_, parsed) = X509Certificate::from_der(&der).map_err(|error| error.to_string())?;
    Ok(parsed.public_key().raw.to_vec())
}

/// Accepts certificates of our authority whatever the time: when one counts is judged with each request, which can be answered
/// in words.
#[derive(Debug)]
pub(super) struct Timeless(pub(super) Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Timeless {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let bad = |problem: String| Error::General(problem);
        let read = NodeCertificate::read(end_entity).map_err(bad)?;
        let its_time = UnixTime::since_unix_epoch(Duration::from_millis(read.from_ms));
        self.0.verify_client_cert(end_entity, intermediates, its_time)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
