//! `manta module test`: a module's own tests, without a platform.
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};

use manta_api::ErrorCode;

use crate::python;
use crate::report::Failure;

/// What pytest ends with where it found no test.
const NO_TESTS: i32 = 5;

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
    let folder = if args.module.is_dir() { Some(args.module.as_path()) } else { args.module.parent() };
    let folder = folder.filter(|path| !path.as_os_str().is_empty()).unwrap_or(std::path::Path::new("."));
    let mut command = python::command(&python)?;
    command.args(["-m", "pytest", "-p", "manta._pytest_plugin", "--import-mode=importlib", "--rootdir"]);
    command.arg(folder).arg(folder).args(&args.arguments);
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

async fn has_pytest(python: &std::path::Path) -> Result<bool, Failure> {
    let mut command = python::command(python)?;
    command.args(["-c", "import pytest"]).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(command.status().await.map_err(not_started)?.success())
}

fn not_started(error: std::io::Error) -> Failure {
    Failure::internal(format!("the interpreter cannot be started: {error}"))
}
