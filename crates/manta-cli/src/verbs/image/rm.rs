//! `manta image rm` and `prune`: images go, those in use stay.
use std::process::ExitCode;

use serde_json::json;

use super::{StoreArgs, put_document, removals, tell_removed};
use crate::out;
use crate::report::{Failure, Form};
use crate::text::bytes;

/// Options of `manta image rm`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Its name: the image goes with its last one. Its digest or the beginning of that: it goes with all its names.
    image: String,

    #[command(flatten)]
    store: StoreArgs,
}

/// Options of `manta image prune`.
#[derive(Debug, clap::Args)]
pub(crate) struct PruneArgs {
    /// Then remove images, the least recently used first, until the rest takes at most so many GiB.
    #[arg(long, value_name = "GIB")]
    keep_gib: Option<u64>,

    #[command(flatten)]
    store: StoreArgs,
}

/// Removes an image or one of its names.
pub(super) fn main(args: &Args, form: Form) -> Result<ExitCode, Failure> {
    let removed = args.store.open()?.remove(&args.image)?;
    let images: Vec<_> = removed.into_iter().collect();
    if form == Form::Json {
        put_document(json!({"removed": removals(&images)}))?;
    } else if images.is_empty() {
        out::say(&format!("the image is no longer called {}; its other names stay", args.image));
    } else {
        tell_removed(&images, "");
    }
    Ok(ExitCode::SUCCESS)
}

/// Removes what nobody needs.
pub(super) fn prune(args: &PruneArgs, form: Form) -> Result<ExitCode, Failure> {
    let store = args.store.open()?;
    let removed = store.prune(args.keep_gib.map(|gib| gib.saturating_mul(1 << 30)))?;
    let left = store.bytes()?;
    if form == Form::Json {
        put_document(json!({"removed": removals(&removed), "bytes": left}))?;
    } else {
        tell_removed(&removed, "");
        out::say(&format!("{} of images are left", bytes(left)));
    }
    Ok(ExitCode::SUCCESS)
}
