//! What `docker save` writes: `manifest.json` names a configuration and layers, without digests of the packed layers.

use serde::Deserialize;

use super::files::Files;
use super::{Source, SourceLayer};
use crate::ImageError;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// Reads the one image of an archive.
pub(super) fn read(files: &Files) -> Result<Source, ImageError> {
    let saved: Vec<Saved> = serde_json::from_slice(&files.document("manifest.json")?)
        .map_err(|error| files.problem(format!("its `manifest.json` cannot be read: {error}")))?;
    let [image] = saved.as_slice() else {
        return Err(files.problem(format!("it holds {} images; save one at a time", saved.len())));
    };
    let layer = |name: &String| {
        let extent = files.find(name).ok_or_else(|| files.problem(format!("it lacks the layer `{name}`")))?;
        Ok(SourceLayer { extent, digest: None })
    };
    Ok(Source {
        manifest: None,
        config: files.document(&image.config)?,
        layers: image.layers.iter().map(layer).collect::<Result<_, ImageError>>()?,
        names: image.repo_tags.clone().unwrap_or_default(),
    })
}
