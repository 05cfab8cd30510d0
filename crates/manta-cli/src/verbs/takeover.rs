//! An agent's program in the place of another: what is told to the one that comes, and how it is started in the same process.
use std::ffi::OsString;
use std::os::fd::RawFd;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use manta_api::control::Trial;
use manta_api::version::{HANDOVER, NODE_PROTOCOL, PRODUCT};
use manta_node::{Handover, OwnProgram, TRIAL, Taken};

use crate::out;
use crate::report::Failure;

/// What is told to a program that takes over.
const TAKE: &str = "--handover";
const BLAME: &str = "--blame";

/// Options that programs give each other.
#[derive(Debug, clap::Args)]
pub(crate) struct TakeoverArgs {
    /// The number of the descriptor under which the program before this one in its process has left what runs.
    #[arg(long, hide = true, value_name = "FD")]
    handover: Option<RawFd>,

    /// Why the program that was to go on with it did not.
    #[arg(long, hide = true, value_name = "WHY")]
    blame: Option<String>,

    /// Only say what this program is.
    #[arg(long, hide = true)]
    trial: bool,
}

impl TakeoverArgs {
    /// Whether this program is only asked what it is.
    pub(super) const fn is_trial(&self) -> bool {
        self.trial
    }

    /// What the program before this one has left. To be called before anything else is opened.
    pub(super) fn take(&self) -> Result<Option<Taken>, Failure> {
        let Some(number) = self.handover else { return Ok(None) };
        let mut taken = Taken::take(number)?;
        if let Some(why) = &self.blame {
            taken.blame(why.clone());
        }
        Ok(Some(taken))
    }
}

/// Says what this program is.
pub(super) fn introduce() -> Result<ExitCode, Failure> {
    // Read from the program's data, where a test of upgrades writes another release.
    let trial =
        Trial { agent_version: std::hint::black_box(PRODUCT).to_owned(), protocol: NODE_PROTOCOL, handover: HANDOVER };
    out::put_json(&serde_json::to_value(trial).map_err(|error| Failure::internal(error.to_string()))?)?;
    Ok(ExitCode::SUCCESS)
}

/// How this program was started: where its file was replaced already, the new one has its name.
pub(super) fn own() -> Option<OwnProgram> {
    let file = std::env::current_exe().ok()?;
    let replaced = file.to_str().and_then(|name| name.strip_suffix(" (deleted)")).map(PathBuf::from);
    Some(OwnProgram { file: replaced.unwrap_or(file), arguments: arguments() })
}

/// This program for processes of its own: its file, or where that was replaced meanwhile, what the kernel still has of it.
pub(super) fn own_program() -> Result<PathBuf, Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::internal(format!("this program's own file is not known: {error}")))?;
    Ok(if program.exists() { program } else { PathBuf::from("/proc/self/exe") })
}

/// What this program was started with, but for what another program told it.
fn arguments() -> Vec<OsString> {
    let mut arguments = std::env::args_os().skip(1);
    let mut kept = Vec::new();
    while let Some(argument) = arguments.next() {
        if argument == TAKE || argument == BLAME {
            arguments.next();
        } else if argument != TRIAL {
            kept.push(argument);
        }
    }
    kept
}

/// Starts the program that is to take this one's place; where it cannot be started, this one takes all back.
pub(super) fn start(handover: Handover) -> Result<Taken, Failure> {
    let program = handover.program();
    let number = handover.leave_open().map_err(|error| failed(&error))?;
    let error = Command::new(&program).args(arguments()).arg(TAKE).arg(number.to_string()).exec();
    let why = format!("the program `{}` could not be started: {error}; manta {PRODUCT} goes on", program.display());
    tracing::error!("{why}");
    let mut taken = Taken::take(number)?;
    taken.blame(why);
    Ok(taken)
}

/// Starts the program again that was here before, because this one cannot go on; comes back only with the failure.
pub(super) fn give_back(taken: Taken, failure: Failure) -> Failure {
    let why = format!("manta {PRODUCT} could not take over: {}; manta {} goes on", failure.message, taken.from());
    tracing::error!("{why}");
    let Ok((OwnProgram { file, arguments }, number)) = taken.give_back() else { return failure };
    let mut before = Command::new(file);
    before.args(arguments).arg(TAKE).arg(number.to_string()).arg(BLAME).arg(why);
    let error = before.exec();
    tracing::error!(%error, "the program before this one could not be started again");
    failure
}

fn failed(error: &std::io::Error) -> Failure {
    Failure::internal(format!("what runs cannot be left to another program: {error}"))
}
