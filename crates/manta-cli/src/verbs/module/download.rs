//! `manta module download`: a published module as one file.
use std::path::PathBuf;
use std::process::ExitCode;

use manta_api::version::SCHEMA_VERSION;
use serde_json::json;

use super::package::write;
use crate::out;
use crate::registry::{RegistryArgs, split};
use crate::report::{Failure, Form};
use crate::text::clean;

/// Options of `manta module download`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The module, and which version of it: a version, a range or a tag [default: the newest].
    #[arg(value_name = "NAME[@VERSION]")]
    module: String,

    /// The file to write [default: NAME-VERSION.zip here].
    #[arg(short, long, value_name = "FILE.zip")]
    output: Option<PathBuf>,

    #[command(flatten)]
    registry: RegistryArgs,
}

/// Fetches the module, and writes the archive that `manta module package` would have written of its source.
pub(crate) async fn main(args: Args, form: Form) -> Result<ExitCode, Failure> {
    let registry = args.registry.open()?;
    let (name, wanted) = split(&args.module);
    let version = registry.choose(name, wanted).await?;
    let package = registry.fetch(&version).await?;
    let named = || PathBuf::from(format!("{}-{}.zip", version.name, version.version));
    let output = args.output.clone().unwrap_or_else(named);
    let size = write(&package, &output)?;
    match form {
        Form::Json => out::put_json(&json!({
            "schema_version": SCHEMA_VERSION,
            "file": output,
            "bytes": size,
            "module": version,
        }))?,
        Form::Text => out::put(&format!("{}\n", clean(&output.display().to_string())))?,
    }
    Ok(ExitCode::SUCCESS)
}
