//! `manta image import`: an image from a file or directory.
use std::path::PathBuf;
use std::process::ExitCode;

use manta_image::{ImageName, Imported};
use serde_json::json;

use super::{StoreArgs, document, joined, put_document, removals, tell_removed};
use crate::out;
use crate::report::{Failure, Form};
use crate::text::bytes;

/// Options of `manta image import`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// An OCI layout (a directory or a tar archive), or an archive that `docker save` or `podman save` wrote.
    #[arg(value_name = "FILE|DIR")]
    from: PathBuf,

    /// What modules call it [default: what the archive calls it].
    #[arg(long)]
    name: Option<ImageName>,

    #[command(flatten)]
    store: StoreArgs,
}

/// Takes an image in.
pub(super) fn main(args: Args, form: Form) -> Result<ExitCode, Failure> {
    let imported = args.store.open()?.import(&args.from, args.name)?;
    tell(&imported, form)
}

/// Says what an image is that was taken in.
pub(super) fn tell(imported: &Imported, form: Form) -> Result<ExitCode, Failure> {
    let Imported { names, record, was_there, removed } = imported;
    if form == Form::Json {
        let mut told = document(names, record);
        told["was_there"] = json!(was_there);
        told["removed"] = removals(removed);
        put_document(told)?;
        return Ok(ExitCode::SUCCESS);
    }
    let python = match (record.python(), record.python_version()) {
        (Some(_), Some((major, minor))) => format!("Python {major}.{minor}"),
        (Some(path), None) => format!("the Python `{}`", path.display()),
        (None, _) => "no Python".to_owned(),
    };
    let digest = record.id.short();
    if *was_there {
        out::say(&format!("the image {digest} was there already; it is called {} now", joined(names)));
    } else {
        out::say(&format!("took in {} ({digest}): {python}, {}", joined(names), bytes(record.bytes())));
    }
    if record.python().is_none() {
        out::say("no task can run in it: there is no `python3` on its PATH, nor in /usr/bin");
    }
    tell_removed(removed, ", used least recently, to make room");
    Ok(ExitCode::SUCCESS)
}
