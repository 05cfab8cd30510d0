//! Where an embedded platform keeps its socket and, unless told otherwise, its data.
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::report::Failure;

/// Bytes of a Unix socket's path, without the final NUL that the kernel's 108 leave room for.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// The folder, in the private one, that a swarm is traced into.
const TRACE: &str = "trace";

/// The folders of one embedded platform.
#[derive(Debug)]
pub(crate) struct Folders {
    private: TempDir,
    data: Option<PathBuf>,
}

impl Folders {
    /// Makes a private folder; with `data`, everything but the socket lies there and stays.
    pub(crate) fn make(data: Option<&Path>) -> Result<Self, Failure> {
        let data = match data {
            Some(folder) => Some(keep(folder)?),
            None => None,
        };
        let mut problem = None;
        for base in bases() {
            match private_in(&base) {
                Ok(private) if socket(private.path()).as_os_str().len() <= SOCKET_PATH_BYTES_MAX => {
                    return Ok(Self { private, data });
                }
                // Too deep for a socket: it is removed at once, and the next base tried.
                Ok(_) => {}
                Err(error) => problem = Some(Failure::file("no private folder can be made in", &base, &error)),
            }
        }
        Err(problem.unwrap_or_else(|| Failure::internal("no folder is short enough for a socket")))
    }

    /// Whether data goes with the platform.
    pub(crate) fn is_ephemeral(&self) -> bool {
        self.data.is_none()
    }

    /// The private folder, which the last process to end removes.
    pub(crate) fn shared(&self) -> &Path {
        self.private.path()
    }

    /// Where a swarm is traced.
    pub(crate) fn trace(&self) -> Result<PathBuf, Failure> {
        let folder = self.private.path().join(TRACE);
        std::fs::create_dir(&folder).map_err(|error| Failure::file("a folder cannot be made:", &folder, &error))?;
        Ok(folder)
    }

    /// The manager's socket.
    pub(crate) fn socket(&self) -> PathBuf {
        socket(self.private.path())
    }

    /// The manager's data.
    pub(crate) fn manager(&self) -> PathBuf {
        self.base().join("manager")
    }

    /// A node's data.
    pub(crate) fn node(&self, name: &str) -> PathBuf {
        self.base().join(name)
    }

    fn base(&self) -> &Path {
        self.data.as_deref().unwrap_or(self.private.path())
    }

    /// Removes what does not stay.
    pub(crate) fn remove(self) {
        let path = self.private.path().to_owned();
        // Dying children may have been at work in it: a second look catches what they left.
        if self.private.close().is_err() {
            let _ = std::fs::remove_dir_all(path);
        }
    }
}

/// What a child does at its end, should its parent have gone without a word: nothing of the private folder may stay.
pub(crate) fn leave(shared: &Path) {
    // Others may have been faster, or be at work still: then they are the ones to remove it.
    let _ = std::fs::remove_dir_all(shared.join(TRACE));
    let _ = std::fs::remove_dir(shared);
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("manager.sock")
}

/// The folder for temporary files first, since values may be large; then the session's own, then the shortest.
fn bases() -> Vec<PathBuf> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|folder| folder.is_absolute());
    let temporary = std::path::absolute(std::env::temp_dir()).ok();
    temporary.into_iter().chain([PathBuf::from("/tmp")]).chain(runtime).collect()
}

fn private_in(base: &Path) -> std::io::Result<TempDir> {
    let permissions = std::fs::Permissions::from_mode(0o700);
    tempfile::Builder::new().prefix("manta-").permissions(permissions).tempdir_in(base)
}

fn keep(folder: &Path) -> Result<PathBuf, Failure> {
    let made = std::fs::create_dir_all(folder).and_then(|()| folder.canonicalize());
    made.map_err(|error| Failure::file("the data directory cannot be made:", folder, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_private_and_its_socket_fits() {
        let folders = Folders::make(None).unwrap();
        let parent = folders.socket().parent().unwrap().to_owned();
        assert_eq!(parent.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        assert!(folders.socket().as_os_str().len() <= SOCKET_PATH_BYTES_MAX);
        std::fs::create_dir_all(folders.node("node-1")).unwrap();
        folders.remove();
        assert!(!parent.exists());
    }

    #[test]
    fn given_data_stays() {
        let data = tempfile::tempdir().unwrap();
        let folders = Folders::make(Some(&data.path().join("deep/down"))).unwrap();
        assert!(!folders.is_ephemeral() && !folders.socket().starts_with(data.path()));
        let manager = folders.manager();
        std::fs::create_dir(&manager).unwrap();
        folders.remove();
        assert!(manager.exists());
    }
}
