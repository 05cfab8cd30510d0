//! `manta module test`: a module's own tests, without a platform, with the packages that the module declares.
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use manta_api::ErrorCode;
use manta_image::WheelFile;

use crate::dependencies::provided::{ask, fitting, install};
use crate::dependencies::{Network, resolve};
use crate::python;
use crate::report::Failure;

/// What pytest ends with where it found no test.
const NO_TESTS: i32 = 5;
/// Tells our pytest plugin where the module's packages are.
const PACKAGES: &str = "MANTA_TEST_PACKAGES";

/// Where they are, in a folder of their own.
const INSTALLED: &str = "packages";

/// Options of `manta module test`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The module: a folder with its tests (`test_*.py`) in it or in `tests/`, or a file with its tests beside it.
    module: PathBuf,

    /// The Python interpreter, with pytest [default: MANTA_PYTHON, the active environment, python3 on PATH].
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,

    /// Arguments for pytest.
    #[arg(last = true, value_name = "ARGUMENTS")]
    arguments: Vec<String>,
}

/// Runs pytest over the module; its exit code is the outcome.
pub(crate) async fn main(args: Args) -> Result<ExitCode, Failure> {
    if !args.module.exists() {
        return Err(Failure::usage(format!("there is no module `{}`", args.module.display())));
    }
    let python = python::find(args.python.as_deref())?;
    if !has_pytest(&python).await? {
        let failure = Failure::new(ErrorCode::BadRequest, format!("`{}` has no pytest", python.display()));
        return Err(failure.hint(format!("{} -m pip install pytest", python.display())));
    }
    let packages = packages(&args.module, &python).await?;
    let folder = if args.module.is_dir() { Some(args.module.as_path()) } else { args.module.parent() };
    let folder = folder.filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut command = python::command(&python)?;
    command.args(["-m", "pytest", "-p", "manta._pytest_plugin", "--import-mode=importlib", "--rootdir"]);
    command.arg(folder).arg(folder).args(&args.arguments);
    command.envs(packages.as_ref().map(|packages| (PACKAGES, packages.path().join(INSTALLED))));
    let ended = command.status().await.map_err(not_started)?;
    match ended.code() {
        Some(0) => Ok(ExitCode::SUCCESS),
        Some(NO_TESTS) => {
            let failure = Failure::usage(format!("`{}` has no tests", folder.display()));
            Err(failure
                .hint("write some in test_*.py beside the module; the fixtures run_task and load_module are there"))
        }
        _ => Ok(ExitCode::FAILURE),
    }
}

/// Resolves what the module declares, as packing does, and installs it for this interpreter; nothing where it declares nothing.
async fn packages(module: &Path, python: &Path) -> Result<Option<tempfile::TempDir>, Failure> {
    let told = ask(python, Some(module)).await?;
    if told.dependencies.is_none() {
        return Ok(None);
    }
    let name = module.file_stem().unwrap_or(module.as_os_str()).to_string_lossy();
    let network = Network::from_environment();
    let resolved = resolve(&name, told.dependencies.as_ref(), Some(&told.interpreter), network).await?;
    let locked = fitting(&name, &resolved.dependencies, &told.interpreter)
        .map_err(|failure| failure.hint("name another interpreter with --python"))?;
    let wheels = locked.wheels.iter().map(|(name, wheel)| {
        let path = resolved.sources[&wheel.digest].clone();
        WheelFile { name: name.clone(), path, sha256: wheel.sha256.clone() }
    });
    let folder = tempfile::Builder::new().prefix("manta-packages-").tempdir();
    let folder = folder.map_err(|error| Failure::internal(format!("no folder for packages can be made: {error}")))?;
    install(&name, wheels.collect(), folder.path().join(INSTALLED)).await?;
    Ok(Some(folder))
}

async fn has_pytest(python: &Path) -> Result<bool, Failure> {
    let mut command = python::command(python)?;
    command.args(["-c", "import pytest"]).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(command.status().await.map_err(not_started)?.success())
}

fn not_started(error: std::io::Error) -> Failure {
    Failure::internal(format!("the interpreter cannot be started: {error}"))
}
