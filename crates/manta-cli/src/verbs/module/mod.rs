//! `manta module`: modules as packages.
use std::process::ExitCode;

use clap::Subcommand;

use crate::report::{Failure, Form};

pub(crate) mod check;
pub(crate) mod diff;
pub(crate) mod download;
pub(crate) mod inspect;
pub(crate) mod ls;
pub(crate) mod mark;
pub(crate) mod package;
mod packages;
pub(crate) mod publish;
pub(crate) mod sbom;
pub(crate) mod show;
pub(crate) mod sign;
pub(crate) mod test;

/// Verbs of modules.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Pack a module into one file; the same source gives the same bytes everywhere.
    Package(package::Args),
    /// Show what a module is once packed: manifest, digests, files and their sizes.
    Inspect(inspect::Args),
    /// Say what a module reads and publishes, and what is wrong with it, without running it.
    Check(check::Args),
    /// Run a module's own tests, without a platform.
    Test(test::Args),
    /// Show what differs between two modules: manifest, dependencies, code.
    Diff(diff::Args),
    /// Print what a module is made of, as CycloneDX 1.6.
    Sbom(sbom::Args),
    /// Publish a version of a module, for ever.
    Publish(publish::Args),
    /// Say with a key of yours that a module is what it is: an archive, or a published version.
    Sign(sign::Args),
    /// Say who signed a module and what that is worth: valid, expired, revoked, unknown.
    Verify(sign::VerifyArgs),
    /// List the modules that are published.
    Ls(ls::Args),
    /// List those that a text is in.
    Search(ls::SearchArgs),
    /// Show the versions of a module.
    Show(show::Args),
    /// Show what each version of a module works with.
    Compat(show::Args),
    /// Show which swarms pin which version of a module.
    Users(show::Args),
    /// Fetch a published module as one file.
    Download(download::Args),
    /// Take a module of another registry into this one.
    Add(publish::AddArgs),
    /// Let no range choose a version any more; who pins it keeps it.
    Yank(mark::YankArgs),
    /// Let ranges choose a version again.
    Unyank(mark::UnyankArgs),
    /// Tell whoever uses a version what to do in its place.
    Deprecate(mark::DeprecateArgs),
    /// Give a version a name that moves, such as stable.
    Tag(mark::TagArgs),
}

/// Does what the command line says.
pub(crate) fn main(verb: Verb, form: Form) -> Result<ExitCode, Failure> {
    match verb {
        Verb::Package(args) => super::block_on(package::main(args, form)),
        Verb::Inspect(args) => super::block_on(inspect::main(args, form)),
        Verb::Check(args) => super::block_on(check::main(args, form)),
        Verb::Test(args) => super::block_on(test::main(args)),
        Verb::Diff(args) => super::block_on(diff::main(args, form)),
        Verb::Sbom(args) => super::block_on(sbom::main(args)),
        Verb::Publish(args) => super::block_on(publish::main(args, form)),
        Verb::Sign(args) => super::block_on(sign::main(args, form)),
        Verb::Verify(args) => super::block_on(sign::verify(args, form)),
        Verb::Ls(args) => super::block_on(ls::main(args, form)),
        Verb::Search(args) => super::block_on(ls::search(args, form)),
        Verb::Show(args) => super::block_on(show::main(args, form)),
        Verb::Compat(args) => super::block_on(show::compat(args, form)),
        Verb::Users(args) => super::block_on(show::users(args, form)),
        Verb::Download(args) => super::block_on(download::main(args, form)),
        Verb::Add(args) => super::block_on(publish::add(args, form)),
        Verb::Yank(args) => super::block_on(mark::yank(args, form)),
        Verb::Unyank(args) => super::block_on(mark::unyank(args, form)),
        Verb::Deprecate(args) => super::block_on(mark::deprecate(args, form)),
        Verb::Tag(args) => super::block_on(mark::tag(args, form)),
    }
}
