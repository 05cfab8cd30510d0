//! The driver's libraries, as a task finds them: each under its own name and those that links beside it give it.
use std::io;
use std::path::Path;

use manta_sandbox::{Link, Mount, MountAccess};

use super::{Access, LIBRARIES};

/// Whether a file is a shared library, by its name.
pub(super) fn is_library(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy());
    name.is_some_and(|name| name.ends_with(".so") || name.contains(".so."))
}

/// Adds a library of the host and the names by which it is known there.
pub(super) fn add(access: &mut Access, library: &Path) -> io::Result<()> {
    let real = std::fs::canonicalize(library)?;
    let (Some(name), Some(dir)) = (real.file_name(), library.parent()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let mount = Mount { source: real.clone(), target: Path::new(LIBRARIES).join(name), access: MountAccess::Other };
    if access.mounts.contains(&mount) {
        return Ok(());
    }
    access.mounts.push(mount);
    for entry in std::fs::read_dir(dir)?.filter_map(Result::ok) {
        let is_other_name = entry.file_type().is_ok_and(|kind| kind.is_symlink())
            && is_library(&entry.path())
            && std::fs::canonicalize(entry.path()).is_ok_and(|target| target == real);
        if is_other_name && entry.file_name() != *name {
            access.links.push(Link { path: Path::new(LIBRARIES).join(entry.file_name()), to: name.into() });
        }
    }
    access.links.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(())
}
