//! The packages of an attempt's module, installed for the interpreter that runs it on this machine.
use std::path::Path;
use std::process::Stdio;

use manta_api::ErrorCode;
use manta_client::Client;
use manta_image::WheelFile;
use manta_module::{BundleManifest, Locked};
use manta_types::Runtime;

use super::local::save;
use crate::dependencies::{Interpreter, installer};
use crate::python;
use crate::report::Failure;

/// Where they lie in a replay's folder.
const PACKAGES: &str = "packages";
/// Prints what the interpreter is.
const ASK: &str = "import json; from manta._dependencies import interpreter; print(json.dumps(interpreter()))";

/// Fetches the wheels of the lock that fits the interpreter, and installs them in the folder; without locks there is nothing to do.
pub(super) async fn provide(
    client: &Client,
    manifest: &BundleManifest,
    interpreter: &Path,
    folder: &Path,
) -> Result<(), Failure> {
    let locks = &manifest.dependencies;
    if locks.is_empty() {
        return Ok(());
    }
    let refuse = |problem: String| {
        Failure::new(ErrorCode::Dependencies, format!("the packages of module `{}` {problem}", manifest.name))
    };
    let runtime = runtime(interpreter).await?;
    let locked = Locked::fitting(locks, &runtime).ok_or_else(|| {
        let locked = locks.iter().map(|locked| locked.runtime().to_string()).collect::<Vec<_>>().join(" and ");
        refuse(format!("are locked for {locked}; `{}` is {runtime}", interpreter.display()))
            .hint("name another interpreter with --python, or leave --local out: a node runs it again")
    })?;
    let mut wheels = Vec::new();
    for (name, wheel) in &locked.wheels {
        let path = folder.join("wheels").join(name);
        save(client, wheel.blob(), &path).await?;
        wheels.push(WheelFile { name: name.clone(), path, sha256: wheel.sha256.clone() });
    }
    let (installer, packages) = (installer()?, folder.join(PACKAGES));
    std::fs::create_dir(&packages).map_err(|error| Failure::file("the folder cannot be made:", &packages, &error))?;
    let installed = tokio::task::spawn_blocking(move || installer.install(&wheels, &packages)).await;
    let installed = installed.map_err(|error| Failure::internal(error.to_string()))?;
    installed.map(drop).map_err(|error| refuse(format!("cannot be installed here: {error}")))
}

/// What the interpreter is, as locks name it.
async fn runtime(interpreter: &Path) -> Result<Runtime, Failure> {
    let shown = interpreter.display();
    let failed =
        |problem: String| Failure::new(ErrorCode::Dependencies, format!("what `{shown}` is cannot be told: {problem}"));
    let mut command = python::command(interpreter)?;
    command.args(["-c", ASK]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let ended = command.output().await.map_err(|error| failed(error.to_string()))?;
    let told: Interpreter = serde_json::from_slice(&ended.stdout).map_err(|_| {
        let said = String::from_utf8_lossy(&ended.stderr);
        failed(manta_types::name::printable(said.trim().lines().last().unwrap_or("it says nothing"), 400))
    })?;
    let read = || {
        Ok::<_, manta_types::RuntimeError>(Runtime { python: told.python.parse()?, platform: told.platform.parse()? })
    };
    read().map_err(|error| failed(error.to_string()))
}
