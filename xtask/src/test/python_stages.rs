//! The stages that check the Python code, the wheel, and the platform from outside.

use super::{skips, Session};
use crate::command::{clean, command, output, run};
use crate::failure::Failure;
use crate::say;
use crate::toolchain::cargo;
use crate::venv::{make_bare, pip_settings};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

impl Session<'_> {
    /// `python -m module …` with the environment's Python, in the checkout's root.
    fn module(&self, module: &str) -> Result<Command, Failure> {
        let mut command = command(self.checkout, self.python()?);
        command.args(["-m", module]);
        self.describe(&mut command);
        Ok(command)
    }

    fn pytest(&mut self, folder: &str) -> Result<(), Failure> {
        let report = self.checkout.scratch("reports")?.join(format!("{}.xml", folder.replace('/', "-")));
        if report.exists() {
            fs::remove_file(&report).map_err(|error| Failure::io(format!("remove `{}`", report.display()), &error))?;
        }
        let mut pytest = self.module("pytest")?;
        let mut junit = OsStr::new("--junit-xml=").to_os_string();
        junit.push(&report);
        pytest.args([folder, "-rs"]).arg(junit).args(&self.extra);
        let result = run(&mut pytest, "pytest");
        self.skips.extend(skips::of_pytest(&fs::read_to_string(&report).unwrap_or_default()));
        result
    }
}

pub(super) fn ruff(session: &mut Session<'_>) -> Result<(), Failure> {
    run(session.module("ruff")?.arg("check").args(&session.extra), "ruff check")?;
    run(session.module("ruff")?.args(["format", "--check"]), "ruff format")
        .map_err(|failure| failure.hint("`.venv/bin/python -m ruff format` lays it out"))
}

pub(super) fn mypy(session: &mut Session<'_>) -> Result<(), Failure> {
    run(session.module("mypy")?.args(&session.extra), "mypy")
}

pub(super) fn pytest(session: &mut Session<'_>) -> Result<(), Failure> {
    session.pytest("python/tests")
}

pub(super) fn docs(session: &mut Session<'_>) -> Result<(), Failure> {
    session.pytest("tests/docs")
}

pub(super) fn e2e(session: &mut Session<'_>) -> Result<(), Failure> {
    session.pytest("tests/e2e")
}

pub(super) fn spec(session: &mut Session<'_>) -> Result<(), Failure> {
    session.pytest("tests/spec")
}

pub(super) fn security(session: &mut Session<'_>) -> Result<(), Failure> {
    session.pytest("tests/security")
}

/// Builds the wheel as users get it but for the time that optimising takes, installs it where nothing else is, and runs both of its halves.
pub(super) fn wheel(session: &mut Session<'_>) -> Result<(), Failure> {
    let wheel = build_wheel(session)?;
    let dir = session.checkout.scratch("wheel")?.join("environment");
    let python = make_bare(session.checkout, session.python()?, &dir)?;
    let mut install = session.module("pip")?;
    install.arg("--python").arg(&python).args(["install", "--quiet", "--no-index", "--no-deps"]).arg(&wheel);
    pip_settings(&mut install);
    run(&mut install, "installing the wheel")?;
    for (program, arguments) in [
        (dir.join("bin/manta"), vec!["--version"]),
        (
            python,
            vec![
                "-I",
                "-c",
                "import manta, manta.apis, manta.light; print('manta', manta.__version__, 'in', manta.__path__[0])",
            ],
        ),
    ] {
        let mut installed = Command::new(&program);
        clean(&mut installed);
        installed.current_dir(&dir).args(arguments);
        let printed = output(&mut installed, &format!("the wheel's `{}`", program.display()))?;
        say::note(String::from_utf8_lossy(&printed).trim_end());
    }
    Ok(())
}

fn build_wheel(session: &Session<'_>) -> Result<PathBuf, Failure> {
    let out = session.checkout.scratch("wheel")?.join("dist");
    if out.exists() {
        fs::remove_dir_all(&out).map_err(|error| Failure::io(format!("remove `{}`", out.display()), &error))?;
    }
    let mut maturin = session.module("maturin")?;
    if let Some((_, Some(home))) = cargo(session.checkout).get_envs().find(|(name, _)| *name == "CARGO_HOME") {
        maturin.env("CARGO_HOME", home);
    }
    run(maturin.args(["build", "--profile", "unoptimised", "--locked", "--out"]).arg(&out), "maturin build")?;
    only_wheel(&out)
}

fn only_wheel(dir: &Path) -> Result<PathBuf, Failure> {
    let mut wheels: Vec<PathBuf> = fs::read_dir(dir)
        .map_err(|error| Failure::io(format!("read `{}`", dir.display()), &error))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().map_or(false, |extension| extension == "whl"))
        .collect();
    match (wheels.pop(), wheels.is_empty()) {
        (Some(wheel), true) => Ok(wheel),
        _ => Err(Failure::new(format!("maturin left not one wheel in `{}`", dir.display()))),
    }
}
