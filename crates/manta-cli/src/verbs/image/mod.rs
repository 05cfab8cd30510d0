//! `manta image`: the images of this user, which nodes on this machine run tasks in.
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use manta_api::ErrorCode;
use manta_api::version::SCHEMA_VERSION;
use manta_image::{ImageError, ImageName, ImageRecord, Removed, Store, Unpacker};
use serde::Serialize;
use serde_json::{Value, json};

use crate::out;
use crate::report::{Failure, Form};
use crate::text::bytes;

pub(crate) mod build;
pub(crate) mod import;
pub(crate) mod inspect;
pub(crate) mod ls;
pub(crate) mod pull;
pub(crate) mod rm;

/// The hidden verb that makes this program the confined process which unpacks a layer.
pub(crate) const UNPACKER: &str = "__unpack";

/// Verbs of images.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make a curated image of a Python of this machine and its packages; no Docker and no registry is needed.
    Build(build::Args),
    /// Take in an image: an OCI layout, or an archive of one, or what `docker save` writes.
    Import(import::Args),
    /// Fetch an image from a registry, by its tag or digest.
    Pull(pull::Args),
    /// List the images.
    Ls(ls::Args),
    /// Show one image: digest, layers, Python, environment.
    Inspect(inspect::Args),
    /// Remove an image, or one of its names.
    Rm(rm::Args),
    /// Remove images without a name, then those used least recently, to save space.
    Prune(rm::PruneArgs),
}

/// Where the images lie.
#[derive(Debug, clap::Args)]
struct StoreArgs {
    /// The directory that holds the images [default: images in MANTA_HOME or ~/.local/share/manta].
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
}

impl StoreArgs {
    fn open(&self) -> Result<Store, Failure> {
        open(self.images.as_deref())
    }
}

/// Does what the command line says.
pub(crate) fn main(verb: Verb, form: Form) -> Result<ExitCode, Failure> {
    match verb {
        Verb::Build(args) => build::main(args, form),
        Verb::Import(args) => import::main(args, form),
        Verb::Pull(args) => super::block_on(pull::main(args, form)),
        Verb::Ls(args) => ls::main(&args, form),
        Verb::Inspect(args) => inspect::main(&args, form),
        Verb::Rm(args) => rm::main(&args, form),
        Verb::Prune(args) => rm::prune(&args, form),
    }
}

/// Opens the store that is named, or this user's.
pub(crate) fn open(images: Option<&Path>) -> Result<Store, Failure> {
    let root = match images {
        Some(root) => root.to_owned(),
        None => crate::home::data().map(|home| home.join("images")).ok_or_else(|| {
            Failure::usage("there is no home directory that could hold images").hint("name a directory with --images")
        })?,
    };
    let root = std::path::absolute(&root).map_err(|error| Failure::file("cannot use", &root, &error))?;
    let program = std::env::current_exe()
        .map_err(|error| Failure::internal(format!("this program's own file is not known: {error}")))?;
    Ok(Store::new(root, Unpacker::new(program, vec![OsString::from(UNPACKER)])))
}

impl From<ImageError> for Failure {
    fn from(error: ImageError) -> Self {
        let code = match &error {
            ImageError::Unknown { .. } | ImageError::NotInRegistry { .. } => ErrorCode::NotFound,
            ImageError::RegistryLogin { .. } => ErrorCode::Unauthorized,
            ImageError::InUse { .. } => ErrorCode::Conflict,
            ImageError::Name { .. } | ImageError::Nameless { .. } => ErrorCode::BadArgument,
            ImageError::Digest { .. } => ErrorCode::DigestMismatch,
            ImageError::Store { .. } => ErrorCode::Storage,
            ImageError::Unpacker(_) => ErrorCode::Internal,
            _ => ErrorCode::BadImage,
        };
        let failure = Self::new(code, error.to_string());
        Self { hint: error.hint(), ..failure }
    }
}

/// An image as programs see it.
fn document(names: &[ImageName], record: &ImageRecord) -> Value {
    json!({
        "names": names,
        "digest": record.id,
        "manifest": record.manifest,
        "platform": record.settings.platform.to_string(),
        "created": record.settings.created,
        "bytes": record.bytes(),
        "layers": record.layers,
        "python": record.python(),
        "python_version": record.python_version().map(|(major, minor)| format!("{major}.{minor}")),
        "env": record.settings.env.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>(),
        "labels": record.settings.labels,
        "source": record.source,
    })
}

fn put_document(what: impl Serialize) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Document<T> {
        schema_version: u32,
        #[serde(flatten)]
        what: T,
    }
    out::put_json(&Document { schema_version: SCHEMA_VERSION, what })
}

/// Names in one cell or sentence.
fn joined(names: &[ImageName]) -> String {
    names.iter().map(ImageName::as_str).collect::<Vec<_>>().join(", ")
}

/// What an image is called, or its digest where it has no name.
fn called(removed: &Removed) -> String {
    if removed.names.is_empty() { removed.id.short() } else { joined(&removed.names) }
}

fn removals(removed: &[Removed]) -> Value {
    let one = |one: &Removed| json!({"names": one.names, "digest": one.id, "bytes": one.bytes});
    Value::Array(removed.iter().map(one).collect())
}

fn tell_removed(removed: &[Removed], why: &str) {
    for one in removed {
        out::say(&format!("removed the image {}{why}: {} free", called(one), bytes(one.bytes)));
    }
}
