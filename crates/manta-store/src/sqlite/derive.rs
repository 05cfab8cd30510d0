//! What the tables beside the history learn from each event: the fence, results and globals.
use manta_types::event::{GlobalWrite, Published};
use manta_types::{AttemptId, ClusterId, NodeName, SwarmEvent, SwarmId};
use rusqlite::{Connection, OptionalExtension, params};

use super::checksum::{check, is_sound, put};
use super::commit::run;
use super::database::StoredId;
use super::query::Parsed;
use crate::{CommitError, StoreError};

/// The derived tables of one swarm.
pub(super) struct Derivation<'a> {
    pub(super) db: &'a Connection,
    pub(super) cluster: &'a ClusterId,
    pub(super) swarm: SwarmId,
}

/// Where an attempt was offered.
pub(super) struct Offer {
    pub(super) iteration: u32,
    pub(super) task: usize,
    pub(super) slot: usize,
    pub(super) node: NodeName,
    pub(super) epoch: u32,
}

/// Whose attempt a slot takes, and whether it has taken it.
pub(super) struct Slot {
    pub(super) attempt: AttemptId,
    pub(super) epoch: u32,
    pub(super) accepted: bool,
}

impl Derivation<'_> {
    /// Follows an event, or names the attempt that the fence keeps out.
    pub(super) fn follow(&self, what: &SwarmEvent) -> Result<(), CommitError> {
        match what {
            SwarmEvent::AttemptOffered { attempt, iteration, task, slot, node, epoch, .. } => {
                let node = node.clone();
                let offer = Offer { iteration: *iteration, task: *task, slot: *slot, node, epoch: *epoch };
                self.offer(*attempt, &offer)
            }
            SwarmEvent::AttemptAccepted { attempt, outputs, .. } => {
                let offer = self.offered(*attempt)?.ok_or(CommitError::Fenced { attempt: *attempt })?;
                self.accept(*attempt, &offer)?;
                self.add_results(*attempt, &offer, &outputs.results, true)
            }
            SwarmEvent::AttemptFailed { attempt, results, .. } => {
                let offer = self.offered(*attempt)?.ok_or(CommitError::Fenced { attempt: *attempt })?;
                self.add_results(*attempt, &offer, results, false)
            }
            SwarmEvent::TaskRunClosed { globals, .. } => globals.iter().try_for_each(|write| self.put_global(write)),
            SwarmEvent::SwarmContinued { checkpoint } => {
                checkpoint.written().try_for_each(|write| self.put_global(&write))
            }
            SwarmEvent::SwarmAdmitted
            | SwarmEvent::IterationStarted { .. }
            | SwarmEvent::TaskRunReady { .. }
            | SwarmEvent::TaskRunSkipped { .. }
            | SwarmEvent::TaskRunStarted { .. }
            | SwarmEvent::AttemptProgressed { .. }
            | SwarmEvent::AttemptLost { .. }
            | SwarmEvent::AttemptCancelled { .. }
            | SwarmEvent::NodeExcused { .. }
            | SwarmEvent::IterationFinished { .. }
            | SwarmEvent::SwarmSucceeded { .. }
            | SwarmEvent::SwarmFailed { .. }
            | SwarmEvent::SwarmStopped { .. }
            | SwarmEvent::SwarmPaused { .. }
            | SwarmEvent::SwarmResumed { .. }
            | SwarmEvent::RolloutStarted { .. }
            | SwarmEvent::RolloutStepped { .. }
            | SwarmEvent::RolloutHeld { .. }
            | SwarmEvent::RolloutResumed { .. }
            | SwarmEvent::RolloutPromoted { .. }
            | SwarmEvent::RolloutEnded { .. } => Ok(()),
        }
    }

    fn offer(&self, attempt: AttemptId, offer: &Offer) -> Result<(), CommitError> {
        let Offer { iteration, task, slot, node, epoch } = offer;
        let added = run(
            self.db,
            concat!(put!("INSERT", attempts, "?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8"), " ON CONFLICT DO NOTHING"),
            params![
                self.cluster.as_str(),
                self.swarm.bytes(),
                attempt.bytes(),
                iteration,
                task,
                slot,
                node.as_str(),
                epoch
            ],
        )?;
        let held = self.slot(offer)?;
        if added == 0 || held.is_some_and(|slot| slot.accepted || slot.epoch >= offer.epoch) {
            return Err(CommitError::Fenced { attempt });
        }
        self.put_slot(attempt, offer, false)
    }

    fn accept(&self, attempt: AttemptId, offer: &Offer) -> Result<(), CommitError> {
        let held = self.slot(offer)?;
        if held.is_some_and(|slot| slot.attempt == attempt && slot.epoch == offer.epoch && !slot.accepted) {
            self.put_slot(attempt, offer, true)
        } else {
            Err(CommitError::Fenced { attempt })
        }
    }

    /// Where an attempt of this swarm was offered, if it was.
    pub(super) fn offered(&self, attempt: AttemptId) -> Result<Option<Offer>, StoreError> {
        let mut select = self.db.prepare_cached(concat!(
            "SELECT iteration, task, slot, node, epoch, ",
            is_sound!(attempts),
            " FROM attempts WHERE cluster_id = ?1 AND swarm_id = ?2 AND attempt_id = ?3"
        ))?;
        let found = select.query_row(params![self.cluster.as_str(), self.swarm.bytes(), attempt.bytes()], |row| {
            Ok(check(row, 5, || format!("attempt `{attempt}` of swarm `{}`", self.swarm)).and_then(|()| {
                let (iteration, task, slot) = (row.get(0)?, row.get(1)?, row.get(2)?);
                Ok(Offer { iteration, task, slot, node: row.get::<_, Parsed<_>>(3)?.0, epoch: row.get(4)? })
            }))
        });
        found.optional()?.transpose()
    }

    /// The slot of an offer, if anything was offered there.
    pub(super) fn slot(&self, offer: &Offer) -> Result<Option<Slot>, StoreError> {
        let Offer { iteration, task, slot, .. } = offer;
        let mut select = self.db.prepare_cached(concat!(
            "SELECT attempt_id, epoch, accepted, ",
            is_sound!(slots),
            " FROM slots WHERE cluster_id = ?1 AND swarm_id = ?2 AND iteration = ?3 AND task = ?4 AND slot = ?5"
        ))?;
        let key = params![self.cluster.as_str(), self.swarm.bytes(), iteration, task, slot];
        let found = select.query_row(key, |row| {
            let what = || format!("slot {slot} of task {task} in iteration {iteration} of swarm `{}`", self.swarm);
            Ok(check(row, 3, what).and_then(|()| {
                let attempt = AttemptId::from_uuid(row.get::<_, StoredId>(0)?.0);
                Ok(Slot { attempt, epoch: row.get(1)?, accepted: row.get(2)? })
            }))
        });
        found.optional()?.transpose()
    }

    fn put_slot(&self, attempt: AttemptId, offer: &Offer, accepted: bool) -> Result<(), CommitError> {
        let Offer { iteration, task, slot, epoch, .. } = offer;
        let (cluster, swarm) = (self.cluster.as_str(), self.swarm.bytes());
        run(
            self.db,
            put!("INSERT OR REPLACE", slots, "?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8"),
            params![cluster, swarm, iteration, task, slot, attempt.bytes(), epoch, accepted],
        )?;
        Ok(())
    }

    fn add_results(
        &self,
        attempt: AttemptId,
        offer: &Offer,
        results: &[Published],
        accepted: bool,
    ) -> Result<(), CommitError> {
        let Offer { iteration, task, node, .. } = offer;
        let (cluster, swarm) = (self.cluster.as_str(), self.swarm.bytes());
        for (position, Published { name, blob }) in results.iter().enumerate() {
            run(
                self.db,
                put!("INSERT OR REPLACE", results, "?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11"),
                params![
                    cluster,
                    swarm,
                    iteration,
                    task,
                    node.as_str(),
                    attempt.bytes(),
                    position,
                    name,
                    blob.digest.bytes(),
                    blob.size,
                    accepted
                ],
            )?;
        }
        Ok(())
    }

    fn put_global(&self, write: &GlobalWrite) -> Result<(), CommitError> {
        let GlobalWrite { name, blob, revision, writer } = write;
        let (cluster, swarm) = (self.cluster.as_str(), self.swarm.bytes());
        run(
            self.db,
            put!("INSERT OR REPLACE", globals, "?1, ?2, ?3, ?4, ?5, ?6, ?7"),
            params![cluster, swarm, name, revision, writer.as_str(), blob.digest.bytes(), blob.size],
        )?;
        Ok(())
    }
}
