//! `manta module yank`, `unyank`, `deprecate` and `tag`: what is said of a published version.
use std::process::ExitCode;

use manta_api::ModuleMark;
use manta_api::version::SCHEMA_VERSION;
use serde_json::json;

use crate::out;
use crate::registry::{RegistryArgs, split};
use crate::report::{Failure, Form};
use crate::text::clean;

/// Options of `manta module yank`.
#[derive(Debug, clap::Args)]
pub(crate) struct YankArgs {
    /// The version: swarms that pin it keep it, and no range chooses it any more.
    #[arg(value_name = "NAME@VERSION")]
    module: String,

    /// Why, for whoever uses it.
    #[arg(long, value_name = "TEXT")]
    reason: String,

    #[command(flatten)]
    registry: RegistryArgs,
}

/// Options of `manta module unyank`.
#[derive(Debug, clap::Args)]
pub(crate) struct UnyankArgs {
    /// The version.
    #[arg(value_name = "NAME@VERSION")]
    module: String,

    #[command(flatten)]
    registry: RegistryArgs,
}

/// Options of `manta module deprecate`.
#[derive(Debug, clap::Args)]
pub(crate) struct DeprecateArgs {
    /// The version.
    #[arg(value_name = "NAME@VERSION")]
    module: String,

    /// What to do in its place.
    #[arg(long, value_name = "TEXT", required_unless_present = "undo")]
    message: Option<String>,

    /// Take it back.
    #[arg(long, conflicts_with = "message")]
    undo: bool,

    #[command(flatten)]
    registry: RegistryArgs,
}

/// Options of `manta module tag`.
#[derive(Debug, clap::Args)]
pub(crate) struct TagArgs {
    /// The version.
    #[arg(value_name = "NAME@VERSION")]
    module: String,

    /// The name that means it from now on, and no other version any more.
    tag: String,

    /// Take the tag off.
    #[arg(long)]
    remove: bool,

    #[command(flatten)]
    registry: RegistryArgs,
}

/// Lets no range choose a version any more.
pub(crate) async fn yank(args: YankArgs, form: Form) -> Result<ExitCode, Failure> {
    mark(&args.registry, &args.module, ModuleMark::Yank(args.reason), form).await
}

/// Lets ranges choose a version again.
pub(crate) async fn unyank(args: UnyankArgs, form: Form) -> Result<ExitCode, Failure> {
    mark(&args.registry, &args.module, ModuleMark::Unyank, form).await
}

/// Tells whoever uses a version what to do in its place.
pub(crate) async fn deprecate(args: DeprecateArgs, form: Form) -> Result<ExitCode, Failure> {
    let said = args.message.map_or(ModuleMark::Undeprecate, ModuleMark::Deprecate);
    mark(&args.registry, &args.module, said, form).await
}

/// Gives a version a name that moves.
pub(crate) async fn tag(args: TagArgs, form: Form) -> Result<ExitCode, Failure> {
    let said = if args.remove { ModuleMark::Untag(args.tag) } else { ModuleMark::Tag(args.tag) };
    mark(&args.registry, &args.module, said, form).await
}

async fn mark(registry: &RegistryArgs, module: &str, said: ModuleMark, form: Form) -> Result<ExitCode, Failure> {
    let (name, Some(version)) = split(module) else {
        return Err(Failure::usage(format!("`{}` names no version", clean(module))).hint("write NAME@VERSION"));
    };
    let marked = registry.open()?.mark(name, version, said).await?;
    match form {
        Form::Json => out::put_json(&json!({"schema_version": SCHEMA_VERSION, "module": marked}))?,
        Form::Text => {
            let mut facts = marked.tags.iter().map(|tag| format!("tagged {tag}")).collect::<Vec<_>>();
            facts.extend(marked.yanked.map(|reason| format!("yanked: {reason}")));
            facts.extend(marked.deprecated.map(|instead| format!("deprecated: {instead}")));
            let facts = if facts.is_empty() { "nothing is said of it".to_owned() } else { facts.join("; ") };
            out::put(&format!("{}@{}: {}\n", clean(&marked.name), clean(&marked.version), clean(&facts)))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
