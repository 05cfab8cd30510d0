//! The life of a task run.
use super::{IllegalTransition, names};

/// One task in one iteration, over all its nodes.
///
/// ```text
/// waiting ─► ready ─► running ─► closing ─► succeeded | failed | skipped
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TaskRunState {
    /// A predecessor is still open.
    Waiting,
    /// Its nodes can be chosen as soon as enough are eligible.
    Ready,
    /// Its nodes are chosen.
    Running,
    /// Enough is known to close it; global writes are being applied.
    Closing,
    /// Closed, with what its quorum asked for.
    Succeeded,
    /// Closed without it.
    Failed,
    /// Closed without having run.
    Skipped,
}

names!(TaskRunState {
    Waiting => "waiting", Ready => "ready", Running => "running", Closing => "closing",
    Succeeded => "succeeded", Failed => "failed", Skipped => "skipped",
});

/// What can happen to a task run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskRunChange {
    /// All predecessors have closed.
    MakeReady,
    /// Its nodes are chosen.
    Start,
    /// A closing rule fired.
    Close,
    /// It closed well.
    Succeed,
    /// It closed badly.
    Fail,
    /// It has nothing to run on.
    Skip,
}

names!(TaskRunChange {
    MakeReady => "make_ready", Start => "start", Close => "close", Succeed => "succeed", Fail => "fail", Skip => "skip",
});

impl TaskRunState {
    /// Whether nothing can change it any more.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Skipped)
    }

    /// The state after a change.
    ///
    /// # Errors
    /// When the state does not know the change.
    pub fn next(self, change: TaskRunChange) -> Result<Self, IllegalTransition> {
        use {TaskRunChange as C, TaskRunState as S};
        Ok(match (self, change) {
            (S::Waiting, C::MakeReady) => S::Ready,
            (S::Ready, C::Start) => S::Running,
            (S::Running, C::Close) => S::Closing,
            (S::Closing, C::Succeed) => S::Succeeded,
            (S::Waiting | S::Ready, C::Skip) => S::Skipped,
            (state, C::Fail) if !state.is_final() => S::Failed,
            (state, change) => {
                return Err(IllegalTransition { entity: "a task run", from: state.name(), change: change.name() });
            }
        })
    }
}
