//! The agent's data directory: who may have it, and where things lie in it.
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use manta_types::NodeId;

use crate::NodeError;

/// A data directory that this agent alone has.
#[derive(Debug)]
pub(crate) struct Home {
    root: PathBuf,
    lock: File,
}

impl Home {
    /// Makes the directory where needed, closes it to others, and locks it; or goes on with the lock that the program before this
    /// one has left.
    pub(crate) fn open(root: &Path, lock: Option<OwnedFd>) -> Result<Self, NodeError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| NodeError::DataDir { path, source }
        };
        private_dir(root).map_err(failed(root))?;
        fs::set_permissions(root, fs::Permissions::from_mode(0o700)).map_err(failed(root))?;
        let root = root.canonicalize().map_err(failed(root))?;
        let path = root.join("node.lock");
        let lock = match lock {
            Some(lock) => Ok(File::from(lock)),
            None => OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path),
        };
        let lock = lock.map_err(failed(&path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(NodeError::DataDirLocked { path: root }),
            Err(TryLockError::Error(source)) => return Err(NodeError::DataDir { path, source }),
        }
        for part in ["cache", "bundles", "layers", "light", "state", "outbox"] {
            private_dir(&root.join(part)).map_err(failed(&root.join(part)))?;
        }
        Ok(Self { root, lock })
    }

    /// The lock, for the program that comes after this one.
    pub(crate) fn lock(&self) -> io::Result<OwnedFd> {
        Ok(self.lock.try_clone()?.into())
    }

    /// Where a part of the agent keeps its files.
    pub(crate) fn part(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// This node's id, made and kept the first time: whatever is lost on the way, it joins as one node.
    pub(crate) fn node_id(&self) -> Result<NodeId, NodeError> {
        let path = self.root.join("node_id");
        let id = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let id = NodeId::from_uuid(uuid::Uuid::now_v7());
                let kept = replace(&path, format!("{id}\n").as_bytes());
                manta_types::crash_point!("node.id.kept");
                kept.map(|()| id)
            }
            read => read.and_then(|text| text.trim().parse().map_err(io::Error::other)),
        };
        id.map_err(|source| NodeError::DataDir { path, source })
    }

    /// Removes the directory with all that is in it.
    pub(crate) fn remove(self) -> io::Result<()> {
        fs::remove_dir_all(&self.root)
    }
}

/// Makes a directory, and those above it, for this user only.
pub(crate) fn private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Replaces a file's content in one step that survives a crash.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    write_synced(&fresh, &[content])?;
    fs::rename(&fresh, path)?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// Writes a file for this user only, and syncs it; its name is synced with its directory.
pub(crate) fn write_synced(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)?;
    parts.iter().try_for_each(|part| io::Write::write_all(&mut file, part))?;
    file.sync_all()
}

/// Syncs the names in a directory.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Takes it for done when what was to go is not there.
pub(crate) fn gone_already(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_agent_is_kept_out_until_the_first_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("node");
        let first = Home::open(&root, None).unwrap();
        assert!(matches!(Home::open(&root, None), Err(NodeError::DataDirLocked { .. })));
        drop(first);
        assert!(Home::open(&root, None).is_ok());
        assert_eq!(fs::metadata(&root).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn the_node_id_survives_a_restart_and_an_ephemeral_home_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path(), None).unwrap();
        let id = home.node_id().unwrap();
        drop(home);
        let home = Home::open(dir.path(), None).unwrap();
        assert_eq!(home.node_id().unwrap(), id);
        home.remove().unwrap();
        assert!(!dir.path().exists());
    }
}
