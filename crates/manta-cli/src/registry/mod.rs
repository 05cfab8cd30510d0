//! Where published modules are: at a manager, or in a directory that a team shares.
mod directory;
mod pin;

use std::collections::BTreeMap;
use std::path::Path;

use manta_api::{ErrorCode, ModuleMark, ModuleUseView, ModuleVersionView, ModuleView};
use manta_client::Client;
use manta_types::{Digest, limits};

pub(crate) use directory::Directory;
pub(crate) use pin::{PublishedModule, pin};

use crate::bundle::PackedModule;
use crate::connection::{self, ConnectionArgs};
use crate::package::{Package, bundle, temporary};
use crate::report::Failure;
use crate::settings;
use crate::upload::send_package;

/// Which registry a command speaks to.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RegistryArgs {
    /// A directory that holds published modules, or another manager's address [default: MANTA_REGISTRY, else the manager].
    #[arg(long, value_name = "DIR|URL", help_heading = "Connection")]
    registry: Option<String>,

    #[command(flatten)]
    connection: ConnectionArgs,
}

impl RegistryArgs {
    /// How managers are spoken to.
    pub(crate) fn connection(&self) -> &ConnectionArgs {
        &self.connection
    }

    /// The registry; nothing is asked of it yet.
    pub(crate) fn open(&self) -> Result<Registry, Failure> {
        let named = self.registry.clone().map_or_else(settings::registry, |named| Ok(Some(named)))?;
        match named {
            Some(named) => Registry::named(&named, &self.connection),
            None => Ok(Registry::Manager(self.connection.client()?)),
        }
    }
}

/// Published modules.
#[derive(Debug)]
pub(crate) enum Registry {
    /// Those of a manager.
    Manager(Client),
    /// Those in a directory.
    Directory(Directory),
}

impl Registry {
    /// The registry at an address or in a directory.
    pub(crate) fn named(named: &str, connection: &ConnectionArgs) -> Result<Self, Failure> {
        if named.contains("://") || named.starts_with("unix:") {
            return Ok(Self::Manager(connection.client_at(named)?));
        }
        Ok(Self::Directory(Directory::open(Path::new(named))?))
    }

    /// All modules whose name or description holds a text, or all.
    pub(crate) async fn modules(&self, search: Option<&str>) -> Result<Vec<ModuleView>, Failure> {
        match self {
            Self::Manager(client) => Ok(client.modules(search).await?),
            Self::Directory(directory) => directory.modules(search),
        }
    }

    /// All versions of a module, the newest first.
    pub(crate) async fn versions(&self, name: &str) -> Result<Vec<ModuleVersionView>, Failure> {
        match self {
            Self::Manager(client) => Ok(client.module(name).await?),
            Self::Directory(directory) => directory.versions(name),
        }
    }

    /// The version that a version, a range or a tag means; without one, the newest.
    pub(crate) async fn choose(&self, name: &str, wanted: Option<&str>) -> Result<ModuleVersionView, Failure> {
        match self {
            Self::Manager(client) => Ok(client.module_version(name, wanted).await?),
            Self::Directory(directory) => directory.choose(name, wanted),
        }
    }

    /// Publishes a package with its signatures; each that is none is refused, and none of them before the package is checked.
    pub(crate) async fn publish(&self, package: &Package) -> Result<ModuleVersionView, Failure> {
        package.check_signatures()?;
        let mut published = match self {
            Self::Manager(client) => {
                send_package(client, package).await?;
                let bundle = package.packed.bundle.blob.digest;
                client.publish(bundle, &publisher(), &Client::new_key()).await?
            }
            Self::Directory(directory) => directory.publish(package, &publisher())?,
        };
        for signature in &package.signatures {
            let mark = ModuleMark::Sign(signature.clone());
            published = self.mark(&published.name, &published.version, mark).await?;
        }
        Ok(published)
    }

    /// Says something of a version from now on.
    pub(crate) async fn mark(&self, name: &str, version: &str, mark: ModuleMark) -> Result<ModuleVersionView, Failure> {
        match self {
            Self::Manager(client) => Ok(client.mark_module(name, version, mark, &Client::new_key()).await?),
            Self::Directory(directory) => directory.mark(name, version, &mark),
        }
    }

    /// The swarms that pin a version of a module.
    pub(crate) async fn users(&self, name: &str) -> Result<Vec<ModuleUseView>, Failure> {
        match self {
            Self::Manager(client) => Ok(client.module_users(name).await?),
            Self::Directory(_) => {
                let failure = Failure::usage("a directory does not know which swarms use its modules");
                Err(failure.hint("ask the manager: leave --registry out"))
            }
        }
    }

    /// The manifest of a version; its files stay where they are, and `sources` names those that lie on this machine.
    pub(crate) async fn pin(&self, version: &ModuleVersionView) -> Result<PackedModule, Failure> {
        match self {
            Self::Manager(client) => {
                let bytes = client.get_blob_bytes(&version.bundle, MANIFEST_BYTES_MAX).await?.to_vec();
                let whose = format!("module `{}` {}", version.name, version.version);
                Ok(PackedModule { bundle: bundle(bytes, &whose)?, sources: BTreeMap::new() })
            }
            Self::Directory(directory) => directory.read(&version.name, &version.version),
        }
    }

    /// A version with its files.
    pub(crate) async fn fetch(&self, version: &ModuleVersionView) -> Result<Package, Failure> {
        let folder = temporary()?;
        let packed = self.fetch_into(version, folder.path()).await?;
        Ok(Package::new(packed, version.signatures.clone(), Some(folder)))
    }

    /// A version with its files, which are fetched into a folder where they are elsewhere; each is proved by its digest.
    pub(crate) async fn fetch_into(&self, version: &ModuleVersionView, folder: &Path) -> Result<PackedModule, Failure> {
        let mut packed = self.pin(version).await?;
        let Self::Manager(client) = self else { return Ok(packed) };
        let wanted: std::collections::BTreeSet<Digest> =
            packed.bundle.manifest.blobs().map(|(_, blob)| blob.digest).collect();
        for digest in wanted {
            let path = folder.join(digest.to_string());
            if !path.exists() {
                fetch_file(client, &digest, &path).await?;
            }
            packed.sources.insert(digest, path);
        }
        Ok(packed)
    }
}

const MANIFEST_BYTES_MAX: u64 = limits::REQUEST_BODY_BYTES_MAX as u64;

async fn fetch_file(client: &Client, digest: &Digest, path: &Path) -> Result<(), Failure> {
    let file = tokio::fs::File::create_new(path).await;
    let mut file = file.map_err(|error| Failure::file("a file cannot be written:", path, &error))?;
    client.get_blob_to(digest, &mut file).await?;
    Ok(())
}

/// `worker@^1.1` as a name and what is wanted of it.
pub(crate) fn split(wanted: &str) -> (&str, Option<&str>) {
    wanted.split_once('@').map_or((wanted, None), |(name, version)| (name, Some(version)))
}

/// Who publishes, as far as this machine knows.
fn publisher() -> String {
    let user = connection::variable("USER").or_else(|| connection::variable("LOGNAME")).unwrap_or_default();
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if user.is_empty() { host } else { format!("{user}@{host}") }
}

/// Two ways to say that nothing is published under a name.
pub(super) fn unknown<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Failure {
    let shown = manta_types::name::printable(wanted, 64);
    let failure = Failure::new(ErrorCode::NotFound, format!("no module `{shown}` is published"));
    match manta_types::name::nearest(wanted, names) {
        Some(near) => failure.hint(format!("did you mean `{near}`?")),
        None => failure.hint("`manta module ls` lists them, and `manta module publish` adds one"),
    }
}

/// A bundle that was given no version of its own.
fn unversioned(name: &str, version: &str) -> Failure {
    let message = format!(
        "version {version} of module `{name}` cannot be published: what follows the `+` tells no versions apart"
    );
    let failure = Failure::new(ErrorCode::InvalidSwarm, message);
    failure.hint("give it a version such as 1.0.0: `version` in `[tool.manta.module]`, or --version")
}
