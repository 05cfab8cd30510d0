//! Starting other programs: with an environment free of what `cargo run` gave to this one, and with failures in words.

use crate::checkout::Checkout;
use crate::failure::Failure;
use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

/// Variables that would make Python look elsewhere than in the environment it is started from.
const PYTHON_VARIABLES: [&str; 4] = ["PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONSAFEPATH"];

/// A command that starts in the checkout's root and sees none of cargo's or Python's leftovers.
pub(crate) fn command(checkout: &Checkout, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(checkout.root());
    clean(&mut command);
    command
}

/// Takes out of a command's environment what `cargo run` put there, so that it runs as if typed by hand.
pub(crate) fn clean(command: &mut Command) {
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let of_package = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"].iter().any(|prefix| text.starts_with(prefix));
        if of_package || text == "CARGO" || PYTHON_VARIABLES.contains(&text.as_ref()) {
            command.env_remove(&name);
        }
    }
    if let Some(paths) = env::var_os("LD_LIBRARY_PATH") {
        match without_cargo(&paths) {
            Some(paths) => command.env("LD_LIBRARY_PATH", paths),
            None => command.env_remove("LD_LIBRARY_PATH"),
        };
    }
}

/// `cargo run` puts the program's own directories and the toolchain's before the user's library path.
fn without_cargo(paths: &OsStr) -> Option<OsString> {
    let own = env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_path_buf));
    let all: Vec<PathBuf> = env::split_paths(paths).collect();
    let toolchain = all.iter().find_map(|path| {
        let text = path.to_str()?;
        text.find("/lib/rustlib/").map(|at| PathBuf::from(&text[..at + "/lib".len()]))
    });
    let is_cargos = |path: &PathBuf| {
        own.as_ref().map_or(false, |own| path.starts_with(own))
            || toolchain.as_ref().map_or(false, |lib| path == lib || path.starts_with(lib.join("rustlib")))
    };
    let kept: Vec<PathBuf> = all.into_iter().filter(|path| !is_cargos(path)).collect();
    if kept.is_empty() {
        return None;
    }
    env::join_paths(kept).ok()
}

/// Runs a command to its end; `what` names it in the error.
pub(crate) fn run(command: &mut Command, what: &str) -> Result<(), Failure> {
    match command.stdin(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::new(format!("{what} {}", ending(status)))),
        Err(error) => Err(cannot_start(command, &error)),
    }
}

/// Runs a command and returns what it printed; its standard error goes to the terminal.
pub(crate) fn output(command: &mut Command, what: &str) -> Result<Vec<u8>, Failure> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    match output {
        Ok(output) if output.status.success() => Ok(output.stdout),
        Ok(output) => Err(Failure::new(format!("{what} {}", ending(output.status)))),
        Err(error) => Err(cannot_start(command, &error)),
    }
}

/// What a command prints, where it is there and succeeds; its standard error is dropped.
pub(crate) fn quiet_output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

pub(crate) fn cannot_start(command: &Command, error: &io::Error) -> Failure {
    Failure::io(format!("start `{}`", command.get_program().to_string_lossy()), error)
}

/// How a program ended, as the rest of a sentence.
pub(crate) fn ending(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("failed with exit code {code}"),
        None => format!("was ended ({status})"),
    }
}

/// The first file of this name on `PATH` that can be run, if any.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    every_on_path(name).into_iter().next()
}

/// Every file of this name on `PATH`, in order.
pub(crate) fn every_on_path(name: &str) -> Vec<PathBuf> {
    let paths = env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/local/bin:/usr/bin:/bin"));
    env::split_paths(&paths)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(name))
        .filter(|file| file.is_file())
        .collect()
}
