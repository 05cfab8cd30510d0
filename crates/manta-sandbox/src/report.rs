//! What a host can enforce, found out by trying it, in a form for people and for the manager.

use serde::{Deserialize, Serialize};

use crate::Tier;

/// What this host can enforce.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostReport {
    /// The best tier in which a sandbox really started; none means that no task can be contained here.
    pub tier: Option<Tier>,
    /// The kernel's release.
    pub kernel: String,
    /// Whether a user namespace could be used.
    pub user_namespaces: bool,
    /// Whether files that only their owner may read can be given to tasks by an id-mapped mount.
    pub id_mapped_mounts: bool,
    /// Version of the Landlock interface; 0 means none.
    pub landlock_abi: u32,
    /// Whether system-call filters can be installed.
    pub seccomp: bool,
    /// Which resource controllers limits are held by.
    pub cgroup: CgroupReport,
    /// What is missing, each with its cure; empty on a host that can do everything.
    pub shortcomings: Vec<Shortcoming>,
}

/// Which resource controllers limits are held by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupReport {
    /// Which interface they come from.
    pub version: CgroupVersion,
    /// Those that can be used, of `memory`, `pids` and `cpu`.
    pub controllers: Vec<String>,
}

/// Which control-group interface a host offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CgroupVersion {
    /// One hierarchy for each controller.
    V1,
    /// The unified hierarchy.
    V2,
    /// Some controllers in each.
    Mixed,
    /// None that this process may use.
    None,
}

/// Something the host cannot do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shortcoming {
    /// What is missing and what follows, in one sentence.
    pub what: String,
    /// What would change it, in one sentence.
    pub cure: String,
}

impl Shortcoming {
    pub(crate) fn new(what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { what: what.into(), cure: cure.into() }
    }
}
