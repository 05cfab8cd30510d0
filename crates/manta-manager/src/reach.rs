//! Which blobs are still wanted: marked from the rows that name them, never counted.
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use manta_module::BundleManifest;
use manta_store::{BlobError, BlobStore, StateReader};
use manta_types::{Blob, ClusterId, Digest};
use serde::Deserialize;

use crate::ManagerError;
use crate::content::MANIFEST_BYTES_MAX;

/// Digests that are looked at in one go.
const PAGE: usize = 1000;

/// What a submission names.
#[derive(Deserialize)]
struct Submitted {
    modules: Vec<Module>,
    #[serde(default)]
    globals: BTreeMap<String, Blob>,
}

#[derive(Deserialize)]
struct Module {
    bundle: Digest,
}

/// What the rows of a state name.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    /// Every digest that anything may mean: none of these is swept.
    pub(crate) marked: BTreeSet<Digest>,
    /// Those of them that are blobs for certain: each should be stored.
    pub(crate) wanted: BTreeSet<Digest>,
    /// Bundles that cannot be read, so that what they name is unknown.
    pub(crate) unread: Vec<Digest>,
}

/// What a sweep did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Swept {
    pub(crate) blobs: u64,
    pub(crate) bytes: u64,
}

/// Every blob that a stored row of a cluster names, and what belongs to the bundles among them; of the first cluster where none
/// is named. Each has its own blobs.
///
/// # Errors
/// When a row cannot be read.
pub(crate) fn reachable(
    reader: &StateReader,
    of: Option<&ClusterId>,
    blobs: &dyn BlobStore,
) -> Result<Reach, ManagerError> {
    let mut reach = Reach::default();
    let mut bundles = BTreeSet::new();
    let mut unreadable = None;
    reader.submissions(of, |text| match serde_json::from_str::<Submitted>(text) {
        Ok(submission) => {
            bundles.extend(submission.modules.into_iter().map(|module| module.bundle));
            reach.wanted.extend(submission.globals.values().map(|blob| blob.digest));
        }
        Err(error) => unreadable = Some(error),
    })?;
    if let Some(error) = unreadable {
        return Err(ManagerError::Unreadable { what: "submission of a swarm".to_owned(), problem: error.to_string() });
    }
    reader.bundles(of, |digest| {
        bundles.insert(digest);
    })?;
    for digest in bundles {
        match blobs.read(&digest, MANIFEST_BYTES_MAX) {
            Ok(Some(manifest)) => match BundleManifest::parse(&manifest) {
                Ok(manifest) => reach.wanted.extend(manifest.blobs().map(|(_, blob)| blob.digest)),
                Err(_) => reach.unread.push(digest),
            },
            Ok(None) | Err(BlobError::Damaged { .. }) => reach.unread.push(digest),
            Err(other) => return Err(other.into()),
        }
        reach.wanted.insert(digest);
    }
    reader.outputs(of, |digest| {
        reach.wanted.insert(digest);
    })?;
    reader.digests(of, |digest| {
        reach.marked.insert(digest);
    })?;
    reach.marked.extend(&reach.wanted);
    Ok(reach)
}

/// Removes every blob that is not marked, unless it was stored or held within `held`. Whoever names a blob
/// holds it first, so what became wanted after the marking is held.
///
/// # Errors
/// When a bundle could not be read, or the blobs cannot be listed or removed.
pub(crate) fn sweep(reach: &Reach, blobs: &dyn BlobStore, held: Duration) -> Result<Swept, ManagerError> {
    if let Some(digest) = reach.unread.first() {
        return Err(BlobError::Missing { digest: *digest }.into());
    }
    let mut swept = Swept::default();
    let mut last = None;
    loop {
        let page = blobs.digests(last.as_ref(), PAGE)?;
        let Some(end) = page.last().copied() else { return Ok(swept) };
        for digest in page.iter().filter(|digest| !reach.marked.contains(digest)) {
            let was_there = blobs.size(digest)?.is_some();
            let bytes = blobs.sweep(digest, held)?;
            if was_there && blobs.size(digest)?.is_none() {
                manta_types::crash_point!("manager.sweep.removed");
                swept = Swept { blobs: swept.blobs + 1, bytes: swept.bytes + bytes };
            }
        }
        last = Some(end);
    }
}

#[cfg(test)]
mod tests;
