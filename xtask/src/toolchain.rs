//! The Rust toolchain: is it new enough, and how to call its cargo.

use crate::checkout::Checkout;
use crate::command::{clean, quiet_output};
use crate::failure::Failure;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A Rust release: major and minor.
type Release = (u32, u32);

/// Refuses a Rust older than the workspace's `rust-version`. The first thing every chore that compiles does.
pub(crate) fn check(checkout: &Checkout) -> Result<(), Failure> {
    let manifest = checkout.read("Cargo.toml")?;
    let needed = manifest
        .lines()
        .find_map(|line| line.strip_prefix("rust-version")?.split('"').nth(1))
        .ok_or_else(|| Failure::new("`Cargo.toml` does not say its `rust-version`"))?;
    let printed = quiet_output(Command::new(rustc()).arg("--version")).ok_or_else(|| {
        Failure::new(format!("Manta needs Rust {needed} or newer, and `rustc --version` does not run"))
    })?;
    let found = printed.split_whitespace().nth(1).unwrap_or_default();
    match (release(found), release(needed)) {
        (Some(have), Some(want)) if have < want => {
            Err(Failure::new(format!("Manta needs Rust {needed} or newer, and this is Rust {found}"))
                .hint("`rustup update stable` brings the newest; distributions' packages are often older"))
        }
        _ => Ok(()),
    }
}

fn release(text: &str) -> Option<Release> {
    let mut parts = text.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// The rustc that belongs to the cargo we were started by.
fn rustc() -> PathBuf {
    let beside = cargo_program().parent().map(|dir| dir.join("rustc")).filter(|path| path.is_file());
    env::var_os("RUSTC").map(PathBuf::from).or(beside).unwrap_or_else(|| PathBuf::from("rustc"))
}

fn cargo_program() -> PathBuf {
    env::var_os("CARGO").map(PathBuf::from).unwrap_or_else(|| PathBuf::from("cargo"))
}

/// `cargo`, to be run in the checkout's root.
pub(crate) fn cargo(checkout: &Checkout) -> Command {
    let mut cargo = Command::new(cargo_program());
    cargo.current_dir(checkout.root());
    clean(&mut cargo);
    if let Some(home) = checkout.cargo_home_instead() {
        cargo.env("CARGO_HOME", home);
    }
    cargo
}

/// Whether cargo has a subcommand such as `fmt`, `clippy` or `nextest`, and it runs.
pub(crate) fn has(checkout: &Checkout, subcommand: &str) -> bool {
    quiet_output(cargo(checkout).args([subcommand, "--version"])).is_some()
}

/// How many packages the workspace compiles, at most: what a first build has before it.
pub(crate) fn packages(checkout: &Checkout, lock: &Path) -> usize {
    let text = std::fs::read_to_string(checkout.root().join(lock)).unwrap_or_default();
    text.lines().filter(|line| *line == "[[package]]").count()
}

#[cfg(test)]
mod tests {
    use super::release;

    #[test]
    fn releases_are_read_from_what_rustc_and_manifests_say() {
        assert_eq!(release("1.95.0"), Some((1, 95)));
        assert_eq!(release("1.95"), Some((1, 95)));
        assert_eq!(release("1.97.0-nightly"), Some((1, 97)));
        assert_eq!(release("stable"), None);
    }
}
