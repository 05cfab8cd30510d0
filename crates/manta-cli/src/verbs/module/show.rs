//! `manta module show`, `compat` and `users`: the versions of a module, what they work with, and who uses them.
use std::process::ExitCode;

use manta_api::ModuleVersionView;
use manta_api::version::SCHEMA_VERSION;
use manta_module::Signature;
use serde_json::json;

use crate::out;
use crate::registry::RegistryArgs;
use crate::report::{Failure, Form};
use crate::table::Table;
use crate::text::{bytes, count, iso, one_line};

/// Options of `manta module show`, `compat` and `users`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The module's name.
    name: String,

    #[command(flatten)]
    registry: RegistryArgs,
}

/// Shows all versions of a module, the newest first.
pub(crate) async fn main(args: Args, form: Form) -> Result<ExitCode, Failure> {
    let versions = args.registry.open()?.versions(&args.name).await?;
    if form == Form::Json {
        out::put_json(&json!({"schema_version": SCHEMA_VERSION, "name": args.name, "versions": versions}))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(&["VERSION", "TAGS", "NOTES", "SIZE", "BUNDLE", "PUBLISHED", "BY", "SIGNED"]);
    for version in &versions {
        let size = format!("{} in {}", bytes(version.about.bytes), count(one(version.about.files), "file"));
        let published = if version.published_ms == 0 { "-".to_owned() } else { iso(version.published_ms) };
        let (tags, by) = (one_line(&version.tags.join(", "), 24), one_line(&version.publisher, 40));
        table.row(vec![
            version.version.clone(),
            tags,
            notes(version),
            size,
            version.bundle.short(),
            published,
            by,
            signed(version),
        ]);
    }
    out::put(&table.render(out::width()))?;
    Ok(ExitCode::SUCCESS)
}

/// Shows which version of a module works with which releases, images, Pythons and machines.
pub(crate) async fn compat(args: Args, form: Form) -> Result<ExitCode, Failure> {
    let mut versions = args.registry.open()?.versions(&args.name).await?;
    versions.reverse();
    if form == Form::Json {
        let rows: Vec<_> = versions
            .iter()
            .map(|version| {
                json!({
                    "version": version.version,
                    "platform": version.about.requires_manta,
                    "images": images(version),
                    "python": version.about.requires_python,
                    "architectures": version.about.architectures,
                    "notes": notes(version),
                })
            })
            .collect();
        out::put_json(&json!({"schema_version": SCHEMA_VERSION, "name": args.name, "versions": rows}))?;
        return Ok(ExitCode::SUCCESS);
    }
    let headers = ["MODULE", "VERSION", "PLATFORM VERSION", "COMPATIBLE IMAGES", "NOTES", "PYTHON", "MACHINES"];
    let mut table = Table::new(&headers);
    for version in &versions {
        let about = &version.about;
        let platform = about.requires_manta.as_ref().map_or_else(|| "any".to_owned(), |range| format!("manta {range}"));
        let python = about.requires_python.clone().unwrap_or_else(|| "any".to_owned());
        let machines = if about.architectures.is_empty() { "all".to_owned() } else { about.architectures.join(", ") };
        let name = one_line(&version.name, 32);
        let images = one_line(&images(version).join(", "), 48);
        table.row(vec![
            name,
            version.version.clone(),
            one_line(&platform, 24),
            images,
            notes(version),
            python,
            machines,
        ]);
    }
    out::put(&table.render(out::width()))?;
    Ok(ExitCode::SUCCESS)
}

/// Shows which swarms pin which version of a module.
pub(crate) async fn users(args: Args, form: Form) -> Result<ExitCode, Failure> {
    let users = args.registry.open()?.users(&args.name).await?;
    if form == Form::Json {
        out::put_json(&json!({"schema_version": SCHEMA_VERSION, "name": args.name, "users": users}))?;
        return Ok(ExitCode::SUCCESS);
    }
    if users.is_empty() {
        out::say("no swarm uses it");
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(&["SWARM", "STATE", "VERSION", "TASKS", "BUNDLE", "ID"]);
    for user in users {
        let (tasks, id) = (one_line(&user.tasks.join(", "), 40), user.swarm.to_string());
        table.row(vec![
            one_line(&user.name, 32),
            user.state,
            one_line(&user.version, 32),
            tasks,
            user.bundle.short(),
            id,
        ]);
    }
    out::put(&table.render(out::width()))?;
    Ok(ExitCode::SUCCESS)
}

/// The images that a version names, short where they are curated.
fn images(version: &ModuleVersionView) -> Vec<String> {
    let all = std::iter::once(&version.about.image).chain(&version.about.images);
    all.map(|image| image.strip_prefix("manta_light:").unwrap_or(image).to_owned()).collect()
}

fn notes(version: &ModuleVersionView) -> String {
    let words = match (&version.yanked, &version.deprecated) {
        (Some(reason), _) => format!("yanked: {reason}"),
        (None, Some(instead)) => format!("deprecated: {instead}"),
        (None, None) => version.about.description.clone().unwrap_or_default(),
    };
    one_line(&words, 48)
}

/// The keys by which a version claims to be signed; `manta module verify` proves it.
fn signed(version: &ModuleVersionView) -> String {
    let keys: Vec<String> = version
        .signatures
        .iter()
        .filter_map(|text| Some(Signature::parse(text).ok()?.statement().signer.short()))
        .collect();
    if keys.is_empty() { "-".to_owned() } else { one_line(&keys.join(", "), 40) }
}

fn one(files: u64) -> usize {
    usize::try_from(files).unwrap_or(usize::MAX)
}
