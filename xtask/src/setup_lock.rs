//! One set-up at a time in a checkout: a second `cargo xtask` waits for the first instead of undoing its work.

use crate::checkout::Checkout;
use crate::failure::Failure;
use crate::say;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// How often a waiting set-up looks again.
const POLL: Duration = Duration::from_millis(200);

/// How long a holder may take to write its id into the lock it has just made.
const WRITING: Duration = Duration::from_secs(5);

/// Held while the Python environment or the data is being made; dropping it lets the next one in.
pub(crate) struct SetupLock {
    path: PathBuf,
}

impl SetupLock {
    /// Waits until no other living process holds the checkout's lock, saying so.
    pub(crate) fn take(checkout: &Checkout) -> Result<Self, Failure> {
        let path = checkout.scratch("")?.join("setup.lock");
        let mut told = false;
        loop {
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(mut file) => {
                    write!(file, "{}", std::process::id())
                        .map_err(|error| Failure::io("write the set-up lock", &error))?;
                    return Ok(Self { path });
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Failure::io(format!("make `{}`", path.display()), &error)),
            }
            if holder_is_gone(&path) {
                remove(&path)?;
                continue;
            }
            if !told {
                say::step("waiting for another `cargo xtask` that is setting up this checkout");
                told = true;
            }
            thread::sleep(POLL);
        }
    }
}

impl Drop for SetupLock {
    fn drop(&mut self) {
        // A lock that stays is taken over by the next set-up, because its holder is gone.
        let _ = fs::remove_file(&self.path);
    }
}

fn remove(path: &Path) -> Result<(), Failure> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Failure::io(format!("remove the stale `{}`", path.display()), &error))
        }
        _ => Ok(()),
    }
}

/// Whether the lock names a process that no longer runs `xtask`. An empty one is being written, unless it is old.
fn holder_is_gone(path: &Path) -> bool {
    let pid = match fs::read_to_string(path) {
        Ok(text) if !text.is_empty() => text,
        Ok(_) => {
            return fs::metadata(path).and_then(|file| file.modified()).ok().and_then(|at| at.elapsed().ok())
                > Some(WRITING)
        }
        Err(_) => return false,
    };
    match fs::read(format!("/proc/{pid}/cmdline")) {
        Ok(line) => !String::from_utf8_lossy(&line).contains("xtask"),
        Err(error) => error.kind() == ErrorKind::NotFound,
    }
}
