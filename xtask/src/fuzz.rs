//! `cargo xtask fuzz`: gives damaged input to what reads it, for as long as it is told: to the decoder of values, which is Python, and
//! to the readers of archives and manifests, which are `manta-fuzz` of the testkit.

use crate::checkout::Checkout;
use crate::command;
use crate::failure::Failure;
use crate::venv::{self, Packages};
use crate::{say, toolchain};
use std::path::Path;

/// Hands the arguments to the fuzzer, with everything set up that it needs.
pub(crate) fn run(checkout: &Checkout, arguments: &[String]) -> Result<(), Failure> {
    match arguments.split_first() {
        Some((target, rest)) if target == "values" => {
            toolchain::check(checkout)?;
            let python = venv::ready(checkout, Packages::Dev)?;
            values(checkout, &python, rest)
        }
        Some((target, _)) if target == "zip" || target == "manifest" => {
            toolchain::check(checkout)?;
            say::step(format!("manta-fuzz {}", arguments.join(" ")));
            let mut fuzz = toolchain::cargo(checkout);
            let built = ["--quiet", "--locked", "--release", "--package", "manta-testkit", "--bin", "manta-fuzz", "--"];
            command::run(fuzz.arg("run").args(built).args(arguments), "manta-fuzz")
        }
        _ => Err(Failure::usage("`cargo xtask fuzz` needs the name of a target")
            .hint("`values`, `zip` and `manifest` are there; try `cargo xtask fuzz values --seconds 60`")),
    }
}

/// Runs the fuzzer of values.
pub(crate) fn values(checkout: &Checkout, python: &Path, arguments: &[String]) -> Result<(), Failure> {
    say::step("fuzzing the decoder of values");
    let mut fuzz = command::command(checkout, python);
    fuzz.arg("python/fuzz/values.py").args(arguments).env("PYTHONPATH", checkout.path("python"));
    command::run(&mut fuzz, "the fuzzer of values")
}
