//! The images of one user or node, in a directory: layers and images by digest, and names for people.
//!
//! ```text
//! layers/HEX/    tree/ what one layer holds; layer.json
//! images/HEX/    root/ the layers merged, by hard links; config.json; image.json; in-use: who uses it holds a lock
//! names.json     name → digest
//! new/           what is being made; swept by whoever takes the lock
//! lock           held by whoever changes the store
//! ```
//!
//! What has its final name is whole: it is made under `new/`, synced, and renamed. Readers take no lock.

mod collect;
mod disk;
mod import;
mod incoming;
mod merge;
mod record;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

pub use collect::Removed;
pub use import::Imported;
pub use incoming::Incoming;
pub use record::{ImageRecord, LayerRecord};

use manta_types::{PythonVersion, Runtime};
use rustix::fs::{Mode, OFlags};

use crate::{ImageError, ImageName, Platform, Program, Sha256, Unpacker, program};
use disk::{private_dir, read_json, replace};

/// Bytes of unpacked layers that a store keeps; the images that were used least recently go first.
const STORE_BYTES_MAX: u64 = 200 << 30;

/// The file of an image that whoever uses it holds a lock on.
const USE_FILE: &str = "in-use";

/// A directory of images.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    unpacker: Unpacker,
    platform: Platform,
    bytes_max: u64,
}

/// An image as a list shows it.
#[derive(Debug, Clone)]
pub struct Listed {
    /// What it is called here; may be empty.
    pub names: Vec<ImageName>,
    /// What is known of it.
    pub record: ImageRecord,
    /// When it was last used or taken in.
    pub used: SystemTime,
}

/// An image that is kept for as long as this lives, whoever wants it gone.
#[derive(Debug)]
pub struct Held {
    record: ImageRecord,
    root: PathBuf,
    _lock: File,
}

/// An image that was there once, and may be removed like any other.
#[derive(Debug)]
pub struct Seen {
    path: PathBuf,
    /// Kept open, so that no other file can come to have its number.
    _file: File,
    number: (u64, u64),
}

impl Seen {
    /// Whether it is there still: not removed, nor removed and taken in again.
    pub fn is_there(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|found| number_of(&found) == self.number)
    }

    /// Whether both are of one image that was not removed between them.
    pub fn is_same(&self, other: &Self) -> bool {
        self.path == other.path && self.number == other.number
    }
}

/// What tells a file from all others that are there.
fn number_of(file: &std::fs::Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

impl Held {
    /// What tells later whether it is there still.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn seen(&self) -> Result<Seen, ImageError> {
        let path = self.root.with_file_name(USE_FILE);
        // A file of its own: it does not keep the image, as the lock does.
        let opened = File::open(&path).and_then(|file| Ok((number_of(&file.metadata()?), file)));
        let (number, file) = opened.map_err(ImageError::store(&path))?;
        Ok(Seen { path, _file: file, number })
    }

    /// What is known of it.
    pub fn record(&self) -> &ImageRecord {
        &self.record
    }

    /// The directory that holds its files; never to be written to.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The program that it names to be run. Reads its configuration.
    ///
    /// # Errors
    /// Why there is none that can be run, to follow the image's name in a sentence.
    pub fn program(&self) -> Result<Program, String> {
        let json = std::fs::read(self.root.with_file_name("config.json"));
        let json = json.map_err(|error| format!("its configuration cannot be read: {error}"))?;
        let root = rustix::fs::open(&self.root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let root = root.map_err(|error| format!("its root directory cannot be read: {error}"))?;
        program::find(&root, &json, self.record.settings.path())
    }

    /// Its Python and C library, where both can be told. Reads the library.
    pub fn runtime(&self) -> Option<Runtime> {
        let (major, minor) = self.record.python_version()?;
        let root = rustix::fs::open(&self.root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let library = crate::library::find(&root.ok()?)?;
        let python = PythonVersion { major: major.try_into().ok()?, minor: minor.try_into().ok()? };
        Some(Runtime {
            python,
            platform: manta_types::Platform { machine: std::env::consts::ARCH.to_owned(), library },
        })
    }
}

/// The right to change a store.
struct Changing<'a> {
    store: &'a Store,
    _lock: File,
}

impl Store {
    /// The store in a directory, whose path is absolute. It is made, closed to other users, when something is first put there;
    /// until then it is empty.
    pub fn new(root: PathBuf, unpacker: Unpacker) -> Self {
        Self { root, unpacker, platform: Platform::of_this_machine(), bytes_max: STORE_BYTES_MAX }
    }

    /// Where it lies.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Which name stands for which image.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn names(&self) -> Result<BTreeMap<ImageName, Sha256>, ImageError> {
        Ok(read_json(&self.root.join("names.json"))?.unwrap_or_default())
    }

    /// All images, by their first name.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn list(&self) -> Result<Vec<Listed>, ImageError> {
        let mut named: BTreeMap<Sha256, Vec<ImageName>> = BTreeMap::new();
        for (name, id) in self.names()? {
            named.entry(id).or_default().push(name);
        }
        let mut list = Vec::new();
        for id in self.digests_in("images")? {
            // What is removed meanwhile is not there.
            let Some(record) = self.record(id)? else { continue };
            let used = std::fs::metadata(self.use_file(id)).and_then(|file| file.modified());
            let used = used.unwrap_or(SystemTime::UNIX_EPOCH);
            list.push(Listed { names: named.remove(&id).unwrap_or_default(), record, used });
        }
        list.sort_by(|one, other| (one.names.first(), one.record.id).cmp(&(other.names.first(), other.record.id)));
        Ok(list)
    }

    /// The image of a name, or of a digest or the beginning of one, at least seven digits long.
    ///
    /// # Errors
    /// [`ImageError::Unknown`] with the nearest name.
    pub fn find(&self, wanted: &str) -> Result<ImageRecord, ImageError> {
        let names = self.names()?;
        let id = wanted.parse::<ImageName>().ok().and_then(|name| names.get(&name).copied());
        let id = match id {
            Some(id) => Some(id),
            None => self.by_digits(wanted.strip_prefix("sha256:").unwrap_or(wanted))?,
        };
        let record = id.map(|id| self.record(id)).transpose()?.flatten();
        record.ok_or_else(|| {
            let known = || names.keys().map(ImageName::as_str);
            let instead = match manta_types::name::nearest(wanted, known()) {
                Some(near) => Some(format!("did you mean `{near}`?")),
                None if names.is_empty() => Some("it is empty; take one in with `manta image import`".to_owned()),
                None => Some(format!("there are {}", known().collect::<Vec<_>>().join(", "))),
            };
            ImageError::Unknown { wanted: wanted.to_owned(), store: self.root.clone(), instead }
        })
    }

    /// Finds an image and keeps it from being removed.
    ///
    /// # Errors
    /// As [`Store::find`].
    pub fn hold(&self, wanted: &str) -> Result<Held, ImageError> {
        let record = self.find(wanted)?;
        let path = self.use_file(record.id);
        let failed = |error| ImageError::store(&path)(error);
        let gone = || ImageError::Unknown { wanted: wanted.to_owned(), store: self.root.clone(), instead: None };
        let lock = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(gone()),
            opened => opened.map_err(failed)?,
        };
        lock.lock_shared().map_err(failed)?;
        // Whoever removed it before we had the lock has moved it away, lock file and all.
        let inode = |metadata: io::Result<std::fs::Metadata>| metadata.map(|metadata| metadata.ino()).ok();
        if inode(std::fs::metadata(&path)) != inode(lock.metadata()) {
            return Err(gone());
        }
        disk::touch(&lock).map_err(failed)?;
        Ok(Held { root: self.image_dir(record.id).join("root"), record, _lock: lock })
    }

    fn by_digits(&self, digits: &str) -> Result<Option<Sha256>, ImageError> {
        const DIGITS_MIN: usize = 7;
        if digits.len() < DIGITS_MIN {
            return Ok(None);
        }
        let mut found = self.digests_in("images")?.into_iter().filter(|id| id.hex().starts_with(digits));
        Ok(found.next().filter(|_| found.next().is_none()))
    }

    /// What is known of an image; nothing where it is not there.
    fn record(&self, id: Sha256) -> Result<Option<ImageRecord>, ImageError> {
        read_json(&self.image_dir(id).join("image.json"))
    }

    /// Takes the right to change the store, and sweeps what others left unfinished.
    fn change(&self) -> Result<Changing<'_>, ImageError> {
        for part in ["layers", "images", "new"] {
            let part = self.root.join(part);
            private_dir(&part).map_err(ImageError::store(&part))?;
        }
        let path = self.root.join("lock");
        let lock = disk::lock_file(&path).and_then(|lock| lock.lock().map(|()| lock));
        let changing = Changing { store: self, _lock: lock.map_err(ImageError::store(&path))? };
        let new = self.root.join("new");
        disk::empty(&new).map_err(ImageError::store(&new))?;
        Ok(changing)
    }

    fn digests_in(&self, part: &str) -> Result<Vec<Sha256>, ImageError> {
        let path = self.root.join(part);
        let entries = match std::fs::read_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(ImageError::store(&path))?,
        };
        let digests = entries.flatten().filter_map(|entry| Sha256::from_hex(entry.file_name().to_str()?));
        Ok(digests.collect())
    }

    fn image_dir(&self, id: Sha256) -> PathBuf {
        self.root.join("images").join(id.hex())
    }

    fn layer_dir(&self, layer: Sha256) -> PathBuf {
        self.root.join("layers").join(layer.hex())
    }

    fn use_file(&self, id: Sha256) -> PathBuf {
        self.image_dir(id).join(USE_FILE)
    }
}

impl Changing<'_> {
    /// Replaces the names.
    fn rename(&self, change: impl FnOnce(&mut BTreeMap<ImageName, Sha256>)) -> Result<(), ImageError> {
        let mut names = self.store.names()?;
        change(&mut names);
        let path = self.store.root.join("names.json");
        let json = serde_json::to_vec_pretty(&names).expect("names and digests are text");
        replace(&path, &json).map_err(ImageError::store(&path))
    }

    /// An empty directory for something new; swept if it is not given another name.
    fn fresh(&self) -> Result<PathBuf, ImageError> {
        let new = self.store.root.join("new");
        // Nobody else makes anything there while we have the lock.
        let mut names = (0u64..).map(|number| new.join(number.to_string()));
        let path = names.find(|path| !path.exists()).expect("numbers do not run out");
        private_dir(&path).map(|()| path).map_err(ImageError::store(&new))
    }

    /// Gives a finished directory its name, so that it survives whatever comes.
    fn publish(&self, fresh: &Path, path: &Path) -> Result<(), ImageError> {
        disk::publish(fresh, path).map_err(ImageError::store(path))
    }
}
