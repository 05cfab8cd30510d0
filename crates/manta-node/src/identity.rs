//! Who this node is to its manager: a key that never leaves the machine, and the certificate that the manager gave for it.
//!
//! Both lie in one private file, replaced in one step. A new key is kept before it is sent, so that an answer that was lost is
//! asked for again with the same key: the manager takes another one for the sign that the directory was copied.
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use manta_api::{CertificateView, ErrorCode, JoinRequest, JoinToken, RenewRequest};
use manta_client::{Client, ClientError, Connector, Endpoint, Tls, Token};
use manta_types::{ClusterId, NodeName};
use rcgen::{CertificateParams, KeyPair};
use serde::{Deserialize, Serialize};

use crate::NodeError;
use crate::clock::{ms, now_ms};
use crate::home::{Home, replace};
use crate::remote::jittered;

/// The file in the data directory.
const IDENTITY_FILE: &str = "identity.json";
/// For so long after its end the manager renews a certificate.
const RENEWABLE_FOR: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How long it is slept at most before the clock is looked at again: it may be set, and the machine may sleep too.
const SLEEP_MAX: Duration = Duration::from_secs(60);
/// Part of a certificate's life, one in so many, that is waited for after a renewal that failed; and at most.
const RETRY_PART: u32 = 20;
const RETRY_MAX: Duration = Duration::from_secs(60);

/// What a node shows that it may come in.
#[derive(Debug, Clone)]
pub enum Proof {
    /// The token that all nodes of the manager's own machine share.
    Token(Token),
    /// A certificate of its own.
    Certificate(Box<Identity>),
}

/// What the manager gave a node that joined.
#[derive(Debug, Clone)]
pub struct Identity {
    path: PathBuf,
    kept: Kept,
}

#[derive(Clone, Serialize, Deserialize)]
struct Kept {
    manager: String,
    cluster: ClusterId,
    name: NodeName,
    labels: BTreeMap<String, String>,
    authorities: String,
    certificate: String,
    key: String,
    /// The key of a certificate that was asked for and has not come yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next_key: Option<String>,
    issued_ms: u64,
    expires_ms: u64,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept").field("manager", &self.manager).field("name", &self.name).finish_non_exhaustive()
    }
}

impl Kept {
    fn life(&self) -> Duration {
        Duration::from_millis(self.expires_ms.saturating_sub(self.issued_ms))
    }

    fn take(&mut self, view: CertificateView, key: String) {
        (self.certificate, self.key, self.next_key) = (view.certificate, key, None);
        (self.labels, self.authorities) = (view.labels, view.authorities);
        (self.issued_ms, self.expires_ms) = (view.issued_ms, view.expires_ms);
    }
}

impl Identity {
    /// Reads the identity in a data directory; nothing where it never joined.
    ///
    /// # Errors
    /// When the file cannot be read, or others can read it.
    pub fn load(data_dir: &Path) -> Result<Option<Self>, NodeError> {
        use std::os::unix::fs::PermissionsExt;
        let path = data_dir.join(IDENTITY_FILE);
        let failed = |source| NodeError::DataDir { path: path.clone(), source };
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mode = fs::metadata(&path).map_err(failed)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            let problem = format!("others can read it: its mode is {mode:03o}, 600 is needed");
            return Err(NodeError::Identity { path, problem });
        }
        let kept = serde_json::from_slice(&text);
        let kept = kept.map_err(|error| NodeError::Identity { path: path.clone(), problem: error.to_string() })?;
        Ok(Some(Self { path, kept }))
    }

    /// Joins with a token, which is used by that, and keeps the identity in the data directory.
    ///
    /// # Errors
    /// When the manager refuses or cannot be reached, when it is not the one that made the token, or when the directory cannot
    /// be used.
    pub async fn join(
        data_dir: &Path,
        manager: &Endpoint,
        token: &JoinToken,
        name: &NodeName,
    ) -> Result<Self, NodeError> {
        let home = Home::open(data_dir, None)?;
        let (key, request) = new_key()?;
        let request = JoinRequest {
            token: token.to_string(),
            name: name.to_string(),
            node_id: home.node_id()?.to_string(),
            request,
        };
        let tls = Tls::with_fingerprint(token.authority);
        let client = Client::with_tls(manager.clone(), &tls, None, &ClusterId::default());
        let view = client.join(&request).await.map_err(|source| not_joined(manager, source))?;
        let cluster = ClusterId::new(&view.cluster).map_err(|error| NodeError::Internal(error.to_string()))?;
        let mut kept = Kept {
            manager: manager.to_string(),
            cluster,
            name: name.clone(),
            labels: BTreeMap::new(),
            authorities: String::new(),
            certificate: String::new(),
            key: String::new(),
            next_key: None,
            issued_ms: 0,
            expires_ms: 0,
        };
        kept.take(view, key);
        let identity = Self { path: home.part(IDENTITY_FILE), kept };
        identity.keep()?;
        Ok(identity)
    }

    /// Where the manager listens.
    ///
    /// # Errors
    /// When the file names no address.
    pub fn manager(&self) -> Result<Endpoint, NodeError> {
        let parsed = self.kept.manager.parse();
        parsed.map_err(|error: manta_client::EndpointError| NodeError::Identity {
            path: self.path.clone(),
            problem: error.to_string(),
        })
    }

    /// The cluster that it joined.
    pub const fn cluster(&self) -> &ClusterId {
        &self.kept.cluster
    }

    /// Its name, for ever.
    pub const fn name(&self) -> &NodeName {
        &self.kept.name
    }

    /// What its token labelled it with.
    pub const fn labels(&self) -> &BTreeMap<String, String> {
        &self.kept.labels
    }

    /// Whether it is of the manager that made a token, and can still be renewed by this machine's clock.
    pub fn serves(&self, token: &JoinToken) -> bool {
        !self.is_over(now_ms()) && manta_client::fingerprints(&self.kept.authorities).contains(&token.authority)
    }

    /// Whether no manager renews it any more.
    fn is_over(&self, now_ms: u64) -> bool {
        now_ms > self.kept.expires_ms.saturating_add(ms(RENEWABLE_FOR))
    }

    fn keep(&self) -> Result<(), NodeError> {
        let text = serde_json::to_vec_pretty(&self.kept).map_err(|error| NodeError::Internal(error.to_string()))?;
        replace(&self.path, &text).map_err(|source| NodeError::DataDir { path: self.path.clone(), source })
    }
}

/// What the running agent shows, kept fresh.
#[derive(Debug)]
pub(crate) enum Credentials {
    Token(Token),
    Certificate(Box<Certified>),
}

/// A certificate of the node's own, renewed at about half its life.
#[derive(Debug)]
pub(crate) struct Certified {
    identity: Mutex<Identity>,
    tls: Tls,
    client: Client,
    endpoint: Endpoint,
    /// One renewal at a time.
    renewing: tokio::sync::Mutex<()>,
}

/// Why there is no new certificate.
pub(crate) enum NotRenewed {
    /// For now.
    Yet(String),
    /// For good.
    Ever(NodeError),
}

impl Credentials {
    pub(crate) fn new(proof: Proof, endpoint: &Endpoint) -> Result<Self, NodeError> {
        let identity = match proof {
            Proof::Token(token) => return Ok(Self::Token(token)),
            Proof::Certificate(identity) => *identity,
        };
        let unusable = |error: manta_client::TlsError| NodeError::Identity {
            path: identity.path.clone(),
            problem: error.to_string(),
        };
        let tls = Tls::with_authorities(identity.kept.authorities.as_bytes()).map_err(unusable)?;
        tls.show(&identity.kept.certificate, &identity.kept.key).map_err(unusable)?;
        let client = Client::with_tls(endpoint.clone(), &tls, None, &identity.kept.cluster);
        let endpoint = endpoint.clone();
        let (identity, renewing) = (Mutex::new(identity), tokio::sync::Mutex::default());
        Ok(Self::Certificate(Box::new(Certified { identity, tls, client, endpoint, renewing })))
    }

    /// A client that shows them.
    pub(crate) fn client(&self, endpoint: &Endpoint, cluster: &ClusterId) -> Client {
        match self {
            Self::Token(token) => Client::new(endpoint.clone(), token.clone(), cluster.clone()),
            Self::Certificate(certified) => certified.client.clone(),
        }
    }

    /// Opens connections that show them.
    pub(crate) fn connector(&self, endpoint: &Endpoint) -> Connector {
        match self {
            Self::Token(_) => Connector::new(endpoint),
            Self::Certificate(certified) => Connector::with_tls(endpoint, &certified.tls),
        }
    }

    /// The token, where that is what is shown.
    pub(crate) const fn token(&self) -> Option<&Token> {
        match self {
            Self::Token(token) => Some(token),
            Self::Certificate(_) => None,
        }
    }

    /// Renews what is no longer valid before the manager is dialled.
    ///
    /// # Errors
    /// When that failed, for now or for good.
    pub(crate) async fn before_dialling(&self) -> Result<(), NotRenewed> {
        let Self::Certificate(certified) = self else { return Ok(()) };
        if now_ms() <= certified.identity().kept.expires_ms {
            return Ok(());
        }
        certified.renew().await
    }

    /// Renews in time, for ever.
    ///
    /// # Errors
    /// When it will never be done again.
    pub(crate) async fn keep(&self) -> Result<(), NodeError> {
        match self {
            Self::Token(_) => std::future::pending().await,
            Self::Certificate(certified) => certified.keep().await,
        }
    }
}

impl Certified {
    async fn keep(&self) -> Result<(), NodeError> {
        loop {
            let (due_ms, life) = {
                let identity = self.identity();
                // About half: not all nodes that joined together are to renew together.
                let half = jittered(identity.kept.life() / 2);
                (identity.kept.issued_ms.saturating_add(ms(half)), identity.kept.life())
            };
            while let Some(left) = due_ms.checked_sub(now_ms()).filter(|left| *left > 0) {
                tokio::time::sleep(Duration::from_millis(left).min(SLEEP_MAX)).await;
            }
            match self.renew().await {
                Ok(()) => {}
                Err(NotRenewed::Ever(error)) => return Err(error),
                Err(NotRenewed::Yet(why)) => {
                    tracing::warn!(error = why, "the certificate could not be renewed; it is tried again");
                    tokio::time::sleep(jittered((life / RETRY_PART).min(RETRY_MAX))).await;
                }
            }
        }
    }

    async fn renew(&self) -> Result<(), NotRenewed> {
        let _alone = self.renewing.lock().await;
        let ours = NotRenewed::Ever;
        let identity = self.identity().clone();
        if identity.is_over(now_ms()) {
            let reason =
                "this node's certificate ended more than 7 days ago; join again with a token of `manta node token`";
            return Err(NotRenewed::Ever(self.refused(reason.to_owned(), ErrorCode::Unauthorized)));
        }
        let (key, request) = match &identity.kept.next_key {
            Some(key) => (key.clone(), request_of(key).map_err(ours)?),
            None => new_key().map_err(ours)?,
        };
        let mut asking = identity;
        asking.kept.next_key = Some(key.clone());
        self.store(&asking).map_err(ours)?;
        // Over a connection of its own: one that is open already may show the certificate before this one.
        let client = Client::with_tls(self.endpoint.clone(), &self.tls, None, asking.cluster());
        match client.renew_certificate(&RenewRequest { request }).await {
            Ok(view) => {
                asking.kept.take(view, key);
                self.store(&asking).map_err(ours)?;
                let (certificate, key) = (&asking.kept.certificate, &asking.kept.key);
                self.tls.show(certificate, key).map_err(|error| ours(NodeError::Internal(error.to_string())))?;
                tracing::info!("the certificate was renewed");
                Ok(())
            }
            Err(ClientError::Problem(problem)) if matches!(problem.status, 403 | 409) => {
                let code = problem.error_code().unwrap_or(ErrorCode::Forbidden);
                Err(NotRenewed::Ever(self.refused(problem.to_string(), code)))
            }
            Err(error) => Err(NotRenewed::Yet(error.to_string())),
        }
    }

    fn store(&self, identity: &Identity) -> Result<(), NodeError> {
        identity.keep()?;
        *self.identity() = identity.clone();
        Ok(())
    }

    fn refused(&self, reason: String, code: ErrorCode) -> NodeError {
        NodeError::Refused { manager: self.endpoint.to_string(), reason, code }
    }

    fn identity(&self) -> MutexGuard<'_, Identity> {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A new key and a request for a certificate of it, both in PEM form.
fn new_key() -> Result<(String, String), NodeError> {
    let key = KeyPair::generate().map_err(|error| NodeError::Internal(error.to_string()))?.serialize_pem();
    let request = request_of(&key)?;
    Ok((key, request))
}

fn request_of(key: &str) -> Result<String, NodeError> {
    let made = KeyPair::from_pem(key).and_then(|key| CertificateParams::default().serialize_request(&key)?.pem());
    made.map_err(|error| NodeError::Internal(format!("a request for a certificate cannot be made: {error}")))
}

fn not_joined(manager: &Endpoint, source: ClientError) -> NodeError {
    NodeError::NotJoined { manager: manager.to_string(), source: Box::new(source) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn an_identity_is_kept_privately_and_read_again() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Identity::load(dir.path()).unwrap().is_none());
        let kept = Kept {
            manager: "https://m.example:7766".to_owned(),
            cluster: ClusterId::default(),
            name: NodeName::new("a").unwrap(),
            labels: BTreeMap::from([("site".to_owned(), "ulm".to_owned())]),
            authorities: "none".to_owned(),
            certificate: String::new(),
            key: "k3y".to_owned(),
            next_key: None,
            issued_ms: 1,
            expires_ms: 2,
        };
        let path = dir.path().join(IDENTITY_FILE);
        Identity { path: path.clone(), kept }.keep().unwrap();
        let identity = Identity::load(dir.path()).unwrap().unwrap();
        assert_eq!((identity.name().as_str(), identity.labels()["site"].as_str()), ("a", "ulm"));
        assert!(!format!("{identity:?}").contains("k3y"));
        assert!(identity.is_over(ms(RENEWABLE_FOR) + 3) && !identity.is_over(ms(RENEWABLE_FOR)));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Identity::load(dir.path()).unwrap_err().to_string().contains("mode is 644"));
    }

    #[test]
    fn a_key_that_was_kept_makes_the_same_request() {
        let (key, _) = new_key().unwrap();
        assert!(request_of(&key).unwrap().starts_with("-----BEGIN CERTIFICATE REQUEST-----"));
        assert!(request_of("none").is_err());
    }
}
