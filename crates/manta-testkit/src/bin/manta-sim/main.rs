//! `cargo xtask sim`: runs seeds of the simulated cluster, and says how to see a failure again.
#![forbid(unsafe_code)]

mod arguments;
mod report;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use manta_testkit::sim::{Failure, KEPT_SEEDS, Options, run};

use arguments::Arguments;
use report::Totals;

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(problem) => {
            eprintln!("error: {problem}");
            return ExitCode::from(2);
        }
    };
    // What a run panics with is part of its failure.
    if std::env::var_os("RUST_BACKTRACE").is_none() {
        std::panic::set_hook(Box::new(|_| {}));
    }
    let (totals, failures) = simulate(&arguments);
    for failure in &failures {
        eprintln!("{failure}\n");
    }
    totals.print(&arguments, &failures);
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs the kept seeds and then all others that were asked for, on several threads; stops at the first failures.
fn simulate(arguments: &Arguments) -> (Totals, Vec<Failure>) {
    let started = Instant::now();
    let due = arguments.minutes.map(|minutes| Duration::from_secs_f64(minutes * 60.0));
    let is_over = || due.is_some_and(|due| started.elapsed() >= due);
    let kept: Vec<u64> = KEPT_SEEDS.iter().map(|kept| kept.seed).collect();
    let (next, found) = (AtomicU64::new(0), AtomicBool::new(false));
    let (totals, failures) = (Mutex::new(Totals::default()), Mutex::new(Vec::new()));
    let work = || {
        while !found.load(Ordering::Relaxed) && !is_over() {
            let Some(seed) = arguments.seed_of(next.fetch_add(1, Ordering::Relaxed), &kept) else { return };
            match run(seed, Options::draw(seed), arguments.bug) {
                Ok(outcome) => totals.lock().unwrap_or_else(PoisonError::into_inner).add(&outcome),
                Err(failure) => {
                    found.store(true, Ordering::Relaxed);
                    failures.lock().unwrap_or_else(PoisonError::into_inner).push(*failure);
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..arguments.jobs {
            scope.spawn(work);
        }
    });
    let mut totals = totals.into_inner().unwrap_or_else(PoisonError::into_inner);
    totals.took = started.elapsed();
    (totals, failures.into_inner().unwrap_or_else(PoisonError::into_inner))
}
