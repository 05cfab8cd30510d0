//! `manta module inspect`: what a module is, once packed.
use std::fmt::Write as _;
use std::process::ExitCode;

use manta_api::version::SCHEMA_VERSION;
use manta_module::{BundleManifest, Entry, Signature, Target};
use serde_json::json;

use super::packages;
use crate::out;
use crate::package::{self, Package, SourceArgs};
use crate::registry::RegistryArgs;
use crate::report::{Failure, Form};
use crate::table::Table;
use crate::text::{bytes, count, iso, one_line};

/// Options of `manta module inspect`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The module: a `.py` file or a folder, an archive that `manta module package` wrote, or NAME@VERSION.
    module: String,

    #[command(flatten)]
    source: SourceArgs,

    #[command(flatten)]
    registry: RegistryArgs,
}

/// Shows the module; its files largest first.
pub(crate) async fn main(args: Args, form: Form) -> Result<ExitCode, Failure> {
    let package = package::find(&args.module, &args.source, &args.registry).await?;
    match form {
        Form::Json => out::put_json(&json!({
            "schema_version": SCHEMA_VERSION,
            "bundle": package.packed.bundle.blob.digest,
            "tree": package.manifest().tree_digest(),
            "bytes": package.manifest().total_bytes(),
            "manifest": package.manifest(),
            "signatures": package.signatures,
        }))?,
        Form::Text => out::put(&render(&package, out::width()))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn render(package: &Package, width: Option<usize>) -> String {
    let manifest = package.manifest();
    let mut text = String::new();
    let mut line = |what: &str, value: &str| {
        if !value.is_empty() {
            writeln!(text, "{what:<14}{}", one_line(value, 1000)).expect("text takes text");
        }
    };
    line("module", &format!("{} {}", manifest.name, manifest.version));
    line("description", manifest.description.as_deref().unwrap_or_default());
    line("bundle", &package.packed.bundle.blob.digest.to_string());
    line("tree", &manifest.tree_digest().to_string());
    match &manifest.entry {
        Entry::Code { file, target: Target::Call(name) | Target::Class(name) } => {
            line("entry", &format!("{name} in {file}"));
        }
        Entry::Image => line("entry", "the image's own program"),
    }
    line("image", &manifest.image);
    line("images", &manifest.images.join(", "));
    line("architectures", &manifest.architectures.join(", "));
    line("manta", manifest.requires_manta.as_deref().unwrap_or_default());
    line("python", manifest.requires_python.as_deref().unwrap_or_default());
    line("datasets", &manifest.datasets.join(", "));
    line("resources", &resources(manifest));
    line("isolation", manifest.isolation.as_deref().unwrap_or_default());
    line("size", &format!("{} in {}", bytes(manifest.total_bytes()), count(manifest.files.len(), "file")));
    for text in &package.signatures {
        line("signed", &signed(text));
    }
    let mut files: Vec<_> = manifest.files.iter().collect();
    files.sort_by_key(|(path, blob)| (std::cmp::Reverse(blob.size), *path));
    let mut table = Table::new(&["SIZE", "FILE", "DIGEST"]);
    for (path, blob) in files {
        table.row(vec![bytes(blob.size), one_line(path, 80), blob.digest.short()]);
    }
    text.push('\n');
    text.push_str(&table.render(width));
    if let Some(packages) = packages::render(package, width) {
        text.push('\n');
        text.push_str(&packages);
    }
    text
}

/// By which key it claims to be signed; `manta module verify` proves it.
fn signed(text: &str) -> String {
    match Signature::parse(text) {
        Ok(signature) => {
            let statement = signature.statement();
            format!("by the key {} at {}", statement.signer.short(), iso(statement.signed_ms))
        }
        Err(error) => error.to_string(),
    }
}

fn resources(manifest: &BundleManifest) -> String {
    let asked = manifest.resources;
    let parts = [
        asked.cpu.map(|cpu| format!("{cpu} CPU")),
        asked.memory_bytes.map(|size| format!("{} memory", bytes(size))),
        asked.gpu.map(|gpus| count(gpus as usize, "GPU")),
        asked.gpu_memory_bytes.map(|size| format!("{} memory a GPU", bytes(size))),
        asked.tmp_bytes.map(|size| format!("{} scratch", bytes(size))),
        asked.pids.map(|pids| format!("{pids} processes")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
