//! The checkout's Python environment, `.venv`: made once, checked in milliseconds, and never from the network again.
//!
//! Everything in it is pinned with hashes in `python/requirements-*.txt`. It is always used as `.venv/bin/python -m …`:
//! its scripts carry absolute paths in their first line, which break with spaces in the path.

use crate::bootstrap_pip::{self, PINNED};
use crate::checkout::Checkout;
use crate::command::{command, on_path, quiet_output, run};
use crate::failure::Failure;
use crate::interpreter::{self, Interpreter};
use crate::say;
use crate::setup_lock::SetupLock;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// Says that a `.venv` is ours to replace.
const MARKER: &str = "made-by-cargo-xtask";

/// Which of the pinned sets the environment must hold.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packages {
    /// What `manta demo` computes with.
    Demo,
    /// That, and what checks, tests and packs the Python code.
    Dev,
}

impl Packages {
    fn requirements(self) -> &'static str {
        match self {
            Self::Demo => "python/requirements-demo.txt",
            Self::Dev => "python/requirements-dev.txt",
        }
    }

    fn stamp(self) -> &'static str {
        match self {
            Self::Demo => "set-up-demo",
            Self::Dev => "set-up-dev",
        }
    }

    fn purpose(self) -> &'static str {
        match self {
            Self::Demo => "numpy for the demo",
            Self::Dev => "numpy and the tools that check, test and pack the Python code",
        }
    }
}

/// Returns the environment's Python, after making or completing the environment where it is not as pinned.
pub(crate) fn ready(checkout: &Checkout, packages: Packages) -> Result<PathBuf, Failure> {
    let venv = Venv { checkout, dir: checkout.path(".venv") };
    if venv.is_ready(packages)? {
        return Ok(venv.python());
    }
    let _lock = SetupLock::take(checkout)?;
    if venv.is_ready(packages)? {
        return Ok(venv.python());
    }
    let started = Instant::now();
    venv.set_up(packages)?;
    say::note(format!("the Python environment is ready ({})", say::took(started.elapsed())));
    Ok(venv.python())
}

struct Venv<'a> {
    checkout: &'a Checkout,
    dir: PathBuf,
}

impl Venv<'_> {
    fn python(&self) -> PathBuf {
        self.dir.join("bin/python")
    }

    /// The release of the environment's Python, if it runs: `3.11`.
    fn release(&self) -> Option<String> {
        let script = "import sys; print('%d.%d' % sys.version_info[:2])";
        let printed = quiet_output(command(self.checkout, self.python()).args(["-I", "-c", script]))?;
        Some(printed.trim().to_string())
    }

    /// What the stamp says of an environment that is as pinned.
    fn expected_stamp(&self, packages: Packages, release: &str) -> Result<String, Failure> {
        let pinned = [PINNED, packages.requirements()].map(|file| self.checkout.read(file));
        let [pip, rest] = pinned;
        Ok(format!("python {release}\n{}{}", pip?, rest?))
    }

    fn is_ready(&self, packages: Packages) -> Result<bool, Failure> {
        let release = match self.release() {
            Some(release) => release,
            None => return Ok(false),
        };
        // The set for development holds the one for the demo.
        for set in [packages, Packages::Dev] {
            let stamp = fs::read_to_string(self.dir.join(set.stamp())).unwrap_or_default();
            if stamp == self.expected_stamp(set, &release)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn set_up(&self, packages: Packages) -> Result<(), Failure> {
        say::step(format!("setting up Python in .venv: {}", packages.purpose()));
        if !self.was_completed() {
            self.make()?;
        }
        self.install(packages).map_err(|failure| {
            failure
                .hint_unless_any("the first set-up needs the network, later ones do not; what was refused stands above")
        })?;
        self.show_checkout()?;
        let release = self.release().ok_or_else(|| Failure::new("the Python in `.venv` does not run"))?;
        self.write(packages.stamp(), &self.expected_stamp(packages, &release)?)
    }

    /// Whether a set-up for the environment's present Python once ended well, so that another can add to it.
    fn was_completed(&self) -> bool {
        let first_line = self.release().map(|release| format!("python {release}\n"));
        [Packages::Demo, Packages::Dev].iter().any(|set| {
            let stamp = fs::read_to_string(self.dir.join(set.stamp())).unwrap_or_default();
            first_line.as_ref().map_or(false, |first_line| stamp.starts_with(first_line))
        })
    }

    /// Makes the environment anew, without any package.
    fn make(&self) -> Result<(), Failure> {
        let base = Interpreter::find()?;
        self.clear()?;
        say::note(format!("with Python {} ({})", base.version_text(), base.path.display()));
        if base.has_venv {
            let mut make = command(self.checkout, &base.path);
            run(make.args(["-I", "-m", "venv", "--without-pip"]).arg(&self.dir), "making the virtual environment")?;
        } else if let Some(uv) = on_path("uv") {
            let mut make = command(self.checkout, uv);
            make.args(["venv", "--quiet", "--allow-existing", "--no-project", "--python"])
                .arg(&base.path)
                .arg(&self.dir);
            run(&mut make, "making the virtual environment with uv")?;
        } else {
            return Err(Failure::new(format!("`{}` cannot make virtual environments", base.path.display()))
                .hint("install uv, or on Debian and Ubuntu `python3-venv`, and run this again"));
        }
        Ok(())
    }

    /// Removes an environment of ours, and leaves a marked, empty directory. Another's is not touched.
    fn clear(&self) -> Result<(), Failure> {
        if self.dir.exists() {
            if !self.dir.join(MARKER).is_file() {
                return Err(Failure::new("`.venv` was not made by `cargo xtask`, which would have to replace it")
                    .hint("move it out of the checkout and run this again"));
            }
            fs::remove_dir_all(&self.dir).map_err(|error| Failure::io("remove the old `.venv`", &error))?;
        }
        fs::create_dir_all(&self.dir).map_err(|error| Failure::io("make `.venv`", &error))?;
        self.write(MARKER, "`cargo xtask` made this directory and may replace it at any time.\n")
    }

    fn install(&self, packages: Packages) -> Result<(), Failure> {
        let lists = ["--requirement", PINNED, "--requirement", packages.requirements()];
        if let Some(uv) = on_path("uv") {
            let mut install = command(self.checkout, uv);
            // Tasks see the environment read-only: what is not compiled now would be compiled at every start of a task.
            install.args(["pip", "install", "--compile-bytecode"]);
            install.args(["--require-hashes", "--only-binary=:all:"]).args(lists);
            match run(install.arg("--python").arg(self.python()), "uv pip install") {
                Ok(()) => return Ok(()),
                Err(_) => say::note("uv could not install the packages: trying pip"),
            }
        }
        self.ensure_pip()?;
        let mut install = command(self.checkout, self.python());
        install.args(["-m", "pip", "install", "--require-hashes", "--only-binary=:all:"]).args(lists);
        pip_settings(&mut install);
        run(&mut install, "installing Python packages with pip")
    }

    /// Sees to it that the environment has a pip: its Python's own, or else the pinned wheel.
    fn ensure_pip(&self) -> Result<(), Failure> {
        let python = self.python();
        if quiet_output(command(self.checkout, &python).args(["-I", "-m", "pip", "--version"])).is_some() {
            return Ok(());
        }
        let base = interpreter::probe(&python).ok_or_else(|| Failure::new("the Python in `.venv` does not run"))?;
        if base.has_ensurepip {
            let mut ensure = command(self.checkout, &python);
            return run(ensure.args(["-I", "-m", "ensurepip", "--default-pip"]).stdout(Stdio::null()), "ensurepip");
        }
        bootstrap_pip::install(self.checkout, &base, &python)
    }

    /// Puts the checkout's `python/` on the environment's path. Relative, so that neither spaces nor a move of the checkout matter.
    fn show_checkout(&self) -> Result<(), Failure> {
        let script = "import sysconfig; print(sysconfig.get_path('purelib'))";
        let printed = quiet_output(command(self.checkout, self.python()).args(["-I", "-c", script]))
            .ok_or_else(|| Failure::new("the Python in `.venv` does not run"))?;
        let packages = PathBuf::from(printed.trim_end_matches('\n'));
        let depth = packages.strip_prefix(&self.dir).map(|inside| inside.components().count()).unwrap_or(3);
        let up = "../".repeat(depth + 1);
        let file = packages.join("manta-checkout.pth");
        fs::write(&file, format!("{up}python\n"))
            .map_err(|error| Failure::io(format!("write `{}`", file.display()), &error))
    }

    fn write(&self, name: &str, text: &str) -> Result<(), Failure> {
        fs::write(self.dir.join(name), text).map_err(|error| Failure::io(format!("write `.venv/{name}`"), &error))
    }
}

/// Settings of the user's pip that would send packages elsewhere than into the environment are taken out.
/// Where pip finds packages stays as the user has configured it.
pub(crate) fn pip_settings(command: &mut Command) {
    for name in ["PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_REQUIREMENT", "PIP_CONSTRAINT", "PIP_PYTHON"] {
        command.env_remove(name);
    }
    command.env("PIP_USER", "0").env("PIP_REQUIRE_VIRTUALENV", "0").env("PIP_NO_INPUT", "1");
    command.env("PIP_DISABLE_PIP_VERSION_CHECK", "1");
}

/// Makes an empty virtual environment in `dir` with the same Python as the checkout's.
pub(crate) fn make_bare(checkout: &Checkout, python: &Path, dir: &Path) -> Result<PathBuf, Failure> {
    let mut make = command(checkout, python);
    run(make.args(["-I", "-m", "venv", "--without-pip", "--clear"]).arg(dir), "making a virtual environment")?;
    Ok(dir.join("bin/python"))
}
