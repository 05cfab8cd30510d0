//! The agent's data directory: who may have it, and where things lie in it.
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::NodeError;

/// A data directory that this agent alone has.
#[derive(Debug)]
pub(crate) struct Home {
    root: PathBuf,
    _lock: File,
}

impl Home {
    /// Makes the directory where needed, closes it to others, and locks it.
    pub(crate) fn open(root: &Path) -> Result<Self, NodeError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| NodeError::DataDir { path, source }
        };
        private_dir(root).map_err(failed(root))?;
        fs::set_permissions(root, fs::Permissions::from_mode(0o700)).map_err(failed(root))?;
        let root = root.canonicalize().map_err(failed(root))?;
        let path = root.join("node.lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let lock = lock.map_err(failed(&path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(NodeError::DataDirLocked { path: root }),
            Err(TryLockError::Error(source)) => return Err(NodeError::DataDir { path, source }),
        }
        for part in ["cache", "bundles", "light", "state"] {
            private_dir(&root.join(part)).map_err(failed(&root.join(part)))?;
        }
        Ok(Self { root, _lock: lock })
    }

    /// Where a part of the agent keeps its files.
    pub(crate) fn part(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The id that the manager gave this node, or nothing the first time.
    pub(crate) fn node_id(&self) -> String {
        fs::read_to_string(self.root.join("node_id")).map(|text| text.trim().to_owned()).unwrap_or_default()
    }

    /// Keeps the id that the manager gave.
    pub(crate) fn keep_node_id(&self, id: &str) -> io::Result<()> {
        if self.node_id() == id { Ok(()) } else { replace(&self.root.join("node_id"), format!("{id}\n").as_bytes()) }
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
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&fresh)?;
    io::Write::write_all(&mut file, content)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_agent_is_kept_out_until_the_first_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("node");
        let first = Home::open(&root).unwrap();
        assert!(matches!(Home::open(&root), Err(NodeError::DataDirLocked { .. })));
        drop(first);
        assert!(Home::open(&root).is_ok());
        assert_eq!(fs::metadata(&root).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn the_node_id_survives_a_restart_and_an_ephemeral_home_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path()).unwrap();
        assert_eq!(home.node_id(), "");
        home.keep_node_id("nd_1").unwrap();
        drop(home);
        let home = Home::open(dir.path()).unwrap();
        assert_eq!(home.node_id(), "nd_1");
        home.remove().unwrap();
        assert!(!dir.path().exists());
    }
}
