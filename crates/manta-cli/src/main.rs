//! The `manta` program: commands for people, the manager, the node's agent and the privileged launcher in one binary.
#![forbid(unsafe_code)]

mod bounds;
mod bundle;
mod cli;
mod collector;
mod compare;
mod connection;
#[cfg(debug_assertions)]
mod crash;
mod data;
mod demo;
mod dependencies;
mod embedded;
mod find;
mod follow;
mod history;
mod home;
mod keys;
mod logging;
mod notify;
mod out;
mod outputs;
mod package;
mod pull;
mod python;
mod reference;
mod registry;
mod replay;
mod report;
mod screen;
mod session;
mod settings;
mod shutdown;
mod swarm_args;
mod table;
mod text;
mod trace;
mod upload;
mod value;
mod verbs;

use std::process::ExitCode;

/// The verb by which a container of a node starts this program.
const ENTRY: &str = "__entry";

fn main() -> ExitCode {
    // The launcher must be a process of one thread that has touched nothing yet.
    if std::env::args_os().nth(1).is_some_and(|verb| verb == "__launcher") {
        manta_sandbox::launcher_main();
    }
    // Nor may the first process of a container.
    if let Some(door) =
        std::env::args_os().nth(2).filter(|_| std::env::args_os().nth(1).is_some_and(|verb| verb == ENTRY))
    {
        manta_sandbox::entry_main(door.as_ref());
    }
    if std::env::args_os().nth(1).is_some_and(|verb| verb == verbs::image::UNPACKER) {
        return manta_image::unpacker_main();
    }
    if std::env::args_os().nth(1).is_some_and(|verb| verb == package::UNZIPPER) {
        return package::unzipper_main();
    }
    if std::env::args_os().nth(1).is_some_and(|verb| verb == dependencies::INSTALLER) {
        return manta_image::installer_main();
    }
    if std::env::args_os().nth(1).is_some_and(|verb| verb == python::BOUND) {
        return python::become_bound();
    }
    #[cfg(debug_assertions)]
    crash::arm();
    let cli = match cli::parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    if cli.quiet {
        out::be_quiet();
    }
    logging::be_verbose(cli.verbose, cli.keeps_log());
    let form = cli.form();
    match verbs::dispatch(cli) {
        Ok(code) => code,
        Err(failure) => failure.report(form),
    }
}
