//! Everything on disk that a manager needs, taken before it serves: directory, lock, tokens, stores.
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use manta_store::{AccessStore, BlobStore, DirBlobs, LogStore, SqliteStore, StateStore, StoreError};

use crate::settings::Listen;
use crate::tokens::Tokens;
use crate::{ManagerError, Settings, identity};

/// The folder of blobs.
pub(crate) const BLOBS: &str = "blobs";
/// The folder of what clusters beyond the first keep beside the stores.
pub(crate) const CLUSTERS: &str = "clusters";

/// A data directory that is this manager's alone.
pub struct Opened {
    pub(crate) state: Box<dyn StateStore>,
    pub(crate) blobs: Arc<dyn BlobStore>,
    pub(crate) logs: LogStore,
    pub(crate) tokens: Tokens,
    pub(crate) access: AccessStore,
    pub(crate) identities: Option<identity::Opened>,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened").finish_non_exhaustive()
    }
}

/// Makes or takes the data directory. Blocks for a moment.
///
/// # Errors
/// When a living manager has it, when others can read a secret in it, when a certificate cannot be used, when others could not
/// call the manager by a name, or when the storage fails.
pub fn open(settings: &Settings) -> Result<Opened, ManagerError> {
    let dir = &settings.data_dir;
    if let Listen::Tcp(address) = &settings.listen
        && address.ip().is_unspecified()
        && settings.tls.public_names.is_empty()
    {
        return Err(ManagerError::NoPublicName(*address));
    }
    make_private(dir).map_err(|source| ManagerError::DataDir { path: dir.clone(), source })?;
    let state = SqliteStore::open(dir).map_err(|error| match error {
        StoreError::Locked { pid, .. } => ManagerError::DataDirLocked { path: dir.display().to_string(), pid },
        other => ManagerError::Store(other),
    })?;
    let tokens = Tokens::open(dir)?;
    let access = AccessStore::open(dir)?;
    let blobs = DirBlobs::open(&dir.join(BLOBS))?;
    let (logs, identities) = (LogStore::open(dir)?, identity::Opened::open(settings)?);
    Ok(Opened { state: Box::new(state), blobs: Arc::new(blobs), logs, tokens, access, identities })
}

fn make_private(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
}
