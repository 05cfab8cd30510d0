//! The life of a lease.
use super::{IllegalTransition, names};

/// A node's right to run one attempt, under an epoch that rises with every grant.
///
/// ```text
/// held ⇄ lapsed ─► released | fenced
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LeaseState {
    /// Its node has been heard within the lease.
    Held,
    /// Its node has not; the first to come back, node or replacement, has the right.
    Lapsed,
    /// The attempt ended, and the lease with it.
    Released,
    /// Taken away: a newer epoch, or a task run that closed, made it worthless for ever.
    Fenced,
}

names!(LeaseState { Held => "held", Lapsed => "lapsed", Released => "released", Fenced => "fenced" });

/// What can happen to a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseChange {
    /// The node was not heard for as long as a lease lasts.
    Lapse,
    /// The node was heard again.
    Renew,
    /// The attempt's report was taken.
    Release,
    /// The right went elsewhere, or to nobody.
    Fence,
}

names!(LeaseChange { Lapse => "lapse", Renew => "renew", Release => "release", Fence => "fence" });

impl LeaseState {
    /// Whether nothing can change it any more.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Released | Self::Fenced)
    }

    /// The state after a change.
    ///
    /// # Errors
    /// When the state does not know the change.
    pub fn next(self, change: LeaseChange) -> Result<Self, IllegalTransition> {
        use {LeaseChange as C, LeaseState as S};
        Ok(match (self, change) {
            (S::Held, C::Lapse) => S::Lapsed,
            (S::Held | S::Lapsed, C::Renew) => S::Held,
            (state, C::Release) if !state.is_final() => S::Released,
            (state, C::Fence) if !state.is_final() => S::Fenced,
            (state, change) => {
                return Err(IllegalTransition { entity: "a lease", from: state.name(), change: change.name() });
            }
        })
    }
}
