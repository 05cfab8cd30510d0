//! The images of this node: which name stands for what, and what a task finds that runs in one.
mod asked;
mod curated;
mod stored;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use manta_image::{ImageError, ImageName, Installed, Listed, Program, Sha256, Store};
use manta_sandbox::{HostImage, Link, Mount, Tier};
use manta_types::Runtime;

use crate::NodeError;
use crate::supervisor::blocking;
use curated::Curated;
pub(crate) use stored::Stored;

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
    Host(&'a Curated),
    /// An image of the store, kept while the attempt lasts.
    Stored(Box<Stored>),
}

impl Images {
    /// Looks at an interpreter and its packages; what it answers is kept in a folder, where there is one. Blocks.
    pub(crate) fn probe(
        python: &Path,
        answers: Option<&Path>,
        store: Store,
        named: BTreeMap<String, String>,
        tier: Tier,
    ) -> Result<Self, NodeError> {
        Ok(Self { curated: Curated::probe(python, answers)?, store, named, has_roots: tier.maps_paths() })
    }

    /// The interpreter that curated images are made of.
    pub(crate) fn host(&self) -> &HostImage {
        self.curated.host()
    }

    /// Python and machine of the images that are the host's, where locks of dependencies can name them.
    pub(crate) fn runtime(&self) -> Option<&Runtime> {
        self.curated.runtime()
    }

    /// Names of all images that are here now. Reads a small file.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: BTreeSet<String> = self.curated.names().map(str::to_owned).collect();
        if self.has_roots {
            names.extend(self.stored_names().unwrap_or_default().keys().map(ImageName::to_string));
        }
        names.extend(self.named.keys().cloned());
        names.into_iter().collect()
    }

    /// What each image is: the digest of a stored one, or a fingerprint of the host's. Reads a small file.
    pub(crate) fn digests(&self) -> HashMap<String, String> {
        let stored = self.stored_names();
        let digest = |image: String| {
            let meant = self.named.get(&image).map_or(image.as_str(), String::as_str);
            let digest = if meant.starts_with("sha256:") {
                meant.to_owned()
            } else {
                // Of what may be stored and cannot be read, nothing is told.
                let found = stored.as_ref()?.iter().find(|(name, _)| name.as_str() == meant && self.has_roots);
                found.map_or_else(|| self.curated.fingerprint().to_owned(), |(_, digest)| digest.to_string())
            };
            Some((image, digest))
        };
        self.names().into_iter().filter_map(digest).collect()
    }

    /// The names of what is stored; nothing where they cannot be read, which is said.
    fn stored_names(&self) -> Option<BTreeMap<ImageName, Sha256>> {
        let unread = |error: &ImageError| tracing::warn!(%error, "the names of stored images cannot be read");
        self.store.names().inspect_err(unread).ok()
    }

    /// The version of each stored image's Python, where it can be told. Reads a small file for each.
    pub(crate) fn pythons(&self) -> HashMap<String, String> {
        let unread = |error: &ImageError| tracing::warn!(%error, "the Python of stored images cannot be told");
        let stored =
            if self.has_roots { self.store.list().inspect_err(unread).unwrap_or_default() } else { Vec::new() };
        let python = |image: String| {
            let meant = self.named.get(&image).unwrap_or(&image);
            let is_meant = |known: &&Listed| {
                known.names.iter().any(|name| name.as_str() == meant) || known.record.id.to_string() == *meant
            };
            let version = stored.iter().find(is_meant)?.record.python_version()?;
            Some((image, in_words(version)))
        };
        self.names().into_iter().filter_map(python).collect()
    }

    /// What an image's name stands for: a name of the site's own, then a stored image, then the curated one.
    ///
    /// # Errors
    /// One sentence: which image, and what is missing.
    pub(crate) async fn resolve(self: &Arc<Self>, image: &str) -> Result<Environment<'_>, String> {
        let (images, image) = (Arc::clone(self), image.to_owned());
        Ok(match blocking(move || images.find(&image)).await? {
            Some(stored) => Environment::Stored(Box::new(stored)),
            None => Environment::Host(&self.curated),
        })
    }

    /// The image in which a task runs that another program started: a stored one by its digest, else the host's.
    ///
    /// # Errors
    /// One sentence.
    pub(crate) async fn take_over(
        self: &Arc<Self>,
        image: &str,
        digest: Option<String>,
    ) -> Result<Environment<'_>, String> {
        let Some(digest) = digest else { return Ok(Environment::Host(&self.curated)) };
        let (images, image) = (Arc::clone(self), image.to_owned());
        let stored = blocking(move || images.stored(&image, &digest)).await?;
        Ok(Environment::Stored(Box::new(stored)))
    }

    /// The stored image that a name stands for; nothing where it is the host's. Blocks.
    fn find(&self, image: &str) -> Result<Option<Stored>, String> {
        let short = image.strip_prefix("manta_light:").unwrap_or(image);
        match self.named.get(image).or_else(|| self.named.get(short)).map(String::as_str) {
            Some(HOST) => return self.curated.check(image).map(|()| None),
            Some(stored) => return self.stored(image, stored).map(Some),
            None => {}
        }
        let stored = self.store.names().map_err(|error| error.to_string())?;
        match short.parse::<ImageName>().ok().filter(|name| stored.contains_key(name)) {
            Some(name) => self.stored(image, name.as_str()).map(Some),
            None => self.curated.check(image).map(|()| None),
        }
    }

    fn stored(&self, image: &str, stored: &str) -> Result<Stored, String> {
        let refuse = |problem: String| Err::<Stored, _>(format!("the image `{image}` cannot be used: {problem}"));
        if !self.has_roots {
            return refuse("this node contains tasks at tier `reduced`, which gives them no root directory".to_owned());
        }
        let held = match self.store.hold(stored) {
            Ok(held) => held,
            Err(error @ ImageError::Unknown { .. }) => return refuse(error.to_string()),
            Err(error) => return refuse(format!("`{stored}`: {error}")),
        };
        Stored::new(held).or_else(refuse)
    }
}

impl Environment<'_> {
    /// The digest of a stored image.
    pub(crate) fn digest(&self) -> Option<String> {
        match self {
            Self::Host(_) => None,
            Self::Stored(stored) => Some(stored.digest()),
        }
    }

    /// Its Python and C library, where both are known. Blocks.
    pub(crate) fn runtime(&self) -> Option<Runtime> {
        match self {
            Self::Host(curated) => curated.runtime().cloned(),
            Self::Stored(stored) => stored.runtime(),
        }
    }

    /// The version of its Python, as far as it is known: `3.11.9`, or `3.11`.
    pub(crate) fn python_version(&self) -> Option<String> {
        match self {
            Self::Host(curated) => {
                let (major, minor, patch) = curated.host().version();
                Some(format!("{major}.{minor}.{patch}"))
            }
            Self::Stored(stored) => stored.python_version().map(in_words),
        }
    }

    /// Which packages of the image, as far as they are known, others of the same names take the place of: name and version.
    pub(crate) fn shadowed(&self, installed: &Installed) -> Vec<(String, String)> {
        let Self::Host(curated) = self else { return Vec::new() };
        let both = installed.distributions.iter().filter_map(|distribution| {
            let version = curated.packages().get(&distribution.name)?;
            Some((distribution.name.clone(), version.clone()))
        });
        both.collect()
    }

    /// Why a zygote of the image may have imported something that means something else with those packages: it would stay,
    /// whatever the lock says.
    pub(crate) fn contested(&self, installed: &Installed) -> Option<String> {
        match self {
            Self::Host(curated) => {
                let module = installed.modules.iter().find(|module| curated.host().has(module))?;
                Some(format!("`{module}` of its packages takes the place of the image's"))
            }
            Self::Stored(_) if installed.modules.is_empty() => None,
            Self::Stored(_) => {
                Some("its packages may take the place of what the image's zygote has imported".to_owned())
            }
        }
    }

    /// The image's own program, as its configuration names it.
    ///
    /// # Errors
    /// Why it has none that can be run, to follow the image's name.
    pub(crate) fn program(&self) -> Result<&Program, String> {
        match self {
            Self::Host(_) => {
                Err("it is this node's own Python, which runs modules and no program of its own".to_owned())
            }
            Self::Stored(stored) => stored.program(),
        }
    }

    /// The interpreter, as the task sees it.
    ///
    /// # Errors
    /// Why it has none that runs tasks, to follow the image's name.
    pub(crate) fn python(&self) -> Result<&Path, String> {
        match self {
            Self::Host(curated) => Ok(curated.host().python()),
            Self::Stored(stored) => stored.python(),
        }
    }

    /// What is mounted.
    pub(crate) fn mounts(&self) -> &[Mount] {
        match self {
            Self::Host(curated) => curated.host().mounts(),
            Self::Stored(stored) => stored.mounts(),
        }
    }

    /// Links that are made in the root directory.
    pub(crate) fn links(&self) -> &[Link] {
        match self {
            Self::Host(curated) => curated.host().links(),
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

fn in_words((major, minor): (u32, u32)) -> String {
    format!("{major}.{minor}")
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::path::PathBuf;

    use manta_image::Unpacker;
    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::*;

    // One thread runs all that waits; a store that is slow must not be among it.
    #[tokio::test(flavor = "current_thread")]
    async fn a_store_that_is_slow_holds_nothing_else_up() {
        let dir = tempfile::tempdir().unwrap();
        let names = dir.path().join("names.json");
        mkfifoat(CWD, &names, Mode::from_raw_mode(0o600)).unwrap();
        let found = std::process::Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output();
        let python = PathBuf::from(String::from_utf8(found.unwrap().stdout).unwrap().trim());
        let store = Store::new(dir.path().to_owned(), Unpacker::new("/nonexistent".into(), Vec::new()));
        let images = Arc::new(Images::probe(&python, None, store, BTreeMap::new(), Tier::Full).unwrap());
        let (asked, go_on) = (images.resolve("latest"), tokio::sync::Notify::new());
        let answer = async {
            let environment = asked.await.unwrap();
            assert!(matches!(environment, Environment::Host(_)));
        };
        let beside = async {
            go_on.notified().await;
            let fill = move || std::fs::File::options().write(true).open(names).unwrap().write_all(b"{}").unwrap();
            blocking(fill).await;
        };
        // The read of the names ends only when something beside it has run.
        tokio::join!(answer, beside, async { go_on.notify_one() });
    }
}
