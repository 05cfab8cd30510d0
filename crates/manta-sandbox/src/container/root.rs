//! The root directory of a container, as an image of one layer: links, accounts and `/etc`. All else is mounted.
//!
//! The files of an image are mounted piece by piece, as in a builtin sandbox, so that they are on the disk once and were verified
//! once. `/etc` alone is copied: engines put files of their own into it, for which there must be a writable layer below.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

use crate::{Link, Mount, SandboxSpec, StartError};

/// What a container has of its own at these places, whatever the image has there.
const OWN: [&str; 1] = ["/run"];
/// Entries and bytes of an image's `/etc`.
const ENTRIES_MAX: usize = 20_000;
const BYTES_MAX: u64 = 32 << 20;
/// Directories in each other.
const DEPTH_MAX: usize = 16;

/// Accounts, so that looking up one's own name works where the image has none.
const PASSWD: &[u8] = b"task:x:1000:1000:task:/tmp:/bin/sh\n";
const GROUP: &[u8] = b"task:x:1000:\n";

/// What decides a root directory's content.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Root {
    links: Vec<(PathBuf, PathBuf)>,
    /// The image's own, where it has one.
    etc: Option<PathBuf>,
}

impl Root {
    /// The root directory of a spec, and what is to be mounted into it.
    pub(super) fn of(spec: &SandboxSpec) -> (Self, Vec<&Mount>) {
        let etc = |mount: &&Mount| mount.target == Path::new("/etc") && mount.source.is_dir();
        let copied = spec.mounts.iter().find(etc).map(|mount| mount.source.clone());
        let mounted = spec.mounts.iter().filter(|mount| !etc(mount));
        let mounted = mounted.filter(|mount| !OWN.iter().any(|own| mount.target == Path::new(own)));
        let links = spec.links.iter().map(|Link { path, to }| (path.clone(), to.clone())).collect();
        (Self { links, etc: copied }, mounted.collect())
    }

    /// The layer, a tar archive; equal roots give equal bytes.
    pub(super) fn layer(&self) -> Result<Vec<u8>, StartError> {
        let failed = |error: io::Error| StartError::step("make a container's root directory", error);
        let mut layer = Layer { builder: Builder::new(Vec::new()), entries: 0, bytes: 0 };
        match &self.etc {
            Some(etc) => layer.add_tree(etc, Path::new("etc"), 0).map_err(failed)?,
            None => {
                layer.add_file(Path::new("etc/passwd"), 0o644, PASSWD).map_err(failed)?;
                layer.add_file(Path::new("etc/group"), 0o644, GROUP).map_err(failed)?;
            }
        }
        for (path, to) in &self.links {
            layer.add_link(path.strip_prefix("/").unwrap_or(path), to).map_err(failed)?;
        }
        layer.builder.into_inner().map_err(failed)
    }
}

/// What a task may read in a container: what was mounted, `/etc` and its own view of processes.
pub(super) fn readable(spec: &SandboxSpec) -> Vec<String> {
    let (root, mounted) = Root::of(spec);
    let etc = match root.etc {
        Some(_) => vec!["/etc"],
        None => vec!["/etc/group", "/etc/passwd"],
    };
    let mounted = mounted.into_iter().map(|mount| mount.target.display().to_string());
    mounted.chain(etc.into_iter().chain(["/proc"]).map(str::to_owned)).collect()
}

struct Layer {
    builder: Builder<Vec<u8>>,
    entries: usize,
    bytes: u64,
}

impl Layer {
    fn add_tree(&mut self, source: &Path, target: &Path, depth: usize) -> io::Result<()> {
        self.add(EntryType::Directory, target, 0o755, &[])?;
        let mut entries: Vec<_> = fs::read_dir(source)?.collect::<Result<_, _>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let (path, kind) = (entry.path(), entry.file_type()?);
            let target = target.join(entry.file_name());
            if kind.is_symlink() {
                self.add_link(&target, &fs::read_link(&path)?)?;
            } else if kind.is_dir() && depth < DEPTH_MAX {
                self.add_tree(&path, &target, depth + 1)?;
            } else if kind.is_file() {
                self.bytes += entry.metadata()?.len();
                if self.bytes > BYTES_MAX {
                    return Err(io::Error::other(format!("the image's /etc is larger than {BYTES_MAX} bytes")));
                }
                let executable = entry.metadata()?.permissions().mode() & 0o111 != 0;
                self.add_file(&target, if executable { 0o755 } else { 0o644 }, &fs::read(&path)?)?;
            }
        }
        Ok(())
    }

    fn add_file(&mut self, path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
        self.add(EntryType::Regular, path, mode, content)
    }

    fn add_link(&mut self, path: &Path, to: &Path) -> io::Result<()> {
        self.count()?;
        let mut header = header(EntryType::Symlink, 0o777, 0);
        self.builder.append_link(&mut header, path, to)
    }

    fn add(&mut self, kind: EntryType, path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
        self.count()?;
        let mut header = header(kind, mode, content.len() as u64);
        self.builder.append_data(&mut header, path, content)
    }

    fn count(&mut self) -> io::Result<()> {
        self.entries += 1;
        if self.entries <= ENTRIES_MAX {
            return Ok(());
        }
        Err(io::Error::other(format!("the image's /etc holds more than {ENTRIES_MAX} entries")))
    }
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(layer: &[u8]) -> Vec<String> {
        let mut archive = tar::Archive::new(layer);
        let entries = archive.entries().unwrap();
        entries.map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect()
    }

    #[test]
    fn a_root_without_etc_has_accounts_and_links() {
        let root = Root { links: vec![("/bin".into(), "usr/bin".into())], etc: None };
        assert_eq!(names(&root.layer().unwrap()), ["etc/passwd", "etc/group", "bin"]);
        assert_eq!(root.layer().unwrap(), root.layer().unwrap());
    }

    #[test]
    fn an_images_etc_is_copied_with_links_as_links_and_no_special_files() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("ssl")).unwrap();
        fs::write(dir.path().join("ssl/openssl.cnf"), "x").unwrap();
        std::os::unix::fs::symlink("/proc/mounts", dir.path().join("mtab")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
        let root = Root { links: Vec::new(), etc: Some(dir.path().to_owned()) };
        assert_eq!(names(&root.layer().unwrap()), ["etc", "etc/mtab", "etc/ssl", "etc/ssl/openssl.cnf"]);
    }
}
