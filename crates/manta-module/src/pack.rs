//! From a module's description and its files to a bundle.
use manta_types::Blob;

use crate::dependencies::Locked;
use crate::digest::{digest_of, tree_digest};
use crate::manifest::{BundleManifest, Entry, MANIFEST_VERSION, ManifestError, ModuleResources};

/// What a module says about itself.
#[derive(Debug, Clone, PartialEq)]
pub struct BundleMeta {
    /// The module's name.
    pub name: String,
    /// SemVer, where the module has one; a bundle without gets `0.0.0+<tree digest>`.
    pub version: Option<String>,
    /// Where its code begins.
    pub entry: Entry,
    /// The environment it asks for.
    pub image: String,
    /// Datasets it may open.
    pub datasets: Vec<String>,
    /// What it needs.
    pub resources: ModuleResources,
    /// `strict`, or nothing.
    pub isolation: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// Versions of Manta it works with.
    pub requires_manta: Option<String>,
    /// Other images that it works with.
    pub images: Vec<String>,
    /// Machines that it runs on; none: all.
    pub architectures: Vec<String>,
    /// Versions of Python it works with, as PEP 440 has ranges.
    pub requires_python: Option<String>,
    /// What it needs beside its image, in any order.
    pub dependencies: Vec<Locked>,
}

/// A bundle: its manifest, checked, and the manifest's canonical form.
#[derive(Debug, Clone, PartialEq)]
pub struct Bundle {
    /// The manifest.
    pub manifest: BundleManifest,
    /// Its canonical bytes, a blob like any other.
    pub bytes: Vec<u8>,
    /// Digest and length of `bytes`; the digest names the bundle.
    pub blob: Blob,
}

/// Makes the bundle of a module; the order of `files` does not matter.
///
/// # Errors
/// When a path, a name, a version, a limit or the entry breaks a rule; the error names it.
pub fn pack(meta: BundleMeta, files: impl IntoIterator<Item = (String, Blob)>) -> Result<Bundle, ManifestError> {
    let mut sorted = std::collections::BTreeMap::new();
    for (path, blob) in files {
        if sorted.contains_key(&path) {
            return Err(ManifestError::Collision { one: path.clone(), other: path });
        }
        sorted.insert(path, blob);
    }
    let version = meta.version.unwrap_or_else(|| format!("0.0.0+{}", tree_digest(&sorted).short()));
    let mut dependencies = meta.dependencies;
    dependencies.sort_by_key(Locked::runtime);
    let manifest = BundleManifest {
        manifest_version: MANIFEST_VERSION,
        name: meta.name,
        version,
        entry: meta.entry,
        image: meta.image,
        datasets: meta.datasets,
        resources: meta.resources,
        isolation: meta.isolation,
        description: meta.description,
        requires_manta: meta.requires_manta,
        images: meta.images,
        architectures: meta.architectures,
        requires_python: meta.requires_python,
        dependencies,
        files: sorted,
    };
    manifest.check()?;
    let bytes = manifest.canonical_bytes();
    let blob = Blob { digest: digest_of(&bytes), size: bytes.len() as u64 };
    Ok(Bundle { manifest, bytes, blob })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Target;

    pub(crate) fn meta() -> BundleMeta {
        BundleMeta {
            name: "worker".into(),
            version: None,
            entry: Entry::Code { file: "worker.py".into(), target: Target::Call("main".into()) },
            image: "manta_light:latest".into(),
            datasets: vec!["digits".into()],
            resources: ModuleResources { cpu: Some(1.5), ..Default::default() },
            isolation: None,
            description: None,
            requires_manta: None,
            images: vec![],
            architectures: vec![],
            requires_python: None,
            dependencies: Vec::new(),
        }
    }

    fn file(path: &str, content: &str) -> (String, Blob) {
        (path.to_owned(), Blob { digest: digest_of(content.as_bytes()), size: content.len() as u64 })
    }

    #[test]
    fn the_same_files_in_any_order_give_the_same_bundle() {
        let one = pack(meta(), [file("worker.py", "x"), file("lib/a.py", "y")]).unwrap();
        let other = pack(meta(), [file("lib/a.py", "y"), file("worker.py", "x")]).unwrap();
        assert_eq!(one, other);
        assert_eq!(BundleManifest::parse(&one.bytes).unwrap(), one.manifest);
        assert_eq!(one.blob.digest, one.manifest.digest());
    }

    #[test]
    fn one_byte_more_changes_version_and_digest() {
        let one = pack(meta(), [file("worker.py", "x")]).unwrap();
        let other = pack(meta(), [file("worker.py", "x ")]).unwrap();
        assert_ne!(one.blob.digest, other.blob.digest);
        assert_ne!(one.manifest.version, other.manifest.version);
        assert!(one.manifest.version.starts_with("0.0.0+"));
    }

    #[test]
    fn a_bundle_without_its_entry_is_refused() {
        let error = pack(meta(), [file("other.py", "x")]).unwrap_err();
        assert_eq!(error.to_string(), "the entry file `worker.py` is not in the bundle");
    }

    #[test]
    fn hostile_and_colliding_paths_are_refused_by_name() {
        for (path, words) in
            [("../x.py", "holds `.`, `..`"), ("Worker.py", "differ only in case"), ("a\\b", "backslash")]
        {
            let error = pack(meta(), [file("worker.py", "x"), file(path, "y")]).unwrap_err().to_string();
            assert!(error.contains(words), "{path}: {error}");
        }
    }
}
