//! Packages for code that runs on this machine without a node: chosen and installed as nodes do.
use std::path::{Path, PathBuf};
use std::process::Stdio;

use manta_api::ErrorCode;
use manta_image::WheelFile;
use manta_module::Locked;
use manta_types::{Runtime, RuntimeError};
use serde::Deserialize;

use super::{Declared, Interpreter, installer};
use crate::python;
use crate::report::{ErrorObject, Failure};

/// What an interpreter says of itself, and of a module where it is asked for one.
#[derive(Debug, Deserialize)]
pub(crate) struct Told {
    /// What it is.
    pub(crate) interpreter: Interpreter,
    /// What the module depends on.
    pub(crate) dependencies: Option<Declared>,
}

/// Asks an interpreter what it is, and what a module declares.
///
/// # Errors
/// Where it cannot be started, or what the module declares cannot be read.
pub(crate) async fn ask(interpreter: &Path, module: Option<&Path>) -> Result<Told, Failure> {
    let failed = |problem: String| {
        let shown = interpreter.display();
        Failure::new(ErrorCode::Dependencies, format!("what `{shown}` is cannot be told: {problem}"))
    };
    let mut command = python::command(interpreter)?;
    command.args(["-m", "manta._dependencies"]).args(module).stdout(Stdio::piped()).stderr(Stdio::piped());
    let ended = command.output().await.map_err(|error| failed(error.to_string()))?;
    serde_json::from_slice(&ended.stdout).map_err(|_| {
        let said = String::from_utf8_lossy(&ended.stderr);
        let last = said.trim().lines().last().unwrap_or("it says nothing");
        serde_json::from_str::<ErrorObject>(last)
            .map_or_else(|_| failed(manta_types::name::printable(last, 400)), Failure::from)
    })
}

/// The lock whose packages run with an interpreter.
///
/// # Errors
/// Where there is none: names those that there are.
pub(crate) fn fitting<'a>(module: &str, locks: &'a [Locked], told: &Interpreter) -> Result<&'a Locked, Failure> {
    let shown = told.executable.display();
    let read = || Ok::<_, RuntimeError>(Runtime { python: told.python.parse()?, platform: told.platform.parse()? });
    let runtime = read().map_err(|error| refuse(module, &format!("are for no interpreter like `{shown}`: {error}")))?;
    Locked::fitting(locks, &runtime).ok_or_else(|| {
        let locked = locks.iter().map(|locked| locked.runtime().to_string()).collect::<Vec<_>>().join(" and ");
        refuse(module, &format!("are locked for {locked}; `{shown}` is {runtime}"))
    })
}

/// Installs wheels into a folder that is made for them.
///
/// # Errors
/// Where the folder cannot be made, or a wheel is not what it should be.
pub(crate) async fn install(module: &str, wheels: Vec<WheelFile>, folder: PathBuf) -> Result<(), Failure> {
    std::fs::create_dir(&folder).map_err(|error| Failure::file("the folder cannot be made:", &folder, &error))?;
    let installer = installer()?;
    let installed = tokio::task::spawn_blocking(move || installer.install(&wheels, &folder)).await;
    let installed = installed.map_err(|error| Failure::internal(error.to_string()))?;
    installed.map(drop).map_err(|error| refuse(module, &format!("cannot be installed here: {error}")))
}

fn refuse(module: &str, problem: &str) -> Failure {
    Failure::new(ErrorCode::Dependencies, format!("the packages of module `{module}` {problem}"))
}
