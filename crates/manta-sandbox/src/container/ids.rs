//! Uids for the tasks in containers: never root's, and each for one task at a time.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::StartError;
use crate::hostid::{HostId, HostIds};

/// First uid of an agent that may not use the machine's register, for process id 0; each process has the next [`UIDS`].
const BASE: u32 = 2_100_000_000;
/// First uid in a container whose uids are an ordinary user's subordinate ones; the engine's own user is 0 there.
const BASE_ROOTLESS: u32 = 1000;
/// Tasks that such an agent runs at once.
const UIDS: u32 = 256;

/// Hands out uids.
#[derive(Debug)]
pub(super) enum Ids {
    /// Those that builtin sandboxes have: no other task of this machine has the same.
    Register(HostIds),
    /// Some of this process's own.
    Own { base: u32, taken: Arc<Mutex<BTreeSet<u32>>> },
}

/// A uid, and an equal gid, given back when dropped.
#[derive(Debug)]
pub(super) enum Id {
    Registered(HostId),
    Own { number: u32, taken: Arc<Mutex<BTreeSet<u32>>> },
}

impl Ids {
    /// Uids for containers of an engine that runs as root, or as an ordinary user.
    pub(super) fn open(rootless: bool) -> Self {
        let own = |base| Self::Own { base, taken: Arc::default() };
        if rootless {
            return own(BASE_ROOTLESS);
        }
        // The register is root's, and this agent may be an ordinary user that may use the engine.
        HostIds::open().map_or_else(|_| own(BASE + std::process::id() * UIDS), Self::Register)
    }

    /// Takes a uid that no other task has.
    pub(super) fn take(&self) -> Result<Id, StartError> {
        match self {
            Self::Register(ids) => ids.take().map(Id::Registered),
            Self::Own { base, taken } => {
                let mut now = taken.lock().unwrap_or_else(PoisonError::into_inner);
                let free = (*base..base + UIDS).find(|number| !now.contains(number));
                let number = free.ok_or_else(|| {
                    StartError::step("find a free uid", format!("all {UIDS} are in use; wait until a task ends"))
                })?;
                now.insert(number);
                Ok(Id::Own { number, taken: Arc::clone(taken) })
            }
        }
    }
}

impl Id {
    pub(super) fn number(&self) -> u32 {
        match self {
            Self::Registered(id) => id.number(),
            Self::Own { number, .. } => *number,
        }
    }
}

impl Drop for Id {
    fn drop(&mut self) {
        if let Self::Own { number, taken } = self {
            taken.lock().unwrap_or_else(PoisonError::into_inner).remove(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_is_one_tasks_and_never_roots() {
        let ids = Ids::open(true);
        let (one, other) = (ids.take().unwrap(), ids.take().unwrap());
        assert_eq!((one.number(), other.number()), (1000, 1001));
        drop(one);
        assert_eq!(ids.take().unwrap().number(), 1000);
        let all: Vec<_> = std::iter::from_fn(|| ids.take().ok()).collect();
        assert_eq!(all.len(), 255);
        assert!(ids.take().unwrap_err().to_string().contains("all 256 are in use"));
    }
}
