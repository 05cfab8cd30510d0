//! What a store writes down of its images and layers.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::python::Python;
use crate::{Settings, Sha256};

/// What is known of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// The digest of its configuration, which names all its layers: equal on every machine.
    pub id: Sha256,
    /// The digest of the manifest that it came with, where there was one.
    pub manifest: Option<Sha256>,
    /// What it asks of those that run it.
    pub settings: Settings,
    /// Its layers, the lowest first.
    pub layers: Vec<LayerRecord>,
    /// Where it came from.
    pub source: String,
    pub(crate) python: Option<Python>,
}

impl ImageRecord {
    /// Bytes of its files, those of layers that it shares with others included.
    pub fn bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.bytes).sum()
    }

    /// Where its interpreter is, as seen inside.
    pub fn python(&self) -> Option<&Path> {
        self.python.as_ref().map(|python| python.path.as_path())
    }

    /// Its Python's major and minor version, where that can be told without running it.
    pub fn python_version(&self) -> Option<(u32, u32)> {
        self.python.as_ref()?.version
    }
}

/// What is known of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerRecord {
    /// The digest of its unpacked archive.
    pub digest: Sha256,
    /// Bytes of its files.
    pub bytes: u64,
    /// Files, directories and links.
    pub entries: u64,
}

/// A layer's `layer.json`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LayerFile {
    #[serde(flatten)]
    pub(super) record: LayerRecord,
    /// Paths that it takes away from the layers below.
    pub(super) removed: Vec<PathBuf>,
    /// Directories of which nothing below shows through.
    pub(super) opaque: Vec<PathBuf>,
}
