//! `cargo xtask bench`: measurements, made by `manta-bench` of the testkit on optimised binaries.

use crate::binary::{self, Build};
use crate::checkout::Checkout;
use crate::command;
use crate::failure::Failure;
use crate::venv::{self, Packages};
use crate::{digits, say, toolchain};

const SCENARIOS: [&str; 6] = ["demo", "engine", "fleet", "modules", "sandbox", "values"];

/// Hands the arguments to `manta-bench`, with everything set up that it needs.
pub(crate) fn run(checkout: &Checkout, arguments: &[String]) -> Result<(), Failure> {
    let scenario = match arguments.first() {
        Some(name) if SCENARIOS.contains(&name.as_str()) => name.as_str(),
        Some(name) => return Err(Failure::usage(format!("there is no scenario `{name}`")).hint(there_are())),
        None => return Err(Failure::usage("`cargo xtask bench` needs the name of a scenario").hint(there_are())),
    };
    toolchain::check(checkout)?;
    // Another interpreter may have packages that are too large to set up here, as torch.
    let python = match std::env::var_os("MANTA_PYTHON") {
        Some(python) => python.into(),
        None => venv::ready(checkout, if scenario == "modules" { Packages::Dev } else { Packages::Demo })?,
    };
    if scenario == "values" {
        let mut bench = command::command(checkout, &python);
        bench.arg("python/bench/values.py").args(&arguments[1..]).env("PYTHONPATH", checkout.path("python"));
        return command::run(&mut bench, "the bench of values");
    }
    let digits = if scenario == "demo" { Some(digits::ready(checkout, &python)?) } else { None };
    let manta = binary::build(checkout, Build::Release)?;
    say::step(format!("manta-bench {}", arguments.join(" ")));
    let mut bench = toolchain::cargo(checkout);
    bench.args(["run", "--quiet", "--locked", "--release", "--package", "manta-testkit", "--bin", "manta-bench", "--"]);
    bench.args(arguments).env("MANTA_PYTHON", python).env("MANTA_BINARY", manta);
    if let Some(digits) = digits {
        bench.env("MANTA_DIGITS", digits);
    }
    if let Some(home) = checkout.manta_home_instead() {
        bench.env("MANTA_HOME", home);
    }
    command::run(&mut bench, "manta-bench")
}

fn there_are() -> String {
    format!("the scenarios are {}; try `cargo xtask bench demo --json`", SCENARIOS.join(", "))
}
