//! A swarm's stored history: read backwards, and a swarm rebuilt from it as it was at one of its events.
use std::sync::Arc;

use manta_api::{ErrorCode, Problem};
use manta_engine::SwarmRun;
use manta_types::{Event, SwarmId};

use super::stream::PAGE;
use super::swarms::Found;
use crate::ManagerError;
use crate::app::App;

/// The events up to a sequence, the last `most` of them, in order.
pub(super) async fn up_to(app: &App, swarm: SwarmId, seq: u64, most: usize) -> Result<Vec<Event>, ManagerError> {
    let most = seq.min(u64::try_from(most).unwrap_or(u64::MAX));
    let (cluster, after) = (app.cluster.clone(), seq - most);
    let limit = usize::try_from(most).unwrap_or(usize::MAX);
    let events = app.store.run(move |store| store.events(&cluster, swarm, after, limit)).await??;
    Ok(events)
}

/// The last event up to a sequence that is as wanted.
pub(super) async fn last(
    app: &App,
    swarm: SwarmId,
    seq: u64,
    is_wanted: impl Fn(&Event) -> bool,
) -> Result<Option<Event>, ManagerError> {
    let mut seq = seq;
    while seq > 0 {
        let page = up_to(app, swarm, seq, PAGE).await?;
        if let Some(found) = page.iter().rfind(|event| is_wanted(event)) {
            return Ok(Some(found.clone()));
        }
        seq = page.first().map_or(0, |first| first.seq - 1);
    }
    Ok(None)
}

/// A swarm as it was when the event of that sequence had happened, from its history alone.
pub(super) async fn rebuild(app: &App, found: &Found, at: u64) -> Result<SwarmRun, Problem> {
    if at == 0 || at > found.seq {
        let sentence = format!("swarm `{}` has no event {at}: its events are 1 to {}", found.id, found.seq);
        return Err(Problem::new(ErrorCode::NotFound, sentence).hint("`manta events` lists them"));
    }
    let mut swarm = SwarmRun::before_history(found.id, Arc::clone(&found.spec), found.created_ms);
    while swarm.seq() < at {
        let page = up_to(app, found.id, at.min(swarm.seq() + PAGE as u64), PAGE).await?;
        for event in page.iter().filter(|event| event.seq > swarm.seq()).collect::<Vec<_>>() {
            swarm.follow(event).map_err(ManagerError::from)?;
        }
    }
    Ok(swarm)
}
