//! The upkeep of what is stored, in one service loop at its own slow pace: swarms that ended long ago go, with their logs
//! and the blobs that nothing else names, and all that stays is read and checked.
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use manta_engine::SwarmRun;
use manta_store::{BlobError, BlobStore, LogStore, StateReader, StoreError};
use manta_types::crash::hastened;
use manta_types::{ClusterId, Digest, SwarmId, crash_point, limits};
use tokio_util::sync::CancellationToken;

use crate::ManagerError;
use crate::app::App;
use crate::clock::Clock;
use crate::http::set_aside;
use crate::logs::Logs;
use crate::orchestrator::{Handle, View};
use crate::reach::{reachable, sweep};
use crate::settings::Keep;

/// Whoever copies blobs out of a data directory has this file's lock shared; whoever sweeps has it alone.
const SWEEP_LOCK: &str = "sweep.lock";
/// The first round comes so soon after the start.
const FIRST_AFTER: Duration = Duration::from_secs(60);
/// Lines of swarms that are purged in one transaction.
const LINES_PURGED_AT_ONCE: usize = 100;
/// Keys of calls that concern no swarm are kept for so long at least, in days: a client that repeats itself counts on them.
const KEY_DAYS_MIN: u32 = 1;
/// Blobs are checked in so many rounds, one part of all digests each.
const BLOB_PARTS: u8 = 16;

/// What the loop works on.
pub(crate) struct Upkeep {
    pub(crate) dir: PathBuf,
    pub(crate) keep: Keep,
    /// The clusters that there are now.
    pub(crate) clusters: Box<dyn Fn() -> Vec<Tended> + Send + Sync>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) stop: CancellationToken,
}

/// What is tended of one cluster.
#[derive(Clone)]
pub(crate) struct Tended {
    /// Nothing for the first one.
    pub(crate) cluster: Option<ClusterId>,
    pub(crate) handle: Handle,
    pub(crate) blobs: Arc<dyn BlobStore>,
    pub(crate) logs: Logs,
    /// Cancelled when it goes.
    pub(crate) stop: CancellationToken,
}

impl Tended {
    pub(crate) fn of(app: &App) -> Self {
        let cluster = (!app.is_first).then(|| app.cluster.clone());
        let (handle, blobs, logs) = (app.handle.clone(), Arc::clone(&app.blobs), app.logs.clone());
        Self { cluster, handle, blobs, logs, stop: app.stop.clone() }
    }
}

/// When a round was, by both clocks.
struct Times {
    monotonic_ms: u64,
    wall_ms: u64,
}

impl Upkeep {
    /// Works until told to stop. What fails is logged and tried again in the next round.
    pub(crate) async fn serve(self) -> Result<(), ManagerError> {
        let mut before = self.times();
        let mut pause = hastened(FIRST_AFTER);
        for part in (0..BLOB_PARTS).cycle() {
            tokio::select! {
                () = self.stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(jittered(pause)) => {}
            }
            pause = hastened(limits::UPKEEP_EVERY);
            before = self.round(part, &before).await?;
        }
        Ok(())
    }

    /// One round, so long after the one before as the clocks say; when it was. Of the blobs it checks one part.
    async fn round(&self, part: u8, before: &Times) -> Result<Times, ManagerError> {
        let now = self.times();
        let is_steady = agree(before, &now);
        if !is_steady {
            tracing::warn!("the wall clock jumped; nothing is purged or swept in this round");
        }
        for cluster in (self.clusters)() {
            match self.tend(&cluster, part, is_steady.then_some(now.wall_ms)).await {
                // It went meanwhile.
                Err(_) if cluster.stop.is_cancelled() && !self.stop.is_cancelled() => {}
                outcome => outcome?,
            }
        }
        self.check_state().await;
        Ok(now)
    }

    /// One round of one cluster; what is old goes only where the wall clock can be believed.
    async fn tend(&self, cluster: &Tended, part: u8, wall_ms: Option<u64>) -> Result<(), ManagerError> {
        if let Some(wall_ms) = wall_ms {
            cluster.purge(&self.keep, wall_ms).await?;
            cluster.sweep(&self.dir).await;
        }
        cluster.check_blobs(part).await;
        Ok(())
    }

    fn times(&self) -> Times {
        let now = self.clock.now();
        Times { monotonic_ms: now.monotonic.ms(), wall_ms: now.wall_ms }
    }

    async fn check_state(&self) {
        let (dir, stop) = (self.dir.clone(), self.stop.clone());
        let checked = blocking(move || {
            let reader = StateReader::open(&dir)?;
            let mut damage = Vec::new();
            damage.extend(damage_of(reader.check_file())?);
            for (cluster, swarm) in reader.swarms()? {
                if stop.is_cancelled() {
                    break;
                }
                damage.extend(damage_of(reader.check_swarm(&cluster, swarm).map(|_| ()))?);
            }
            damage.extend(LogStore::check(&dir)?);
            Ok(damage)
        });
        match checked.await {
            Ok(damage) => damage.iter().for_each(|problem| {
                tracing::error!(%problem, "stored data is damaged; bring a backup back with `manta manager restore`");
            }),
            Err(error) => tracing::warn!(%error, "the state cannot be checked"),
        }
    }
}

impl Tended {
    async fn purge(&self, keep: &Keep, wall_ms: u64) -> Result<(), ManagerError> {
        // A line of which a part is not read yet looks shorter than it is.
        self.handle.all_read().await?;
        let known = self.handle.ask(|view| {
            let swarm =
                |swarm: &SwarmRun| Known { line: swarm.state_of(), id: swarm.id(), ended_ms: swarm.finished_ms() };
            view.engine.swarms().map(swarm).collect::<Vec<_>>()
        });
        let lines = expired(&known.await?, keep, wall_ms);
        self.handle.forget_keys(oldest_ms(keep.days.max(KEY_DAYS_MIN), wall_ms)).await?;
        let mut purged = 0;
        for lines in lines.chunks(LINES_PURGED_AT_ONCE) {
            crash_point!("manager.purge.before");
            let swarms: BTreeSet<SwarmId> = lines.iter().flatten().copied().collect();
            self.handle.purge(swarms.clone()).await?;
            crash_point!("manager.purge.durable");
            // A line that somebody let go on meanwhile has stayed.
            let gone = move |view: &View<'_>| -> Vec<SwarmId> {
                swarms.into_iter().filter(|swarm| view.engine.swarm(*swarm).is_none()).collect()
            };
            for swarm in self.handle.ask(gone).await? {
                if let Err(error) = self.logs.purge(swarm).await {
                    tracing::warn!(%swarm, %error, "the log of a purged swarm stays");
                }
                purged += 1;
                crash_point!("manager.purge.unlogged");
            }
        }
        if purged > 0 {
            tracing::info!(swarms = purged, "swarms that ended long ago are gone");
        }
        Ok(())
    }

    async fn sweep(&self, dir: &Path) {
        let (dir, blobs, of) = (dir.to_owned(), Arc::clone(&self.blobs), self.cluster.clone());
        let swept = blocking(move || {
            let Some(_lock) = SweepLock::alone(&dir)? else { return Ok(None) };
            let reach = reachable(&StateReader::open(&dir)?, of.as_ref(), blobs.as_ref())?;
            crash_point!("manager.sweep.marked");
            sweep(&reach, blobs.as_ref(), hastened(limits::BLOB_HELD)).map(Some)
        });
        match swept.await {
            Ok(Some(swept)) if swept.blobs > 0 => {
                tracing::info!(blobs = swept.blobs, bytes = swept.bytes, "blobs that nothing names are gone");
            }
            Ok(Some(_)) => {}
            Ok(None) => tracing::info!("nothing is swept while a backup is made"),
            Err(error) => tracing::warn!(%error, "nothing is swept, because what is named cannot be told"),
        }
    }

    /// Reads one part of all blobs; damaged ones are set aside.
    async fn check_blobs(&self, part: u8) {
        let (blobs, stop) = (Arc::clone(&self.blobs), self.stop.clone());
        let checked = blocking(move || {
            let span = u8::MAX / BLOB_PARTS + 1;
            let mut last = part.checked_mul(span).filter(|first| *first > 0).map(just_before);
            let end = part.checked_add(1).and_then(|next| next.checked_mul(span));
            loop {
                let page = blobs.digests(last.as_ref(), 1)?;
                let Some(digest) = page.first().copied() else { return Ok(()) };
                if stop.is_cancelled() || end.is_some_and(|end| digest.bytes()[0] >= end) {
                    return Ok(());
                }
                match blobs.verify(&digest) {
                    Ok(_) | Err(BlobError::Missing { .. }) => {}
                    Err(error) => {
                        // Before it is told: what a log line is made of is not looked at where nobody listens.
                        let error = set_aside(blobs.as_ref(), error);
                        tracing::error!(%error, "a blob is damaged");
                    }
                }
                last = Some(digest);
            }
        });
        if let Err(error) = checked.await {
            tracing::warn!(%error, "the blobs cannot be checked");
        }
    }
}

/// The last digest that begins with less than this byte.
fn just_before(first: u8) -> Digest {
    let mut bytes = [u8::MAX; 32];
    bytes[0] = first - 1;
    Digest::from_bytes(bytes)
}

/// Damage as something to tell of; any other failure stays one.
pub(crate) fn damage_of(outcome: Result<(), StoreError>) -> Result<Option<StoreError>, StoreError> {
    match outcome {
        Ok(()) => Ok(None),
        Err(damage @ StoreError::Corrupt { .. }) => Ok(Some(damage)),
        Err(other) => Err(other),
    }
}

/// Whether both clocks went on alike: a wall clock that jumped says nothing about ages.
fn agree(before: &Times, now: &Times) -> bool {
    const SLACK_MS: u64 = 60_000;
    let by_wall = i128::from(now.wall_ms) - i128::from(before.wall_ms);
    let by_monotonic = i128::from(now.monotonic_ms) - i128::from(before.monotonic_ms);
    (by_wall - by_monotonic).unsigned_abs() <= u128::from(SLACK_MS)
}

/// When that many days ago was.
fn oldest_ms(days: u32, wall_ms: u64) -> u64 {
    const DAY_MS: u64 = 24 * 60 * 60 * 1000;
    wall_ms.saturating_sub(u64::from(days).saturating_mul(DAY_MS))
}

/// A swarm, as the upkeep sees it.
struct Known {
    /// The first of its line.
    line: SwarmId,
    id: SwarmId,
    ended_ms: Option<u64>,
}

/// The lines of which every swarm ended before what is kept: too long ago, or with enough others after it.
fn expired(known: &[Known], keep: &Keep, wall_ms: u64) -> Vec<Vec<SwarmId>> {
    let mut ended: Vec<_> = known.iter().filter_map(|swarm| Some((Reverse(swarm.ended_ms?), swarm.id))).collect();
    ended.sort_unstable();
    let oldest_ms = oldest_ms(keep.days, wall_ms);
    let is_kept = |position: usize, ended_ms: u64| {
        ended_ms >= oldest_ms && keep.swarms.is_none_or(|most| position < usize::try_from(most).unwrap_or(usize::MAX))
    };
    let gone = ended.iter().enumerate().filter(|(position, (ended_ms, _))| !is_kept(*position, ended_ms.0));
    let gone: BTreeSet<SwarmId> = gone.map(|(_, (_, id))| *id).collect();
    let mut lines: BTreeMap<SwarmId, Vec<SwarmId>> = BTreeMap::new();
    known.iter().for_each(|swarm| lines.entry(swarm.line).or_default().push(swarm.id));
    lines.into_values().filter(|line| line.iter().all(|swarm| gone.contains(swarm))).collect()
}

/// The span, a tenth more or less, so that many managers do not work in step.
fn jittered(span: Duration) -> Duration {
    let dice = getrandom::u32().unwrap_or(0) % 200;
    span * (900 + dice) / 1000
}

async fn blocking<T: Send + 'static>(
    job: impl FnOnce() -> Result<T, ManagerError> + Send + 'static,
) -> Result<T, ManagerError> {
    tokio::task::spawn_blocking(job).await.map_err(|error| ManagerError::Internal(error.to_string()))?
}

/// Keeps sweeps and copies of blobs apart; the kernel takes it back with the process.
pub(crate) struct SweepLock {
    _file: File,
}

impl SweepLock {
    fn open(dir: &Path) -> Result<(File, PathBuf), ManagerError> {
        let path = dir.join(SWEEP_LOCK);
        let mut options = OpenOptions::new();
        std::os::unix::fs::OpenOptionsExt::mode(options.read(true).write(true).create(true).truncate(false), 0o600);
        let file = options.open(&path).map_err(|source| ManagerError::DataDir { path: path.clone(), source })?;
        Ok((file, path))
    }

    /// Alone, unless somebody copies just now.
    fn alone(dir: &Path) -> Result<Option<Self>, ManagerError> {
        let (file, path) = Self::open(dir)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(source)) => Err(ManagerError::DataDir { path, source }),
        }
    }

    /// With others who copy; waits for a sweep to end.
    pub(crate) fn shared(dir: &Path) -> Result<Self, ManagerError> {
        let (file, path) = Self::open(dir)?;
        let locked: io::Result<()> = file.lock_shared();
        locked.map_err(|source| ManagerError::DataDir { path, source })?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod round;

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: u64 = 24 * 60 * 60 * 1000;

    fn id(number: u64) -> SwarmId {
        SwarmId::from_uuid(uuid::Uuid::from_u128(number.into()))
    }

    fn known(number: u64, line: u64, ended_ms: Option<u64>) -> Known {
        Known { line: id(line), id: id(number), ended_ms }
    }

    #[test]
    fn swarms_go_when_they_are_old_or_when_enough_came_after_them() {
        let now = 100 * DAY_MS;
        let ended: Vec<_> = (0..10u64).map(|day| known(day, day, Some(now - day * DAY_MS))).collect();
        let gone = |days, swarms| expired(&ended, &Keep { days, swarms }, now).concat();
        assert_eq!(gone(30, None), []);
        assert_eq!(gone(7, None), [id(8), id(9)]);
        assert_eq!(gone(30, Some(8)), [id(8), id(9)]);
        assert_eq!(gone(8, Some(9)), [id(9)]);
        assert_eq!(gone(30, Some(0)).len(), 10);
        let forever = Keep { days: u32::MAX, swarms: None };
        assert_eq!(expired(&ended, &forever, 0).concat(), [], "a wall clock that stands at 1970");
    }

    #[test]
    fn a_line_goes_when_all_of_it_may() {
        let now = 100 * DAY_MS;
        let day = |number, line, day| known(number, line, Some(now - day * DAY_MS));
        let swarms = [day(1, 1, 40), day(2, 1, 35), day(3, 3, 40), day(4, 3, 5), day(5, 5, 40), known(6, 5, None)];
        let gone = |days, swarms_max| expired(&swarms, &Keep { days, swarms: swarms_max }, now);
        assert_eq!(gone(30, None), [[id(1), id(2)]], "the others go on, or did until lately");
        assert_eq!(gone(1, None), [[id(1), id(2)], [id(3), id(4)]]);
        assert_eq!(gone(50, Some(1)), [[id(1), id(2)]], "4 is the newest, and 3 stays with it");
    }

    #[test]
    fn a_wall_clock_that_jumped_is_noticed() {
        let times = |monotonic_ms, wall_ms| Times { monotonic_ms, wall_ms };
        let before = times(1000, 5_000_000);
        assert!(agree(&before, &times(3_601_000, 8_600_000 + 500)));
        assert!(!agree(&before, &times(3_601_000, 8_600_000 + 3_600_000)));
        assert!(!agree(&before, &times(3_601_000, 5_000_000)));
    }

    #[test]
    fn a_sweep_and_a_copy_keep_apart() {
        let dir = tempfile::tempdir().unwrap();
        let copying = (SweepLock::shared(dir.path()).unwrap(), SweepLock::shared(dir.path()).unwrap());
        assert!(SweepLock::alone(dir.path()).unwrap().is_none());
        drop(copying);
        assert!(SweepLock::alone(dir.path()).unwrap().is_some());
    }

    #[test]
    fn every_blob_is_in_one_part() {
        let span = u8::MAX / BLOB_PARTS + 1;
        assert_eq!(u32::from(span) * u32::from(BLOB_PARTS), 256);
        assert_eq!(just_before(16).bytes()[..2], [15, 255]);
    }
}
