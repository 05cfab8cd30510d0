//! How an attempt ended, judged from what the task said, what we did to it, and how its process ended.
use std::time::Duration;

use manta_sandbox::{Exit, ExitHow, FILE_LOCKS, OPEN_FILES, ScratchLimit};
use manta_types::limits::{NAME_BYTES_MAX, TRACEBACK_BYTES_MAX};
use manta_types::{AttemptFailure, AttemptLimit, LimitReached, OutcomeClass, Usage, limits};

use crate::clock::ms;
use crate::host::Resources;
use crate::light::TaskError;
use crate::words::{bytes, seconds};

/// Bytes of an exception's text that are kept.
const MESSAGE_BYTES_MAX: usize = 4 << 10;

/// Why we ended a task ourselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Its time was over.
    Timeout(Duration),
    /// It sent what no task of ours sends; in words that follow "the task".
    Violation(String),
    /// The node had no connection for as long as the task tolerates.
    Disconnected(Duration),
    /// Nobody wants it any more; there is nothing to judge.
    Cancelled,
}

/// What is known of an attempt that has ended.
#[derive(Debug)]
pub(crate) struct Evidence {
    /// What the task said when `run()` ended.
    pub(crate) said: Option<Result<(), TaskError>>,
    /// Why we killed it, if we did before it said so.
    pub(crate) cut: Option<Cut>,
    /// How its process ended.
    pub(crate) exit: Exit,
    /// Whether it was the image's own program, whose exit status tells how it went, and no module.
    pub(crate) is_program: bool,
}

/// Judges an attempt. A task that said that `run()` ended well did well, however its process ended afterwards; an image's own
/// program that says nothing did well if it exited with 0.
pub(crate) fn judge(evidence: Evidence, resources: &Resources) -> Result<(), AttemptFailure> {
    let Evidence { said, cut, exit, is_program } = evidence;
    match (said, cut) {
        (Some(Ok(())), _) => Ok(()),
        (Some(Err(error)), _) => Err(raised(error, &exit, resources)),
        // A task at a limit may be torn down for so long that it seems to go on without its socket.
        (None, Some(Cut::Violation(_))) if exit.oom || exit.scratch.is_some() || exit.file_locks_limit_hit => {
            Err(died(&exit, resources, is_program))
        }
        (None, Some(cut)) => Err(cut_short(cut)),
        (None, None) if is_program && exit.how == ExitHow::Exited(0) => Ok(()),
        (None, None) => Err(died(&exit, resources, is_program)),
    }
}

/// A failure of that class, in one sentence.
pub(crate) fn failure(class: OutcomeClass, message: impl Into<String>) -> AttemptFailure {
    AttemptFailure::new(class, message.into())
}

fn raised(error: TaskError, exit: &Exit, resources: &Resources) -> AttemptFailure {
    let name = shorten(error.r#type.rsplit('.').next().unwrap_or_default(), NAME_BYTES_MAX);
    let said = match shorten(&error.message, MESSAGE_BYTES_MAX) {
        "" => name.to_owned(),
        text => format!("{name}: {text}"),
    };
    let limit = error.limit.or_else(|| guessed(name, exit));
    let told = limit.and_then(|limit| Some((in_words(limit, exit, resources)?, reached(limit, exit, resources)?)));
    let (class, message, reached) = if exit.oom {
        let message = format!("{said} (a process of the task was {})", killed_for_memory(exit, resources));
        (OutcomeClass::ResourceLimit, message, reached(AttemptLimit::Memory, exit, resources))
    } else if let Some((words, reached)) = told {
        (OutcomeClass::ResourceLimit, format!("{words} ({said})"), Some(reached))
    } else {
        let class = match name {
            _ if error.is_nodes_fault => OutcomeClass::Platform,
            "DataCorruptionError" => OutcomeClass::Dataset,
            "ResourceExhaustionError" => OutcomeClass::ResourceLimit,
            _ => OutcomeClass::UserError,
        };
        (class, said, None)
    };
    AttemptFailure {
        traceback: shorten(&error.traceback, TRACEBACK_BYTES_MAX).to_owned(),
        location: error.r#where.map(|place| shorten(&place, MESSAGE_BYTES_MAX).to_owned()),
        reached: reached.map(Box::new),
        ..failure(class, message)
    }
}

/// The limit behind an exception that does not name one.
fn guessed(name: &str, exit: &Exit) -> Option<AttemptLimit> {
    let is_refused_process = matches!(name, "BlockingIOError" | "OSError" | "RuntimeError");
    (exit.pids_limit_hit && is_refused_process).then_some(AttemptLimit::Processes)
}

/// A limit that a task says it ran into, with its value and the most that was used; nothing of those that it cannot know of.
fn reached(limit: AttemptLimit, exit: &Exit, resources: &Resources) -> Option<LimitReached> {
    let (value, peak) = match limit {
        AttemptLimit::Memory => (resources.memory_bytes, measured(exit.peak_memory_bytes)),
        AttemptLimit::Scratch => (resources.tmp_bytes, None),
        AttemptLimit::ScratchFiles => (resources.bounds.tmp_files, None),
        AttemptLimit::Processes => (u64::from(resources.pids), measured(u64::from(exit.peak_pids))),
        AttemptLimit::OpenFiles => (OPEN_FILES, None),
        AttemptLimit::FileLocks => (FILE_LOCKS, None),
        AttemptLimit::Results => (limits::RESULTS_PER_ATTEMPT_MAX as u64, None),
        AttemptLimit::Globals => (limits::GLOBALS_PER_SWARM_MAX as u64, None),
        AttemptLimit::State => (limits::STATE_NAMES_MAX as u64, None),
        AttemptLimit::Published => (resources.bounds.published_bytes, None),
        AttemptLimit::Time | AttemptLimit::Report => return None,
    };
    Some(limit.reached(value, peak))
}

/// What became of a task at a limit that it says it ran into, in words.
fn in_words(limit: AttemptLimit, exit: &Exit, resources: &Resources) -> Option<String> {
    let names = |what: &str, most: usize| format!("had no room for more {what} at its limit of {most}");
    Some(match limit {
        AttemptLimit::Memory => {
            format!("ran out of memory at its limit of {}{}", bytes(resources.memory_bytes), peak(exit))
        }
        AttemptLimit::Scratch => format!("its scratch is full at its limit of {}", bytes(resources.tmp_bytes)),
        AttemptLimit::ScratchFiles => {
            format!("its scratch is full at its limit of {} files and directories", resources.bounds.tmp_files)
        }
        AttemptLimit::Processes => {
            format!("could make no more processes or threads at its limit of {}", resources.pids)
        }
        AttemptLimit::OpenFiles => format!("could open no more files at its limit of {OPEN_FILES} in each process"),
        AttemptLimit::FileLocks => {
            format!("it held more than {FILE_LOCKS} locks on files (fcntl, flock), which is its limit")
        }
        AttemptLimit::Results => names("results", limits::RESULTS_PER_ATTEMPT_MAX),
        AttemptLimit::Globals => names("globals", limits::GLOBALS_PER_SWARM_MAX),
        AttemptLimit::State => names("names of state", limits::STATE_NAMES_MAX),
        AttemptLimit::Published => {
            format!("had no room to publish more at its limit of {}", bytes(resources.bounds.published_bytes))
        }
        AttemptLimit::Time | AttemptLimit::Report => return None,
    })
}

fn killed_for_memory(exit: &Exit, resources: &Resources) -> String {
    format!("killed at its memory limit of {}{}", bytes(resources.memory_bytes), peak(exit))
}

/// The highest memory use, where it is known.
fn peak(exit: &Exit) -> String {
    measured(exit.peak_memory_bytes).map_or_else(String::new, |peak| format!(", peak {}", bytes(peak)))
}

/// A figure that is 0 where nothing was measured.
fn measured<T: Default + PartialEq>(figure: T) -> Option<T> {
    Some(figure).filter(|figure| *figure != T::default())
}

/// What an attempt used that published so many bytes.
pub(crate) fn usage(exit: &Exit, published_bytes: u64) -> Usage {
    Usage {
        cpu_ms: exit.cpu_ms,
        memory_bytes_peak: measured(exit.peak_memory_bytes),
        pids_peak: measured(exit.peak_pids),
        published_bytes,
    }
}

fn cut_short(cut: Cut) -> AttemptFailure {
    match cut {
        Cut::Timeout(limit) => {
            let words = format!("did not end within its timeout of {}", seconds(limit));
            AttemptFailure {
                reached: Some(Box::new(AttemptLimit::Time.reached(ms(limit), None))),
                ..failure(OutcomeClass::Timeout, words)
            }
        }
        Cut::Violation(what) => {
            failure(OutcomeClass::UserError, format!("the task {what}, which breaks the protocol with its node"))
        }
        Cut::Disconnected(limit) => {
            let words = format!("stopped: the node was cut off from the manager for {}", seconds(limit));
            failure(OutcomeClass::LostNode, words)
        }
        Cut::Cancelled => failure(OutcomeClass::Platform, "cancelled"),
    }
}

fn died(exit: &Exit, resources: &Resources, is_program: bool) -> AttemptFailure {
    let at = |limit, words| AttemptFailure {
        reached: reached(limit, exit, resources).map(Box::new),
        ..failure(OutcomeClass::ResourceLimit, words)
    };
    if exit.oom {
        return at(AttemptLimit::Memory, killed_for_memory(exit, resources));
    }
    let ended_for = match exit.scratch {
        Some(ScratchLimit::Bytes) => Some(AttemptLimit::Scratch),
        Some(ScratchLimit::Files) => Some(AttemptLimit::ScratchFiles),
        None => exit.file_locks_limit_hit.then_some(AttemptLimit::FileLocks),
    };
    if let Some(limit) = ended_for {
        return at(limit, format!("killed: {}", in_words(limit, exit, resources).unwrap_or_default()));
    }
    let (class, words) = match exit.how {
        ExitHow::Exited(status) if is_program => {
            (OutcomeClass::UserError, format!("the image's program exited with status {status}"))
        }
        ExitHow::Exited(status) => (OutcomeClass::UserError, format!("exited with status {status} before run() ended")),
        ExitHow::Signaled(signal) => (OutcomeClass::UserError, format!("killed by signal {}", signal_name(signal))),
        ExitHow::Lost => (OutcomeClass::Platform, "its sandbox was lost: the launcher ended".to_owned()),
        ExitHow::ContainerLost => {
            (OutcomeClass::Platform, "its sandbox was lost: its container was ended from outside".to_owned())
        }
        ExitHow::ZygoteLost => (OutcomeClass::Platform, "its sandbox was lost: its zygote ended".to_owned()),
    };
    if exit.pids_limit_hit {
        let words = format!("{words}, after its limit of {} processes and threads was reached", resources.pids);
        return at(AttemptLimit::Processes, words);
    }
    failure(class, words)
}

/// A signal for people: `11 (SIGSEGV)`.
pub fn signal_name(signal: i32) -> String {
    let name = match signal {
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS: a system call that sandboxes do not have",
        _ => return signal.to_string(),
    };
    format!("{signal} ({name})")
}

fn shorten(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Bounds;

    fn resources() -> Resources {
        Resources { cpu: 1.0, memory_bytes: 2 << 30, tmp_bytes: 1 << 30, pids: 256, bounds: Bounds::default() }
    }

    fn exit(how: ExitHow) -> Exit {
        Exit { how, ..Exit::lost() }
    }

    fn raise(name: &str, message: &str) -> Option<Result<(), TaskError>> {
        let (r#type, message) = (name.to_owned(), message.to_owned());
        Some(Err(TaskError {
            r#type,
            message,
            traceback: "trace".to_owned(),
            r#where: Some("worker.py:12".to_owned()),
            limit: None,
            is_nodes_fault: false,
        }))
    }

    fn check(
        said: Option<Result<(), TaskError>>,
        cut: Option<Cut>,
        exit: Exit,
        expected: (OutcomeClass, &str),
    ) -> Option<LimitReached> {
        let failure = judge(Evidence { said, cut, exit, is_program: false }, &resources()).unwrap_err();
        assert_eq!((failure.class, failure.message.as_str()), expected);
        failure.reached.map(|reached| *reached)
    }

    #[test]
    fn a_run_that_ended_well_counts_however_its_process_ended() {
        for how in [ExitHow::Exited(0), ExitHow::Exited(1), ExitHow::Signaled(9)] {
            let evidence = Evidence { said: Some(Ok(())), cut: None, exit: exit(how), is_program: false };
            assert_eq!(judge(evidence, &resources()), Ok(()));
        }
    }

    #[test]
    fn an_images_program_is_judged_by_its_exit_status() {
        let judged = |how, cut| {
            let evidence = Evidence { said: None, cut, exit: exit(how), is_program: true };
            judge(evidence, &resources()).map_err(|failure| (failure.class, failure.message))
        };
        assert_eq!(judged(ExitHow::Exited(0), None), Ok(()));
        let failed = |words: &str| Err((OutcomeClass::UserError, words.to_owned()));
        assert_eq!(judged(ExitHow::Exited(3), None), failed("the image's program exited with status 3"));
        assert_eq!(judged(ExitHow::Signaled(11), None), failed("killed by signal 11 (SIGSEGV)"));
        let (class, words) = judged(ExitHow::Exited(0), Some(Cut::Timeout(Duration::from_secs(2)))).unwrap_err();
        assert_eq!((class, words.as_str()), (OutcomeClass::Timeout, "did not end within its timeout of 2 s"));
    }

    #[test]
    fn what_the_task_raised_is_its_failure_with_the_class_it_deserves() {
        let done = || exit(ExitHow::Exited(1));
        check(
            raise("ValueError", "shapes differ"),
            None,
            done(),
            (OutcomeClass::UserError, "ValueError: shapes differ"),
        );
        check(raise("mod.MyError", ""), None, done(), (OutcomeClass::UserError, "MyError"));
        check(
            raise("manta.light.errors.DataCorruptionError", "x"),
            None,
            done(),
            (OutcomeClass::Dataset, "DataCorruptionError: x"),
        );
        let failure = judge(
            Evidence { said: raise("ValueError", "x"), cut: None, exit: done(), is_program: false },
            &resources(),
        )
        .unwrap_err();
        assert_eq!((failure.traceback.as_str(), failure.location.as_deref()), ("trace", Some("worker.py:12")));
    }

    #[test]
    fn a_limit_that_the_task_ran_into_is_named_with_the_most_that_was_used() {
        let at = |limit: AttemptLimit, name: &str, exit: Exit, expected: &str| {
            let said =
                raise(name, "no room").map(|said| said.map_err(|error| TaskError { limit: Some(limit), ..error }));
            check(said, None, exit, (OutcomeClass::ResourceLimit, expected)).unwrap()
        };
        let done = || Exit { peak_memory_bytes: 3 << 29, ..exit(ExitHow::Exited(1)) };
        let words = "ran out of memory at its limit of 2 GiB, peak 1.5 GiB (_ArrayMemoryError: no room)";
        let reached = at(AttemptLimit::Memory, "numpy._ArrayMemoryError", done(), words);
        assert_eq!(reached, AttemptLimit::Memory.reached(2 << 30, Some(3 << 29)));
        let words = "its scratch is full at its limit of 1 GiB (OSError: no room)";
        let reached = at(AttemptLimit::Scratch, "OSError", done(), words);
        assert_eq!(reached, AttemptLimit::Scratch.reached(1 << 30, None));
        let words = "its scratch is full at its limit of 100000 files and directories (OSError: no room)";
        let reached = at(AttemptLimit::ScratchFiles, "OSError", done(), words);
        assert_eq!(reached, AttemptLimit::ScratchFiles.reached(100_000, None));
        let words = "could make no more processes or threads at its limit of 256 (BlockingIOError: no room)";
        let reached = at(AttemptLimit::Processes, "BlockingIOError", done(), words);
        assert_eq!(reached, AttemptLimit::Processes.reached(256, None));
        let counted = Exit { pids_limit_hit: true, peak_pids: 256, ..exit(ExitHow::Exited(1)) };
        let reached = check(raise("BlockingIOError", "no room"), None, counted, (OutcomeClass::ResourceLimit, words));
        assert_eq!(reached, Some(AttemptLimit::Processes.reached(256, Some(256))));
        let words = "had no room for more results at its limit of 10000 (ResourceExhaustionError: no room)";
        let reached = at(AttemptLimit::Results, "manta.light.errors.ResourceExhaustionError", done(), words);
        assert_eq!(reached, AttemptLimit::Results.reached(10_000, None));
        let killed = Exit { oom: true, ..done() };
        let words = "ValueError: no room (a process of the task was killed at its memory limit of 2 GiB, peak 1.5 GiB)";
        let reached = check(raise("ValueError", "no room"), None, killed, (OutcomeClass::ResourceLimit, words));
        assert_eq!(reached, Some(AttemptLimit::Memory.reached(2 << 30, Some(3 << 29))));
    }

    #[test]
    fn what_the_node_could_not_do_is_not_the_tasks_failure() {
        let said = raise("MantaError", "the node's disk is full")
            .map(|said| said.map_err(|error| TaskError { is_nodes_fault: true, ..error }));
        let words = "MantaError: the node's disk is full";
        check(said, None, exit(ExitHow::Exited(1)), (OutcomeClass::Platform, words));
    }

    #[test]
    fn a_limit_that_no_task_can_know_of_is_not_believed() {
        let said = raise("ValueError", "x")
            .map(|said| said.map_err(|error| TaskError { limit: Some(AttemptLimit::Time), ..error }));
        let reached = check(said, None, exit(ExitHow::Exited(1)), (OutcomeClass::UserError, "ValueError: x"));
        assert_eq!(reached, None);
    }

    #[test]
    fn a_process_that_died_is_told_by_how_it_died() {
        use OutcomeClass as C;
        check(None, None, exit(ExitHow::Exited(3)), (C::UserError, "exited with status 3 before run() ended"));
        check(None, None, exit(ExitHow::Signaled(11)), (C::UserError, "killed by signal 11 (SIGSEGV)"));
        check(None, None, exit(ExitHow::Lost), (C::Platform, "its sandbox was lost: the launcher ended"));
        let oom = Exit { oom: true, ..exit(ExitHow::Signaled(9)) };
        check(None, None, oom, (C::ResourceLimit, "killed at its memory limit of 2 GiB"));
        let full = Exit { scratch: Some(ScratchLimit::Bytes), ..exit(ExitHow::Signaled(9)) };
        let slow = Some(Cut::Violation("closed its socket and went on".to_owned()));
        let words = "killed: its scratch is full at its limit of 1 GiB";
        check(None, slow, full.clone(), (C::ResourceLimit, words));
        check(None, None, full, (C::ResourceLimit, "killed: its scratch is full at its limit of 1 GiB"));
        let locks = Exit { file_locks_limit_hit: true, ..exit(ExitHow::Signaled(9)) };
        let words = "killed: it held more than 1000 locks on files (fcntl, flock), which is its limit";
        let slow = Some(Cut::Violation("closed its socket and went on".to_owned()));
        check(None, slow, locks.clone(), (C::ResourceLimit, words));
        check(None, None, locks, (C::ResourceLimit, words));
        let pids = Exit { pids_limit_hit: true, ..exit(ExitHow::Exited(1)) };
        let words = "exited with status 1 before run() ended, after its limit of 256 processes and threads was reached";
        check(None, None, pids, (C::ResourceLimit, words));
    }

    #[test]
    fn what_we_cut_short_is_told_by_why() {
        use OutcomeClass as C;
        let killed = || exit(ExitHow::Signaled(9));
        let timeout = Cut::Timeout(Duration::from_millis(1500));
        let reached = check(None, Some(timeout), killed(), (C::Timeout, "did not end within its timeout of 1.5 s"));
        assert_eq!(reached, Some(AttemptLimit::Time.reached(1500, None)));
        let cut_off = Cut::Disconnected(Duration::from_secs(30));
        check(None, Some(cut_off), killed(), (C::LostNode, "stopped: the node was cut off from the manager for 30 s"));
        let garbage = Cut::Violation("sent a frame larger than 4 MiB".to_owned());
        let words = "the task sent a frame larger than 4 MiB, which breaks the protocol with its node";
        check(None, Some(garbage), killed(), (C::UserError, words));
    }
}
