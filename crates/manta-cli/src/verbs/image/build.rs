//! `manta image build`: a curated image of a Python of this machine, in the store and, where wanted, as an archive.
use std::path::PathBuf;
use std::process::ExitCode;

use manta_image::{CURATED, ImageName, build};

use super::{StoreArgs, import};
use crate::out;
use crate::python;
use crate::report::{Failure, Form};
use crate::text::one_line;

/// Options of `manta image build`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which: latest (Python alone), numpy, sklearn or pytorch.
    #[arg(value_name = "NAME")]
    image: ImageName,

    /// The interpreter that it is made of, with the packages installed [default: MANTA_PYTHON, the active environment, python3
    /// on PATH].
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,

    /// Write the image as an archive, too: other machines import it, and Docker loads it.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// What modules call it [default: NAME].
    #[arg(long)]
    name: Option<ImageName>,

    #[command(flatten)]
    store: StoreArgs,
}

/// Builds an image.
pub(super) fn main(args: Args, form: Form) -> Result<ExitCode, Failure> {
    if !CURATED.iter().any(|(curated, _)| *curated == args.image.as_str()) {
        let known = CURATED.map(|(curated, _)| curated).join(", ");
        return Err(Failure::new(manta_api::ErrorCode::BadImage, format!("no image `{}` can be built", args.image))
            .hint(format!("there are {known}")));
    }
    let store = args.store.open()?;
    let python = python::find(args.python.as_deref())?;
    let work = tempfile::tempdir().map_err(|error| Failure::file("cannot use", &std::env::temp_dir(), &error))?;
    let archive = args.output.clone().unwrap_or_else(|| work.path().join("image.tar"));
    let built = build(&args.image, &python, work.path(), &archive)?;
    if form == Form::Text {
        let packages: Vec<String> = built.packages.iter().map(|(name, version)| format!("{name} {version}")).collect();
        let packages = if packages.is_empty() { "no packages".to_owned() } else { packages.join(", ") };
        out::say(&one_line(&format!("built {} of Python {} with {packages}", args.image, built.python), 500));
        if let Some(path) = &args.output {
            out::say(&format!(
                "to use it elsewhere:\n  manta image import '{0}'\n  docker load -i '{0}'",
                path.display()
            ));
        }
    }
    let origin = format!("built of {}", python.display());
    let imported = store.import_from(&archive, Some(args.name.unwrap_or(args.image)), origin)?;
    import::tell(&imported, form)
}
