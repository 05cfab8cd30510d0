//! Where an attempt stands on this node, and the one function that changes it.

/// Where an attempt stands.
///
/// ```text
/// waiting ─► running ─► writing ─► reported ─► committing ─► removing ─► gone
///               │          │          ├── refused, or nothing to commit ──▲
///               ▼          ▼          ▼                                   │
///           stopping    unwanted   setting aside ─► gone        (unwanted)┘
/// ```
/// Once its journal may be on disk, an attempt is left only through an answer of the manager, or because the history
/// that it belongs to was undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// It waits for a slot, or for an earlier attempt that keeps the same state.
    Waiting,
    /// It has a slot and is at work: preparing, running user code or uploading.
    Running,
    /// It was killed and has not ended yet; nothing it leaves counts.
    Stopping,
    /// It has ended; its journal is being written, and nothing has been said of its end.
    Writing,
    /// Its journal is being written, and is no longer wanted.
    Unwanted,
    /// Its journal is on disk; the manager's answer is awaited.
    Reported,
    /// It was accepted; what it kept becomes state.
    Committing,
    /// All is done; its journal is being removed.
    Removing,
    /// Its history was undone; its journal is being moved to where the operator finds it.
    SettingAside,
    /// This node has nothing of it any more.
    Gone,
}

/// What can happen to an attempt on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It gets a slot.
    Start,
    /// The manager does not want it any more.
    Withdraw,
    /// The history that it belongs to was undone.
    Undo,
    /// It ended and has something to report.
    Report,
    /// It ended and has nothing to report: it was stopped.
    Vanish,
    /// Its journal is on disk.
    Write,
    /// Its journal could not be written.
    Refuse,
    /// The manager accepted it, and it changes state.
    Accept,
    /// The manager answered, and nothing is to be done for it.
    Settle,
    /// What it kept is state now.
    Commit,
    /// Its journal is no longer where journals are found.
    Remove,
}

impl Stage {
    /// Every stage.
    pub const ALL: [Self; 10] = [
        Self::Waiting,
        Self::Running,
        Self::Stopping,
        Self::Writing,
        Self::Unwanted,
        Self::Reported,
        Self::Committing,
        Self::Removing,
        Self::SettingAside,
        Self::Gone,
    ];

    /// The stage after a change; nothing where the change means nothing to the stage.
    pub const fn next(self, change: Change) -> Option<Self> {
        use {Change as C, Stage as S};
        Some(match (self, change) {
            (S::Waiting, C::Start) => S::Running,
            (S::Waiting, C::Withdraw | C::Undo) => S::Gone,
            (S::Running, C::Withdraw | C::Undo) => S::Stopping,
            (S::Running, C::Report) => S::Writing,
            (S::Running, C::Vanish) | (S::Stopping, C::Report | C::Vanish) => S::Gone,
            (S::Writing, C::Write) => S::Reported,
            (S::Writing, C::Withdraw | C::Undo) => S::Unwanted,
            (S::Unwanted, C::Write | C::Refuse) | (S::Reported, C::Settle) => S::Removing,
            (S::Reported, C::Accept) => S::Committing,
            (S::Reported, C::Undo) => S::SettingAside,
            (S::Committing, C::Commit) => S::Removing,
            (S::Removing | S::SettingAside, C::Remove) => S::Gone,
            _ => return None,
        })
    }

    /// Whether it takes one of the node's slots. A journal that cannot be written keeps its slot, so that a full disk
    /// stops new work instead of piling up reports.
    pub const fn has_slot(self) -> bool {
        matches!(self, Self::Running | Self::Stopping | Self::Writing | Self::Unwanted)
    }

    /// Whether the next attempt that keeps the same state has to wait for it.
    pub const fn has_lane(self) -> bool {
        !matches!(self, Self::Waiting | Self::Gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGES: [Change; 11] = [
        Change::Start,
        Change::Withdraw,
        Change::Undo,
        Change::Report,
        Change::Vanish,
        Change::Write,
        Change::Refuse,
        Change::Accept,
        Change::Settle,
        Change::Commit,
        Change::Remove,
    ];

    /// For each stage, what each change of `CHANGES` leads to.
    fn table() -> Vec<(Stage, [Option<Stage>; 11])> {
        use Stage as S;
        let n = None;
        vec![
            (S::Waiting, [Some(S::Running), Some(S::Gone), Some(S::Gone), n, n, n, n, n, n, n, n]),
            (S::Running, [n, Some(S::Stopping), Some(S::Stopping), Some(S::Writing), Some(S::Gone), n, n, n, n, n, n]),
            (S::Stopping, [n, n, n, Some(S::Gone), Some(S::Gone), n, n, n, n, n, n]),
            (S::Writing, [n, Some(S::Unwanted), Some(S::Unwanted), n, n, Some(S::Reported), n, n, n, n, n]),
            (S::Unwanted, [n, n, n, n, n, Some(S::Removing), Some(S::Removing), n, n, n, n]),
            (S::Reported, [n, n, Some(S::SettingAside), n, n, n, n, Some(S::Committing), Some(S::Removing), n, n]),
            (S::Committing, [n, n, n, n, n, n, n, n, n, Some(S::Removing), n]),
            (S::Removing, [n, n, n, n, n, n, n, n, n, n, Some(S::Gone)]),
            (S::SettingAside, [n, n, n, n, n, n, n, n, n, n, Some(S::Gone)]),
            (S::Gone, [n; 11]),
        ]
    }

    #[test]
    fn every_stage_knows_what_every_change_means() {
        let table = table();
        assert_eq!(table.iter().map(|(stage, _)| *stage).collect::<Vec<_>>(), Stage::ALL);
        for (stage, row) in table {
            for (change, expected) in CHANGES.into_iter().zip(row) {
                assert_eq!(stage.next(change), expected, "{stage:?}, {change:?}");
            }
        }
    }

    #[test]
    fn a_report_that_may_have_been_said_is_never_forgotten_without_an_answer() {
        for change in CHANGES.into_iter().filter(|change| !matches!(change, Change::Accept | Change::Settle)) {
            let next = Stage::Reported.next(change);
            assert!(matches!(next, None | Some(Stage::SettingAside)), "{change:?}");
        }
    }
}
