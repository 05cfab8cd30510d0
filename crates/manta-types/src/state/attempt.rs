//! The life of an attempt.
use super::{IllegalTransition, names};

/// One try at an assignment, under a lease epoch.
///
/// ```text
/// offered ─► preparing ─► running ⇄ silent ─► uploading ─► accepted | failed | lost | cancelled
/// ```
/// `silent` is an attempt whose node has not been heard for a lease; it may still deliver. What comes from a node can
/// overtake a lost message, so a later phase is accepted from any earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AttemptState {
    /// The node has been chosen and is to be told.
    Offered,
    /// The node has it: queued, fetching, or making the sandbox.
    Preparing,
    /// User code runs.
    Running,
    /// The node's lease lapsed; the attempt may be alive.
    Silent,
    /// User code ended well; its values are on their way.
    Uploading,
    /// All it published counts.
    Accepted,
    /// It ended badly; nothing it published counts.
    Failed,
    /// Its node is gone, or a newer epoch took its place.
    Lost,
    /// No longer wanted.
    Cancelled,
}

names!(AttemptState {
    Offered => "offered", Preparing => "preparing", Running => "running", Silent => "silent",
    Uploading => "uploading", Accepted => "accepted", Failed => "failed", Lost => "lost", Cancelled => "cancelled",
});

/// What can happen to an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptChange {
    /// The node took it.
    Prepare,
    /// User code began.
    Start,
    /// The lease lapsed.
    FallSilent,
    /// User code ended well.
    Upload,
    /// The manager committed its outputs.
    Accept,
    /// It ended badly.
    Fail,
    /// It will never count.
    Lose,
    /// It is no longer wanted.
    Cancel,
}

names!(AttemptChange {
    Prepare => "prepare", Start => "start", FallSilent => "fall_silent", Upload => "upload",
    Accept => "accept", Fail => "fail", Lose => "lose", Cancel => "cancel",
});

impl AttemptState {
    /// Whether nothing can change it any more.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Accepted | Self::Failed | Self::Lost | Self::Cancelled)
    }

    /// The state after a change.
    ///
    /// # Errors
    /// When the state does not know the change.
    pub fn next(self, change: AttemptChange) -> Result<Self, IllegalTransition> {
        use {AttemptChange as C, AttemptState as S};
        Ok(match (self, change) {
            (S::Offered | S::Silent, C::Prepare) => S::Preparing,
            (S::Offered | S::Preparing | S::Silent, C::Start) => S::Running,
            (S::Running | S::Silent, C::Upload) => S::Uploading,
            (S::Offered | S::Preparing | S::Running | S::Uploading, C::FallSilent) => S::Silent,
            (state, C::Accept) if !state.is_final() => S::Accepted,
            (state, C::Fail) if !state.is_final() => S::Failed,
            (state, C::Lose) if !state.is_final() => S::Lost,
            (state, C::Cancel) if !state.is_final() => S::Cancelled,
            (state, change) => {
                return Err(IllegalTransition { entity: "an attempt", from: state.name(), change: change.name() });
            }
        })
    }
}
