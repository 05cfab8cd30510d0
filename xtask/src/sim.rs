//! `cargo xtask sim`: the whole cluster on virtual time, seed after seed, by `manta-sim` of the testkit.

use crate::checkout::Checkout;
use crate::command;
use crate::failure::Failure;
use crate::{say, toolchain};

/// Hands the arguments to `manta-sim`, built with optimisation: a seed takes milliseconds then.
pub(crate) fn run(checkout: &Checkout, arguments: &[String]) -> Result<(), Failure> {
    toolchain::check(checkout)?;
    say::step(format!("manta-sim {}", arguments.join(" ")));
    let mut sim = toolchain::cargo(checkout);
    sim.args(["run", "--quiet", "--locked", "--release", "--package", "manta-testkit", "--bin", "manta-sim", "--"]);
    command::run(sim.args(arguments), "manta-sim")
}
