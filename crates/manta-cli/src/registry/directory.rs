//! A directory as a registry, to be kept in git: code lies there as files, so that a change of it reads as one.
//!
//! ```text
//! NAME/marks.json               what is said of versions: yanked, deprecated, tags, signatures
//! NAME/VERSION/MANTA.json       the manifest of the bundle
//! NAME/VERSION/files/…          its files
//! ```
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use manta_api::{ErrorCode, ModuleMark, ModuleVersionView, ModuleView};
use manta_manager::{allows_this_release, module_about};
use manta_module::zip::MANIFEST_FILE;
use manta_module::{Candidate, check_path, resolve};
use manta_types::{VersionRange, name};
use semver::Version;
use serde::{Deserialize, Serialize};

use super::unknown;
use crate::bundle::{PackedModule, name_file};
use crate::package::{Package, bundle, check_signature};
use crate::report::Failure;

/// The folder of its locks and wheels, by their digests.
const DEPENDENCIES: &str = "dependencies";
const FILES: &str = "files";
const MARKS: &str = "marks.json";

/// A directory of published modules.
#[derive(Debug)]
pub(crate) struct Directory {
    root: PathBuf,
}

/// What is said of a module's versions.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Marks {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    yanked: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    deprecated: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    tags: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    signatures: BTreeMap<String, Vec<String>>,
}

impl Directory {
    /// The registry in a directory that is there.
    pub(super) fn open(root: &Path) -> Result<Self, Failure> {
        if !root.is_dir() {
            let failure = Failure::new(ErrorCode::NotFound, format!("there is no directory `{}`", root.display()));
            return Err(failure.hint("make it, or name another with --registry"));
        }
        Ok(Self { root: root.to_owned() })
    }

    pub(super) fn modules(&self, search: Option<&str>) -> Result<Vec<ModuleView>, Failure> {
        let wanted = search.map(str::to_lowercase);
        let mut modules = Vec::new();
        for name in self.names()? {
            let versions = self.versions(&name)?;
            let newest = self.choose(&name, None).ok();
            let description = newest.as_ref().and_then(|newest| newest.about.description.clone());
            let fits = wanted.as_ref().is_none_or(|wanted| {
                let described = description.as_deref().unwrap_or_default();
                name.to_lowercase().contains(wanted) || described.to_lowercase().contains(wanted)
            });
            if fits && !versions.is_empty() {
                let (count, deprecated) =
                    (versions.len() as u64, newest.as_ref().and_then(|one| one.deprecated.clone()));
                let newest = newest.map(|newest| newest.version);
                modules.push(ModuleView { name, newest, versions: count, description, deprecated });
            }
        }
        Ok(modules)
    }

    pub(super) fn versions(&self, name: &str) -> Result<Vec<ModuleVersionView>, Failure> {
        let folder = self.folder(name)?;
        if !folder.is_dir() {
            let names = self.names()?;
            return Err(unknown(name, names.iter().map(String::as_str)));
        }
        let marks = self.marks(name)?;
        let mut versions = Vec::new();
        for entry in entries(&folder)? {
            if let Ok(version) = Version::parse(&entry) {
                versions.push((version, self.view(name, &entry, &marks)?));
            }
        }
        versions.sort_by(|one, other| other.0.cmp(&one.0));
        Ok(versions.into_iter().map(|(_, view)| view).collect())
    }

    pub(super) fn choose(&self, name: &str, wanted: Option<&str>) -> Result<ModuleVersionView, Failure> {
        let versions = self.versions(name)?;
        let tagged = |view: &&ModuleVersionView| wanted.is_some_and(|wanted| view.tags.iter().any(|tag| tag == wanted));
        if let Some(tagged) = versions.iter().find(tagged) {
            return Ok(tagged.clone());
        }
        let wanted = wanted.map_or(Ok(VersionRange::Newest), VersionRange::parse);
        let wanted = wanted.map_err(|error| Failure::usage(format!("the version {error}")))?;
        let parsed: Vec<(Version, &ModuleVersionView)> =
            versions.iter().filter_map(|view| Some((Version::parse(&view.version).ok()?, view))).collect();
        let candidates = parsed.iter().map(|(version, view)| Candidate {
            version,
            is_yanked: view.yanked.is_some(),
            needs: view.about.requires_manta.as_deref().filter(|range| !allows_this_release(range)),
        });
        let chosen = resolve(name, &wanted, candidates);
        let chosen = chosen.map_err(|error| Failure::new(ErrorCode::NotFound, error.to_string()))?.to_string();
        let view = versions.iter().find(|view| view.version == chosen);
        view.cloned().ok_or_else(|| Failure::internal(format!("version {chosen} of `{name}` is gone")))
    }

    /// A version as it lies here; what is not as its manifest says is named, and not given.
    pub(super) fn read(&self, name: &str, version: &str) -> Result<PackedModule, Failure> {
        let folder = self.folder(name)?.join(version);
        let bundle = self.manifest(name, version)?;
        let mut sources = BTreeMap::new();
        let files = bundle.manifest.files.iter().map(|(path, blob)| (folder.join(FILES).join(path), *blob));
        let others = bundle.manifest.dependency_blobs();
        let others = others.map(|(_, blob)| (folder.join(DEPENDENCIES).join(blob.digest.to_string()), blob));
        for (file, blob) in files.chain(others) {
            if !fs::symlink_metadata(&file).is_ok_and(|meta| meta.is_file()) || name_file(&file)? != blob {
                let message = format!("`{}` is not what the manifest of `{name}` {version} says", file.display());
                let failure = Failure::new(ErrorCode::DigestMismatch, message);
                return Err(
                    failure.hint("a published version never changes: bring the file back, or publish another version")
                );
            }
            sources.insert(blob.digest, file);
        }
        Ok(PackedModule { bundle, sources })
    }

    /// Publishes a package: its folder gets its name when all of it is there.
    pub(super) fn publish(&self, package: &Package, publisher: &str) -> Result<ModuleVersionView, Failure> {
        let manifest = package.manifest();
        let version = Version::parse(&manifest.version).map_err(|error| Failure::internal(error.to_string()))?;
        if !version.build.is_empty() {
            return Err(super::unversioned(&manifest.name, &manifest.version));
        }
        let place = self.folder(&manifest.name)?.join(&manifest.version);
        if place.exists() {
            let there = self.manifest(&manifest.name, &manifest.version)?;
            if there.blob == package.packed.bundle.blob {
                return self.view(&manifest.name, &manifest.version, &self.marks(&manifest.name)?);
            }
            let digest = there.blob.digest.short();
            let (name, version) = (&manifest.name, &manifest.version);
            let message =
                format!("version {version} of module `{name}` is published already, as bundle {digest}: it stays so");
            let failure = Failure::new(ErrorCode::Conflict, message);
            return Err(failure.hint("publish what changed under a version of its own"));
        }
        let failed = |error: std::io::Error| Failure::file("the module cannot be published at", &place, &error);
        let making = tempfile::Builder::new().prefix(".manta-").tempdir_in(&self.root).map_err(failed)?;
        fs::write(making.path().join(MANIFEST_FILE), &package.packed.bundle.bytes).map_err(failed)?;
        for path in manifest.files.keys() {
            let file = making.path().join(FILES).join(path);
            fs::create_dir_all(file.parent().unwrap_or(making.path())).map_err(failed)?;
            fs::write(&file, package.read(path).map_err(failed)?).map_err(failed)?;
        }
        for (name, blob) in manifest.dependency_blobs() {
            let folder = making.path().join(DEPENDENCIES);
            fs::create_dir_all(&folder).map_err(failed)?;
            let source = package.packed.sources.get(&blob.digest);
            let source = source.ok_or_else(|| Failure::internal(format!("`{name}` lies nowhere on this machine")))?;
            fs::copy(source, folder.join(blob.digest.to_string())).map_err(failed)?;
        }
        fs::create_dir_all(place.parent().unwrap_or(&self.root)).map_err(failed)?;
        let readable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(making.path(), readable).map_err(failed)?;
        fs::rename(making.path(), &place).map_err(|error| match error.kind() {
            std::io::ErrorKind::DirectoryNotEmpty | std::io::ErrorKind::AlreadyExists => {
                let message = format!("somebody else published {} {version} just now", manifest.name);
                Failure::new(ErrorCode::Conflict, message)
            }
            _ => failed(error),
        })?;
        let _ = making.keep();
        let view = self.view(&manifest.name, &manifest.version, &self.marks(&manifest.name)?)?;
        Ok(ModuleVersionView { publisher: publisher.to_owned(), ..view })
    }

    /// Says something of a version from now on.
    pub(super) fn mark(&self, name: &str, wanted: &str, mark: &ModuleMark) -> Result<ModuleVersionView, Failure> {
        let version = self.choose(name, Some(wanted))?.version;
        let mut marks = self.marks(name)?;
        match mark {
            ModuleMark::Yank(reason) => drop(marks.yanked.insert(version.clone(), reason.clone())),
            ModuleMark::Unyank => drop(marks.yanked.remove(&version)),
            ModuleMark::Deprecate(instead) => drop(marks.deprecated.insert(version.clone(), instead.clone())),
            ModuleMark::Undeprecate => drop(marks.deprecated.remove(&version)),
            ModuleMark::Tag(tag) => {
                name::check_label("tag", tag).map_err(|error| Failure::usage(error.to_string()))?;
                marks.tags.insert(tag.clone(), version.clone());
            }
            ModuleMark::Untag(tag) => marks.tags.retain(|one, of| one != tag || *of != version),
            ModuleMark::Sign(text) => {
                let signature = check_signature(text, &self.manifest(name, &version)?)?;
                let kept = manta_module::keep(marks.signatures.entry(version.clone()).or_default(), &signature);
                kept.map_err(|error| Failure::new(ErrorCode::TooLarge, error.to_string()))?;
            }
        }
        let path = self.folder(name)?.join(MARKS);
        let failed = |error: std::io::Error| Failure::file("cannot be written:", &path, &error);
        let mut text = serde_json::to_string_pretty(&marks).map_err(|error| Failure::internal(error.to_string()))?;
        text.push('\n');
        let file = tempfile::NamedTempFile::new_in(self.folder(name)?).map_err(failed)?;
        fs::write(file.path(), text).map_err(failed)?;
        let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        file.as_file().set_permissions(readable).map_err(failed)?;
        file.persist(&path).map_err(|error| failed(error.error))?;
        self.view(name, &version, &marks)
    }

    fn view(&self, name: &str, version: &str, marks: &Marks) -> Result<ModuleVersionView, Failure> {
        let bundle = self.manifest(name, version)?;
        let tags = marks.tags.iter().filter(|(_, of)| *of == version).map(|(tag, _)| tag.clone());
        Ok(ModuleVersionView {
            name: name.to_owned(),
            version: version.to_owned(),
            bundle: bundle.blob.digest,
            publisher: String::new(),
            published_ms: 0,
            yanked: marks.yanked.get(version).cloned(),
            deprecated: marks.deprecated.get(version).cloned(),
            tags: tags.collect(),
            signatures: marks.signatures.get(version).cloned().unwrap_or_default(),
            about: module_about(&bundle.manifest),
        })
    }

    fn manifest(&self, name: &str, version: &str) -> Result<manta_module::Bundle, Failure> {
        let path = self.folder(name)?.join(version).join(MANIFEST_FILE);
        let bytes = fs::read(&path).map_err(|error| Failure::file("the manifest cannot be read:", &path, &error))?;
        let bundle = bundle(bytes, &format!("`{name}` {version} in `{}`", self.root.display()))?;
        let (told, at) = (&bundle.manifest.name, &bundle.manifest.version);
        if told != name || at != version {
            let message = format!("`{}` is the manifest of `{told}` {at}", path.display());
            return Err(Failure::new(ErrorCode::InvalidSwarm, message));
        }
        Ok(bundle)
    }

    fn marks(&self, name: &str) -> Result<Marks, Failure> {
        let path = self.folder(name)?.join(MARKS);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                Failure::new(ErrorCode::InvalidSwarm, format!("`{}` cannot be read: {error}", path.display()))
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Marks::default()),
            Err(error) => Err(Failure::file("cannot be read:", &path, &error)),
        }
    }

    /// The folder of a module, whose name never leaves the directory.
    fn folder(&self, module: &str) -> Result<PathBuf, Failure> {
        name::check_component("module", module).map_err(|error| Failure::usage(error.to_string()))?;
        check_path(module).map_err(|problem| Failure::usage(format!("the module's name `{module}` {problem}")))?;
        Ok(self.root.join(module))
    }

    fn names(&self) -> Result<Vec<String>, Failure> {
        Ok(entries(&self.root)?.into_iter().filter(|name| self.root.join(name).is_dir()).collect())
    }
}

/// The names in a folder, sorted, without hidden ones.
fn entries(folder: &Path) -> Result<Vec<String>, Failure> {
    let failed = |error| Failure::file("the registry cannot be read at", folder, &error);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        names.extend(entry.map_err(failed)?.file_name().into_string().ok().filter(|name| !name.starts_with('.')));
    }
    names.sort();
    Ok(names)
}
