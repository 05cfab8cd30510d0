//! The stages that check the Rust code: the workspace's and that of these chores.

use super::{skips, Session};
use crate::binary::{self, Build};
use crate::command::{cannot_start, ending, run};
use crate::failure::Failure;
use crate::toolchain::{cargo, has};
use crate::{generated as generated_files, say, tidy as tidy_checks};
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

/// These chores are a workspace of their own.
const OWN: [&str; 2] = ["--manifest-path", "xtask/Cargo.toml"];
const NEXTEST_REPORT: &str = "nextest/default/junit.xml";

pub(super) fn tidy(session: &mut Session<'_>) -> Result<(), Failure> {
    tidy_checks::run(session.checkout, &[])
}

pub(super) fn fmt(session: &mut Session<'_>) -> Result<(), Failure> {
    if !has(session.checkout, "fmt") {
        session.skips.stage("fmt", "rustfmt is not installed: `rustup component add rustfmt`");
        return Ok(());
    }
    run(cargo(session.checkout).args(["fmt", "--all", "--", "--check"]), "cargo fmt")
        .and_then(|()| run(cargo(session.checkout).arg("fmt").args(OWN).args(["--", "--check"]), "cargo fmt"))
        .map_err(|failure| {
            failure.hint("`cargo fmt --all` lays it out; for xtask add `--manifest-path xtask/Cargo.toml`")
        })
}

pub(super) fn clippy(session: &mut Session<'_>) -> Result<(), Failure> {
    if !has(session.checkout, "clippy") {
        session.skips.stage("clippy", "clippy is not installed: `rustup component add clippy`");
        return Ok(());
    }
    let strict = ["--locked", "--all-targets", "--", "--deny", "warnings"];
    run(cargo(session.checkout).args(["clippy", "--workspace"]).args(strict), "cargo clippy")?;
    run(cargo(session.checkout).arg("clippy").args(OWN).args(strict), "cargo clippy")
}

pub(super) fn build(session: &mut Session<'_>) -> Result<(), Failure> {
    session.manta = Some(binary::build(session.checkout, Build::Tests)?);
    Ok(())
}

pub(super) fn generated(session: &mut Session<'_>) -> Result<(), Failure> {
    generated_files::check(session.checkout, session.manta()?, session.python()?)
}

pub(super) fn nextest(session: &mut Session<'_>) -> Result<(), Failure> {
    let checkout = session.checkout;
    if session.extra.is_empty() {
        run(cargo(checkout).args(["test", "--quiet", "--locked"]).args(OWN), "testing xtask")?;
    }
    if !has(checkout, "nextest") {
        say::note("cargo-nextest is not installed: `cargo test` runs the same tests, slower");
        say::note("(`cargo install --locked cargo-nextest` brings it)");
        return cargo_test(session);
    }
    let mut nextest = cargo(checkout);
    nextest.args(["nextest", "run", "--locked"]).args(&session.extra);
    session.describe(&mut nextest);
    let result = run(&mut nextest, "cargo nextest");
    if let Some(target) = session.manta()?.parent().and_then(|profile| profile.parent()) {
        let report = fs::read_to_string(target.join(NEXTEST_REPORT)).unwrap_or_default();
        session.skips.extend(skips::of_nextest(&report));
    }
    result
}

/// The same tests under cargo's own runner, whose output is read for what was skipped.
fn cargo_test(session: &mut Session<'_>) -> Result<(), Failure> {
    let mut test = cargo(session.checkout);
    test.args(["test", "--locked", "--lib", "--bins", "--tests"]).args(&session.extra);
    test.args(["--", "--show-output"]);
    session.describe(&mut test);
    let mut child =
        test.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(|error| cannot_start(&test, &error))?;
    let mut text = String::new();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line.map_err(|error| Failure::io("read what cargo prints", &error))?;
            println!("{line}");
            text.push_str(&line);
            text.push('\n');
        }
    }
    let status = child.wait().map_err(|error| Failure::io("wait for cargo", &error))?;
    session.skips.extend(skips::of_cargo_test(&text));
    if status.success() {
        return Ok(());
    }
    Err(Failure::new(format!("cargo test {}", ending(status))))
}

pub(super) fn doctests(session: &mut Session<'_>) -> Result<(), Failure> {
    run(
        cargo(session.checkout).args(["test", "--workspace", "--locked", "--doc"]).args(&session.extra),
        "cargo test --doc",
    )
}
