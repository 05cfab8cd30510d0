//! What the host's interpreter told of itself, kept while nothing changes that it looked at: all agents of a machine ask the same.
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use manta_sandbox::{ImageError, InterpreterAnswer};
use serde::{Deserialize, Serialize};

use crate::home::private_dir;
use crate::host::own_program;

/// How long before the question everything must have been as it was found after it: clocks of file systems are coarse.
const STILL_FOR: Duration = Duration::from_secs(2);

/// An answer, and what it depends on.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// The agent that asked: another one may ask for more.
    program: String,
    consulted: BTreeMap<PathBuf, Option<Stamp>>,
    answer: InterpreterAnswer,
}

/// What tells one state of a file from another: device, inode, size, and when it was last changed in any way, which nobody sets.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp(u64, u64, u64, i64, i64);

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let file = fs::metadata(path).ok()?;
        Some(Self(file.dev(), file.ino(), file.size(), file.ctime(), file.ctime_nsec()))
    }
}

/// What an interpreter tells, or told when it was asked from this folder before.
///
/// # Errors
/// Those of [`InterpreterAnswer::ask`].
pub(super) fn ask(python: &Path, folder: Option<&Path>) -> Result<InterpreterAnswer, ImageError> {
    ask_at(python, folder, SystemTime::now())
}

fn ask_at(python: &Path, folder: Option<&Path>, begun: SystemTime) -> Result<InterpreterAnswer, ImageError> {
    // A bare name is looked up in `PATH`, and may stand for another interpreter the next time.
    let Some(folder) = folder.filter(|_| python.is_absolute()) else { return InterpreterAnswer::ask(python) };
    let file = folder.join(format!("{}.json", &blake3::hash(python.as_os_str().as_encoded_bytes()).to_hex()[..32]));
    if let Some(answer) = kept(&file) {
        return Ok(answer);
    }
    let answer = InterpreterAnswer::ask(python)?;
    // A version manager's shim answers by the directory and the environment that it is called in.
    let is_itself =
        fs::canonicalize(python).is_ok_and(|own| fs::canonicalize(answer.executable()).is_ok_and(|real| real == own));
    let paths = answer.consulted().iter().map(PathBuf::as_path).chain([python]);
    let consulted = paths.map(|path| (path.to_owned(), Stamp::of(path))).collect();
    if is_itself && were_still(&consulted, begun) {
        let kept = Kept { program: own_program(), consulted, answer: answer.clone() };
        if let Err(error) = keep(&file, &kept) {
            tracing::debug!(%error, file = %file.display(), "what the interpreter told cannot be kept");
        }
    }
    Ok(answer)
}

fn kept(file: &Path) -> Option<InterpreterAnswer> {
    let kept: Kept = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
    let is_same = kept.program == own_program() && kept.consulted.iter().all(|(path, stamp)| Stamp::of(path) == *stamp);
    is_same.then_some(kept.answer)
}

/// Whether all of it was last changed well before that moment.
fn were_still(consulted: &BTreeMap<PathBuf, Option<Stamp>>, moment: SystemTime) -> bool {
    let moment = moment.duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(STILL_FOR);
    let moment = i64::try_from(moment.as_secs()).unwrap_or(i64::MAX);
    consulted.values().flatten().all(|Stamp(_, _, _, changed, _)| *changed < moment)
}

/// Replaces the file at once: other agents read and write it too. It is not synced, as what is lost is asked again.
fn keep(file: &Path, kept: &Kept) -> io::Result<()> {
    let folder = file.parent().unwrap_or(file);
    private_dir(folder)?;
    let fresh = file.with_extension(std::process::id().to_string());
    fs::write(&fresh, serde_json::to_vec(kept)?).and_then(|()| fs::rename(&fresh, file)).inspect_err(|_| {
        // It was not made, or is in nobody's way.
        let _ = fs::remove_file(&fresh);
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;

    use super::*;

    /// An interpreter that nobody else changes.
    fn interpreter(dir: &Path) -> PathBuf {
        let own = dir.join("venv");
        let made = Command::new("/usr/bin/python3").args(["-m", "venv", "--without-pip"]).arg(&own).status();
        assert!(made.unwrap().success());
        own.join("bin/python")
    }

    /// Long after all that the test made.
    fn later() -> SystemTime {
        SystemTime::now() + Duration::from_secs(3600)
    }

    fn files(folder: &Path) -> Vec<PathBuf> {
        fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
    }

    /// Makes what is kept recognisable.
    fn mark(folder: &Path) {
        let [file] = &files(folder)[..] else { panic!("one answer is kept") };
        let mut kept: serde_json::Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        kept["answer"]["platform"] = "marked".into();
        fs::write(file, kept.to_string()).unwrap();
    }

    fn is_marked(answer: &InterpreterAnswer) -> bool {
        serde_json::to_value(answer).unwrap()["platform"] == "marked"
    }

    #[test]
    fn an_interpreter_is_asked_again_when_its_packages_change() {
        let dir = tempfile::tempdir().unwrap();
        let (python, folder) = (interpreter(dir.path()), dir.path().join("kept"));
        let ask = || ask_at(&python, Some(&folder), later()).unwrap();
        let first = ask();
        assert_eq!(ask(), first);
        mark(&folder);
        assert!(is_marked(&ask()), "it is not asked again");
        let site =
            first.consulted().iter().find(|path| path.ends_with("site-packages") && path.starts_with(dir.path()));
        fs::create_dir(site.unwrap().join("new-1.0.dist-info")).unwrap();
        assert!(!is_marked(&ask()), "a package came");
        mark(&folder);
        fs::write(dir.path().join("venv/pyvenv.cfg"), "home = /usr/bin\n").unwrap();
        assert!(!is_marked(&ask()), "it is configured anew");
    }

    #[test]
    fn what_may_change_unseen_is_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (python, folder) = (interpreter(dir.path()), dir.path().join("kept"));
        ask_at(&python, Some(&folder), SystemTime::now()).unwrap();
        assert_eq!(files(&folder), Vec::<PathBuf>::new(), "it was made a moment ago");
        ask_at(Path::new("python3"), Some(&folder), later()).unwrap();
        let shim = dir.path().join("python");
        fs::write(&shim, format!("#!/bin/sh\nexec {} \"$@\"\n", python.display())).unwrap();
        fs::set_permissions(&shim, fs::Permissions::from_mode(0o755)).unwrap();
        ask_at(&shim, Some(&folder), later()).unwrap();
        assert_eq!(files(&folder), Vec::<PathBuf>::new());
        ask_at(&python, Some(&folder), later()).unwrap();
        fs::write(&files(&folder)[0], "{").unwrap();
        ask_at(&python, Some(&folder), later()).unwrap();
        assert_eq!(files(&folder).len(), 1, "what cannot be read is written anew");
    }
}
