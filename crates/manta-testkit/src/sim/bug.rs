//! Bugs that are planted on purpose: a simulation that finds none of them proves nothing.

/// One bug. Those in the engine, the store and the manager's core are switches of their `planted-bugs` features; the
/// others stand where the simulated shell around the real parts would have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// Neither the engine nor the store looks at a report's epoch.
    NoFence,
    /// The engine does not look at a report's epoch; the store does.
    NoEngineFence,
    /// The manager answers and sends before its commit has ended.
    AcknowledgeBeforeSync,
    /// The manager sends commands to nodes before its commit has ended, and answers after it.
    SendBeforeSync,
    /// A commit returns before its bytes are on the disk, so that a power cut takes the last ones back.
    NoSync,
    /// A commit that failed is taken for one that did not.
    IgnoreFailedCommit,
    /// Leases are judged after the manager stood still as if it had not.
    NoForgiveness,
    /// Decisions are made on the wall clock.
    WallClock,
    /// An idempotency key that was used before is not looked up.
    ForgetKeys,
    /// A report that comes again is not answered again.
    AnswerOnce,
    /// A report of an attempt that the engine has forgotten is answered without a look into the store.
    ForgetOldVerdicts,
    /// What nodes are used for is not stored.
    ForgetDuties,
    /// A node says that an attempt ended before its journal is on disk.
    FinishedBeforeJournal,
    /// A node forgets a report when it has sent it.
    ForgetReport,
    /// A node makes what an attempt kept its state before the manager has accepted it.
    StateBeforeVerdict,
    /// A node gives an attempt the state as it was when the attempt was offered.
    OldState,
    /// A node does not kill what was cancelled.
    KeepRunning,
    /// A restored manager goes on in the generation of its backup.
    NoGeneration,
    /// The manager counts what a node holds of a history that was undone.
    BelieveUndone,
    /// A swarm that continues another begins without what was reached.
    RetryFromNothing,
    /// Swarms are purged while others of their line stay.
    PurgeParts,
    /// What runs on a node that is revoked goes on, and counts.
    TrustRevoked,
    /// A node says an end only once in a session.
    SayOnce,
    /// The manager says that values are stored before they are.
    StoredTooEarly,
    /// Changes are made, and the keys are not stored under which they were asked for.
    UnkeyedChanges,
    /// A task waits for nodes that are all revoked.
    AwaitRevoked,
    /// After a restart a task run has its whole deadline before it again.
    FullDeadlines,
    /// While a rollout goes on, whatever begins runs the version that it brings, in the middle of an iteration, too.
    RepinRunning,
    /// A rollout takes its steps in the middle of an iteration.
    StepAnyTime,
    /// A version on trial fails its task, and is not taken back.
    NoRescue,
}

impl Bug {
    /// Every bug.
    pub const ALL: [Self; 30] = [
        Self::NoFence,
        Self::NoEngineFence,
        Self::AcknowledgeBeforeSync,
        Self::SendBeforeSync,
        Self::NoSync,
        Self::IgnoreFailedCommit,
        Self::NoForgiveness,
        Self::WallClock,
        Self::ForgetKeys,
        Self::AnswerOnce,
        Self::ForgetOldVerdicts,
        Self::ForgetDuties,
        Self::FinishedBeforeJournal,
        Self::ForgetReport,
        Self::StateBeforeVerdict,
        Self::OldState,
        Self::KeepRunning,
        Self::NoGeneration,
        Self::BelieveUndone,
        Self::RetryFromNothing,
        Self::PurgeParts,
        Self::TrustRevoked,
        Self::SayOnce,
        Self::StoredTooEarly,
        Self::UnkeyedChanges,
        Self::AwaitRevoked,
        Self::FullDeadlines,
        Self::RepinRunning,
        Self::StepAnyTime,
        Self::NoRescue,
    ];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoFence => "no-fence",
            Self::NoEngineFence => "no-engine-fence",
            Self::AcknowledgeBeforeSync => "acknowledge-before-sync",
            Self::SendBeforeSync => "send-before-sync",
            Self::NoSync => "no-sync",
            Self::IgnoreFailedCommit => "ignore-failed-commit",
            Self::NoForgiveness => "no-forgiveness",
            Self::WallClock => "wall-clock",
            Self::ForgetKeys => "forget-keys",
            Self::AnswerOnce => "answer-once",
            Self::ForgetOldVerdicts => "forget-old-verdicts",
            Self::ForgetDuties => "forget-duties",
            Self::FinishedBeforeJournal => "finished-before-journal",
            Self::ForgetReport => "forget-report",
            Self::StateBeforeVerdict => "state-before-verdict",
            Self::OldState => "old-state",
            Self::KeepRunning => "keep-running",
            Self::NoGeneration => "no-generation",
            Self::BelieveUndone => "believe-undone",
            Self::RetryFromNothing => "retry-from-nothing",
            Self::PurgeParts => "purge-parts",
            Self::TrustRevoked => "trust-revoked",
            Self::SayOnce => "say-once",
            Self::StoredTooEarly => "stored-too-early",
            Self::UnkeyedChanges => "unkeyed-changes",
            Self::AwaitRevoked => "await-revoked",
            Self::FullDeadlines => "full-deadlines",
            Self::RepinRunning => "repin-running",
            Self::StepAnyTime => "step-any-time",
            Self::NoRescue => "no-rescue",
        }
    }

    /// The bug of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|bug| bug.name() == name)
    }
}
