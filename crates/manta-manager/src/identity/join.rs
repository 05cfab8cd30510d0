//! Tokens are made and used here, and certificates renewed: every refusal says what became of the token or certificate.
use std::time::Duration;

use manta_api::{CertificateView, JoinRequest, JoinToken, JoinTokenRequest, JoinTokenView, RenewRequest};
use manta_store::{CertificateRecord, Enrolment, JoinTokenRecord, Joined, Renewed};
use manta_types::{NodeId, NodeName};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::authority::Issued;
use super::{Identities, NodeCertificate, RENEWABLE_FOR, instant};
use crate::ManagerError;

/// How long a token lets a node in, unless told otherwise.
const TOKEN_FOR: Duration = Duration::from_secs(60 * 60);
/// The longest that one may.
const TOKEN_FOR_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// For so long after its end it is still said of a token that it expired or was used, and by whom.
const TOKEN_REMEMBERED: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// What to do where a token is of no use.
const ANOTHER: &str = "make another with `manta node token`";

/// Why a node is not let in, or a certificate not renewed.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The request cannot be used.
    Bad(String),
    /// The token or certificate does not count.
    Unauthorized(String, &'static str),
    /// Something else has what is asked for.
    Conflict(String, &'static str),
    /// Our own fault.
    Failed(ManagerError),
}

impl From<ManagerError> for Refusal {
    fn from(error: ManagerError) -> Self {
        Self::Failed(error)
    }
}

impl From<manta_store::StoreError> for Refusal {
    fn from(error: manta_store::StoreError) -> Self {
        Self::Failed(error.into())
    }
}

impl Identities {
    /// Makes a token; its secret is shown here and kept nowhere.
    pub(crate) async fn make_token(&self, wanted: JoinTokenRequest, now_ms: u64) -> Result<JoinTokenView, Refusal> {
        let lives = wanted.ttl_ms.map_or(TOKEN_FOR, Duration::from_millis);
        if lives.is_zero() || lives > TOKEN_FOR_MAX {
            let most = TOKEN_FOR_MAX.as_secs() / 86_400;
            return Err(Refusal::Bad(format!("a token lasts longer than no time and at most {most} days")));
        }
        let name = wanted.name.as_deref().map(NodeName::new).transpose();
        let name = name.map_err(|error| Refusal::Bad(error.to_string()))?;
        let (_, authority) = self.registrar.shown.recognised_by()?;
        let mut token = JoinToken { id: [0; 8], secret: [0; 32], authority };
        let random = getrandom::fill(&mut token.id).and_then(|()| getrandom::fill(&mut token.secret));
        random.map_err(|error| ManagerError::Internal(format!("no random numbers: {error}")))?;
        let expires_ms = now_ms + ms(lives);
        let record = JoinTokenRecord {
            id: token.id,
            secret: Sha256::digest(token.secret).into(),
            name,
            labels: wanted.labels,
            made_ms: now_ms,
            expires_ms,
            used: None,
        };
        let (cluster, forget_before_ms) = (self.cluster.clone(), now_ms.saturating_sub(ms(TOKEN_REMEMBERED)));
        self.registrar.store.run(move |store| store.add_token(&cluster, &record, forget_before_ms)).await??;
        Ok(JoinTokenView { token: token.to_string(), url: self.registrar.url.clone(), expires_ms })
    }

    /// Lets a node in for a token, which is used by that.
    pub(crate) async fn join(&self, request: JoinRequest, now_ms: u64) -> Result<CertificateView, Refusal> {
        let bad = |error: &dyn std::fmt::Display| Refusal::Bad(error.to_string());
        let token = request.token.parse::<JoinToken>().map_err(|error| bad(&error))?;
        let node = NodeName::new(&request.name).map_err(|error| bad(&error))?;
        let node_id = request.node_id.parse::<NodeId>().map_err(|_| bad(&"the node's id is none"))?;
        let (cluster, id) = (self.cluster.clone(), token.id);
        let known = self.registrar.store.run(move |store| store.token(&cluster, id)).await??;
        let secret: [u8; 32] = Sha256::digest(token.secret).into();
        let known = known.filter(|known| bool::from(known.secret.ct_eq(&secret)));
        let known = known.ok_or_else(unknown)?;
        if let Some((at_ms, by)) = known.used {
            return Err(used(at_ms, &by));
        }
        if now_ms >= known.expires_ms {
            let (until, now) = (instant(known.expires_ms), instant(now_ms));
            let sentence = format!("the token was good until {until}, and this manager's clock says {now}");
            return Err(Refusal::Unauthorized(sentence, ANOTHER));
        }
        if let Some(wanted) = known.name.filter(|wanted| *wanted != node) {
            let sentence = format!("the token is for node `{wanted}`, and this one calls itself `{node}`");
            return Err(Refusal::Unauthorized(sentence, "join with the name that the token is for"));
        }
        if self.members.is_revoked(&node) {
            return Err(taken(&format!("node `{node}` was revoked, and stays so")));
        }
        let issued = self.issue(&request.request, &node, now_ms)?;
        let enrolment = Enrolment { node: node.clone(), node_id, labels: known.labels, joined_ms: now_ms, flag: None };
        let record = self.record(issued, &node, None, now_ms);
        let (cluster, kept, certificate) = (self.cluster.clone(), enrolment.clone(), record.clone());
        match self.registrar.store.run(move |store| store.join(&cluster, id, &kept, &certificate)).await?? {
            Joined::Done => {}
            Joined::UnknownToken => return Err(unknown()),
            Joined::TokenUsed { at_ms, by } => return Err(used(at_ms, &by)),
            Joined::NameTaken => return Err(taken(&format!("the name `{node}` belongs to another node"))),
        }
        self.members.enrol(enrolment);
        tracing::info!(%node, "a node joined");
        self.view(record)
    }

    /// Gives a node that shows a certificate another one, with a key that is new; once for each.
    pub(crate) async fn renew(
        &self,
        shown: &NodeCertificate,
        request: RenewRequest,
        now_ms: u64,
    ) -> Result<CertificateView, Refusal> {
        let node = &shown.node;
        let issued = self.issue(&request.request, node, now_ms)?;
        let record = self.record(issued, node, Some(shown.serial.clone()), now_ms);
        let forget_before_ms = now_ms.saturating_sub(ms(RENEWABLE_FOR) + 86_400_000);
        let (cluster, kept) = (self.cluster.clone(), record.clone());
        match self.registrar.store.run(move |store| store.renew(&cluster, &kept, forget_before_ms)).await?? {
            Renewed::Done => self.view(record),
            Renewed::Again(former) => self.view(*former),
            Renewed::WithAnotherKey => {
                let why = "its certificate was renewed twice, with two keys: its data directory was copied";
                self.flag(node, why).await?;
                let sentence = format!(
                    "the certificate of node `{node}` was renewed already, with another key: its data directory was copied"
                );
                Err(Refusal::Conflict(
                    sentence,
                    "find the other; if it is not yours, revoke the node and join this one under another name",
                ))
            }
        }
    }

    fn issue(&self, request: &str, node: &NodeName, now_ms: u64) -> Result<Issued, Refusal> {
        let issued =
            self.registrar.authority.issue_node(request, &self.cluster, node, now_ms, self.registrar.certificates_for);
        issued.map_err(Refusal::Bad)
    }

    fn record(&self, issued: Issued, node: &NodeName, follows: Option<Vec<u8>>, now_ms: u64) -> CertificateRecord {
        CertificateRecord {
            serial: issued.serial,
            node: node.clone(),
            key: issued.key,
            follows,
            pem: issued.pem,
            issued_ms: now_ms,
            expires_ms: now_ms + ms(self.registrar.certificates_for),
        }
    }

    fn view(&self, certificate: CertificateRecord) -> Result<CertificateView, Refusal> {
        let (recognised_by, _) = self.registrar.shown.recognised_by()?;
        let own = self.registrar.authority.pem();
        let authorities = if recognised_by == own { recognised_by } else { format!("{recognised_by}\n{own}") };
        Ok(CertificateView {
            certificate: certificate.pem,
            authorities,
            cluster: self.cluster.as_str().to_owned(),
            labels: self.members.labels(&certificate.node),
            name: certificate.node.to_string(),
            issued_ms: certificate.issued_ms,
            expires_ms: certificate.expires_ms,
        })
    }
}

fn unknown() -> Refusal {
    Refusal::Unauthorized("this manager did not make that token, or has forgotten it".to_owned(), ANOTHER)
}

fn used(at_ms: u64, by: &str) -> Refusal {
    let sentence = format!("the token was used at {} by node `{by}`, and each lets one node in", instant(at_ms));
    Refusal::Unauthorized(sentence, ANOTHER)
}

fn taken(sentence: &str) -> Refusal {
    Refusal::Conflict(sentence.to_owned(), "join under another name, with a data directory of its own")
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
