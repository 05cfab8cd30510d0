//! What the desk orders of the disk: done beside everything else, told when it is synced, and asked again for as long
//! as the disk refuses.
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use manta_api::node::StateKept;
use manta_api::node::node_message::Kind as Message;
use manta_types::limits::STATE_SWARMS_PER_MESSAGE_MAX;
use manta_types::{AttemptId, Digest, SwarmId, crash_point};

use super::held::{Attempts, Work};
use crate::desk::{Command, Input, Journal};
use crate::journals::Values;
use crate::light::Staged;
use crate::logs::AttemptLog;
use crate::parting::Busy;
use crate::supervisor::{Kind, blocking};

/// How long after a refusal the disk is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Values that a journal is to keep, while it is not written.
pub(crate) struct Staging {
    staged: Staged,
    /// Until they are in a journal, no other program takes this one's place.
    _busy: Option<Busy>,
    /// Whether a sync failed: the next one may say that it went well and lie, so values are written anew.
    suspect: AtomicBool,
}

impl Staging {
    pub(crate) const fn new(staged: Staged, busy: Option<Busy>) -> Self {
        Self { staged, _busy: busy, suspect: AtomicBool::new(false) }
    }

    fn files(&self) -> BTreeMap<Digest, PathBuf> {
        self.staged.state.values().map(|pin| (pin.blob().digest, pin.path())).collect()
    }
}

/// Has an order carried out, and tells the desk.
pub(super) fn carry_out(attempts: &Arc<Attempts>, order: Command<Work>) {
    let attempts = Arc::clone(attempts);
    let supervisor = attempts.supervisor.clone();
    supervisor.spawn("disk", Kind::Essential, async move {
        match order {
            Command::WriteJournal(journal) => write(&attempts, journal).await,
            Command::CommitState(journal) => commit(&attempts, journal).await,
            Command::RemoveJournal { attempt } => {
                attempts.unstage(attempt);
                let journals = attempts.node.journals.clone();
                let removed = blocking(move || journals.remove(attempt)).await;
                conclude(&attempts, attempt, removed, Input::Removed { attempt }).await;
            }
            Command::SetAsideJournal { attempt, generation } => set_aside(&attempts, attempt, generation).await,
            Command::ForgetState { swarm } => forget(&attempts, swarm).await,
            Command::Say(_) | Command::StartAttempt { .. } | Command::KillAttempt { .. } => {
                unreachable!("only orders for the disk come here")
            }
        }
    });
}

async fn write(attempts: &Arc<Attempts>, journal: Arc<Journal>) {
    let attempt = journal.attempt.id;
    let staging = attempts.staging(attempt);
    let files = staging.as_ref().map(|staging| staging.files()).unwrap_or_default();
    let suspect = staging.as_ref().is_some_and(|staging| staging.suspect.load(Ordering::Relaxed));
    let how = if suspect { Values::Copied } else { Values::Linked };
    let (audit, journals) = (&attempts.node.audit, attempts.node.journals.clone());
    // What the node's audit says of the attempt is on disk before its report is: the two are synced beside each other.
    let (laid_out, synced) = tokio::join!(blocking(move || journals.lay_out(&journal, &files, how)), audit.synced());
    let journals = attempts.node.journals.clone();
    let written = match laid_out.and(synced) {
        Ok(()) => blocking(move || journals.name(attempt)).await,
        refused => refused,
    };
    match (&written, &staging) {
        (Ok(()), _) => attempts.unstage(attempt),
        (Err(error), Some(staging)) if !is_full(error) => staging.suspect.store(true, Ordering::Relaxed),
        (Err(_), _) => {}
    }
    if let Err(error) = &written {
        let log =
            AttemptLog::new(attempt.to_string(), Arc::clone(&attempts.node.outbox), attempts.node.defaults.bounds);
        let words = format!("the attempt has ended, and its report waits: the node's disk refuses it: {error}");
        log.platform("warning", &words).await;
    }
    let is_written = written.is_ok();
    conclude(attempts, attempt, written, Input::Written { attempt }).await;
    if is_written {
        crash_point!("node.report.queued");
    }
}

async fn commit(attempts: &Arc<Attempts>, journal: Arc<Journal>) {
    let attempt = journal.attempt.id;
    let (state, values) = (attempts.node.state.clone(), attempts.node.journals.place(attempt));
    let committed =
        blocking(move || state.commit(journal.attempt.state_of, &journal.attempt.task, &journal.left.state, &values))
            .await;
    conclude(attempts, attempt, committed, Input::Committed { attempt }).await;
}

async fn set_aside(attempts: &Arc<Attempts>, attempt: AttemptId, generation: u64) {
    let journals = attempts.node.journals.clone();
    let aside = blocking(move || journals.set_aside(attempt, generation)).await;
    if let Ok(place) = &aside {
        let place = place.display();
        tracing::warn!(%attempt, generation, "its report belongs to a history that was undone; it is kept in {place}");
        attempts.remark(format!(
            "the cluster was restored from a backup: reports of its generation {generation} that were not answered are \
             kept in {}",
            attempts.node.journals.aside(generation).display()
        ));
    }
    conclude(attempts, attempt, aside.map(drop), Input::Removed { attempt }).await;
}

async fn forget(attempts: &Arc<Attempts>, swarm: SwarmId) {
    let state = attempts.node.state.clone();
    match blocking(move || state.forget(swarm)).await {
        Ok(()) => tracing::info!(%swarm, "the state that its tasks kept here was forgotten: nobody will read it again"),
        Err(error) => {
            tracing::warn!(%swarm, %error, "the state that nobody needs cannot be removed; it is tried again")
        }
    }
    attempts.step(Input::StateSettled { swarm });
}

/// Tells the manager whose state is kept here; where the disk refuses to say, the next time does.
pub(super) fn say_kept(attempts: &Arc<Attempts>) {
    let attempts = Arc::clone(attempts);
    let supervisor = attempts.supervisor.clone();
    supervisor.spawn("disk", Kind::Essential, async move {
        let state = attempts.node.state.clone();
        match blocking(move || state.swarms()).await {
            Ok(swarms) => {
                for page in swarms.chunks(STATE_SWARMS_PER_MESSAGE_MAX) {
                    let swarms = page.iter().map(ToString::to_string).collect();
                    attempts.node.outbox.push(Message::StateKept(StateKept { swarms }));
                }
            }
            Err(error) => tracing::warn!(%error, "the state that this node keeps cannot be listed; it is tried again"),
        }
    });
}

/// Tells the desk how an order ended, and has it asked again where the disk refused.
async fn conclude(attempts: &Arc<Attempts>, attempt: AttemptId, outcome: io::Result<()>, done: Input<Work>) {
    let Err(error) = outcome else { return attempts.step(done) };
    tracing::warn!(%attempt, %error, "the disk refused what an attempt needs; it is asked again until it does it");
    attempts.step(Input::DiskRefused { attempt, reason: error.to_string() });
    let stop = attempts.supervisor.stopping();
    if stop.run_until_cancelled(tokio::time::sleep(ASK_AGAIN)).await.is_some() {
        attempts.step(Input::TryDisk);
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
