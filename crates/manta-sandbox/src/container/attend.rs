//! Follows one container from its start to its removal.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, interval, sleep_until};

use super::api::Api;
use super::door::Line;
use super::protocol::{FromEntry, ToEntry};
use crate::cgroup::{Group, Readings};
use crate::{Exit, ExitHow};

/// How often the control groups are looked at.
const TICK: Duration = Duration::from_millis(100);
/// How long an entry may take to kill what runs, before the engine is asked to.
const KILL_MAX: Duration = Duration::from_secs(2);

/// A container that runs a program.
pub(super) struct Attended {
    pub(super) api: Api,
    pub(super) container: String,
    pub(super) line: Line,
    pub(super) group: Group,
    /// Told when somebody wants it to end.
    pub(super) kill: Arc<Notify>,
}

/// What is known at the end.
#[derive(Default)]
struct Known {
    readings: Readings,
    /// Status, CPU time and peak, from the entry.
    ended: Option<(i32, u64, u64)>,
}

impl Attended {
    /// Waits for the end of the program, brings it about where it has to be, and removes the container.
    pub(super) async fn attend(self) -> Exit {
        let known = self.follow().await;
        let Self { api, container, line, .. } = self;
        drop(line);
        if let Err(error) = api.remove(&container).await {
            tracing::warn!(%error, container, "a container is left; the next start of an agent removes it");
        }
        exit(&known)
    }

    async fn follow(&self) -> Known {
        let mut known = Known::default();
        let mut tick = interval(TICK);
        let mut force: Option<Instant> = None;
        loop {
            tokio::select! {
                told = self.line.receive() => match told {
                    Ok(Some(FromEntry::Ended { status, cpu_ms, peak_memory_bytes })) => {
                        known.ended = Some((status, cpu_ms, peak_memory_bytes));
                        self.read(&mut known);
                        return known;
                    }
                    Ok(Some(_)) => {}
                    // The entry is gone, and with it all others; where the kernel ended them all for want of memory, its groups
                    // tell so until the engine removes them.
                    Ok(None) | Err(_) => {
                        self.read(&mut known);
                        return known;
                    }
                },
                () = self.kill.notified(), if force.is_none() => force = Some(self.end()),
                () = until(force) => {
                    force = Some(Instant::now() + KILL_MAX);
                    if let Err(error) = self.api.kill(&self.container).await {
                        tracing::warn!(%error, container = self.container, "a container cannot be killed");
                    }
                }
                _ = tick.tick() => {
                    self.read(&mut known);
                    // The kernel has killed one process for want of memory, and may have left the rest.
                    if known.readings.oom_kills > 0 && force.is_none() {
                        force = Some(self.end());
                    }
                }
            }
        }
    }

    /// Tells the entry to kill what runs; answers when it should be over.
    fn end(&self) -> Instant {
        // An entry that is gone has ended everything.
        let _ = self.line.send(&ToEntry::Kill, &[]);
        Instant::now() + KILL_MAX
    }

    /// Takes what the groups tell; they vanish with the container.
    fn read(&self, known: &mut Known) {
        let now = self.group.readings();
        let before = known.readings;
        known.readings = Readings {
            oom_kills: before.oom_kills.max(now.oom_kills),
            pids_refused: before.pids_refused.max(now.pids_refused),
            peak_memory_bytes: before.peak_memory_bytes.max(now.peak_memory_bytes),
            peak_pids: before.peak_pids.max(now.peak_pids),
        };
    }
}

async fn until(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => pending().await,
    }
}

fn exit(known: &Known) -> Exit {
    let Readings { oom_kills, pids_refused, peak_memory_bytes, peak_pids } = known.readings;
    let (how, cpu_ms, peak) = match known.ended {
        Some((status, cpu_ms, peak)) if libc::WIFSIGNALED(status) => {
            (ExitHow::Signaled(libc::WTERMSIG(status)), cpu_ms, peak)
        }
        Some((status, cpu_ms, peak)) => (ExitHow::Exited(libc::WEXITSTATUS(status)), cpu_ms, peak),
        None if oom_kills > 0 => (ExitHow::Signaled(libc::SIGKILL), 0, 0),
        None => (ExitHow::ContainerLost, 0, 0),
    };
    Exit {
        how,
        oom: oom_kills > 0,
        pids_limit_hit: pids_refused > 0,
        // An engine's containers are out of the launcher's sight.
        file_locks_limit_hit: false,
        scratch: None,
        peak_memory_bytes: peak_memory_bytes.unwrap_or(peak),
        peak_pids: peak_pids.unwrap_or(0),
        cpu_ms,
    }
}
