//! The bundle's manifest: its form, its canonical bytes and every rule that it keeps.
use std::collections::BTreeMap;

use manta_types::{Blob, Digest, NameError, PythonRange, RangeError, VersionRange, limits, name};
use serde::{Deserialize, Serialize};

use crate::dependencies::{self, DependencyError, Locked};
use crate::digest::{digest_of, tree_digest};
use crate::path::{PathProblem, check_path, collision};

/// The version of the manifest's form.
pub const MANIFEST_VERSION: u32 = 1;
/// Bytes of a manifest; far above what [`limits::BUNDLE_FILES_MAX`] ordinary paths need.
const MANIFEST_BYTES_MAX: usize = 16 << 20;

/// What names of curated images begin with: environments for modules, without a program of their own.
const CURATED_PREFIX: &str = "manta_light:";

/// What a module is: its name, its environment, its needs, and its files by digest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleManifest {
    /// [`MANIFEST_VERSION`].
    pub manifest_version: u32,
    /// The module's name.
    pub name: String,
    /// SemVer; `0.0.0+<tree digest>` for a module without one.
    pub version: String,
    /// Where its code begins.
    pub entry: Entry,
    /// The environment it asks for.
    pub image: String,
    /// Datasets it may open.
    pub datasets: Vec<String>,
    /// What it needs.
    #[serde(default)]
    pub resources: ModuleResources,
    /// `strict`: never started from a warm process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation: Option<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Versions of Manta it works with, as a SemVer range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requires_manta: Option<String>,
    /// Other images that it works with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
    /// Machines that it runs on, as `uname -m` names them; none: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub architectures: Vec<String>,
    /// Versions of Python it works with, as PEP 440 has ranges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requires_python: Option<String>,
    /// What it needs beside its image, for each runtime that it was resolved for; in the order of their platforms.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dependencies: Vec<Locked>,
    /// Path in the bundle → content.
    pub files: BTreeMap<String, Blob>,
}

/// Limits and needs; what is absent takes the node's default.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleResources {
    /// Processor cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Whole GPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<u32>,
    /// Bytes per GPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_memory_bytes: Option<u64>,
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tmp_bytes: Option<u64>,
    /// Processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
}

/// Where a module's code begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "EntryForm", into = "EntryForm")]
pub enum Entry {
    /// In a file of the bundle.
    Code {
        /// Path in the bundle.
        file: String,
        /// What is run.
        target: Target,
    },
    /// At the program that its image names; the bundle holds no code.
    Image,
}

/// What of the entry file is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A function that takes the task over.
    Call(String),
    /// A task class, whose `run()` is called.
    Class(String),
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryForm {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    call: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    class: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    image: bool,
}

impl TryFrom<EntryForm> for Entry {
    type Error = &'static str;

    fn try_from(form: EntryForm) -> Result<Self, Self::Error> {
        let EntryForm { file, call, class, image } = form;
        let target = match (call, class) {
            (None, None) if image && file.is_none() => return Ok(Self::Image),
            (Some(call), None) => Target::Call(call),
            (None, Some(class)) => Target::Class(class),
            _ => return Err("an entry names either a `call` or a `class`"),
        };
        match file {
            Some(file) if !image => Ok(Self::Code { file, target }),
            _ => Err("an entry is either in a `file` or the program of an `image`"),
        }
    }
}

impl From<Entry> for EntryForm {
    fn from(entry: Entry) -> Self {
        let Entry::Code { file, target } = entry else {
            return Self { file: None, call: None, class: None, image: true };
        };
        let (call, class) = match target {
            Target::Call(name) => (Some(name), None),
            Target::Class(name) => (None, Some(name)),
        };
        Self { file: Some(file), call, class, image: false }
    }
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON of this form.
    #[error("the manifest cannot be read: {0}")]
    Form(#[from] serde_json::Error),
    /// Another way of writing the same; digests would not agree.
    #[error("the manifest is not in its canonical form (RFC 8785)")]
    NotCanonical,
    /// Made by a later Manta.
    #[error("the manifest has version {0}; this build reads version 1")]
    Version(u32),
    /// A name that breaks a rule.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Not SemVer.
    #[error("the version `{version}` is not SemVer, like 1.2.0: {problem}")]
    SemVer {
        /// The text.
        version: String,
        /// What is wrong with it.
        problem: semver::Error,
    },
    /// A range of Manta's versions that is none.
    #[error("`requires_manta` {0}")]
    RequiresManta(RangeError),
    /// A path that breaks a rule.
    #[error("the path `{path}` {problem}")]
    Path {
        /// The path, escaped and cut.
        path: String,
        /// The rule.
        problem: PathProblem,
    },
    /// Two paths that are one file on some systems.
    #[error(
        "the paths `{one}` and `{other}` differ only in case or in how accents are written, or one is a folder of the other's name"
    )]
    Collision {
        /// One.
        one: String,
        /// The other.
        other: String,
    },
    /// The entry's file is missing.
    #[error("the entry file `{0}` is not in the bundle")]
    NoEntry(String),
    /// The entry's function or class is not a Python name.
    #[error("the entry `{0}` is not a Python name")]
    EntryName(String),
    /// Files or dependencies of a module that runs its image's program.
    #[error("a module that runs its image's own program holds neither files nor dependencies")]
    CodeBesideImage,
    /// A module that runs the program of an image that has none.
    #[error("the image `{0}` is an environment for modules and has no program of its own")]
    NoProgram(String),
    /// A value that is not allowed there.
    #[error("`{field}` is `{value}`; {allowed}")]
    Value {
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What may stand there.
        allowed: &'static str,
    },
    /// Its dependencies.
    #[error(transparent)]
    Dependencies(#[from] DependencyError),
    /// Over a limit.
    #[error("the bundle has {has} {what}; {most} are the limit")]
    TooLarge {
        /// How many it has.
        has: u64,
        /// Of what.
        what: &'static str,
        /// The limit.
        most: u64,
    },
}

impl BundleManifest {
    /// Reads a manifest and checks every rule, its canonical form among them.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() > MANIFEST_BYTES_MAX {
            let (has, most) = (bytes.len() as u64, MANIFEST_BYTES_MAX as u64);
            return Err(ManifestError::TooLarge { has, what: "bytes of manifest", most });
        }
        let manifest: Self = serde_json::from_slice(bytes)?;
        manifest.check()?;
        if manifest.canonical_bytes() != bytes {
            return Err(ManifestError::NotCanonical);
        }
        Ok(manifest)
    }

    /// Checks every rule that the types do not hold by themselves.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self) -> Result<(), ManifestError> {
        if self.manifest_version != MANIFEST_VERSION {
            return Err(ManifestError::Version(self.manifest_version));
        }
        name::check_component("module", &self.name)?;
        name::check_name("image", &self.image)?;
        self.images.iter().try_for_each(|image| name::check_name("image", image))?;
        self.architectures.iter().try_for_each(|machine| name::check_label("architecture", machine))?;
        for dataset in &self.datasets {
            name::check_component("dataset", dataset)?;
        }
        if let Err(problem) = semver::Version::parse(&self.version) {
            return Err(ManifestError::SemVer { version: clip(&self.version), problem });
        }
        if let Some(range) = &self.requires_manta {
            VersionRange::parse(range).map_err(ManifestError::RequiresManta)?;
        }
        if let Some(other) = self.isolation.as_deref().filter(|isolation| *isolation != "strict") {
            let allowed = "`strict` or nothing is needed";
            return Err(ManifestError::Value { field: "isolation", value: clip(other), allowed });
        }
        if let Some(cpu) = self.resources.cpu.filter(|cpu| !(*cpu > 0.0 && *cpu <= 4096.0)) {
            let allowed = "more than 0 and at most 4096 is needed";
            return Err(ManifestError::Value { field: "resources.cpu", value: cpu.to_string(), allowed });
        }
        if let Some(range) = self.requires_python.as_deref().filter(|range| range.parse::<PythonRange>().is_err()) {
            let allowed = "versions of Python as PEP 440 writes them are needed, like `>=3.10`";
            return Err(ManifestError::Value { field: "requires_python", value: clip(range), allowed });
        }
        dependencies::check(&self.dependencies)?;
        self.check_files()?;
        self.check_entry()
    }

    fn check_files(&self) -> Result<(), ManifestError> {
        let (has, most) = (self.files.len() as u64, limits::BUNDLE_FILES_MAX as u64);
        if has > most {
            return Err(ManifestError::TooLarge { has, what: "files", most });
        }
        for path in self.files.keys() {
            check_path(path).map_err(|problem| ManifestError::Path { path: clip(path), problem })?;
        }
        if let Some((one, other)) = collision(self.files.keys().map(String::as_str)) {
            return Err(ManifestError::Collision { one: one.to_owned(), other: other.to_owned() });
        }
        let has = self.total_bytes();
        if has > limits::BUNDLE_BYTES_MAX {
            return Err(ManifestError::TooLarge { has, what: "bytes", most: limits::BUNDLE_BYTES_MAX });
        }
        Ok(())
    }

    fn check_entry(&self) -> Result<(), ManifestError> {
        let Entry::Code { file, target } = &self.entry else { return self.check_image_entry() };
        if !self.files.contains_key(file) {
            return Err(ManifestError::NoEntry(clip(file)));
        }
        let (Target::Call(name) | Target::Class(name)) = target;
        let begins = name.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_');
        let plain = name.len() <= limits::NAME_BYTES_MAX && name.chars().all(|c| c.is_alphanumeric() || c == '_');
        if begins && plain { Ok(()) } else { Err(ManifestError::EntryName(clip(name))) }
    }

    fn check_image_entry(&self) -> Result<(), ManifestError> {
        if !self.files.is_empty() || !self.dependencies.is_empty() {
            return Err(ManifestError::CodeBesideImage);
        }
        let images = std::iter::once(&self.image).chain(&self.images);
        match images.into_iter().find(|image| image.starts_with(CURATED_PREFIX)) {
            Some(image) => Err(ManifestError::NoProgram(clip(image))),
            None => Ok(()),
        }
    }

    /// The manifest as RFC 8785 writes it; its digest names the bundle.
    pub fn canonical_bytes(&self) -> Vec<u8> {
        serde_json_canonicalizer::to_vec(self).expect("finite numbers, text keys: always JSON")
    }

    /// The bundle's digest.
    pub fn digest(&self) -> Digest {
        digest_of(&self.canonical_bytes())
    }

    /// The digest of the files alone, whatever the module is called.
    pub fn tree_digest(&self) -> Digest {
        tree_digest(&self.files)
    }

    /// Every blob that belongs to the bundle beside its manifest, with what it is: files, locks and wheels.
    pub fn blobs(&self) -> impl Iterator<Item = (&str, Blob)> {
        self.files.iter().map(|(path, blob)| (path.as_str(), *blob)).chain(self.dependency_blobs())
    }

    /// Locks and wheels, with their names.
    pub fn dependency_blobs(&self) -> impl Iterator<Item = (&str, Blob)> {
        let locks = self.dependencies.iter().map(|locked| ("pylock.toml", locked.lock));
        let wheels = self.dependencies.iter().flat_map(|locked| &locked.wheels);
        locks.chain(wheels.map(|(name, wheel)| (name.as_str(), wheel.blob())))
    }

    /// Bytes of all files.
    pub fn total_bytes(&self) -> u64 {
        self.files.values().fold(0, |sum, blob| sum.saturating_add(blob.size))
    }
}

/// The beginning of a text from outside, fit to stand in a sentence.
pub(crate) fn clip(text: &str) -> String {
    text.chars().take(96).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"datasets":["digits"],"entry":{"call":"main","file":"worker.py"},"files":{"worker.py":{"digest":"0000000000000000000000000000000000000000000000000000000000000000","size":3}},"image":"manta_light:latest","manifest_version":1,"name":"worker","resources":{"cpu":1.5,"memory_bytes":1073741824},"version":"1.0.0"}"#;

    fn check(change: impl Fn(&str) -> String, words: &str) {
        let error = BundleManifest::parse(change(GOOD).as_bytes()).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }

    #[test]
    fn a_canonical_manifest_reads_back_as_it_was_written() {
        let manifest = BundleManifest::parse(GOOD.as_bytes()).unwrap();
        assert_eq!(manifest.canonical_bytes(), GOOD.as_bytes());
        assert_eq!(manifest.digest(), digest_of(GOOD.as_bytes()));
        let (file, target) = ("worker.py".to_owned(), Target::Call("main".to_owned()));
        assert_eq!(manifest.entry, Entry::Code { file, target });
    }

    #[test]
    fn a_module_may_begin_at_its_images_own_program_and_then_holds_no_code() {
        let (entry, files) =
            (r#""entry":{"call":"main","file":"worker.py"}"#, GOOD.split_once(r#""files":"#).unwrap().1);
        let files = files.split_once(r#","image""#).unwrap().0;
        let image = |name: &str| GOOD.replace(entry, r#""entry":{"image":true}"#).replace("manta_light:latest", name);
        let bare = image("team/model:1").replace(files, "{}");
        let manifest = BundleManifest::parse(bare.as_bytes()).unwrap();
        assert_eq!((&manifest.entry, manifest.canonical_bytes()), (&Entry::Image, bare.clone().into_bytes()));
        check(|_| image("team/model:1"), "holds neither files nor dependencies");
        check(|_| image("manta_light:latest").replace(files, "{}"), "`manta_light:latest` is an environment");
        for wrong in [r#"{"image":false}"#, r#"{"call":"main","image":true}"#, r#"{"file":"a.py","image":true}"#] {
            check(|_| bare.replace(r#"{"image":true}"#, wrong), "either");
        }
        check(|_| GOOD.replace(r#""file":"worker.py""#, r#""file":"worker.py","image":true"#), "either in a `file`");
    }

    #[test]
    fn another_way_of_writing_the_same_is_refused() {
        check(|good| good.replace("\":1.5", "\": 1.5"), "canonical");
        check(|good| good.replace("1.5", "1.50"), "canonical");
        check(|good| format!("{good}\n"), "canonical");
    }

    #[test]
    fn broken_rules_are_named() {
        check(
            |good| good.replace("\"call\":\"main\"", "\"call\":\"main\",\"class\":\"W\""),
            "either a `call` or a `class`",
        );
        check(|good| good.replace("\"name\":\"worker\"", "\"name\":\"a/b\""), "module name `a/b`");
        check(|good| good.replace("1.0.0", "1.0"), "not SemVer");
        check(|good| good.replace("\"manifest_version\":1", "\"manifest_version\":2"), "version 2");
        check(|good| good.replace("\"name\"", "\"extra\":1,\"name\""), "unknown field `extra`");
        check(|good| good.replace("\"size\":3", "\"size\":2000000000"), "2000000000 bytes");
        check(|good| good.replace("\"main\"", "\"os.system\""), "not a Python name");
        check(|good| good.replace("\"resources\"", "\"requires_python\":\"three\",\"resources\""), "like `>=3.10`");
        check(|good| good.replace("files\":{\"worker.py", "files\":{\"../worker.py"), "`../worker.py` holds");
    }

    #[test]
    fn the_tree_digest_ignores_what_the_module_is_called() {
        let manifest = BundleManifest::parse(GOOD.as_bytes()).unwrap();
        let renamed = BundleManifest { name: "other".into(), ..manifest.clone() };
        assert_eq!(manifest.tree_digest(), renamed.tree_digest());
        assert_ne!(manifest.digest(), renamed.digest());
    }
}
