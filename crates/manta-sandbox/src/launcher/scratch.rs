//! Private temporary directories of tasks without namespaces.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use super::LauncherName;
use crate::StartError;

const PREFIX: &str = "manta-task-";

/// A directory that only the task may enter; removed with all it holds when dropped.
pub(super) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes the directory of sandbox `id` below the system's temporary directory, owned by `host_id` if that is given.
    pub(super) fn create(launcher: &LauncherName, id: &str, host_id: Option<u32>) -> Result<Self, StartError> {
        let path = std::env::temp_dir().join(format!("{PREFIX}{launcher}.{id}"));
        let failed = |error: io::Error| StartError::step(format!("make `{}`", path.display()), error);
        fs::DirBuilder::new().mode(0o700).create(&path).map_err(failed)?;
        if host_id.is_some() {
            chown(&path, host_id, host_id).map_err(failed)?;
        }
        Ok(Self { path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes directories that dead launchers of this user left.
    pub(super) fn sweep() {
        let own = rustix::process::geteuid().as_raw();
        for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let stale = name
                .to_str()
                .and_then(|name| name.strip_prefix(PREFIX)?.split_once('.'))
                .and_then(|(launcher, _)| LauncherName::parse(launcher))
                .is_some_and(|launcher| launcher.is_dead());
            let ours = entry.metadata().is_ok_and(|metadata| own == 0 || metadata.uid() == own);
            if stale && ours {
                remove(&entry.path());
            }
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// Removes a tree whose owner may have taken away its own permissions; what resists is left to the next sweep.
fn remove(path: &Path) {
    if fs::remove_dir_all(path).is_err() {
        open_up(path);
        let _ = fs::remove_dir_all(path);
    }
}

/// Lets this user list and change every directory of a tree, following no links.
fn open_up(path: &Path) {
    let is_dir = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    if !is_dir {
        return;
    }
    // If it fails, so will the removal, which then leaves the tree.
    let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        open_up(&entry.path());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_closed_by_its_owner_is_still_removed() {
        let scratch = Scratch::create(&LauncherName::own(), "closed", None).unwrap();
        let path = scratch.path().to_owned();
        fs::create_dir_all(path.join("a/b")).unwrap();
        fs::write(path.join("a/b/file"), "x").unwrap();
        fs::set_permissions(path.join("a"), fs::Permissions::from_mode(0o000)).unwrap();
        drop(scratch);
        assert!(!path.exists());
    }
}
