//! `manta module package`: a module as one file.
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use manta_api::ErrorCode;
use manta_api::version::SCHEMA_VERSION;
use manta_module::zip::{self, ArchiveError};
use serde_json::json;

use super::sign::SignArgs;
use crate::out;
use crate::package::{self, Package, SourceArgs};
use crate::report::{Failure, Form};
use crate::text::{bytes, clean, count};

/// Options of `manta module package`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The module: a `.py` file, or a folder with `__init__.py`.
    path: String,

    /// The file to write [default: NAME-VERSION.zip here].
    #[arg(short, long, value_name = "FILE.zip")]
    output: Option<PathBuf>,

    #[command(flatten)]
    source: SourceArgs,

    #[command(flatten)]
    sign: SignArgs,
}

/// Packs the module and writes its archive, whole or not at all.
pub(crate) async fn main(args: Args, form: Form) -> Result<ExitCode, Failure> {
    let mut package = package::open(&args.path, &args.source).await?;
    args.sign.sign(&mut package)?;
    let manifest = package.manifest();
    let named = || PathBuf::from(format!("{}-{}.zip", manifest.name, manifest.version));
    let output = args.output.clone().unwrap_or_else(named);
    let size = write(&package, &output)?;
    let bundle = package.packed.bundle.blob.digest;
    match form {
        Form::Json => out::put_json(&json!({
            "schema_version": SCHEMA_VERSION,
            "file": output,
            "bytes": size,
            "name": manifest.name,
            "version": manifest.version,
            "bundle": bundle,
        }))?,
        Form::Text => {
            out::put(&format!("{}\n", clean(&output.display().to_string())))?;
            let (files, size) = (count(manifest.files.len(), "file"), bytes(size));
            out::say(&clean(&format!(
                "module {} {}: {files}, {size}, bundle {bundle}",
                manifest.name, manifest.version
            )));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes a package's archive beside its place, syncs it, and only then gives it its name; how many bytes it has.
pub(super) fn write(package: &Package, output: &Path) -> Result<u64, Failure> {
    let manifest = package.manifest();
    let failed = |error: std::io::Error| Failure::file("the archive cannot be written:", output, &error);
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file = tempfile::Builder::new().prefix(".manta-").tempfile_in(folder).map_err(failed)?;
    let mut buffered = std::io::BufWriter::new(file);
    zip::write(&mut buffered, manifest, &package.signatures, |blob| package.read_blob(blob)).map_err(|error| {
        match error {
            ArchiveError::Io(error) => failed(error),
            other => Failure::new(ErrorCode::InvalidSwarm, other.to_string()),
        }
    })?;
    let mut file = buffered.into_inner().map_err(|error| failed(error.into_error()))?;
    file.flush().and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    let size = file.as_file().metadata().map_err(failed)?.len();
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    file.as_file().set_permissions(readable).map_err(failed)?;
    file.persist(output).map_err(|error| failed(error.error))?;
    Ok(size)
}
