//! Quotas: what the cluster uses, and the refusal of more than it may.
//!
//! Whatever could pass a quota is admitted one at a time, so that two who ask at once do not both get the last place.
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use manta_api::{ErrorCode, Problem, QuotaView};
use manta_store::{BlobError, BlobStore};
use manta_types::{NodeDuty, NodeName, Quota, Timestamp};
use tokio::sync::MutexGuard;

use crate::ManagerError;
use crate::app::App;
use crate::http::internal;

/// How long a measurement of what is stored is good for; what is admitted meanwhile is added.
const MEASURED_FOR: Duration = Duration::from_secs(30);
/// Blobs that are looked at in one go.
const PAGE: usize = 1_000;
/// Parts of a call that a second's pace is kept in.
const PARTS: u64 = 1_000_000_000;

/// What is known of the cluster's use, beside what the engine knows.
#[derive(Default)]
pub(crate) struct Quotas {
    admitting: tokio::sync::Mutex<()>,
    calls: Mutex<Pace>,
    stored: tokio::sync::Mutex<Option<(Timestamp, u64)>>,
    admitted: AtomicU64,
}

/// Held while what was admitted is made.
pub(crate) type Admitted<'a> = Option<MutexGuard<'a, ()>>;

/// Calls that may come now.
#[derive(Debug, Default)]
struct Pace {
    at: Timestamp,
    /// In parts of a call.
    left: Option<u64>,
}

impl Pace {
    /// Whether one more call is within so many a second; a second's worth may come at once.
    fn admit(&mut self, now: Timestamp, per_second: u64) -> bool {
        let most = per_second.saturating_mul(PARTS);
        let since = now - self.at;
        let come = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX).saturating_mul(per_second);
        let left = self.left.map_or(most, |left| left.saturating_add(come).min(most));
        self.at = now;
        let is_admitted = left >= PARTS;
        self.left = Some(if is_admitted { left - PARTS } else { left });
        is_admitted
    }
}

/// Refuses a swarm more than the cluster may have.
pub(crate) async fn admit_swarm(app: &App) -> Result<Admitted<'_>, Problem> {
    let Some(most) = limit(app, Quota::SwarmsLive) else { return Ok(None) };
    let admitting = app.quotas.admitting.lock().await;
    within(Quota::SwarmsLive, swarms(app).await?, 1, most)?;
    Ok(Some(admitting))
}

/// Refuses a node more than the cluster may have; one that joined before is none.
pub(crate) async fn admit_node<'a>(app: &'a App, name: &NodeName) -> Result<Admitted<'a>, Problem> {
    let Some(most) = limit(app, Quota::Nodes) else { return Ok(None) };
    let admitting = app.quotas.admitting.lock().await;
    let name = name.clone();
    if !app.handle.ask(move |view| view.engine.node(&name).is_some()).await? {
        within(Quota::Nodes, nodes(app).await?, 1, most)?;
    }
    Ok(Some(admitting))
}

/// Refuses a blob that would be more than the cluster may store.
pub(crate) async fn admit_bytes(app: &App, bytes: u64) -> Result<(), Problem> {
    let Some(most) = limit(app, Quota::StoredBytes) else { return Ok(()) };
    let _admitting = app.quotas.admitting.lock().await;
    within(Quota::StoredBytes, stored(app).await?, bytes, most)?;
    app.quotas.admitted.fetch_add(bytes, Ordering::Relaxed);
    Ok(())
}

/// Refuses a user's call beyond what the cluster may ask in a second.
pub(crate) fn admit_call(app: &App) -> Result<(), Problem> {
    let Some(most) = limit(app, Quota::CallsPerSecond) else { return Ok(()) };
    let mut calls = app.quotas.calls.lock().unwrap_or_else(PoisonError::into_inner);
    if calls.admit(app.clock.now().monotonic, most) {
        return Ok(());
    }
    let sentence = format!("the cluster's users made more than {most} calls in a second, its quota (calls-per-second)");
    Err(Problem::new(ErrorCode::QuotaReached, sentence).hint("ask again in a second"))
}

/// All quotas, and what is used of each.
pub(crate) async fn view(app: &App) -> Result<Vec<QuotaView>, Problem> {
    let mut views = Vec::new();
    for quota in Quota::ALL {
        let used = match quota {
            Quota::SwarmsLive => Some(swarms(app).await?),
            Quota::Nodes => Some(nodes(app).await?),
            Quota::StoredBytes => Some(stored(app).await?),
            Quota::CallsPerSecond => None,
        };
        views.push(QuotaView { name: quota, limit: limit(app, quota), used, about: quota.about().to_owned() });
    }
    Ok(views)
}

fn limit(app: &App, quota: Quota) -> Option<u64> {
    app.people.ask(|known| known.quota(&app.cluster, quota))
}

fn within(quota: Quota, used: u64, more: u64, most: u64) -> Result<(), Problem> {
    if used.saturating_add(more) <= most {
        return Ok(());
    }
    let what = quota.about();
    let sentence = format!("the cluster has {used} {what}, {more} more is beyond its quota of {most} ({quota})");
    let hint = format!("`manta quota show` says what is used; an admin raises it with `manta quota set {quota} N`");
    Err(Problem::new(ErrorCode::QuotaReached, sentence).hint(hint))
}

async fn swarms(app: &App) -> Result<u64, ManagerError> {
    app.handle.ask(|view| view.engine.swarms().filter(|swarm| !swarm.is_over()).count() as u64).await
}

async fn nodes(app: &App) -> Result<u64, ManagerError> {
    app.handle.ask(|view| view.engine.nodes().filter(|node| node.duty() != NodeDuty::Revoked).count() as u64).await
}

/// Bytes of stored blobs: measured lately, and what was admitted since.
async fn stored(app: &App) -> Result<u64, Problem> {
    let now = app.clock.now().monotonic;
    let mut stored = app.quotas.stored.lock().await;
    let measured = match *stored {
        Some((at, bytes)) if now - at < MEASURED_FOR => bytes,
        _ => {
            app.quotas.admitted.store(0, Ordering::Relaxed);
            let blobs = Arc::clone(&app.blobs);
            let measured = tokio::task::spawn_blocking(move || measure(blobs.as_ref())).await.map_err(internal)?;
            let bytes = measured.map_err(ManagerError::from)?;
            *stored = Some((now, bytes));
            bytes
        }
    };
    Ok(measured.saturating_add(app.quotas.admitted.load(Ordering::Relaxed)))
}

fn measure(blobs: &dyn BlobStore) -> Result<u64, BlobError> {
    let (mut bytes, mut last) = (0u64, None);
    loop {
        let page = blobs.digests(last.as_ref(), PAGE)?;
        for digest in &page {
            bytes = bytes.saturating_add(blobs.size(digest)?.unwrap_or(0));
        }
        last = page.last().copied();
        if page.len() < PAGE {
            return Ok(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_of_calls_may_come_at_once_and_then_as_many_a_second() {
        let mut pace = Pace::default();
        let at = |ms: u64| Timestamp::START + Duration::from_millis(ms);
        let admitted = |pace: &mut Pace, ms| (0..100).filter(|_| pace.admit(at(ms), 10)).count();
        assert_eq!(admitted(&mut pace, 0), 10);
        assert_eq!(admitted(&mut pace, 50), 0);
        assert_eq!(admitted(&mut pace, 100), 1);
        assert_eq!(admitted(&mut pace, 600), 5);
        assert_eq!(admitted(&mut pace, 60_000), 10, "what was not asked for is not saved up");
        assert_eq!((0..100).filter(|_| pace.admit(at(60_000), 0)).count(), 0, "none at all");
    }

    #[test]
    fn a_refusal_names_the_quota_its_value_and_what_is_used() {
        assert!(within(Quota::Nodes, 2, 1, 3).is_ok());
        let refused = within(Quota::Nodes, 3, 1, 3).unwrap_err();
        assert_eq!(refused.status, 429);
        assert!(refused.message.contains("has 3 nodes") && refused.message.contains("quota of 3 (nodes)"), "{refused}");
        assert!(within(Quota::StoredBytes, u64::MAX, 1, 7).is_err());
    }
}
