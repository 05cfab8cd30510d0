//! The life of a node.
use super::{IllegalTransition, names};

/// A node as the manager sees it.
///
/// ```text
/// joining ─► online ⇄ unreachable ─► gone
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeState {
    /// It joined, now or before a restart of the manager, and was not heard yet.
    Joining,
    /// Heard within its lease.
    Online,
    /// Not heard for a lease.
    Unreachable,
    /// Not heard for the grace, or it said goodbye.
    Gone,
}

names!(NodeState {
    Joining => "joining", Online => "online", Unreachable => "unreachable", Gone => "gone",
});

/// What can happen to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeChange {
    /// It connected or was heard.
    ComeOnline,
    /// Its lease lapsed.
    LoseContact,
    /// Its grace lapsed, or it left.
    Leave,
}

names!(NodeChange { ComeOnline => "come_online", LoseContact => "lose_contact", Leave => "leave" });

impl NodeState {
    /// The state after a change.
    ///
    /// # Errors
    /// When the state does not know the change.
    pub fn next(self, change: NodeChange) -> Result<Self, IllegalTransition> {
        use {NodeChange as C, NodeState as S};
        Ok(match (self, change) {
            (_, C::ComeOnline) => S::Online,
            (S::Online, C::LoseContact) => S::Unreachable,
            (S::Joining | S::Online | S::Unreachable, C::Leave) => S::Gone,
            (state, change) => {
                return Err(IllegalTransition { entity: "a node", from: state.name(), change: change.name() });
            }
        })
    }
}
