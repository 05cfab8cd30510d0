//! The certificate that the manager shows: its own, renewed at half its life, or the site's, read again when its files change.
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest, Sha256};

use super::authority::Authority;
use super::peer::{Timeless, spki_of};
use crate::ManagerError;

/// Where the site's own certificates lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteCertificate {
    /// The manager's certificate and those between it and its authority, in PEM form; that of the authority last.
    pub chain: PathBuf,
    /// Its key, in PEM form.
    pub key: PathBuf,
}

/// What is shown in each new connection; whoever is connected already stays so.
pub(crate) struct Shown {
    source: Source,
    now: RwLock<Now>,
}

enum Source {
    Own { names: Vec<String>, valid: Duration },
    Site(SiteCertificate),
}

struct Now {
    pair: Arc<CertifiedKey>,
    /// The certificate by which a node recognises the manager, in PEM form.
    authority: String,
    /// Of our own: when another is due. Of the site's: what its files were last.
    due_ms: u64,
    files: [Option<SystemTime>; 2],
}

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shown")
    }
}

impl Shown {
    /// Shows certificates that the authority issues for these names.
    pub(crate) fn own(
        names: Vec<String>,
        valid: Duration,
        authority: &Authority,
        now_ms: u64,
    ) -> Result<Self, ManagerError> {
        let now = issue(&names, valid, authority, now_ms)?;
        Ok(Self { source: Source::Own { names, valid }, now: RwLock::new(now) })
    }

    /// Shows the site's.
    pub(crate) fn site(site: SiteCertificate) -> Result<Self, ManagerError> {
        let now = load(&site)?;
        Ok(Self { source: Source::Site(site), now: RwLock::new(now) })
    }

    /// Looks whether something else is to be shown from now on. What cannot be used is said, and what was shown stays.
    pub(crate) fn refresh(&self, authority: &Authority, now_ms: u64) {
        let fresh = match &self.source {
            Source::Own { names, valid } if now_ms >= self.read().due_ms => issue(names, *valid, authority, now_ms),
            Source::Site(site) if changed(site) != self.read().files => load(site),
            _ => return,
        };
        match fresh {
            Ok(fresh) => {
                tracing::info!("the manager shows a new certificate");
                *self.now.write().unwrap_or_else(PoisonError::into_inner) = fresh;
            }
            Err(error) => {
                tracing::warn!(%error, "the manager goes on showing the certificate that it has");
                if let Source::Site(site) = &self.source {
                    self.now.write().unwrap_or_else(PoisonError::into_inner).files = changed(site);
                }
            }
        }
    }

    /// The certificate by which a node recognises the manager, in PEM form, and the SHA-256 of its SPKI.
    pub(crate) fn recognised_by(&self) -> Result<(String, [u8; 32]), ManagerError> {
        let pem = self.read().authority.clone();
        let spki = spki_of(&pem).map_err(ManagerError::Internal)?;
        Ok((pem, Sha256::digest(spki).into()))
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Now> {
        self.now.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.read().pair))
    }
}

fn issue(names: &[String], valid: Duration, authority: &Authority, now_ms: u64) -> Result<Now, ManagerError> {
    let pair = authority.issue_own(names, now_ms, valid)?;
    let certified = certified(&pair.pem, &pair.key_pem).map_err(ManagerError::Internal)?;
    let half_ms = u64::try_from(valid.as_millis() / 2).unwrap_or(u64::MAX);
    let due_ms = now_ms.saturating_add(half_ms);
    Ok(Now { pair: Arc::new(certified), authority: authority.pem().to_owned(), due_ms, files: [None; 2] })
}

fn load(site: &SiteCertificate) -> Result<Now, ManagerError> {
    let files = changed(site);
    let read = |path: &PathBuf| {
        std::fs::read_to_string(path).map_err(|source| ManagerError::DataDir { path: path.clone(), source })
    };
    let (chain, key) = (read(&site.chain)?, read(&site.key)?);
    let unusable = |problem| ManagerError::CertificateUnusable { path: site.chain.clone(), problem };
    let pair = certified(&chain, &key).map_err(|problem| {
        unusable(format!("with the key `{}` it does not make a pair: {problem}", site.key.display()))
    })?;
    let last = chain.rfind("-----BEGIN CERTIFICATE-----").and_then(|start| chain.get(start..));
    let authority = last.ok_or_else(|| unusable("it holds no certificate in PEM form".to_owned()))?.to_owned();
    Ok(Now { pair: Arc::new(pair), authority, due_ms: u64::MAX, files })
}

/// When each file was changed last.
fn changed(site: &SiteCertificate) -> [Option<SystemTime>; 2] {
    [&site.chain, &site.key].map(|path| std::fs::metadata(path).and_then(|meta| meta.modified()).ok())
}

fn certified(chain: &str, key: &str) -> Result<CertifiedKey, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain.as_bytes()).collect();
    let chain = chain.map_err(|error| error.to_string())?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| error.to_string())?;
    CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|error| error.to_string())
}

/// How the manager speaks TLS: version 1.3 alone, nodes show certificates of the authority, everyone else none. No session is
/// resumed: it would bring back a certificate that was renewed or revoked since.
pub(crate) fn server_config(authority: &Authority, shown: Arc<Shown>) -> Result<ServerConfig, ManagerError> {
    let internal = |error: String| ManagerError::Internal(format!("TLS cannot be spoken: {error}"));
    let provider = Arc::new(ring::default_provider());
    let der =
        CertificateDer::from_pem_slice(authority.pem().as_bytes()).map_err(|error| internal(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    roots.add(der).map_err(|error| internal(error.to_string()))?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
    let verifier = verifier.map_err(|error| internal(error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| internal(error.to_string()))?
        .with_client_cert_verifier(Arc::new(Timeless(verifier)))
        .with_cert_resolver(shown);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
