//! Writes one transaction: swarms, nodes, events, and what events imply for the fence, results and globals.
use manta_types::event::{GlobalWrite, Published};
use manta_types::{AttemptId, ClusterId, Event, NodeId, NodeName, SwarmEvent, SwarmId};
use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};

use super::database::StoredId;
use super::query;
use crate::{CommitError, NewSwarm, NodeRecord, StoreError, Transaction};

/// Writes everything or fails; the caller has begun a transaction and rolls it back on failure.
pub(super) fn write(db: &Connection, cluster: &ClusterId, transaction: &Transaction) -> Result<(), CommitError> {
    let Transaction { swarms, events, nodes } = transaction;
    swarms.iter().try_for_each(|swarm| add_swarm(db, cluster, swarm))?;
    nodes.iter().try_for_each(|node| put_node(db, cluster, node))?;
    events.iter().try_for_each(|event| add_event(db, cluster, event))
}

/// Runs a statement and says how many rows it changed.
fn run(db: &Connection, sql: &str, values: &[&dyn ToSql]) -> Result<usize, CommitError> {
    Ok(db.prepare_cached(sql)?.execute(values)?)
}

/// Runs a query for at most one row.
fn find<T>(
    db: &Connection,
    sql: &str,
    values: &[&dyn ToSql],
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>, CommitError> {
    Ok(db.prepare_cached(sql)?.query_row(values, read).optional()?)
}

fn add_swarm(db: &Connection, cluster: &ClusterId, swarm: &NewSwarm) -> Result<(), CommitError> {
    if let Some((key, request)) = &swarm.idempotency
        && let Some((made, earlier)) = query::idempotency(db, cluster, key)?
    {
        return Err(CommitError::KeyUsed { swarm: made, same_request: earlier == *request });
    }
    let added = run(
        db,
        "INSERT INTO swarms (cluster_id, swarm_id, ordinal, name, submission, created_ms) \
         VALUES (?1, ?2, (SELECT COALESCE(MAX(ordinal), 0) + 1 FROM swarms WHERE cluster_id = ?1), ?3, ?4, ?5) \
         ON CONFLICT (cluster_id, swarm_id) DO NOTHING",
        params![cluster.as_str(), swarm.id.bytes(), swarm.name, swarm.submission, swarm.created_ms],
    )?;
    if added == 0 {
        return Err(CommitError::SwarmKnown { swarm: swarm.id });
    }
    if let Some((key, request)) = &swarm.idempotency {
        run(
            db,
            "INSERT INTO idempotency_keys (cluster_id, key, request, swarm_id) VALUES (?1, ?2, ?3, ?4)",
            params![cluster.as_str(), key, request, swarm.id.bytes()],
        )?;
    }
    Ok(())
}

fn put_node(db: &Connection, cluster: &ClusterId, node: &NodeRecord) -> Result<(), CommitError> {
    let owner = find(
        db,
        "SELECT node_id FROM nodes WHERE cluster_id = ?1 AND name = ?2",
        params![cluster.as_str(), node.name.as_str()],
        |row| row.get::<_, StoredId>(0),
    )?;
    if owner.is_some_and(|owner| NodeId::from_uuid(owner.0) != node.id) {
        return Err(CommitError::NameTaken { name: node.name.clone() });
    }
    let put = run(
        db,
        "INSERT INTO nodes (cluster_id, node_id, name, description, joined_ms) VALUES (?1, ?2, ?3, ?4, ?5) \
         ON CONFLICT (cluster_id, node_id) DO UPDATE SET description = excluded.description WHERE name = excluded.name",
        params![cluster.as_str(), node.id.bytes(), node.name.as_str(), node.description, node.joined_ms],
    )?;
    if put == 1 {
        return Ok(());
    }
    let stored: String = db
        .prepare_cached("SELECT name FROM nodes WHERE cluster_id = ?1 AND node_id = ?2")?
        .query_row(params![cluster.as_str(), node.id.bytes()], |row| row.get(0))?;
    let name = NodeName::new(&stored)
        .map_err(|error| StoreError::Corrupt { what: format!("node `{}`", node.id), problem: error.to_string() })?;
    Err(CommitError::Renamed { id: node.id, name, wanted: node.name.clone() })
}

fn add_event(db: &Connection, cluster: &ClusterId, event: &Event) -> Result<(), CommitError> {
    let (cluster_id, swarm_id) = (cluster.as_str(), event.swarm.bytes());
    let followed = run(
        db,
        "UPDATE swarms SET seq = ?3, finished = finished OR ?4 WHERE cluster_id = ?1 AND swarm_id = ?2 AND seq = ?3 - 1",
        params![cluster_id, swarm_id, event.seq, event.what.is_final()],
    )?;
    if followed == 0 {
        let stored = find(
            db,
            "SELECT seq FROM swarms WHERE cluster_id = ?1 AND swarm_id = ?2",
            params![cluster_id, swarm_id],
            |row| row.get(0),
        )?;
        return Err(match stored {
            Some(stored) => CommitError::OutOfOrder { swarm: event.swarm, stored, given: event.seq },
            None => CommitError::UnknownSwarm { swarm: event.swarm },
        });
    }
    let subject = serde_json::to_string(&event.subject).expect("ids and numbers are always JSON");
    let cause = serde_json::to_string(&event.cause).expect("texts and numbers are always JSON");
    let text = serde_json::to_string(&event.what).expect("events hold nothing that JSON cannot say");
    run(
        db,
        "INSERT INTO events (cluster_id, swarm_id, seq, kind, time_ms, subject, cause, event) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![cluster_id, swarm_id, event.seq, event.what.kind(), event.time_ms, subject, cause, text],
    )?;
    derive(&Derivation { db, cluster, swarm: event.swarm }, &event.what)
}

/// Where an attempt was offered.
struct Offer {
    iteration: u32,
    task: usize,
    slot: usize,
    node: String,
    epoch: u32,
}

/// What the tables beside the history learn from it.
fn derive(tables: &Derivation<'_>, what: &SwarmEvent) -> Result<(), CommitError> {
    match what {
        SwarmEvent::AttemptOffered { attempt, iteration, task, slot, node, epoch, .. } => {
            let node = node.as_str().to_owned();
            let offer = Offer { iteration: *iteration, task: *task, slot: *slot, node, epoch: *epoch };
            tables.offer(*attempt, &offer)
        }
        SwarmEvent::AttemptAccepted { attempt, outputs, .. } => {
            let offer = tables.offered(*attempt)?;
            tables.accept(*attempt, &offer)?;
            tables.add_results(*attempt, &offer, &outputs.results, true)
        }
        SwarmEvent::AttemptFailed { attempt, results, .. } => {
            let offer = tables.offered(*attempt)?;
            tables.add_results(*attempt, &offer, results, false)
        }
        SwarmEvent::TaskRunClosed { globals, .. } => globals.iter().try_for_each(|write| tables.put_global(write)),
        SwarmEvent::SwarmContinued { checkpoint } => {
            checkpoint.written().try_for_each(|write| tables.put_global(&write))
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
        | SwarmEvent::SwarmResumed { .. } => Ok(()),
    }
}

/// The derived tables of one swarm.
struct Derivation<'a> {
    db: &'a Connection,
    cluster: &'a ClusterId,
    swarm: SwarmId,
}

impl Derivation<'_> {
    fn offer(&self, attempt: AttemptId, offer: &Offer) -> Result<(), CommitError> {
        let Offer { iteration, task, slot, node, epoch } = offer;
        let (cluster, swarm) = (self.cluster.as_str(), self.swarm.bytes());
        let added = run(
            self.db,
            "INSERT INTO attempts (cluster_id, swarm_id, attempt_id, iteration, task, slot, node, epoch) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING",
            params![cluster, swarm, attempt.bytes(), iteration, task, slot, node, epoch],
        )?;
        let taken = run(
            self.db,
            "INSERT INTO slots (cluster_id, swarm_id, iteration, task, slot, attempt_id, epoch) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO UPDATE \
             SET attempt_id = excluded.attempt_id, epoch = excluded.epoch \
             WHERE epoch < excluded.epoch AND accepted = 0",
            params![cluster, swarm, iteration, task, slot, attempt.bytes(), epoch],
        )?;
        if added == 1 && taken == 1 { Ok(()) } else { Err(CommitError::Fenced { attempt }) }
    }

    fn offered(&self, attempt: AttemptId) -> Result<Offer, CommitError> {
        let found = find(
            self.db,
            "SELECT iteration, task, slot, node, epoch FROM attempts \
             WHERE cluster_id = ?1 AND swarm_id = ?2 AND attempt_id = ?3",
            params![self.cluster.as_str(), self.swarm.bytes(), attempt.bytes()],
            |row| {
                let (iteration, task, slot) = (row.get(0)?, row.get(1)?, row.get(2)?);
                Ok(Offer { iteration, task, slot, node: row.get(3)?, epoch: row.get(4)? })
            },
        )?;
        found.ok_or(CommitError::Fenced { attempt })
    }

    fn accept(&self, attempt: AttemptId, offer: &Offer) -> Result<(), CommitError> {
        let Offer { iteration, task, slot, epoch, .. } = offer;
        let accepted = run(
            self.db,
            "UPDATE slots SET accepted = 1 WHERE cluster_id = ?1 AND swarm_id = ?2 \
             AND iteration = ?3 AND task = ?4 AND slot = ?5 AND attempt_id = ?6 AND epoch = ?7 AND accepted = 0",
            params![self.cluster.as_str(), self.swarm.bytes(), iteration, task, slot, attempt.bytes(), epoch],
        )?;
        if accepted == 1 { Ok(()) } else { Err(CommitError::Fenced { attempt }) }
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
                "INSERT OR REPLACE INTO results (cluster_id, swarm_id, iteration, task, node, attempt_id, position, \
                 name, digest, size, accepted) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
                params![
                    cluster,
                    swarm,
                    iteration,
                    task,
                    node,
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
        run(
            self.db,
            "INSERT OR REPLACE INTO globals (cluster_id, swarm_id, name, revision, writer, digest, size) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                self.cluster.as_str(),
                self.swarm.bytes(),
                name,
                revision,
                writer.as_str(),
                blob.digest.bytes(),
                blob.size
            ],
        )?;
        Ok(())
    }
}
