//! What the agent is told when it starts.
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::num::NonZeroU32;
use std::path::PathBuf;

use manta_client::Endpoint;
use manta_image::{Installer, Store};
use manta_sandbox::Tier;
use manta_types::{ClusterId, NodeName, Policy, limits};
use serde::{Deserialize, Serialize};

use crate::{GpuSource, Proof, Warm};

/// What a node does when its own containment does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnAllowedProbe {
    /// It runs no task, and says why.
    Refuse,
    /// It says so, and runs tasks all the same.
    Warn,
}

/// What bounds every attempt on a node, whatever its module asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// Files and directories in its scratch; at least 1.
    pub tmp_files: u64,
    /// Bytes of log output that are kept.
    pub log_bytes: u64,
    /// Bytes of log output each second; at least 1. A task that writes faster waits.
    pub log_bytes_per_second: u64,
    /// Bytes that it may publish and keep as state.
    pub published_bytes: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            tmp_files: limits::TMP_FILES_MAX,
            log_bytes: limits::LOG_BYTES_PER_ATTEMPT_MAX,
            log_bytes_per_second: limits::LOG_BYTES_PER_SECOND_MAX,
            published_bytes: limits::PUBLISHED_BYTES_MAX,
        }
    }
}

/// Everything that an agent needs to know; checked values only.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the manager listens.
    pub manager: Endpoint,
    /// What it shows that it may come in.
    pub proof: Proof,
    /// The cluster to join.
    pub cluster: ClusterId,
    /// This node's name, unique in the cluster.
    pub name: NodeName,
    /// Where cache, state and the node's id are kept; made with mode 0700 and locked while the agent runs.
    pub data_dir: PathBuf,
    /// Datasets offered: name → absolute path of a file or directory.
    pub datasets: BTreeMap<String, PathBuf>,
    /// What placement may select by.
    pub labels: BTreeMap<String, String>,
    /// The GPUs that tasks may be given.
    pub gpus: GpuSource,
    /// Attempts run at once; further ones wait here in order.
    pub slots: NonZeroU32,
    /// The host's Python interpreter, from which images are made.
    pub python: PathBuf,
    /// The images that were taken in on this machine.
    pub images: Store,
    /// What installs packages, contained.
    pub installer: Installer,
    /// Names of the site's own: the image that each stands for, by name or digest, or `host` for the curated one.
    pub image_names: BTreeMap<String, String>,
    /// The weakest containment under which this node runs tasks.
    pub isolation_min: Tier,
    /// Bytes of blobs, bundles and layers of packages kept on disk; beyond, the least recently used go, but for what is in use.
    pub cache_bytes_max: u64,
    /// Where what is the same for all agents of this machine is kept, verdicts on its containment and `manta.light` as its
    /// interpreter reads it; none: in `data_dir`, for this one alone.
    pub machine_cache: Option<PathBuf>,
    /// What happens where a probe of containment is allowed, or none can be made.
    pub on_allowed_probe: OnAllowedProbe,
    /// What bounds every attempt here.
    pub bounds: Bounds,
    /// Whose code may run here, and on what.
    pub policy: Policy,
    /// The file of the policy, there or not: it is read again when it changes.
    pub policy_file: PathBuf,
    /// Whether and how tasks are started warm.
    pub warm: Warm,
    /// Whether `data_dir` is removed after an orderly exit.
    pub ephemeral: bool,
    /// How this program was started, where another may be put in its place.
    pub own: Option<OwnProgram>,
}

/// A program that can be started in the place of this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnProgram {
    /// Its file, as it was found when the agent started.
    pub file: PathBuf,
    /// What it was started with, its own name left out.
    pub arguments: Vec<OsString>,
}
