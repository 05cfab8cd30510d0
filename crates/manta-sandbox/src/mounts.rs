//! Turns mount sources into detached, read-only mount trees that a task's namespace can take in.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, Stat};
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::idmap::{IdMap, IdMaps};
use crate::sys;
use crate::{Mount, MountAccess, StartError};

/// Attributes of everything mounted from the host.
pub(crate) const HOST_ATTRIBUTES: u64 = sys::ATTR_READ_ONLY | sys::ATTR_NO_SUID | sys::ATTR_NO_DEVICES;

/// The device nodes a task gets.
pub(crate) const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// Attributes of device nodes: only the node itself works.
pub(crate) const DEVICE_ATTRIBUTES: u64 = sys::ATTR_NO_SUID | sys::ATTR_NO_EXEC;

/// A mount source, opened once so that nobody can change what it names afterwards.
pub(crate) struct Source {
    fd: OwnedFd,
    stat: Stat,
}

impl Source {
    /// Opens a regular file or a directory without following a final symbolic link.
    pub(crate) fn open(path: &Path) -> Result<Self, StartError> {
        let refuse = |problem: String| StartError::Mount { path: path.to_owned(), problem };
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| refuse(error.to_string()))?;
        let stat = rustix::fs::fstat(&fd).map_err(|error| refuse(error.to_string()))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory | FileType::RegularFile => Ok(Self { fd, stat }),
            FileType::Symlink => {
                Err(refuse("it is a symbolic link; name the file or directory it points to".to_owned()))
            }
            _ => Err(refuse("it is neither a file nor a directory".to_owned())),
        }
    }

    /// Whether it is a directory.
    pub(crate) fn is_dir(&self) -> bool {
        FileType::from_raw_mode(self.stat.st_mode) == FileType::Directory
    }

    /// Permission bits that reading needs, in the place of "others".
    fn bits_needed(&self) -> u32 {
        if self.is_dir() { 0o5 } else { 0o4 }
    }

    fn has_bits(&self, shift: u32) -> bool {
        let needed = self.bits_needed() << shift;
        self.stat.st_mode & needed == needed
    }

    fn unreadable(&self, path: &Path, cure: &str) -> StartError {
        StartError::Unreadable {
            path: path.to_owned(),
            mode: self.stat.st_mode & 0o7777,
            owner: self.stat.st_uid,
            cure: cure.to_owned(),
        }
    }

    /// Whether its file system accepts a mount that maps owners.
    pub(crate) fn can_map_owner(&self, maps: &mut IdMaps, map: IdMap) -> bool {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
        let Ok(tree) = open_tree(&self.fd, c"", flags) else { return false };
        let Ok(namespace) = maps.namespace(map) else { return false };
        sys::set_mount_attributes(tree.as_fd(), 0, false, Some(namespace)).is_ok()
    }

    /// Refuses what not everybody may read.
    pub(crate) fn check_readable_by_all(&self, path: &Path) -> Result<(), StartError> {
        if self.has_bits(0) {
            return Ok(());
        }
        Err(self.unreadable(
            path,
            "in a container a task has a uid of its own; let everybody read it (chmod --recursive o+rX)",
        ))
    }

    /// Refuses what the calling user cannot read itself.
    pub(crate) fn check_readable_by_me(&self, path: &Path) -> Result<(), StartError> {
        match rustix::fs::open(path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
            Ok(_) => Ok(()),
            Err(_) => {
                Err(self.unreadable(path, "let the agent's user read it, or run the agent as its owner or as root"))
            }
        }
    }
}

/// A detached copy of the mount at `source`, with all that is mounted below it.
pub(crate) fn detach(source: impl AsFd) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    Ok(open_tree(source, c"", flags)?)
}

/// Refuses what is no character device itself.
pub(crate) fn check_device(path: &Path) -> io::Result<()> {
    match FileType::from_raw_mode(rustix::fs::lstat(path)?.st_mode) {
        FileType::CharacterDevice => Ok(()),
        _ => Err(io::Error::other("it is not a device on this host; make it again with mknod")),
    }
}

/// A detached copy of one device node's mount.
///
/// # Errors
/// Also if the path is no device: tools run by root that unlink their output turn `/dev/null` into a plain file.
pub(crate) fn detach_device(path: &Path) -> io::Result<OwnedFd> {
    check_device(path)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, path, flags)?;
    sys::set_mount_attributes(tree.as_fd(), DEVICE_ATTRIBUTES, false, None)?;
    Ok(tree)
}

/// Detaches `mount` for a task that runs as `host_id`, mapping its owner to that uid where its access says so. Needs root.
///
/// # Errors
/// Names the path, its mode and what would help if the task could not read it.
pub(crate) fn detach_mapped(
    mount: &Mount,
    source: &Source,
    maps: &mut IdMaps,
    host_id: u32,
) -> Result<OwnedFd, StartError> {
    let refuse = |error: io::Error| StartError::Mount { path: mount.source.clone(), problem: error.to_string() };
    let tree = detach(&source.fd).map_err(refuse)?;
    if mount.access == MountAccess::Other {
        sys::set_mount_attributes(tree.as_fd(), HOST_ATTRIBUTES, true, None).map_err(refuse)?;
        return Ok(tree);
    }
    let map = IdMap { uid: source.stat.st_uid, gid: source.stat.st_gid, host_id };
    let namespace = maps.namespace(map).map_err(refuse)?;
    match sys::set_mount_attributes(tree.as_fd(), HOST_ATTRIBUTES, true, Some(namespace)) {
        Ok(()) if source.has_bits(6) => Ok(tree),
        Ok(()) => Err(source.unreadable(&mount.source, "let its owner read it")),
        // The file system cannot map owners: what everybody may read is still fine.
        Err(_) if source.has_bits(0) || mount.access == MountAccess::OwnerOrOther => {
            sys::set_mount_attributes(tree.as_fd(), HOST_ATTRIBUTES, true, None).map_err(refuse)?;
            Ok(tree)
        }
        Err(_) => Err(source.unreadable(
            &mount.source,
            "its file system or this kernel cannot map owners; let everybody read it (chmod o+rX), or move it to a local file system",
        )),
    }
}
