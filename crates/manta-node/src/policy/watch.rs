//! Keeps a site's policy as its file, the clock and the ledger say: the file is read again when it changes or on SIGHUP, and a
//! broken one changes nothing but what is said.
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use manta_api::audit::AuditEntry;
use manta_sandbox::Tier;
use manta_types::policy::{Isolation, Policy};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{Site, hours, read_policy};
use crate::attempt::Attempts;
use crate::audit::Audit;
use crate::supervisor::blocking;

/// How often the file and the clock are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// What tells one state of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let found = path.metadata().ok()?;
        Some(Self { inode: found.ino(), size: found.len(), modified: (found.mtime(), found.mtime_nsec()) })
    }
}

/// Keeps the policy until the agent stops, and lets the manager know what changed.
pub(crate) async fn watch(attempts: Arc<Attempts>, stop: CancellationToken) {
    let node = Arc::clone(attempts.node());
    let site = &node.site;
    let mut seen = Stamp::of(&site.file);
    // Where signals cannot be received, the file's own change is seen all the same.
    let mut hangup = signal(SignalKind::hangup()).ok();
    loop {
        let asked = tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => false,
            () = node.audit.spent.notified() => false,
            Some(()) = async { hangup.as_mut()?.recv().await } => true,
        };
        let stamp = Stamp::of(&site.file);
        if asked || stamp != seen {
            seen = stamp;
            site.read_again(node.tier, &node.audit).await;
            attempts.tell_notes();
        }
        site.refresh(node.tier, &node.audit, Timestamp::now());
        node.tell_offering();
    }
}

impl Site {
    /// Takes the file's rules, or says why those before them stay.
    async fn read_again(&self, tier: Tier, audit: &Audit) {
        let path = self.file.clone();
        let read = blocking(move || if path.exists() { Some(read_policy(&path)) } else { None }).await;
        let had_rules = !self.policy().is_empty();
        let problem = match read {
            Some(Ok(policy)) => {
                tracing::info!(file = %self.file.display(), "the policy was read again");
                let told = record(audit, &policy);
                self.set(settled(policy, tier, audit, Timestamp::now()));
                told.err()
            }
            Some(Err(error)) => Some(error.to_string()),
            None if had_rules => Some(format!("the policy {} is gone", self.file.display())),
            None => None,
        };
        let note = problem.map(|problem| format!("{problem}; the rules before it stay"));
        if let Some(note) = &note {
            tracing::error!("{note}");
        }
        *self.broken.lock().unwrap_or_else(PoisonError::into_inner) = note;
    }

    /// Finds out what of the rules changes by itself.
    pub(crate) fn refresh(&self, tier: Tier, audit: &Audit, now: Timestamp) {
        let before = self.policy();
        let after = settled(Policy::clone(&before), tier, audit, now);
        if after != *before {
            self.set(after);
        }
    }

    fn set(&self, policy: Policy) {
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
    }
}

/// Rules, with what of them the tier, the ledger and the clock say.
fn settled(mut policy: Policy, tier: Tier, audit: &Audit, now: Timestamp) -> Policy {
    policy.isolation = Some(match tier {
        Tier::Full => Isolation::Full,
        Tier::Rootless => Isolation::Rootless,
        Tier::Reduced => Isolation::Reduced,
    });
    if let Some(hours) = &mut policy.hours {
        hours.is_open = hours::are_now(hours, now);
    }
    for (name, grant) in &mut policy.datasets {
        if let Some(budget) = &mut grant.egress {
            budget.is_spent = audit.left_today(name) >= budget.bytes_per_day;
        }
    }
    policy
}

/// Writes which rules hold from now on.
///
/// # Errors
/// Why that cannot be written.
pub(crate) fn record(audit: &Audit, policy: &Policy) -> Result<(), String> {
    let digest = manta_api::policy::digest(policy).map(|digest| digest.to_string());
    audit.record(AuditEntry::Policy { digest })
}
