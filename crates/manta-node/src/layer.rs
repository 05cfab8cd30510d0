//! Layers: the packages of a lock, installed once per set of wheels, for sandboxes to mount beside their image. Whoever has the same
//! wheels shares one; the least recently used go when they are too many, and what an attempt uses stays.
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use manta_image::{InstallError, Installed, Installer, WheelFile};
use manta_module::{DependencyError, Lock, LockError, Locked};
use manta_types::Digest;

use crate::cache::{Cache, CacheError, Directories, Flights, Hold, Pin, bytes_in_use};
use crate::home::replace;
use crate::supervisor::blocking;

/// Wheels that are fetched at once.
const FETCHES_AT_ONCE: usize = 8;
/// Where the packages lie in a layer's directory.
const PACKAGES: &str = "packages";
/// What is in them, written once all of it is on disk: a directory without it is not known to be whole.
const RECORD: &str = "layer.json";

/// Packages on this node, which stay here for as long as this lives.
#[derive(Debug)]
pub(crate) struct Layer {
    /// The packages.
    pub(crate) dir: PathBuf,
    /// What they are.
    pub(crate) installed: Arc<Installed>,
    /// Whether they were installed for whoever asked, and not before.
    pub(crate) is_new: bool,
    /// What it is named by.
    pub(crate) digest: Digest,
    _hold: Hold,
}

/// Why packages could not be installed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LayerError {
    /// A part is not to be had.
    #[error(transparent)]
    Blob(#[from] CacheError),
    /// The lock cannot be read.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The lock is not that of the wheels.
    #[error(transparent)]
    Disagreement(#[from] DependencyError),
    /// A wheel is refused, or its installer broke.
    #[error(transparent)]
    Install(#[from] InstallError),
    /// The node's disk failed.
    #[error("they could not be laid out: {0}")]
    Disk(#[from] io::Error),
}

/// Installs packages.
pub(crate) struct Layers {
    cache: Arc<Cache>,
    directories: Arc<Directories>,
    installer: Installer,
    known: Arc<Mutex<HashMap<Digest, Arc<Installed>>>>,
    flights: Flights,
}

impl Layers {
    /// Layers in a directory, with so many bytes at most beside those in use. Those of an earlier agent that are known to be whole
    /// are taken over.
    pub(crate) fn open(
        root: &Path,
        cache: Arc<Cache>,
        bytes_max: u64,
        installer: Installer,
        in_use: &BTreeSet<Digest>,
    ) -> io::Result<Self> {
        let known = Mutex::new(HashMap::new());
        let directories = Directories::open(root, bytes_max, |left| {
            let Some(installed) = installed(left) else { return bytes_in_use(left, in_use) };
            let digest = left.file_name()?.to_str()?.parse().ok()?;
            let bytes = installed.bytes;
            known.lock().unwrap_or_else(PoisonError::into_inner).insert(digest, Arc::new(installed));
            Some(bytes)
        })?;
        Ok(Self { cache, directories, installer, known: Arc::new(known), flights: Flights::default() })
    }

    /// The packages of a lock, installed first where this node lacks them. Attempts that ask for the same at once share the work.
    pub(crate) async fn get(&self, locked: &Locked) -> Result<Layer, LayerError> {
        let digest = locked.layer();
        if let Some(layer) = self.there(digest) {
            return Ok(layer);
        }
        let installed = async {
            match self.there(digest) {
                Some(layer) => Ok(layer),
                None => self.install(digest, locked).await,
            }
        };
        self.flights.one_by_one(digest, installed).await
    }

    /// Packages with which a task runs that another program started; nothing where they are gone.
    pub(crate) fn take_over(&self, digest: Digest) -> Option<Layer> {
        let hold = self.directories.hold(digest)?;
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&digest).cloned();
        let none = || Installed { bytes: 0, files: 0, distributions: Vec::new(), modules: Vec::new() };
        let installed = known.unwrap_or_else(|| Arc::new(none()));
        Some(Layer { dir: hold.path().join(PACKAGES), installed, is_new: false, digest, _hold: hold })
    }

    fn there(&self, digest: Digest) -> Option<Layer> {
        let hold = self.directories.hold(digest)?;
        let installed = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&digest).cloned()?;
        Some(Layer { dir: hold.path().join(PACKAGES), installed, is_new: false, digest, _hold: hold })
    }

    async fn install(&self, digest: Digest, locked: &Locked) -> Result<Layer, LayerError> {
        let lock = self.cache.fetch(locked.lock.digest).await?;
        let lock = blocking(move || read_lock(&lock)).await?;
        locked.agrees_with(&lock)?;
        let wheels: Vec<(WheelFile, Pin)> = stream::iter(locked.wheels.clone())
            .map(|(name, wheel)| async move {
                let pin = self.cache.fetch(wheel.digest).await?;
                Ok::<_, CacheError>((WheelFile { name, path: pin.path(), sha256: wheel.sha256 }, pin))
            })
            .buffer_unordered(FETCHES_AT_ONCE)
            .try_collect()
            .await?;
        let (directories, installer, known) =
            (Arc::clone(&self.directories), self.installer.clone(), Arc::clone(&self.known));
        let made = blocking(move || {
            let (files, _pins): (Vec<WheelFile>, Vec<Pin>) = wheels.into_iter().unzip();
            let mut made = None;
            let hold = directories.add(digest, |fresh| {
                let packages = fresh.join(PACKAGES);
                fs::create_dir(&packages)?;
                let installed = Arc::new(installer.install(&files, &packages)?);
                let bytes = installed.bytes;
                made = Some(installed);
                Ok::<_, LayerError>(bytes)
            })?;
            let installed = made.expect("what was added was filled first");
            let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
            known.retain(|digest, _| directories.has(*digest));
            known.insert(digest, Arc::clone(&installed));
            drop(known);
            Ok::<_, LayerError>((hold, installed))
        });
        let (hold, installed) = made.await?;
        self.keep(digest, &installed);
        Ok(Layer { dir: hold.path().join(PACKAGES), installed, is_new: true, digest, _hold: hold })
    }

    /// Makes a layer outlive this agent, in the background: nobody has to wait for the disk.
    fn keep(&self, digest: Digest, installed: &Arc<Installed>) {
        let Some(hold) = self.directories.hold(digest) else { return };
        let installed = Arc::clone(installed);
        tokio::task::spawn_blocking(move || {
            let kept = fs::File::open(hold.path()).and_then(|dir| Ok(rustix::fs::syncfs(dir)?)).and_then(|()| {
                replace(&hold.path().join(RECORD), &serde_json::to_vec(&*installed).map_err(io::Error::other)?)
            });
            if let Err(error) = kept {
                tracing::warn!(layer = %digest, %error, "packages cannot be kept beyond this agent's life");
            }
        });
    }
}

fn read_lock(pin: &Pin) -> Result<Lock, LayerError> {
    let mut bytes = Vec::new();
    pin.open()?.take(manta_types::limits::LOCK_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(Lock::parse(&bytes)?)
}

/// What the record of an earlier agent says of packages that it installed; nothing where it was not done with them.
fn installed(left: &Path) -> Option<Installed> {
    let damaged = |error: &io::Error| {
        if error.kind() != io::ErrorKind::NotFound {
            tracing::warn!(packages = %left.display(), %error, "what was installed is damaged; it is installed anew when it is needed");
        }
    };
    let read = fs::read(left.join(RECORD)).and_then(|record| Ok(serde_json::from_slice(&record)?));
    read.inspect_err(damaged).ok()
}
