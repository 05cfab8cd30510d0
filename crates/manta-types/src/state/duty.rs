//! What a node is used for.
use super::{IllegalTransition, names};

/// Whether a node gets work; beside its [`NodeState`](super::NodeState), which says whether it can be heard.
///
/// ```text
/// active ⇄ draining ─► drained ─► active;  revoked
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum NodeDuty {
    /// It gets work.
    #[default]
    Active,
    /// It gets no new work; what runs may end, until the deadline.
    Draining,
    /// It gets no work, and has none.
    Drained,
    /// It may not connect any more.
    Revoked,
}

names!(NodeDuty { Active => "active", Draining => "draining", Drained => "drained", Revoked => "revoked" });

/// What can happen to a node's duty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DutyChange {
    /// A person takes it out of use.
    Drain,
    /// Its last attempt ended, or the deadline passed.
    FinishDrain,
    /// A person takes it into use again.
    Resume,
    /// A person takes its identity away.
    Revoke,
}

names!(DutyChange {
    Drain => "drain", FinishDrain => "finish_drain", Resume => "resume", Revoke => "revoke",
});

impl NodeDuty {
    /// The duty after a change.
    ///
    /// # Errors
    /// When the duty does not know the change.
    pub fn next(self, change: DutyChange) -> Result<Self, IllegalTransition> {
        use {DutyChange as C, NodeDuty as D};
        Ok(match (self, change) {
            // Draining anew changes only until when.
            (D::Active | D::Draining, C::Drain) => D::Draining,
            (D::Draining, C::FinishDrain) => D::Drained,
            (D::Draining | D::Drained, C::Resume) => D::Active,
            (D::Active | D::Draining | D::Drained, C::Revoke) => D::Revoked,
            (duty, change) => {
                return Err(IllegalTransition { entity: "a node", from: duty.name(), change: change.name() });
            }
        })
    }
}
