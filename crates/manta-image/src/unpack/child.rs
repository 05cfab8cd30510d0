//! The unpacking process: standard input is a layer, its working directory is where the files go, and nothing else is in reach.

use std::io::{self, Read, Write as _};
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::process::Signal;
use tar::Archive;

use super::answer::{Answer, Unpacked};
use super::decompress::{self, Budget, Limited};
use super::entry::Extractor;
use super::{ENTRIES_MAX, jail};
use crate::digest::Hashing;

/// Unpacks the layer at standard input into the working directory, which is empty; the last argument is its length in bytes.
///
/// Call it first in a process of its own. The process confines itself before it reads; what it found is said as JSON.
pub fn unpacker_main() -> ExitCode {
    let answer = match start().map_err(|error| format!("its unpacker cannot be confined: {error}")) {
        Ok((directory, length)) => match unpack(&directory, io::stdin().lock().take(length), length) {
            Ok(unpacked) => Answer::Done(unpacked),
            Err(problem) => Answer::Refused(problem),
        },
        Err(problem) => Answer::Refused(problem),
    };
    let told = serde_json::to_vec(&answer).map_err(io::Error::other).and_then(|json| io::stdout().write_all(&json));
    if told.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn start() -> io::Result<(OwnedFd, u64)> {
    let length = std::env::args().next_back().and_then(|length| length.parse().ok());
    let length = length.ok_or_else(|| io::Error::other("the last argument is no length"))?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let directory = rustix::fs::openat(CWD, ".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    jail::confine(&directory)?;
    Ok((directory, length))
}

/// Unpacks a layer of so many packed bytes.
fn unpack(directory: &OwnedFd, packed: impl Read, length: u64) -> Result<Unpacked, String> {
    let budget = Budget::new(length);
    let outcome = extract(directory, packed, &budget);
    outcome.map_err(|problem| budget.problem().unwrap_or(problem))
}

fn extract(directory: &OwnedFd, packed: impl Read, budget: &Budget) -> Result<Unpacked, String> {
    let unreadable = |error: io::Error| format!("it cannot be read as an archive: {error}");
    let inner = decompress::open(packed).map_err(unreadable)?;
    let mut archive = Archive::new(Hashing::new(Limited { inner, budget: budget.clone() }));
    let mut extractor = Extractor::new(directory, budget.clone());
    for entry in archive.entries().map_err(unreadable)? {
        extractor.take(&mut entry.map_err(unreadable)?)?;
        if extractor.entries() > ENTRIES_MAX {
            return Err(format!("it has more than {ENTRIES_MAX} entries"));
        }
    }
    let mut rest = archive.into_inner();
    // The digest is that of the whole archive, with whatever comes after its last entry.
    io::copy(&mut rest, &mut io::sink()).map_err(unreadable)?;
    let (_, digest, _) = rest.finish();
    extractor.finish(digest)
}
