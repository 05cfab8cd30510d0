//! The stages of `cargo xtask test`, in the order in which they run.

use super::{python_stages, rust_stages, Session};
use crate::chaos;
use crate::failure::Failure;
use crate::fuzz;

/// One stage: its name on the command line, what it does, and what must be there first.
pub(super) struct Stage {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) needs: Needs,
    pub(super) run: fn(&mut Session<'_>) -> Result<(), Failure>,
}

/// What a stage uses that has to be made first.
pub(super) struct Needs {
    /// The Python environment with the development tools.
    pub(super) python: bool,
    /// The demo's data.
    pub(super) digits: bool,
    /// The `manta` binary, for tests.
    pub(super) binary: bool,
}

const NOTHING: Needs = Needs { python: false, digits: false, binary: false };
const PYTHON: Needs = Needs { python: true, digits: false, binary: false };
const BINARY: Needs = Needs { python: true, digits: false, binary: true };
const EVERYTHING: Needs = Needs { python: true, digits: true, binary: true };

/// How many of [`ALL`], from the first, `--quick` runs.
const QUICK: usize = 7;

pub(super) const ALL: [Stage; 17] = [
    Stage { name: "tidy", about: "layout, sizes and layers", needs: NOTHING, run: rust_stages::tidy },
    Stage { name: "fmt", about: "rustfmt finds nothing to change", needs: NOTHING, run: rust_stages::fmt },
    Stage { name: "clippy", about: "lints, warnings are errors", needs: NOTHING, run: rust_stages::clippy },
    Stage { name: "build", about: "binaries and tests compile", needs: NOTHING, run: rust_stages::build },
    Stage { name: "generated", about: "generated files are up to date", needs: BINARY, run: rust_stages::generated },
    Stage { name: "nextest", about: "the Rust tests", needs: EVERYTHING, run: rust_stages::nextest },
    Stage {
        name: "doctests",
        about: "the examples in the Rust documentation",
        needs: NOTHING,
        run: rust_stages::doctests,
    },
    Stage { name: "ruff", about: "lints and layout of the Python code", needs: PYTHON, run: python_stages::ruff },
    Stage { name: "mypy", about: "types of the Python code", needs: PYTHON, run: python_stages::mypy },
    Stage { name: "pytest", about: "the Python tests", needs: EVERYTHING, run: python_stages::pytest },
    Stage { name: "fuzz", about: "damaged values, for a minute", needs: PYTHON, run: fuzz_values },
    Stage { name: "wheel", about: "the wheel builds, installs and runs", needs: PYTHON, run: python_stages::wheel },
    Stage { name: "docs", about: "links, commands and snippets of all pages", needs: BINARY, run: python_stages::docs },
    Stage { name: "e2e", about: "whole clusters of real processes", needs: EVERYTHING, run: python_stages::e2e },
    Stage { name: "spec", about: "every claim of the specification", needs: EVERYTHING, run: python_stages::spec },
    Stage { name: "security", about: "attacks from inside a task", needs: EVERYTHING, run: python_stages::security },
    Stage { name: "chaos", about: "faults under real processes, the short form", needs: PYTHON, run: chaos },
];

/// What the stage draws its faults from: always the same, so that a failure is met again. `cargo xtask chaos` draws anew.
const CHAOS_SEED: &str = "20261125";

/// Every suite of faults, in its short form.
fn chaos(session: &mut Session<'_>) -> Result<(), Failure> {
    let chaos = chaos::build(session.checkout)?;
    // The last seed that is named counts.
    let mut arguments = vec!["--seed".to_owned(), CHAOS_SEED.to_owned()];
    arguments.extend(session.extra.iter().cloned());
    for line in chaos.run(session.checkout, session.python()?, &arguments)? {
        let (suite, lack) = line.split_once(": skipped: ").unwrap_or((&line, "what it did not say"));
        session.skips.suite(suite, lack);
    }
    Ok(())
}

/// The decoder of values, from a seed of its own and on a corpus that is kept for the next time.
fn fuzz_values(session: &mut Session<'_>) -> Result<(), Failure> {
    let mut arguments = vec!["--seconds".to_owned(), "60".to_owned()];
    arguments.extend(session.extra.iter().cloned());
    fuzz::values(session.checkout, session.python()?, &arguments)
}

/// The stages in the help: a line each.
pub(super) fn list() -> String {
    let line = |(at, stage): (usize, &Stage)| {
        let quick = if at < QUICK { "quick" } else { "" };
        format!("  {:<10} {quick:<6} {}", stage.name, stage.about)
    };
    ALL.iter().enumerate().map(line).collect::<Vec<_>>().join("\n")
}

/// The stages that the words name, always in the order of [`ALL`].
pub(super) fn select(words: &[String]) -> Result<Vec<&'static Stage>, Failure> {
    let quick = words.iter().any(|word| word == "--quick");
    let named: Vec<&str> = words.iter().map(String::as_str).filter(|word| *word != "--quick").collect();
    if let Some(unknown) = named.iter().find(|word| !ALL.iter().any(|stage| stage.name == **word)) {
        return Err(
            Failure::usage(format!("there is no stage `{unknown}`")).hint("`cargo xtask test --list` lists them")
        );
    }
    if quick && !named.is_empty() {
        return Err(Failure::usage("`--quick` and names of stages exclude each other"));
    }
    let chosen = |at: usize, stage: &Stage| match (quick, named.is_empty()) {
        (true, _) => at < QUICK,
        (false, true) => true,
        (false, false) => named.contains(&stage.name),
    };
    Ok(ALL.iter().enumerate().filter(|(at, stage)| chosen(*at, stage)).map(|(_, stage)| stage).collect())
}

#[cfg(test)]
mod tests {
    use super::select;

    fn check(words: &[&str], expected: &[&str]) {
        let words: Vec<String> = words.iter().map(|word| word.to_string()).collect();
        let found: Vec<&str> = select(&words).expect("the words are valid").iter().map(|stage| stage.name).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn named_stages_run_in_the_usual_order() {
        check(&["e2e", "pytest"], &["pytest", "e2e"]);
    }

    #[test]
    fn quick_is_the_first_half() {
        check(&["--quick"], &["tidy", "fmt", "clippy", "build", "generated", "nextest", "doctests"]);
    }

    #[test]
    fn unknown_stages_are_refused() {
        assert!(select(&["lint".to_string()]).is_err());
    }
}
