//! The demo's data: 1,797 handwritten digits, a file of 57 kB that scikit-learn carries.
//!
//! One wheel of scikit-learn, pinned by hash, is downloaded with pip, the file taken out of it and checked, and the wheel
//! removed. scikit-learn itself is neither installed nor imported, so the same wheel serves on every platform.

use crate::checkout::Checkout;
use crate::command::{command, run};
use crate::failure::Failure;
use crate::say;
use crate::setup_lock::SetupLock;
use crate::venv::pip_settings;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// Names the wheel: release and hash.
const PINNED: &str = "python/requirements-digits.txt";
/// The platform of the pinned wheel.
const PLATFORM: [&str; 8] =
    ["--platform", "manylinux2014_x86_64", "--python-version", "3.12", "--implementation", "cp", "--abi", "cp312"];
/// SHA-256 and size of `digits.csv.gz`.
const SHA256: &str = "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22";
const SIZE_BYTES: u64 = 57_523;
const SCRIPT: &str = include_str!("digits.py");

/// The path of the data file, downloaded where it is not there yet. `MANTA_DIGITS` names another one.
pub(crate) fn ready(checkout: &Checkout, python: &Path) -> Result<PathBuf, Failure> {
    if let Some(path) = env::var_os("MANTA_DIGITS").filter(|path| !path.is_empty()) {
        return Ok(PathBuf::from(path));
    }
    let file = checkout.cache().join("data/digits.csv.gz");
    if is_there(&file) {
        return Ok(file);
    }
    let _lock = SetupLock::take(checkout)?;
    if !is_there(&file) {
        download(checkout, python, &file)?;
    }
    Ok(file)
}

/// A file at this path has been checked and renamed into place; its size tells one that was cut later.
fn is_there(file: &Path) -> bool {
    fs::metadata(file).map_or(false, |found| found.len() == SIZE_BYTES)
}

fn download(checkout: &Checkout, python: &Path, file: &Path) -> Result<(), Failure> {
    say::step("downloading the demo's data: the digits file in scikit-learn's wheel (9 MB, once)");
    let wheels = checkout.scratch("scikit-learn")?;
    if let Some(dir) = file.parent() {
        fs::create_dir_all(dir).map_err(|error| Failure::io(format!("make `{}`", dir.display()), &error))?;
    }
    let mut pip = command(checkout, python);
    pip.args([
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--require-hashes",
        "--requirement",
        PINNED,
    ]);
    pip_settings(&mut pip);
    run(pip.args(PLATFORM).arg("--dest").arg(&wheels), "downloading scikit-learn's wheel").map_err(|failure| {
        failure.hint("this needs the network once; or set MANTA_DIGITS to a copy of scikit-learn's `digits.csv.gz`")
    })?;
    let mut extract = command(checkout, python);
    extract.args(["-I", "-c", SCRIPT]).arg(&wheels).arg(file).arg(SHA256);
    run(&mut extract, "taking the digits out of scikit-learn's wheel")?;
    fs::remove_dir_all(&wheels).map_err(|error| Failure::io(format!("remove `{}`", wheels.display()), &error))?;
    say::note(format!("kept in {}", file.display()));
    Ok(())
}
