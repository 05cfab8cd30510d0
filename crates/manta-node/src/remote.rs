//! The manager's HTTP side as the node uses it: blobs, and what an attempt may read.
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use manta_api::AttemptInputs;
use manta_client::{Client, ClientError};
use manta_types::{AttemptId, Blob, Digest, NodeName, ReplayId};
use tokio::time::Instant;

use crate::link::Throughput;

/// The first wait before a request is tried again.
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// The longest wait before a request is tried again.
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Tries after which a person is told; they take some ten seconds.
const TRIES_UNTIL_SAID: u64 = 8;

/// Why the manager did not give or take something.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum RemoteError {
    /// It could not be reached; trying again may help.
    #[error("{0}")]
    Unreachable(String),
    /// It answered no; trying again will not help.
    #[error("{0}")]
    Refused(String),
}

impl From<ClientError> for RemoteError {
    fn from(error: ClientError) -> Self {
        if error.is_transient() { Self::Unreachable(error.to_string()) } else { Self::Refused(error.to_string()) }
    }
}

/// Where blobs come from that are not on this node.
#[async_trait]
pub(crate) trait BlobSource: Send + Sync + 'static {
    /// Writes a blob to a file and answers its size. What was written is the blob, by its digest, or it is an error.
    async fn fetch_to(&self, digest: Digest, out: &mut tokio::fs::File) -> Result<u64, RemoteError>;
}

/// The manager, asked in this node's name.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    client: Client,
    node: NodeName,
    throughput: Arc<Throughput>,
}

impl Remote {
    pub(crate) fn new(client: Client, node: NodeName, throughput: Arc<Throughput>) -> Self {
        Self { client, node, throughput }
    }

    /// What an attempt may read. Tries for as long as the manager cannot be reached.
    pub(crate) async fn inputs(&self, attempt: AttemptId) -> Result<AttemptInputs, RemoteError> {
        persist(|| async { Ok(self.client.attempt_inputs(attempt, &self.node).await?) }).await
    }

    /// What the attempt that is replayed could read. Tries for as long as the manager cannot be reached.
    pub(crate) async fn replay_inputs(&self, replay: ReplayId) -> Result<AttemptInputs, RemoteError> {
        persist(|| async { Ok(self.client.replay_inputs(replay, &self.node).await?) }).await
    }

    /// The signatures of a bundle, not yet verified. Tries for as long as the manager cannot be reached.
    pub(crate) async fn signatures(&self, bundle: Digest) -> Result<Vec<String>, RemoteError> {
        persist(|| async { Ok(self.client.bundle_signatures(bundle).await?) }).await
    }

    /// Those of the blobs that the manager lacks. Tries for as long as it cannot be reached.
    pub(crate) async fn missing(&self, digests: &[Digest]) -> Result<Vec<Digest>, RemoteError> {
        persist(|| async { Ok(self.client.blobs_missing(digests).await?) }).await
    }

    /// Sends a blob. Tries for as long as the manager cannot be reached.
    pub(crate) async fn put(&self, blob: Blob, path: &Path) -> Result<(), RemoteError> {
        persist(|| async {
            let file = tokio::fs::File::open(path).await;
            let file = file.map_err(|e| RemoteError::Refused(format!("a value on this node cannot be read: {e}")))?;
            let begun = Instant::now();
            self.client.put_blob_from(&blob, file).await?;
            self.throughput.carried(blob.size, begun.elapsed());
            Ok(())
        })
        .await
    }
}

#[async_trait]
impl BlobSource for Remote {
    async fn fetch_to(&self, digest: Digest, out: &mut tokio::fs::File) -> Result<u64, RemoteError> {
        let begun = Instant::now();
        let size = self.client.get_blob_to(&digest, out).await?;
        self.throughput.carried(size, begun.elapsed());
        Ok(size)
    }
}

/// An error after which the same request may succeed.
pub(crate) trait MayPass: std::fmt::Display {
    /// Whether it may.
    fn may_pass(&self) -> bool;
}

impl MayPass for RemoteError {
    fn may_pass(&self) -> bool {
        matches!(self, Self::Unreachable(_))
    }
}

/// Repeats what failed because the manager could not be reached, at growing intervals, until it is answered.
/// Who wants to stop earlier drops the future.
pub(crate) async fn persist<T, E: MayPass, F>(mut ask: impl FnMut() -> F) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
{
    let mut wait = RETRY_FIRST;
    let mut tries = 0u64;
    loop {
        tries += 1;
        match ask().await {
            // Said once, when it is no passing trouble: what waits for it may wait for ever.
            Err(error) if error.may_pass() && tries == TRIES_UNTIL_SAID => {
                tracing::warn!(%error, tries, "a request to the manager goes on failing; it is tried until it is answered");
            }
            Err(error) if error.may_pass() => tracing::debug!(%error, tries, "a request to the manager is tried again"),
            answer => return answer,
        }
        tokio::time::sleep(jittered(wait)).await;
        wait = (wait * 2).min(RETRY_MAX);
    }
}

/// Between half of a duration and all of it, so that many nodes do not come back in step.
pub(crate) fn jittered(wait: Duration) -> Duration {
    let draw = getrandom::u32().unwrap_or(u32::MAX);
    wait.mul_f64(0.5 + 0.5 * f64::from(draw) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn unreachable_is_tried_again_and_refused_is_not() {
        let mut asked = 0;
        let answer = persist(|| {
            asked += 1;
            std::future::ready(match asked {
                1..4 => Err(RemoteError::Unreachable("cut".to_owned())),
                _ => Err::<(), _>(RemoteError::Refused("no such blob".to_owned())),
            })
        });
        assert!(matches!(answer.await, Err(RemoteError::Refused(_))));
        assert_eq!(asked, 4);
    }

    #[test]
    fn jitter_stays_between_half_and_all() {
        for _ in 0..100 {
            let wait = jittered(Duration::from_secs(2));
            assert!(wait >= Duration::from_secs(1) && wait <= Duration::from_secs(2), "{wait:?}");
        }
    }
}
