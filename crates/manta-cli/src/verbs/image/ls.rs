//! `manta image ls`: the images of the store.
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::{StoreArgs, document, joined, put_document};
use crate::out;
use crate::report::{Failure, Form};
use crate::table::Table;
use crate::text::{ago, bytes, one_line};

/// Options of `manta image ls`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    store: StoreArgs,
}

/// Lists images.
pub(super) fn main(args: &Args, form: Form) -> Result<ExitCode, Failure> {
    let store = args.store.open()?;
    let images = store.list()?;
    if form == Form::Json {
        let images: Vec<Value> = images
            .iter()
            .map(|image| {
                let mut told = document(&image.names, &image.record);
                told["used_ms"] = json!(milliseconds(image.used));
                told
            })
            .collect();
        put_document(json!({"images": images, "bytes": store.bytes()?}))?;
        return Ok(ExitCode::SUCCESS);
    }
    if images.is_empty() {
        out::say("there are no images yet; `manta image import FILE` takes one in");
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(&["NAME", "DIGEST", "PYTHON", "SIZE", "USED"]);
    let now = milliseconds(SystemTime::now());
    for image in images {
        let python = image.record.python_version().map(|(major, minor)| format!("{major}.{minor}"));
        let unknown = if image.record.python().is_some() { "?" } else { "none" };
        table.row(vec![
            if image.names.is_empty() { "-".to_owned() } else { one_line(&joined(&image.names), 60) },
            image.record.id.short(),
            python.unwrap_or_else(|| unknown.to_owned()),
            bytes(image.record.bytes()),
            ago(milliseconds(image.used), now),
        ]);
    }
    out::put(&table.render(out::width()))?;
    Ok(ExitCode::SUCCESS)
}

fn milliseconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
