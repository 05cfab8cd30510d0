//! System libraries that programs and extension modules load, as the system's own loader finds them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::inside;
use super::stage::{Stage, copy_file};

/// Files asked about at a time.
const BATCH: usize = 200;
/// Loaded by name when a thread ends, so no file says that it is needed.
const UNSAID: &str = "libgcc_s.so.1";
/// Directories in which loaders look by themselves, and in those of a platform below.
const USUAL: [&str; 4] = ["/lib", "/lib64", "/usr/lib", "/usr/lib64"];
/// Where all others go; an image that has any sets `LD_LIBRARY_PATH`.
pub(super) const OTHERS: &str = "/usr/local/lib";

/// Adds all libraries to the lowest layer that needs them; answers whether any had to go where no loader looks by itself.
pub(super) fn add(stage: &Stage<'_>) -> io::Result<bool> {
    let python = stage.interpreter;
    let packaged: BTreeSet<&Path> =
        python.packages.values().flat_map(|package| &package.files).map(|(from, _)| from.as_path()).collect();
    let mut own = vec![python.executable.clone()];
    shared_objects(&python.library, &mut own)?;
    let theirs: Vec<PathBuf> = packaged.iter().filter(|path| is_shared_object(path)).map(PathBuf::from).collect();
    let mut placed = BTreeSet::new();
    let mut has_others = false;
    for (layer, files) in [(&stage.base, own), (&stage.packages, theirs)] {
        let mut found = needed(&files)?;
        if let Some(beside) = found.get("libc.so.6").and_then(|libc| libc.parent()).map(|dir| dir.join(UNSAID)) {
            found.insert(UNSAID.to_owned(), beside);
        }
        for (name, path) in found {
            let real = fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
            // One that a package brings lies beside the module that loads it.
            if packaged.contains(real.as_path()) || !path.is_file() || !placed.insert(name) {
                continue;
            }
            let place = place(&path);
            has_others |= place.starts_with(OTHERS);
            let target = layer.join(inside(&place));
            target.parent().map_or(Ok(()), fs::create_dir_all)?;
            copy_file(&path, &target)?;
        }
    }
    Ok(has_others)
}

/// Libraries by name, with the path at which the loader finds each. What is missing here is missing there.
fn needed(files: &[PathBuf]) -> io::Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    for batch in files.chunks(BATCH) {
        let output = Command::new("ldd").args(batch).env("LC_ALL", "C").stdin(Stdio::null()).output();
        let output = output.map_err(|error| io::Error::other(format!("`ldd` cannot be run: {error}")))?;
        found.extend(String::from_utf8_lossy(&output.stdout).lines().filter_map(library));
    }
    Ok(found)
}

/// Reads a line of `ldd`: `libm.so.6 => /lib/libm.so.6 (0x…)`, or the loader by its path alone.
fn library(line: &str) -> Option<(String, PathBuf)> {
    let (told, _) = line.trim().split_once(" (0x")?;
    let path = PathBuf::from(told.split_once(" => ").map_or(told, |(_, path)| path));
    let name = path.file_name()?.to_str()?.to_owned();
    path.is_absolute().then_some((name, path))
}

/// Where a library lies in an image.
fn place(path: &Path) -> PathBuf {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return path.to_owned() };
    let parent = fs::canonicalize(parent).unwrap_or_else(|_| parent.to_owned());
    let platform = |dir: &Path| dir.file_name().is_some_and(|name| name.to_string_lossy().contains("-linux-"));
    let is_usual = |dir: &Path| USUAL.iter().any(|usual| dir == Path::new(usual));
    let usual = is_usual(&parent) || (platform(&parent) && parent.parent().is_some_and(is_usual));
    if usual { parent.join(name) } else { Path::new(OTHERS).join(name) }
}

fn is_shared_object(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().contains(".so"))
}

/// Extension modules of the standard library.
fn shared_objects(library: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    let modules = library.join("lib-dynload");
    if modules.is_dir() {
        let entries = fs::read_dir(modules)?.flatten().map(|entry| entry.path());
        found.extend(entries.filter(|path| is_shared_object(path) && !super::stage::is_left_out(path)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_loader_are_read() {
        let read = |line: &str| library(line).map(|(_, path)| path);
        assert_eq!(read("\tlibm.so.6 => /lib/libm.so.6 (0x00007f)"), Some("/lib/libm.so.6".into()));
        assert_eq!(read("\t/lib64/ld-linux-x86-64.so.2 (0x00007f)"), Some("/lib64/ld-linux-x86-64.so.2".into()));
        for other in
            ["\tlinux-vdso.so.1 (0x00007ffc)", "\tlibcuda.so.1 => not found", "/bin/true:", "\tstatically linked"]
        {
            assert_eq!(read(other), None, "{other}");
        }
    }

    #[test]
    fn libraries_from_elsewhere_are_put_where_the_image_looks() {
        assert_eq!(place(Path::new("/nowhere/lib/libx.so.1")), Path::new("/usr/local/lib/libx.so.1"));
        assert!(USUAL.iter().any(|usual| place(Path::new("/lib64/libx.so.1")).starts_with(usual)));
    }
}
