//! What a manager knows when it starts: nothing but what is stored, replayed as far as it has not ended.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use manta_api::SwarmSubmission;
use manta_engine::{Engine, Now};
use manta_store::{StateStore, SwarmRecord};
use manta_types::{ClusterId, Event, NodeName, SwarmSpec, limits};

use super::ended::Ended;
use super::nodes::KnownNode;
use super::registry::{Registry, signatures};
use crate::ManagerError;

/// Events read at once; bounds the time for which other readers wait.
pub(super) const EVENTS_PAGE: usize = 2000;

/// The state as it was when the last commit became durable.
#[derive(Debug)]
pub struct Recovered {
    /// All that was decided.
    pub engine: Engine,
    /// All nodes that ever joined.
    pub nodes: BTreeMap<NodeName, KnownNode>,
    /// All modules that are published.
    pub modules: Registry,
    /// Swarms that the engine is yet to be told of, since nothing waits for them.
    pub ended: Ended,
}

/// Replays what goes on into an engine that knows nothing yet. Leases start in full.
///
/// # Errors
/// When a record cannot be read or a history cannot be followed.
pub fn recover(
    store: &mut dyn StateStore,
    cluster: &ClusterId,
    now: Now,
    mut engine: Engine,
) -> Result<Recovered, ManagerError> {
    let mut nodes = BTreeMap::new();
    for record in store.nodes(cluster)? {
        let node = KnownNode::parse(&record)?;
        let drain_left = node.drain_left_ms.map(Duration::from_millis);
        if !node.is_removed {
            engine.restore_node(now, node.describe(&record.name), node.duty, drain_left);
        }
        nodes.insert(record.name, node);
    }
    // A lease in full and a heartbeat more: a node that dials again every five seconds is not late when it comes.
    engine.extend_leases(limits::HEARTBEAT);
    let (ended, open): (Vec<_>, Vec<_>) =
        store.swarms(cluster)?.into_iter().partition(|record| record.ended_ms.is_some());
    for record in &open {
        let spec = stored_spec(record)?;
        let events = history(store, cluster, record)?;
        engine.restore_swarm(now, record.id, spec, record.created_ms, &events)?;
    }
    if !open.is_empty() {
        tracing::info!(swarms = open.len(), nodes = nodes.len(), "swarms go on from what is stored");
    }
    let records = store.modules(cluster)?;
    for record in records.iter().filter(|record| !record.signatures.is_empty()) {
        engine.restore_signatures(record.bundle.digest, signatures(record));
    }
    let modules = Registry::new(records)?;
    Ok(Recovered { engine, nodes, modules, ended: Ended::new(ended) })
}

pub(super) fn stored_spec(record: &SwarmRecord) -> Result<Arc<SwarmSpec>, ManagerError> {
    let unreadable =
        |problem: String| ManagerError::Unreadable { what: format!("submission of swarm `{}`", record.id), problem };
    let submission: SwarmSubmission =
        serde_json::from_str(&record.submission).map_err(|error| unreadable(error.to_string()))?;
    submission.spec().map(Arc::new).map_err(|error| unreadable(error.to_string()))
}

fn history(store: &mut dyn StateStore, cluster: &ClusterId, record: &SwarmRecord) -> Result<Vec<Event>, ManagerError> {
    let mut events: Vec<Event> = Vec::new();
    loop {
        let after = events.last().map_or(0, |event| event.seq);
        let page = store.events(cluster, record.id, after, EVENTS_PAGE)?;
        let is_last = page.len() < EVENTS_PAGE;
        events.extend(page);
        if is_last {
            return Ok(events);
        }
    }
}

#[cfg(test)]
mod tests;
