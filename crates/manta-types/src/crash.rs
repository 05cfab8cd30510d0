//! Crash points: the places between two steps at which a test ends the process, to prove that a restart loses nothing.
//!
//! Passing one costs nothing in a release build, which has none; in builds for tests, those with debug assertions, what
//! happens there is told by whoever owns the process, through [`install`]: this crate ends nothing.

macro_rules! around {
    ($kind:literal) => {
        Around { kind: $kind, before: concat!("event.before.", $kind), durable: concat!("event.durable.", $kind) }
    };
}

/// A point of the manager or its stores, by name; `crash_point!` refuses a name that is in none of these lists.
pub const MANAGER: &[&str] = &[
    "manager.submit.received",
    "manager.submit.validated",
    "manager.submit.durable",
    "manager.session.admitted",
    "manager.report.received",
    "manager.report.judged",
    "manager.turn.before_commit",
    "manager.turn.durable",
    "manager.turn.told",
    "manager.duty.before",
    "manager.duty.durable",
    "manager.recovered",
    "store.commit.begun",
    "store.commit.written",
    "store.commit.synced",
    "store.blob.written",
    "store.blob.synced",
    "store.blob.named",
    "store.blob.stored",
];

/// A point of the node's agent, by name.
pub const NODE: &[&str] = &[
    "node.offer.received",
    "node.attempt.prepared",
    "node.attempt.started",
    "node.attempt.ended",
    "node.blob.sent",
    "node.values.sent",
    "node.report.before",
    "node.journal.values_kept",
    "node.journal.written",
    "node.journal.synced",
    "node.report.queued",
    "node.verdict.received",
    "node.state.values_kept",
    "node.state.committed",
    "node.state.unnamed",
    "node.journal.unnamed",
    "node.id.kept",
    "node.session.begun",
];

/// A point of bringing an older format up to date, by name.
pub const MIGRATION: &[&str] = &["store.migration.kept", "store.migration.stepped", "store.migration.committed"];

/// A point of making a backup, by name.
pub const BACKUP: &[&str] =
    &["manager.backup.copied", "manager.backup.listed", "manager.draft.synced", "manager.draft.named"];

/// A point of bringing one back, by name; the last two are also in [`BACKUP`].
pub const RESTORE: &[&str] =
    &["manager.restore.copied", "manager.restore.begun", "manager.draft.synced", "manager.draft.named"];

/// A point of letting go what is no longer kept, by name.
pub const UPKEEP: &[&str] = &[
    "manager.purge.before",
    "manager.purge.durable",
    "manager.purge.unlogged",
    "manager.sweep.marked",
    "manager.sweep.removed",
];

/// A point of adding a cluster beyond the first, by name.
pub const CLUSTER_ADDED: &[&str] = &["manager.cluster.foldered", "manager.cluster.kept", "manager.cluster.served"];

/// A point of removing one, by name; all but the first two are passed again by a start that finishes a removal.
pub const CLUSTER_REMOVED: &[&str] = &[
    "manager.cluster.closed",
    "manager.cluster.leaving",
    "manager.cluster.users_gone",
    "manager.cluster.nodes_gone",
    "manager.cluster.swarms_gone",
    "manager.cluster.logs_gone",
    "manager.cluster.blobs_gone",
    "manager.cluster.gone",
];

/// The points around the commit of an event, by the event's kind: before it is durable, and before anyone is told.
pub const EVENTS: &[Around] = &[
    around!("swarm_admitted"),
    around!("swarm_continued"),
    around!("iteration_started"),
    around!("task_run_ready"),
    around!("task_run_skipped"),
    around!("task_run_started"),
    around!("attempt_offered"),
    around!("attempt_progressed"),
    around!("attempt_accepted"),
    around!("attempt_failed"),
    around!("attempt_lost"),
    around!("attempt_cancelled"),
    around!("node_excused"),
    around!("task_run_closed"),
    around!("iteration_finished"),
    around!("swarm_succeeded"),
    around!("swarm_failed"),
    around!("swarm_stopped"),
    around!("swarm_paused"),
    around!("swarm_resumed"),
];

/// The two points of one kind of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Around {
    /// The kind, as [`SwarmEvent::kind`](crate::SwarmEvent::kind) gives it.
    pub kind: &'static str,
    /// The point before the commit.
    pub before: &'static str,
    /// The point after it, when nobody has been told yet.
    pub durable: &'static str,
}

/// Whether a name is in one of the lists.
pub const fn is_registered(name: &str) -> bool {
    contains(MANAGER, name)
        || contains(NODE, name)
        || contains(MIGRATION, name)
        || contains(BACKUP, name)
        || contains(RESTORE, name)
        || contains(UPKEEP, name)
        || contains(CLUSTER_ADDED, name)
        || contains(CLUSTER_REMOVED, name)
}

const fn contains(list: &[&str], name: &str) -> bool {
    let mut at = 0;
    while at < list.len() {
        if equal(list[at].as_bytes(), name.as_bytes()) {
            return true;
        }
        at += 1;
    }
    false
}

const fn equal(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let mut at = 0;
    while at < left.len() {
        if left[at] != right[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// Passes a crash point; its name must be registered, or it does not compile.
#[macro_export]
macro_rules! crash_point {
    ($name:literal) => {{
        const { assert!($crate::crash::is_registered($name), "register the point in `manta_types::crash`") };
        $crate::crash::reach($name);
    }};
}

#[cfg(debug_assertions)]
static HOOK: std::sync::OnceLock<fn(&'static str)> = std::sync::OnceLock::new();

/// Says what is done at every crash point from now on; the first to say it is heard.
#[cfg(debug_assertions)]
pub fn install(hook: fn(&'static str)) {
    HOOK.get_or_init(|| hook);
}

/// Passes a point whose name was checked by [`crash_point!`](crate::crash_point).
#[cfg(debug_assertions)]
pub fn reach(name: &'static str) {
    if let Some(hook) = HOOK.get() {
        hook(name);
    }
}

/// Passes a point whose name was checked by [`crash_point!`](crate::crash_point): nothing, in this build.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub const fn reach(_: &'static str) {}

#[cfg(debug_assertions)]
static HASTE: std::sync::OnceLock<u32> = std::sync::OnceLock::new();

/// Says by how much the spans of upkeep are divided from now on, 1 or more; the first to say it is heard.
#[cfg(debug_assertions)]
pub fn hasten(divisor: std::num::NonZeroU32) {
    HASTE.get_or_init(|| divisor.get());
}

/// A span of upkeep, so much shorter that a test need not wait for it.
#[cfg(debug_assertions)]
pub fn hastened(span: std::time::Duration) -> std::time::Duration {
    span / HASTE.get().copied().unwrap_or(1)
}

/// A span of upkeep: itself, in this build.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub const fn hastened(span: std::time::Duration) -> std::time::Duration {
    span
}

/// Which side of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Nothing is written yet.
    Before,
    /// It is durable, and nobody has been told.
    Durable,
}

/// Passes the point of each event on one side of their commit; kinds without points pass by.
#[cfg(debug_assertions)]
pub fn around_commit<'a>(side: Side, events: impl Iterator<Item = &'a crate::Event>) {
    for event in events {
        if let Some(around) = EVENTS.iter().find(|around| around.kind == event.what.kind()) {
            reach(match side {
                Side::Before => around.before,
                Side::Durable => around.durable,
            });
        }
    }
}

/// Passes the point of each event on one side of their commit: nothing, in this build.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn around_commit<'a>(_: Side, _: impl Iterator<Item = &'a crate::Event>) {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_point_has_a_name_of_its_own() {
        let events = EVENTS.iter().flat_map(|around| [around.before, around.durable]);
        // The steps of a draft are in two lists, being passed by two commands.
        let restore = RESTORE.iter().filter(|name| !BACKUP.contains(name));
        let lists = [MANAGER, NODE, MIGRATION, BACKUP, UPKEEP, CLUSTER_ADDED, CLUSTER_REMOVED];
        let named = lists.into_iter().flatten().chain(restore);
        let all: Vec<_> = named.copied().chain(events).collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
        assert!(is_registered("manager.recovered") && is_registered("node.id.kept"));
        assert!(!is_registered("manager.recover") && !is_registered(""));
    }
}
