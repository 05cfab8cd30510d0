//! `cargo xtask fuzz zip|manifest`: gives damaged and invented input to what reads modules of others, for as long as it is told.
//!
//! Each input is made of one that is known. It has to end well or with an error, within a second; what is read has to be what
//! every other reader sees. An input that ends in a way not seen before is kept, and others are made of it. The corpus, the
//! counts and what was found stay in a folder: the next run goes on there. The exit code is 1 where anything was found.
#![forbid(unsafe_code)]

mod manifest;
mod run;
mod zip;

use std::path::PathBuf;
use std::process::ExitCode;

use run::{Run, Target};

/// What was asked for on the command line.
struct Arguments {
    target: &'static dyn Target,
    seconds: f64,
    inputs: u64,
    seed: u64,
    corpus: PathBuf,
    json: bool,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let target: &'static dyn Target = match words.next().as_deref() {
            Some("zip") => &zip::Zip,
            Some("manifest") => &manifest::Manifest,
            other => return Err(format!("`{}` is no target; zip and manifest are", other.unwrap_or_default())),
        };
        let corpus = PathBuf::from("target/fuzz").join(target.name());
        let mut parsed = Self { target, seconds: 60.0, inputs: u64::MAX, seed: 1, corpus, json: false };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("`{word}` needs a value"));
            match word.as_str() {
                "--seconds" => parsed.seconds = number(&word, &value()?)?,
                "--inputs" => parsed.inputs = number(&word, &value()?)?,
                "--seed" => parsed.seed = number(&word, &value()?)?,
                "--corpus" => parsed.corpus = value()?.into(),
                "--json" => parsed.json = true,
                _ => {
                    let known = "--seconds S, --inputs N, --seed N, --corpus DIR and --json are";
                    return Err(format!("`{word}` is no argument; {known}"));
                }
            }
        }
        Ok(parsed)
    }
}

fn number<T: std::str::FromStr>(word: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{word}` needs a number, and `{text}` is none"))
}

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(problem) => {
            eprintln!("error: {problem}");
            return ExitCode::from(2);
        }
    };
    // A panic is a finding, and told as one.
    std::panic::set_hook(Box::new(|_| {}));
    let Arguments { target, seconds, inputs, seed, corpus, json } = arguments;
    let told = Run::open(target, &corpus).and_then(|mut run| {
        run.work(seed, seconds, inputs)?;
        run.told(seed)
    });
    match told {
        Ok(told) => {
            if json {
                println!("{}", told.to_json());
            } else {
                println!("{told}");
            }
            if told.found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("error: the corpus in `{}` cannot be used: {error}", corpus.display());
            ExitCode::from(2)
        }
    }
}
