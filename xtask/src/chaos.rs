//! `cargo xtask chaos`: faults under real managers and agents, made by `manta-chaos` of the testkit.

use crate::binary::{self, Build};
use crate::checkout::Checkout;
use crate::command::{cannot_start, command, ending};
use crate::failure::Failure;
use crate::venv::{self, Packages};
use crate::{say, toolchain};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Sets up, builds, and hands the arguments to `manta-chaos`.
pub(crate) fn run(checkout: &Checkout, arguments: &[String]) -> Result<(), Failure> {
    toolchain::check(checkout)?;
    let python = venv::ready(checkout, Packages::Dev)?;
    let chaos = build(checkout)?;
    say::step(format!("manta-chaos {}", arguments.join(" ")).trim_end());
    chaos.run(checkout, &python, arguments).map(drop)
}

/// The harness, and the `manta` whose crash points it uses.
pub(crate) struct Chaos {
    harness: PathBuf,
    manta: PathBuf,
}

/// Builds both, and keeps them where no other build replaces them.
pub(crate) fn build(checkout: &Checkout) -> Result<Chaos, Failure> {
    let built = binary::build(checkout, Build::Binaries)?;
    let kept = checkout.scratch("chaos")?;
    let keep = |name: &str| {
        let (from, to) = (built.with_file_name(name), kept.join(name));
        let fresh = kept.join(format!("{name}.new"));
        let copied = fs::copy(&from, &fresh).and_then(|_| fs::rename(&fresh, &to));
        copied.map(|()| to).map_err(|error| Failure::io(format!("copy `{}`", from.display()), &error))
    };
    Ok(Chaos { harness: keep("manta-chaos")?, manta: keep("manta")? })
}

impl Chaos {
    /// Runs suites; gives the lines about those that could not run here.
    pub(crate) fn run(&self, checkout: &Checkout, python: &Path, arguments: &[String]) -> Result<Vec<String>, Failure> {
        let mut harness: Command = command(checkout, &self.harness);
        harness.args(arguments).env("MANTA_BINARY", &self.manta).env("MANTA_PYTHON", python);
        let started = harness.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut child = started.map_err(|error| cannot_start(&harness, &error))?;
        let mut skipped = Vec::new();
        for line in child.stdout.take().into_iter().flat_map(|stdout| BufReader::new(stdout).lines()) {
            let line = line.map_err(|error| Failure::io("read what manta-chaos prints", &error))?;
            println!("{line}");
            if line.contains(": skipped: ") {
                skipped.push(line);
            }
        }
        let status = child.wait().map_err(|error| Failure::io("wait for manta-chaos", &error))?;
        if status.success() {
            return Ok(skipped);
        }
        Err(Failure::new(format!("manta-chaos {}", ending(status)))
            .hint("what failed stands above; the directory of a failed cluster stays in /tmp/mc-…"))
    }
}
