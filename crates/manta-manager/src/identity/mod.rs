//! Who the manager is to nodes and users, and who nodes are to it: the authority, what is shown, and who joined.
mod authority;
mod join;
mod members;
mod peer;
mod shown;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use manta_api::JoinToken;
use manta_store::IdentityStore;
use manta_types::{ClusterId, NodeName};
use rustls::ServerConfig;
use tokio_util::sync::CancellationToken;

pub use self::authority::AUTHORITY_FILE;
pub(crate) use self::authority::{AUTHORITY_KEY_FILE, Authority};
pub(crate) use self::join::Refusal;
use self::members::Members;
pub(crate) use self::peer::{NodeCertificate, Peer};
pub use self::shown::SiteCertificate;
use self::shown::{Shown, server_config};
use crate::ManagerError;
use crate::clock::Clock;
use crate::settings::{Listen, Settings};
use crate::threads::{Ended, Owned};

/// For so long after its end a certificate can still be renewed with its key; after that the node joins again.
pub(crate) const RENEWABLE_FOR: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How often it is looked whether another certificate is to be shown.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is opened with the data directory.
pub(crate) struct Opened {
    authority: Authority,
    shown: Arc<Shown>,
    config: Arc<ServerConfig>,
    store: IdentityStore,
}

impl Opened {
    /// Opens what a manager on a TCP address needs to be recognised and to recognise nodes; a Unix socket needs none.
    pub(crate) fn open(settings: &Settings) -> Result<Option<Self>, ManagerError> {
        let Listen::Tcp(address) = &settings.listen else { return Ok(None) };
        let now_ms = crate::RealClock::new().now().wall_ms;
        let authority = Authority::open(&settings.data_dir, now_ms)?;
        let shown = match &settings.tls.site {
            Some(site) => Shown::site(site.clone())?,
            None => {
                let mut names = settings.tls.public_names.clone();
                names.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
                names.extend(Some(address.ip()).filter(|ip| !ip.is_unspecified()).map(|ip| ip.to_string()));
                names.sort();
                names.dedup();
                Shown::own(names, settings.tls.certificates_for, &authority, now_ms)?
            }
        };
        let shown = Arc::new(shown);
        let config = Arc::new(server_config(&authority, Arc::clone(&shown))?);
        let store = IdentityStore::open(&settings.data_dir)?;
        Ok(Some(Self { authority, shown, config, store }))
    }
}

/// What proves who the manager is, and keeps who its nodes are: one for all clusters.
pub(crate) struct Registrar {
    authority: Authority,
    shown: Arc<Shown>,
    /// How TLS is spoken.
    pub(crate) config: Arc<ServerConfig>,
    store: Owned<IdentityStore>,
    /// Where nodes find the manager.
    url: String,
    certificates_for: Duration,
}

impl Registrar {
    /// Goes on from what was opened.
    pub(crate) fn start(opened: Opened, settings: &Settings, url: String) -> Result<(Arc<Self>, Ended), ManagerError> {
        let Opened { authority, shown, config, store } = opened;
        let (store, closed) = Owned::start("manta-identities", store)?;
        let certificates_for = settings.tls.certificates_for;
        Ok((Arc::new(Self { authority, shown, config, store, url, certificates_for }), closed))
    }

    /// Whether a certificate is of this manager, whichever its cluster.
    pub(crate) fn issued(&self, certificate: &NodeCertificate) -> bool {
        certificate.manager == self.authority.id()
    }

    /// The cluster that a token lets nodes into; nothing where there is no such token.
    pub(crate) async fn cluster_of(&self, token: &JoinToken) -> Result<Option<ClusterId>, ManagerError> {
        let id = token.id;
        Ok(self.store.run(move |store| store.cluster_of(id)).await??)
    }

    /// Forgets all that let nodes into a cluster.
    pub(crate) async fn forget(&self, cluster: &ClusterId) -> Result<(), ManagerError> {
        let cluster = cluster.clone();
        Ok(self.store.run(move |store| store.forget(&cluster)).await??)
    }

    /// Keeps what is shown fresh until the manager stops.
    pub(crate) async fn keep(
        self: Arc<Self>,
        clock: Arc<dyn Clock>,
        stop: CancellationToken,
    ) -> Result<(), ManagerError> {
        while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
            let (registrar, now_ms) = (Arc::clone(&self), clock.now().wall_ms);
            let looked = tokio::task::spawn_blocking(move || registrar.shown.refresh(&registrar.authority, now_ms));
            looked.await.map_err(|error| ManagerError::Internal(error.to_string()))?;
        }
        Ok(())
    }
}

/// The identities of a cluster's nodes.
pub(crate) struct Identities {
    registrar: Arc<Registrar>,
    cluster: ClusterId,
    /// When the cluster was made; wall clock, ms since 1970. A certificate of before is of another that had its name.
    since_ms: u64,
    /// Who joined.
    pub(crate) members: Members,
}

impl Identities {
    /// The identities of a cluster that was made then.
    pub(crate) async fn of(
        registrar: Arc<Registrar>,
        cluster: ClusterId,
        since_ms: u64,
    ) -> Result<Arc<Self>, ManagerError> {
        let of = cluster.clone();
        let members = Members::new(registrar.store.run(move |store| store.enrolments(&of)).await??);
        Ok(Arc::new(Self { registrar, cluster, since_ms, members }))
    }

    /// Whether a certificate is of this cluster, and not of one before it that had its name. Certificates tell seconds: of one
    /// that is of the cluster's first, the node must be known.
    pub(crate) fn is_ours(&self, certificate: &NodeCertificate) -> bool {
        let age = (certificate.issued_ms() / 1000).cmp(&(self.since_ms / 1000));
        certificate.cluster == self.cluster.as_str()
            && (age.is_gt() || age.is_eq() && self.members.is_enrolled(&certificate.node))
    }

    /// Says, once and durably, why a node's identity is not to be believed; whether that is news.
    pub(crate) async fn flag(&self, node: &NodeName, why: &str) -> Result<bool, ManagerError> {
        let is_new = self.members.flag(node, why);
        if is_new {
            tracing::warn!(%node, "{why}");
            let (cluster, node, why) = (self.cluster.clone(), node.clone(), why.to_owned());
            self.registrar.store.run(move |store| store.flag(&cluster, &node, &why)).await??;
        }
        Ok(is_new)
    }
}

/// A moment of the wall clock, for people.
pub(crate) fn instant(ms: u64) -> String {
    let second = i64::try_from(ms / 1000).unwrap_or(i64::MAX);
    Timestamp::from_second(second).map_or_else(|_| format!("second {second} of 1970"), |time| time.to_string())
}
