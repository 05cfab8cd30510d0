//! The manager's own certificate authority: made once, kept in the data directory, and issuing nothing but what lives for days.
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use manta_types::{ClusterId, NodeName};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::peer::node_uri;
use crate::ManagerError;
use crate::tokens::write_private;

/// The file in the data directory that holds the authority's certificate, by which the manager is recognised.
pub const AUTHORITY_FILE: &str = "ca.pem";
/// The file that holds its key.
pub(crate) const AUTHORITY_KEY_FILE: &str = "ca.key";

/// How long the authority itself is valid.
const AUTHORITY_FOR: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
/// By how much a certificate is valid before it is issued: clocks differ by seconds or minutes.
pub(super) const EARLIER: Duration = Duration::from_secs(5 * 60);
/// Bytes of a request for a certificate, in PEM form.
const REQUEST_BYTES_MAX: usize = 16 << 10;

/// A certificate that was issued.
pub(crate) struct Issued {
    pub(crate) serial: Vec<u8>,
    pub(crate) pem: String,
    /// SHA-256 of its public key's SPKI.
    pub(crate) key: [u8; 32],
}

/// A certificate of the manager's own, and its key.
pub(crate) struct Pair {
    pub(crate) pem: String,
    pub(crate) key_pem: String,
}

/// The key that signs, and the certificate that says whose it is.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    /// SHA-256 of its SPKI.
    fingerprint: [u8; 32],
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority(***)")
    }
}

impl Authority {
    /// Reads the authority from the data directory, or makes it. Its certificate is written last: without it, nothing was
    /// issued yet.
    pub(crate) fn open(data_dir: &Path, now_ms: u64) -> Result<Self, ManagerError> {
        let (cert_path, key_path) = (data_dir.join(AUTHORITY_FILE), data_dir.join(AUTHORITY_KEY_FILE));
        let pem = read(&cert_path)?;
        if let Some(mode) = crate::tokens::loose_mode(&key_path) {
            return Err(ManagerError::TokenMode { path: key_path, mode });
        }
        let unusable = |path: &Path, problem: String| ManagerError::CertificateUnusable { path: path.into(), problem };
        let key = match (read(&key_path)?, &pem) {
            (Some(text), _) => KeyPair::from_pem(&text).map_err(|error| unusable(&key_path, error.to_string()))?,
            (None, Some(_)) => {
                let problem = format!("its key `{}` is missing; bring it back from a backup", key_path.display());
                return Err(unusable(&cert_path, problem));
            }
            (None, None) => {
                let key = KeyPair::generate().map_err(internal)?;
                write_private(&key_path, &key.serialize_pem())?;
                key
            }
        };
        let spki = key.subject_public_key_info();
        let pem = match pem {
            Some(pem) => pem,
            None => {
                let pem = own_certificate(&key, now_ms)?;
                write_private(&cert_path, &pem)?;
                pem
            }
        };
        let found = super::peer::spki_of(&pem).map_err(|problem| unusable(&cert_path, problem))?;
        if found != spki {
            let problem = format!("it is not the certificate of the key `{}`", key_path.display());
            return Err(unusable(&cert_path, problem));
        }
        let issuer = Issuer::from_ca_cert_pem(&pem, key).map_err(|error| unusable(&cert_path, error.to_string()))?;
        Ok(Self { issuer, pem, fingerprint: Sha256::digest(&spki).into() })
    }

    /// Its certificate.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// What managers with this authority are called in the names of nodes: 16 digits of the fingerprint.
    pub(crate) fn id(&self) -> String {
        self.fingerprint[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A certificate for the manager under these names and addresses, with a key of its own.
    pub(crate) fn issue_own(&self, names: &[String], now_ms: u64, valid: Duration) -> Result<Pair, ManagerError> {
        let key = KeyPair::generate().map_err(internal)?;
        let mut params = CertificateParams::new(names.to_vec()).map_err(|error| {
            ManagerError::Internal(format!("the names {names:?} cannot stand in a certificate: {error}"))
        })?;
        params.distinguished_name = named("Manta manager");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let (certificate, _) = self.sign(params, &key, now_ms, valid)?;
        Ok(Pair { pem: format!("{}{}", certificate.pem(), self.pem), key_pem: key.serialize_pem() })
    }

    /// A certificate for a node with the key of its request; of the rest of the request nothing counts.
    ///
    /// # Errors
    /// A sentence where the request cannot be used.
    pub(crate) fn issue_node(
        &self,
        request: &str,
        cluster: &ClusterId,
        node: &NodeName,
        now_ms: u64,
        valid: Duration,
    ) -> Result<Issued, String> {
        if request.len() > REQUEST_BYTES_MAX {
            return Err(format!("the request for a certificate has more than {REQUEST_BYTES_MAX} bytes"));
        }
        let request = CertificateSigningRequestParams::from_pem(request)
            .map_err(|error| format!("the request for a certificate cannot be used: {error}"))?;
        let mut params = CertificateParams::default();
        params.distinguished_name = named(node.as_str());
        let uri = Ia5String::try_from(node_uri(&self.id(), cluster, node)).map_err(|error| error.to_string())?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = Sha256::digest(request.public_key.subject_public_key_info()).into();
        let signed = self.sign(params, &request.public_key, now_ms, valid).map_err(|error| error.to_string())?;
        let (certificate, serial) = signed;
        Ok(Issued { serial, pem: certificate.pem(), key })
    }

    fn sign(
        &self,
        mut params: CertificateParams,
        key: &impl PublicKeyData,
        now_ms: u64,
        valid: Duration,
    ) -> Result<(Certificate, Vec<u8>), ManagerError> {
        let serial = serial()?;
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        (params.not_before, params.not_after) = span(now_ms, valid)?;
        Ok((params.signed_by(key, &self.issuer).map_err(internal)?, serial))
    }
}

fn own_certificate(key: &KeyPair, now_ms: u64) -> Result<String, ManagerError> {
    let mut params = CertificateParams::default();
    let fingerprint = Sha256::digest(key.subject_public_key_info());
    let id: String = fingerprint[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    params.distinguished_name = named(&format!("Manta authority {id}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.serial_number = Some(SerialNumber::from_slice(&serial()?));
    (params.not_before, params.not_after) = span(now_ms, AUTHORITY_FOR)?;
    Ok(params.self_signed(key).map_err(internal)?.pem())
}

fn named(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

/// 127 random bits: positive, and never shorter.
fn serial() -> Result<Vec<u8>, ManagerError> {
    let mut bytes = vec![0; 16];
    getrandom::fill(&mut bytes).map_err(|error| ManagerError::Internal(format!("no random numbers: {error}")))?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(bytes)
}

fn span(now_ms: u64, valid: Duration) -> Result<(OffsetDateTime, OffsetDateTime), ManagerError> {
    let now = Duration::from_millis(now_ms);
    let at = |since_1970: Duration| {
        let second = i64::try_from(since_1970.as_secs()).unwrap_or(i64::MAX);
        OffsetDateTime::from_unix_timestamp(second).map_err(|error| internal_text(&error.to_string()))
    };
    Ok((at(now.saturating_sub(EARLIER))?, at(now + valid)?))
}

fn read(path: &Path) -> Result<Option<String>, ManagerError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ManagerError::DataDir { path: path.into(), source }),
    }
}

fn internal(error: rcgen::Error) -> ManagerError {
    internal_text(&error.to_string())
}

fn internal_text(error: &str) -> ManagerError {
    ManagerError::Internal(format!("a certificate cannot be made: {error}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const NOW_MS: u64 = 1_800_000_000_000;

    #[test]
    fn the_authority_is_made_once_and_its_key_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let first = Authority::open(dir.path(), NOW_MS).unwrap();
        let again = Authority::open(dir.path(), NOW_MS + 1).unwrap();
        assert_eq!((first.id(), first.pem()), (again.id(), again.pem()));
        let key = dir.path().join(AUTHORITY_KEY_FILE);
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
        let loose = Authority::open(dir.path(), NOW_MS).unwrap_err();
        assert!(matches!(loose, ManagerError::TokenMode { mode: 0o640, .. }), "{loose}");
    }

    #[test]
    fn a_key_and_a_certificate_that_do_not_belong_together_are_named() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        Authority::open(dir.path(), NOW_MS).unwrap();
        Authority::open(other.path(), NOW_MS).unwrap();
        fs::copy(other.path().join(AUTHORITY_FILE), dir.path().join(AUTHORITY_FILE)).unwrap();
        let error = Authority::open(dir.path(), NOW_MS).unwrap_err().to_string();
        assert!(error.contains("ca.pem") && error.contains("not the certificate of the key"), "{error}");
        fs::remove_file(dir.path().join(AUTHORITY_KEY_FILE)).unwrap();
        let error = Authority::open(dir.path(), NOW_MS).unwrap_err().to_string();
        assert!(error.contains("is missing"), "{error}");
    }

    #[test]
    fn a_certificate_that_was_not_written_is_made_again_for_the_same_key() {
        let dir = tempfile::tempdir().unwrap();
        let first = Authority::open(dir.path(), NOW_MS).unwrap().id();
        fs::remove_file(dir.path().join(AUTHORITY_FILE)).unwrap();
        assert_eq!(Authority::open(dir.path(), NOW_MS).unwrap().id(), first);
    }
}
