//! The life of a rollout.
use super::{IllegalTransition, names};

/// Another version of a task's module on its way to the task's nodes.
///
/// ```text
/// running ⇄ held ─► completed | reverted | abandoned
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RolloutState {
    /// Goes on step by step, at the boundaries of iterations.
    Running,
    /// Stays at its step.
    Held,
    /// The task runs the new version, everywhere.
    Completed,
    /// The task runs the version of before, everywhere.
    Reverted,
    /// Its swarm ended first.
    Abandoned,
}

names!(RolloutState {
    Running => "running", Held => "held", Completed => "completed", Reverted => "reverted", Abandoned => "abandoned",
});

/// What can happen to a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RolloutChange {
    /// It goes on to its next step.
    Step,
    /// It is to stay at its step.
    Hold,
    /// It may go on.
    Resume,
    /// Its last step was kept to.
    Complete,
    /// A gate failed, its time passed, or a person takes it back.
    Revert,
    /// Its swarm ended.
    Abandon,
}

names!(RolloutChange {
    Step => "step", Hold => "hold", Resume => "resume", Complete => "complete", Revert => "revert", Abandon => "abandon",
});

impl RolloutState {
    /// Whether nothing can change it any more.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Reverted | Self::Abandoned)
    }

    /// The state after a change.
    ///
    /// # Errors
    /// When the state does not know the change.
    pub fn next(self, change: RolloutChange) -> Result<Self, IllegalTransition> {
        use {RolloutChange as C, RolloutState as S};
        Ok(match (self, change) {
            (S::Running | S::Held, C::Step) | (S::Held, C::Resume) => S::Running,
            (S::Running | S::Held, C::Hold) => S::Held,
            (S::Running | S::Held, C::Complete) => S::Completed,
            (S::Running | S::Held, C::Revert) => S::Reverted,
            (S::Running | S::Held, C::Abandon) => S::Abandoned,
            (state, change) => {
                return Err(IllegalTransition { entity: "a rollout", from: state.name(), change: change.name() });
            }
        })
    }
}
