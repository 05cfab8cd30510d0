//! Paths below a directory, taken apart once and opened without ever following a link.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

/// Bytes of a path inside an image; with the store's own path before it, the kernel's 4096 are kept.
const PATH_BYTES_MAX: usize = 3072;
/// Bytes of one name, as file systems have it.
const NAME_BYTES_MAX: usize = 255;

/// A path below a root: plain names only. Empty: the root itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Inner(PathBuf);

impl Inner {
    /// Takes a path as archives write it, `./usr/bin/` or `usr/bin`.
    ///
    /// # Errors
    /// Why it cannot be one, to follow the path in a sentence.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        if bytes.len() > PATH_BYTES_MAX {
            return Err("is longer than 3072 bytes");
        }
        if bytes.first() == Some(&b'/') {
            return Err("is an absolute path");
        }
        if bytes.contains(&0) {
            return Err("holds a zero byte");
        }
        let mut path = PathBuf::new();
        for name in bytes.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".") {
            if name == b".." {
                return Err("climbs out by `..`");
            }
            if name.len() > NAME_BYTES_MAX {
                return Err("has a name longer than 255 bytes");
            }
            path.push(OsStr::from_bytes(name));
        }
        Ok(Self(path))
    }

    /// The directory it lies in and its name there; nothing for the root itself.
    pub(crate) fn split(&self) -> Option<(Self, &OsStr)> {
        Some((Self(self.0.parent()?.to_owned()), self.0.file_name()?))
    }

    /// The path of a name in this directory.
    pub(crate) fn join(&self, name: &OsStr) -> Self {
        Self(self.0.join(name))
    }

    /// As a path relative to the root.
    pub(crate) fn as_path(&self) -> &Path {
        &self.0
    }

    /// How many names deep it lies.
    pub(crate) fn depth(&self) -> usize {
        self.0.components().count()
    }
}

/// Opens what lies at a path below a root; [`Errno::LOOP`] where the way leads through a link.
pub(crate) fn open(root: impl AsFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    rustix::io::retry_on_intr(|| openat2(&root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve))
}

/// Makes a file below a root, to write; nothing may have its path.
pub(crate) fn create(root: impl AsFd, path: &Path) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::io::retry_on_intr(|| openat2(&root, path, flags, Mode::from_raw_mode(0o600), resolve))
}

/// Opens a directory below a root, to name what is in it.
pub(crate) fn open_dir(root: impl AsFd, path: &Path) -> Result<OwnedFd, Errno> {
    open(root, path, OFlags::PATH | OFlags::DIRECTORY)
}

/// Whether a link that lies `depth` directories below the root leads out of it.
pub(crate) fn climbs_out(target: &[u8], depth: usize) -> bool {
    let mut depth = if target.first() == Some(&b'/') { 0 } else { depth };
    for name in target.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." if depth == 0 => return true,
            b".." => depth -= 1,
            _ => depth += 1,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_keep_plain_names_only() {
        let path = |text: &str| Inner::parse(text.as_bytes()).map(|inner| inner.0);
        assert_eq!(path("./usr//bin/"), Ok(PathBuf::from("usr/bin")));
        assert_eq!(path("./"), Ok(PathBuf::new()));
        for (bad, words) in [("/etc", "absolute"), ("a/../b", "climbs"), ("..", "climbs"), ("a\0b", "zero")] {
            assert!(path(bad).unwrap_err().contains(words), "{bad:?}");
        }
        assert!(path(&"n".repeat(256)).is_err());
        assert!(path(&"n/".repeat(2000)).is_err());
    }

    #[test]
    fn links_that_climb_out_are_told_from_those_that_stay() {
        for (target, depth) in [("..", 0), ("../x", 0), ("a/../../x", 0), ("../../etc", 1), ("/..", 3)] {
            assert!(climbs_out(target.as_bytes(), depth), "{target} at {depth}");
        }
        for (target, depth) in [("x", 0), ("../lib", 1), ("../../lib", 2), ("/usr/lib", 0), ("/a/../b", 0)] {
            assert!(!climbs_out(target.as_bytes(), depth), "{target} at {depth}");
        }
    }

    #[test]
    fn nothing_is_opened_through_a_link() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("real")).unwrap();
        std::os::unix::fs::symlink("real", dir.path().join("link")).unwrap();
        let root = rustix::fs::open(dir.path(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        assert!(open_dir(&root, Path::new("real")).is_ok());
        assert_eq!(open_dir(&root, Path::new("link")).unwrap_err(), Errno::LOOP);
        assert_eq!(open_dir(&root, Path::new("../")).unwrap_err(), Errno::XDEV);
    }
}
