//! Curated images made of the host's own interpreter and packages: which there are, and in which versions.
use std::collections::BTreeMap;
use std::path::Path;

use manta_module::normalised;
use manta_sandbox::HostImage;
use manta_types::Runtime;

use super::asked::ask;
use crate::NodeError;

/// Curated images: name, the module that tasks import, and the distribution that has the version.
const CURATED: [(&str, &str, &str); 4] = [
    ("numpy", "numpy", "numpy"),
    ("pytorch", "torch", "torch"),
    ("sklearn", "sklearn", "scikit-learn"),
    ("tensorflow", "tensorflow", "tensorflow"),
];
/// What the host can make.
pub(crate) struct Curated {
    host: HostImage,
    /// What tells this host's images from those of another.
    fingerprint: String,
    /// Its Python and machine, where they are of a kind that locks name.
    runtime: Option<Runtime>,
    /// Distribution, normalised → its version; what a task finds in every image of the host.
    packages: BTreeMap<String, String>,
    /// Image name → version of its package, as told; for the images that are whole.
    made: BTreeMap<&'static str, String>,
}

impl Curated {
    /// Looks at an interpreter and its packages; what it answers is kept in a folder, where there is one. Blocks.
    pub(super) fn probe(python: &Path, answers: Option<&Path>) -> Result<Self, NodeError> {
        let refuse = |reason: String| NodeError::Python { path: python.to_owned(), reason };
        let host = ask(python, answers).and_then(HostImage::of).map_err(|error| refuse(error.to_string()))?;
        let (major, minor, patch) = host.version();
        let versions = host.distributions();
        let lines = versions.iter().map(|(name, version)| format!("{name} {version}\n")).collect::<String>();
        let platform = (std::env::consts::ARCH, major, minor, patch, format!("{}\n{lines}", host.platform()));
        let fingerprint = format!("host:{}", &blake3::hash(format!("{platform:?}").as_bytes()).to_hex()[..32]);
        let runtime = runtime((major, minor), host.platform());
        let packages = versions.iter().map(|(name, version)| (normalised(name), version.clone())).collect();
        let whole = CURATED.into_iter().filter(|(_, module, _)| host.has(module));
        let made = whole
            .map(|(name, _, distribution)| (name, versions.get(distribution).cloned().unwrap_or_default()))
            .collect();
        Ok(Self { made, host, fingerprint, runtime, packages })
    }

    /// The interpreter, its mounts and links.
    pub(super) fn host(&self) -> &HostImage {
        &self.host
    }

    /// `host:` and a digest of interpreter and packages, by their versions.
    pub(super) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Its Python and machine, where they are of a kind that locks name.
    pub(super) fn runtime(&self) -> Option<&Runtime> {
        self.runtime.as_ref()
    }

    /// Distribution, normalised → its version.
    pub(super) fn packages(&self) -> &BTreeMap<String, String> {
        &self.packages
    }

    /// Names of the images that are whole.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once("latest").chain(self.made.keys().copied())
    }

    /// Checks that the host can stand for an image.
    ///
    /// # Errors
    /// One sentence: which image, and what is missing.
    pub(super) fn check(&self, image: &str) -> Result<(), String> {
        check(image, &self.made)
            .map_err(|problem| format!("{problem}, with {} on this node", self.host.python().display()))
    }
}

fn runtime((major, minor): (u32, u32), platform: &str) -> Option<Runtime> {
    Some(Runtime { python: format!("{major}.{minor}").parse().ok()?, platform: platform.parse().ok()? })
}

/// Checks an image, `manta_light:numpy`, `numpy`, `numpy:2.0+` or `numpy>=2.0`, against those that are whole.
fn check(image: &str, made: &BTreeMap<&'static str, String>) -> Result<(), String> {
    let short = image.strip_prefix("manta_light:").unwrap_or(image);
    let (name, wanted) = short.split_at(short.find([':', '>', '=', '<']).unwrap_or(short.len()));
    if name == "latest" && wanted.is_empty() {
        return Ok(());
    }
    let Some((_, module, _)) = CURATED.iter().find(|(curated, ..)| *curated == name) else {
        let known = CURATED.map(|(name, ..)| name).join(", ");
        return Err(format!("the image `{image}` is unknown: there are latest, {known}"));
    };
    let Some(version) = made.get(name) else {
        return Err(format!("the image `{image}` needs the Python package `{module}`, which is missing"));
    };
    match satisfies(version, wanted) {
        Some(true) => Ok(()),
        Some(false) => Err(format!("the image `{image}` asks for another version than `{module}` {version}")),
        None => Err(format!("the image `{image}` names no version that can be read, such as `{name}>=2.0`")),
    }
}

/// Whether a version is one that is asked for: `:2.0+` and `>=2.0` mean that or later, `:2.0` and `==2.0` any 2.0.
fn satisfies(version: &str, wanted: &str) -> Option<bool> {
    if wanted.is_empty() {
        return Some(true);
    }
    let (least, exact) = match wanted.strip_prefix(">=") {
        Some(least) => (least, false),
        None => {
            let text = wanted.strip_prefix("==").or_else(|| wanted.strip_prefix(':'))?;
            text.strip_suffix('+').map_or((text, true), |least| (least, false))
        }
    };
    let wanted: Vec<u64> = least.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let digits = |part: &str| part.chars().take_while(char::is_ascii_digit).collect::<String>();
    let found: Vec<u64> = version.split('.').map_while(|part| digits(part).parse().ok()).collect();
    Some(if exact { found.starts_with(&wanted) } else { found >= wanted })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> BTreeMap<&'static str, String> {
        BTreeMap::from([("numpy", "2.1.0".to_owned()), ("pytorch", "2.5.1+cu124".to_owned())])
    }

    #[test]
    fn curated_images_resolve_by_the_packages_of_the_host() {
        for good in [
            "manta_light:latest",
            "latest",
            "numpy",
            "manta_light:pytorch",
            "numpy:2.0+",
            "pytorch>=2.5.1",
            "numpy==2.1",
        ] {
            assert_eq!(check(good, &made()), Ok(()), "{good}");
        }
    }

    #[test]
    fn what_is_missing_or_too_old_is_named() {
        for (bad, words) in [
            ("manta_light:sklearn", "needs the Python package `sklearn`"),
            ("numpy:2.2+", "another version than `numpy` 2.1.0"),
            ("numpy==2.0", "another version"),
            ("numpy<3", "no version that can be read"),
            ("docker.io/alpine", "is unknown"),
            ("alpine:3", "is unknown"),
        ] {
            let problem = check(bad, &made()).unwrap_err();
            assert!(problem.contains(words), "{problem}");
        }
    }
}
