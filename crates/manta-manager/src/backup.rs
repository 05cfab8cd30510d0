//! Backups of a data directory: made beside a running manager, checked whole before they are used, and the beginning of a
//! new generation when they are.
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use manta_api::version;
use manta_store::{
    AccessStore, BlobError, BlobStore, DirBlobs, IdentityStore, LogStore, SqliteStore, StateReader, StateStore,
    StoreError,
};
use manta_types::{Blob, ClusterId, Digest, crash_point};
use serde::{Deserialize, Serialize};

use crate::ManagerError;
use crate::clusters::folder_of;
use crate::identity::{AUTHORITY_FILE, AUTHORITY_KEY_FILE};
use crate::open::BLOBS;
use crate::reach::reachable;
use crate::scrub::damage_of_state;
use crate::tokens::{NODE_TOKEN_FILE, TOKEN_FILE};
use crate::upkeep::SweepLock;

/// The file that says what a backup holds; a folder without it is none.
const MANIFEST: &str = "manifest.json";
/// The form of a backup; of the first, no cluster but one has blobs.
const BACKUP_FORMAT: u32 = 2;
/// The files beside the blobs; secrets too, without which no node could come back.
const FILES: [&str; 8] = [
    "state.db",
    "logs.db",
    "access.db",
    "identities.db",
    TOKEN_FILE,
    NODE_TOKEN_FILE,
    AUTHORITY_FILE,
    AUTHORITY_KEY_FILE,
];

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Backup {
    /// The form of the backup.
    pub format: u32,
    /// The version that made it.
    pub manta: String,
    /// Wall clock, ms since 1970.
    pub created_ms: u64,
    /// The generation that it was made of.
    pub generation: u64,
    /// The files beside the blobs.
    pub files: Vec<StoredFile>,
    /// The blobs of the first cluster.
    pub blobs: Vec<Blob>,
    /// Those of each other one, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub clusters: BTreeMap<String, Vec<Blob>>,
    /// Blobs that the state names and that were missing or damaged already.
    pub missing: Vec<Digest>,
    /// What was damaged in the logs already, one sentence each; such lines are named where a log is read.
    #[serde(default)]
    pub damaged_logs: Vec<String>,
}

impl Backup {
    /// The blobs of all clusters.
    pub fn all_blobs(&self) -> impl Iterator<Item = &Blob> {
        self.blobs.iter().chain(self.clusters.values().flatten())
    }
}

/// A file of a backup, and what it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredFile {
    /// Its name.
    pub name: String,
    /// Its bytes.
    #[serde(flatten)]
    pub blob: Blob,
}

/// Writes a backup of a data directory into a new folder `to`, whether a manager has the directory or not: the state as of
/// one moment, checked, then every blob that it names.
///
/// # Errors
/// When `to` is there already, when the state is damaged, or when the storage fails; then there is no `to`.
pub fn backup(data_dir: &Path, to: &Path) -> Result<Backup, ManagerError> {
    if to.try_exists().map_err(at(to))? {
        return Err(ManagerError::TargetExists(to.to_owned()));
    }
    let source = StateReader::open(data_dir)?;
    let _lock = SweepLock::shared(data_dir)?;
    let draft = Draft::make(to)?;
    source.copy_to(&draft.path)?;
    let copy = StateReader::open(&draft.path)?;
    if let Some(damage) = damage_of_state(&copy, &mut |_| {})?.into_iter().next() {
        return Err(damage.into());
    }
    LogStore::copy(data_dir, &draft.path)?;
    AccessStore::copy(data_dir, &draft.path)?;
    if let Some(damage) = AccessStore::check(&draft.path)?.into_iter().next() {
        return Err(damage.into());
    }
    let damaged_logs = LogStore::check(&draft.path)?.iter().map(StoreError::to_string).collect();
    IdentityStore::copy(data_dir, &draft.path)?;
    for secret in [TOKEN_FILE, NODE_TOKEN_FILE, AUTHORITY_FILE, AUTHORITY_KEY_FILE] {
        copy_file(&data_dir.join(secret), &draft.path.join(secret))?;
    }
    let (blobs, mut missing) = copy_named(&copy, None, data_dir, &draft.path)?;
    let mut clusters = BTreeMap::new();
    for record in copy.clusters()?.iter().filter(|record| !record.is_removing) {
        let (from, to) = (folder_of(data_dir, record), folder_of(&draft.path, record));
        let (blobs, lost) = copy_named(&copy, Some(&record.name), &from, &to)?;
        clusters.insert(record.name.to_string(), blobs);
        missing.extend(lost);
    }
    let mut files = Vec::new();
    for name in FILES {
        let path = draft.path.join(name);
        if path.try_exists().map_err(at(&path))? {
            files.push(StoredFile { name: name.to_owned(), blob: digest_of(&path)? });
        }
    }
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let manifest = Backup {
        format: BACKUP_FORMAT,
        manta: version::PRODUCT.to_owned(),
        created_ms: u64::try_from(since_1970).unwrap_or(u64::MAX),
        generation: copy.generation()?,
        files,
        blobs,
        clusters,
        missing,
        damaged_logs,
    };
    drop(copy);
    crash_point!("manager.backup.copied");
    let text = serde_json::to_vec_pretty(&manifest).map_err(|error| ManagerError::Internal(error.to_string()))?;
    write_file(&draft.path.join(MANIFEST), &mut text.as_slice())?;
    crash_point!("manager.backup.listed");
    draft.keep(to)?;
    Ok(manifest)
}

/// Makes a new data directory of a backup: verifies every byte of it, brings its state up to date, and begins a new
/// generation, so that whatever nodes hold of a time after the backup is told to be of a history that was undone.
///
/// # Errors
/// When `data_dir` holds anything, or the backup is not whole; then `data_dir` is as it was.
pub fn restore(from: &Path, data_dir: &Path) -> Result<Restored, ManagerError> {
    let is_free = match fs::read_dir(data_dir) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => return Err(at(data_dir)(error)),
    };
    if !is_free {
        return Err(ManagerError::TargetExists(data_dir.to_owned()));
    }
    let manifest = read_manifest(from)?;
    let draft = Draft::make(data_dir)?;
    for file in &manifest.files {
        if !FILES.contains(&file.name.as_str()) {
            return Err(not_whole(from, &format!("its manifest names `{}`, which no backup has", file.name)));
        }
        let found = copy_file(&from.join(&file.name), &draft.path.join(&file.name))?;
        if found != Some(file.blob) {
            return Err(not_whole(from, &format!("`{}` is missing or not what was backed up", file.name)));
        }
    }
    let mut blobs = bring(from, from, &manifest.blobs, &draft.path)?;
    crash_point!("manager.restore.copied");
    let mut state = SqliteStore::open(&draft.path)?;
    for record in state.clusters()?.iter().filter(|record| !record.is_removing) {
        let Some(theirs) = manifest.clusters.get(record.name.as_str()) else {
            return Err(not_whole(from, &format!("its manifest has no blobs of the cluster `{}`", record.name)));
        };
        blobs += bring(from, &folder_of(from, record), theirs, &folder_of(&draft.path, record))?;
    }
    if let Some(damage) = damage_of_state(&StateReader::open(&draft.path)?, &mut |_| {})?.into_iter().next() {
        return Err(damage.into());
    }
    let generation =
        state.begin_generation(&format!("restored from a backup of generation {}", manifest.generation))?;
    drop(state);
    crash_point!("manager.restore.begun");
    draft.keep(data_dir)?;
    Ok(Restored { backup: manifest, generation, blobs })
}

/// What a restore made.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Restored {
    /// The backup.
    pub backup: Backup,
    /// The generation that begins with it.
    pub generation: u64,
    /// The blobs that came with it.
    pub blobs: u64,
}

fn read_manifest(from: &Path) -> Result<Backup, ManagerError> {
    let path = from.join(MANIFEST);
    let text = fs::read(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            not_whole(from, "it has no `manifest.json`, so it is no backup or was never finished")
        }
        _ => at(&path)(error),
    })?;
    let manifest: Backup = serde_json::from_slice(&text)
        .map_err(|error| not_whole(from, &format!("its manifest cannot be read: {error}")))?;
    if (1..=BACKUP_FORMAT).contains(&manifest.format) {
        return Ok(manifest);
    }
    let (found, manta) = (manifest.format, &manifest.manta);
    Err(not_whole(from, &format!("it has the form {found} of manta {manta}; this one reads 1 to {BACKUP_FORMAT}")))
}

/// Copies every blob that the state names of a cluster out of its folder, and names those that should be there and are not.
fn copy_named(
    state: &StateReader,
    of: Option<&ClusterId>,
    from: &Path,
    to: &Path,
) -> Result<(Vec<Blob>, Vec<Digest>), ManagerError> {
    let source = DirBlobs::beside(&from.join(BLOBS));
    let reach = reachable(state, of, &source)?;
    let (blobs, mut missing) = copy_blobs(reach.marked.iter(), &source, to)?;
    missing.retain(|digest| reach.wanted.contains(digest));
    Ok((blobs, missing))
}

/// Brings blobs out of a backup's folder, all of them; how many.
fn bring(backup: &Path, from: &Path, blobs: &[Blob], to: &Path) -> Result<u64, ManagerError> {
    let source = DirBlobs::beside(&from.join(BLOBS));
    let (copied, missing) = copy_blobs(blobs.iter().map(|blob| &blob.digest), &source, to)?;
    match missing.first() {
        Some(digest) => Err(not_whole(backup, &format!("blob `{digest}` is missing or damaged"))),
        None => Ok(copied.len() as u64),
    }
}

/// Copies blobs, verifying each; those that are missing or damaged are named instead.
fn copy_blobs<'a>(
    wanted: impl Iterator<Item = &'a Digest>,
    from: &DirBlobs,
    to: &Path,
) -> Result<(Vec<Blob>, Vec<Digest>), ManagerError> {
    let target = DirBlobs::open(&to.join(BLOBS))?;
    let (mut blobs, mut missing) = (Vec::new(), Vec::new());
    for digest in wanted {
        let Some(mut reader) = from.open(digest)? else {
            missing.push(*digest);
            continue;
        };
        match target.put(digest, &mut reader) {
            Ok(blob) => blobs.push(blob),
            Err(BlobError::Mismatch { .. }) => missing.push(*digest),
            Err(other) => return Err(other.into()),
        }
    }
    Ok((blobs, missing))
}

/// Copies a private file, durably, and names its bytes; nothing where there is none.
fn copy_file(from: &Path, to: &Path) -> Result<Option<Blob>, ManagerError> {
    match File::open(from) {
        Ok(mut file) => write_file(to, &mut file).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at(from)(error)),
    }
}

fn write_file(to: &Path, bytes: &mut dyn Read) -> Result<Blob, ManagerError> {
    let mut write = || -> io::Result<Blob> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
        let mut named = Named { hasher: blake3::Hasher::new(), size: 0, out: &mut file };
        io::copy(bytes, &mut named)?;
        let blob = named.blob();
        file.sync_all()?;
        Ok(blob)
    };
    write().map_err(at(to))
}

fn digest_of(path: &Path) -> Result<Blob, ManagerError> {
    let mut named = Named { hasher: blake3::Hasher::new(), size: 0, out: &mut io::sink() };
    let mut file = File::open(path).map_err(at(path))?;
    io::copy(&mut file, &mut named).map_err(at(path))?;
    Ok(named.blob())
}

/// Names bytes on their way.
struct Named<'a> {
    hasher: blake3::Hasher,
    size: u64,
    out: &'a mut dyn Write,
}

impl Named<'_> {
    fn blob(&self) -> Blob {
        Blob { digest: Digest::from_bytes(*self.hasher.finalize().as_bytes()), size: self.size }
    }
}

impl Write for Named<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A folder that gets its name when it is whole; dropped before, it is gone.
struct Draft {
    path: PathBuf,
}

impl Draft {
    /// An empty private folder beside `target`, in place of one that was not finished.
    fn make(target: &Path) -> Result<Self, ManagerError> {
        let mut name = OsString::from(target);
        name.push(".partial");
        let path = PathBuf::from(name);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(&path)(error)),
            _ => {}
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(at(&path))?;
        Ok(Self { path })
    }

    fn keep(self, target: &Path) -> Result<(), ManagerError> {
        let sync = |dir: &Path| File::open(dir).and_then(|dir| dir.sync_all()).map_err(at(dir));
        sync(&self.path)?;
        crash_point!("manager.draft.synced");
        fs::rename(&self.path, target).map_err(at(target))?;
        crash_point!("manager.draft.named");
        match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => sync(parent),
            _ => sync(Path::new(".")),
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Once it has its name there is nothing here.
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> ManagerError {
    let path = path.to_owned();
    move |source| ManagerError::DataDir { path, source }
}

fn not_whole(from: &Path, problem: &str) -> ManagerError {
    ManagerError::NotWhole { path: from.to_owned(), problem: problem.to_owned() }
}
