//! `manta new`: a swarm of one's own, begun from an example.
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use manta_api::ErrorCode;
use manta_api::version::SCHEMA_VERSION;
use serde_json::json;

use crate::out;
use crate::report::{Failure, Form};

/// Template → its files: path in the folder, content.
const TEMPLATES: &[(&str, &[(&str, &str)])] = include!(concat!(env!("OUT_DIR"), "/templates.rs"));

/// Options of `manta new`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder to make; its last part is the swarm's folder name.
    #[arg(value_name = "NAME")]
    folder: PathBuf,

    /// What to begin from.
    #[arg(long, value_name = "TEMPLATE", default_value = "hello", value_parser = template_names())]
    template: String,
}

fn template_names() -> clap::builder::PossibleValuesParser {
    clap::builder::PossibleValuesParser::new(TEMPLATES.iter().map(|(name, _)| *name))
}

/// Writes the template's files into a folder that was not there, all of them or none.
pub(crate) fn main(args: &Args, form: Form) -> Result<ExitCode, Failure> {
    let files = TEMPLATES.iter().find(|(name, _)| *name == args.template).map_or(&[][..], |(_, files)| *files);
    let folder = &args.folder;
    fs::create_dir(folder).map_err(|error| not_made(folder, &error))?;
    if let Err(failure) = files.iter().try_for_each(|(name, content)| write(&folder.join(name), content)) {
        // Half an example is of no use to anybody; why it is only half is what matters.
        let _ = fs::remove_dir_all(folder);
        return Err(failure);
    }
    match form {
        Form::Json => {
            let names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
            let document =
                json!({"schema_version": SCHEMA_VERSION, "folder": folder, "template": args.template, "files": names});
            out::put_json(&document)?;
        }
        Form::Text => {
            let shown = folder.display();
            // The other templates need data, and their pages say where it comes from.
            let run = if args.template == "hello" { format!(", or: manta run {shown}") } else { String::new() };
            out::say(&format!("{shown} has {} files; read {shown}/README.md{run}", files.len()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn write(path: &Path, content: &str) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::file("the template cannot be written as", path, &error);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    fs::write(path, content).map_err(failed)
}

fn not_made(folder: &Path, error: &std::io::Error) -> Failure {
    if error.kind() == ErrorKind::AlreadyExists {
        let failure = Failure::new(ErrorCode::BadRequest, format!("`{}` is there already", folder.display()));
        return failure.hint("name a folder that is not, so that nothing of yours is written over");
    }
    Failure::file("the folder cannot be made:", folder, error)
}
