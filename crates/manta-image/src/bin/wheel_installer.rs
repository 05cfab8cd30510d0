//! The installer of wheels as a program of its own, for this crate's tests; `manta` has it as a hidden subcommand.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    manta_image::installer_main()
}
