//! The Python interpreter that runs the user's files and from which nodes make images.
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use manta_api::ErrorCode;
use tokio::process::Command;

use crate::connection::variable;
use crate::out::say;
use crate::report::Failure;
use crate::settings;

/// The hidden verb that binds a program to the life of this one.
pub(crate) const BOUND: &str = "__bound";

/// Finds the interpreter: the option, MANTA_PYTHON, what the settings name, one beside this program, the active environment, or the PATH's.
pub(crate) fn find(option: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(path) = option {
        return named(path, "--python");
    }
    if let Some(found) = settings::python()? {
        return named(&found.value, &found.origin.to_string());
    }
    let beside = std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_path_buf));
    let environment = variable("VIRTUAL_ENV").map(|folder| PathBuf::from(folder).join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = beside.into_iter().chain(environment).chain(std::env::split_paths(&path));
    let found = folders.filter(|folder| folder.is_absolute()).find_map(|folder| in_folder(&folder));
    found.ok_or_else(|| {
        Failure::new(ErrorCode::NoContainment, "no Python interpreter was found")
            .hint("install Python 3.9 or later, or name one with --python or MANTA_PYTHON")
    })
}

fn named(path: &Path, source: &str) -> Result<PathBuf, Failure> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    if absolute.is_file() {
        return Ok(absolute);
    }
    let on_path = std::env::var_os("PATH").filter(|_| path.components().count() == 1).and_then(|folders| {
        std::env::split_paths(&folders).map(|folder| folder.join(path)).find(|candidate| candidate.is_file())
    });
    on_path.ok_or_else(|| Failure::usage(format!("there is no Python interpreter at `{}` ({source})", path.display())))
}

fn in_folder(folder: &Path) -> Option<PathBuf> {
    ["python3", "python"].into_iter().map(|name| folder.join(name)).find(|candidate| candidate.is_file())
}

/// A command that runs the interpreter with the `manta` package at hand and nothing on standard input.
///
/// This very program goes before it, as `__bound`: so the interpreter ends with this process, however that ends.
pub(crate) fn command(python: &Path) -> Result<Command, Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::internal(format!("this program's own file is not known: {error}")))?;
    let mut command = Command::new(program);
    command.arg(BOUND).arg(std::process::id().to_string()).arg(python);
    if let Some(package) = checkout() {
        let known = std::env::var_os("PYTHONPATH").unwrap_or_default();
        let folders = std::iter::once(package).chain(std::env::split_paths(&known));
        if let Ok(joined) = std::env::join_paths(folders.filter(|folder| !folder.as_os_str().is_empty())) {
            command.env("PYTHONPATH", joined);
        }
    }
    command.stdin(Stdio::null()).kill_on_drop(true);
    Ok(command)
}

/// Standard error once more, for the output of a child that is talk, not data.
pub(crate) fn stderr() -> Result<Stdio, Failure> {
    use std::os::fd::AsFd;
    let copy = std::io::stderr().as_fd().try_clone_to_owned();
    copy.map(Stdio::from).map_err(|error| Failure::internal(format!("standard error cannot be shared: {error}")))
}

/// Becomes the program that follows `__bound PARENT`, which the kernel kills when the parent dies.
pub(crate) fn become_bound() -> ExitCode {
    let mut arguments = std::env::args_os().skip(2);
    let (parent, program) = (arguments.next(), arguments.next());
    let bound = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let parent = parent.and_then(|pid| pid.to_str().and_then(|pid| pid.parse().ok()));
    let alive = rustix::process::getppid().map(rustix::process::Pid::as_raw_nonzero).map(std::num::NonZeroI32::get);
    let Some(program) = program.filter(|_| bound.is_ok() && alive == parent) else { return ExitCode::FAILURE };
    let error = std::process::Command::new(&program).args(arguments).exec();
    say(&format!("`{}` cannot be started: {error}", Path::new(&program).display()));
    ExitCode::from(127)
}

/// The package's folder, where this program was built in a checkout and nothing is installed.
fn checkout() -> Option<PathBuf> {
    let exe = std::env::current_exe().ok()?;
    let folders = exe.ancestors().skip(1).take(4).map(|folder| folder.join("python"));
    folders.into_iter().find(|folder| folder.join("manta/__init__.py").is_file())
}
