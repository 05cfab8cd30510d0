//! `manta.light` as tasks import it: carried in the agent, written out and compiled once per version and interpreter.
use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::FlockOperation;

use crate::NodeError;

/// Every file of the runtime: path inside `/manta`, content.
const FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/light_files.rs"));
/// The first code that runs in a sandbox.
const BOOT: &[u8] = include_bytes!("boot.py");
/// The first code that runs in a zygote.
const ZYGOTE: &[u8] = include_bytes!("zygote.py");

/// Writes the runtime below a directory, unless it is there already, and answers where it is.
///
/// The bytecode is compiled with unchecked hashes: it holds however the files' times look inside a sandbox.
pub(crate) fn install(
    root: &Path,
    python: &Path,
    in_use: &BTreeSet<String>,
    common: Option<&Path>,
) -> Result<PathBuf, NodeError> {
    let done = root.join(version(python));
    let failed = |path: &Path, error: &io::Error| NodeError::Runtime(format!("`{}`: {error}", path.display()));
    remove_others(root, &done, in_use).map_err(|error| failed(root, &error))?;
    if done.is_dir() {
        return Ok(done);
    }
    let fresh = root.join(format!("new-{}", std::process::id()));
    match common.map(|common| take_from(common, &fresh, python)) {
        Some(Ok(())) => {}
        outcome => {
            if let Some(Err(error)) = outcome {
                tracing::warn!(%error, "`manta.light` is compiled for this agent alone");
            }
            make(&fresh, python)?;
        }
    }
    // Once for each version: under this name a later agent takes it for whole.
    let synced = fs::File::open(&fresh).and_then(|dir| Ok(rustix::fs::syncfs(dir)?));
    synced.map_err(|error| failed(&fresh, &error))?;
    match fs::rename(&fresh, &done) {
        Ok(()) => Ok(done),
        Err(error) => Err(failed(&done, &error)),
    }
}

/// Takes over what the first agent of this machine has made; others wait for it meanwhile.
fn take_from(common: &Path, fresh: &Path, python: &Path) -> Result<(), NodeError> {
    let failed = |error: io::Error| NodeError::Runtime(format!("`{}`: {error}", common.display()));
    DirBuilder::new().recursive(true).mode(0o700).create(common).map_err(failed)?;
    let lock = fs::File::create(common.join("lock")).map_err(failed)?;
    rustix::fs::flock(&lock, FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
    let made = common.join(version(python));
    if !made.is_dir() {
        let new = common.join("new");
        make(&new, python)?;
        rustix::fs::syncfs(&lock).map_err(|error| failed(error.into()))?;
        fs::rename(new, &made).map_err(failed)?;
    }
    copy(&made, fresh).map_err(failed)
}

/// The same files under other names, or copies where those are on another file system: to make a hundred files would delay a start.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::hard_link(entry.path(), &target).or_else(|_| fs::copy(entry.path(), &target).map(drop))?;
        }
    }
    Ok(())
}

fn make(root: &Path, python: &Path) -> Result<(), NodeError> {
    write_all(root).map_err(|error| NodeError::Runtime(format!("`{}`: {error}", root.display())))?;
    compile(root, python)
}

/// Removes what agents of other versions wrote, and what one that was killed left unfinished: only one agent at a time has the
/// directory. What tasks use that outlived the one before stays.
fn remove_others(root: &Path, done: &Path, in_use: &BTreeSet<String>) -> io::Result<()> {
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let path = entry.path();
        if path != done && !entry.file_name().to_str().is_some_and(|name| in_use.contains(name)) {
            fs::remove_dir_all(path)?;
        }
    }
    Ok(())
}

/// The digest of all that the directory's content depends on.
fn version(python: &Path) -> String {
    let mut hasher = blake3::Hasher::new();
    for (name, content) in FILES.iter().chain(&[("boot.py", BOOT), ("zygote.py", ZYGOTE)]) {
        hasher.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes());
        hasher.update(&(content.len() as u64).to_le_bytes()).update(content);
    }
    hasher.update(python.as_os_str().as_encoded_bytes());
    hasher.finalize().to_hex()[..32].to_owned()
}

fn write_all(root: &Path) -> io::Result<()> {
    if root.exists() {
        fs::remove_dir_all(root)?;
    }
    for (name, content) in FILES.iter().chain(&[("boot.py", BOOT), ("zygote.py", ZYGOTE)]) {
        let path = root.join(name);
        DirBuilder::new().recursive(true).mode(0o755).create(path.parent().unwrap_or(root))?;
        fs::write(path, content)?;
    }
    Ok(())
}

fn compile(root: &Path, python: &Path) -> Result<(), NodeError> {
    let run = Command::new(python)
        .args(["-I", "-m", "compileall", "--invalidation-mode", "unchecked-hash", "-q"])
        .args(["-s"])
        .arg(root)
        .args(["-p", "/manta"])
        .arg(root)
        .stdin(Stdio::null())
        .output();
    let output = run.map_err(|error| NodeError::Runtime(format!("`{}` does not start: {error}", python.display())))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stdout).trim().chars().take(400).collect::<String>();
    Err(NodeError::Runtime(format!("`{}` does not compile manta.light: {said}", python.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runtime_is_written_and_compiled_once() {
        let dir = tempfile::tempdir().unwrap();
        let python = Path::new("/usr/bin/env").with_file_name("python3");
        let python = if python.exists() { python } else { PathBuf::from("python3") };
        let first = install(dir.path(), &python, &BTreeSet::new(), None).unwrap();
        for file in ["boot.py", "manta/__init__.py", "manta/light/__init__.py"] {
            assert!(first.join(file).is_file(), "{file}");
        }
        assert!(first.join("manta/light/__pycache__").is_dir());
        fs::write(first.join("mark"), b"").unwrap();
        for left in ["new-1/manta", "0123456789abcdef"] {
            fs::create_dir_all(dir.path().join(left)).unwrap();
        }
        assert_eq!(install(dir.path(), &python, &BTreeSet::new(), None).unwrap(), first);
        assert!(first.join("mark").exists());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "what others left is gone");
    }

    #[test]
    fn agents_of_one_machine_compile_it_once() {
        let dir = tempfile::tempdir().unwrap();
        let (common, python) = (dir.path().join("common"), Path::new("python3"));
        let mut seen = Vec::new();
        for agent in ["a", "b"] {
            let root = dir.path().join(agent);
            fs::create_dir(&root).unwrap();
            let light = install(&root, python, &BTreeSet::new(), Some(&common)).unwrap();
            assert!(light.join("manta/light/__pycache__").is_dir());
            seen.push(light.join("mark").exists());
            fs::write(common.join(version(python)).join("mark"), b"").unwrap();
        }
        assert_eq!(seen, [false, true], "the second one has what the first one made");
    }
}
