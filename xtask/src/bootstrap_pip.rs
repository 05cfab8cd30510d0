//! Getting pip into a virtual environment whose Python came without `ensurepip`, as Debian's and Ubuntu's does.
//!
//! pip's wheel is fetched by a pip that is on the machine, at the version and hash of `python/requirements-pip.txt`;
//! downloading is allowed even where that pip may not install ("externally managed"). Where there is no pip at all, apt
//! brings Debian's own as a file, without root: the package is unpacked under `target/`, never installed.

use crate::checkout::Checkout;
use crate::command::{command, on_path, output, quiet_output, run};
use crate::failure::Failure;
use crate::interpreter::Interpreter;
use crate::say;
use crate::venv::pip_settings;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The pinned pip that every environment gets.
pub(crate) const PINNED: &str = "python/requirements-pip.txt";

/// Where Debian and Ubuntu keep the wheel of `python3-pip-whl`.
const DEBIAN_WHEELS: &str = "usr/share/python-wheels";

/// Installs the pinned pip into the environment that `python` belongs to.
pub(crate) fn install(checkout: &Checkout, base: &Interpreter, python: &Path) -> Result<(), Failure> {
    say::note("this Python has no ensurepip: fetching pip's own wheel");
    let downloader = downloader(checkout, base, python)?;
    let dir = checkout.scratch("pip")?;
    let mut download = pip(checkout, &downloader);
    download.args([
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        "--require-hashes",
        "--requirement",
        PINNED,
    ]);
    run(download.arg("--dest").arg(&dir), "downloading pip's wheel")?;
    let wheel =
        wheel_in(&dir).ok_or_else(|| Failure::new(format!("pip left no wheel of itself in `{}`", dir.display())))?;
    let mut install = pip(checkout, &Downloader::Wheel { python: python.to_path_buf(), wheel });
    install.args(["install", "--quiet", "--no-index", "--require-hashes", "--requirement", PINNED]);
    run(install.arg("--find-links").arg(&dir), "installing pip")
}

/// A pip that can download, though it may not be allowed to install.
enum Downloader {
    /// `python -m pip`
    Module { python: PathBuf },
    /// pip run from its wheel, which is a zip file that Python can import from.
    Wheel { python: PathBuf, wheel: PathBuf },
}

fn downloader(checkout: &Checkout, base: &Interpreter, python: &Path) -> Result<Downloader, Failure> {
    if base.has_pip {
        return Ok(Downloader::Module { python: base.path.clone() });
    }
    let installed = wheel_in(&Path::new("/").join(DEBIAN_WHEELS));
    let wheel = match installed {
        Some(wheel) => wheel,
        None => wheel_by_apt(checkout).map_err(|failure| {
            failure.hint("install one of uv, `python3-venv` or `python3-pip`, and run this again")
        })?,
    };
    Ok(Downloader::Wheel { python: python.to_path_buf(), wheel })
}

fn pip(checkout: &Checkout, downloader: &Downloader) -> Command {
    let mut command = match downloader {
        Downloader::Module { python } => {
            let mut command = command(checkout, python);
            command.args(["-m", "pip"]);
            command
        }
        Downloader::Wheel { python, wheel } => {
            let mut command = command(checkout, python);
            command.arg(wheel.join("pip"));
            command
        }
    };
    pip_settings(&mut command);
    command
}

fn wheel_in(dir: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(dir).ok()?;
    let is_pip = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        name.starts_with("pip-") && name.ends_with(".whl")
    };
    entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_pip).max()
}

/// Fetches Debian's or Ubuntu's package of pip's wheel and unpacks it, with apt's lists and cache kept under `target/`.
fn wheel_by_apt(checkout: &Checkout) -> Result<PathBuf, Failure> {
    let none =
        || Failure::new("there is no pip, no ensurepip and no uv on this machine, and no apt-get to fetch pip with");
    let apt = on_path("apt-get").ok_or_else(none)?;
    let dpkg_deb = on_path("dpkg-deb").ok_or_else(none)?;
    say::note(
        "no pip on this machine either: apt downloads Debian's package of it into target/ (nothing is installed)",
    );
    let dir = checkout.scratch("apt")?;
    let settings = apt_settings(checkout, &dir)?;
    let mut update = command(checkout, &apt);
    run(update.env("APT_CONFIG", &settings).args(["--quiet=2", "update"]), "apt-get update")?;
    let mut download = command(checkout, &apt);
    download.current_dir(&dir).env("APT_CONFIG", &settings).args(["--quiet=2", "download", "python3-pip-whl"]);
    run(&mut download, "apt-get download python3-pip-whl")?;
    let package = fs::read_dir(&dir)
        .map_err(|error| Failure::io(format!("read `{}`", dir.display()), &error))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().map_or(false, |extension| extension == "deb"))
        .ok_or_else(|| Failure::new("apt-get left no package of pip"))?;
    output(
        command(checkout, dpkg_deb).arg("--extract").arg(&package).arg(dir.join("root")),
        "unpacking pip's package",
    )?;
    wheel_in(&dir.join("root").join(DEBIAN_WHEELS))
        .ok_or_else(|| Failure::new("Debian's package holds no wheel of pip"))
}

/// Writes a configuration with which apt works as an ordinary user and leaves the machine alone: its sources and proxies
/// stay, its lists and cache are in `dir`, and its hooks, which may change the system, are left out.
fn apt_settings(checkout: &Checkout, dir: &Path) -> Result<PathBuf, Failure> {
    for sub in ["lists/partial", "cache/archives/partial", "root"] {
        fs::create_dir_all(dir.join(sub)).map_err(|error| Failure::io("make apt's directories", &error))?;
    }
    let machine = quiet_output(command(checkout, "apt-config").arg("dump")).unwrap_or_default();
    let is_hook = |line: &&str| line.contains("-Invoke") || line.contains("-Install-Pkgs");
    let mut settings: String = machine.lines().filter(|line| !is_hook(line)).map(|line| format!("{line}\n")).collect();
    let here = dir.display();
    settings.push_str(&format!(
        "Dir::State::Lists \"{here}/lists\";\nDir::Cache \"{here}/cache\";\nDir::Cache::Archives \"{here}/cache/archives\";\n"
    ));
    settings.push_str("Dir::Etc::Parts \"/dev/null\";\nDir::Etc::Main \"/dev/null\";\n");
    settings.push_str("Debug::NoLocking \"1\";\nAPT::Sandbox::User \"\";\n");
    let file = dir.join("apt.conf");
    fs::write(&file, settings).map_err(|error| Failure::io(format!("write `{}`", file.display()), &error))?;
    Ok(file)
}
