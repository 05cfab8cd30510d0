//! The images of this node: which name stands for what, and what a task finds that runs in one.
mod curated;
mod stored;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use manta_image::{ImageError, ImageName, Store};
use manta_sandbox::{HostImage, Link, Mount, Tier};

use crate::NodeError;
use curated::Curated;
use stored::Stored;

/// What stands for the curated image of the host in [`crate::Settings::image_names`].
const HOST: &str = "host";

/// Every image that tasks here may ask for.
pub(crate) struct Images {
    curated: Curated,
    store: Store,
    /// Names of the site's own, and the stored image that each stands for.
    named: BTreeMap<String, String>,
    /// Whether a task can have another root directory than the host's.
    has_roots: bool,
}

/// What one attempt runs in.
pub(crate) enum Environment<'a> {
    /// The host's interpreter and packages.
    Host(&'a HostImage),
    /// An image of the store, kept while the attempt lasts.
    Stored(Box<Stored>),
}

impl Images {
    /// Looks at an interpreter and its packages. Blocks.
    pub(crate) fn probe(
        python: &Path,
        store: Store,
        named: BTreeMap<String, String>,
        tier: Tier,
    ) -> Result<Self, NodeError> {
        Ok(Self { curated: Curated::probe(python)?, store, named, has_roots: tier.maps_paths() })
    }

    /// The interpreter that curated images are made of.
    pub(crate) fn host(&self) -> &HostImage {
        self.curated.host()
    }

    /// Names of all images that are here now. Reads a small file.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: BTreeSet<String> = self.curated.names().map(str::to_owned).collect();
        if self.has_roots {
            match self.store.names() {
                Ok(stored) => names.extend(stored.keys().map(ImageName::to_string)),
                Err(error) => tracing::warn!(%error, "the names of stored images cannot be read"),
            }
        }
        names.extend(self.named.keys().cloned());
        names.into_iter().collect()
    }

    /// What each image is: the digest of a stored one, or a fingerprint of the host's. Reads a small file.
    pub(crate) fn digests(&self) -> HashMap<String, String> {
        let stored = self.store.names().unwrap_or_default();
        let digest = |image: String| {
            let meant = self.named.get(&image).map_or(image.as_str(), String::as_str);
            let found = stored.iter().find(|(name, _)| name.as_str() == meant && self.has_roots);
            let digest = match found {
                Some((_, digest)) => digest.to_string(),
                None if meant.starts_with("sha256:") => meant.to_owned(),
                None => self.curated.fingerprint().to_owned(),
            };
            (image, digest)
        };
        self.names().into_iter().map(digest).collect()
    }

    /// What an image's name stands for: a name of the site's own, then a stored image, then the curated one. Blocks.
    ///
    /// # Errors
    /// One sentence: which image, and what is missing.
    pub(crate) fn resolve(&self, image: &str) -> Result<Environment<'_>, String> {
        let short = image.strip_prefix("manta_light:").unwrap_or(image);
        match self.named.get(image).or_else(|| self.named.get(short)).map(String::as_str) {
            Some(HOST) => return self.host_environment(image),
            Some(stored) => return self.stored(image, stored),
            None => {}
        }
        let stored = self.store.names().map_err(|error| error.to_string())?;
        match short.parse::<ImageName>().ok().filter(|name| stored.contains_key(name)) {
            Some(name) => self.stored(image, name.as_str()),
            None => self.host_environment(image),
        }
    }

    fn host_environment(&self, image: &str) -> Result<Environment<'_>, String> {
        self.curated.check(image)?;
        Ok(Environment::Host(self.curated.host()))
    }

    fn stored(&self, image: &str, stored: &str) -> Result<Environment<'_>, String> {
        let refuse = |problem: String| Err(format!("the image `{image}` cannot be used: {problem}"));
        if !self.has_roots {
            return refuse("this node contains tasks at tier `reduced`, which gives them no root directory".to_owned());
        }
        let held = match self.store.hold(stored) {
            Ok(held) => held,
            Err(error @ ImageError::Unknown { .. }) => return refuse(error.to_string()),
            Err(error) => return refuse(format!("`{stored}`: {error}")),
        };
        match Stored::new(held) {
            Ok(stored) => Ok(Environment::Stored(Box::new(stored))),
            Err(problem) => refuse(problem),
        }
    }
}

impl Environment<'_> {
    /// The interpreter, as the task sees it.
    pub(crate) fn python(&self) -> &Path {
        match self {
            Self::Host(host) => host.python(),
            Self::Stored(stored) => stored.python(),
        }
    }

    /// What is mounted.
    pub(crate) fn mounts(&self) -> &[Mount] {
        match self {
            Self::Host(host) => host.mounts(),
            Self::Stored(stored) => stored.mounts(),
        }
    }

    /// Links that are made in the root directory.
    pub(crate) fn links(&self) -> &[Link] {
        match self {
            Self::Host(host) => host.links(),
            Self::Stored(stored) => stored.links(),
        }
    }

    /// Variables that the image asks for.
    pub(crate) fn variables(&self) -> &[(String, String)] {
        match self {
            Self::Host(_) => &[],
            Self::Stored(stored) => stored.variables(),
        }
    }
}
