//! `manta module`: modules as packages.
use std::process::ExitCode;

use clap::Subcommand;

use crate::report::{Failure, Form};

pub(crate) mod diff;
pub(crate) mod inspect;
pub(crate) mod package;

/// Verbs of modules.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Pack a module into one file; the same source gives the same bytes everywhere.
    Package(package::Args),
    /// Show what a module is once packed: manifest, digests, files and their sizes.
    Inspect(inspect::Args),
    /// Show what differs between two modules: manifest, dependencies, code.
    Diff(diff::Args),
}

/// Does what the command line says.
pub(crate) fn main(verb: Verb, form: Form) -> Result<ExitCode, Failure> {
    match verb {
        Verb::Package(args) => super::block_on(package::main(args, form)),
        Verb::Inspect(args) => super::block_on(inspect::main(args, form)),
        Verb::Diff(args) => super::block_on(diff::main(args, form)),
    }
}
