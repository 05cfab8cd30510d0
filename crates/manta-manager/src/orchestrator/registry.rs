//! The registry: which versions of modules are published, for ever, and what is said of them.
//!
//! Its changes are made in the service loop, like all others, so that of two publishers of one version one is first.
use std::collections::{BTreeMap, HashMap};

use manta_api::{ModuleMark, version};
use manta_module::{Candidate, NoVersion, Signature, Verified, resolve};
use manta_store::ModuleRecord;
use manta_types::{Digest, SignedBy, VersionRange};
use semver::Version;

use crate::ManagerError;

/// A change of the registry that a user asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModuleChange {
    /// A version is to exist.
    Publish(Box<ModuleRecord>),
    /// Something else is to be said of one.
    Mark {
        /// The module.
        name: String,
        /// The version.
        version: String,
        /// What is said.
        mark: ModuleMark,
    },
    /// One is signed.
    Sign {
        /// The module.
        name: String,
        /// The version.
        version: String,
        /// By this signature of it.
        signature: Box<Verified<Signature>>,
    },
}

impl ModuleChange {
    /// What was done, in words.
    pub fn done(&self) -> String {
        match self {
            Self::Publish(record) => format!("published module `{}` {}", record.name, record.version),
            Self::Mark { name, version, mark } => {
                let did = match mark {
                    ModuleMark::Yank(_) => "yanked",
                    ModuleMark::Unyank => "took back the yank of",
                    ModuleMark::Deprecate(_) => "deprecated",
                    ModuleMark::Undeprecate => "took back the deprecation of",
                    ModuleMark::Tag(_) => "tagged",
                    ModuleMark::Untag(_) => "took a tag off",
                    ModuleMark::Sign(_) => "signed",
                };
                format!("{did} module `{name}` {version}")
            }
            Self::Sign { name, version, signature } => {
                format!("signed module `{name}` {version} with the key {}", signature.statement().signer.short())
            }
        }
    }
}

/// Why the registry stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistryRefusal {
    /// The version exists, as another bundle; this is the first one.
    Published(Box<ModuleRecord>),
    /// There is no such version.
    Unknown,
    /// It has as many signatures as a version may have.
    Signatures,
}

/// All published versions, by name and in the order of SemVer.
#[derive(Debug, Default)]
pub struct Registry {
    modules: BTreeMap<String, Module>,
    /// The version that a bundle is; its manifest names one, so it is no other.
    by_bundle: HashMap<Digest, (String, Version)>,
    total: usize,
}

/// A module.
#[derive(Debug, Default)]
struct Module {
    versions: BTreeMap<Version, Published>,
    /// The version that each tag means.
    tags: BTreeMap<String, Version>,
    /// The version that is meant where none is named.
    newest: Option<Version>,
    /// What is searched: its name and what the newest version says of it, in lower case.
    searched: String,
}

/// A version, and what is asked of it again and again.
#[derive(Debug)]
struct Published {
    record: ModuleRecord,
    /// The range of Manta's versions that it needs, where this release is not in it.
    needs: Option<String>,
}

impl Module {
    /// Finds out anew what listings and searches ask.
    fn look(&mut self, name: &str) {
        let may_be_meant = |(version, published): &(&Version, &Published)| {
            version.pre.is_empty() && published.needs.is_none() && published.record.yanked.is_none()
        };
        let newest = self.versions.iter().rev().find(may_be_meant);
        let description = newest.and_then(|(_, published)| said(&published.record.about).description);
        self.searched = format!("{name}\n{}", description.unwrap_or_default()).to_lowercase();
        self.newest = newest.map(|(version, _)| version.clone());
    }
}

impl Registry {
    /// The registry of stored records.
    ///
    /// # Errors
    /// When one has no version.
    pub fn new(records: Vec<ModuleRecord>) -> Result<Self, ManagerError> {
        let mut registry = Self::default();
        for record in records {
            let version = Version::parse(&record.version).map_err(|error| ManagerError::Unreadable {
                what: format!("version `{}` of module `{}`", record.version, record.name),
                problem: error.to_string(),
            })?;
            registry.put(version, record);
        }
        Ok(registry)
    }

    /// The names of all modules, from after one on.
    pub fn names<'a>(&'a self, after: Option<&str>) -> impl Iterator<Item = &'a str> {
        self.after(after).map(|(name, _)| name.as_str())
    }

    /// The names of modules, from after one on, of which the name or the description holds a text of lower case.
    pub fn search<'a>(&'a self, after: Option<&str>, wanted: &'a str) -> impl Iterator<Item = &'a str> {
        self.after(after).filter(move |(_, module)| module.searched.contains(wanted)).map(|(name, _)| name.as_str())
    }

    fn after(&self, after: Option<&str>) -> impl Iterator<Item = (&String, &Module)> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.modules.range::<str, _>((after.map_or(Unbounded, Excluded), Unbounded))
    }

    /// The newest version of a module that a range could mean.
    pub fn newest(&self, name: &str) -> Option<&ModuleRecord> {
        self.at(name, self.modules.get(name)?.newest.as_ref()?)
    }

    /// All versions of a module, the newest first.
    pub fn versions(&self, name: &str) -> impl Iterator<Item = &ModuleRecord> {
        self.modules
            .get(name)
            .into_iter()
            .flat_map(|module| module.versions.values().rev())
            .map(|published| &published.record)
    }

    /// How many versions of a module there are.
    pub fn count(&self, name: &str) -> usize {
        self.modules.get(name).map_or(0, |module| module.versions.len())
    }

    /// How many versions there are of all modules.
    pub fn total(&self) -> usize {
        self.total
    }

    /// One version.
    pub fn get(&self, name: &str, version: &str) -> Option<&ModuleRecord> {
        self.at(name, &Version::parse(version).ok()?)
    }

    /// The version that a bundle is published as.
    pub fn of_bundle(&self, bundle: &Digest) -> Option<&ModuleRecord> {
        let (name, version) = self.by_bundle.get(bundle)?;
        self.at(name, version)
    }

    fn at(&self, name: &str, version: &Version) -> Option<&ModuleRecord> {
        self.modules.get(name)?.versions.get(version).map(|published| &published.record)
    }

    /// The version that a tag means.
    pub fn tagged(&self, name: &str, tag: &str) -> Option<&ModuleRecord> {
        self.at(name, self.modules.get(name)?.tags.get(tag)?)
    }

    /// The version of a module that is meant by a range.
    ///
    /// # Errors
    /// When there is none; lists what exists.
    pub fn resolve(&self, name: &str, wanted: &VersionRange) -> Result<&ModuleRecord, NoVersion> {
        static NONE: BTreeMap<Version, Published> = BTreeMap::new();
        let versions = self.modules.get(name).map_or(&NONE, |module| &module.versions);
        if let VersionRange::Exact(exact) = wanted
            && let Some(published) = versions.get(exact).filter(|published| published.needs.is_none())
        {
            return Ok(&published.record);
        }
        let newest_first = versions.iter().rev().map(|(version, published)| Candidate {
            version,
            is_yanked: published.record.yanked.is_some(),
            needs: published.needs.as_deref(),
        });
        resolve(name, wanted, newest_first).map(|version| &versions[version].record)
    }

    /// Makes a change; the records that are to be stored, none where everything is so already.
    pub(super) fn make(&mut self, change: &ModuleChange) -> Result<Vec<ModuleRecord>, RegistryRefusal> {
        let changed = match change {
            ModuleChange::Publish(record) => match self.get(&record.name, &record.version) {
                Some(first) if first.bundle == record.bundle => Vec::new(),
                Some(first) => return Err(RegistryRefusal::Published(Box::new(first.clone()))),
                None => vec![(**record).clone()],
            },
            ModuleChange::Mark { name, version, mark } => self.marked(name, version, mark)?,
            ModuleChange::Sign { name, version, signature } => self.signed(name, version, signature)?,
        };
        for record in &changed {
            // Who publishes has shown that it is one, and whoever marks names one that is.
            let Ok(version) = Version::parse(&record.version) else { continue };
            self.put(version, record.clone());
        }
        Ok(changed)
    }

    fn put(&mut self, version: Version, record: ModuleRecord) {
        self.by_bundle.insert(record.bundle.digest, (record.name.clone(), version.clone()));
        let name = record.name.clone();
        let module = self.modules.entry(record.name.clone()).or_default();
        // A tag that moves is taken off one version and put on another, in either order.
        module.tags.retain(|tag, tagged| *tagged != version || record.tags.contains(tag));
        module.tags.extend(record.tags.iter().map(|tag| (tag.clone(), version.clone())));
        let needs = needs(&record.about);
        let before = module.versions.insert(version, Published { record, needs });
        module.look(&name);
        self.total += usize::from(before.is_none());
    }

    /// A version with one more signature; of one key the newest stays.
    fn signed(
        &self,
        name: &str,
        version: &str,
        fresh: &Verified<Signature>,
    ) -> Result<Vec<ModuleRecord>, RegistryRefusal> {
        let mut record = self.get(name, version).ok_or(RegistryRefusal::Unknown)?.clone();
        match manta_module::keep(&mut record.signatures, fresh) {
            Ok(true) => Ok(vec![record]),
            Ok(false) => Ok(Vec::new()),
            Err(_) => Err(RegistryRefusal::Signatures),
        }
    }

    fn marked(&self, name: &str, version: &str, mark: &ModuleMark) -> Result<Vec<ModuleRecord>, RegistryRefusal> {
        let known = self.get(name, version).ok_or(RegistryRefusal::Unknown)?;
        let mut record = known.clone();
        let mut changed = Vec::new();
        match mark {
            ModuleMark::Yank(reason) => record.yanked = Some(reason.clone()),
            ModuleMark::Unyank => record.yanked = None,
            ModuleMark::Deprecate(instead) => record.deprecated = Some(instead.clone()),
            ModuleMark::Undeprecate => record.deprecated = None,
            ModuleMark::Untag(tag) => record.tags.retain(|one| one != tag),
            // Only a signature that was verified is kept, as a change of its own.
            ModuleMark::Sign(_) => {}
            ModuleMark::Tag(tag) => {
                if let Some(former) = self.tagged(name, tag).filter(|former| former.version != record.version) {
                    let mut former = former.clone();
                    former.tags.retain(|one| one != tag);
                    changed.push(former);
                }
                if !record.tags.contains(tag) {
                    record.tags.push(tag.clone());
                    record.tags.sort();
                }
            }
        }
        if record != *known {
            changed.push(record);
        }
        Ok(changed)
    }
}

/// Who signed a version. Each signature was verified when it was taken, and lies under its row's checksum; nodes verify again.
pub(super) fn signatures(record: &ModuleRecord) -> Vec<SignedBy> {
    let read = record.signatures.iter().filter_map(|text| Signature::parse(text).ok());
    read.map(|signature| {
        let statement = signature.statement();
        SignedBy { key: statement.signer, expires_ms: statement.expires_ms }
    })
    .collect()
}

/// What of all that a version says of itself matters here.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Said {
    requires_manta: Option<String>,
    description: Option<String>,
}

fn said(about: &str) -> Said {
    serde_json::from_str(about).unwrap_or_default()
}

/// The range of Manta's versions that a version says it needs, where this release is not in it.
fn needs(about: &str) -> Option<String> {
    said(about).requires_manta.filter(|range| !allows_this_release(range))
}

/// Whether a range of Manta's versions holds this one.
pub fn allows_this_release(range: &str) -> bool {
    let ours = Version::parse(version::PRODUCT);
    VersionRange::parse(range).is_ok_and(|range| ours.is_ok_and(|ours| range.holds(&ours)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use manta_module::{SecretKey, Signed};
    use manta_types::Blob;
    use manta_types::limits::SIGNATURES_PER_VERSION_MAX;

    fn record(name: &str, version: &str, number: u8) -> ModuleRecord {
        ModuleRecord {
            name: name.into(),
            version: version.into(),
            bundle: Blob { digest: Digest::from_bytes([number; 32]), size: 1 },
            about: "{}".into(),
            publisher: "ada".into(),
            published_ms: 1,
            yanked: None,
            deprecated: None,
            tags: vec![],
            signatures: vec![],
        }
    }

    fn publish(registry: &mut Registry, version: &str, number: u8) -> Result<Vec<ModuleRecord>, RegistryRefusal> {
        registry.make(&ModuleChange::Publish(Box::new(record("w", version, number))))
    }

    fn mark(registry: &mut Registry, version: &str, mark: ModuleMark) -> Result<usize, RegistryRefusal> {
        let (name, version) = ("w".to_owned(), version.to_owned());
        registry.make(&ModuleChange::Mark { name, version, mark }).map(|changed| changed.len())
    }

    #[test]
    fn the_first_publisher_of_a_version_wins_and_the_second_is_told() {
        let mut registry = Registry::default();
        assert_eq!(publish(&mut registry, "1.0.0", 1).unwrap().len(), 1);
        assert_eq!(publish(&mut registry, "1.0.0", 1), Ok(vec![]), "the same again changes nothing");
        let Err(RegistryRefusal::Published(first)) = publish(&mut registry, "1.0.0", 2) else { panic!() };
        assert_eq!(first.bundle.digest, Digest::from_bytes([1; 32]));
    }

    #[test]
    fn a_tag_means_one_version_and_moves() {
        let mut registry = Registry::default();
        publish(&mut registry, "1.0.0", 1).unwrap();
        publish(&mut registry, "1.1.0", 2).unwrap();
        assert_eq!(mark(&mut registry, "1.0.0", ModuleMark::Tag("stable".into())), Ok(1));
        assert_eq!(mark(&mut registry, "1.0.0", ModuleMark::Tag("stable".into())), Ok(0));
        assert_eq!(mark(&mut registry, "1.1.0", ModuleMark::Tag("stable".into())), Ok(2));
        assert_eq!(registry.tagged("w", "stable").unwrap().version, "1.1.0");
        let stored = registry.versions("w").cloned().collect::<Vec<_>>();
        assert_eq!(Registry::new(stored).unwrap().tagged("w", "stable").unwrap().version, "1.1.0");
        assert_eq!(mark(&mut registry, "1.1.0", ModuleMark::Untag("stable".into())), Ok(1));
        assert_eq!(registry.tagged("w", "stable"), None);
        assert_eq!(mark(&mut registry, "3.0.0", ModuleMark::Unyank), Err(RegistryRefusal::Unknown));
    }

    #[test]
    fn ranges_pass_over_what_was_yanked_and_what_is_for_another_manta() {
        let mut registry = Registry::default();
        for (number, version) in (1..).zip(["1.0.0", "1.2.0", "1.10.0", "2.0.0"]) {
            publish(&mut registry, version, number).unwrap();
        }
        let mut later = record("w", "2.1.0", 9);
        later.about = r#"{"requires_manta": ">=99"}"#.into();
        registry.make(&ModuleChange::Publish(Box::new(later))).unwrap();
        let chosen = |registry: &Registry, range: &str| {
            registry.resolve("w", &VersionRange::parse(range).unwrap()).map(|record| record.version.clone())
        };
        assert_eq!(chosen(&registry, "*").unwrap(), "2.0.0");
        let later = chosen(&registry, "2.1.0").unwrap_err().to_string();
        assert!(later.contains("2.1.0 needs manta >=99, and this is manta "), "{later}");
        assert_eq!(chosen(&registry, "^1").unwrap(), "1.10.0", "by number, not by letter");
        mark(&mut registry, "1.10.0", ModuleMark::Yank("wrong".into())).unwrap();
        assert_eq!(chosen(&registry, "^1").unwrap(), "1.2.0");
        assert_eq!(chosen(&registry, "1.10.0").unwrap(), "1.10.0", "who names it exactly gets it");
        let none = chosen(&registry, "^3").unwrap_err().to_string();
        assert_eq!(none, "no version of module `w` is ^3; there are 2.1.0, 2.0.0, 1.10.0 (yanked), 1.2.0, 1.0.0");
    }

    fn sign(registry: &mut Registry, seed: u16, signed_ms: u64) -> Result<usize, RegistryRefusal> {
        let record = registry.get("w", "1.0.0").unwrap();
        let module = Signed { module: "w", version: "1.0.0", bundle: record.bundle.digest };
        let mut secret = [0; 32];
        secret[..2].copy_from_slice(&seed.to_le_bytes());
        let made = Signature::make(&SecretKey::from_seed(&secret), module, signed_ms, None);
        let (name, version) = ("w".to_owned(), "1.0.0".to_owned());
        let signature = Box::new(made.verify(module).unwrap());
        registry.make(&ModuleChange::Sign { name, version, signature }).map(|changed| changed.len())
    }

    #[test]
    fn a_key_has_one_signature_of_a_version_the_newest_and_a_version_so_many() {
        let mut registry = Registry::default();
        publish(&mut registry, "1.0.0", 1).unwrap();
        assert_eq!(
            [sign(&mut registry, 0, 5), sign(&mut registry, 0, 5), sign(&mut registry, 0, 4)],
            [Ok(1), Ok(0), Ok(0)]
        );
        assert_eq!(sign(&mut registry, 0, 6), Ok(1), "a newer one takes its place");
        for seed in 1..1_000 {
            let room = usize::from(seed) < SIGNATURES_PER_VERSION_MAX;
            assert_eq!(sign(&mut registry, seed, 5), if room { Ok(1) } else { Err(RegistryRefusal::Signatures) });
        }
        assert_eq!(sign(&mut registry, 0, 7), Ok(1), "who has signed may sign again");
        let record = registry.of_bundle(&Digest::from_bytes([1; 32])).unwrap();
        assert_eq!((record.version.as_str(), record.signatures.len()), ("1.0.0", SIGNATURES_PER_VERSION_MAX));
        let newest = Signature::parse(&record.signatures[0]).unwrap();
        assert_eq!(newest.statement().signed_ms, 7);
    }

    #[test]
    fn what_is_searched_and_listed_is_what_the_newest_version_says() {
        let mut registry = Registry::default();
        let about = |version, number, words: &str| {
            let about = format!(r#"{{"description": "{words}", "image": "x"}}"#);
            ModuleChange::Publish(Box::new(ModuleRecord { about, ..record("w", version, number) }))
        };
        for change in [about("1.0.0", 1, "Adds"), about("1.1.0", 2, "AVERAGES"), about("2.0.0-rc.1", 3, "Guesses")] {
            registry.make(&change).unwrap();
        }
        registry.make(&ModuleChange::Publish(Box::new(record("adder", "1.0.0", 4)))).unwrap();
        let found = |registry: &Registry, wanted| registry.search(None, wanted).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(found(&registry, "averages"), ["w"]);
        assert_eq!(found(&registry, "add"), ["adder"], "an old version is not searched");
        assert!(found(&registry, "guess").is_empty(), "nor is one that nobody means who names none");
        assert_eq!(registry.newest("w").unwrap().version, "1.1.0");
        mark(&mut registry, "1.1.0", ModuleMark::Yank("wrong".into())).unwrap();
        assert_eq!(found(&registry, "add"), ["adder", "w"]);
        assert_eq!(registry.search(Some("adder"), "add").collect::<Vec<_>>(), ["w"]);
        mark(&mut registry, "1.0.0", ModuleMark::Yank("wrong too".into())).unwrap();
        assert_eq!((registry.newest("w"), found(&registry, "w")), (None, vec!["w".to_owned()]));
    }

    #[test]
    fn what_was_stored_reads_back() {
        let registry = Registry::new(vec![record("w", "1.10.0", 1), record("w", "1.9.0", 2), record("a", "1.0.0", 3)]);
        let registry = registry.unwrap();
        assert_eq!(registry.names(None).collect::<Vec<_>>(), ["a", "w"]);
        assert_eq!(registry.names(Some("a")).collect::<Vec<_>>(), ["w"]);
        assert_eq!(registry.versions("w").next().unwrap().version, "1.10.0");
        assert!(Registry::new(vec![record("w", "one", 1)]).unwrap_err().to_string().contains("`one`"));
    }
}
