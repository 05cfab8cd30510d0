//! `cargo xtask bench …`: measures, and prints rows beside their aims. It never fails for a figure.
#![forbid(unsafe_code)]

mod demo;
mod processes;

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
        other => bail!("there is no bench `{}`; `demo` is one", other.join(" ")),
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
    println!("{:<46} {:>9} {:<4} {:>9} {:>6}  versus", "name", "value", "unit", "aim", "met");
    for row in &document.rows {
        let Row { name, value, unit, versus, ratio, aim, met } = row;
        let aim = aim.map(|aim| format!("{aim}")).unwrap_or_default();
        let met = met.map_or("", |met| if met { "yes" } else { "no" });
        let ratio = ratio.map(|ratio| format!("{ratio:.2} × {versus}")).unwrap_or_default();
        println!("{name:<46} {value:>9.1} {unit:<4} {aim:>9} {met:>6}  {ratio}");
    }
    Ok(())
}
