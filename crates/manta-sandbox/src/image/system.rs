//! The host's system directories and the few files of `/etc` that programs need to start.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{Link, Mount, MountAccess};

/// Where programs and libraries lie; on merged-usr systems most are links into `/usr`.
const DIRECTORIES: [&str; 8] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store"];

/// What the dynamic loader and C library look at.
const FILES: [&str; 6] = [
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/alternatives",
    "/etc/localtime",
    "/etc/nsswitch.conf",
];

/// Directories that hold people's and services' files; a mount may be inside one, but not show a whole one.
const WIDE: [&str; 10] = ["/home", "/root", "/etc", "/var", "/tmp", "/opt", "/srv", "/mnt", "/run", "/proc"];

/// System directories to mount, and links to make in a sandbox's root.
pub(crate) fn system_directories() -> (Vec<PathBuf>, Vec<Link>) {
    let mut directories = Vec::new();
    let mut links = Vec::new();
    for path in DIRECTORIES.map(Path::new) {
        match fs::read_link(path) {
            Ok(to) => links.push(Link { path: path.to_owned(), to }),
            Err(_) if path.is_dir() => directories.push(path.to_owned()),
            Err(_) => {}
        }
    }
    (directories, links)
}

/// Whether `path` lies in a system directory.
pub(super) fn holds(path: &Path) -> bool {
    DIRECTORIES.iter().any(|directory| path.starts_with(directory))
}

/// Mounts of the files that programs need; links among them are followed.
pub(super) fn files() -> impl Iterator<Item = Mount> {
    FILES.into_iter().filter_map(|file| {
        let source = fs::canonicalize(file).ok()?;
        Some(Mount { source, target: PathBuf::from(file), access: MountAccess::Other })
    })
}

/// Whether mounting `path` would show people's files or the whole system.
pub(super) fn is_too_wide(path: &Path) -> bool {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let is_home = home.is_some_and(|home| home == path || home.starts_with(path));
    let is_some_home = path.parent() == Some(Path::new("/home"));
    is_home || is_some_home || WIDE.iter().any(|wide| Path::new(wide).starts_with(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes_and_roots_are_too_wide_but_environments_in_them_are_not() {
        for path in ["/", "/home", "/home/ada", "/root", "/opt"] {
            assert!(is_too_wide(Path::new(path)), "{path}");
        }
        for path in ["/home/ada/project/.venv", "/opt/conda", "/root/.pyenv/versions/3.11.7"] {
            assert!(!is_too_wide(Path::new(path)), "{path}");
        }
    }
}
