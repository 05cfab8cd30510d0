//! Rules of the engine that can be taken out, so that the simulation can show that it notices.
use crate::Engine;

/// The rules that are taken out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bugs {
    /// Attempts count though they are stale.
    pub accept_stale_attempts: bool,
    /// What runs on a node that is revoked goes on.
    pub trust_revoked: bool,
    /// Swarms are forgotten while others of their line stay.
    pub forget_parts: bool,
    /// A task waits for nodes that are all revoked.
    pub await_revoked: bool,
}

impl Engine {
    /// Takes rules out.
    pub const fn plant(&mut self, bugs: Bugs) {
        self.bugs = bugs;
        self.fleet.await_revoked = bugs.await_revoked;
    }
}
