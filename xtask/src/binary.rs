//! Building the `manta` binary, and finding where cargo put it.

use crate::checkout::Checkout;
use crate::command::{cannot_start, ending};
use crate::failure::Failure;
use crate::say;
use crate::toolchain::{cargo, packages};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

/// What is compiled, and how.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Build {
    /// `manta` alone, for users: optimised, slow to compile.
    Release,
    /// The workspace's binaries, for tests that start them: with crash points, as all builds with debug assertions.
    Binaries,
    /// Those, and the tests.
    Tests,
}

impl Build {
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Release => &["--release", "--package", "manta-cli", "--bin", "manta"],
            Self::Binaries => &["--workspace", "--bins"],
            Self::Tests => &["--workspace", "--bins", "--tests"],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Release => "manta (optimised)",
            Self::Binaries => "manta (for tests)",
            Self::Tests => "manta and the Rust tests",
        }
    }
}

/// Builds, and returns the path of the executable `manta`. Cargo's own progress is shown.
pub(crate) fn build(checkout: &Checkout, build: Build) -> Result<PathBuf, Failure> {
    let started = Instant::now();
    announce(checkout, build);
    let mut command = cargo(checkout);
    command.args(["build", "--locked", "--message-format=json-render-diagnostics"]).args(build.arguments());
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(|error| cannot_start(&command, &error))?;
    let mut executable = None;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line.map_err(|error| Failure::io("read what cargo prints", &error))?;
            executable = executable_in(&line).or(executable);
        }
    }
    let status = child.wait().map_err(|error| Failure::io("wait for cargo", &error))?;
    if !status.success() {
        return Err(Failure::new(format!("cargo build {}", ending(status)))
            .hint("what failed stands above; a first build needs a C compiler (Debian and Ubuntu: `gcc` and `libc6-dev`) and the network"));
    }
    say::note(format!("built in {}", say::took(started.elapsed())));
    executable.ok_or_else(|| Failure::new("cargo did not say where it put `manta`"))
}

fn announce(checkout: &Checkout, build: Build) {
    say::step(format!("building {}", build.name()));
    let count = packages(checkout, Path::new("Cargo.lock"));
    say::note(format!("a first build compiles up to {count} packages: minutes. Later ones take seconds."));
}

/// The path in cargo's message that the binary `manta` is ready, if this line is that message.
fn executable_in(line: &str) -> Option<PathBuf> {
    let is_manta = line.contains(r#""reason":"compiler-artifact""#)
        && line.contains(r#""kind":["bin"]"#)
        && line.contains(r#""name":"manta""#);
    // The tests inside manta's own sources are an executable of that name too.
    let is_test = line.split_once(r#""profile":{"#).map_or(false, |(_, profile)| {
        profile.split('}').next().map_or(false, |profile| profile.contains(r#""test":true"#))
    });
    if !is_manta || is_test {
        return None;
    }
    let (_, rest) = line.split_once(r#""executable":""#)?;
    json_string(rest).map(PathBuf::from)
}

/// Reads a JSON string whose opening quote has been taken.
fn json_string(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut chars = text.chars();
    loop {
        match chars.next()? {
            '"' => return Some(out),
            '\\' => match chars.next()? {
                'n' => out.push('\n'),
                't' => out.push('\t'),
                'u' => {
                    let digits: String = chars.by_ref().take(4).collect();
                    out.push(char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?);
                }
                other => out.push(other),
            },
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::executable_in;
    use std::path::PathBuf;

    #[test]
    fn the_executable_is_read_from_cargos_message() {
        let line = r#"{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"manta"},"executable":"/a b/\"c\"/manta","fresh":true}"#;
        assert_eq!(executable_in(line), Some(PathBuf::from("/a b/\"c\"/manta")));
    }

    #[test]
    fn the_tests_inside_manta_are_not_manta() {
        let line = r#"{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"manta","test":true},"profile":{"test":true},"executable":"/deps/manta-1"}"#;
        assert_eq!(executable_in(line), None);
    }

    #[test]
    fn other_messages_name_no_executable() {
        let library = r#"{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"manta"},"executable":null}"#;
        assert_eq!(executable_in(library), None);
        assert_eq!(executable_in(r#"{"reason":"build-finished","success":true}"#), None);
    }
}
