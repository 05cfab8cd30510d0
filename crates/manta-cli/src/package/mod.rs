//! A module as a package: found by its path, in an archive or by its name, with its manifest and the bytes of its files.
mod archive;
mod difference;

use std::path::Path;

use manta_api::ErrorCode;
use manta_module::{Bundle, BundleManifest, Signature, Verified};
use manta_types::Blob;

pub(crate) use archive::{UNZIPPER, unzipper_main};
pub(crate) use difference::{Difference, FileChange, difference};

use crate::bundle::{PackedModule, pack_module};
use crate::dependencies::{Network, resolve};
use crate::python;
use crate::registry::RegistryArgs;
use crate::report::Failure;
use crate::trace;

/// What makes a module of a path, beside the path.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct SourceArgs {
    /// The module's name [default: what it says of itself, else the stem of its path].
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// The module's version, SemVer 2.0 [default: what it says of itself].
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,

    /// The Python interpreter [default: MANTA_PYTHON, the active environment, python3 on PATH].
    #[arg(long, value_name = "PATH")]
    python: Option<std::path::PathBuf>,
}

impl SourceArgs {
    /// A module as it says of itself, read by that interpreter.
    pub(crate) fn with_python(python: Option<std::path::PathBuf>) -> Self {
        Self { python, ..Self::default() }
    }
}

/// A package, and the folder that holds its files where they were unpacked or fetched for it.
#[derive(Debug)]
pub(crate) struct Package {
    /// The bundle, and where its files lie.
    pub(crate) packed: PackedModule,
    /// Signatures that came with it, as text; nothing in them is proved.
    pub(crate) signatures: Vec<String>,
    _folder: Option<tempfile::TempDir>,
}

impl Package {
    /// A package whose files lie in a folder that is to go with it.
    pub(crate) fn new(packed: PackedModule, signatures: Vec<String>, folder: Option<tempfile::TempDir>) -> Self {
        Self { packed, signatures, _folder: folder }
    }

    /// Adds a signature of it; of one key the newest stays.
    pub(crate) fn sign(&mut self, signature: &Verified<Signature>) -> Result<(), Failure> {
        let kept = manta_module::keep(&mut self.signatures, signature);
        kept.map(drop).map_err(|error| Failure::new(ErrorCode::TooLarge, error.to_string()))
    }

    /// Refuses a package of which a signature is none, or is one of something else.
    pub(crate) fn check_signatures(&self) -> Result<(), Failure> {
        self.signatures.iter().try_for_each(|text| check_signature(text, &self.packed.bundle).map(drop))
    }

    /// Its manifest.
    pub(crate) fn manifest(&self) -> &BundleManifest {
        &self.packed.bundle.manifest
    }

    /// The bytes of one of its files; those that changed since they were named are refused.
    pub(crate) fn read(&self, path: &str) -> std::io::Result<Vec<u8>> {
        self.read_blob(self.manifest().files.get(path).ok_or(std::io::ErrorKind::NotFound)?)
    }

    /// The bytes of one of its files, locks or wheels, likewise.
    pub(crate) fn read_blob(&self, blob: &Blob) -> std::io::Result<Vec<u8>> {
        let source = self.packed.sources.get(&blob.digest).ok_or(std::io::ErrorKind::NotFound)?;
        let bytes = std::fs::read(source)?;
        if manta_module::digest_of(&bytes) == blob.digest {
            return Ok(bytes);
        }
        Err(std::io::Error::other(format!("`{}` changed while it was read", source.display())))
    }
}

/// A signature of a bundle, once it is proved to be one.
pub(crate) fn check_signature(text: &str, bundle: &Bundle) -> Result<Verified<Signature>, Failure> {
    let verified = Signature::parse(text).and_then(|signature| signature.verify(bundle.into()));
    verified.map_err(|error| {
        let (name, version) = (&bundle.manifest.name, &bundle.manifest.version);
        let message = format!("module `{name}` {version} has a signature that is none: {error}");
        Failure::new(ErrorCode::Untrusted, message).hint("fetch the module again where it was published")
    })
}

/// Whether a text names a package's archive, not a module's code or name.
pub(crate) fn is_archive(source: &str) -> bool {
    Path::new(source).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("zip"))
}

/// Packs the module at a path, as it is packed to be run, or opens the archive there.
pub(crate) async fn open(source: &str, args: &SourceArgs) -> Result<Package, Failure> {
    if is_archive(source) {
        if args.name.is_some() || args.version.is_some() {
            let failure = Failure::usage(format!("the archive `{source}` says its name and version itself"));
            return Err(failure.hint("leave --name and --version out"));
        }
        return archive::open(Path::new(source)).await;
    }
    let folder = temporary()?;
    let python = python::find(args.python.as_deref())?;
    let (name, version) = (args.name.as_deref(), args.version.as_deref());
    let (module, interpreter) = trace::module(&python, source, name, version, folder.path()).await?;
    let (declared, network) = (module.dependencies.as_ref(), Network::from_environment());
    let resolved = resolve(&module.name, declared, interpreter.as_ref(), network).await?;
    Ok(Package::new(pack_module(&module, resolved)?, Vec::new(), None))
}

/// The same, or a published module by `NAME@VERSION`.
pub(crate) async fn find(source: &str, args: &SourceArgs, registry: &RegistryArgs) -> Result<Package, Failure> {
    match source.split_once('@').filter(|_| !Path::new(source).exists()) {
        Some((name, wanted)) => {
            let registry = registry.open()?;
            registry.fetch(&registry.choose(name, Some(wanted)).await?).await
        }
        None => open(source, args).await,
    }
}

/// The bundle that these bytes are the manifest of.
pub(crate) fn bundle(bytes: Vec<u8>, whose: &str) -> Result<Bundle, Failure> {
    let manifest = BundleManifest::parse(&bytes).map_err(|error| {
        Failure::new(ErrorCode::InvalidSwarm, format!("the manifest of {whose} cannot be used: {error}"))
    })?;
    let blob = Blob { digest: manta_module::digest_of(&bytes), size: bytes.len() as u64 };
    Ok(Bundle { manifest, bytes, blob })
}

/// A private folder that is gone when it is dropped.
pub(crate) fn temporary() -> Result<tempfile::TempDir, Failure> {
    let made = tempfile::Builder::new().prefix("manta-").tempdir();
    made.map_err(|error| Failure::internal(format!("no temporary folder can be made: {error}")))
}
