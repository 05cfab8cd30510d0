//! The user's cache of locks and wheels. It can be removed at any time; what is missing is resolved and fetched again.
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use manta_module::{Lock, Wheel};
use manta_types::{Digest, Runtime};
use serde::{Deserialize, Serialize};

use super::Declared;
use crate::connection::variable;
use crate::report::Failure;

/// Variables that decide what uv resolves, beside the indexes.
const DECIDING: [&str; 12] = [
    "UV_DEFAULT_INDEX",
    "UV_INDEX",
    "UV_INDEX_URL",
    "UV_EXTRA_INDEX_URL",
    "UV_FIND_LINKS",
    "UV_NO_INDEX",
    "UV_INDEX_STRATEGY",
    "UV_PRERELEASE",
    "UV_RESOLUTION",
    "UV_EXCLUDE_NEWER",
    "UV_CONSTRAINT",
    "UV_OVERRIDE",
];
/// Files that are read with requirements, one naming the next.
const INCLUDED_MAX: usize = 100;

/// What was resolved for one runtime.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Cached {
    pub(super) lock: Lock,
    pub(super) wheels: BTreeMap<String, Wheel>,
}

/// The cache's directories.
#[derive(Debug)]
pub(super) struct Store {
    root: PathBuf,
}

impl Store {
    /// Makes the directories where they are missing.
    pub(super) fn open() -> Result<Self, Failure> {
        let root = crate::home::cache().ok_or_else(|| {
            Failure::usage("there is no home directory that could hold what dependencies need")
                .hint("name one with XDG_CACHE_HOME or MANTA_HOME")
        })?;
        for part in ["locks", "wheels", "built"] {
            let path = root.join(part);
            fs::create_dir_all(&path).map_err(|error| Failure::file("the cache cannot be made:", &path, &error))?;
        }
        Ok(Self { root })
    }

    /// Where a wheel of that SHA-256 lies, or would lie.
    pub(super) fn wheel(&self, sha256: &str) -> PathBuf {
        self.root.join("wheels").join(format!("{sha256}.whl"))
    }

    /// Where wheels of a source lie that were built here.
    pub(super) fn built(&self, sha256: &str, runtime: &Runtime) -> PathBuf {
        self.root.join("built").join(format!("{sha256}-{}", runtime.python))
    }

    /// What was resolved under a key, if all its wheels are still there.
    pub(super) fn lock(&self, key: &str) -> Option<Cached> {
        let cached: Cached = serde_json::from_slice(&fs::read(self.lock_path(key)).ok()?).ok()?;
        let is_there =
            |wheel: &Wheel| fs::metadata(self.wheel(&wheel.sha256)).is_ok_and(|file| file.len() == wheel.size);
        cached.wheels.values().all(is_there).then_some(cached)
    }

    /// The file of a lock with those bytes.
    pub(super) fn lock_file(&self, digest: Digest, bytes: &[u8]) -> Result<PathBuf, Failure> {
        let path = self.root.join("locks").join(format!("{digest}.toml"));
        let kept = if path.is_file() { Ok(()) } else { self.write(&path, bytes) };
        kept.map(|()| path.clone()).map_err(|error| Failure::file("the lock cannot be kept:", &path, &error))
    }

    /// Writes a part of the cache, whole or not at all.
    fn write(&self, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
        let mut fresh = self.fresh("locks")?;
        fresh.write_all(bytes)?;
        fresh.persist(path).map(drop).map_err(|error| error.error)
    }

    /// Keeps what was resolved.
    pub(super) fn keep_lock(&self, key: &str, resolved: &Cached) -> Result<(), Failure> {
        let path = self.lock_path(key);
        let bytes = serde_json::to_vec(resolved).map_err(std::io::Error::other);
        let kept = bytes.and_then(|bytes| self.write(&path, &bytes));
        kept.map_err(|error| Failure::file("the lock cannot be kept:", &path, &error))
    }

    /// A file that becomes a part of the cache when it is whole.
    pub(super) fn fresh(&self, part: &str) -> std::io::Result<tempfile::NamedTempFile> {
        tempfile::Builder::new().prefix(".new-").tempfile_in(self.root.join(part))
    }

    fn lock_path(&self, key: &str) -> PathBuf {
        self.root.join("locks").join(format!("{key}.json"))
    }
}

/// A digest of all that a lock follows from: requirements and whatever they include, the author's lock, the runtime, and what the
/// environment tells uv.
pub(super) fn key(declared: &Declared, runtime: &Runtime) -> Result<String, Failure> {
    let mut hasher = blake3::Hasher::new();
    let mut add = |what: &str, bytes: &[u8]| {
        for part in [what.as_bytes(), bytes] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
    };
    add("runtime", runtime.to_string().as_bytes());
    for package in &declared.allow_source {
        add("source", package.as_bytes());
    }
    for name in DECIDING {
        add(name, variable(name).unwrap_or_default().as_bytes());
    }
    let folder = declared.origin.parent().unwrap_or(Path::new("."));
    for name in ["uv.toml", "pyproject.toml"] {
        // Where it is missing, there is nothing that it says.
        add(name, &fs::read(folder.join(name)).unwrap_or_default());
    }
    match &declared.requirements {
        Some(requirements) => requirements.iter().for_each(|requirement| add("requirement", requirement.as_bytes())),
        None => {
            let mut files = vec![declared.origin.clone()];
            let mut at = 0;
            while let Some(file) = files.get(at).cloned() {
                let text =
                    fs::read(&file).map_err(|error| Failure::file("requirements cannot be read:", &file, &error))?;
                let included = included(&String::from_utf8_lossy(&text), &file);
                files.extend(included.into_iter().filter(|path| path.is_file()));
                files.truncate(INCLUDED_MAX);
                add("file", &text);
                at += 1;
            }
        }
    }
    if let Some(lock) = &declared.lock {
        add("lock", &fs::read(lock).map_err(|error| Failure::file("the lock cannot be read:", lock, &error))?);
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// Files that a file of requirements includes.
fn included(text: &str, file: &Path) -> Vec<PathBuf> {
    const OPTIONS: [&str; 4] = ["--requirement", "--constraint", "-r", "-c"];
    let folder = file.parent().unwrap_or(Path::new("."));
    let lines = text.lines().map(str::trim);
    let named = lines.filter_map(|line| OPTIONS.iter().find_map(|option| line.strip_prefix(option)));
    named.map(|name| folder.join(name.trim_start_matches(['=', ' ', '\t']).trim())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_follows_included_files_and_the_runtime() {
        let folder = tempfile::tempdir().unwrap();
        let origin = folder.path().join("requirements.txt");
        fs::write(&origin, "numpy\n-r more.txt\n--constraint=limits.txt\n").unwrap();
        fs::write(folder.path().join("more.txt"), "six\n").unwrap();
        let declared = Declared {
            origin: origin.clone(),
            requirements: None,
            lock: None,
            pythons: vec![],
            platforms: vec![],
            allow_source: vec![],
        };
        let runtime = |python: &str| Runtime {
            python: python.parse().unwrap(),
            platform: "x86_64-manylinux_2_28".parse().unwrap(),
        };
        let first = key(&declared, &runtime("3.11")).unwrap();
        assert_eq!(key(&declared, &runtime("3.11")).unwrap(), first);
        assert_ne!(key(&declared, &runtime("3.12")).unwrap(), first);
        fs::write(folder.path().join("more.txt"), "six<2\n").unwrap();
        let second = key(&declared, &runtime("3.11")).unwrap();
        assert_ne!(second, first);
        fs::write(folder.path().join("limits.txt"), "numpy<3\n").unwrap();
        assert_ne!(key(&declared, &runtime("3.11")).unwrap(), second);
    }
}
