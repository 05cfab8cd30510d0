//! Letting go of a launcher without ending it, and going on with one that another program in this process let go of.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::PoisonError;

use tokio::sync::oneshot;

use super::handle::{Launcher, Reader, Sandbox, Waiting, lock};
use crate::Exit;

/// A launcher that its agent has let go of without ending it: for the program that takes the agent's place in its process.
#[derive(Debug)]
pub struct Parted {
    /// The launcher's process, a child of this one.
    pub pid: u32,
    /// The agent's end of its control socket.
    pub socket: OwnedFd,
}

impl Launcher {
    /// Goes on with a launcher that [`Launcher::part`] let go of, be it of another release: of the sandboxes that it runs, those
    /// are told of that are named. Nothing is started by it any more, and it ends when this is dropped.
    ///
    /// # Errors
    /// When no thread can be made to hear it.
    pub fn take_over(parted: Parted, sandboxes: &[String]) -> io::Result<(Self, Vec<oneshot::Receiver<Exit>>)> {
        let mut waiting = Waiting::default();
        let exits = sandboxes.iter().map(|id| {
            let (exited, exit) = oneshot::channel();
            waiting.sandboxes.insert(id.clone(), Sandbox { started: None, exit: exited });
            exit
        });
        let exits = exits.collect();
        Ok((Self::hear(parted, waiting)?, exits))
    }

    /// Lets go of the launcher, which goes on with all that runs; what is kept warm is ended. What it tells from now on waits in
    /// its socket, and nothing more can be asked by this handle. Nothing comes back where it is gone. Blocks for a moment.
    pub fn part(&self) -> Option<Parted> {
        let Reader { thread, hold } = self.reader.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        drop(hold);
        // A panic of the reader was reported when it happened.
        let _ = thread.join();
        let mut waiting = lock(&self.waiting);
        if std::mem::replace(&mut waiting.gone, true) {
            return None;
        }
        for template in std::mem::take(&mut waiting.templates) {
            self.let_go(&template);
        }
        Some(Parted { pid: self.pid, socket: self.socket.try_clone().ok()? })
    }
}
