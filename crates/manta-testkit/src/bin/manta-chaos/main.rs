//! `cargo xtask chaos …`: makes faults under real managers and agents, and checks that nothing acknowledged is lost or
//! doubled, that work goes on when the faults stop, and that nothing is left behind.
#![forbid(unsafe_code)]

mod abuse;
mod cluster;
mod disk;
mod drive;
mod history;
mod keeper;
mod leaks;
mod netns;
mod options;
mod report;
mod site;
mod suites;
mod wait;
mod wire;
mod workload;

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use manta_testkit::bench::Machine;

use options::{Asked, Options};
use report::{Report, Told};

/// Set where this program runs in a mount namespace of its own.
const PRIVATE: &str = "MANTA_CHAOS_PRIVATE";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, socket, relay] = arguments.as_slice()
        && word == wire::FORWARD
    {
        return forward(Path::new(socket), relay);
    }
    if let [word, harness] = arguments.as_slice()
        && word == keeper::KEEPER
    {
        return told(keeper::keep(harness));
    }
    match Options::read(&arguments) {
        Ok(Asked::Help) => {
            println!("{}\n{}", options::HELP, suites::list());
            ExitCode::SUCCESS
        }
        Ok(Asked::Run(options)) => match keep_mounts_private().and_then(|()| kept(&options)) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("error: {error:#}");
                ExitCode::FAILURE
            }
        },
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Is the far end of a wire until it is killed.
fn forward(socket: &Path, relay: &str) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    told(runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(wire::forward(socket, relay))))
}

/// Says what went wrong, if anything did.
fn told(outcome: Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the suites with somebody who clears up, however this process ends.
fn kept(options: &Options) -> Result<bool> {
    let _keeper = keeper::Keeper::start()?;
    run(options)
}

/// Becomes this program again in a mount namespace of its own, so that what suites mount is nobody else's and goes with it.
fn keep_mounts_private() -> Result<()> {
    if std::env::var_os(PRIVATE).is_some() || !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let own = std::env::current_exe()?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--"]).arg(own).args(std::env::args_os().skip(1));
    Err(command.env(PRIVATE, "1").exec()).context("starting `unshare` (Debian: apt-get install util-linux)")
}

/// Runs the suites and says whether every one that could run did well.
fn run(options: &Options) -> Result<bool> {
    ensure!(
        std::env::var_os("MANTA_BINARY").is_some() && std::env::var_os("MANTA_PYTHON").is_some(),
        "MANTA_BINARY and MANTA_PYTHON must name the manta with crash points and an interpreter; `cargo xtask chaos` does that"
    );
    let machine = Machine::read();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut told = Vec::new();
    for suite in suites::select(&options.suites)? {
        eprintln!("{}: {}", suite.name, suite.about);
        let begun = Instant::now();
        let outcome = match suite.lacking() {
            Some(lack) => Told::skipped(suite, lack),
            None => Told::ran(suite, runtime.block_on((suite.run)(options.plan()))),
        };
        eprintln!("{}: {} in {:.1} s", suite.name, outcome.summary(), begun.elapsed().as_secs_f64());
        told.push(outcome);
    }
    let report = Report { machine, options, told };
    if options.json {
        println!("{}", report.json()?);
    } else {
        println!("{}", report.table());
    }
    if options.report {
        let path = report.write().context("writing the report")?;
        eprintln!("the report is `{}`", path.display());
    }
    Ok(report.is_well())
}
