//! `manta module sbom`: what a module is made of, for tools that look for known faults and licences.
use std::process::ExitCode;

use manta_api::version::PRODUCT;

use crate::out;
use crate::package::{self, SourceArgs};
use crate::registry::RegistryArgs;
use crate::report::Failure;

/// Options of `manta module sbom`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The module: a `.py` file or a folder, an archive that `manta module package` wrote, or NAME@VERSION.
    module: String,

    #[command(flatten)]
    source: SourceArgs,

    #[command(flatten)]
    registry: RegistryArgs,
}

/// Prints the module's bill of materials (CycloneDX 1.6, JSON); the same bundle has the same one.
pub(crate) async fn main(args: Args) -> Result<ExitCode, Failure> {
    let package = package::find(&args.module, &args.source, &args.registry).await?;
    let document = manta_module::sbom(&package.packed.bundle, PRODUCT);
    let mut text = serde_json::to_string_pretty(&document).map_err(|error| Failure::internal(error.to_string()))?;
    text.push('\n');
    out::put(&text)?;
    Ok(ExitCode::SUCCESS)
}
