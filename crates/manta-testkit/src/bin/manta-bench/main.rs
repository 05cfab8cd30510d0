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
mod samples;
mod sandbox;

use std::process::ExitCode;

use anyhow::{Result, bail};
use manta_testkit::bench::{Document, Machine, Row};

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
    let machine = Machine::read();
    let rows = match names.as_slice() {
        ["demo"] => demo::measure()?,
        ["modules"] => [modules::layers()?, registry::measure()?].concat(),
        ["modules", "layers"] => modules::layers()?,
        ["sandbox"] => [sandbox::starts()?, sandbox::probes()?].concat(),
        ["sandbox", "probes"] => sandbox::probes()?,
        ["sandbox", "starts"] => sandbox::starts()?,
        ["modules", "registry"] => registry::measure()?,
        ["engine", rest @ ..] => engine::measure(rest)?,
        ["fleet", rest @ ..] => fleet::measure(rest)?,
        other => bail!(
            "there is no bench `{}`; `demo`, `engine`, `fleet`, `modules`, `modules layers`, `modules registry`, `sandbox`, `sandbox probes` and `sandbox starts` are there",
            other.join(" ")
        ),
    };
    print(Document { schema_version: 1, machine, rows }, json)
}

fn print(document: Document, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(&document)?);
        return Ok(());
    }
    let Machine { cores, memory_bytes, kernel, load } = &document.machine;
    println!("{cores} cores, {} GiB, Linux {kernel}, load {load} before the run", memory_bytes >> 30);
    println!("{:<56} {:>10} {:<4} {:>8} {:>4}  versus", "name", "value", "unit", "aim", "met");
    for row in &document.rows {
        let Row { name, value, unit, versus, ratio, aim, met } = row;
        let aim = aim.map(figure).unwrap_or_default();
        let met = met.map_or("", |met| if met { "yes" } else { "no" });
        let ratio = ratio.map(|ratio| format!("{ratio:.2} × {versus}")).unwrap_or_default();
        println!("{name:<56} {:>10} {unit:<4} {aim:>8} {met:>4}  {ratio}", figure(*value));
    }
    Ok(())
}

/// As many digits as mean something.
fn figure(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
