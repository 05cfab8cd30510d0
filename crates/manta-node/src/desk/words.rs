//! What the desk is told, and what it has done.
use std::collections::BTreeMap;
use std::sync::Arc;

use manta_api::node::AttemptFinished;
use manta_types::{AttemptId, Blob, SwarmId};
use serde::{Deserialize, Serialize};

/// An attempt, as this node was asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its id.
    pub id: AttemptId,
    /// Its lease epoch; an order under a smaller one never counts.
    pub epoch: u32,
    /// Whose it is.
    pub swarm: SwarmId,
    /// The swarm under whose name its task keeps state: another one where a swarm continues a failed one.
    pub state_of: SwarmId,
    /// The task's alias.
    pub task: String,
    /// From 0.
    pub iteration: u32,
    /// The cluster's generation when it was offered, where the manager named one; the desk fills it in.
    pub generation: Option<u64>,
}

/// The end of an attempt, as it is on disk before it is said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Journal {
    /// Whose end it is.
    pub attempt: Attempt,
    /// What it left.
    pub left: Left,
}

/// What an attempt leaves when it has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Left {
    /// What the manager is told, in these words however often.
    pub report: AttemptFinished,
    /// What becomes state if it is accepted: name → value; empty where it failed.
    pub state: BTreeMap<String, Blob>,
}

/// How far an attempt that has not ended is, as the manager is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It waits, or what it needs is being fetched.
    Preparing,
    /// User code runs.
    Running,
    /// It ended well, and its values are on their way.
    Uploading,
}

impl Phase {
    /// Its word in the node protocol.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Preparing => "preparing",
            Self::Running => "running",
            Self::Uploading => "uploading",
        }
    }
}

/// Something that happened. `W` is what the caller needs to start an attempt.
#[derive(Debug, Clone)]
pub enum Input<W> {
    /// The manager asks for an attempt, perhaps not for the first time.
    Offered {
        /// Which.
        attempt: Attempt,
        /// Handed back with [`Command::StartAttempt`].
        work: W,
    },
    /// The manager does not want an attempt any more.
    Cancelled {
        /// Which.
        attempt: AttemptId,
        /// Under this epoch or an older one.
        epoch: u32,
    },
    /// The manager answers a report.
    Answered {
        /// Whose.
        attempt: AttemptId,
        /// Under which epoch.
        epoch: u32,
        /// Whether what the attempt left counts.
        accepted: bool,
    },
    /// The manager says that no attempt will be offered that reads the state kept under this name.
    StateUnneeded {
        /// The swarm under whose name it is kept.
        swarm: SwarmId,
    },
    /// [`Command::ForgetState`] is done, or the disk refused it: what is left is named to the manager again later.
    StateSettled {
        /// Whose.
        swarm: SwarmId,
    },
    /// A session began.
    SessionBegan {
        /// The cluster's generation, where the manager names one: what was offered in another belongs to a history that
        /// a restore undid.
        generation: Option<u64>,
    },
    /// The session ended.
    SessionEnded,
    /// An attempt went on to another phase.
    Entered {
        /// Which.
        attempt: AttemptId,
        /// To which.
        phase: Phase,
    },
    /// An attempt ended: nothing of it runs any more, and what it published is stored at the manager.
    Ended {
        /// Which.
        attempt: AttemptId,
        /// What it leaves; nothing where it was stopped.
        left: Option<Box<Left>>,
    },
    /// [`Command::WriteJournal`] is done, and synced.
    Written {
        /// Whose.
        attempt: AttemptId,
    },
    /// [`Command::CommitState`] is done, and synced.
    Committed {
        /// Whose.
        attempt: AttemptId,
    },
    /// [`Command::RemoveJournal`] or [`Command::SetAsideJournal`] is done, and synced.
    Removed {
        /// Whose.
        attempt: AttemptId,
    },
    /// The disk refused the order that was given for an attempt last.
    DiskRefused {
        /// Whose.
        attempt: AttemptId,
        /// In words.
        reason: String,
    },
    /// It is time to ask the disk again.
    TryDisk,
    /// It is time to say again what was not answered: the manager may not have been able to take it.
    SayAgain,
}

/// Something to do. Orders that touch the disk are given one at a time for each attempt, and each is answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Command<W> {
    /// Tell the manager, if the session lasts; what matters is said again in the next one.
    Say(Word),
    /// Begin an attempt.
    StartAttempt {
        /// Which.
        attempt: Attempt,
        /// What came with its offer.
        work: W,
    },
    /// End an attempt now; answered by [`Input::Ended`].
    KillAttempt {
        /// Which.
        attempt: AttemptId,
    },
    /// Put a journal and the values it keeps as state on disk, synced, before it can be found.
    WriteJournal(Arc<Journal>),
    /// Make what an accepted attempt kept part of the state, synced. Doing it twice is as doing it once.
    CommitState(Arc<Journal>),
    /// Remove a journal, synced; it may be there in part, or not at all.
    RemoveJournal {
        /// Whose.
        attempt: AttemptId,
    },
    /// Move a journal to where the operator finds it, synced.
    SetAsideJournal {
        /// Whose.
        attempt: AttemptId,
        /// The generation that was undone.
        generation: u64,
    },
    /// Remove the state that is kept under a swarm's name, synced; it may be there in part, or not at all.
    ForgetState {
        /// The swarm.
        swarm: SwarmId,
    },
}

/// A message to the manager.
#[derive(Debug, Clone, PartialEq)]
pub enum Word {
    /// How far an attempt is.
    Progress {
        /// Which.
        attempt: AttemptId,
        /// Under which epoch.
        epoch: u32,
        /// How far.
        phase: Phase,
    },
    /// An attempt ended.
    Finished(Arc<Journal>),
    /// An offer cannot be taken.
    Refused {
        /// Which.
        attempt: AttemptId,
        /// Under which epoch.
        epoch: u32,
        /// In words.
        reason: String,
    },
}

/// What this node has of an attempt when it introduces itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Which.
    pub attempt: AttemptId,
    /// Under which epoch.
    pub epoch: u32,
    /// In which generation it was offered.
    pub generation: Option<u64>,
    /// How far; nothing where its report awaits an answer.
    pub phase: Option<Phase>,
}
