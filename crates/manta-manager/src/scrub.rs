//! A check of a whole data directory, beside a running manager or without one: every row, every blob, and that none is missing.
use std::path::Path;

use manta_store::{AccessStore, BlobError, BlobStore, DirBlobs, IdentityStore, LogStore, StateReader, StoreError};
use manta_types::ClusterId;
use serde::Serialize;

use crate::ManagerError;
use crate::clusters::folder_of;
use crate::open::BLOBS;
use crate::reach::reachable;
use crate::upkeep::{SweepLock, damage_of};

/// What a check of a data directory found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Scrubbed {
    /// Swarms that were read.
    pub swarms: u64,
    /// Events that were read.
    pub events: u64,
    /// Blobs that were read.
    pub blobs: u64,
    /// Bytes of blobs that were read.
    pub bytes: u64,
    /// What is damaged, one sentence each.
    pub damage: Vec<String>,
}

/// Reads and checks everything in a data directory, whether a manager has it or not, and changes nothing.
///
/// # Errors
/// When something cannot be read at all; damage is no error here, it is what is reported.
pub fn scrub(data_dir: &Path) -> Result<Scrubbed, ManagerError> {
    let mut found = Scrubbed { swarms: 0, events: 0, blobs: 0, bytes: 0, damage: Vec::new() };
    let reader = StateReader::open(data_dir)?;
    let damage = damage_of_state(&reader, &mut |events| {
        found.swarms += 1;
        found.events += events;
    })?;
    let damage = damage.into_iter().chain(LogStore::check(data_dir)?).chain(AccessStore::check(data_dir)?);
    let damage = damage.chain(IdentityStore::check(data_dir)?);
    found.damage.extend(damage.map(|damage| damage.to_string()));
    scrub_blobs(&reader, None, data_dir, data_dir, &mut found)?;
    for record in reader.clusters()?.iter().filter(|record| !record.is_removing) {
        scrub_blobs(&reader, Some(&record.name), data_dir, &folder_of(data_dir, record), &mut found)?;
    }
    Ok(found)
}

/// Reads every blob in a cluster's folder, and looks for those that its state names.
fn scrub_blobs(
    reader: &StateReader,
    of: Option<&ClusterId>,
    data_dir: &Path,
    folder: &Path,
    found: &mut Scrubbed,
) -> Result<(), ManagerError> {
    let blobs = DirBlobs::beside(&folder.join(BLOBS));
    let mut last = None;
    while let Some(digest) = blobs.digests(last.as_ref(), 1)?.first().copied() {
        match blobs.verify(&digest) {
            Ok(blob) => {
                found.blobs += 1;
                found.bytes += blob.size;
            }
            Err(BlobError::Missing { .. }) => {}
            Err(damage @ BlobError::Damaged { .. }) => found.damage.push(damage.to_string()),
            Err(other) => return Err(other.into()),
        }
        last = Some(digest);
    }
    // Nothing is swept while it is looked for.
    let _lock = SweepLock::shared(data_dir)?;
    for digest in reachable(reader, of, &blobs)?.wanted {
        if blobs.size(&digest)?.is_none() {
            found.damage.push(format!("blob `{digest}` is named by the state and missing"));
        }
    }
    Ok(())
}

/// What is damaged in the state; `read` is told of each swarm's events.
pub(crate) fn damage_of_state(
    reader: &StateReader,
    read: &mut dyn FnMut(u64),
) -> Result<Vec<StoreError>, ManagerError> {
    let mut damage = Vec::new();
    damage.extend(damage_of(reader.check_file())?);
    for (cluster, swarm) in reader.swarms()? {
        damage.extend(damage_of(reader.check_swarm(&cluster, swarm).map(&mut *read))?);
    }
    Ok(damage)
}
