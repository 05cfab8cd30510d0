//! Makes one directory of an image's layers: directories anew, everything else by hard links, which cost no bytes.
//!
//! A plain directory works in every tier, can be mounted with its owner mapped, and needs nothing of the kernel.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use super::record::LayerFile;
use crate::beneath;

/// Bytes of an accounts file that is added to.
const ACCOUNTS_BYTES_MAX: u64 = 1 << 20;
/// The account that tasks have, so that looking up one's own name works in any image.
const ACCOUNTS: [(&str, &str, &str); 2] =
    [("passwd", ":1000:", "task:x:1000:1000:task:/tmp:/bin/sh\n"), ("group", ":1000:", "task:x:1000:\n")];

/// Merges layers, the lowest first, into a directory that is made.
pub(super) fn merge<'a>(root: &Path, layers: impl Iterator<Item = (PathBuf, &'a LayerFile)>) -> io::Result<()> {
    super::disk::private_dir(root)?;
    fs::set_permissions(root, fs::Permissions::from_mode(0o755))?;
    for (tree, layer) in layers {
        for path in &layer.opaque {
            empty(root, path)?;
        }
        for path in &layer.removed {
            remove(root, path)?;
        }
        lay_over(&tree, root)?;
    }
    add_accounts(root)
}

/// Takes a path of lower layers away; one that leads nowhere, or through a link, takes nothing.
fn remove(root: &Path, path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let Some(parent) = plain_dir(root, parent)? else { return Ok(()) };
    clear(&parent.join(name))
}

/// Takes all that lower layers have in a directory away.
fn empty(root: &Path, path: &Path) -> io::Result<()> {
    match plain_dir(root, path)? {
        Some(directory) => super::disk::empty(&directory),
        None => Ok(()),
    }
}

/// A directory below a root, if the way to it leads through directories only.
fn plain_dir(root: &Path, path: &Path) -> io::Result<Option<PathBuf>> {
    let opened = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    match beneath::open_dir(&opened, path) {
        Ok(_) => Ok(Some(root.join(path))),
        Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Removes whatever has a name.
fn clear(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
    }
}

/// Lays a layer's directory over what is there: directories join, everything else replaces.
fn lay_over(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if !entry.file_type()?.is_dir() {
            clear(&target)?;
            rustix::fs::linkat(CWD, &source, CWD, &target, AtFlags::empty())?;
            continue;
        }
        if !fs::symlink_metadata(&target).is_ok_and(|found| found.is_dir()) {
            clear(&target)?;
            fs::create_dir(&target)?;
        }
        lay_over(&source, &target)?;
        fs::set_permissions(&target, entry.metadata()?.permissions())?;
    }
    Ok(())
}

/// Adds the account of tasks to the image's own, where it has any.
fn add_accounts(root: &Path) -> io::Result<()> {
    let Some(etc) = plain_dir(root, Path::new("etc"))? else { return Ok(()) };
    for (name, id, line) in ACCOUNTS {
        let path = etc.join(name);
        let mut text = Vec::new();
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_file() && found.len() <= ACCOUNTS_BYTES_MAX => {
                File::open(&path)?.take(ACCOUNTS_BYTES_MAX).read_to_end(&mut text)?;
            }
            Ok(_) => continue,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        if String::from_utf8_lossy(&text).contains(id) {
            continue;
        }
        if !text.is_empty() && !text.ends_with(b"\n") {
            text.push(b'\n');
        }
        text.extend(line.as_bytes());
        // The layer's own file, to which this may be a link, stays as it is.
        clear(&path)?;
        File::create_new(&path)?.write_all(&text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
    }
    Ok(())
}
