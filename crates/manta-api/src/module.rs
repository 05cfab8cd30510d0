//! Published modules, as the public API takes and shows them.
use manta_types::{Digest, SwarmId};
use serde::{Deserialize, Serialize};

/// What a version of a module says of itself, beside its code.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ModuleAbout {
    /// For people.
    #[serde(default)]
    pub description: Option<String>,
    /// The environment it asks for.
    pub image: String,
    /// Other images that it works with.
    #[serde(default)]
    pub images: Vec<String>,
    /// Versions of Manta it works with, as a SemVer range.
    #[serde(default)]
    pub requires_manta: Option<String>,
    /// Versions of Python it works with.
    #[serde(default)]
    pub requires_python: Option<String>,
    /// Machines that it runs on; none: all.
    #[serde(default)]
    pub architectures: Vec<String>,
    /// Datasets it may open.
    #[serde(default)]
    pub datasets: Vec<String>,
    /// Files in its bundle.
    pub files: u64,
    /// Bytes of these.
    pub bytes: u64,
}

/// A published version of a module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ModuleVersionView {
    /// The module's name.
    pub name: String,
    /// SemVer.
    pub version: String,
    /// Digest of the bundle's manifest, which is a blob like its files.
    #[schema(value_type = String)]
    pub bundle: Digest,
    /// Who published it, as its client said.
    pub publisher: String,
    /// Wall clock, ms since 1970.
    pub published_ms: u64,
    /// Why no range chooses it any more, where it was yanked.
    pub yanked: Option<String>,
    /// What to do in its place, where it is deprecated.
    pub deprecated: Option<String>,
    /// Its names that move from version to version.
    pub tags: Vec<String>,
    /// Who signed it: each a document of its own, as text, that whoever trusts nobody in between verifies.
    #[serde(default)]
    pub signatures: Vec<String>,
    /// What it says of itself.
    pub about: ModuleAbout,
}

/// A module of which something is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ModuleView {
    /// Its name.
    pub name: String,
    /// The version that is meant by the name alone; absent where every version was yanked or is a pre-release.
    pub newest: Option<String>,
    /// How many versions there are.
    pub versions: u64,
    /// What the newest says of itself.
    pub description: Option<String>,
    /// What to do in place of the newest, where it is deprecated.
    pub deprecated: Option<String>,
}

/// A swarm that pins a version of a module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ModuleUseView {
    /// The swarm.
    #[schema(value_type = String)]
    pub swarm: SwarmId,
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: String,
    /// Those of its tasks that run the module.
    pub tasks: Vec<String>,
    /// The version, as the swarm pins it.
    pub version: String,
    /// The bundle that it pins.
    #[schema(value_type = String)]
    pub bundle: Digest,
}

/// What `POST modules` takes: the bundle's manifest and files are stored blobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PublishRequest {
    /// Digest of the bundle's manifest.
    #[schema(value_type = String)]
    pub bundle: Digest,
    /// Who publishes it, for people.
    #[serde(default)]
    pub publisher: String,
}

/// What `POST modules/{name}/marks` takes: what is to be said of a version from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MarkRequest {
    /// The version.
    pub version: String,
    /// What is said of it.
    pub mark: ModuleMark,
}

/// Something that is said of a published version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ModuleMark {
    /// No range chooses it any more, for this reason; who pins it keeps it.
    Yank(String),
    /// Ranges choose it again.
    Unyank,
    /// Whoever uses it is told this.
    Deprecate(String),
    /// It is not deprecated any more.
    Undeprecate,
    /// This name means it, and no other version any more.
    Tag(String),
    /// This name means it no more.
    Untag(String),
    /// It is signed by this, the text of a signature; an earlier one of the same key goes.
    Sign(String),
}

/// The signatures of a bundle, for a node that is to run it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BundleSignatures {
    /// Each a document of its own, as text.
    pub signatures: Vec<String>,
}
