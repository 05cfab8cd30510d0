//! `cargo xtask bench …`: measures, and prints rows beside their aims. It never fails for a figure.
#![forbid(unsafe_code)]

mod demo;
mod engine;
mod fleet;
mod manager;
mod module;
mod modules;
mod node;
mod processes;
mod registry;
mod report;
mod samples;
mod sandbox;

use std::process::ExitCode;

use anyhow::{Result, bail};

use self::report::Report;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    let json = arguments.iter().any(|argument| argument == "--json");
    let names: Vec<_> = arguments.iter().filter(|argument| *argument != "--json").map(String::as_str).collect();
    let mut report = Report::begin(json);
    match names.as_slice() {
        ["demo"] => report.add(demo::measure()?),
        ["modules"] => {
            report.add(modules::layers()?);
            report.add(registry::measure()?);
        }
        ["modules", "layers"] => report.add(modules::layers()?),
        ["modules", "registry"] => report.add(registry::measure()?),
        ["sandbox"] => {
            sandbox::starts(&mut report)?;
            report.add(sandbox::probes()?);
        }
        ["sandbox", "probes"] => report.add(sandbox::probes()?),
        ["sandbox", "starts"] => sandbox::starts(&mut report)?,
        ["engine", rest @ ..] => engine::measure(&mut report, rest)?,
        ["fleet", rest @ ..] => fleet::measure(&mut report, rest)?,
        other => bail!(
            "there is no bench `{}`; `demo`, `engine`, `fleet`, `modules`, `modules layers`, `modules registry`, `sandbox`, `sandbox probes` and `sandbox starts` are there",
            other.join(" ")
        ),
    }
    report.end()
}
