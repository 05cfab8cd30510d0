//! Files that programs write and that are committed: `cargo xtask gen` writes them, a stage of the tests compares them.

use crate::binary::{self, Build};
use crate::checkout::Checkout;
use crate::command::{command, output};
use crate::failure::Failure;
use crate::venv::{self, Packages};
use crate::{say, toolchain};
use std::fs;
use std::path::Path;

/// A committed file, and what prints it.
struct Generated {
    path: &'static str,
    by: By,
}

/// What prints a file.
enum By {
    /// A hidden subcommand of `manta`.
    Manta(&'static str),
    /// A Python program of this checkout.
    Python(&'static str),
}

const ALL: [Generated; 6] = [
    Generated { path: "docs/reference/access.md", by: By::Manta("__access") },
    Generated { path: "docs/reference/cli.md", by: By::Manta("__cli") },
    Generated { path: "docs/reference/errors.md", by: By::Manta("__errors") },
    Generated { path: "docs/reference/openapi.json", by: By::Manta("__openapi") },
    Generated { path: "docs/reference/states.md", by: By::Manta("__states") },
    Generated { path: "docs/reference/specification.md", by: By::Python("tests/spec/table.py") },
];

/// Writes every generated file that is not as its program prints it.
pub(crate) fn run(checkout: &Checkout, arguments: &[String]) -> Result<(), Failure> {
    if let Some(word) = arguments.first() {
        return Err(Failure::usage(format!("`cargo xtask gen` takes no arguments, and got `{word}`")));
    }
    toolchain::check(checkout)?;
    let manta = binary::build(checkout, Build::Binaries)?;
    let python = venv::ready(checkout, Packages::Dev)?;
    for file in stale(checkout, &manta, &python)? {
        let path = checkout.path(file.path);
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).map_err(|error| Failure::io(format!("make `{}`", dir.display()), &error))?;
        }
        let text = printed(checkout, &manta, &python, file)?;
        fs::write(&path, text).map_err(|error| Failure::io(format!("write `{}`", file.path), &error))?;
        say::note(format!("wrote {}", file.path));
    }
    say::step("the generated files are up to date");
    Ok(())
}

/// Fails where a committed file differs from what its program prints now.
pub(crate) fn check(checkout: &Checkout, manta: &Path, python: &Path) -> Result<(), Failure> {
    let stale: Vec<&str> = stale(checkout, manta, python)?.into_iter().map(|file| file.path).collect();
    if stale.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!("stale: {}", stale.join(", ")))
        .hint("`cargo xtask gen` writes them again; commit the result"))
}

fn stale(checkout: &Checkout, manta: &Path, python: &Path) -> Result<Vec<&'static Generated>, Failure> {
    let mut stale = Vec::new();
    for file in &ALL {
        if fs::read(checkout.path(file.path)).ok() != Some(printed(checkout, manta, python, file)?) {
            stale.push(file);
        }
    }
    Ok(stale)
}

fn printed(checkout: &Checkout, manta: &Path, python: &Path, file: &Generated) -> Result<Vec<u8>, Failure> {
    let (program, argument) = match file.by {
        By::Manta(subcommand) => (manta, subcommand),
        By::Python(script) => (python, script),
    };
    let mut text = output(command(checkout, program).arg(argument), &format!("`{argument}`"))?;
    if !text.ends_with(b"\n") {
        text.push(b'\n');
    }
    Ok(text)
}
