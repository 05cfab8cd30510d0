//! What the command line asks for.
use anyhow::{Context as _, Result, bail};

/// How to call it.
pub(crate) const HELP: &str = "\
Usage: cargo xtask chaos [--short | --long] [--seed N] [--json] [--report] [suite ...]

  --short    every suite and every crash point, in minutes (the default)
  --long     each crash point many times, 1000 random kills of the manager and 1000 of agents
  --seed N   what chance is drawn from; drawn anew, and printed, without it
  --json     the figures as one JSON document
  --report   the figures also as a page in docs/reports/

Without suites, all run. The suites:";

/// How much is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// For every change.
    Short,
    /// By command.
    Long,
}

/// What a suite is told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) form: Form,
    pub(crate) seed: u64,
}

impl Plan {
    /// One number for the short form, another for the long one.
    pub(crate) fn count<T>(&self, short: T, long: T) -> T {
        match self.form {
            Form::Short => short,
            Form::Long => long,
        }
    }
}

/// All of it.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) form: Form,
    pub(crate) seed: u64,
    pub(crate) json: bool,
    pub(crate) report: bool,
    pub(crate) suites: Vec<String>,
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Asked {
    Help,
    Run(Options),
}

impl Options {
    /// Reads the arguments.
    ///
    /// # Errors
    /// For a flag that is not there, or a seed that is no number.
    pub(crate) fn read(arguments: &[String]) -> Result<Asked> {
        let mut options =
            Self { form: Form::Short, seed: fresh_seed(), json: false, report: false, suites: Vec::new() };
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--help" | "-h" => return Ok(Asked::Help),
                "--short" => options.form = Form::Short,
                "--long" => options.form = Form::Long,
                "--json" => options.json = true,
                "--report" => options.report = true,
                "--seed" => {
                    let text = words.next().context("`--seed` needs a number after it")?;
                    options.seed =
                        text.parse().with_context(|| format!("`{text}` is no seed: a whole number is needed"))?;
                }
                flag if flag.starts_with('-') => bail!("there is no option `{flag}`; `--help` lists them"),
                suite => options.suites.push(suite.to_owned()),
            }
        }
        Ok(Asked::Run(options))
    }

    pub(crate) fn plan(&self) -> Plan {
        Plan { form: self.form, seed: self.seed }
    }

    /// The command that makes the same choices again.
    pub(crate) fn command(&self) -> String {
        let form = if self.form == Form::Short { "--short" } else { "--long" };
        let mut words = vec!["cargo xtask chaos".to_owned(), form.to_owned(), format!("--seed {}", self.seed)];
        words.extend(self.suites.iter().cloned());
        words.join(" ")
    }
}

/// A seed that differs from run to run: every new `RandomState` has keys of its own.
fn fresh_seed() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(std::process::id()) >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Options> {
        match Options::read(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())? {
            Asked::Run(options) => Ok(options),
            Asked::Help => bail!("help"),
        }
    }

    #[test]
    fn the_command_that_is_printed_makes_the_same_choices() {
        let options = read("--long pauses --seed 7").unwrap();
        assert_eq!(options.command(), "cargo xtask chaos --long --seed 7 pauses");
        assert_eq!(
            read(options.command().strip_prefix("cargo xtask chaos").unwrap()).unwrap().command(),
            options.command()
        );
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        assert!(read("--fast").unwrap_err().to_string().contains("`--fast`"));
        assert!(read("--seed many").unwrap_err().to_string().contains("`many`"));
        assert!(read("--seed").is_err());
    }
}
