//! `cargo xtask test`: sets up, runs the stages in order, stops at the first that fails, and says how long each took and
//! which tests this machine or user could not run.

mod junit;
mod python_stages;
mod report;
mod rust_stages;
mod skips;
mod stage;

use crate::binary::{self, Build};
use crate::checkout::Checkout;
use crate::failure::Failure;
use crate::venv::{self, Packages};
use crate::{digits, say, toolchain};
use report::Report;
use skips::Skips;
use stage::{Needs, Stage};
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

const HELP: &str = "\
Usage: cargo xtask test [--quick | --list | stage ...] [-- arguments]

Without stages, all run. What follows `--` goes to the runner of the one stage that is named: cargo xtask test e2e -- -k demo";

/// What the stages share: filled by the set-up, read by the stages, which add what they skipped.
struct Session<'a> {
    checkout: &'a Checkout,
    python: Option<PathBuf>,
    digits: Option<PathBuf>,
    manta: Option<PathBuf>,
    /// Arguments for the runner of the one stage that was named.
    extra: Vec<String>,
    skips: Skips,
}

impl Session<'_> {
    /// The environment's Python; the set-up has run for every stage that asks.
    fn python(&self) -> Result<&PathBuf, Failure> {
        self.python.as_ref().ok_or_else(|| Failure::new("the Python environment was not set up"))
    }

    fn manta(&self) -> Result<&PathBuf, Failure> {
        self.manta.as_ref().ok_or_else(|| Failure::new("`manta` was not built"))
    }

    /// Tells tests where the parts are that they start.
    fn describe(&self, command: &mut Command) {
        let parts = [("MANTA_PYTHON", &self.python), ("MANTA_DIGITS", &self.digits), ("MANTA_BINARY", &self.manta)];
        for (name, path) in parts {
            if let Some(path) = path {
                command.env(name, path);
            }
        }
        if let Some(home) = self.checkout.manta_home_instead() {
            command.env("MANTA_HOME", home);
        }
    }

    /// Makes ready what a stage needs and no earlier one has made.
    fn prepare(&mut self, needs: &Needs) -> Result<(), Failure> {
        if needs.python && self.python.is_none() {
            self.python = Some(venv::ready(self.checkout, Packages::Dev)?);
        }
        if needs.digits && self.digits.is_none() {
            self.digits = Some(digits::ready(self.checkout, &self.python()?.clone())?);
        }
        if needs.binary && self.manta.is_none() {
            self.manta = Some(binary::build(self.checkout, Build::Binaries)?);
        }
        Ok(())
    }
}

/// Runs the stages that the arguments name.
pub(crate) fn run(checkout: &Checkout, arguments: &[String]) -> Result<(), Failure> {
    let (words, extra) = match arguments.iter().position(|word| word == "--") {
        Some(at) => (&arguments[..at], arguments[at + 1..].to_vec()),
        None => (arguments, Vec::new()),
    };
    if words.iter().any(|word| matches!(word.as_str(), "--help" | "-h")) {
        println!("{HELP}\n\nStages, in order:\n{}", stage::list());
        return Ok(());
    }
    if words.iter().any(|word| word == "--list") {
        println!("{}", stage::list());
        return Ok(());
    }
    let stages = stage::select(words)?;
    if !extra.is_empty() && stages.len() != 1 {
        return Err(Failure::usage("arguments after `--` need exactly one stage before it"));
    }
    toolchain::check(checkout)?;
    let session = Session { checkout, python: None, digits: None, manta: None, extra, skips: Skips::default() };
    run_stages(session, &stages)
}

fn run_stages(mut session: Session<'_>, stages: &[&'static Stage]) -> Result<(), Failure> {
    let names: Vec<&str> = stages.iter().map(|stage| stage.name).collect();
    say::step(format!("stages: {}", names.join(", ")));
    let mut report = Report::new(names);
    // The set-up comes first, so that a machine that lacks something says so before minutes of compiling.
    let started = Instant::now();
    let mut result = set_up_python(&mut session, stages);
    report.set_up(started.elapsed());
    for stage in stages {
        if result.is_err() {
            break;
        }
        say::step(format!("{}: {}", stage.name, stage.about));
        let started = Instant::now();
        result = session.prepare(&stage.needs).and_then(|()| (stage.run)(&mut session));
        report.stage(stage.name, started.elapsed(), result.is_ok());
    }
    report.print(&session.skips);
    result.map_err(|failure| match report.failed() {
        Some(name) if stages.len() > 1 => {
            failure.hint_unless_any(format!("`cargo xtask test {name}` runs that stage alone"))
        }
        _ => failure,
    })
}

fn set_up_python(session: &mut Session<'_>, stages: &[&'static Stage]) -> Result<(), Failure> {
    let wanted = |what: fn(&Needs) -> bool| stages.iter().any(|stage| what(&stage.needs));
    session.prepare(&Needs {
        python: wanted(|needs| needs.python),
        digits: wanted(|needs| needs.digits),
        binary: false,
    })
}
