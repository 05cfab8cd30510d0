//! `manta module diff`: how one module becomes another.
use std::fmt::Write as _;
use std::process::ExitCode;

use manta_api::version::SCHEMA_VERSION;
use serde_json::{Value, json};

use crate::out;
use crate::package::{self, Difference, FileChange, SourceArgs};
use crate::registry::RegistryArgs;
use crate::report::{Failure, Form};
use crate::text::{bytes, clean, one_line};

/// Options of `manta module diff`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The module as it was: a path, an archive, or NAME@VERSION of a registry.
    before: String,

    /// The module as it is.
    after: String,

    /// The Python interpreter [default: MANTA_PYTHON, the active environment, python3 on PATH].
    #[arg(long, value_name = "PATH")]
    python: Option<std::path::PathBuf>,

    #[command(flatten)]
    registry: RegistryArgs,
}

/// Shows what differs; nothing where they are the same.
pub(crate) async fn main(args: Args, form: Form) -> Result<ExitCode, Failure> {
    let source = SourceArgs::with_python(args.python);
    let before = package::find(&args.before, &source, &args.registry).await?;
    let after = package::find(&args.after, &source, &args.registry).await?;
    let difference = package::difference(&before, &after)?;
    match form {
        Form::Json => out::put_json(&json!({
            "schema_version": SCHEMA_VERSION,
            "before": before.packed.bundle.blob.digest,
            "after": after.packed.bundle.blob.digest,
            "fields": difference.fields,
            "files": difference.files,
        }))?,
        Form::Text => {
            out::put(&render(&difference))?;
            if difference.fields.is_empty() && difference.files.is_empty() {
                out::say("the modules are the same");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn render(difference: &Difference) -> String {
    let mut text = String::new();
    for change in &difference.fields {
        let mut line = |sign: char, value: &Option<Value>| {
            if let Some(value) = value {
                let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                writeln!(text, "{sign}{}: {}", clean(&change.field), one_line(&shown, 200)).expect("text takes text");
            }
        };
        line('-', &change.before);
        line('+', &change.after);
    }
    for change in &difference.files {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&clean(&render_file(change)));
    }
    text
}

fn render_file(change: &FileChange) -> String {
    let size = |size: Option<u64>| size.map_or_else(|| "nothing".to_owned(), bytes);
    match &change.text {
        Some(text) => text.clone(),
        None => format!("{}: {} before, {} after\n", change.path, size(change.before), size(change.after)),
    }
}
