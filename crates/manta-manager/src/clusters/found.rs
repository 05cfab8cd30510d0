//! What people see of the clusters.
use std::sync::PoisonError;

use manta_api::{ClusterView, ErrorCode, Problem};
use manta_store::ClusterRecord;
use manta_types::NodeDuty;

use super::{Clusters, Place};
use crate::ManagerError;
use crate::app::App;

impl Clusters {
    /// All clusters, the first one first, the others by name.
    ///
    /// # Errors
    /// When the manager is stopping.
    pub(crate) async fn views(&self) -> Result<Vec<ClusterView>, ManagerError> {
        let mut views = vec![view(self.first()).await?];
        let others: Vec<_> = self.0.others.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        for place in others {
            views.push(match place {
                Place::Open(app) => match view(&app).await {
                    Ok(view) => view,
                    // It went meanwhile.
                    Err(ManagerError::Stopping) if app.stop.is_cancelled() => continue,
                    Err(error) => return Err(error),
                },
                Place::Closed { record, why } => ClusterView {
                    name: record.name.to_string(),
                    state: if record.is_removing { "removing" } else { "damaged" }.to_owned(),
                    reason: Some(why),
                    is_first: false,
                    created_ms: Some(record.created_ms),
                    swarms_live: None,
                    nodes: None,
                },
            });
        }
        Ok(views)
    }
}

/// A cluster that is served.
///
/// # Errors
/// When it goes, or the manager is stopping.
pub(super) async fn view(app: &App) -> Result<ClusterView, ManagerError> {
    let (swarms, nodes) = app
        .handle
        .ask(|view| {
            let swarms = view.engine.swarms().filter(|swarm| !swarm.is_over()).count();
            let nodes = view.engine.nodes().filter(|node| node.duty() != NodeDuty::Revoked).count();
            (swarms as u64, nodes as u64)
        })
        .await?;
    let is_first = app.is_first;
    Ok(ClusterView {
        name: app.cluster.to_string(),
        state: "open".to_owned(),
        reason: None,
        is_first,
        created_ms: Some(app.created_ms).filter(|_| !is_first),
        swarms_live: Some(swarms),
        nodes: Some(nodes),
    })
}

/// A cluster is there and cannot be served.
pub(super) fn closed(record: &ClusterRecord, why: &str) -> Problem {
    let name = &record.name;
    if record.is_removing {
        let sentence = format!("the cluster `{name}` is being removed, and not all of it is gone: {why}");
        let hint = format!("`manta cluster rm {name}` goes on with it");
        return Problem::new(ErrorCode::Conflict, sentence).hint(hint);
    }
    let sentence = format!("the cluster `{name}` cannot be recovered: {why}");
    Problem::new(ErrorCode::Corrupt, sentence)
        .hint("the other clusters go on; bring a backup into a new directory with `manta manager restore`")
}
