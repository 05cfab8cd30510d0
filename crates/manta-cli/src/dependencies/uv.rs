//! uv, the resolver: found, asked, and its words kept for people.
use std::path::{Path, PathBuf};
use std::process::Stdio;

use manta_module::Lock;
use manta_types::{Library, Platform};
use tokio::process::Command;

use super::{Network, Task};
use crate::connection::variable;

/// Platforms of glibc that uv can resolve for, by its minor version; an older one serves newer machines.
const MINORS: [u16; 12] = [17, 28, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40];
/// What is locked for where a machine has it: nearly every wheel is for this or older.
const USUAL: u16 = 28;

/// The program.
pub(super) struct Uv(PathBuf);

impl Uv {
    /// `MANTA_UV`, the one beside the interpreter, or the PATH's.
    pub(super) fn find(python: &Path) -> Option<Self> {
        if let Some(named) = variable("MANTA_UV") {
            return Some(Self(PathBuf::from(named)));
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = python.parent().map(Path::to_path_buf).into_iter().chain(std::env::split_paths(&path));
        folders.map(|folder| folder.join("uv")).find(|program| program.is_file()).map(Self)
    }

    /// Resolves for one runtime; answers with a lock as uv writes it.
    ///
    /// # Errors
    /// What uv says.
    pub(super) async fn compile(&self, task: &Task<'_>, own: Option<&Lock>) -> Result<Vec<u8>, String> {
        let Task { declared, interpreter, runtime, .. } = task;
        let folder = tempfile::Builder::new().prefix("manta-").tempdir().map_err(|error| error.to_string())?;
        let write = |name: &str, text: String| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).map(|()| path).map_err(|error| error.to_string())
        };
        let mut command = self.command(task);
        command.args([
            "pip",
            "compile",
            "--format",
            "pylock.toml",
            "--no-header",
            "--no-annotate",
            "--generate-hashes",
        ]);
        command.args([
            "--quiet",
            "--color",
            "never",
            "--no-progress",
            "--no-python-downloads",
            "--only-binary",
            ":all:",
        ]);
        for package in &declared.allow_source {
            command.args(["--no-binary", package]);
        }
        command.arg("--python").arg(&interpreter.executable);
        command.args([
            "--python-version",
            &runtime.python.to_string(),
            "--python-platform",
            &platform(&runtime.platform)?,
        ]);
        if let Some(own) = own {
            command.arg("--constraints").arg(write("constraints.txt", constraints(own))?);
        }
        match &declared.requirements {
            Some(requirements) => command.arg(write("requirements.in", requirements.join("\n"))?),
            None => command.arg(&declared.origin),
        };
        run(command).await
    }

    /// Builds a wheel of a source distribution, by running its code on this machine.
    ///
    /// # Errors
    /// What uv says.
    pub(super) async fn build(&self, task: &Task<'_>, source: &Path, into: &Path) -> Result<(), String> {
        let mut command = self.command(task);
        command.args(["build", "--wheel", "--quiet", "--color", "never", "--no-progress", "--no-python-downloads"]);
        command.arg("--python").arg(&task.interpreter.executable).arg("--out-dir").arg(into).arg(source);
        run(command).await.map(drop)
    }

    /// A command that finds what `uv` would, started beside the requirements.
    fn command(&self, task: &Task<'_>) -> Command {
        let mut command = Command::new(&self.0);
        if task.network == Network::Closed {
            command.env("UV_OFFLINE", "1");
        }
        if let Some(folder) = task.declared.origin.parent() {
            command.current_dir(folder);
        }
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }
}

async fn run(mut command: Command) -> Result<Vec<u8>, String> {
    let output = command.output().await.map_err(|error| format!("uv cannot be started: {error}"))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = super::index::without_credentials(&String::from_utf8_lossy(&output.stderr));
    Err(if said.trim().is_empty() { format!("uv ended with {}", output.status) } else { said })
}

/// Versions that a lock allows, each where its marker holds.
fn constraints(lock: &Lock) -> String {
    let lines = lock.packages.iter().filter_map(|package| {
        let version = package.version.as_deref()?;
        let marker = package.marker.as_deref().map(|marker| format!(" ; {marker}")).unwrap_or_default();
        Some(format!("{}=={version}{marker}\n", package.name))
    });
    lines.collect()
}

/// The oldest platform that nearly every wheel is made for, where this machine is no older.
pub(super) fn oldest(own: &str) -> String {
    match own.parse::<Platform>() {
        Ok(Platform { machine, library: Library::Glibc(2, minor) }) if minor > USUAL => {
            Platform { machine, library: Library::Glibc(2, USUAL) }.to_string()
        }
        _ => own.to_owned(),
    }
}

/// The platform as uv names it: the newest that it knows and that runs there.
fn platform(platform: &Platform) -> Result<String, String> {
    let machine = &platform.machine;
    match platform.library {
        Library::Musl(..) => Ok(format!("{machine}-unknown-linux-musl")),
        Library::Glibc(2, minor) if minor >= MINORS[0] => {
            let known = MINORS.into_iter().filter(|known| *known <= minor).max().unwrap_or(MINORS[0]);
            Ok(format!("{machine}-manylinux_2_{known}"))
        }
        Library::Glibc(..) => Err(format!("`{platform}` is older than every platform that uv resolves for")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_named_as_uv_knows_them() {
        let named = |text: &str| platform(&text.parse().unwrap());
        assert_eq!(named("x86_64-manylinux_2_28"), Ok("x86_64-manylinux_2_28".to_owned()));
        assert_eq!(named("aarch64-manylinux_2_30"), Ok("aarch64-manylinux_2_28".to_owned()));
        assert_eq!(named("x86_64-musllinux_1_2"), Ok("x86_64-unknown-linux-musl".to_owned()));
        assert!(named("x86_64-manylinux_2_12").is_err());
        assert_eq!(oldest("x86_64-manylinux_2_36"), "x86_64-manylinux_2_28");
        assert_eq!(oldest("x86_64-manylinux_2_17"), "x86_64-manylinux_2_17");
        assert_eq!(oldest("x86_64-musllinux_1_2"), "x86_64-musllinux_1_2");
    }

    #[test]
    fn a_lock_constrains_versions_where_its_markers_hold() {
        let text = "lock-version = \"1.0\"\ncreated-by = \"uv\"\n[[packages]]\nname = \"a\"\nversion = \"1.0\"\n\
                    marker = \"python_version < '3.11'\"\n[[packages]]\nname = \"b\"\nversion = \"2\"\n";
        let lock = Lock::parse(text.as_bytes()).unwrap();
        assert_eq!(constraints(&lock), "a==1.0 ; python_version < '3.11'\nb==2\n");
    }
}
