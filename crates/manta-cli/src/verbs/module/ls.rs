//! `manta module ls` and `search`: what is published.
use std::process::ExitCode;

use manta_api::version::SCHEMA_VERSION;
use serde_json::json;

use crate::out;
use crate::registry::RegistryArgs;
use crate::report::{Failure, Form};
use crate::table::Table;
use crate::text::one_line;

/// Options of `manta module ls`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    registry: RegistryArgs,
}

/// Options of `manta module search`.
#[derive(Debug, clap::Args)]
pub(crate) struct SearchArgs {
    /// A part of a name or description.
    text: String,

    #[command(flatten)]
    registry: RegistryArgs,
}

/// Lists modules.
pub(crate) async fn main(args: Args, form: Form) -> Result<ExitCode, Failure> {
    list(&args.registry, None, form).await
}

/// Lists the modules that a text is in.
pub(crate) async fn search(args: SearchArgs, form: Form) -> Result<ExitCode, Failure> {
    list(&args.registry, Some(&args.text), form).await
}

async fn list(registry: &RegistryArgs, search: Option<&str>, form: Form) -> Result<ExitCode, Failure> {
    let modules = registry.open()?.modules(search).await?;
    if form == Form::Json {
        out::put_json(&json!({"schema_version": SCHEMA_VERSION, "modules": modules}))?;
        return Ok(ExitCode::SUCCESS);
    }
    if modules.is_empty() {
        out::say("no such module is published; `manta module publish PATH` publishes one");
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(&["NAME", "NEWEST", "VERSIONS", "DESCRIPTION"]);
    for module in modules {
        let newest = module.newest.unwrap_or_else(|| "-".to_owned());
        let words = module.deprecated.map(|instead| format!("deprecated: {instead}")).or(module.description);
        let versions = module.versions.to_string();
        table.row(vec![one_line(&module.name, 40), newest, versions, one_line(&words.unwrap_or_default(), 60)]);
    }
    out::put(&table.render(out::width()))?;
    Ok(ExitCode::SUCCESS)
}
