//! `manta image inspect`: all that is known of one image.
use std::fmt::Write as _;
use std::process::ExitCode;

use manta_image::ImageName;

use super::{StoreArgs, document, joined, put_document};
use crate::out;
use crate::report::{Failure, Form};
use crate::text::{bytes, one_line};

/// Options of `manta image inspect`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Its name, its digest or the beginning of that.
    image: String,

    #[command(flatten)]
    store: StoreArgs,
}

/// Shows one image.
pub(super) fn main(args: &Args, form: Form) -> Result<ExitCode, Failure> {
    let store = args.store.open()?;
    let record = store.find(&args.image)?;
    let names: Vec<ImageName> =
        store.names()?.into_iter().filter(|(_, id)| *id == record.id).map(|(name, _)| name).collect();
    if form == Form::Json {
        put_document(document(&names, &record))?;
        return Ok(ExitCode::SUCCESS);
    }
    let python = match (record.python(), record.python_version()) {
        (Some(path), Some((major, minor))) => format!("{} ({major}.{minor})", path.display()),
        (Some(path), None) => path.display().to_string(),
        (None, _) => "none".to_owned(),
    };
    let mut text = String::new();
    let mut line = |what: &str, value: &str| {
        writeln!(text, "{what:<10}{}", one_line(value, 1000)).expect("text takes text");
    };
    line("names", &joined(&names));
    line("digest", &record.id.to_string());
    if let Some(manifest) = record.manifest {
        line("manifest", &manifest.to_string());
    }
    line("platform", &record.settings.platform.to_string());
    if let Some(created) = &record.settings.created {
        line("created", created);
    }
    line("python", &python);
    line("source", &record.source);
    line("size", &bytes(record.bytes()));
    for layer in &record.layers {
        line("layer", &format!("{} {} in {} entries", layer.digest, bytes(layer.bytes), layer.entries));
    }
    for (name, value) in &record.settings.env {
        line("env", &format!("{name}={value}"));
    }
    for (name, value) in &record.settings.labels {
        line("label", &format!("{name}={value}"));
    }
    out::put(&text)?;
    Ok(ExitCode::SUCCESS)
}
