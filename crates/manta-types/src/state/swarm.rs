//! The life of a swarm.
use super::{IllegalTransition, names};

/// A deployed swarm.
///
/// ```text
/// validating ─► pending ─► running ⇄ paused ─► succeeded | failed | stopped
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SwarmState {
    /// Being checked.
    Validating,
    /// Admitted, not begun.
    Pending,
    /// Iterating.
    Running,
    /// Held: what runs may end, nothing new starts.
    Paused,
    /// Every iteration it wanted has closed.
    Succeeded,
    /// A task run failed that was not allowed to.
    Failed,
    /// A person stopped it.
    Stopped,
}

names!(SwarmState {
    Validating => "validating", Pending => "pending", Running => "running", Paused => "paused",
    Succeeded => "succeeded", Failed => "failed", Stopped => "stopped",
});

/// What can happen to a swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SwarmChange {
    /// It passed validation.
    Admit,
    /// Its first iteration begins.
    Start,
    /// A person holds it.
    Pause,
    /// A person lets it go on.
    Resume,
    /// A person ends it.
    Stop,
    /// Its last iteration closed.
    Succeed,
    /// It cannot go on.
    Fail,
}

names!(SwarmChange {
    Admit => "admit", Start => "start", Pause => "pause", Resume => "resume", Stop => "stop",
    Succeed => "succeed", Fail => "fail",
});

impl SwarmState {
    /// Whether nothing can change it any more.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Stopped)
    }

    /// The state after a change.
    ///
    /// # Errors
    /// When the state does not know the change.
    pub fn next(self, change: SwarmChange) -> Result<Self, IllegalTransition> {
        use {SwarmChange as C, SwarmState as S};
        Ok(match (self, change) {
            (S::Validating, C::Admit) => S::Pending,
            (S::Pending, C::Start) | (S::Paused, C::Resume) => S::Running,
            (S::Running, C::Pause) => S::Paused,
            (S::Running, C::Succeed) => S::Succeeded,
            (S::Pending | S::Running | S::Paused, C::Stop) => S::Stopped,
            (state, C::Fail) if !state.is_final() => S::Failed,
            (state, change) => {
                return Err(IllegalTransition { entity: "a swarm", from: state.name(), change: change.name() });
            }
        })
    }
}
