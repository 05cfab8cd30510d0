//! The files of an image before it is packed: one directory for each layer, the interpreter below and the packages above.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::inside;
use super::interpreter::Interpreter;

/// Parts of the standard library that no task needs: tests, windows, what builds and installs.
const LEFT_OUT: [&str; 8] =
    ["ensurepip", "idlelib", "lib2to3", "site-packages", "dist-packages", "test", "tkinter", "turtledemo"];
/// Beginnings of the same: static libraries, and extension modules of those parts.
const LEFT_OUT_BEGINNINGS: [&str; 4] = ["config-", "_test", "_tkinter", "_ctypes_test"];
/// Compiled Python, which is made anew.
const COMPILED: &str = "__pycache__";
/// Links that merged systems have in their root directory.
const ROOT_LINKS: [&str; 6] = ["bin", "lib", "lib32", "lib64", "libx32", "sbin"];
/// A locale that C libraries read from a directory.
const LOCALE: &str = "/usr/lib/locale/C.utf8";
/// Small files that programs look for.
const TEXTS: [(&str, &str); 3] = [
    ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\ntask:x:1000:1000:task:/tmp:/bin/sh\n"),
    ("etc/group", "root:x:0:\ntask:x:1000:\n"),
    ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"),
];
/// Directories that are mounted over, or written to.
const EMPTY: [&str; 7] = ["code", "data", "dev", "manta", "proc", "sys", "tmp"];

/// Two layers in the making.
pub(super) struct Stage<'a> {
    pub(super) interpreter: &'a Interpreter,
    pub(super) base: PathBuf,
    pub(super) packages: PathBuf,
}

impl<'a> Stage<'a> {
    /// In an empty directory.
    pub(super) fn new(work: &Path, interpreter: &'a Interpreter) -> io::Result<Self> {
        let stage = Self { interpreter, base: work.join("base"), packages: work.join("packages") };
        fs::create_dir_all(&stage.base)?;
        fs::create_dir_all(&stage.packages)?;
        Ok(stage)
    }

    /// The program, its names, and the standard library.
    pub(super) fn add_interpreter(&self) -> io::Result<()> {
        let python = self.interpreter;
        let bin = self.base.join(inside(&python.new_prefix())).join("bin");
        fs::create_dir_all(&bin)?;
        fs::copy(&python.executable, bin.join(python.name()))?;
        for name in ["python3", "python"] {
            symlink(python.name(), bin.join(name))?;
        }
        let library = self.base.join(inside(&python.moved(&python.library)));
        copy_tree(&python.library, &library, true)
    }

    /// The files of all packages, below the directory in which the interpreter looks for them.
    pub(super) fn add_packages(&self) -> io::Result<()> {
        let site = self.packages.join(inside(&self.interpreter.site()));
        for (from, to) in self.interpreter.packages.values().flat_map(|package| &package.files) {
            let to = site.join(to);
            if let Some(parent) = to.parent() {
                fs::create_dir_all(parent)?;
            }
            // A list of files may name some that are gone.
            if from.is_file() {
                copy_file(from, &to)?;
            }
        }
        Ok(())
    }

    /// Compiles all Python, so that nothing is compiled in a task.
    pub(super) fn compile(&self) -> Result<(), String> {
        let python = &self.interpreter.executable;
        for layer in [&self.base, &self.packages] {
            let run = Command::new(python)
                .args(["-B", "-s", "-m", "compileall", "-q", "-j", "0", "--invalidation-mode", "unchecked-hash"])
                .arg("-s")
                .arg(layer)
                .args(["-p", "/"])
                .arg(layer)
                .env_clear()
                // Sets are written in the order of their hashes.
                .env("PYTHONHASHSEED", "0")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            // Packages hold files that are no Python of this version; what cannot be compiled cannot be imported.
            run.map_err(|error| format!("`{}` cannot be run: {error}", python.display()))?;
        }
        Ok(())
    }

    /// What any root directory has.
    pub(super) fn add_system(&self) -> io::Result<()> {
        for name in ROOT_LINKS {
            if let Ok(to) = fs::read_link(Path::new("/").join(name)) {
                fs::create_dir_all(self.base.join(inside(&to)))?;
                symlink(inside(&to), self.base.join(name))?;
            }
        }
        for name in EMPTY {
            fs::create_dir_all(self.base.join(name))?;
        }
        for (name, text) in TEXTS {
            let path = self.base.join(name);
            fs::create_dir_all(path.parent().unwrap_or(&self.base))?;
            fs::write(path, text)?;
        }
        if Path::new(LOCALE).is_dir() {
            copy_tree(Path::new(LOCALE), &self.base.join(inside(Path::new(LOCALE))), false)?;
        }
        let usual = self.base.join("usr/bin/python3");
        if !usual.exists() {
            fs::create_dir_all(self.base.join("usr/bin"))?;
            symlink(self.interpreter.new_prefix().join("bin/python3"), usual)?;
        }
        Ok(())
    }
}

/// Whether a file or directory of the standard library is not needed.
pub(super) fn is_left_out(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    LEFT_OUT.contains(&name.as_ref()) || LEFT_OUT_BEGINNINGS.iter().any(|start| name.starts_with(start))
}

/// Copies a directory; of the standard library only what tasks need.
fn copy_tree(from: &Path, to: &Path, is_library: bool) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_name() == COMPILED || (is_library && is_left_out(&source)) {
            continue;
        }
        // Links are followed: some systems keep single modules elsewhere.
        match fs::metadata(&source) {
            Ok(found) if found.is_dir() => copy_tree(&source, &target, is_library)?,
            Ok(found) if found.is_file() => copy_file(&source, &target)?,
            _ => {}
        }
    }
    Ok(())
}

/// Copies a file, and its right to be run.
pub(super) fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    fs::copy(from, to).map(drop).map_err(|error| io::Error::new(error.kind(), format!("`{}`: {error}", from.display())))
}
