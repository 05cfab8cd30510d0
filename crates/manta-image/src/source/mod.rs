//! Where images come from: OCI layouts and `docker save` archives, packed in a tar file or as a directory.
//!
//! A source is read without unpacking it: each of its parts is a stretch of a file.

mod docker;
mod files;
mod layout;

use std::path::Path;

use crate::{ImageError, Platform, Sha256};

pub(crate) use files::{Extent, Files, blob_name};

/// Bytes of one JSON document of an image.
pub(crate) const DOCUMENT_BYTES_MAX: u64 = 8 << 20;

/// The parts of one image. Nothing but what is said here was checked.
#[derive(Debug)]
pub(crate) struct Source {
    /// The digest of its manifest, which was checked; absent where the form has none.
    pub(crate) manifest: Option<Sha256>,
    /// Its configuration; where the form names a digest, it was checked.
    pub(crate) config: Vec<u8>,
    /// Its layers, the lowest first.
    pub(crate) layers: Vec<SourceLayer>,
    /// What it is called there.
    pub(crate) names: Vec<String>,
}

/// A packed layer.
#[derive(Debug)]
pub(crate) struct SourceLayer {
    /// Where it lies.
    pub(crate) extent: Extent,
    /// The digest that its packed form must have, where the form names one.
    pub(crate) digest: Option<Sha256>,
}

impl Source {
    /// Reads what a file or directory holds.
    pub(crate) fn open(path: &Path, platform: &Platform) -> Result<Self, ImageError> {
        let files = Files::open(path)?;
        let problem = |problem: String| ImageError::NotAnImage { path: path.to_owned(), problem };
        if files.find("index.json").is_some() {
            layout::read(&files, platform)
        } else if files.find("manifest.json").is_some() {
            docker::read(&files)
        } else {
            Err(problem(
                "it has neither an `index.json`, as OCI layouts do, nor a `manifest.json`, as `docker save` writes"
                    .to_owned(),
            ))
        }
    }
}
