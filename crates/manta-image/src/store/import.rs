//! Takes an image in: every digest is checked, every layer unpacked once, and the whole counts only when all of it is on disk.

use std::io::{self, Read as _};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::disk::{read_json, touch};
use super::record::LayerFile;
use super::{Changing, ImageRecord, LayerRecord, Removed, Store, disk, merge};
use crate::beneath::Inner;
use crate::digest::Hashing;
use crate::python;
use crate::source::{Source, SourceLayer};
use crate::{ImageError, ImageName, Settings, Sha256};

/// What a registry is called that names leave out.
const DEFAULT_PREFIXES: [&str; 3] = ["docker.io/library/", "docker.io/", "localhost/"];

/// An image that was taken in.
#[derive(Debug)]
pub struct Imported {
    /// What it is called here.
    pub names: Vec<ImageName>,
    /// What is known of it.
    pub record: ImageRecord,
    /// Whether the store had it already.
    pub was_there: bool,
    /// Images that had to go to make room.
    pub removed: Vec<Removed>,
}

impl Store {
    /// Takes in the image that a file or directory holds: an OCI layout, or what `docker save` writes. It gets `name`, else the
    /// names that it has there. An image of the same name loses it.
    ///
    /// # Errors
    /// One sentence: what of the image is refused and why. Nothing of it is left then, but for layers that were whole.
    pub fn import(&self, path: &Path, name: Option<ImageName>) -> Result<Imported, ImageError> {
        let told = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        self.import_from(path, name, told.display().to_string())
    }

    /// [`Store::import`] of a file that stands for something else, which `origin` tells.
    ///
    /// # Errors
    /// As [`Store::import`].
    pub fn import_from(&self, path: &Path, name: Option<ImageName>, origin: String) -> Result<Imported, ImageError> {
        let source = Source::open(path, &self.platform)?;
        let names = match name {
            Some(name) => vec![name],
            None => names(&source.names),
        };
        if names.is_empty() {
            return Err(ImageError::Nameless { path: path.to_owned() });
        }
        self.take_in(path, &source, names, origin)
    }

    fn take_in(
        &self,
        path: &Path,
        source: &Source,
        names: Vec<ImageName>,
        origin: String,
    ) -> Result<Imported, ImageError> {
        let problem = |problem: String| ImageError::NotAnImage { path: path.to_owned(), problem };
        let settings = Settings::parse(&source.config).map_err(problem)?;
        if settings.platform != self.platform {
            let (found, machine) = (settings.platform.to_string(), self.platform.to_string());
            return Err(ImageError::Platform { found, machine });
        }
        if settings.layers.len() != source.layers.len() {
            let (told, has) = (settings.layers.len(), source.layers.len());
            return Err(problem(format!("its configuration names {told} layers, and it has {has}")));
        }
        let id = Sha256::of(&source.config);
        let changing = self.change()?;
        let known = self.record(id)?;
        let was_there = known.is_some();
        let record = match known {
            Some(record) => record,
            None => changing.make_image(id, source, settings, origin)?,
        };
        changing.rename(|all| all.extend(names.iter().map(|name| (name.clone(), id))))?;
        let removed = changing.make_room(self.bytes_max, Some(id))?;
        Ok(Imported { names, record, was_there, removed })
    }
}

/// What an image is called here: without the default registry and tag, and only what can be a name.
fn names(told: &[String]) -> Vec<ImageName> {
    let plain = |name: &String| {
        let short = DEFAULT_PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
        short.strip_suffix(":latest").unwrap_or(short).parse().ok()
    };
    told.iter().filter_map(plain).collect()
}

impl Changing<'_> {
    fn make_image(
        &self,
        id: Sha256,
        source: &Source,
        settings: Settings,
        origin: String,
    ) -> Result<ImageRecord, ImageError> {
        let pairs = settings.layers.iter().zip(&source.layers).enumerate();
        let layers = pairs.map(|(index, (digest, layer))| self.layer(index + 1, *digest, layer));
        let layers: Vec<LayerFile> = layers.collect::<Result<_, _>>()?;
        let fresh = self.fresh()?;
        let failed = |error| ImageError::store(&fresh)(error);
        let root = fresh.join("root");
        let trees = layers.iter().map(|layer| (self.store.layer_dir(layer.record.digest).join("tree"), layer));
        merge::merge(&root, trees).map_err(failed)?;
        let opened = rustix::fs::open(&root, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        let python = python::find(&opened.map_err(|error| failed(error.into()))?, settings.path());
        let layers: Vec<LayerRecord> = layers.iter().map(|layer| layer.record).collect();
        let record = ImageRecord { id, manifest: source.manifest, settings, layers, source: origin, python };
        let json = serde_json::to_vec_pretty(&record).map_err(|error| failed(error.into()))?;
        std::fs::write(fresh.join("config.json"), &source.config).map_err(failed)?;
        std::fs::write(fresh.join("image.json"), json).map_err(failed)?;
        disk::lock_file(&fresh.join(super::USE_FILE)).and_then(|file| touch(&file)).map_err(failed)?;
        self.publish(&fresh, &self.store.image_dir(id))?;
        Ok(record)
    }

    /// A layer of the store, unpacked first where it is not there.
    fn layer(&self, number: usize, digest: Sha256, packed: &SourceLayer) -> Result<LayerFile, ImageError> {
        let path = self.store.layer_dir(digest);
        if let Some(known) = read_json::<LayerFile>(&path.join("layer.json"))? {
            return Ok(known);
        }
        if let Some(told) = packed.digest {
            check_digest(number, packed, told)?;
        }
        let fresh = self.fresh()?;
        let tree = fresh.join("tree");
        disk::private_dir(&tree).map_err(ImageError::store(&tree))?;
        let unpacked = self.store.unpacker.run(number, packed.extent.open()?, packed.extent.length, &tree)?;
        if unpacked.digest != digest {
            let what = format!("layer {number} of the image, unpacked,");
            return Err(ImageError::Digest { what, found: unpacked.digest, told: digest });
        }
        let inner = |paths: Vec<String>| {
            let inner = |path: String| Inner::parse(path.as_bytes()).map(|inner| inner.as_path().to_owned());
            let paths: Result<Vec<_>, _> = paths.into_iter().map(inner).collect();
            paths.map_err(|problem| ImageError::Unpacker(format!("it names a path that {problem}")))
        };
        let record = LayerRecord { digest, bytes: unpacked.bytes, entries: unpacked.entries };
        let layer = LayerFile { record, removed: inner(unpacked.removed)?, opaque: inner(unpacked.opaque)? };
        let json = serde_json::to_vec(&layer).map_err(io::Error::from);
        let file = fresh.join("layer.json");
        json.and_then(|json| std::fs::write(&file, json)).map_err(ImageError::store(&file))?;
        self.publish(&fresh, &path)?;
        Ok(layer)
    }
}

/// Reads a packed layer once, before anything of it is believed.
fn check_digest(number: usize, packed: &SourceLayer, told: Sha256) -> Result<(), ImageError> {
    let mut reader = Hashing::new(packed.extent.open()?.take(packed.extent.length));
    io::copy(&mut reader, &mut io::sink()).map_err(ImageError::file(&packed.extent.path))?;
    match reader.finish() {
        (_, found, _) if found == told => Ok(()),
        (_, found, _) => Err(ImageError::Digest { what: format!("layer {number} of the image"), found, told }),
    }
}
