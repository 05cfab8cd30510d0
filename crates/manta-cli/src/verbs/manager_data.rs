//! `manta manager backup`, `restore` and `scrub`: what a data directory holds is copied, brought back, and checked.
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use manta_api::version::SCHEMA_VERSION;
use serde::Serialize;

use crate::out;
use crate::report::{Failure, Form};

/// Options of `manta manager backup`.
#[derive(Debug, clap::Args)]
pub(crate) struct BackupArgs {
    /// The data directory; a manager may be using it.
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,

    /// The folder to make; it must not be there yet.
    #[arg(value_name = "TO")]
    to: PathBuf,
}

/// Options of `manta manager restore`.
#[derive(Debug, clap::Args)]
pub(crate) struct RestoreArgs {
    /// The backup.
    #[arg(value_name = "FROM")]
    from: PathBuf,

    /// The data directory to make; it must not be there yet, or be empty.
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
}

/// Options of `manta manager scrub`.
#[derive(Debug, clap::Args)]
pub(crate) struct ScrubArgs {
    /// The data directory; a manager may be using it.
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
}

/// An answer for programs.
#[derive(Serialize)]
struct Document<'a, T> {
    schema_version: u32,
    #[serde(flatten)]
    what: &'a T,
}

fn put_document<T: Serialize>(what: &T) -> Result<(), Failure> {
    out::put_json(&Document { schema_version: SCHEMA_VERSION, what })
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| Failure::file("cannot use", path, &error))
}

/// The outcome of a command that found damage, or none.
fn unless_damaged(is_damaged: bool) -> ExitCode {
    if is_damaged { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Makes a backup; 1 where the state names blobs that were damaged or missing before, or logs were damaged.
pub(crate) fn backup(args: &BackupArgs, form: Form) -> Result<ExitCode, Failure> {
    let (data_dir, to) = (absolute(&args.data_dir)?, absolute(&args.to)?);
    let backup = manta_manager::backup(&data_dir, &to)?;
    if form == Form::Json {
        put_document(&backup)?;
    } else {
        let (blobs, bytes) = (backup.all_blobs().count(), backup.all_blobs().map(|blob| blob.size).sum::<u64>());
        out::say(&format!("backed up to '{}': the state and {blobs} blobs of {bytes} bytes", to.display()));
        out::say("it holds the manager's tokens: keep it as private as the data directory");
        for digest in &backup.missing {
            out::say(&format!("not in it, because it was missing or damaged already: blob {digest}"));
        }
        for problem in &backup.damaged_logs {
            out::say(&format!("in it as it was: {problem}"));
        }
    }
    Ok(unless_damaged(!(backup.missing.is_empty() && backup.damaged_logs.is_empty())))
}

/// Brings a backup back.
pub(crate) fn restore(args: &RestoreArgs, form: Form) -> Result<ExitCode, Failure> {
    let (from, data_dir) = (absolute(&args.from)?, absolute(&args.data_dir)?);
    let restored = manta_manager::restore(&from, &data_dir)?;
    if form == Form::Json {
        put_document(&restored)?;
    } else {
        let (place, blobs) = (data_dir.display(), restored.blobs);
        out::say(&format!("restored into '{place}': the state and {blobs} blobs, every byte verified"));
        out::say(&format!("generation {} begins: what nodes hold of a later time is set aside", restored.generation));
        out::say(&format!("to use it:\n  manta manager run --data-dir '{place}'"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Checks everything; 1 where something is damaged.
pub(crate) fn scrub(args: &ScrubArgs, form: Form) -> Result<ExitCode, Failure> {
    let found = manta_manager::scrub(&absolute(&args.data_dir)?)?;
    if form == Form::Json {
        put_document(&found)?;
    } else {
        for problem in &found.damage {
            out::put(&format!("{problem}\n"))?;
        }
        let (swarms, events, blobs, damage) = (found.swarms, found.events, found.blobs, found.damage.len());
        out::say(&format!("read {swarms} swarms, {events} events and {blobs} blobs: {damage} damaged"));
    }
    Ok(unless_damaged(!found.damage.is_empty()))
}
