//! What TLS costs: nodes that join by one-time tokens, their sessions, and blobs, beside the same without it.
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures_util::{StreamExt, TryStreamExt, stream};
use manta_api::{JoinRequest, JoinToken, JoinTokenRequest};
use manta_client::{Client, Endpoint, Tls};
use manta_testkit::bench::Row;
use manta_types::{ClusterId, Digest, NodeId};
use rcgen::{CertificateParams, KeyPair};
use tokio::task::JoinSet;

use super::member::{Fleet, Proof, name};
use super::nodes::until;
use crate::manager::Manager;
use crate::processes::anonymous;
use crate::samples::Samples;

/// Nodes that join at once.
const AT_ONCE: usize = 16;
const BLOB_BYTES: usize = 64 << 20;
const ROUNDS: usize = 9;
const MIB: f64 = 1024.0 * 1024.0;
/// How long sessions are left to settle before memory is looked at.
const SETTLING: Duration = Duration::from_secs(12);

pub(super) async fn measure(size: usize) -> Result<Vec<Row>> {
    let manager = Manager::serving_port().await?;
    let at: Endpoint = manager.address()?.replace("http://", "https://").parse()?;
    let (pid, user) = (manager.pid()?, manager.client()?);

    let fetched = fetching(&manager, &at, &user).await?;

    eprintln!("{size} nodes join");
    let mut wanted = Vec::new();
    for index in 0..size {
        wanted.push(Wanted::new(&user, index).await?);
    }
    let started = Instant::now();
    let joins = stream::iter(wanted).map(|wanted| wanted.join(at.clone())).buffered(AT_ONCE);
    let members = joins.try_collect::<Vec<_>>().await?;
    let joining = started.elapsed();

    eprintln!("{size} nodes connect over TLS");
    let empty = anonymous(pid);
    let fleet = Fleet::at(at, size, Proof::Certificates(members));
    let secure = session_bytes(&fleet, size, pid, empty).await?;

    let plain = Manager::serving_port().await?;
    let pid = plain.pid()?;
    let empty = anonymous(pid);
    let bare = session_bytes(&Fleet::new(size, &plain)?, size, pid, empty).await?;

    let count = size as f64;
    let each = |bytes: u64| bytes as f64 / count / 1024.0;
    let rows = vec![
        Row::plain(&format!("{size} nodes: joins"), count / joining.as_secs_f64(), "/s"),
        Row::plain(&format!("{size} nodes over TLS: memory of the manager, each"), each(secure), "KiB")
            .versus("plain, on the same kind of socket", each(bare)),
    ];
    Ok([rows, fetched].concat())
}

/// What so many open sessions take of a manager.
async fn session_bytes(fleet: &Arc<Fleet>, size: usize, pid: u32, empty: u64) -> Result<u64> {
    let mut nodes = JoinSet::new();
    for index in 0..size {
        let fleet = Arc::clone(fleet);
        nodes.spawn(async move { fleet.live(index).await });
    }
    until("every node's session", || fleet.connected() == size).await?;
    tokio::time::sleep(SETTLING).await;
    Ok(anonymous(pid).saturating_sub(empty))
}

/// A node that is about to join: its token and key are made.
struct Wanted {
    request: JoinRequest,
    id: NodeId,
    key: String,
    authority: [u8; 32],
}

impl Wanted {
    async fn new(user: &Client, index: usize) -> Result<Self> {
        let token = user.make_join_token(&JoinTokenRequest::default()).await?.token;
        let (key, id) = (KeyPair::generate()?, NodeId::from_uuid(uuid::Uuid::now_v7()));
        let request = CertificateParams::default().serialize_request(&key)?.pem()?;
        let authority = token.parse::<JoinToken>().context("the manager's own token")?.authority;
        let request = JoinRequest { token, name: name(index), node_id: id.to_string(), request };
        Ok(Self { request, id, key: key.serialize_pem(), authority })
    }

    async fn join(self, at: Endpoint) -> Result<(NodeId, Tls)> {
        let client = Client::with_tls(at, &Tls::with_fingerprint(self.authority), None, &ClusterId::default());
        let given = client.join(&self.request).await?;
        let tls = Tls::with_authorities(given.authorities.as_bytes())?;
        tls.show(&given.certificate, &self.key)?;
        Ok((self.id, tls))
    }
}

/// A stored blob, fetched in turns with and without TLS.
async fn fetching(manager: &Manager, at: &Endpoint, user: &Client) -> Result<Vec<Row>> {
    let (mut state, mut bytes) = (0x9e37_79b9_7f4a_7c15_u64, Vec::with_capacity(BLOB_BYTES));
    while bytes.len() < BLOB_BYTES {
        // Xorshift: nothing that could be compressed.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    let digest = user.put_blob_bytes(bytes).await?.digest;
    let authorities = std::fs::read(manager.path("data/ca.pem"))?;
    let token = manager.token("token")?;
    let tls = Client::with_tls(at.clone(), &Tls::with_authorities(&authorities)?, Some(&token), &ClusterId::default());
    let (mut plain, mut secure) = (Samples::default(), Samples::default());
    for _ in 0..ROUNDS {
        plain.add(fetch(user, &digest).await?);
        secure.add(fetch(&tls, &digest).await?);
    }
    let speed = |samples: &Samples| BLOB_BYTES as f64 / MIB / samples.quantile(0.5);
    Ok(vec![
        Row::plain("a blob of 64 MiB, plain, median", speed(&plain), "MiB/s"),
        Row::plain("a blob of 64 MiB over TLS, median", speed(&secure), "MiB/s").versus("plain", speed(&plain)),
    ])
}

async fn fetch(client: &Client, digest: &Digest) -> Result<Duration> {
    let started = Instant::now();
    client.get_blob_to(digest, &mut tokio::io::sink()).await?;
    Ok(started.elapsed())
}
