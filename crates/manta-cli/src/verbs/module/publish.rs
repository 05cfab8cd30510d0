//! `manta module publish` and `add`: a module into a registry.
use std::process::ExitCode;

use manta_api::ModuleVersionView;
use manta_api::version::SCHEMA_VERSION;
use serde_json::json;

use super::sign::SignArgs;
use crate::out;
use crate::package::{self, SourceArgs};
use crate::registry::{Registry, RegistryArgs, split};
use crate::report::{Failure, Form};
use crate::text::clean;

/// Options of `manta module publish`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The module: a `.py` file or a folder, or an archive that `manta module package` wrote.
    module: String,

    #[command(flatten)]
    source: SourceArgs,

    #[command(flatten)]
    sign: SignArgs,

    #[command(flatten)]
    registry: RegistryArgs,
}

/// Options of `manta module add`.
#[derive(Debug, clap::Args)]
pub(crate) struct AddArgs {
    /// The module, and which version of it: a version, a range or a tag [default: the newest].
    #[arg(value_name = "NAME[@VERSION]")]
    module: String,

    /// The registry that has it: a directory, or a manager's address.
    #[arg(long, value_name = "DIR|URL")]
    from: String,

    #[command(flatten)]
    registry: RegistryArgs,
}

/// Publishes a module; a version that exists stays what it is.
pub(crate) async fn main(args: Args, form: Form) -> Result<ExitCode, Failure> {
    let registry = args.registry.open()?;
    let mut package = package::open(&args.module, &args.source).await?;
    args.sign.sign(&mut package)?;
    told(&registry.publish(&package).await?, form)
}

/// Takes a module of another registry, as the bundle that it is there.
pub(crate) async fn add(args: AddArgs, form: Form) -> Result<ExitCode, Failure> {
    let (from, to) = (Registry::named(&args.from, args.registry.connection())?, args.registry.open()?);
    let (name, wanted) = split(&args.module);
    let version = from.choose(name, wanted).await?;
    let package = from.fetch(&version).await?;
    told(&to.publish(&package).await?, form)
}

fn told(published: &ModuleVersionView, form: Form) -> Result<ExitCode, Failure> {
    match form {
        Form::Json => out::put_json(&json!({"schema_version": SCHEMA_VERSION, "module": published}))?,
        Form::Text => {
            let (name, version) = (clean(&published.name), clean(&published.version));
            out::put(&format!("{name}@{version}\n"))?;
            out::say(&format!(
                "published as bundle {}; use it: Module(\"{name}\", version=\"{version}\")",
                published.bundle
            ));
        }
    }
    Ok(ExitCode::SUCCESS)
}
