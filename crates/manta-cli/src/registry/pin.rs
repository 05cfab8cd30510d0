//! Published modules that a swarm names, pinned: each becomes the one bundle that it means now.
use manta_api::ModuleVersionView;
use manta_client::Client;
use manta_module::{Bundle, Entry, ModuleResources, Target, digest_of};
use manta_types::Blob;
use serde::Deserialize;

use super::Registry;
use crate::bundle::PackedModule;
use crate::connection::ConnectionArgs;
use crate::out::say;
use crate::report::Failure;
use crate::settings;
use crate::text::clean;
use crate::trace::{Traced, TracedCode};

/// A module that a swarm names by its name in a registry; what is given goes before what the module says of itself.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct PublishedModule {
    published: String,
    version: Option<String>,
    image: Option<String>,
    datasets: Option<Vec<String>>,
    resources: Option<ModuleResources>,
    isolation: Option<String>,
    entry: Option<String>,
    /// What it means, once that is known.
    #[serde(skip)]
    pinned: Option<PackedModule>,
}

impl PublishedModule {
    /// The bundle that it means.
    pub(crate) fn packed(&self) -> Result<&PackedModule, Failure> {
        self.pinned.as_ref().ok_or_else(|| Failure::internal(format!("module `{}` was not looked up", self.published)))
    }

    /// The datasets that it may open.
    pub(crate) fn datasets(&self) -> &[String] {
        let own = self.pinned.as_ref().map(|pinned| pinned.bundle.manifest.datasets.as_slice());
        self.datasets.as_deref().or(own).unwrap_or_default()
    }

    /// The published bundle, or one of the same files where something else is asked of it.
    fn adapted(&self, bundle: Bundle) -> Result<Bundle, Failure> {
        let mut manifest = bundle.manifest.clone();
        let Self { image, datasets, resources, isolation, entry, .. } = self.clone();
        manifest.image = image.unwrap_or(manifest.image);
        manifest.datasets = datasets.unwrap_or(manifest.datasets);
        manifest.resources = resources.unwrap_or(manifest.resources);
        manifest.isolation = isolation.or(manifest.isolation);
        match (entry, &mut manifest.entry) {
            (None, _) => {}
            (Some(class), Entry::Code { target, .. }) => *target = Target::Class(class),
            (Some(class), Entry::Image) => {
                let name = &self.published;
                let message = format!("module `{name}` runs its image's own program, which has no class `{class}`");
                return Err(Failure::usage(message));
            }
        }
        if manifest == bundle.manifest {
            return Ok(bundle);
        }
        manifest.version = format!("{}+from.{}", manifest.version, bundle.blob.digest.short());
        manifest.check().map_err(|error| Failure::usage(format!("module `{}`: {error}", self.published)))?;
        let bytes = manifest.canonical_bytes();
        let blob = Blob { digest: digest_of(&bytes), size: bytes.len() as u64 };
        Ok(Bundle { manifest, bytes, blob })
    }
}

/// Pins every published module of a swarm: of the registry that is named, else of the manager that the swarm is for.
pub(crate) async fn pin(traced: &mut Traced, named: Option<&str>, manager: Option<&Client>) -> Result<(), Failure> {
    let named = named.map_or_else(settings::registry, |named| Ok(Some(named.to_owned())))?;
    let folder = traced.folder.clone();
    for module in &mut traced.document.modules {
        let TracedCode::Published(module) = module else { continue };
        let (registry, is_target) = match (&named, manager) {
            (Some(named), _) => (Registry::named(named, &ConnectionArgs::default())?, false),
            (None, Some(client)) => (Registry::Manager(client.clone()), true),
            (None, None) => return Err(no_registry(&module.published)),
        };
        let version = registry.choose(&module.published, module.version.as_deref()).await?;
        warn(&version);
        // What lies at the manager that the swarm is for stays there.
        let packed =
            if is_target { registry.pin(&version).await? } else { registry.fetch_into(&version, &folder).await? };
        module.pinned = Some(PackedModule { bundle: module.adapted(packed.bundle)?, sources: packed.sources });
    }
    Ok(())
}

fn no_registry(name: &str) -> Failure {
    let failure = Failure::usage(format!("the module `{name}` is a published one, and no registry is named"));
    failure.hint(format!(
        "name a directory or a manager with --registry or MANTA_REGISTRY; if `{name}` is a path, write `./{name}`"
    ))
}

fn warn(version: &ModuleVersionView) {
    let what = format!("module `{}` {}", version.name, version.version);
    if let Some(reason) = &version.yanked {
        say(&clean(&format!("warning: {what} was yanked: {reason}")));
    }
    if let Some(instead) = &version.deprecated {
        say(&clean(&format!("warning: {what} is deprecated: {instead}")));
    }
}
