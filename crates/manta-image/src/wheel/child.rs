//! The installing process: it is told wheels on standard input, its working directory is where the files go, and nothing else is in
//! reach once it begins to read them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use manta_types::limits::{LAYER_BYTES_MAX, LAYER_ENTRIES_MAX};
use rustix::fs::{CWD, Mode, OFlags, Timespec, Timestamps};
use rustix::process::Signal;
use zip::ZipArchive;

use super::answer::{Answer, Installed, WheelFile};
use super::archive::{Entry, Shared, Wheel, unpack};
use super::place::module_of;
use crate::beneath;
use crate::unpack::confine;

/// Threads that unpack; more gain little, for the disk is one.
const THREADS_MAX: usize = 8;
/// Bytes of the request: a thousand wheels with their paths.
const REQUEST_BYTES_MAX: u64 = 8 << 20;
const COPY_BYTES: usize = 128 << 10;
/// When all files were last changed, in seconds since 1970: the same everywhere, and within what ZIP archives can say.
const TIME: i64 = 315_619_200;

/// Installs the wheels that are named on standard input into the working directory, which is empty.
///
/// Call it first in a process of its own. The process opens the wheels, confines itself, and only then reads them; what it made is
/// said as JSON.
pub fn installer_main() -> ExitCode {
    let answer = match start().map_err(|error| format!("the installer cannot be confined: {error}")) {
        Ok((directory, wheels)) => match install(&directory, wheels) {
            Ok(installed) => Answer::Done(installed),
            Err(problem) => Answer::Refused(problem),
        },
        Err(problem) => Answer::Refused(problem),
    };
    let told = serde_json::to_vec(&answer).map_err(io::Error::other).and_then(|json| io::stdout().write_all(&json));
    if told.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn start() -> io::Result<(OwnedFd, Vec<(WheelFile, File)>)> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // What is made is for tasks, which may be others than the agent's user.
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let mut request = Vec::new();
    io::stdin().lock().take(REQUEST_BYTES_MAX).read_to_end(&mut request)?;
    let mut asked: Vec<WheelFile> = serde_json::from_slice(&request)?;
    asked.sort_by(|one, other| one.name.cmp(&other.name));
    let wheels = asked.into_iter().map(|wheel| {
        let file = File::open(&wheel.path)?;
        Ok((wheel, file))
    });
    let wheels = wheels.collect::<io::Result<_>>()?;
    let directory = rustix::fs::openat(CWD, ".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    confine(&directory)?;
    Ok((directory, wheels))
}

fn install(directory: &OwnedFd, wheels: Vec<(WheelFile, File)>) -> Result<Installed, String> {
    let wheels = in_parallel(&wheels, |(asked, file)| {
        let file = file.try_clone().map_err(|error| format!("`{}` cannot be read: {error}", asked.name))?;
        Wheel::open(asked, file)
    });
    let wheels: Vec<Wheel> = wheels.into_iter().collect::<Result<_, _>>()?;
    let plan = Plan::new(&wheels)?;
    for path in &plan.directories {
        let made = rustix::fs::mkdirat(directory, path.as_path(), Mode::from_raw_mode(0o755));
        made.map_err(|error| format!("`{}` cannot be made: {error}", path.display()))?;
    }
    unpack_all(directory, &wheels, &plan.files)?;
    let entries = || plan.files.iter().map(|(wheel, entry)| &wheels[*wheel].entries[*entry]);
    let modules: BTreeSet<String> = entries().filter_map(|entry| module_of(&entry.path)).collect();
    Ok(Installed {
        bytes: entries().map(|entry| entry.size).sum(),
        files: plan.files.len() as u64,
        distributions: wheels.iter().map(|wheel| wheel.distribution.clone()).collect(),
        modules: modules.into_iter().collect(),
    })
}

/// What is made.
struct Plan {
    /// Directories, each after the one that it lies in.
    directories: BTreeSet<PathBuf>,
    /// Which entry of which wheel makes each file, the largest first.
    files: Vec<(usize, usize)>,
}

impl Plan {
    fn new(wheels: &[Wheel]) -> Result<Self, String> {
        let mut paths: BTreeMap<&Path, (usize, usize)> = BTreeMap::new();
        let mut directories = BTreeSet::new();
        for (number, wheel) in wheels.iter().enumerate() {
            for (index, entry) in wheel.entries.iter().enumerate() {
                paths.entry(entry.path.as_path()).or_insert((number, index));
            }
        }
        for path in paths.keys() {
            let above = path.ancestors().skip(1).take_while(|above| !above.as_os_str().is_empty());
            directories.extend(above.map(Path::to_owned));
        }
        if let Some((path, (number, _))) = paths.iter().find(|(path, _)| directories.contains(**path)) {
            let (wheel, path) = (&wheels[*number].name, path.display());
            return Err(format!(
                "the wheel `{wheel}` is refused: `{path}` is a file, and a directory of it or another wheel"
            ));
        }
        let entry = |(wheel, index): &(usize, usize)| &wheels[*wheel].entries[*index];
        let bytes = paths.values().fold(0u64, |sum, at| sum.saturating_add(entry(at).size));
        if bytes > LAYER_BYTES_MAX {
            return Err(format!("the wheels hold {bytes} bytes, unpacked; {LAYER_BYTES_MAX} are the limit"));
        }
        let count = (paths.len() + directories.len()) as u64;
        if count > LAYER_ENTRIES_MAX {
            return Err(format!("the wheels hold {count} files and directories; {LAYER_ENTRIES_MAX} are the limit"));
        }
        let mut files: Vec<_> = paths.into_values().collect();
        files.sort_by_key(|at| std::cmp::Reverse(entry(at).size));
        Ok(Self { directories, files })
    }
}

/// Makes all files, as many at once as there are cores; the first failure is told, and ends it.
fn unpack_all(directory: &OwnedFd, wheels: &[Wheel], files: &[(usize, usize)]) -> Result<(), String> {
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
    std::thread::scope(|scope| {
        for _ in 0..threads() {
            scope.spawn(|| {
                let mut archives: Vec<_> = wheels.iter().map(|wheel| wheel.archive.clone()).collect();
                let mut buffer = vec![0; COPY_BYTES];
                while let Some((wheel, index)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let entry = &wheels[*wheel].entries[*index];
                    if let Err(error) = make(directory, &mut archives[*wheel], entry, &mut buffer) {
                        let (wheel, path) = (&wheels[*wheel].name, entry.path.as_path().display());
                        let problem = format!("the wheel `{wheel}` is refused: `{path}` cannot be made: {error}");
                        failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(problem);
                        next.store(files.len(), Ordering::Relaxed);
                    }
                }
            });
        }
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

fn make(directory: &OwnedFd, archive: &mut ZipArchive<Shared>, entry: &Entry, buffer: &mut [u8]) -> io::Result<()> {
    let file = File::from(beneath::create(directory, entry.path.as_path())?);
    unpack(archive, entry, |bytes| (&file).write_all(bytes), buffer)?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(if entry.executable { 0o555 } else { 0o444 }))?;
    let time = Timespec { tv_sec: TIME, tv_nsec: 0 };
    Ok(rustix::fs::futimens(&file, &Timestamps { last_access: time, last_modification: time })?)
}

/// Does the same for each, as many at once as there are cores; answers in their order.
fn in_parallel<T: Sync, U: Send>(all: &[T], work: impl Fn(&T) -> U + Sync) -> Vec<U> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(all.len())));
    std::thread::scope(|scope| {
        for _ in 0..threads().min(all.len()) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(one) = all.get(index) else { break };
                    let made = work(one);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((index, made));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, made)| made).collect()
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX)
}
