//! Which Python an image has: found by the image's own `PATH`, with its root directory as the end of every way.

use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use serde::{Deserialize, Serialize};

/// Names that interpreters have, the best first.
const NAMES: [&str; 2] = ["python3", "python"];
/// Where an interpreter is looked for when the image's `PATH` leads to none.
const FALLBACK: [&str; 2] = ["/usr/local/bin", "/usr/bin"];

/// An interpreter of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Python {
    /// Its path inside.
    pub(crate) path: PathBuf,
    /// Major and minor version, where the file's name or its library tells.
    pub(crate) version: Option<(u32, u32)>,
}

/// Finds the interpreter in an image's root directory.
pub(crate) fn find(root: &OwnedFd, path: &str) -> Option<Python> {
    let directories = path.split(':').filter(|directory| directory.starts_with('/')).chain(FALLBACK);
    let candidates = directories.flat_map(|directory| NAMES.map(|name| Path::new(directory).join(name)));
    candidates.into_iter().find_map(|candidate| {
        let real = resolve(root, &candidate)?;
        let version = version_in(&real.file_name()?.to_string_lossy()).or_else(|| library_version(root, &real));
        Some(Python { path: candidate, version })
    })
}

/// The real path inside of an executable file.
pub(crate) fn resolve(root: &OwnedFd, path: &Path) -> Option<PathBuf> {
    let file = open_inside(root, path, OFlags::PATH)?;
    let file = std::fs::File::from(file);
    let metadata = file.metadata().ok().filter(|file| file.is_file() && file.permissions().mode() & 0o100 != 0);
    metadata?;
    let (real, base) = (std::fs::read_link(link(&file)).ok()?, std::fs::read_link(link(root)).ok()?);
    real.strip_prefix(base).ok().map(|inner| Path::new("/").join(inner))
}

/// The version by the library that stands beside the interpreter.
fn library_version(root: &OwnedFd, python: &Path) -> Option<(u32, u32)> {
    let library = python.parent()?.parent()?.join("lib");
    let directory = open_inside(root, &library, OFlags::PATH)?;
    let entries = std::fs::read_dir(link(&directory)).ok()?.flatten();
    entries.filter_map(|entry| version_in(&entry.file_name().to_string_lossy())).max()
}

/// `python3.11` tells 3.11.
fn version_in(name: &str) -> Option<(u32, u32)> {
    let (major, minor) = name.strip_prefix("python")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Opens what lies at a path for whoever has the image as its root directory.
pub(crate) fn open_inside(root: &OwnedFd, path: &Path, flags: OFlags) -> Option<OwnedFd> {
    openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::IN_ROOT).ok()
}

/// Where the kernel shows what a descriptor refers to.
fn link(fd: impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn root(make: impl FnOnce(&Path)) -> (tempfile::TempDir, OwnedFd) {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path());
        let fd = rustix::fs::open(dir.path(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        (dir, fd)
    }

    fn program(path: &Path) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn the_interpreter_is_found_by_path_through_links_that_stay_inside() {
        let (_dir, fd) = root(|root| {
            program(&root.join("usr/bin/python3.12"));
            symlink("python3.12", root.join("usr/bin/python3")).unwrap();
            std::fs::create_dir_all(root.join("opt/env/bin")).unwrap();
            // From inside the root this is /usr/bin/python3, whatever the host has.
            symlink("/usr/bin/python3", root.join("opt/env/bin/python")).unwrap();
        });
        let found = find(&fd, "relative:/opt/env/bin:/usr/bin").unwrap();
        assert_eq!((found.path.to_str(), found.version), (Some("/opt/env/bin/python"), Some((3, 12))));
        assert_eq!(find(&fd, "/nowhere").unwrap().path, Path::new("/usr/bin/python3"));
    }

    #[test]
    fn an_image_without_python_has_none_whatever_the_host_has() {
        let (_dir, fd) = root(|root| {
            std::fs::create_dir_all(root.join("usr/bin")).unwrap();
            symlink("../../../../../../usr/bin/env", root.join("usr/bin/python3")).unwrap();
            std::fs::write(root.join("usr/bin/python"), "no program").unwrap();
        });
        assert_eq!(find(&fd, "/usr/bin"), None);
    }

    #[test]
    fn the_library_tells_the_version_where_the_name_does_not() {
        let (_dir, fd) = root(|root| {
            program(&root.join("usr/local/bin/python3"));
            std::fs::create_dir_all(root.join("usr/local/lib/python3.8")).unwrap();
        });
        assert_eq!(find(&fd, "/usr/local/bin").unwrap().version, Some((3, 8)));
    }
}
