//! Takes images away: by name, when nobody needs them, or to make room. What is in use stays, whoever asks.

use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::io;

use super::{Changing, Store, disk};
use crate::{ImageError, ImageName, Sha256};

/// An image that was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// Its digest.
    pub id: Sha256,
    /// What it was called.
    pub names: Vec<ImageName>,
    /// Bytes of layers that went with it.
    pub bytes: u64,
}

impl Store {
    /// Removes a name, and the image with its last name; a digest removes the image with all its names.
    ///
    /// # Errors
    /// [`ImageError::InUse`] while a task runs in it; nothing is removed then.
    pub fn remove(&self, wanted: &str) -> Result<Option<Removed>, ImageError> {
        let changing = self.change()?;
        let record = self.find(wanted)?;
        let names: Vec<ImageName> =
            self.names()?.into_iter().filter(|(_, id)| *id == record.id).map(|(name, _)| name).collect();
        let by_name = wanted.parse::<ImageName>().ok().filter(|name| names.contains(name));
        if let Some(name) = by_name.filter(|_| names.len() > 1) {
            changing.rename(|all| all.retain(|known, _| *known != name))?;
            return Ok(None);
        }
        if !changing.take_away(record.id)? {
            return Err(ImageError::InUse { wanted: wanted.to_owned() });
        }
        let bytes = changing.drop_layers()?;
        Ok(Some(Removed { id: record.id, names, bytes }))
    }

    /// Removes images without a name, then those used least recently until at most `bytes_max` bytes are left.
    ///
    /// # Errors
    /// If the store cannot be read or changed.
    pub fn prune(&self, bytes_max: Option<u64>) -> Result<Vec<Removed>, ImageError> {
        let changing = self.change()?;
        let nameless = self.list()?.into_iter().filter(|image| image.names.is_empty());
        let mut removed = Vec::new();
        for image in nameless {
            if changing.take_away(image.record.id)? {
                removed.push(Removed { id: image.record.id, names: image.names, bytes: changing.drop_layers()? });
            }
        }
        changing.drop_layers()?;
        removed.extend(changing.make_room(bytes_max.unwrap_or(self.bytes_max), None)?);
        Ok(removed)
    }

    /// Bytes of all unpacked layers.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn bytes(&self) -> Result<u64, ImageError> {
        let images = self.list()?;
        let layers = images.iter().flat_map(|image| &image.record.layers).map(|layer| (layer.digest, layer.bytes));
        Ok(layers.collect::<std::collections::BTreeMap<_, _>>().values().sum())
    }
}

impl Changing<'_> {
    /// Removes images, the least recently used first, until the rest fits; `kept` is not among them.
    pub(super) fn make_room(&self, bytes_max: u64, kept: Option<Sha256>) -> Result<Vec<Removed>, ImageError> {
        let mut removed = Vec::new();
        if self.store.bytes()? <= bytes_max {
            return Ok(removed);
        }
        let mut images = self.store.list()?;
        images.retain(|image| kept != Some(image.record.id));
        images.sort_by_key(|image| image.used);
        for image in images {
            if !self.take_away(image.record.id)? {
                continue;
            }
            removed.push(Removed { id: image.record.id, names: image.names, bytes: self.drop_layers()? });
            if self.store.bytes()? <= bytes_max {
                break;
            }
        }
        Ok(removed)
    }

    /// Removes an image and its names; false where it is in use.
    fn take_away(&self, id: Sha256) -> Result<bool, ImageError> {
        let path = self.store.use_file(id);
        let failed = |error| ImageError::store(&path)(error);
        let lock = File::options().write(true).open(&path).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        self.rename(|names| names.retain(|_, named| *named != id))?;
        self.discard(&self.store.image_dir(id))?;
        Ok(true)
    }

    /// Removes layers that no image has; tells how many bytes they had.
    fn drop_layers(&self) -> Result<u64, ImageError> {
        let images = self.store.list()?;
        let needed: BTreeSet<Sha256> =
            images.iter().flat_map(|image| &image.record.layers).map(|layer| layer.digest).collect();
        let mut bytes = 0;
        for layer in self.store.digests_in("layers")? {
            if needed.contains(&layer) {
                continue;
            }
            let path = self.store.layer_dir(layer);
            let known: Option<super::record::LayerFile> = disk::read_json(&path.join("layer.json"))?;
            bytes += known.map_or(0, |layer| layer.record.bytes);
            self.discard(&path)?;
        }
        Ok(bytes)
    }

    /// Takes a directory out of sight in one step, then removes it.
    fn discard(&self, path: &std::path::Path) -> Result<(), ImageError> {
        let hidden = self.fresh()?;
        let gone = std::fs::rename(path, hidden.join("gone")).and_then(|()| disk::empty(&hidden));
        gone.and_then(|()| std::fs::remove_dir(&hidden)).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(ImageError::store(path)(error)),
        })
    }
}
