//! OCI layouts: `index.json` leads to manifests, and those to blobs named by their digests.

use super::files::{Files, blob_name};
use super::{Source, SourceLayer};
use crate::oci::{Descriptor, Index, Manifest};
use crate::{ImageError, Platform, Sha256};

/// Indexes inside indexes.
const DEPTH_MAX: usize = 4;
/// Where tools write what an image is called, in full and in short.
const NAMES: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

/// Reads the one image of a layout that is for this platform.
pub(super) fn read(files: &Files, platform: &Platform) -> Result<Source, ImageError> {
    let mut found = Vec::new();
    let mut others = Vec::new();
    let index = parse_index(files, &files.document("index.json")?)?;
    collect(files, &index, platform, 0, &mut found, &mut others)?;
    found.dedup_by(|one, other| one.digest == other.digest);
    match found.as_slice() {
        [one] => image(files, one),
        [] if others.is_empty() => Err(files.problem("its `index.json` names no image".to_owned())),
        [] => Err(ImageError::Platform { found: others.join(", "), machine: platform.to_string() }),
        several => {
            let names: Vec<String> = several.iter().flat_map(names).collect();
            let what = if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) };
            Err(files.problem(format!("it holds {} images{what}; export one at a time", several.len())))
        }
    }
}

fn parse_index(files: &Files, json: &[u8]) -> Result<Index, ImageError> {
    serde_json::from_slice(json).map_err(|error| files.problem(format!("an index in it cannot be read: {error}")))
}

/// Finds the manifests that are for this platform, or for none in particular.
fn collect(
    files: &Files,
    index: &Index,
    platform: &Platform,
    depth: usize,
    found: &mut Vec<Descriptor>,
    others: &mut Vec<String>,
) -> Result<(), ImageError> {
    if depth > DEPTH_MAX {
        return Err(files.problem(format!("its indexes lie more than {DEPTH_MAX} deep in each other")));
    }
    for descriptor in &index.manifests {
        if descriptor.is_index() {
            let inner = parse_index(files, &files.blob(sha256(files, descriptor)?)?)?;
            let mut inner_found = Vec::new();
            collect(files, &inner, platform, depth + 1, &mut inner_found, others)?;
            // The names are those of the index.
            for mut one in inner_found {
                one.annotations = one.annotations.or_else(|| descriptor.annotations.clone());
                found.push(one);
            }
            continue;
        }
        match &descriptor.platform {
            // Attestations are for no machine at all.
            Some(of) if of.os == "unknown" => {}
            Some(of) if of != platform => others.push(of.to_string()),
            _ => found.push(descriptor.clone()),
        }
    }
    Ok(())
}

fn image(files: &Files, descriptor: &Descriptor) -> Result<Source, ImageError> {
    let digest = sha256(files, descriptor)?;
    let manifest = files.blob(digest)?;
    let manifest: Manifest = serde_json::from_slice(&manifest)
        .map_err(|error| files.problem(format!("its manifest cannot be read: {error}")))?;
    let config = files.blob(sha256(files, &manifest.config)?)?;
    let layers = manifest.layers.iter().map(|layer| {
        let digest = sha256(files, layer)?;
        let name = blob_name(digest);
        let extent = files.find(&name).ok_or_else(|| files.problem(format!("it lacks the file `{name}`")))?;
        if extent.length != layer.size {
            let (has, told) = (extent.length, layer.size);
            return Err(files.problem(format!("its `{name}` has {has} bytes, and its manifest says {told}")));
        }
        Ok(SourceLayer { extent, digest: Some(digest) })
    });
    let layers = layers.collect::<Result<_, _>>()?;
    Ok(Source { manifest: Some(digest), config, layers, names: names(descriptor) })
}

fn sha256(files: &Files, descriptor: &Descriptor) -> Result<Sha256, ImageError> {
    let digest = descriptor.digest.parse();
    digest.map_err(|error| files.problem(format!("it names a blob by a digest that is not known: {error}")))
}

/// What the layout calls an image; a bare tag is no name.
fn names(descriptor: &Descriptor) -> Vec<String> {
    let annotations = descriptor.annotations.as_ref();
    let told = NAMES.iter().find_map(|key| annotations?.get(*key));
    told.into_iter().filter(|name| name.as_str() != "latest").cloned().collect()
}
