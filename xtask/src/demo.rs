//! `cargo xtask demo`: from a fresh checkout to `manta demo` in one command.

use crate::binary::{self, Build};
use crate::checkout::Checkout;
use crate::command::{cannot_start, clean};
use crate::failure::Failure;
use crate::venv::{self, Packages};
use crate::{digits, say, toolchain};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Sets up, builds, and becomes `manta demo` with the given arguments, in the user's own working directory.
pub(crate) fn run(checkout: &Checkout, arguments: &[String]) -> Result<(), Failure> {
    toolchain::check(checkout)?;
    let python = venv::ready(checkout, Packages::Demo)?;
    let digits = digits::ready(checkout, &python)?;
    let manta = binary::build(checkout, Build::Release)?;
    say::step(format!("manta demo {}", arguments.join(" ")).trim_end());
    let mut demo = Command::new(&manta);
    clean(&mut demo);
    demo.arg("demo").args(arguments);
    demo.env("MANTA_DIGITS", digits).env("MANTA_PYTHON", python).env("MANTA_BINARY", &manta);
    if let Some(home) = checkout.manta_home_instead() {
        demo.env("MANTA_HOME", home);
    }
    let error = demo.exec();
    Err(cannot_start(&demo, &error))
}
