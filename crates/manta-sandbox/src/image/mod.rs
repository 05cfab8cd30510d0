//! The host's own Python as an image: which read-only paths an interpreter needs, found by asking it once.

mod closure;
mod system;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::{Link, Mount, MountAccess};
use closure::Closure;

pub(crate) use system::system_directories;

/// Oldest interpreter that can run tasks.
const VERSION_MIN: (u32, u32, u32) = (3, 9, 0);

/// Prints what [`InterpreterAnswer`] reads; isolated, so that neither environment nor user directories count. It reads the heads of the
/// distributions' metadata itself: importing `importlib.metadata` takes longer than all the rest.
const QUESTION: &str = r#"
import json, os, site, sys, sysconfig

read = []
METADATA = {".dist-info": "METADATA", ".egg-info": "PKG-INFO"}

def listed(place):
    try:
        return sorted(os.listdir(place))
    except OSError:
        return []

def distributions():
    for place in reversed(sys.path):
        for entry in listed(place):
            file = METADATA.get(os.path.splitext(entry)[1])
            if file:
                path = os.path.join(place, entry)
                yield head(os.path.join(path, file) if os.path.isdir(path) else path)

def head(path):
    read.append(path)
    said = {}
    try:
        with open(path, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                key, colon, value = line.partition(": ")
                if not colon or len(said) == 2:
                    break
                if key in ("Name", "Version"):
                    said.setdefault(key, value.strip())
    except OSError:
        pass
    return said

paths = sysconfig.get_paths()
sites = {paths["purelib"], paths["platlib"], *site.getsitepackages()}
custom = getattr(sys.modules.get("sitecustomize"), "__file__", None)
with open("/proc/self/maps") as maps:
    libc = {line.split(maxsplit=5)[5].strip() for line in maps if "/libc" in line or "/ld-musl" in line}
try:
    library = "manylinux_" + os.confstr("CS_GNU_LIBC_VERSION").split()[1].replace(".", "_")
except (ValueError, AttributeError, IndexError, OSError):
    library = "musllinux_1_2" if "musl" in str(sysconfig.get_config_var("SOABI")) else "unknown"
installed = {said["Name"]: said["Version"] for said in distributions() if len(said) == 2}
print(json.dumps({
    "platform": os.uname().machine + "-" + library,
    "distributions": installed,
    "version": list(sys.version_info[:3]),
    "executable": sys.executable,
    "prefixes": sorted({sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix}),
    "libraries": [paths[key] for key in ("stdlib", "platstdlib")],
    "sites": sorted(sites),
    "consulted": sorted({sys.executable, os.path.join(sys.prefix, "pyvenv.cfg"), *filter(None, [custom, *sys.path])}
        | {*sites, *libc, *read} | {os.path.join(place, entry) for place in sys.path for entry in listed(place) if entry.endswith(".pth")}),
}))
"#;

/// A Python of this host, with the paths it needs in a sandbox.
#[derive(Debug, Clone)]
pub struct HostImage {
    python: PathBuf,
    version: (u32, u32, u32),
    mounts: Vec<Mount>,
    links: Vec<Link>,
    packages: BTreeSet<String>,
    platform: String,
    distributions: BTreeMap<String, String>,
}

/// Why an interpreter cannot serve as an image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// It could not be run.
    #[error("the interpreter `{}` could not be run", python.display())]
    Run {
        /// The interpreter.
        python: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// It ran but did not answer.
    #[error("`{}` is not a working Python: {problem}", python.display())]
    NotPython {
        /// The interpreter.
        python: PathBuf,
        /// The last line it wrote.
        problem: String,
    },
    /// It is too old.
    #[error("`{}` is Python {}.{}.{}; tasks need 3.9 or newer", python.display(), version.0, version.1, version.2)]
    TooOld {
        /// The interpreter.
        python: PathBuf,
        /// Its version.
        version: (u32, u32, u32),
    },
    /// Giving it to tasks would give them far more than an interpreter.
    #[error("`{}` is installed under `{}`, which holds more than Python; use a virtual environment or another interpreter", python.display(), prefix.display())]
    TooWide {
        /// The interpreter.
        python: PathBuf,
        /// The directory that would have to be mounted.
        prefix: PathBuf,
    },
    /// A path it named cannot be followed.
    #[error("`{}`, which the interpreter needs, cannot be read", path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

/// What an interpreter tells of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterpreterAnswer {
    version: (u32, u32, u32),
    executable: PathBuf,
    prefixes: Vec<PathBuf>,
    libraries: Vec<PathBuf>,
    sites: Vec<PathBuf>,
    platform: String,
    distributions: BTreeMap<String, String>,
    consulted: BTreeSet<PathBuf>,
}

impl InterpreterAnswer {
    /// Runs `python` once: a name looked up in `PATH`, or a path to an interpreter, a virtual environment's or a version
    /// manager's shim.
    ///
    /// # Errors
    /// If it cannot be run, or does not answer.
    pub fn ask(python: &Path) -> Result<Self, ImageError> {
        ask(python)
    }

    /// Its own file, as it names it.
    pub fn executable(&self) -> &Path {
        &self.executable
    }

    /// Files and directories, there or not, of which it answers the same as long as none of them changes: its own file, what
    /// configures it, and where it looks for packages.
    pub const fn consulted(&self) -> &BTreeSet<PathBuf> {
        &self.consulted
    }
}

impl HostImage {
    /// Asks `python`, as [`InterpreterAnswer::ask`] does, and finds the paths it needs.
    ///
    /// # Errors
    /// Those of [`InterpreterAnswer::ask`] and [`HostImage::of`].
    pub fn probe(python: &Path) -> Result<Self, ImageError> {
        Self::of(InterpreterAnswer::ask(python)?)
    }

    /// Finds the paths that an interpreter needs.
    ///
    /// # Errors
    /// If it is older than 3.9, or is installed so that mounting it would show tasks what is not Python.
    pub fn of(answer: InterpreterAnswer) -> Result<Self, ImageError> {
        if answer.version < VERSION_MIN {
            return Err(ImageError::TooOld { python: answer.executable, version: answer.version });
        }
        let mut closure = Closure::of_system();
        let failed = |path: &Path| {
            let path = path.to_owned();
            |source| ImageError::Path { path, source }
        };
        for prefix in answer.prefixes.iter().chain(&answer.libraries).chain(&answer.sites).filter(|path| path.exists())
        {
            let real = fs::canonicalize(prefix).map_err(failed(prefix))?;
            if !closure.covers(&real) && system::is_too_wide(&real) {
                return Err(ImageError::TooWide { python: answer.executable, prefix: real });
            }
            closure.add_tree(prefix).map_err(failed(prefix))?;
        }
        closure.add_file(&answer.executable).map_err(failed(&answer.executable))?;
        let (directories, files, links) = closure.finish();
        let mounts =
            directories.into_iter().map(mount_tree).chain(files.into_iter().map(mount_tree)).chain(system::files());
        Ok(Self {
            python: answer.executable,
            version: answer.version,
            mounts: mounts.collect(),
            links,
            packages: packages_in(&answer.sites),
            platform: answer.platform,
            distributions: answer.distributions,
        })
    }

    /// The interpreter's path, on the host and in a sandbox.
    pub fn python(&self) -> &Path {
        &self.python
    }

    /// Major, minor and micro version.
    pub const fn version(&self) -> (u32, u32, u32) {
        self.version
    }

    /// Read-only mounts that a sandbox needs to run the interpreter, each at its own path.
    pub fn mounts(&self) -> &[Mount] {
        &self.mounts
    }

    /// Symbolic links that those mounts rely on.
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// Its machine and C library, as wheels name them: `x86_64-manylinux_2_36`.
    pub fn platform(&self) -> &str {
        &self.platform
    }

    /// Names of the installed distributions, as they write them, with their versions.
    pub const fn distributions(&self) -> &BTreeMap<String, String> {
        &self.distributions
    }

    /// Whether a distribution or package of this name is installed; case, `-`, `_` and `.` do not matter.
    pub fn has(&self, name: &str) -> bool {
        self.packages.contains(&normalized(name))
    }
}

/// System directories show what everybody may read; an interpreter of one's own is read as its owner reads it.
fn mount_tree(path: PathBuf) -> Mount {
    let access = if system::holds(&path) { MountAccess::Other } else { MountAccess::Owner };
    Mount { source: path.clone(), target: path, access }
}

fn ask(python: &Path) -> Result<InterpreterAnswer, ImageError> {
    let output = Command::new(python)
        .args(["-I", "-B", "-c", QUESTION])
        .stdin(Stdio::null())
        .output()
        .map_err(|source| ImageError::Run { python: python.to_owned(), source })?;
    let refuse = |problem: String| ImageError::NotPython { python: python.to_owned(), problem };
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(refuse(stderr.lines().last().unwrap_or("it failed without a word").to_owned()));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| refuse(error.to_string()))
}

/// Names of packages, modules and distributions in the directories that packages are installed to.
fn packages_in(sites: &[PathBuf]) -> BTreeSet<String> {
    let entries = sites.iter().filter_map(|site| fs::read_dir(site).ok()).flatten().flatten();
    entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let distribution = name.strip_suffix(".dist-info").or_else(|| name.strip_suffix(".egg-info"));
            let package = match distribution {
                Some(distribution) => distribution.split('-').next()?,
                None if entry.file_type().ok()?.is_dir() => &name,
                None => name.strip_suffix(".py")?,
            };
            Some(normalized(package))
        })
        .collect()
}

/// The comparable form of a distribution's name (PEP 503).
fn normalized(name: &str) -> String {
    name.to_lowercase().replace(['_', '.'], "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_known_by_module_and_distribution_name() {
        let site = tempfile::tempdir().unwrap();
        for dir in ["numpy", "numpy-2.4.6.dist-info", "scikit_learn-1.7.dist-info", "sklearn"] {
            fs::create_dir(site.path().join(dir)).unwrap();
        }
        fs::write(site.path().join("six.py"), "").unwrap();
        let packages = packages_in(&[site.path().to_owned(), PathBuf::from("/nonexistent")]);
        for name in ["numpy", "scikit-learn", "sklearn", "six"] {
            assert!(packages.contains(&normalized(name)), "{name}");
        }
        assert!(!packages.contains("torch"));
    }

    #[test]
    fn distributions_are_those_that_pythons_own_library_finds() {
        let python = Path::new("/usr/bin/python3");
        let own = "import json; from importlib.metadata import distributions as all; \
                   print(json.dumps({one.metadata['Name']: one.version for one in reversed(list(all()))}))";
        let output = Command::new(python).args(["-I", "-c", own]).output().unwrap();
        let expected: BTreeMap<String, String> = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(*HostImage::probe(python).unwrap().distributions(), expected);
    }

    #[test]
    fn something_else_than_python_is_named() {
        let error = HostImage::probe(Path::new("/bin/false")).unwrap_err();
        assert!(error.to_string().contains("`/bin/false` is not a working Python"), "{error}");
        assert!(matches!(HostImage::probe(Path::new("/nonexistent/python")), Err(ImageError::Run { .. })));
    }
}
