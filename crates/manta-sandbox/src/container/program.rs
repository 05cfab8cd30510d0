//! The entry as containers start it: this program's own file, with the loader and the libraries that it runs on.
//!
//! So it runs in any image of this machine's architecture, whichever C library the image has, or none.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where a container has it.
pub(super) const TARGET: &str = "/.manta/entry";

/// What is written out, and how a container starts it.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// The directory to mount at [`TARGET`].
    pub(super) dir: PathBuf,
    /// The container's command, without the door.
    pub(super) argv: Vec<String>,
}

impl Entry {
    /// Writes a program and what it needs into a fresh directory. Blocks.
    pub(super) fn install(dir: &Path, program: &Path, args: &[String]) -> io::Result<Self> {
        if dir.exists() {
            fs::remove_dir_all(dir)?;
        }
        for made in [dir, &dir.join("lib")] {
            DirBuilder::new().recursive(true).create(made)?;
            // A task's uid is nobody's here, and this process's umask may take away what everybody needs.
            open_to_all(made)?;
        }
        copy(program, &dir.join("program"))?;
        let needed = needed(program)?;
        for library in &needed.libraries {
            copy(&library.path, &dir.join("lib").join(&library.name))?;
        }
        let inside = |name: &str| format!("{TARGET}/{name}");
        let mut argv = Vec::new();
        if let Some(loader) = &needed.loader {
            copy(loader, &dir.join("loader"))?;
            argv.extend([inside("loader"), "--library-path".to_owned(), inside("lib")]);
        }
        argv.push(inside("program"));
        argv.extend(args.iter().cloned());
        Ok(Self { dir: dir.to_owned(), argv })
    }
}

struct Needed {
    /// `None` for a program that is linked statically.
    loader: Option<PathBuf>,
    libraries: Vec<Library>,
}

struct Library {
    /// As the program asks for it.
    name: String,
    path: PathBuf,
}

/// Asks the loader what a program needs.
fn needed(program: &Path) -> io::Result<Needed> {
    let mut command = Command::new(program);
    command.env_clear().env("LD_TRACE_LOADED_OBJECTS", "1").stdin(Stdio::null());
    let output = command.output()?;
    Ok(parse(&String::from_utf8_lossy(&output.stdout)))
}

/// Reads lines such as `libc.so.6 => /lib/libc.so.6 (0x7f…)` and `/lib64/ld-linux-x86-64.so.2 (0x7f…)`.
fn parse(told: &str) -> Needed {
    let mut needed = Needed { loader: None, libraries: Vec::new() };
    for line in told.lines() {
        let line = line.trim();
        let line = line.rsplit_once(" (0x").map_or(line, |(line, _)| line);
        match line.split_once(" => ") {
            Some((name, path)) if path.starts_with('/') && !name.contains('/') => {
                needed.libraries.push(Library { name: name.to_owned(), path: path.into() });
            }
            // Older loaders say where they lie by an arrow, too.
            Some((name, path)) if name.starts_with('/') && path.starts_with('/') => needed.loader = Some(path.into()),
            None if line.starts_with('/') => needed.loader = Some(line.into()),
            _ => {}
        }
    }
    needed
}

/// Copies a file so that everybody may read and run it.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::copy(from, to)?;
    open_to_all(to)
}

/// Lets everybody read and run a file, or enter a directory.
fn open_to_all(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_loader_tells_is_read() {
        let needed = parse(
            "\tlinux-vdso.so.1 (0x00007ffd8a9f0000)\n\tlibgcc_s.so.1 => /lib/x86_64-linux-gnu/libgcc_s.so.1 (0x00007f1)\n\
             \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f2)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f3)\n",
        );
        assert_eq!(needed.loader.as_deref(), Some(Path::new("/lib64/ld-linux-x86-64.so.2")));
        let names: Vec<&str> = needed.libraries.iter().map(|library| library.name.as_str()).collect();
        assert_eq!(names, ["libgcc_s.so.1", "libc.so.6"]);
        assert!(parse("\tstatically linked\n").loader.is_none());
    }

    #[test]
    fn an_installed_program_runs_by_its_own_loader_and_libraries() {
        let dir = tempfile::tempdir().unwrap();
        let entry = Entry::install(&dir.path().join("entry"), Path::new("/bin/echo"), &["here".to_owned()]).unwrap();
        let here = |text: &String| text.replace(TARGET, entry.dir.to_str().unwrap());
        let argv: Vec<String> = entry.argv.iter().map(here).collect();
        let output = Command::new(&argv[0]).args(&argv[1..]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "here\n", "{argv:?}");
    }

    #[test]
    fn everybody_may_run_it_whatever_the_umask() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("entry");
        let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
        let installed = Entry::install(&dir, Path::new("/bin/echo"), &[]);
        rustix::process::umask(before);
        installed.unwrap();
        for made in [dir.clone(), dir.join("lib"), dir.join("program"), dir.join("loader")] {
            let mode = fs::metadata(&made).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o755, "{}", made.display());
        }
    }
}
