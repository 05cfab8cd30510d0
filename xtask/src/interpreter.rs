//! Finding a Python that the environment can be made from.

use crate::command::{clean, every_on_path, quiet_output};
use crate::failure::Failure;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The oldest Python that Manta supports, and the newest that the pinned packages have wheels for.
const OLDEST: (u32, u32) = (3, 10);
const NEWEST: (u32, u32) = (3, 14);

/// Prints what [`probe`] reads: implementation, version, whether `venv`, `ensurepip` and `pip` work, and the base interpreter.
const PROBE: &str = "
import sys
def works(name, call):
    try:
        module = __import__(name)
        if call:
            module.version()
        return 1
    except Exception:
        return 0
print(sys.implementation.name, *sys.version_info[:3], works('venv', False), works('ensurepip', True), works('pip', False))
print(getattr(sys, '_base_executable', None) or sys.executable)
";

/// One Python on this machine and what it can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interpreter {
    pub(crate) path: PathBuf,
    pub(crate) version: (u32, u32, u32),
    pub(crate) has_venv: bool,
    /// Debian and Ubuntu ship it apart, in `python3-venv`.
    pub(crate) has_ensurepip: bool,
    pub(crate) has_pip: bool,
}

impl Interpreter {
    /// The first Python on `PATH` for which every pinned package has a wheel; else the first that is new enough.
    pub(crate) fn find() -> Result<Self, Failure> {
        let names = std::iter::once("python3".to_string())
            .chain((OLDEST.1..=NEWEST.1).rev().map(|minor| format!("python3.{minor}")));
        let mut newer = None;
        let mut seen = Vec::new();
        for path in names.flat_map(|name| every_on_path(&name)) {
            let found = match probe(&path) {
                Some(found) => found,
                None => continue,
            };
            let release = (found.version.0, found.version.1);
            if release < OLDEST {
                seen.push(format!("`{}` is {}.{}", path.display(), release.0, release.1));
            } else if release <= NEWEST {
                return Ok(found);
            } else {
                newer = newer.or(Some(found));
            }
        }
        newer.ok_or_else(|| none_found(&seen))
    }

    /// `3.11.2`
    pub(crate) fn version_text(&self) -> String {
        format!("{}.{}.{}", self.version.0, self.version.1, self.version.2)
    }
}

fn none_found(seen: &[String]) -> Failure {
    let seen = if seen.is_empty() { String::new() } else { format!(": {}", seen.join(", ")) };
    Failure::new(format!("Manta needs Python {}.{} or newer, and found none on PATH{seen}", OLDEST.0, OLDEST.1))
        .hint("on Debian and Ubuntu: `sudo apt-get install python3`")
}

/// Asks a Python about itself. Of a virtual environment's, the interpreter it was made from is taken, so that ours does not
/// depend on that environment. `None` where it does not run or is another implementation than CPython.
pub(crate) fn probe(path: &Path) -> Option<Interpreter> {
    let (found, base) = ask(path)?;
    if base == found.path {
        return Some(found);
    }
    ask(&base).map(|(found, _)| found).or(Some(found))
}

fn ask(path: &Path) -> Option<(Interpreter, PathBuf)> {
    let mut command = Command::new(path);
    clean(&mut command);
    parse(path, &quiet_output(command.args(["-I", "-c", PROBE]))?)
}

fn parse(path: &Path, printed: &str) -> Option<(Interpreter, PathBuf)> {
    let (facts, base) = printed.split_once('\n')?;
    let (implementation, numbers) = facts.split_once(' ')?;
    let numbers: Vec<u32> = numbers.split(' ').map(|word| word.parse().ok()).collect::<Option<_>>()?;
    let found = match numbers.as_slice() {
        [major, minor, micro, venv, ensurepip, pip] if implementation == "cpython" => Interpreter {
            path: path.to_path_buf(),
            version: (*major, *minor, *micro),
            has_venv: *venv == 1,
            has_ensurepip: *ensurepip == 1,
            has_pip: *pip == 1,
        },
        _ => return None,
    };
    Some((found, PathBuf::from(base.trim_end_matches('\n'))))
}

#[cfg(test)]
mod tests {
    use super::parse;
    use std::path::{Path, PathBuf};

    #[test]
    fn a_debian_python_without_ensurepip_is_understood() {
        let (found, base) = parse(Path::new("/usr/bin/python3"), "cpython 3 11 2 1 0 1\n/usr/bin/python3\n")
            .expect("it is well formed");
        assert_eq!(found.version_text(), "3.11.2");
        assert!(found.has_venv && !found.has_ensurepip && found.has_pip);
        assert_eq!(base, PathBuf::from("/usr/bin/python3"));
    }

    #[test]
    fn other_implementations_are_passed_over() {
        assert_eq!(parse(Path::new("/usr/bin/pypy3"), "pypy 3 11 2 1 1 1\n/usr/bin/pypy3\n"), None);
    }
}
