//! `cargo xtask …`: every chore of this repository, from the first demo to the last check.
//!
//! Standard library only and plain 2021 Rust, so that an old compiler builds it too and [`toolchain::check`] can say
//! which Rust the rest needs. It sets up what it uses inside the checkout and the user's cache directories, nowhere else.

#![forbid(unsafe_code)]
#![deny(unused_must_use)]
#![warn(unreachable_pub)]

mod bench;
mod binary;
mod bootstrap_pip;
mod chaos;
mod checkout;
mod command;
mod demo;
mod digits;
mod failure;
mod fuzz;
mod generated;
mod interpreter;
mod say;
mod setup_lock;
mod sim;
mod test;
mod tidy;
mod toolchain;
mod venv;

use checkout::Checkout;
use failure::Failure;
use std::process::ExitCode;

const HELP: &str = "\
Usage: cargo xtask <chore> [arguments]

  demo [arguments]      set up all that is needed, build Manta and run `manta demo` with these arguments
  test [stage ...]      set up all that is needed and run every check; --quick: the first half; --list: the stages
  tidy                  cheap checks of layout, sizes and layers
  gen                   write the generated files again (`cargo xtask test generated` fails when they are stale)
  bench <scenario> [--json]
                        measure: demo, engine, fleet (10,000 nodes), modules, sandbox, values; with an aim beside each figure
  chaos [suite ...]     make faults under real processes and check that nothing is lost; --long: at length
  fuzz values|zip|manifest [arguments]
                        give damaged values to the decoder: --seconds N, --corpus DIR to go on with
  sim [arguments]       simulate the whole cluster on virtual time: --seeds N, --minutes M, --seed N to see one again

The first demo and the first test compile Manta, which takes minutes; afterwards both start in seconds and need no network.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.print();
            ExitCode::from(failure.exit_code)
        }
    }
}

fn dispatch(arguments: &[String]) -> Result<(), Failure> {
    let (chore, rest) = match arguments.split_first() {
        None => return help(),
        Some((chore, rest)) => (chore.as_str(), rest),
    };
    if matches!(chore, "help" | "--help" | "-h") {
        return help();
    }
    let checkout = Checkout::find()?;
    match chore {
        "demo" => demo::run(&checkout, rest),
        "test" => test::run(&checkout, rest),
        "tidy" => tidy::run(&checkout, rest),
        "gen" => generated::run(&checkout, rest),
        "bench" => bench::run(&checkout, rest),
        "chaos" => chaos::run(&checkout, rest),
        "fuzz" => fuzz::run(&checkout, rest),
        "sim" => sim::run(&checkout, rest),
        other => Err(Failure::usage(format!("there is no chore `{other}`")).hint("`cargo xtask help` lists them")),
    }
}

fn help() -> Result<(), Failure> {
    println!("{HELP}");
    Ok(())
}
