//! Third step: what was published goes to the manager, before it is reported.
use std::collections::BTreeMap;
use std::path::PathBuf;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use manta_types::{AttemptFailure, Blob, Digest, OutcomeClass};

use super::outcome::failure;
use crate::light::Staged;
use crate::remote::{Remote, RemoteError};

/// Blobs that are sent at once.
const UPLOADS_AT_ONCE: usize = 4;
/// Digests that are asked for in one request.
const DIGESTS_PER_REQUEST: usize = 10_000;

/// Sends every published value that the manager lacks.
pub(crate) async fn upload(remote: &Remote, staged: &Staged) -> Result<(), AttemptFailure> {
    let wanted: BTreeMap<Digest, (Blob, PathBuf)> =
        staged.to_upload().map(|pin| (pin.blob().digest, (pin.blob(), pin.path()))).collect();
    send(remote, &wanted).await.map_err(|error| {
        failure(OutcomeClass::Platform, format!("what the task published could not be delivered: {error}"))
    })
}

async fn send(remote: &Remote, wanted: &BTreeMap<Digest, (Blob, PathBuf)>) -> Result<(), RemoteError> {
    let digests: Vec<Digest> = wanted.keys().copied().collect();
    for some in digests.chunks(DIGESTS_PER_REQUEST) {
        // Named by value: a borrow across the concurrent puts would tie the whole future to one lifetime.
        let missing: Vec<(Blob, PathBuf)> =
            remote.missing(some).await?.iter().filter_map(|digest| wanted.get(digest).cloned()).collect();
        stream::iter(missing)
            .map(|(blob, path)| async move {
                remote.put(blob, &path).await?;
                manta_types::crash_point!("node.blob.sent");
                Ok::<_, RemoteError>(())
            })
            .buffer_unordered(UPLOADS_AT_ONCE)
            .try_collect::<()>()
            .await?;
    }
    Ok(())
}
