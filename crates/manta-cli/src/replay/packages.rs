//! The packages of an attempt's module, installed for the interpreter that runs it on this machine.
use std::path::Path;

use manta_client::Client;
use manta_image::WheelFile;
use manta_module::BundleManifest;

use super::local::save;
use crate::dependencies::provided::{ask, fitting, install};
use crate::report::Failure;

/// Where they lie in a replay's folder.
const PACKAGES: &str = "packages";

/// Fetches the wheels of the lock that fits the interpreter, and installs them in the folder; without locks there is nothing to do.
pub(super) async fn provide(
    client: &Client,
    manifest: &BundleManifest,
    interpreter: &Path,
    folder: &Path,
) -> Result<(), Failure> {
    if manifest.dependencies.is_empty() {
        return Ok(());
    }
    let told = ask(interpreter, None).await?;
    let locked = fitting(&manifest.name, &manifest.dependencies, &told.interpreter).map_err(|failure| {
        failure.hint("name another interpreter with --python, or leave --local out: a node runs it again")
    })?;
    let mut wheels = Vec::new();
    for (name, wheel) in &locked.wheels {
        let path = folder.join("wheels").join(name);
        save(client, wheel.blob(), &path).await?;
        wheels.push(WheelFile { name: name.clone(), path, sha256: wheel.sha256.clone() });
    }
    install(&manifest.name, wheels, folder.join(PACKAGES)).await
}
