//! When to end: a signal, or the closing of the pipe by which a parent process holds this one.
use std::os::fd::AsFd;

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::report::Failure;

/// Whether this process lives only as long as its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lifeline {
    /// Standard input is a pipe; its end is ours.
    Stdin,
    /// Signals only.
    None,
}

impl From<bool> for Lifeline {
    fn from(set: bool) -> Self {
        if set { Self::Stdin } else { Self::None }
    }
}

/// What a hangup means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnHangup {
    /// The terminal is gone, and so is whoever wanted this process.
    End,
    /// Something is to be read again, by whoever listens for it.
    GoOn,
}

/// Prepares to be told to end, also by a hangup; the future that comes back resolves when it is time.
pub(crate) fn listen(lifeline: Lifeline) -> Result<impl Future<Output = ()> + Send + 'static, Failure> {
    listen_with(lifeline, OnHangup::End)
}

/// Prepares to be told to end; the future that comes back resolves when it is time.
///
/// Must be called on a runtime, and early: signals that come later are kept from then on.
pub(crate) fn listen_with(
    lifeline: Lifeline,
    on_hangup: OnHangup,
) -> Result<impl Future<Output = ()> + Send + 'static, Failure> {
    let failed = |error: std::io::Error| Failure::internal(format!("signals cannot be received: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(failed)?;
    let pipe = match lifeline {
        Lifeline::None => None,
        Lifeline::Stdin => Some(hold()?),
    };
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = hung_up(&mut hangup, on_hangup) => {}
            () = ended(pipe) => {}
        }
    })
}

/// The same beside a child that has the terminal: an interruption is the child's, and does not end this process.
pub(crate) fn listen_beside_a_debugger() -> Result<impl Future<Output = ()> + Send + 'static, Failure> {
    let failed = |error: std::io::Error| Failure::internal(format!("signals cannot be received: {error}"));
    let interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(failed)?;
    Ok(async move {
        let _taken = interrupt;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}

/// Takes standard input as the lifeline; the kernel's own signal at the parent's death is the second line.
fn hold() -> Result<pipe::Receiver, Failure> {
    // Where it cannot be set, the pipe alone tells.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM));
    let stdin = std::io::stdin().as_fd().try_clone_to_owned();
    let receiver = stdin.and_then(pipe::Receiver::from_owned_fd);
    receiver.map_err(|error| Failure::usage(format!("--lifeline needs a pipe on standard input: {error}")))
}

async fn hung_up(hangup: &mut Signal, on_hangup: OnHangup) {
    if on_hangup == OnHangup::End {
        hangup.recv().await;
        return;
    }
    std::future::pending().await
}

async fn ended(pipe: Option<pipe::Receiver>) {
    let Some(mut pipe) = pipe else { return std::future::pending().await };
    let mut ignored = [0; 64];
    // Whatever is written is ignored; the end and an error both mean that the parent has gone.
    while pipe.read(&mut ignored).await.is_ok_and(|read| read > 0) {}
}
