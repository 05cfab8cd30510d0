//! Collects the directories, files and symbolic links that make some paths work in another root directory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::system::system_directories;
use crate::Link;

/// Links followed for one path before giving up, as the kernel does.
const LINKS_MAX: usize = 40;

/// Paths collected so far; a directory covers everything below it.
pub(super) struct Closure {
    directories: BTreeSet<PathBuf>,
    files: BTreeSet<PathBuf>,
    links: BTreeMap<PathBuf, PathBuf>,
}

impl Closure {
    /// The system directories.
    pub(super) fn of_system() -> Self {
        let (directories, links) = system_directories();
        Self {
            directories: directories.into_iter().collect(),
            files: BTreeSet::new(),
            links: links.into_iter().map(|link| (link.path, link.to)).collect(),
        }
    }

    /// Whether a real path is in reach already.
    pub(super) fn covers(&self, path: &Path) -> bool {
        path.ancestors().any(|ancestor| self.directories.contains(ancestor))
    }

    /// Makes a directory reachable under the path given and its real one.
    pub(super) fn add_tree(&mut self, path: &Path) -> io::Result<()> {
        let real = self.follow(path)?;
        if !self.covers(&real) {
            self.directories.insert(real);
        }
        Ok(())
    }

    /// Makes a file reachable under the path given and its real one.
    pub(super) fn add_file(&mut self, path: &Path) -> io::Result<()> {
        let real = self.follow(path)?;
        if !self.covers(&real) {
            self.files.insert(real);
        }
        Ok(())
    }

    /// Directories that no other covers, files, and links.
    pub(super) fn finish(self) -> (Vec<PathBuf>, Vec<PathBuf>, Vec<Link>) {
        let covered = |path: &Path| path.ancestors().skip(1).any(|ancestor| self.directories.contains(ancestor));
        let directories = self.directories.iter().filter(|path| !covered(path)).cloned().collect();
        let files = self.files.iter().filter(|path| !covered(path)).cloned().collect();
        let links = self.links.iter().filter(|(path, _)| !covered(path));
        let links = links.map(|(path, to)| Link { path: path.clone(), to: to.clone() }).collect();
        (directories, files, links)
    }

    /// The real path behind `path`; every link on the way that lies in no collected directory is collected.
    fn follow(&mut self, path: &Path) -> io::Result<PathBuf> {
        let mut real = PathBuf::from("/");
        let mut rest: Vec<PathBuf> = components(path);
        let mut followed = 0;
        while let Some(component) = rest.pop() {
            if component == Path::new("..") {
                real.pop();
                continue;
            }
            let next = real.join(&component);
            let Ok(to) = fs::read_link(&next) else {
                fs::symlink_metadata(&next)?;
                real = next;
                continue;
            };
            followed += 1;
            if followed > LINKS_MAX {
                return Err(io::Error::from_raw_os_error(libc::ELOOP));
            }
            if to.is_absolute() {
                real = PathBuf::from("/");
            }
            rest.extend(components(&to));
            if !self.covers(&next) {
                self.links.insert(next, to);
            }
        }
        Ok(real)
    }
}

/// The named and parent components of a path, last first.
fn components(path: &Path) -> Vec<PathBuf> {
    let wanted = |component: &Component<'_>| matches!(component, Component::Normal(_) | Component::ParentDir);
    let mut list: Vec<PathBuf> =
        path.components().filter(wanted).map(|component| PathBuf::from(component.as_os_str())).collect();
    list.reverse();
    list
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn chain_of_links_to_an_interpreter_is_collected_whole() {
        let dir = tempfile::tempdir().unwrap();
        let base = fs::canonicalize(dir.path()).unwrap();
        fs::create_dir_all(base.join("versions/3.11.9/bin")).unwrap();
        fs::write(base.join("versions/3.11.9/bin/python3.11"), "").unwrap();
        symlink("3.11.9", base.join("versions/3.11")).unwrap();
        fs::create_dir_all(base.join("venv/bin")).unwrap();
        symlink(base.join("versions/3.11/bin/python3.11"), base.join("venv/bin/python")).unwrap();

        let mut closure = Closure::of_system();
        closure.add_tree(&base.join("venv")).unwrap();
        closure.add_tree(&base.join("versions/3.11")).unwrap();
        closure.add_file(&base.join("venv/bin/python")).unwrap();
        let (directories, files, links) = closure.finish();
        assert!(directories.contains(&base.join("venv")));
        assert!(directories.contains(&base.join("versions/3.11.9")));
        assert!(files.is_empty(), "{files:?}");
        let link = links.iter().find(|link| link.path == base.join("versions/3.11")).unwrap();
        assert_eq!(link.to, Path::new("3.11.9"));
        assert!(
            !links.iter().any(|link| link.path.starts_with(base.join("venv"))),
            "links inside mounts are there anyway"
        );
    }

    #[test]
    fn directories_inside_others_and_system_paths_are_not_mounted_twice() {
        let dir = tempfile::tempdir().unwrap();
        let base = fs::canonicalize(dir.path()).unwrap();
        fs::create_dir_all(base.join("lib/site")).unwrap();
        let mut closure = Closure::of_system();
        closure.add_tree(&base.join("lib/site")).unwrap();
        closure.add_tree(&base).unwrap();
        closure.add_tree(Path::new("/usr/bin")).unwrap();
        let (directories, _, _) = closure.finish();
        assert!(directories.contains(&base));
        assert!(!directories.contains(&base.join("lib/site")));
        assert!(!directories.contains(&PathBuf::from("/usr/bin")));
    }

    #[test]
    fn circular_links_end_in_an_error() {
        let dir = tempfile::tempdir().unwrap();
        symlink(dir.path().join("b"), dir.path().join("a")).unwrap();
        symlink(dir.path().join("a"), dir.path().join("b")).unwrap();
        assert!(Closure::of_system().add_tree(&dir.path().join("a")).is_err());
    }
}
