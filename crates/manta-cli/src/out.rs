//! The two streams: data on standard output, everything else on standard error. The only place that prints.
use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

use manta_api::version::SCHEMA_VERSION;
use serde::Serialize;

use crate::report::Failure;

/// Columns of a terminal that does not tell its width.
const WIDTH_DEFAULT: usize = 80;

/// Whether nothing but errors is wanted on standard error.
static QUIET: AtomicBool = AtomicBool::new(false);

/// From now on nothing is said but errors.
pub(crate) fn be_quiet() {
    QUIET.store(true, Ordering::Relaxed);
}

/// Whether nothing is said but errors.
pub(crate) fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Writes a line of talk to standard error; nobody listening is no error.
pub(crate) fn say(line: &str) {
    if !is_quiet() {
        complain(line);
    }
}

/// Writes an error to standard error, whoever wants quiet.
pub(crate) fn complain(line: &str) {
    // A closed standard error must not end the command: its outcome is the exit code.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Writes text to standard output as it is.
///
/// A reader that went away ends the command quietly.
pub(crate) fn put(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
        std::io::ErrorKind::BrokenPipe => Failure::silent(0),
        _ => Failure::new(manta_api::ErrorCode::Storage, format!("standard output cannot be written: {error}")),
    })
}

/// Writes one JSON document on one line, with the version of its form.
pub(crate) fn put_json(document: &impl Serialize) -> Result<(), Failure> {
    let failed = |error: serde_json::Error| Failure::internal(error.to_string());
    let mut document = serde_json::to_value(document).map_err(failed)?;
    if let Some(fields) = document.as_object_mut() {
        fields.entry("schema_version").or_insert_with(|| SCHEMA_VERSION.into());
    }
    let mut text = serde_json::to_string(&document).map_err(failed)?;
    text.push('\n');
    put(&text)
}

/// The width of the terminal on standard output; none where there is no terminal.
pub(crate) fn width() -> Option<usize> {
    let stdout = std::io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let told = rustix::termios::tcgetwinsize(stdout.as_fd()).ok().map(|size| usize::from(size.ws_col));
    Some(told.filter(|columns| *columns > 0).unwrap_or(WIDTH_DEFAULT))
}

/// The lines of the terminal on standard output, where it can be drawn over.
pub(crate) fn height() -> Option<usize> {
    let stdout = std::io::stdout();
    if !stdout.is_terminal() || std::env::var_os("TERM").is_none_or(|term| term == "dumb") {
        return None;
    }
    let told = rustix::termios::tcgetwinsize(stdout.as_fd()).ok().map(|size| usize::from(size.ws_row));
    told.filter(|rows| *rows > 0)
}

/// Whether standard error is a terminal that can redraw a line.
pub(crate) fn redraws() -> bool {
    !is_quiet() && std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Whether talk may be coloured.
pub(crate) fn colours() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if set("NO_COLOR") {
        return false;
    }
    redraws() || std::env::var_os("CLICOLOR_FORCE").is_some_and(|value| value != "0")
}

/// Text in the colour of an ANSI code, where talk may be coloured.
pub(crate) fn paint(code: &str, text: &str) -> String {
    if colours() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}
