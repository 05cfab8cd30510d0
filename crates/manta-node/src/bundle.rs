//! Bundles as directories: a module's files, laid out once per digest, for sandboxes to mount. The least recently used go
//! when they are too many; what an attempt uses stays.
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use manta_module::{BundleManifest, ManifestError};
use manta_types::Digest;

use crate::cache::{Cache, CacheError, Directories, Hold, Pin, bytes_in_use};
use crate::policy::{Admitted, Described};
use crate::supervisor::blocking;

/// Files of a bundle that are fetched at once.
const FETCHES_AT_ONCE: usize = 8;

/// Manifests that are kept in memory; each is read once where a node runs no more modules at a time.
const MANIFESTS_MAX: usize = 64;

/// A bundle on this node, which stays here for as long as this lives.
#[derive(Debug)]
pub(crate) struct Bundle {
    /// Its manifest.
    pub(crate) manifest: BundleManifest,
    /// Its files.
    pub(crate) dir: PathBuf,
    _hold: Hold,
}

/// Why a bundle could not be laid out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BundleError {
    /// A part of it is not to be had.
    #[error(transparent)]
    Blob(#[from] CacheError),
    /// Its manifest cannot be used.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The node's disk failed.
    #[error("its files could not be laid out: {0}")]
    Disk(#[from] io::Error),
}

/// Lays bundles out.
pub(crate) struct Bundles {
    cache: Arc<Cache>,
    laid_out: Arc<Directories>,
    manifests: Mutex<BTreeMap<Digest, BundleManifest>>,
}

impl Bundles {
    /// Bundles in a directory, with so many bytes at most beside those in use. What an earlier agent laid out there is
    /// removed: it was not synced, so it need not be whole. Those stay of which tasks run.
    pub(crate) fn open(root: &Path, cache: Arc<Cache>, bytes_max: u64, in_use: &BTreeSet<Digest>) -> io::Result<Self> {
        let laid_out = Directories::open(root, bytes_max, |left| bytes_in_use(left, in_use))?;
        Ok(Self { cache, laid_out, manifests: Mutex::default() })
    }

    /// A bundle of which a task runs that another program started.
    ///
    /// # Errors
    /// One sentence.
    pub(crate) fn take_over(&self, digest: Digest, manifest: &str) -> Result<Bundle, String> {
        let manifest = BundleManifest::parse(manifest.as_bytes()).map_err(|error| error.to_string())?;
        let hold = self.laid_out.hold(digest).ok_or("the files of its bundle are gone")?;
        Ok(Bundle { manifest, dir: hold.path(), _hold: hold })
    }

    /// What a bundle is: its manifest, fetched where this node lacks it, and nothing else of it.
    pub(crate) async fn describe(&self, digest: Digest) -> Result<Described, BundleError> {
        let known = self.manifests().get(&digest).cloned();
        if let Some(manifest) = known {
            return Ok(Described { digest, manifest });
        }
        let pin = self.cache.fetch(digest).await?;
        let manifest = blocking(move || read_manifest(&pin)).await?;
        let mut manifests = self.manifests();
        if manifests.len() >= MANIFESTS_MAX {
            manifests.clear();
        }
        manifests.insert(digest, manifest.clone());
        Ok(Described { digest, manifest })
    }

    fn manifests(&self) -> MutexGuard<'_, BTreeMap<Digest, BundleManifest>> {
        self.manifests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A bundle that the site allows, fetched and laid out first where this node lacks it.
    pub(crate) async fn get(&self, admitted: Admitted) -> Result<Bundle, BundleError> {
        let Described { digest, manifest } = admitted.into_bundle();
        if let Some(hold) = self.laid_out.hold(digest) {
            return Ok(Bundle { manifest, dir: hold.path(), _hold: hold });
        }
        let files: Vec<(PathBuf, Pin)> = stream::iter(manifest.files.clone())
            .map(|(path, blob)| async move { Ok::<_, CacheError>((path.into(), self.cache.fetch(blob.digest).await?)) })
            .buffer_unordered(FETCHES_AT_ONCE)
            .try_collect()
            .await?;
        let laid_out = Arc::clone(&self.laid_out);
        let hold = blocking(move || laid_out.add(digest, |fresh| lay_out(fresh, &files))).await?;
        Ok(Bundle { manifest, dir: hold.path(), _hold: hold })
    }
}

fn read_manifest(pin: &Pin) -> Result<BundleManifest, BundleError> {
    let mut bytes = Vec::new();
    pin.open()?.read_to_end(&mut bytes)?;
    Ok(BundleManifest::parse(&bytes)?)
}

/// Copies the files into a new directory; answers with their bytes.
fn lay_out(fresh: &Path, files: &[(PathBuf, Pin)]) -> io::Result<u64> {
    files.iter().try_fold(0, |bytes, (path, pin)| {
        let path = fresh.join(path);
        // Others are kept out by the data directory; in a container a task is such another.
        DirBuilder::new().recursive(true).mode(0o755).create(path.parent().unwrap_or(fresh))?;
        let mut copy = File::create_new(&path)?;
        io::copy(&mut pin.open()?, &mut copy)?;
        copy.set_permissions(fs::Permissions::from_mode(0o444))?;
        Ok(bytes + pin.blob().size)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use async_trait::async_trait;
    use manta_module::{Entry, MANIFEST_VERSION, ModuleResources, Target, digest_of};
    use manta_types::Blob;
    use tokio::io::AsyncWriteExt as _;

    use super::*;
    use crate::home::private_dir;
    use crate::remote::{BlobSource, RemoteError};

    /// Room for one of the bundles here.
    const BYTES_MAX: u64 = 9;

    struct Shop(BTreeMap<Digest, Vec<u8>>);

    #[async_trait]
    impl BlobSource for Shop {
        async fn fetch_to(&self, digest: Digest, out: &mut tokio::fs::File) -> Result<u64, RemoteError> {
            let refuse = || RemoteError::Refused("no such blob".to_owned());
            let content = self.0.get(&digest).ok_or_else(refuse)?;
            out.write_all(content).await.map_err(|_| refuse())?;
            Ok(content.len() as u64)
        }
    }

    fn manifest() -> BundleManifest {
        let file = |content: &str| Blob { digest: digest_of(content.as_bytes()), size: content.len() as u64 };
        BundleManifest {
            manifest_version: MANIFEST_VERSION,
            name: "worker".to_owned(),
            version: "1.0.0".to_owned(),
            entry: Entry::Code { file: "__init__.py".to_owned(), target: Target::Call("main".to_owned()) },
            image: "latest".to_owned(),
            datasets: Vec::new(),
            resources: ModuleResources::default(),
            isolation: None,
            description: None,
            requires_manta: None,
            images: Vec::new(),
            architectures: Vec::new(),
            requires_python: None,
            dependencies: Vec::new(),
            files: BTreeMap::from([("__init__.py".to_owned(), file("one")), ("sub/a.py".to_owned(), file("two"))]),
        }
    }

    fn bundles(dir: &Path, goods: &[&[u8]]) -> Bundles {
        let shop = Shop(goods.iter().map(|content| (digest_of(content), content.to_vec())).collect());
        private_dir(&dir.join("cache")).unwrap();
        let cache = Arc::new(Cache::open(&dir.join("cache"), Arc::new(shop), 1 << 20).unwrap());
        private_dir(&dir.join("bundles")).unwrap();
        Bundles::open(&dir.join("bundles"), cache, BYTES_MAX, &BTreeSet::new()).unwrap()
    }

    async fn get(bundles: &Bundles, digest: Digest) -> Result<Bundle, BundleError> {
        bundles.get(Admitted::unjudged(bundles.describe(digest).await?)).await
    }

    #[tokio::test]
    async fn attempts_that_want_one_bundle_at_once_find_it_whole() {
        let dir = tempfile::tempdir().unwrap();
        let manifest = manifest();
        let bundles = bundles(dir.path(), &[&manifest.canonical_bytes(), b"one", b"two"]);
        let digest = manifest.digest();
        let (one, other) = tokio::join!(get(&bundles, digest), get(&bundles, digest));
        let (one, other) = (one.unwrap(), other.unwrap());
        assert_eq!((&one.dir, &one.manifest), (&other.dir, &manifest));
        assert_eq!(fs::read(one.dir.join("sub/a.py")).unwrap(), b"two");
        assert!(fs::metadata(one.dir.join("sub/a.py")).unwrap().permissions().readonly());
        assert_eq!(fs::read_dir(dir.path().join("bundles")).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn what_an_earlier_agent_laid_out_is_laid_out_anew() {
        let dir = tempfile::tempdir().unwrap();
        let manifest = manifest();
        let goods: [&[u8]; 3] = [&manifest.canonical_bytes(), b"one", b"two"];
        let left = get(&bundles(dir.path(), &goods), manifest.digest()).await.unwrap().dir.join("sub/a.py");
        fs::remove_file(&left).unwrap();
        fs::write(&left, b"").unwrap();
        get(&bundles(dir.path(), &goods), manifest.digest()).await.unwrap();
        assert_eq!(fs::read(&left).unwrap(), b"two");
    }

    #[tokio::test]
    async fn a_bundle_that_lacks_a_file_or_is_none_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let manifest = manifest();
        let bundles = bundles(dir.path(), &[&manifest.canonical_bytes(), b"one", b"{}"]);
        assert!(matches!(get(&bundles, manifest.digest()).await, Err(BundleError::Blob(_))));
        assert!(matches!(get(&bundles, digest_of(b"{}")).await, Err(BundleError::Manifest(_))));
        assert_eq!(fs::read_dir(dir.path().join("bundles")).unwrap().count(), 0);
    }
    #[tokio::test]
    async fn the_least_recently_used_bundle_goes_and_what_is_in_use_stays() {
        let dir = tempfile::tempdir().unwrap();
        let all = [1, 2, 3, 4].map(|n| BundleManifest { version: format!("{n}.0.0"), ..manifest() });
        let contents = all.each_ref().map(BundleManifest::canonical_bytes);
        let goods: Vec<&[u8]> = contents.iter().map(Vec::as_slice).chain([&b"one"[..], b"two"]).collect();
        let bundles = bundles(dir.path(), &goods);
        let there = || all.each_ref().map(|one| dir.path().join("bundles").join(one.digest().to_string()).is_dir());
        let first = get(&bundles, all[0].digest()).await.unwrap();
        let others = [get(&bundles, all[1].digest()).await.unwrap(), get(&bundles, all[2].digest()).await.unwrap()];
        assert_eq!(there(), [true, true, true, false], "all are in use");
        drop(others);
        let last = get(&bundles, all[3].digest()).await.unwrap();
        assert_eq!(there(), [true, false, false, true]);
        assert_eq!(fs::read(first.dir.join("sub/a.py")).unwrap(), b"two");
        drop((first, last));
        get(&bundles, all[1].digest()).await.unwrap();
        assert_eq!(there(), [false, true, false, false]);
        assert_eq!(fs::read_dir(dir.path().join("bundles")).unwrap().count(), 1, "nothing is left beside");
    }
}
