//! The life of an iteration.
use super::{IllegalTransition, names};

/// One pass through a swarm's graph.
///
/// ```text
/// open ─► finished | abandoned
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IterationState {
    /// Some task run has not closed.
    Open,
    /// Every task run has closed.
    Finished,
    /// Its swarm ended before.
    Abandoned,
}

names!(IterationState { Open => "open", Finished => "finished", Abandoned => "abandoned" });

/// What can happen to an iteration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IterationChange {
    /// Its last task run closed.
    Finish,
    /// Its swarm failed or was stopped.
    Abandon,
}

names!(IterationChange { Finish => "finish", Abandon => "abandon" });

impl IterationState {
    /// Whether nothing can change it any more.
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Open)
    }

    /// The state after a change.
    ///
    /// # Errors
    /// When the state does not know the change.
    pub fn next(self, change: IterationChange) -> Result<Self, IllegalTransition> {
        use {IterationChange as C, IterationState as S};
        match (self, change) {
            (S::Open, C::Finish) => Ok(S::Finished),
            (S::Open, C::Abandon) => Ok(S::Abandoned),
            (state, change) => {
                Err(IllegalTransition { entity: "an iteration", from: state.name(), change: change.name() })
            }
        }
    }
}
