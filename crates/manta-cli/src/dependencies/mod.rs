//! The dependencies of a module: resolved by uv when it is packed, for each runtime it is to run on, into locks and wheels.
//!
//! What was resolved is kept in the user's cache under a digest of all that it follows from, and every wheel under its SHA-256: the
//! same requirements cost neither network nor resolver again. Nothing here is done on nodes, nor at run time.
mod built;
mod cached;
mod fetch;
mod index;
pub(crate) mod provided;
mod uv;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use manta_api::ErrorCode;
use manta_image::Installer;
use manta_module::{Lock, Locked, Wheel, WheelName, digest_of};
use manta_types::{Blob, Digest, Runtime};
use serde::Deserialize;

use crate::report::Failure;
use cached::{Cached, Store};
use uv::Uv;

/// The hidden verb that makes this program the installer of wheels.
pub(crate) const INSTALLER: &str = "__wheels";

/// What a module says of its dependencies.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Declared {
    /// Where it is said: `requirements.txt`, `pyproject.toml` or the module's own file.
    pub(crate) origin: PathBuf,
    /// Requirements, where they are no file of their own.
    pub(crate) requirements: Option<Vec<String>>,
    /// The author's own lock.
    pub(crate) lock: Option<PathBuf>,
    /// Versions of Python to lock for; none: that of this machine.
    pub(crate) pythons: Vec<String>,
    /// Platforms to lock for; none: that of this machine.
    pub(crate) platforms: Vec<String>,
    /// Distributions that may be built from source.
    pub(crate) allow_source: Vec<String>,
}

/// The interpreter that traced: what is locked for where nothing else is said, and what helps to resolve.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Interpreter {
    /// Its path.
    pub(crate) executable: PathBuf,
    /// Its minor version, `3.11`.
    pub(crate) python: String,
    /// Machine and C library, `x86_64-manylinux_2_36`.
    pub(crate) platform: String,
}

/// Whether anything may be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    /// Indexes are asked.
    Open,
    /// What is in no cache of this machine is not to be had.
    Closed,
}

impl Network {
    /// Closed where `UV_OFFLINE` closes it to uv.
    pub(crate) fn from_environment() -> Self {
        let said =
            crate::connection::variable("UV_OFFLINE").is_some_and(|said| !matches!(said.as_str(), "0" | "false"));
        if said { Self::Closed } else { Self::Open }
    }
}

/// Locks of a module, and where the bytes of what they name lie.
#[derive(Debug, Default)]
pub(crate) struct Resolved {
    /// For the manifest.
    pub(crate) dependencies: Vec<Locked>,
    /// Where each lock and wheel lies.
    pub(crate) sources: BTreeMap<Digest, PathBuf>,
}

/// What installs wheels on a node: this very program, confined.
pub(crate) fn installer() -> Result<Installer, Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::internal(format!("this program's own file is not known: {error}")))?;
    Ok(Installer::new(program, vec![OsString::from(INSTALLER)]))
}

/// Resolves what a module declares, for every runtime that it names. Without declared dependencies there is nothing to do.
///
/// # Errors
/// One sentence, and uv's own explanation where it has one.
pub(crate) async fn resolve(
    module: &str,
    declared: Option<&Declared>,
    interpreter: Option<&Interpreter>,
    network: Network,
) -> Result<Resolved, Failure> {
    let Some(declared) = declared else { return Ok(Resolved::default()) };
    let interpreter = interpreter
        .ok_or_else(|| refused(module, "the traced swarm does not say with which Python: trace it again".to_owned()))?;
    let store = Store::open()?;
    let mut resolved = Resolved::default();
    for runtime in runtimes(module, declared, interpreter)? {
        let task = Task { module, declared, interpreter, runtime: &runtime, store: &store, network };
        let Cached { lock, wheels: chosen } = task.cached_or_resolved().await?;
        let bytes = lock.to_bytes();
        let blob = Blob { digest: digest_of(&bytes), size: bytes.len() as u64 };
        resolved.sources.extend(chosen.values().map(|wheel| (wheel.digest, store.wheel(&wheel.sha256))));
        resolved.sources.insert(blob.digest, store.lock_file(blob.digest, &bytes)?);
        let Runtime { python, platform } = runtime;
        resolved.dependencies.push(Locked { lock: blob, platform, python, wheels: chosen });
    }
    Ok(resolved)
}

/// Every pair of the versions and platforms that are asked for.
fn runtimes(module: &str, declared: &Declared, interpreter: &Interpreter) -> Result<Vec<Runtime>, Failure> {
    let own = |asked: &[String], own: &str| if asked.is_empty() { vec![own.to_owned()] } else { asked.to_vec() };
    let refuse = |error: manta_types::RuntimeError| refused(module, error.to_string());
    let mut runtimes = Vec::new();
    for python in own(&declared.pythons, &interpreter.python) {
        for platform in own(&declared.platforms, &uv::oldest(&interpreter.platform)) {
            let (python, platform) = (python.parse().map_err(refuse)?, platform.parse().map_err(refuse)?);
            runtimes.push(Runtime { python, platform });
        }
    }
    Ok(runtimes)
}

/// One lock to be made.
struct Task<'a> {
    module: &'a str,
    declared: &'a Declared,
    interpreter: &'a Interpreter,
    runtime: &'a Runtime,
    store: &'a Store,
    network: Network,
}

impl Task<'_> {
    async fn cached_or_resolved(&self) -> Result<Cached, Failure> {
        let key = cached::key(self.declared, self.runtime)?;
        if let Some(cached) = self.store.lock(&key) {
            return Ok(cached);
        }
        let resolved = self.resolve().await?;
        self.store.keep_lock(&key, &resolved)?;
        Ok(resolved)
    }

    async fn resolve(&self) -> Result<Cached, Failure> {
        let uv = Uv::find(&self.interpreter.executable).ok_or_else(|| {
            let words = "it has dependencies, which uv resolves, and uv is not there".to_owned();
            let python = self.interpreter.executable.display();
            refused(self.module, words).hint(format!("install it: {python} -m pip install uv"))
        })?;
        let own = self.declared.lock.as_deref().map(|path| self.read_lock(path)).transpose()?;
        let told = uv.compile(self, own.as_ref()).await;
        let told = told.map_err(|words| self.unresolved(&words))?;
        let mut lock = Lock::parse(&told).map_err(|error| Failure::internal(format!("what uv wrote: {error}")))?;
        if let (Some(own), Some(path)) = (&own, &self.declared.lock) {
            self.is_of(&lock, own, path)?;
        }
        built::build_missing(self, &uv, &mut lock).await?;
        let mut files = Vec::new();
        for package in &mut lock.packages {
            let wheel = package
                .wheels
                .iter()
                .find(|wheel| wheel.name.parse::<WheelName>().is_ok_and(|name| name.fits(self.runtime)));
            let wheel = wheel.cloned().ok_or_else(|| {
                let (name, runtime) = (&package.name, self.runtime);
                refused(self.module, format!("`{name}` has no wheel for {runtime}"))
                    .hint(format!("name another version of it, or let it be built: allow_source = [\"{name}\"]"))
            })?;
            package.wheels = vec![wheel.clone()];
            package.marker = None;
            files.push(wheel);
        }
        let blobs = fetch::fetch_all(self, &files).await.map_err(|words| refused(self.module, words))?;
        let wheels = files.iter().zip(blobs).map(|(file, blob)| {
            let wheel = Wheel { digest: blob.digest, sha256: file.hashes.sha256.clone(), size: blob.size };
            (file.name.clone(), wheel)
        });
        let wheels = wheels.collect();
        index::without_places_of_this_machine(&mut lock);
        Ok(Cached { lock, wheels })
    }

    fn read_lock(&self, path: &Path) -> Result<Lock, Failure> {
        let bytes = std::fs::read(path).map_err(|error| Failure::file("the lock cannot be read:", path, &error))?;
        Lock::parse(&bytes).map_err(|error| refused(self.module, format!("`{}`: {error}", path.display())))
    }

    /// Whether all that was resolved stands in the author's own lock, with the same digests.
    fn is_of(&self, lock: &Lock, own: &Lock, path: &Path) -> Result<(), Failure> {
        let known: BTreeMap<&str, &str> = own
            .packages
            .iter()
            .flat_map(|package| package.wheels.iter().chain(&package.sdist))
            .map(|file| (file.hashes.sha256.as_str(), file.name.as_str()))
            .collect();
        let stranger = lock.packages.iter().find(|package| {
            let mut files = package.wheels.iter().chain(&package.sdist);
            !files.any(|file| known.contains_key(file.hashes.sha256.as_str()))
        });
        let Some(package) = stranger else { return Ok(()) };
        let (name, version) = (&package.name, package.version.as_deref().unwrap_or("?"));
        let words = format!(
            "its lock `{}` does not hold `{name}` {version} for {}, which its requirements need, by the digest that the index gives",
            path.display(),
            self.runtime
        );
        Err(refused(self.module, words)
            .hint("make the lock again, or remove it, and it is made when the module is packed"))
    }

    fn unresolved(&self, words: &str) -> Failure {
        let words = words.trim_end().replace('\n', "\n  ");
        refused(self.module, format!("its dependencies cannot be resolved for {}:\n  {words}", self.runtime))
            .hint(format!("they stand in `{}`", self.declared.origin.display()))
    }
}

/// A module whose dependencies cannot be used.
fn refused(module: &str, words: String) -> Failure {
    Failure::new(ErrorCode::Dependencies, format!("module `{module}`: {words}"))
}
